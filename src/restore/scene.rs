//! What a request finds: the image, its manifest and its records.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::ReceivedOrder;
use super::given::Given;
use crate::domain::image::Image;
use crate::domain::names::Tag;
use crate::domain::record::{Closing, History, Hold, Noted, Refusal};
use crate::event::restore::RestoreAction;
use crate::inspect::Request;
use crate::notify::LeftTag;
use crate::registry::Manifest;

/// The most outcomes of an image that close nothing. They are answers to requests that changed
/// nothing, and records beyond a number are not read, so whoever may ask could make the image one
/// whose records are not known.
const MAX_IDLE_OUTCOMES: usize = 50;

/// A request, and what it finds.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) asked: &'a ReceivedOrder<'a>,
    pub(super) request: &'a Request,
    pub(super) image: Image,
    pub(super) manifest: Manifest,
    /// All records of the image.
    pub(super) history: History,
}

/// What an earlier delivery of a request gave back before it broke off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct GivenBefore {
    /// Tags that are on the image.
    pub(super) restored: BTreeSet<Tag>,
    /// Tags that the image has lost again.
    pub(super) lost: BTreeSet<Tag>,
}

impl Scene<'_> {
    /// Returns whether this request was carried out or refused before.
    ///
    /// A withdrawal is carried out only when its outcome is written, because the image may have had
    /// several holds to end.
    pub(super) fn is_answered(&self) -> bool {
        let id = self.asked.id();
        match self.asked.order.action {
            RestoreAction::Withdraw => self.history.outcome_of(id).is_some(),
            RestoreAction::GiveBack { .. } | RestoreAction::Hold { .. } => {
                self.history.is_answered(id)
            }
        }
    }

    /// Returns the outcomes of this request. It has two if the second look gave tags back.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &Noted<Closing>> {
        let outcomes = self.history.outcomes().iter();
        outcomes.filter(|outcome| outcome.record.request.as_deref() == Some(self.asked.id()))
    }

    /// Returns the outcomes of this request of which no record says that the team was notified.
    pub(super) fn untold_outcomes(&self) -> impl Iterator<Item = &Noted<Closing>> {
        let told = self.history.notifications_of(self.asked.id());
        let told: BTreeSet<_> = told.flat_map(|notification| &notification.outcomes).collect();
        self.outcomes().filter(move |outcome| !told.contains(&outcome.id))
    }

    /// Returns when the team was last notified of an outcome of this request, if a record says so.
    pub(super) fn notified_at(&self) -> Option<SystemTime> {
        let told = self.history.notifications_of(self.asked.id());
        told.map(|notification| notification.at).max()
    }

    /// Returns what an earlier delivery of this request gave back before it broke off: the tags
    /// that are still on the image as restored, and the others as left to give back.
    pub(super) fn given_before(&self) -> GivenBefore {
        let parts = self.history.outcomes().iter().map(|noted| &noted.record);
        let parts = parts.filter(|part| part.part_of.as_deref() == Some(self.asked.id()));
        let all = parts.flat_map(|part| &part.restored).cloned();
        let (restored, lost) = all.partition(|tag| self.image.tags.contains(tag));
        GivenBefore { restored, lost }
    }

    /// Returns the tags to give back: the open ones, and those that were lost again.
    pub(super) fn tags_to_give_back(&self, before: &GivenBefore) -> BTreeSet<Tag> {
        let open = self.open_tags().into_iter().chain(before.lost.iter().cloned());
        open.filter(|tag| !before.restored.contains(tag)).collect()
    }

    /// Returns whether one more outcome that closes nothing may be written.
    pub(super) fn has_room(&self) -> bool {
        let outcomes = self.history.outcomes().iter();
        let idle = outcomes.filter(|outcome| outcome.record.closes.is_empty()).count();
        idle < MAX_IDLE_OUTCOMES
    }

    /// Returns the hold that this request has written before.
    pub(super) fn own_hold(&self) -> Option<&Hold> {
        let holds = self.history.holds().iter().map(|noted| &noted.record);
        holds.into_iter().find(|hold| hold.request == self.asked.id())
    }

    /// Returns why this request was refused, if it was. `before` is what its outcomes say became of
    /// tags.
    pub(super) fn recorded_refusal(&self, before: &Given) -> Option<&Refusal> {
        let refused = self.outcomes().find_map(|outcome| outcome.record.refused.as_ref());
        refused.filter(|_| before.is_nothing() && self.own_hold().is_none())
    }

    /// Returns the tags that the request names; `None` if it means all of them.
    fn named(&self) -> Option<&BTreeSet<Tag>> {
        self.asked.order.action.tags()
    }

    /// Returns the tags that the request asks for and that an open record names.
    pub(super) fn open_tags(&self) -> BTreeSet<Tag> {
        let open = self.history.open_tags().into_iter().map(|open| open.tag);
        let is_asked_for = |tag: &&Tag| self.named().is_none_or(|named| named.contains(*tag));
        open.filter(is_asked_for).cloned().collect()
    }

    /// Returns the tags that the request names and that the image has, except these.
    pub(super) fn named_and_present(&self, except: [&BTreeSet<Tag>; 2]) -> BTreeSet<Tag> {
        let is_new = |tag: &&Tag| !except.iter().any(|tags| tags.contains(*tag));
        let named = self.named().into_iter().flatten().filter(is_new);
        named.filter(|tag| self.image.tags.contains(tag)).cloned().collect()
    }

    /// Returns the tags that the request names and of which nothing is known.
    pub(super) fn named_and_unknown(&self, given: &Given) -> Vec<LeftTag> {
        let named = self.named().into_iter().flatten().filter(|tag| !given.names(tag));
        let reason = "no open record of this image names it";
        named.map(|tag| LeftTag { tag: tag.clone(), reason: reason.to_owned() }).collect()
    }
}
