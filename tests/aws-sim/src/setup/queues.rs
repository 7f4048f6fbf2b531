//! Queues and topics.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::misuse;
use crate::sim::Sim;
use crate::sns::topic_arn;
use crate::sqs::{Message, NewMessage, Queue, QueueKey};

/// Who sends what [`Sim::send`] sends: nobody who makes calls.
const SET_UP_SENDER: &str = "AIDASETUPSETUPSETUP00";

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
            let queue = Queue::new(&key, world.now, BTreeMap::new());
            let queue = world.queues.entry(key).or_insert(queue);
            queue.set_attributes(attributes);
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

    /// Sends a message, as a user who makes no calls; its id.
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
        let system =
            system_attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let message = NewMessage::of(SET_UP_SENDER, body.to_owned());
        self.deliver(queue_name, NewMessage { system: system.collect(), ..message })
    }

    /// Sends a message as somebody, by the unique id that is its `SenderId`: `AIDA…` for a user, `AROA…:session` for a
    /// role; its id.
    ///
    /// # Panics
    ///
    /// Where there is no such queue.
    #[track_caller]
    pub fn send_message_as(&self, queue_name: &str, body: &str, sender_id: &str) -> String {
        self.deliver(queue_name, NewMessage::of(sender_id, body.to_owned()))
    }

    #[track_caller]
    fn deliver(&self, queue_name: &str, message: NewMessage) -> String {
        let key = self.queue_key(queue_name);
        match self.change(|world| world.enqueue(&key, message)) {
            Some(id) => id,
            None => misuse(format_args!("no queue called {queue_name}")),
        }
    }

    /// Makes a message visible at once, whoever has it in hand: how SQS comes to deliver twice.
    pub fn make_visible(&self, queue_name: &str, message_id: &str) {
        self.with_messages(queue_name, |message, now| {
            if message.id == message_id {
                message.visible_at = now;
            }
        });
    }

    /// Makes every message that somebody has in hand visible at once.
    pub fn make_all_visible(&self, queue_name: &str) {
        self.with_messages(queue_name, |message, now| {
            if message.in_flight(now) {
                message.visible_at = now;
            }
        });
    }

    /// Lets somebody else receive a message, whoever has it in hand: the receipt handles given out before are stale.
    pub fn receive_elsewhere(&self, queue_name: &str, message_id: &str, visibility: Duration) {
        self.with_messages(queue_name, |message, now| {
            if message.id == message_id {
                message.receive(now, visibility);
            }
        });
    }

    fn with_messages(&self, queue_name: &str, act: impl FnMut(&mut Message, SystemTime)) {
        let (key, mut act) = (self.queue_key(queue_name), act);
        self.change(|world| {
            world.with_queue(&key, |queue, now| {
                queue.messages.update_all(now, |message| act(message, now));
            });
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
}
