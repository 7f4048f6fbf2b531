//! The acts that the metric `image_actions_total` counts.

use strum::VariantArray;

use crate::telemetry::instruments::Instruments;

/// One act on an image, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub(super) enum ImageAction {
    /// The image bears its quarantine tag.
    MarkDone,
    /// The quarantine tag was refused.
    MarkRefused,
    /// A record is on the image.
    RecordDone,
    /// The record was refused.
    RecordRefused,
    /// The repository is too full for a record.
    RecordFull,
    /// A tag was removed.
    UntagDone,
    /// A tag had moved to another image.
    UntagSuperseded,
    /// A tag could not be removed.
    UntagFailed,
    /// A tag would be removed if the policy were not in audit mode.
    UntagPlanned,
    /// The image was deleted.
    DeleteDone,
    /// The last tag had moved to another image.
    DeleteSuperseded,
    /// The image could not be deleted.
    DeleteFailed,
    /// The removals beyond a request were put back.
    PutBackDone,
    /// The removals beyond a request could not be put back.
    PutBackFailed,
}

impl ImageAction {
    /// Returns the values of the labels action, outcome and mode.
    #[must_use]
    pub(super) fn labels(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::MarkDone => ("mark", "done", "enforce"),
            Self::MarkRefused => ("mark", "refused", "enforce"),
            Self::RecordDone => ("record", "done", "enforce"),
            Self::RecordRefused => ("record", "refused", "enforce"),
            Self::RecordFull => ("record", "full", "enforce"),
            Self::UntagDone => ("untag", "done", "enforce"),
            Self::UntagSuperseded => ("untag", "superseded", "enforce"),
            Self::UntagFailed => ("untag", "failed", "enforce"),
            Self::UntagPlanned => ("untag", "planned", "audit"),
            Self::DeleteDone => ("delete", "done", "enforce"),
            Self::DeleteSuperseded => ("delete", "superseded", "enforce"),
            Self::DeleteFailed => ("delete", "failed", "enforce"),
            Self::PutBackDone => ("put_back", "done", "enforce"),
            Self::PutBackFailed => ("put_back", "failed", "enforce"),
        }
    }

    pub(super) fn count(self, instruments: &Instruments, count: usize) {
        let (action, outcome, mode) = self.labels();
        instruments.image_action(action, outcome, mode, count);
    }
}

/// Declares the acts that are counted.
pub(crate) fn declare(instruments: &Instruments) {
    ImageAction::VARIANTS.iter().for_each(|action| action.count(instruments, 0));
}
