//! What the team was told lately, so that the same news of the same image is not told all day.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::notify::{Notice, NoticeAction};

/// How long the same news stays old news.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// News that are remembered. Past it all are forgotten: telling twice does no harm.
const MOST: usize = 10_000;

/// Best effort and of this process alone: nothing relies on it.
#[derive(Debug, Default)]
pub(super) struct Told(Mutex<HashMap<String, Instant>>);

impl Told {
    /// Whether this is old news. A notice of tags that went, now or before it, is always news.
    pub(super) fn is_old_news(&self, notice: &Notice) -> bool {
        let now = Instant::now();
        changes_nothing(notice)
            && self.map().get(&key(notice)).is_some_and(|&told| now - told < REMEMBERED)
    }

    /// The team has been told.
    pub(super) fn remember(&self, notice: &Notice) {
        if !changes_nothing(notice) {
            return;
        }
        let mut map = self.map();
        if map.len() >= MOST {
            let now = Instant::now();
            map.retain(|_, &mut told| now - told < REMEMBERED);
        }
        if map.len() >= MOST {
            map.clear();
        }
        map.insert(key(notice), Instant::now());
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn changes_nothing(notice: &Notice) -> bool {
    notice.tags.untagged.is_empty()
        && match notice.action {
            NoticeAction::WouldUntag | NoticeAction::Blocked | NoticeAction::Unscanned => true,
            NoticeAction::Quarantined | NoticeAction::Deleted | NoticeAction::Failed => false,
        }
}

/// The image and the decision; not the event.
fn key(notice: &Notice) -> String {
    let Notice { repository, digest, action, reasons, .. } = notice;
    format!("{repository}@{digest} {} {}", action.as_str(), reasons.join("; "))
}
