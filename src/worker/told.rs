//! What each topic was told lately, so that the same news of the same image is not told all day.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::domain::image::{Digest, Repository, Tag};
use crate::domain::notice::NoticeAction;
use crate::notify::Notice;

/// How long the same news stays old news.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// News that are remembered. Past it all are forgotten: telling twice does no harm.
const MOST: usize = 10_000;

/// Best effort and of this process alone: nothing relies on it.
#[derive(Debug, Default)]
pub(super) struct Told {
    heard: Mutex<HashMap<Key, Instant>>,
    /// Tags that went and of which the team could not be told, by image: whoever comes to tell of it names them too.
    untold: Mutex<HashMap<(Repository, Digest), Vec<Tag>>>,
}

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

    /// A topic has not accepted this notice, though it may have heard the same before.
    pub(super) fn missed(&self, topic: &str, notice: &Notice) {
        self.map().remove(&key(topic, notice));
    }

    /// The team could not be told of the tags in this notice.
    pub(super) fn not_told(&self, notice: &Notice) {
        if notice.tags.untagged.is_empty() {
            return;
        }
        let mut untold = self.untold();
        if untold.len() >= MOST {
            untold.clear();
        }
        let tags = untold.entry((notice.repository.clone(), notice.digest.clone())).or_default();
        for tag in &notice.tags.untagged {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
    }

    /// Every topic has accepted this notice.
    pub(super) fn told(&self, notice: &Notice) {
        let named = &notice.tags;
        self.untold().retain(|(repository, digest), tags| {
            if *repository == notice.repository && *digest == notice.digest {
                tags.retain(|tag| !named.untagged.contains(tag) && !named.claimed.contains(tag));
            }
            !tags.is_empty()
        });
    }

    /// The image of a repository that lost this tag, where the team could not be told of that.
    pub(super) fn image_that_lost(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        let untold = self.untold();
        let mut lost =
            untold.iter().filter(|((of, _), tags)| of == repository && tags.contains(tag));
        lost.next().map(|((_, digest), _)| digest.clone())
    }

    /// The tags of an image that went and of which the team could not be told.
    pub(super) fn left_to_tell(&self, repository: &Repository, digest: &Digest) -> Vec<Tag> {
        self.untold().get(&(repository.clone(), digest.clone())).cloned().unwrap_or_default()
    }

    fn map(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn untold(&self) -> MutexGuard<'_, HashMap<(Repository, Digest), Vec<Tag>>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The news in so many bytes, whatever the tags and reasons come to.
type Key = [u8; 32];

/// What makes a notice the same news. Where something was done, that is its id and the tags that went: it is repeated for
/// a topic that failed, and those that did not need not hear it again. Where nothing was done, it is the image, the tags
/// and the reasons, whatever event led there.
fn key(topic: &str, notice: &Notice) -> Key {
    let Notice { id, action, repository, digest, reasons, tags, .. } = notice;
    let word = action.as_str();
    let news = match action {
        NoticeAction::Quarantined | NoticeAction::Deleted | NoticeAction::Failed => {
            let mut gone: Vec<_> = tags.untagged.iter().chain(&tags.claimed).collect();
            gone.sort();
            format!("{topic} {word} {id} {gone:?}")
        }
        NoticeAction::WouldUntag | NoticeAction::Blocked | NoticeAction::Unscanned => {
            let mut tags: Vec<_> = tags.kept.iter().chain(&tags.would_untag).collect();
            tags.sort();
            format!("{topic} {word} {repository}@{digest} {tags:?} {}", reasons.join("; "))
        }
    };
    Sha256::digest(news).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::RepositoryName;
    use crate::notify::sample::{notice, tags};

    const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:team";

    #[test]
    fn the_same_news_is_known_by_its_tags_and_reasons_however_many_they_are() {
        let told = Told::default();
        let mut news = Notice { action: NoticeAction::Blocked, ..notice() };
        news.tags.untagged.clear();
        news.tags.kept = (0..5000).map(|at| Tag::parse(format!("v{at}")).unwrap()).collect();
        news.reasons = vec!["x".repeat(1 << 20)];
        told.heard(TOPIC, &news);
        assert!(told.has_heard(TOPIC, &news));
        assert!(!told.has_heard("another topic", &news));
        let mut other = news.clone();
        other.tags.kept.pop();
        assert!(!told.has_heard(TOPIC, &other));
        let mut other = news.clone();
        other.reasons.push("another".to_owned());
        assert!(!told.has_heard(TOPIC, &other));
        told.missed(TOPIC, &news);
        assert!(!told.has_heard(TOPIC, &news));
    }

    #[test]
    fn one_tag_in_two_repositories_is_of_two_images() {
        let told = Told::default();
        let mut one = notice();
        one.tags.untagged = tags(&["1.0"]);
        let mut other = one.clone();
        other.repository.name = RepositoryName::parse("team/other").unwrap();
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        one.digest = Digest::parse(digest('1')).unwrap();
        other.digest = Digest::parse(digest('2')).unwrap();
        told.not_told(&one);
        told.not_told(&other);
        let tag = &one.tags.untagged[0];
        let lost = |of: &Notice| told.image_that_lost(&of.repository, tag);
        assert_eq!(lost(&one), Some(one.digest.clone()));
        assert_eq!(lost(&other), Some(other.digest.clone()));
        let mut third = one.repository.clone();
        third.name = RepositoryName::parse("team/third").unwrap();
        assert_eq!(told.image_that_lost(&third, tag), None);

        told.told(&one);
        assert_eq!(lost(&one), None, "its team knows");
        assert_eq!(lost(&other), Some(other.digest.clone()));
    }
}
