//! What is asked of the worker, and about which images.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::domain::names::{Digest, Repository, Tag};
use crate::event::restore::{RestoreAction, RestoreOrder};

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Give tags back if the image is within the policy.
    GiveBack,
    /// Give tags back, and leave the image alone until a time.
    Hold {
        /// The end of the hold.
        until: SystemTime,
        /// Why the image is needed.
        reason: String,
        /// Who answers for it.
        owner: String,
    },
    /// End the hold of the image.
    Withdraw,
}

/// How an image stands before anything is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The worker can be asked.
    Askable,
    /// Every tag that was removed was given back, or has moved to another image.
    Closed,
    /// No record of it is signed, so the worker would refuse.
    NotSigned,
    /// It was quarantined before there were records.
    Unrecorded,
    /// It is archived, and takes no tags until it is activated again.
    Archived,
    /// It has more artifacts than the worker reads, so the worker would refuse.
    TooManyArtifacts,
    /// There is no hold to end.
    NotHeld,
}

impl Standing {
    /// Every standing of an image about which nobody is asked.
    pub(super) const NOT_ASKED: [Self; 6] = [
        Self::Closed,
        Self::NotSigned,
        Self::Unrecorded,
        Self::Archived,
        Self::TooManyArtifacts,
        Self::NotHeld,
    ];

    /// Returns a short word for a table.
    #[must_use]
    pub(super) fn shortly(self) -> &'static str {
        match self {
            Self::Askable => "signed",
            Self::Closed => "done",
            Self::NotSigned => "unsigned",
            Self::Unrecorded => "no record",
            Self::Archived => "archived",
            Self::TooManyArtifacts => "too full",
            Self::NotHeld => "not held",
        }
    }

    /// Returns what is said of a number of such images.
    #[must_use]
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::Askable => "signed",
            Self::Closed => "done before",
            Self::NotSigned => "without a record that the worker has signed: by hand, as below",
            Self::Unrecorded => "quarantined before there were records: by hand, as below",
            Self::Archived => {
                "archived: take it out of the archive first (aws ecr update-image-storage-class \
                 --target-storage-class STANDARD), then run this again"
            }
            Self::TooManyArtifacts => {
                "with more artifacts than the worker reads: by hand, as below"
            }
            Self::NotHeld => {
                "not held, so there is no hold to end; `tagwarden explain IMAGE` shows its holds"
            }
        }
    }

    /// Returns the word for programs.
    #[must_use]
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Askable => "askable",
            Self::Closed => "closed",
            Self::NotSigned => "not_signed",
            Self::Unrecorded => "unrecorded",
            Self::Archived => "archived",
            Self::TooManyArtifacts => "too_many_artifacts",
            Self::NotHeld => "not_held",
        }
    }

    /// Returns whether somebody still has to do something about the image that the worker will not.
    #[must_use]
    pub(crate) fn is_left_to_people(self) -> bool {
        !matches!(self, Self::Askable | Self::Closed | Self::NotHeld)
    }
}

/// An image that a person has chosen.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    /// The repository.
    pub repository: Repository,
    /// The image.
    pub digest: Digest,
    /// The tags to give back, as far as they are known.
    pub tags: BTreeSet<Tag>,
    /// Whether these are only some of the tags that were removed from it.
    pub is_narrowed: bool,
    /// When the first of them was removed, by the registry, if it is known.
    pub since: Option<SystemTime>,
    /// The rule that judged, if a record names it.
    pub rule: Option<String>,
    /// The worst finding in words, if a record names one.
    pub worst: Option<String>,
    /// How the image stands.
    pub standing: Standing,
}

impl Chosen {
    /// Returns the order for the worker.
    #[must_use]
    pub(super) fn order(&self, wish: &Wish, request: &str) -> RestoreOrder {
        // The worker knows all of them from its records.
        let tags = self.is_narrowed.then(|| self.tags.clone());
        let action = match wish {
            Wish::GiveBack => RestoreAction::GiveBack { tags },
            Wish::Hold { until, reason, owner } => RestoreAction::Hold {
                tags,
                until: *until,
                reason: reason.clone(),
                owner: owner.clone(),
            },
            Wish::Withdraw => RestoreAction::Withdraw,
        };
        RestoreOrder {
            request: Some(request.to_owned()),
            repository: self.repository.clone(),
            digest: self.digest.clone(),
            action,
        }
    }
}
