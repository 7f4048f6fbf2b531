//! What a request finds: the image, its manifest and its records.

use std::collections::BTreeSet;

use super::Asked;
use super::given::Given;
use crate::domain::image::Image;
use crate::domain::names::Tag;
use crate::domain::record::{Closing, History, Hold, Refusal};
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
    pub(super) asked: &'a Asked<'a>,
    pub(super) request: &'a Request,
    pub(super) image: Image,
    pub(super) manifest: Manifest,
    /// All records of the image.
    pub(super) history: History,
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
    pub(super) fn outcomes(&self) -> impl Iterator<Item = &Closing> {
        let outcomes = self.history.outcomes().iter().map(|noted| &noted.record);
        outcomes.filter(|outcome| outcome.request.as_deref() == Some(self.asked.id()))
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
        let refused = self.outcomes().find_map(|outcome| outcome.refused.as_ref());
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
    pub(super) fn named_and_present(&self, except: &BTreeSet<Tag>) -> BTreeSet<Tag> {
        let named = self.named().into_iter().flatten().filter(|tag| !except.contains(*tag));
        named.filter(|tag| self.image.tags.contains(tag)).cloned().collect()
    }

    /// Returns the tags that the request names and of which nothing is known.
    pub(super) fn named_and_unknown(&self, given: &Given) -> Vec<LeftTag> {
        let named = self.named().into_iter().flatten().filter(|tag| !given.names(tag));
        let reason = "no open record of this image names it";
        named.map(|tag| LeftTag { tag: tag.clone(), reason: reason.to_owned() }).collect()
    }
}
