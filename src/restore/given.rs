//! What became of each tag of a request.

use std::collections::BTreeSet;

use super::ReceivedOrder;
use crate::domain::names::Tag;
use crate::domain::record::{Closing, History, Refusal as RecordedRefusal};
use crate::notify::{HoldAnswer, LeftTag, RestoreAnswer};

/// What became of each tag of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    /// Given back now.
    pub(super) restored: BTreeSet<Tag>,
    /// The image had it before, or an earlier delivery that was killed midway gave it back.
    pub(super) present: BTreeSet<Tag>,
    /// Another image has it, and keeps it.
    pub(super) superseded: BTreeSet<Tag>,
    /// The registry refuses it, so that it stays open.
    pub(super) left: Vec<LeftTag>,
}

impl Given {
    /// Returns what outcomes say became of tags. They do not say which tags the registry refused.
    pub(super) fn of_outcomes<'a>(outcomes: impl Iterator<Item = &'a Closing>) -> Self {
        let mut given = Self::default();
        for outcome in outcomes {
            given.restored.extend(outcome.restored.iter().cloned());
            given.present.extend(outcome.present.iter().cloned());
            given.superseded.extend(outcome.superseded.iter().cloned());
        }
        given
    }

    /// Returns whether it says what became of a tag.
    pub(super) fn names(&self, tag: &Tag) -> bool {
        let settled = [&self.restored, &self.present, &self.superseded];
        settled.into_iter().any(|tags| tags.contains(tag))
            || self.left.iter().any(|left| left.tag == *tag)
    }

    /// Returns whether no tag is on the image or on another.
    pub(super) fn is_nothing(&self) -> bool {
        self.restored.is_empty() && self.present.is_empty() && self.superseded.is_empty()
    }

    /// Returns why tags were not given back, in one text, if there are any.
    pub(super) fn why_left(&self) -> Option<String> {
        let left = self.left.iter().map(|left| format!("{}: {}", left.tag, left.reason));
        (!self.left.is_empty()).then(|| left.collect::<Vec<_>>().join("; "))
    }

    /// Returns the outcome to record. It closes the records that name tags which are on an image.
    pub(super) fn outcome(&self, asked: &ReceivedOrder<'_>, history: &History) -> Closing {
        let settled = [&self.restored, &self.present, &self.superseded];
        let settled = settled.into_iter().flatten().cloned().collect();
        Closing {
            closes: history.open_records_of(&settled),
            restored: self.restored.clone(),
            present: self.present.clone(),
            superseded: self.superseded.clone(),
            ..closing(asked, self.why_left().map(RecordedRefusal))
        }
    }

    /// Returns the outcome to record when the request broke off. It closes the records that name
    /// tags which were given back, and does not answer the request.
    pub(super) fn part(&self, asked: &ReceivedOrder<'_>, history: &History) -> Closing {
        Closing {
            part_of: Some(asked.id().to_owned()),
            sender: Some(asked.sender()),
            closes: history.open_records_of(&self.restored),
            restored: self.restored.clone(),
            ..Closing::default()
        }
    }

    /// Returns the answer for a notice.
    pub(super) fn answer(self, asked: &ReceivedOrder<'_>, hold: HoldAnswer) -> RestoreAnswer {
        RestoreAnswer {
            restored: self.restored.into_iter().collect(),
            present: self.present.into_iter().collect(),
            superseded: self.superseded.into_iter().collect(),
            left: self.left,
            hold,
            ..RestoreAnswer::new(asked.id(), asked.sender())
        }
    }
}

/// Returns an outcome of a request that closes nothing.
pub(super) fn closing(asked: &ReceivedOrder<'_>, refused: Option<RecordedRefusal>) -> Closing {
    Closing {
        request: Some(asked.id().to_owned()),
        sender: Some(asked.sender()),
        refused,
        ..Closing::default()
    }
}
