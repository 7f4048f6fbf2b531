//! The results of an inspection of an image.

use std::sync::Arc;

use strum::VariantArray as _;

use super::findings_memory::Room;
use crate::domain::evaluation::Evaluation;
use crate::domain::findings::{Findings, Scan, SeverityCounts};
use crate::domain::image::Image;
use crate::domain::image_index::Child;
use crate::domain::names::Digest;
use crate::domain::plan::Plan;
use crate::telemetry::instruments::Instruments;

/// The state of one image in ECR at one time, enough to judge it again by another event's claims.
#[derive(Debug)]
pub(crate) struct ScanSnapshot {
    image: Image,
    scan: Scan,
    /// Holds the findings' part of the memory budget.
    _room: Room,
}

impl ScanSnapshot {
    pub(super) fn new(image: Image, scan: Scan, room: Room) -> Self {
        Self { image, scan, _room: room }
    }

    #[must_use]
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    #[must_use]
    pub(crate) fn scan(&self) -> &Scan {
        &self.scan
    }

    #[must_use]
    pub(crate) fn digest(&self) -> &Digest {
        &self.image.digest
    }

    fn findings(&self) -> Option<&Findings> {
        match &self.scan {
            Scan::Complete(findings) | Scan::Active(findings) => Some(findings),
            Scan::NeverScanned | Scan::Pending(_) | Scan::Unavailable(_) => None,
        }
    }

    /// Returns whether ECR shows any finding.
    #[must_use]
    pub(crate) fn shows_findings(&self) -> bool {
        self.findings().is_some_and(|findings| findings.counts.worst().is_some())
    }

    /// Returns the number of findings by severity.
    #[must_use]
    pub(crate) fn counts(&self) -> SeverityCounts {
        self.findings().map(|findings| findings.counts.clone()).unwrap_or_default()
    }

    /// Returns in how many places ECR knows the image to run.
    #[must_use]
    pub(crate) fn in_use(&self) -> u64 {
        self.findings().map_or(0, |findings| findings.in_use)
    }
}

/// An image or an index that violates the policy, and the plan for it.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    /// The image whose tags are to be removed.
    pub image: Image,
    /// The image that causes the violation, if `image` is an index that holds it.
    pub cause: Option<Child>,
    /// The rule and the reasons.
    pub evaluation: Evaluation,
    /// Number of findings of the image, or of the cause.
    pub counts: SeverityCounts,
    /// In how many places the image, or the cause, runs.
    pub in_use: u64,
    pub plan: Plan,
}

/// The result of inspecting an image.
#[derive(Clone, Debug)]
pub(crate) enum Inspection {
    /// The image does not exist.
    Absent,
    /// It is no container image.
    NotAnImage,
    /// It cannot be judged, and nobody can pull it by a tag, like attestations and signatures.
    Unpulled,
    /// Its scan has not ended, and an event will come when it has.
    LeftToScan(Option<Arc<ScanSnapshot>>),
    /// It may keep its tags.
    Clean(Evaluation, Option<Arc<ScanSnapshot>>),
    /// Its findings do not exist yet, or may still be growing. The text says why.
    Wait(Image, String, Option<Arc<ScanSnapshot>>),
    /// It cannot be judged. The text says why.
    Unscanned(Image, String),
    /// It is an index that is not known as a whole, and its known images are not enough to say that
    /// it violates the policy. The text says what is not known.
    Unresolved(Image, String),
    /// It violates the policy.
    Violation(Box<Violation>),
}

impl Inspection {
    /// Takes the snapshot out, if the image may keep its tags and so another event may claim more.
    ///
    /// It must be taken out before other images are inspected, because it holds memory that their
    /// findings may wait for.
    #[must_use]
    pub(crate) fn take_snapshot(&mut self) -> Option<Arc<ScanSnapshot>> {
        match self {
            Self::Clean(_, snapshot) | Self::LeftToScan(snapshot) | Self::Wait(_, _, snapshot) => {
                snapshot.take()
            }
            _ => None,
        }
    }

    /// Returns the verdict, for the metric.
    #[must_use]
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Clean(..) => Verdict::Keep,
            Self::Violation(_) => Verdict::Untag,
            Self::Wait(..) => Verdict::Wait,
            Self::Unscanned(..) | Self::Unresolved(..) => Verdict::Unscanned,
            Self::Absent | Self::NotAnImage | Self::Unpulled | Self::LeftToScan(_) => Verdict::None,
        }
    }
}

/// The values of the metric label `verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Verdict {
    /// The image keeps its tags.
    Keep,
    /// Tags are to be removed.
    Untag,
    /// Tags would be removed if nobody held the image.
    Held,
    /// Findings are waited for.
    Wait,
    /// The image cannot be judged.
    Unscanned,
    /// There is no image to judge.
    None,
}

impl Verdict {
    /// Returns the word of the metric.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Declares the verdicts that are counted.
pub(crate) fn declare(instruments: &Instruments) {
    Verdict::VARIANTS.iter().for_each(|verdict| instruments.declare_decision(verdict.as_str()));
}
