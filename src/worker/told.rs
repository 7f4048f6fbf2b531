//! What each topic was told lately, so that the same news of the same image is not told all day.

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
    /// Whether a topic knows what this notice says. A notice of tags that went in this very pass is always news.
    pub(super) fn has_heard(&self, topic: &str, notice: &Notice) -> bool {
        let now = Instant::now();
        notice.tags.untagged.is_empty()
            && self.map().get(&key(topic, notice)).is_some_and(|&told| now - told < REMEMBERED)
    }

    /// A topic has accepted this notice.
    pub(super) fn heard(&self, topic: &str, notice: &Notice) {
        let now = Instant::now();
        let mut map = self.map();
        if map.len() >= MOST {
            map.retain(|_, &mut told| now - told < REMEMBERED);
        }
        if map.len() >= MOST {
            map.clear();
        }
        map.insert(key(topic, notice), now);
    }

    /// A topic has not accepted this notice: what it heard before under the same id was less.
    pub(super) fn missed(&self, topic: &str, notice: &Notice) {
        self.map().remove(&key(topic, notice));
    }

    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What makes a notice the same news. Where something was done, that is its id: it is repeated for a topic that failed,
/// and those that did not need not hear it again. Where nothing was done, it is the image, the tags and the reasons,
/// whatever event led there.
fn key(topic: &str, notice: &Notice) -> String {
    let Notice { id, action, repository, digest, reasons, tags, .. } = notice;
    let word = action.as_str();
    match action {
        NoticeAction::Quarantined | NoticeAction::Deleted | NoticeAction::Failed => {
            format!("{topic} {word} {id}")
        }
        NoticeAction::WouldUntag | NoticeAction::Blocked | NoticeAction::Unscanned => {
            let mut tags: Vec<_> = tags.kept.iter().chain(&tags.would_untag).collect();
            tags.sort();
            format!("{topic} {word} {repository}@{digest} {tags:?} {}", reasons.join("; "))
        }
    }
}
