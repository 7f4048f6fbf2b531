//! What each topic was notified of lately, so that nobody hears the same about one image all day.

use std::time::Duration;

use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use super::Notice;
use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::notice::NoticeAction;

/// How long a topic is not notified of the same news again.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Notices that are remembered, and images whose removed tags are. Beyond that others are
/// forgotten, because to notify twice does no harm, and the audit log has every removed tag.
const MAX_NOTICES: usize = 10_000;

/// What the topics have heard. It is best effort and of this process alone: nothing relies on it.
#[derive(Debug)]
pub(super) struct NotificationHistory {
    heard: Cache<NewsKey, Instant>,
    /// Tags that were removed or may have been, and of which the team could not be notified, by
    /// image: the next notice about the image names those that it no longer has.
    undelivered: Cache<(Repository, Digest), Vec<Tag>>,
}

impl Default for NotificationHistory {
    fn default() -> Self {
        Self { heard: Cache::new(MAX_NOTICES), undelivered: Cache::new(MAX_NOTICES) }
    }
}

impl NotificationHistory {
    /// Returns whether a topic knows what this notice says. A notice of tags that this very pass
    /// removed is always news.
    pub(super) fn has_heard(&self, topic: &str, notice: &Notice) -> bool {
        let now = Instant::now();
        notice.tags.untagged.is_empty()
            && self.heard.get(&key(topic, notice)).is_some_and(|at| now - at < REMEMBERED)
    }

    /// A topic has accepted this notice.
    pub(super) fn heard(&self, topic: &str, notice: &Notice) {
        self.heard.insert(key(topic, notice), Instant::now());
    }

    /// A topic has not accepted this notice, though it may have heard the same before.
    pub(super) fn missed(&self, topic: &str, notice: &Notice) {
        self.heard.remove(&key(topic, notice));
    }

    /// The team could not be notified of the removed tags in this notice.
    pub(super) fn undelivered(&self, notice: &Notice) {
        self.may_have_lost(&notice.repository, &notice.digest, &notice.tags.untagged);
    }

    /// An image lost these tags, or may have lost them.
    pub(super) fn may_have_lost(&self, repository: &Repository, digest: &Digest, lost: &[Tag]) {
        if lost.is_empty() {
            return;
        }
        let mut tags = self.left_to_notify(repository, digest);
        for tag in lost {
            if !tags.contains(tag) {
                tags.push(tag.clone());
            }
        }
        self.undelivered.insert((repository.clone(), digest.clone()), tags);
    }

    /// Every topic has accepted this notice.
    pub(super) fn delivered(&self, notice: &Notice) {
        let named = &notice.tags;
        let image = (notice.repository.clone(), notice.digest.clone());
        let Some((image, mut tags)) = self.undelivered.remove(&image) else { return };
        tags.retain(|tag| !named.untagged.contains(tag) && !named.claimed.contains(tag));
        if !tags.is_empty() {
            self.undelivered.insert(image, tags);
        }
    }

    /// Returns the image of a repository that lost this tag, or may have lost it, without the team
    /// being notified of it.
    pub(super) fn image_that_lost(&self, repository: &Repository, tag: &Tag) -> Option<Digest> {
        let mut lost = self
            .undelivered
            .iter()
            .filter(|((of, _), tags)| of == repository && tags.contains(tag));
        lost.next().map(|((_, digest), _)| digest)
    }

    /// Returns the tags that an image lost, or may have lost, without the team being notified of
    /// them.
    pub(super) fn left_to_notify(&self, repository: &Repository, digest: &Digest) -> Vec<Tag> {
        let image = (repository.clone(), digest.clone());
        self.undelivered.get(&image).unwrap_or_default()
    }
}

/// A hash of the news, so that each takes the same memory however long its tags and reasons are.
type NewsKey = [u8; 32];

