//! What would become of a removed tag if it were given back now, by the policy as it is here.

use serde::Serialize;

use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::policy::Policy;
use crate::inspect::{Inspection, Violation};

/// How an image is judged now that has lost the tag which somebody names.
#[derive(Debug)]
pub(crate) struct Today {
    /// The image.
    pub digest: Digest,
    /// The inspections of the indexes that hold it, and then of the image itself; or why it cannot
    /// be inspected.
    pub judged: Result<Vec<Inspection>, String>,
}

/// Whether the policy lets an image keep a tag that is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The tag would be removed again.
    RemovedAgain,
    /// The tag would stay.
    Stays,
    /// It cannot be said.
    Unknown,
}

/// What would become of a tag, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct IfGivenBack {
    pub(super) verdict: Verdict,
    pub(super) because: Vec<String>,
}

impl IfGivenBack {
    fn new(verdict: Verdict, because: impl Into<String>) -> Self {
        Self { verdict, because: vec![because.into()] }
    }

    /// Returns what would become of a tag of this image, or if none is named, of its removed tags.
    pub(super) fn of(
        policy: &Policy,
        repository: &Repository,
        tag: Option<&Tag>,
        judged: Result<&[Inspection], &str>,
    ) -> Self {
        let of = |verdict, why: &str| Self::new(verdict, why);
        let inspection = match judged {
            Ok(all) => all.last().unwrap_or(&Inspection::Absent),
            Err(problem) => return of(Verdict::Unknown, problem),
        };
        match inspection {
            Inspection::Violation(violation) => Self::violating(policy, repository, tag, violation),
            Inspection::Clean(..) => of(Verdict::Stays, "no limit is exceeded"),
            Inspection::NotAnImage => of(Verdict::Stays, "it is not a container image"),
            Inspection::Wait(_, why, _)
            | Inspection::Unscanned(_, why)
            | Inspection::Unresolved(_, why) => of(Verdict::Unknown, why),
            Inspection::LeftToScan(_) => of(Verdict::Unknown, "its scan has not ended"),
            Inspection::Unpulled => of(Verdict::Unknown, "nobody can pull it by a tag"),
            Inspection::Absent => of(Verdict::Unknown, "the image is gone"),
        }
    }

    fn violating(
        policy: &Policy,
        repository: &Repository,
        tag: Option<&Tag>,
        violation: &Violation,
    ) -> Self {
        let Violation { plan, evaluation, .. } = violation;
        let terms = policy.terms(repository).1;
        if let Some(why) = tag.and_then(|tag| terms.keeps(tag)) {
            return Self::new(Verdict::Stays, why);
        }
        if !plan.blockers.is_empty() {
            return Self { verdict: Verdict::Stays, because: plan.blockers.clone() };
        }
        Self { verdict: Verdict::RemovedAgain, because: evaluation.reasons.clone() }
    }
}
