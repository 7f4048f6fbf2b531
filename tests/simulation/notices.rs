//! The notices that the team received about removed tags.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sim::RepoKey;
use serde_json::Value;

type Of = (RepoKey, String);

/// The notices that each topic still has to receive.
#[derive(Debug, Default)]
pub struct Notices {
    topics: Vec<String>,
    /// Images that lost tags and about which the topic has received nothing since.
    not_notified: BTreeSet<(String, Of)>,
    /// Workers that removed tags of an image about which not every topic was notified since.
    removed_by: BTreeSet<(String, Of)>,
    /// Tags that a worker knows to be removed, and that the topic was not notified of.
    known: BTreeMap<(String, String, Of), BTreeSet<String>>,
    notified_of: BTreeSet<Of>,
    /// The time since when a topic refuses a worker.
    refused: BTreeMap<(String, String), Duration>,
}

impl Notices {
    pub fn new(topics: Vec<String>) -> Self {
        Self { topics, ..Self::default() }
    }

    /// A worker removed tags of an image.
    pub fn gone(&mut self, caller: &str, repository: &RepoKey, digest: &str) {
        let of = (repository.clone(), digest.to_owned());
        self.removed_by.insert((caller.to_owned(), of));
        for topic in &self.topics {
            self.not_notified.insert((topic.clone(), (repository.clone(), digest.to_owned())));
        }
    }

    /// A worker knows from the registry that a tag was removed.
    pub fn knows(&mut self, caller: &str, repository: &RepoKey, digest: &str, tag: &str) {
        for topic in &self.topics {
            let of = (repository.clone(), digest.to_owned());
            let key = (caller.to_owned(), topic.clone(), of);
            self.known.entry(key).or_default().insert(tag.to_owned());
        }
    }

    /// A worker ended with its knowledge. Returns the images that it removed tags of and that not
    /// every topic was notified of.
    pub fn forget(&mut self, caller: &str) -> Vec<Of> {
        self.known.retain(|(of, ..), _| of != caller);
        self.refused.retain(|(of, _), _| of != caller);
        let own = self.removed_by.extract_if(.., |(by, _)| by == caller);
        own.map(|(_, of)| of).collect()
    }

    /// A topic has answered a worker.
    pub fn answered(&mut self, caller: &str, request: &Value, refused: bool, now: Duration) {
        let topic = request["TopicArn"].as_str().unwrap_or_default();
        let key = (caller.to_owned(), topic.to_owned());
        if refused {
            self.refused.entry(key).or_insert(now);
        } else {
            self.refused.remove(&key);
        }
    }

    /// The time since when every topic refuses a worker.
    pub fn refused_since(&self, caller: &str) -> Option<Duration> {
        let since = |topic: &String| self.refused.get(&(caller.to_owned(), topic.clone())).copied();
        let since: Option<Vec<_>> = self.topics.iter().map(since).collect();
        since?.into_iter().max()
    }

    /// A topic has accepted a notice with this action about this image.
    pub fn published(&mut self, request: &Value) -> (String, RepoKey, String) {
        let topic = request["TopicArn"].as_str().unwrap_or_default();
        let notice: Value = serde_json::from_str(request["Message"].as_str().unwrap_or_default())
            .unwrap_or_default();
        let text = |key: &str| notice["image"][key].as_str().unwrap_or_default();
        let repository = RepoKey::new(text("account"), text("region"), text("repository"));
        let digest = text("digest").to_owned();
        let of = (repository.clone(), digest.clone());
        let action = notice["action"].as_str().unwrap_or_default().to_owned();
        if action != "unscanned" && action != "would_untag" {
            self.not_notified.remove(&(topic.to_owned(), of.clone()));
        }
        if self.is_notified(&of.0, &of.1) {
            self.removed_by.retain(|(_, about)| *about != of);
        }
        self.notified_of.insert(of.clone());
        let named = ["untagged", "claimed"].map(|key| &notice["tags"][key]);
        let named: BTreeSet<_> = named
            .into_iter()
            .flat_map(|list| list.as_array())
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for ((_, to, about), tags) in &mut self.known {
            if to == topic && *about == of {
                tags.retain(|tag| !named.contains(tag.as_str()));
            }
        }
        (action, repository, digest)
    }

    /// Returns whether every topic was notified of an image since it lost tags.
    pub fn is_notified(&self, repository: &RepoKey, digest: &str) -> bool {
        let of = (repository.clone(), digest.to_owned());
        !self.topics.iter().any(|topic| self.not_notified.contains(&(topic.clone(), of.clone())))
    }

    /// Returns whether any topic was ever notified of an image.
    pub fn was_notified_of(&self, repository: &RepoKey, digest: &str) -> bool {
        self.notified_of.contains(&(repository.clone(), digest.to_owned()))
    }

    /// Images that lost tags without any notice.
    pub fn not_notified(&self) -> BTreeSet<Of> {
        self.not_notified.iter().map(|(_, of)| of.clone()).collect()
    }

    /// Tags that a worker knew to be removed and that no notice named, by image.
    pub fn unnamed(&self) -> Vec<(Of, BTreeSet<String>)> {
        let unnamed = self.known.iter().filter(|(_, tags)| !tags.is_empty());
        unnamed.map(|((_, _, of), tags)| (of.clone(), tags.clone())).collect()
    }
}
