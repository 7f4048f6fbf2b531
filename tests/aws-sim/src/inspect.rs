//! Looking at the state without the wire.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::Value;

use crate::ecr::{Image, RepoKey, Repository, annotations};
use crate::events::rule_arn;
use crate::sim::Sim;
use crate::sns::Published;
use crate::sqs::QueueKey;
use crate::sts::role_id;
use crate::trace::Call;

/// A queue as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueView {
    /// Messages that a receive would get.
    pub visible: usize,
    /// Messages that were received and are invisible.
    pub in_flight: usize,
    /// Messages that were sent with a delay that is not over.
    pub delayed: usize,
    /// All messages, in order of arrival.
    pub messages: Vec<MessageView>,
}

/// A message as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageView {
    /// Its id.
    pub id: String,
    /// Its body.
    pub body: String,
    /// How often it was received, by this queue and by the one that it was moved from.
    pub receive_count: u32,
    /// When it is or was to be visible.
    pub visible_at: SystemTime,
    /// Whether it was received and is invisible.
    pub in_flight: bool,
    /// Its message attributes' string values.
    pub attributes: BTreeMap<String, String>,
}

/// An artifact that is attached to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referrer {
    /// Its own digest.
    pub digest: String,
    /// Its type: `artifactType`, or the media type of its configuration.
    pub artifact_type: String,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// Its exact bytes.
    pub manifest: String,
    /// When it was pushed.
    pub pushed_at: SystemTime,
    /// `ACTIVE`, `ARCHIVED` or `ACTIVATING`.
    pub status: &'static str,
}

impl Referrer {
    fn of(digest: &str, image: &Image) -> Self {
        let annotations = annotations(&image.manifest).into_iter();
        let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            digest: digest.to_owned(),
            artifact_type: image.artifact_media_type.clone().unwrap_or_default(),
            annotations: annotations.map(|(name, value)| (name, text(value))).collect(),
            manifest: image.manifest.clone(),
            pushed_at: image.pushed_at,
            status: image.status.name(),
        }
    }
}

