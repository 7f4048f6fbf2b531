//! The parts of a plan, and how carrying out a part ends.

use super::removal::Removed;
use crate::domain::plan::Plan;
use crate::domain::record::{HoldInForce, KnownRecords};
use crate::outcome::Outcome;
use crate::registry::Manifest;

/// A part of a plan, which the limits of the hour may cut into several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole plan is recorded before its first part.
    First,
    /// Somebody may have asked for a hold since the part before.
    Later,
}

/// The result of carrying out a part of a plan.
pub(super) struct PartDone {
    pub(super) outcome: Outcome,
    /// What is known of the image's records now. Later parts need it for their notices.
    pub(super) records: Option<KnownRecords>,
}

impl PartDone {
    pub(super) fn of(outcome: Outcome) -> Self {
        Self { outcome, records: None }
    }
}

/// The result of marking an image and removing its tags.
pub(super) enum PassResult {
    /// The image is gone.
    Absent,
    /// The image cannot be marked or recorded, for this reason, so nothing was removed.
    Refused(String),
    /// The image is held, so nothing was removed.
    Held(HoldInForce),
    /// The image is marked.
    Marked(Box<Marked>),
}

/// A marked image, and what became of its tags.
pub(super) struct Marked {
    pub(super) manifest: Manifest,
    /// The plan, with the mark that the image bears.
    pub(super) plan: Plan,
    pub(super) removed: Removed,
}
