//! What an assessment comes to: an outcome, or why the message is not done with.

use std::time::Duration;

use super::probe::Stopping;
use crate::aws::AwsError;
use crate::domain::policy::OutOfReach;
use crate::event::Malformed;

/// What happened to the image of a message that is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A step of a sweep: what follows from it has been sent, or told.
    Swept,
    /// A step of a sweep for which there is no room: sent again.
    PutOff,
    /// A step of a sweep that this task has taken before.
    Repeated,
    /// Results of a sweep that came after its summary, or too few for one: told by themselves.
    Late,
    /// Not for us: another source, another kind of scan, our own quarantine tag.
    Ignored(&'static str),
    /// The policy does not cover the repository.
    OutOfReach(OutOfReach),
    /// Another message's assessment of the same image speaks for this one; what it came to.
    Joined(&'static str),
    /// It is no container image.
    NotAnImage,
    /// Its scan has not ended, and an event will come when it has.
    LeftToScan,
    /// No limit is exceeded.
    Clean,
    /// The tags are gone, the image is kept, the team was told.
    Quarantined,
    /// The tags and the image are gone, the team was told.
    Deleted,
    /// Audit mode: told what would be done.
    WouldUntag,
    /// The image bears our mark and nothing is left to untag.
    AlreadyQuarantined,
    /// The image has no tag, and violates the policy or cannot be judged.
    NothingToUntag,
    /// The image, tag or repository does not exist.
    Absent,
    /// Every tag has moved on.
    Superseded,
    /// The image violates the policy and cannot be acted on; told.
    Blocked,
    /// There is nothing to judge by; told.
    Unscanned,
    /// The registry took more than was asked for; put back as far as possible, and told.
    Overreach,
}

impl Outcome {
    /// Every word of [`Outcome::as_str`].
    pub const WORDS: [&'static str; 20] = [
        "swept",
        "put_off",
        "repeated",
        "late",
        "ignored",
        "out_of_reach",
        "joined",
        "not_an_image",
        "left_to_scan",
        "clean",
        "quarantined",
        "deleted",
        "would_untag",
        "already_quarantined",
        "nothing_to_untag",
        "absent",
        "superseded",
        "blocked",
        "unscanned",
        "overreach",
    ];

    /// The word of logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Swept => "swept",
            Self::PutOff => "put_off",
            Self::Repeated => "repeated",
            Self::Late => "late",
            Self::Ignored(_) => "ignored",
            Self::OutOfReach(_) => "out_of_reach",
            Self::Joined(_) => "joined",
            Self::NotAnImage => "not_an_image",
            Self::LeftToScan => "left_to_scan",
            Self::Clean => "clean",
            Self::Quarantined => "quarantined",
            Self::Deleted => "deleted",
            Self::WouldUntag => "would_untag",
            Self::AlreadyQuarantined => "already_quarantined",
            Self::NothingToUntag => "nothing_to_untag",
            Self::Absent => "absent",
            Self::Superseded => "superseded",
            Self::Blocked => "blocked",
            Self::Unscanned => "unscanned",
            Self::Overreach => "overreach",
        }
    }
}

impl Outcome {
    /// Why there was nothing to do, where that is not plain from the word.
    #[must_use]
    pub fn why(&self) -> Option<&'static str> {
        match self {
            Self::Ignored(why) => Some(why),
            Self::OutOfReach(why) => Some(why.as_str()),
            Self::Joined(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// How much was done, for the one word that stands for several images.
    pub(super) fn gravity(&self) -> u8 {
        match self {
            Self::Absent
            | Self::Swept
            | Self::PutOff
            | Self::Repeated
            | Self::Late
            | Self::Ignored(_)
            | Self::OutOfReach(_) => 0,
            Self::NotAnImage | Self::Clean => 1,
            Self::LeftToScan => 2,
            Self::NothingToUntag => 3,
            Self::Superseded => 4,
            Self::Joined(_) => 5,
            Self::AlreadyQuarantined => 6,
            Self::Unscanned => 7,
            Self::Blocked => 8,
            Self::WouldUntag | Self::Quarantined => 9,
            Self::Deleted => 10,
            Self::Overreach => 11,
        }
    }
}

/// Why a message is not done with.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The message is no event.
    #[error("malformed: {0}")]
    Malformed(#[from] Malformed),
    /// AWS could not, for now.
    #[error("{0}")]
    Transient(AwsError),
    /// AWS finds fault with our request.
    #[error("{0}")]
    Rejected(AwsError),
    /// We are not allowed to, in this account or repository.
    #[error("{0}")]
    Refused(AwsError),
    /// The registry refused single tags.
    #[error("refused: {0}")]
    TagsRefused(String),
    /// The scan's findings are not there yet.
    #[error("waiting for findings: {reason}")]
    Pending {
        /// What was seen.
        reason: String,
        /// When to look again.
        again: Duration,
    },
    /// The quarantine tag has not arrived yet in registries in which removals are repeated.
    #[error("waiting for the quarantine tag in {missing}")]
    Unreplicated {
        /// In which it is missing.
        missing: String,
        /// How often the message had been received whose pass found that.
        receives: u32,
    },
    /// Others of its repository are in the way, and they are slow.
    #[error("too many messages of the repository wait for their turn, and it is slow")]
    Crowded,
    /// Some tags are still there.
    #[error("not every tag could be untagged: {0}")]
    Incomplete(String),
    /// Acted, but the team could not be told.
    #[error("the team could not be told: {0}")]
    NotTold(AwsError),
    /// The same by one topic that refuses us, while others do not.
    #[error("topic {topic} refuses: {error}")]
    TopicRefused {
        /// Its ARN.
        topic: String,
        /// How.
        error: AwsError,
    },
    /// As much as the limits allow has been untagged.
    #[error("{reason}")]
    Limited {
        /// Which limit.
        reason: String,
        /// When to ask again.
        again: Duration,
    },
    /// Untagging was stopped by an over-reach.
    #[error("untagging is stopped in this process by an over-reach")]
    Stopped,
    /// What an over-reach took could not be put back.
    #[error("an over-reach could not be put back: {0}")]
    NotPutBack(String),
    /// The assessment panicked.
    #[error("the assessment panicked")]
    Panicked,
    /// The worker is stopping.
    #[error("the worker is stopping")]
    Abandoned,
}

impl Failure {
    /// Every word of [`Failure::as_str`].
    pub const WORDS: [&'static str; 15] = [
        "malformed",
        "transient",
        "rejected",
        "refused",
        "pending",
        "unreplicated",
        "crowded",
        "incomplete",
        "not_told",
        "topic_refused",
        "limited",
        "stopped",
        "not_put_back",
        "panicked",
        "abandoned",
    ];

    /// The word of logs and metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Transient(_) => "transient",
            Self::Rejected(_) => "rejected",
            Self::Refused(_) | Self::TagsRefused(_) => "refused",
            Self::Pending { .. } => "pending",
            Self::Unreplicated { .. } => "unreplicated",
            Self::Crowded => "crowded",
            Self::Incomplete(_) => "incomplete",
            Self::NotTold(_) => "not_told",
            Self::TopicRefused { .. } => "topic_refused",
            Self::Limited { .. } => "limited",
            Self::Stopped => "stopped",
            Self::NotPutBack(_) => "not_put_back",
            Self::Panicked => "panicked",
            Self::Abandoned => "abandoned",
        }
    }
}

impl From<Stopping> for Failure {
    fn from(_: Stopping) -> Self {
        Self::Abandoned
    }
}