impl Sim {
    /// A queue of the simulation's own account and region; empty where there is none.
    pub fn queue(&self, name: &str) -> QueueView {
        let key = self.queue_key(name);
        self.read(|world| {
            let Some(queue) = world.queues.get(&key) else {
                return QueueView::default();
            };
            let mut view = QueueView::default();
            for message in queue.messages.iter() {
                let in_flight = message.in_flight(world.now);
                let delayed = message.delayed(world.now);
                view.in_flight += usize::from(in_flight);
                view.delayed += usize::from(delayed);
                view.visible += usize::from(!in_flight && !delayed);
                let text = |value: &Value| {
                    value.get("StringValue").and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                view.messages.push(MessageView {
                    id: message.id.clone(),
                    body: message.body.clone(),
                    receive_count: message.receive_count,
                    visible_at: message.visible_at,
                    in_flight,
                    attributes: message
                        .attributes
                        .iter()
                        .map(|(name, value)| (name.clone(), text(value)))
                        .collect(),
                });
            }
            view
        })
    }

    /// How many messages a queue holds, visible or not.
    pub fn queue_length(&self, name: &str) -> usize {
        let key = self.queue_key(name);
        self.read(|world| world.queues.get(&key).map_or(0, |queue| queue.messages.len()))
    }

    fn repository<T: Default>(&self, key: &RepoKey, look: impl FnOnce(&Repository) -> T) -> T {
        self.read(|world| world.repositories.get(key).map(look).unwrap_or_default())
    }

    /// The tags of an image, in order of name; `None` where there is no such image.
    pub fn tags(&self, repository: &RepoKey, digest: &str) -> Option<Vec<String>> {
        self.repository(repository, |repository| {
            repository.image(digest).map(|_| repository.tags_of(digest))
        })
    }

    /// The digest that a tag points to.
    pub fn tag_target(&self, repository: &RepoKey, tag: &str) -> Option<String> {
        self.repository(repository, |repository| repository.tag_target(tag).map(str::to_owned))
    }

    /// All tags of a repository, and where they point.
    pub fn repository_tags(&self, repository: &RepoKey) -> BTreeMap<String, String> {
        self.repository(repository, |repository| repository.tags().clone())
    }

    /// The digests of all images, indexes and attached artifacts of a repository, tagged or not.
    pub fn images(&self, repository: &RepoKey) -> Vec<String> {
        self.repository(repository, |repository| repository.images().keys().cloned().collect())
    }

    /// The artifacts that are attached to an image, whether or not it is there, in order of push.
    pub fn referrers(&self, repository: &RepoKey, digest: &str) -> Vec<Referrer> {
        self.repository(repository, |repository| {
            let mut images: Vec<_> = repository.referrers_of(digest).collect();
            images.sort_by_key(|(_, image)| image.order);
            images.into_iter().map(|(digest, image)| Referrer::of(digest, image)).collect()
        })
    }

    /// The unique id of the caller with an access key: `UserId` to STS, `SenderId` to SQS.
    pub fn user_id(&self, access_key: &str) -> String {
        self.read(|world| world.user_id(access_key))
    }

    /// The unique id of a role, by its ARN: what comes before the colon in the `UserId` of its sessions.
    pub fn role_id(role_arn: &str) -> String {
        role_id(role_arn)
    }

    /// Images that the repetition of a removal took from a copy, in order, while the registry that they come from still
    /// had them: the removal of a copy's last tag has overtaken a tag that was put before it.
    pub fn images_lost_by_replication(&self) -> Vec<(RepoKey, String)> {
        self.read(|world| world.replication.lost.clone())
    }

    /// Everything that was published to a topic.
    pub fn notices(&self, topic_arn: &str) -> Vec<Published> {
        self.read(|world| {
            world.topics.get(topic_arn).map(|topic| topic.published.clone()).unwrap_or_default()
        })
    }

    /// The ARNs of everything that somebody may have made and left: repositories, queues, topics and rules.
    pub fn resources(&self) -> Vec<String> {
        self.read(|world| {
            let repositories = world.repositories.keys().map(RepoKey::arn);
            let queues = world.queues.keys().map(QueueKey::arn);
            let rules = world.rules.keys().map(rule_arn);
            repositories.chain(queues).chain(world.topics.keys().cloned()).chain(rules).collect()
        })
    }

    /// Every event that was put on any bus, whether or not a rule matched it.
    ///
    /// # Panics
    ///
    /// Under [`Record::Counts`](crate::Record::Counts).
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        self.require_record("events");
        self.read(|world| world.events.clone())
    }

    /// Every call, in order of arrival.
    ///
    /// # Panics
    ///
    /// Under [`Record::Counts`](crate::Record::Counts).
    #[track_caller]
    pub fn calls(&self) -> Vec<Call> {
        self.require_record("calls");
        self.read(|world| world.trace.calls().to_vec())
    }

    /// The calls that reached the service, whether it carried them out or refused them, in the order in which it did.
    ///
    /// # Panics
    ///
    /// Under [`Record::Counts`](crate::Record::Counts).
    #[track_caller]
    pub fn calls_by_effect(&self) -> Vec<Call> {
        let mut calls = self.calls();
        calls.retain(|call| call.effect.is_some());
        calls.sort_by_key(|call| call.effect);
        calls
    }

    /// The calls of an operation, in order of arrival.
    ///
    /// # Panics
    ///
    /// Under [`Record::Counts`](crate::Record::Counts).
    #[track_caller]
    pub fn calls_of(&self, operation: &str) -> Vec<Call> {
        self.require_record("calls_of");
        self.read(|world| {
            let calls = world.trace.calls().iter();
            calls.filter(|call| call.operation == operation).cloned().collect()
        })
    }

    /// How many calls of each operation have come, whatever became of them.
    pub fn call_counts(&self) -> BTreeMap<String, usize> {
        self.read(|world| world.trace.counts().clone())
    }
}
