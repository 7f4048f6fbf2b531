//! The worker's answer to a request, as the records of the image have it.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::Wish;
use crate::domain::names::Tag;
use crate::domain::record::{History, Refusal};

/// What became of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Tags that were given back.
    pub restored: BTreeSet<Tag>,
    /// Tags that the image had already.
    pub present: BTreeSet<Tag>,
    /// Tags that another image has now. They were left alone.
    pub superseded: BTreeSet<Tag>,
    /// Why the worker refused.
    pub refused: Option<String>,
    /// Until when the image is left alone, if that was asked for and granted.
    pub held_until: Option<SystemTime>,
    /// Whether a hold ended.
    pub is_withdrawn: bool,
}

impl Answer {
    /// Returns the answer to this request, if there is one yet.
    #[must_use]
    pub(super) fn of(history: &History, request: &str, wish: &Wish) -> Option<Self> {
        let outcome = history.outcome_of(request).map(|noted| &noted.record);
        if outcome.is_none() && !(*wish == Wish::Withdraw && history.is_answered(request)) {
            return None;
        }
        let outcome = outcome.cloned().unwrap_or_default();
        let refused = outcome.refused.map(|Refusal(reason)| reason);
        // A hold that was withdrawn before it was carried out is not shown beside the refusal.
        let hold = history.holds().iter().find(|noted| noted.record.request == request);
        let hold = hold.filter(|_| refused.is_none());
        Some(Self {
            restored: outcome.restored,
            present: outcome.present,
            superseded: outcome.superseded,
            held_until: hold.map(|noted| noted.record.until),
            is_withdrawn: *wish == Wish::Withdraw && refused.is_none(),
            refused,
        })
    }

    /// Returns whether nothing of what was asked for was refused.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        self.refused.is_none()
    }
}
