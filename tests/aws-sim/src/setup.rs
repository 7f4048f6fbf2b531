//! Setting the scene without the wire. A mistake in a set-up, such as a queue that does not exist, panics: it is a
//! mistake in a test.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ecr::findings::ScanResult;
use crate::ecr::{NewImage, RepoKey, Repository};
use crate::events::RuleKey;
use crate::ids::sha256;
use crate::manifest;
use crate::sim::Sim;
use crate::sns::topic_arn;
use crate::sqs::{NewMessage, Queue, QueueKey};
use crate::world::{Scheduled, World};

/// Ends a test whose set-up cannot be meant.
#[expect(
    clippy::panic,
    reason = "a mistake in a test's set-up must be loud, and is not an outcome of the simulation"
)]
#[track_caller]
fn misuse(what: impl Display) -> ! {
    panic!("aws-sim set-up: {what}")
}

impl Sim {
    pub(crate) fn queue_key(&self, name: &str) -> QueueKey {
        QueueKey {
            account: self.config().account.clone(),
            region: self.config().region.clone(),
            name: name.to_owned(),
        }
    }

    /// Creates a queue, or sets attributes of an existing one; its URL.
    pub fn create_queue(&self, name: &str, attributes: &[(&str, &str)]) -> String {
        let key = self.queue_key(name);
        let url = key.url();
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.change(|world| {
            let now = world.now;
            let queue = world
                .queues
                .entry(key.clone())
                .or_insert_with(|| Queue::new(key, now, BTreeMap::new()));
            queue.attributes.extend(attributes);
        });
        url
    }

    /// Creates a queue with a dead-letter queue called `<name>-dlq`; both URLs.
    pub fn create_queue_with_redrive(
        &self,
        name: &str,
        max_receive_count: u32,
        attributes: &[(&str, &str)],
    ) -> (String, String) {
        let dead = format!("{name}-dlq");
        let dead_url = self.create_queue(&dead, &[]);
        let policy = json!({"deadLetterTargetArn": self.queue_arn(&dead), "maxReceiveCount": max_receive_count});
        let url = self.create_queue(name, attributes);
        self.create_queue(name, &[("RedrivePolicy", &policy.to_string())]);
        (url, dead_url)
    }

    /// The ARN of a queue of the simulation's own account and region.
    pub fn queue_arn(&self, name: &str) -> String {
        self.queue_key(name).arn()
    }

    /// Deletes a queue with everything in it.
    pub fn delete_queue(&self, name: &str) {
        let key = self.queue_key(name);
        self.change(|world| world.queues.remove(&key));
    }

    /// Sends a message; its id.
    ///
    /// # Panics
    ///
    /// Where there is no such queue.
    #[track_caller]
    pub fn send(&self, queue_name: &str, body: &str) -> String {
        self.send_with(queue_name, body, &[])
    }

    /// Sends a message with system attributes, such as `AWSTraceHeader`; its id.
    ///
    /// # Panics
    ///
    /// Where there is no such queue.
    #[track_caller]
    pub fn send_with(
        &self,
        queue_name: &str,
        body: &str,
        system_attributes: &[(&str, &str)],
    ) -> String {
        let key = self.queue_key(queue_name);
        let system =
            system_attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let message =
            NewMessage { body: body.to_owned(), system: system.collect(), ..NewMessage::default() };
        match self.change(|world| world.enqueue(&key, message)) {
            Some(id) => id,
            None => misuse(format_args!("no queue called {queue_name}")),
        }
    }

    /// Makes a message visible at once, whoever has it in hand: how SQS comes to deliver twice.
    pub fn make_visible(&self, queue_name: &str, message_id: &str) {
        let key = self.queue_key(queue_name);
        self.change(|world| {
            let now = world.now;
            let messages = world
                .queues
                .get_mut(&key)
                .into_iter()
                .flat_map(|queue| queue.messages.values_mut());
            messages
                .filter(|message| message.id == message_id)
                .for_each(|message| message.visible_at = now);
        });
    }

