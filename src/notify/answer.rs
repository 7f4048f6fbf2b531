//! What a notice says about restoring: how removed tags can be given back, and the answer to a
//! request to do so.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::domain::names::{Digest, Tag};
use crate::domain::record::Hold;

/// How the tags that a pass removed can be given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WayBack {
    /// By `tagwarden restore`: a signed record names the tags, and the worker takes requests.
    Restore {
        /// The longest hold that somebody may ask for, so that the image has its tags while it
        /// still violates the policy; `None` if nobody may.
        longest_hold: Option<Duration>,
    },
    /// By hand: the worker takes no requests (`restore.key` or `restore.senders` is missing), or
    /// would refuse one for this image.
    #[default]
    ByHand,
    /// By hand, and no record names the tags, because `registry.records` is `off`.
    RecordsOff,
    /// By hand, and no record names the tags, because ECR has no room for one.
    NoRoom,
}

impl WayBack {
    /// Returns whether no record names the tags, so that only the notice and the audit log do.
    pub(super) fn is_unrecorded(self) -> bool {
        matches!(self, Self::RecordsOff | Self::NoRoom)
    }
}

/// The answer to a request to give tags back, to hold an image, or to end its hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreAnswer {
    /// The id of the request.
    pub request: String,
    /// Who sent it, as SQS names the sender.
    pub sender: String,
    /// The removed tags that were asked for, if the request was refused. They stay removed.
    pub asked: Vec<Tag>,
    /// Tags that were given back.
    pub restored: Vec<Tag>,
    /// Tags that the image had before, or that a delivery of this request which was killed midway
    /// has given back: that cannot be told apart.
    pub present: Vec<Tag>,
    /// Tags that another image has now. They were left alone.
    pub superseded: Vec<Tag>,
    /// Tags that were not given back for another reason, so that they stay restorable.
    pub left: Vec<LeftTag>,
    /// What became of a hold.
    pub hold: HoldAnswer,
    /// Why nothing was done, if the request was refused.
    pub refusal: Option<AnsweredRefusal>,
    /// The recorded outcomes that it notifies of. A topic that has heard of them all the same is
    /// not notified again; an outcome of a second look is news, even if it names the same tags.
    pub outcomes: BTreeSet<Digest>,
}

impl RestoreAnswer {
    /// Returns the answer to a request of this sender, before anything was done.
    #[must_use]
    pub fn new(request: impl Into<String>, sender: impl Into<String>) -> Self {
        Self {
            request: request.into(),
            sender: sender.into(),
            asked: Vec::new(),
            restored: Vec::new(),
            present: Vec::new(),
            superseded: Vec::new(),
            left: Vec::new(),
            hold: HoldAnswer::None,
            refusal: None,
            outcomes: BTreeSet::new(),
        }
    }

    /// Returns the tags that it is about: those that were given back, else those that were asked
    /// for.
    pub(super) fn named(&self) -> Vec<&Tag> {
        if !self.restored.is_empty() {
            return self.restored.iter().collect();
        }
        let left = self.left.iter().map(|left| &left.tag);
        self.asked.iter().chain(&self.present).chain(&self.superseded).chain(left).collect()
    }
}

/// A tag that was not given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftTag {
    /// The tag.
    pub tag: Tag,
    /// Why not, in words.
    pub reason: String,
}

/// What an answer says about a hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HoldAnswer {
    /// The image is not held, or nobody asked.
    #[default]
    None,
    /// This hold is in force.
    Held(Hold),
    /// A hold was asked for, and this one was in force before and lasts at least as long.
    Already(Hold),
    /// The hold was ended early.
    Withdrawn,
}

/// Why a request was refused, and what the person who asked can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredRefusal {
    /// The reason in words.
    pub reason: String,
    /// What to do.
    pub advice: Advice,
}

/// What a person can do whose request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The image violates the policy: rebuild it, or ask for a hold.
    AskForHold,
    /// The sender may not ask for this: somebody has to ask who may.
    AskSomebodyElse,
    /// The request was too old, or could not be answered now: ask again.
    AskAgain,
    /// What was asked for is not possible, such as a hold that is too long: ask for something else.
    AskOtherwise,
    /// The worker cannot do it: do it by hand.
    ByHand,
    /// There is nothing to give back.
    Nothing,
}