/// Returns what makes a notice the same news.
///
/// When something was removed, that is its id and the removed tags: it is repeated for a topic that
/// failed, and the others need not hear it again. The answer to a request is as new as the outcomes
/// that it notifies of. When nothing was removed, it is the image, the tags and the reasons,
/// whatever event led there.
fn key(topic: &str, notice: &Notice) -> NewsKey {
    let Notice { id, action, repository, digest, reasons, tags, answer, .. } = notice;
    let word = action.as_str();
    let news = match action {
        NoticeAction::Quarantined | NoticeAction::Deleted | NoticeAction::Failed => {
            let mut removed: Vec<_> = tags.untagged.iter().chain(&tags.claimed).collect();
            removed.sort();
            format!("{topic} {word} {id} {removed:?}")
        }
        NoticeAction::Restored | NoticeAction::Refused => {
            let outcomes: Vec<_> = answer.iter().flat_map(|answer| &answer.outcomes).collect();
            format!("{topic} {word} {id} {outcomes:?}")
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
    use crate::domain::names::RepositoryName;
    use crate::notify::sample::{notice, restored, tags};

    const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:team";

    #[test]
    fn same_news_is_recognised_by_tags_and_reasons() {
        let history = NotificationHistory::default();
        let mut news = Notice { action: NoticeAction::Blocked, ..notice() };
        news.tags.untagged.clear();
        news.tags.kept = (0..5000).map(|at| Tag::parse(format!("v{at}")).unwrap()).collect();
        news.reasons = vec!["x".repeat(1 << 20)];
        history.heard(TOPIC, &news);
        assert!(history.has_heard(TOPIC, &news));
        assert!(!history.has_heard("another topic", &news));
        let mut other = news.clone();
        other.tags.kept.pop();
        assert!(!history.has_heard(TOPIC, &other));
        let mut other = news.clone();
        other.reasons.push("another".to_owned());
        assert!(!history.has_heard(TOPIC, &other));
        history.missed(TOPIC, &news);
        assert!(!history.has_heard(TOPIC, &news));
    }

    #[test]
    fn answer_to_one_request_is_news_again_only_with_another_outcome() {
        let history = NotificationHistory::default();
        let answer = restored();
        history.heard(TOPIC, &answer);
        let mut again = answer.clone();
        again.answer.as_mut().unwrap().restored.reverse();
        again.tags.kept.clear();
        assert!(history.has_heard(TOPIC, &again));
        again.answer.as_mut().unwrap().outcomes = [answer.digest.clone()].into();
        assert!(!history.has_heard(TOPIC, &again), "another outcome");
        let other = Notice { id: "another".to_owned(), ..answer.clone() };
        assert!(!history.has_heard(TOPIC, &other), "another request");
        let refused = Notice { action: NoticeAction::Refused, ..answer };
        assert!(!history.has_heard(TOPIC, &refused));
    }

    #[test]
    fn one_tag_name_in_two_repositories_is_not_confused() {
        let history = NotificationHistory::default();
        let mut one = notice();
        one.tags.untagged = tags(&["1.0"]);
        let mut other = one.clone();
        other.repository.name = RepositoryName::parse("team/other").unwrap();
        let digest = |of: char| format!("sha256:{}", of.to_string().repeat(64));
        one.digest = Digest::parse(digest('1')).unwrap();
        other.digest = Digest::parse(digest('2')).unwrap();
        history.undelivered(&one);
        history.undelivered(&other);
        let tag = &one.tags.untagged[0];
        let lost = |of: &Notice| history.image_that_lost(&of.repository, tag);
        assert_eq!(lost(&one), Some(one.digest.clone()));
        assert_eq!(lost(&other), Some(other.digest.clone()));
        let mut third = one.repository.clone();
        third.name = RepositoryName::parse("team/third").unwrap();
        assert_eq!(history.image_that_lost(&third, tag), None);

        history.delivered(&one);
        assert_eq!(lost(&one), None, "its team knows");
        assert_eq!(lost(&other), Some(other.digest.clone()));
    }
}
