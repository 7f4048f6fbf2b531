//! What the team was told lately, so that the same news of the same image is not told all day.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::domain::notice::NoticeAction;
use crate::notify::Notice;

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
        changes_nothing(notice) && self.knows(&key(notice))
    }

    /// The team has been told.
    pub(super) fn remember(&self, notice: &Notice) {
        if changes_nothing(notice) {
            self.learn(key(notice));
        }
    }

    /// Whether a topic has heard this very notice, or one under its id that said more: a notice is repeated for a topic
    /// that failed, and those that did not need not hear it again.
    pub(super) fn has_heard(&self, topic: &str, notice: &Notice) -> bool {
        notice.tags.untagged.is_empty() && self.knows(&heard(topic, notice))
    }

    /// A topic has accepted this notice.
    pub(super) fn heard(&self, topic: &str, notice: &Notice) {
        self.learn(heard(topic, notice));
    }

    fn knows(&self, key: &str) -> bool {
        let now = Instant::now();
        self.map().get(key).is_some_and(|&told| now - told < REMEMBERED)
    }

    fn learn(&self, key: String) {
        let now = Instant::now();
        let mut map = self.map();
        if map.len() >= MOST {
            map.retain(|_, &mut told| now - told < REMEMBERED);
        }
        if map.len() >= MOST {
            map.clear();
        }
        map.insert(key, now);
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where nothing was done, the reasons are the news: an image that waited for a later hour may be held then.
fn heard(topic: &str, notice: &Notice) -> String {
    let Notice { id, action, reasons, .. } = notice;
    let acted = matches!(action, NoticeAction::Quarantined | NoticeAction::Deleted);
    let reasons = if acted { String::new() } else { reasons.join("; ") };
    format!("{topic} {} {id} {reasons}", action.as_str())
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
