//! The reasons for which a request is refused.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use humantime::{format_duration, format_rfc3339_seconds};

use crate::domain::names::Tag;
use crate::domain::policy::OutOfScope;
use crate::notify::Advice;
use crate::outcome::Failure;

/// Why a request is refused, in words for the person who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The sender is not in the list.
    #[error("{sender} is not in {list}")]
    NotAllowed {
        /// The unique id of the sender.
        sender: String,
        /// The key of the list.
        list: &'static str,
    },
    /// SQS names no sender.
    #[error("the queue does not say who sent it")]
    NoSender,
    /// The worker itself may send to its queue, and so may everything that shares its role.
    #[error(
        "{0} is the worker's own role, whoever uses it: it may not ask, whatever the lists say"
    )]
    OwnRole(String),
    /// It is not known whether the sender is the worker's own role.
    #[error("the worker cannot find out its own role: {0}")]
    UnknownRole(String),
    /// The policy does not cover the account or the Region.
    #[error("{}", .0.as_str())]
    OutOfScope(OutOfScope),
    /// The message was sent too long ago.
    #[error("it was sent more than {} ago", format_duration(*.0))]
    TooOld(Duration),
    /// SQS does not say when the message was sent.
    #[error("the queue does not say when it was sent")]
    NoTime,
    /// Nothing is recorded.
    #[error("registry.records is off: nothing says which tags the image had")]
    RecordsOff,
    /// The image does not exist any more.
    #[error("the image is gone")]
    Gone,
    /// The image is in the archive or on its way out of it.
    #[error("the image is archived: restore it from the archive first")]
    Archived,
    /// More artifacts are attached to the image than are read.
    #[error(
        "too many artifacts are attached to the image: not all of its records can be read; delete \
         those that are not records of tagwarden"
    )]
    TooManyArtifacts,
    /// There is no key to verify records with.
    #[error("the worker has no restore.key: it cannot tell its own records from others")]
    NoKey,
    /// No open record names a tag that is asked for.
    #[error("no tag that was asked for is open in a record of this image{}", other_records(*.unsigned))]
    NothingToGiveBack {
        /// How many artifacts look like records and are not signed by a key of the worker.
        unsigned: usize,
    },
    /// The image violates the policy.
    #[error("the image still violates the policy: {0}")]
    StillViolates(String),
    /// Nothing says whether the image violates the policy.
    #[error("it is not known whether the image is within the policy: {0}")]
    NotJudged(String),
    /// The hold would have ended before it began.
    #[error("{} is past", format_rfc3339_seconds(*.0))]
    HoldIsPast(SystemTime),
    /// The hold is longer than holds may be.
    #[error(
        "a hold may last {} at most (restore.max_hold): until {}",
        format_duration(*.most),
        format_rfc3339_seconds(*.latest)
    )]
    HoldIsTooLong {
        /// `restore.max_hold`.
        most: Duration,
        /// The latest end of a hold that is asked for with this message.
        latest: SystemTime,
    },
    /// There is no hold to end.
    #[error("the image is not held")]
    NotHeld,
    /// The hold of the request was withdrawn before the request was carried out.
    #[error("its hold was withdrawn before it was carried out")]
    Withdrawn,
    /// ECR does not take a record without which nothing may be done.
    #[error("it cannot be recorded: {0}")]
    NotRecorded(String),
    /// The registry takes none of the tags.
    #[error("{0}")]
    NoTagTaken(String),
    /// The request was refused before, for a reason that is recorded.
    #[error("{0}")]
    Before(String),
}

fn other_records(count: usize) -> String {
    match count {
        0 => String::new(),
        count => format!("; {count} records of it are not signed with a key of this worker"),
    }
}

impl Refusal {
    /// Returns whether nothing may be written about it, because it is not known whether the sender
    /// may ask, or the image is not one of ours. Then the team is notified at most once an hour for
    /// each sender.
    pub(super) fn is_turned_away(&self) -> bool {
        matches!(
            self,
            Self::NotAllowed { .. }
                | Self::NoSender
                | Self::OwnRole(_)
                | Self::UnknownRole(_)
                | Self::OutOfScope(_)
                | Self::NoTime
        )
    }

    /// Returns whether the refusal is recorded on the image, so that the person who asked can read
    /// it there.
    pub(super) fn is_recorded(&self) -> bool {
        let cannot_be = matches!(
            self,
            Self::RecordsOff
                | Self::Gone
                | Self::Archived
                | Self::TooManyArtifacts
                | Self::NotRecorded(_)
        );
        // What the registry did not take is in the outcome of the tags.
        let is_known = matches!(self, Self::NoTagTaken(_) | Self::Before(_));
        !self.is_turned_away() && !cannot_be && !is_known
    }

    /// Returns what the person who asked can do.
    pub(super) fn advice(&self) -> Advice {
        match self {
            Self::NotAllowed { .. } | Self::OwnRole(_) => Advice::AskSomebodyElse,
            Self::NoSender | Self::UnknownRole(_) | Self::TooOld(_) | Self::NoTime => {
                Advice::AskAgain
            }
            Self::RecordsOff
            | Self::TooManyArtifacts
            | Self::NoKey
            | Self::NothingToGiveBack { unsigned: 1.. }
            | Self::NotRecorded(_) => Advice::ByHand,
            Self::Gone | Self::NothingToGiveBack { .. } | Self::NotHeld => Advice::Nothing,
            Self::StillViolates(_) | Self::NotJudged(_) => Advice::AskForHold,
            Self::OutOfScope(_)
            | Self::Archived
            | Self::HoldIsPast(_)
            | Self::HoldIsTooLong { .. }
            | Self::Withdrawn
            | Self::NoTagTaken(_)
            | Self::Before(_) => Advice::AskOtherwise,
        }
    }
}

/// The reason why a request is not carried out.
#[derive(Debug)]
pub(super) enum NotDone {
    /// It is refused for good. The tags are those removed ones that were asked for, if they are
    /// known. They stay removed.
    Refused(Refusal, BTreeSet<Tag>),
    /// It fails now, and the message comes again.
    Failed(Failure),
}

impl From<Refusal> for NotDone {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal, BTreeSet::new())
    }
}

impl From<Failure> for NotDone {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