    /// Creates a topic; its ARN.
    pub fn create_topic(&self, name: &str) -> String {
        let arn = topic_arn(&self.config().account, &self.config().region, name);
        self.change(|world| {
            world.topics.entry(arn.clone()).or_default();
        });
        arn
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, topic_arn: &str) {
        self.change(|world| world.topics.remove(topic_arn));
    }

    /// Subscribes a queue to a topic, with raw message delivery or the Notification envelope.
    ///
    /// # Panics
    ///
    /// Where there is no such topic.
    #[track_caller]
    pub fn subscribe_queue(&self, topic_arn: &str, queue_name: &str, raw: bool) {
        let endpoint = self.queue_arn(queue_name);
        let attributes = BTreeMap::from([("RawMessageDelivery".to_owned(), raw.to_string())]);
        let done = self.change(|world| {
            let id = world.ids.uuid();
            world
                .topics
                .get_mut(topic_arn)
                .map(|topic| topic.add(topic_arn, &endpoint, attributes, &id))
        });
        if done.is_none() {
            misuse(format_args!("no topic {topic_arn}"));
        }
    }

    /// Creates a repository in the simulation's own account and region.
    pub fn create_repository(&self, name: &str) -> RepoKey {
        self.create_repository_in(&self.config().account, &self.config().region, name)
    }

    /// Creates a repository of any account and region.
    pub fn create_repository_in(&self, account: &str, region: &str, name: &str) -> RepoKey {
        let key = RepoKey::new(account, region, name);
        self.change(|world| {
            let now = world.now;
            world
                .repositories
                .entry(key.clone())
                .or_insert_with_key(|key| Repository::new(key.clone(), now));
        });
        key
    }

    /// Deletes a repository with everything in it.
    pub fn delete_repository(&self, repository: &RepoKey) {
        self.change(|world| world.repositories.remove(repository));
    }

    /// Sets the tag mutability, such as `IMMUTABLE`, with the exclusion filters of the `_WITH_EXCLUSION` kinds.
    #[track_caller]
    pub fn set_tag_mutability(&self, repository: &RepoKey, mutability: &str, exclusions: &[&str]) {
        self.with_repository(repository, |repository| {
            repository.mutability = mutability.to_owned();
            repository.exclusions = exclusions.iter().map(|filter| (*filter).to_owned()).collect();
        });
    }

    /// Sets whether a pushed image is scanned.
    #[track_caller]
    pub fn set_scan_on_push(&self, repository: &RepoKey, scan_on_push: bool) {
        self.with_repository(repository, |repository| repository.scan_on_push = scan_on_push);
    }

    /// Pushes the image that [`manifest::image`] makes of some content, under tags (or none); its digest. A tag on
    /// another digest moves, whatever the repository's mutability.
    #[track_caller]
    pub fn push_image(&self, repository: &RepoKey, tags: &[&str], content: &str) -> String {
        self.push_manifest(repository, tags, &manifest::image(content))
    }

    /// Pushes an image index of children, each a digest and a platform such as `linux/amd64`; its digest.
    #[track_caller]
    pub fn push_index(
        &self,
        repository: &RepoKey,
        tags: &[&str],
        children: &[(&str, &str)],
    ) -> String {
        self.push_manifest(repository, tags, &manifest::index(children))
    }

    /// Pushes a manifest with a `mediaType`, byte for byte; its digest.
    ///
    /// # Panics
    ///
    /// Where there is no such repository.
    #[track_caller]
    pub fn push_manifest(&self, repository: &RepoKey, tags: &[&str], manifest: &str) -> String {
        self.with_repository(repository, |_| ());
        let document: Value = serde_json::from_str(manifest).unwrap_or_default();
        let Some(media_type) = document.get("mediaType").and_then(Value::as_str) else {
            misuse("a manifest is a JSON object with a mediaType");
        };
        let store = |world: &mut World, tag: Option<&str>| {
            let new = NewImage {
                manifest: manifest.to_owned(),
                media_type: media_type.to_owned(),
                tag: tag.map(str::to_owned),
            };
            world.store_image(repository, new);
        };
        self.change(|world| {
            if tags.is_empty() {
                store(world, None);
            }
            tags.iter().for_each(|tag| store(world, Some(tag)));
        });
        sha256(manifest.as_bytes())
    }

    /// Moves a tag to an image, or puts it there, as a push by somebody else would.
    ///
    /// # Panics
    ///
    /// Where there is no such image.
    #[track_caller]
    pub fn tag_image(&self, repository: &RepoKey, tag: &str, digest: &str) {
        let manifest = self.read(|world| {
            let image = world.repositories.get(repository)?.images.get(digest)?;
            Some(image.manifest.clone())
        });
        match manifest {
            Some(manifest) => drop(self.push_manifest(repository, &[tag], &manifest)),
            None => misuse(format_args!("no image {digest} in {repository}")),
        }
    }

    /// Takes a tag off, as somebody else would: with its last tag the image goes.
    pub fn untag_image(&self, repository: &RepoKey, tag: &str) {
        self.change(|world| {
            let Some(found) = world.repositories.get_mut(repository) else {
                return;
            };
            if let Some(digest) = found.tags.remove(tag)
                && found.tags_of(&digest).is_empty()
            {
                found.images.remove(&digest);
            }
        });
    }

    /// Deletes an image with all its tags, as somebody else would.
    pub fn delete_image(&self, repository: &RepoKey, digest: &str) {
        self.change(|world| world.remove_image(repository, digest));
    }

    /// Sets what a scan of a digest finds. It can be read at once; no event is sent. The image may be pushed later:
    /// where it is then scanned on push, this is the result.
    #[track_caller]
    pub fn set_findings(&self, repository: &RepoKey, digest: &str, result: ScanResult) {
        self.with_repository(repository, |repository| {
            repository.presets.insert(digest.to_owned(), result);
        });
        self.change(|world| world.apply_preset(repository, digest));
    }

    /// Sends the scan event of an image again, or for the first time.
    ///
    /// # Panics
    ///
    /// Where the image has no scan result.
    #[track_caller]
    pub fn emit_scan_event(&self, repository: &RepoKey, digest: &str) {
        if !self.change(|world| world.emit_scan(repository, digest)) {
            misuse(format_args!("no scan of {digest} in {repository}"));
        }
    }

    /// Creates a rule on the default bus of the simulation's own account and region, with a queue as its target.
    ///
    /// # Panics
    ///
    /// Where the pattern is malformed.
    #[track_caller]
    pub fn put_rule(&self, name: &str, pattern: Value, queue_name: &str) {
        self.put_rule_in(&self.config().account, &self.config().region, name, pattern, queue_name);
    }

    /// Creates a rule in any account and region. The queue is one of the simulation's own account and region.
    ///
    /// # Panics
    ///
    /// Where the pattern is malformed.
    #[track_caller]
    pub fn put_rule_in(
        &self,
        account: &str,
        region: &str,
        name: &str,
        pattern: Value,
        queue_name: &str,
    ) {
        let key: RuleKey = (account.to_owned(), region.to_owned(), name.to_owned());
        let target = self.queue_arn(queue_name);
        let done = self.change(|world| {
            world.set_rule(key.clone(), pattern)?;
            if let Some(rule) = world.rules.get_mut(&key) {
                rule.targets.insert(queue_name.to_owned(), target);
            }
            Ok::<_, String>(())
        });
        if let Err(reason) = done {
            misuse(reason);
        }
    }

    /// Puts an event, exactly as it is, on the bus of the account and region that it names (else the simulation's).
    pub fn put_event(&self, event: Value) {
        self.put_event_after(Duration::ZERO, event);
    }

    /// Puts an event on its bus after some time.
    pub fn put_event_after(&self, delay: Duration, event: Value) {
        let text = |key, default: &str| {
            event.get(key).and_then(Value::as_str).unwrap_or(default).to_owned()
        };
        let account = text("account", &self.config().account);
        let region = text("region", &self.config().region);
        self.change(|world| world.schedule(delay, Scheduled::Event { account, region, event }));
    }

    #[track_caller]
    fn with_repository(&self, key: &RepoKey, act: impl FnOnce(&mut Repository)) {
        if self.change(|world| world.repositories.get_mut(key).map(act)).is_none() {
            misuse(format_args!("no repository {key}"));
        }
    }
}
