//! Receiving: looks into a queue until there is a message or the wait is over.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Value, json};

use super::messages::{attributes_md5, ranged};
use super::queue::Received;
use super::{Queue, QueueKey, no_such_queue};
use crate::api::{ApiCall, ApiError, Input, Reply};
use crate::clock::unix_millis;
use crate::ids::md5_hex;
use crate::world::{Scheduled, Step, World};

/// What a receive asks for.
struct Wanted {
    max: usize,
    wait: Option<u64>,
    visibility: Option<u64>,
}

impl Wanted {
    fn of(input: &Value) -> Result<Self, ApiError> {
        let max = ranged(input, "MaxNumberOfMessages", 1, 10)?.unwrap_or(1);
        Ok(Self {
            max: usize::try_from(max).unwrap_or(1),
            wait: ranged(input, "WaitTimeSeconds", 0, 20)?,
            visibility: ranged(input, "VisibilityTimeout", 0, 43_200)?,
        })
    }

    /// Until when the receive waits if there is nothing to hand out.
    fn until(&self, queue: &Queue, now: SystemTime, arrived: SystemTime) -> Option<SystemTime> {
        let wait = match self.wait {
            Some(seconds) => Duration::from_secs(seconds),
            None => queue.seconds("ReceiveMessageWaitTimeSeconds", 0),
        };
        let deadline = arrived + wait;
        (now < deadline)
            .then(|| queue.messages.next_visible(now).map_or(deadline, |at| at.min(deadline)))
    }
}

impl World {
    /// One look into the queue: messages, or how long to wait before the next look.
    pub(super) fn receive_message(
        &mut self,
        key: &QueueKey,
        input: &Value,
        arrived: SystemTime,
    ) -> Step {
        match self.try_receive(key, input, arrived) {
            Ok(step) => step,
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn try_receive(
        &mut self,
        key: &QueueKey,
        input: &Value,
        arrived: SystemTime,
    ) -> Result<Step, ApiError> {
        let wanted = Wanted::of(input)?;
        self.tidy(key);
        let now = self.now;
        let queue = self.queues.get_mut(key).ok_or_else(no_such_queue)?;
        let visibility = match wanted.visibility {
            Some(seconds) => Duration::from_secs(seconds),
            None => queue.seconds("VisibilityTimeout", 30),
        };
        if queue.is_over_limit(now) {
            return Err(ApiError::new("OverLimit", "Too many messages in flight").with_status(403));
        }
        let (order, ids) = (self.order.as_mut(), &mut self.ids);
        let received = queue.receive(now, wanted.max, visibility, order, || ids.nonce());
        if !received.is_empty() {
            let asked = Asked::of(input);
            let messages = received.into_iter().map(|one| asked.describe(one)).collect();
            return Ok(Step::Done(Ok(Reply::Messages(messages))));
        }
        Ok(match wanted.until(queue, now, arrived) {
            Some(until) => Step::Wait { until },
            None => Step::Done(Ok(Reply::Tree(json!({})))),
        })
    }

    /// Until when a receive would wait if it looked into the queue now; nothing for any other call, and where it would
    /// be answered.
    pub(crate) fn receive_waits(
        &mut self,
        call: &ApiCall,
        arrived: SystemTime,
    ) -> Option<SystemTime> {
        if call.operation != "ReceiveMessage" {
            return None;
        }
        let key = self.queue_key(call).ok()?;
        let wanted = Wanted::of(&call.input).ok()?;
        self.tidy(&key);
        let queue = self.queues.get_mut(&key)?;
        if queue.is_over_limit(self.now) || queue.messages.visible(self.now).len() > 0 {
            return None;
        }
        wanted.until(queue, self.now, arrived)
    }

    /// What SQS does by itself before a receive: it moves messages that have had all their receives to the dead-letter
    /// queue, if that exists, and drops those that are too old.
    fn tidy(&mut self, key: &QueueKey) {
        self.redrive_exhausted(key);
        self.with_queue(key, Queue::expire);
    }

    fn redrive_exhausted(&mut self, key: &QueueKey) {
        let Some((target, receives)) = self.queues.get(key).and_then(Queue::redrive).cloned()
        else {
            return;
        };
        if !self.queues.contains_key(&target) {
            return;
        }
        let moved = self.with_queue(key, |queue, now| queue.messages.take_exhausted(now, receives));
        for mut message in moved.unwrap_or_default() {
            message.system.insert("DeadLetterQueueSourceArn".to_owned(), key.arn());
            message.received_at = None;
            self.with_queue(&target, |queue, now| queue.messages.push(message, now));
            self.redriven += 1;
        }
    }

    /// Has everything that a receive handed out become visible again after some time.
    pub(crate) fn redeliver(&mut self, call: &ApiCall, reply: &Value, after: Duration) {
        let Ok(queue) = self.queue_key(call) else {
            return;
        };
        for handle in reply.list("Messages").iter().filter_map(|one| one.text("ReceiptHandle")) {
            let redelivery =
                Scheduled::Redelivery { queue: queue.clone(), handle: handle.to_owned() };
            self.schedule(after, redelivery);
        }
    }
}

/// The attributes that a receive asks for.
struct Asked<'a> {
    system: Vec<&'a str>,
    attributes: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(input: &'a Value) -> Self {
        let mut system = input.texts("MessageSystemAttributeNames");
        system.extend(input.texts("AttributeNames"));
        Self { system, attributes: input.texts("MessageAttributeNames") }
    }

    fn for_system(&self, name: &str) -> bool {
        self.system.iter().any(|asked| *asked == "All" || *asked == name)
    }

    fn for_attribute(&self, name: &str) -> bool {
        self.attributes.iter().any(|pattern| match pattern.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => *pattern == "All" || *pattern == name,
        })
    }

    /// A received message with these attributes, and only these.
    fn describe(&self, received: Received<'_>) -> ReceivedMessage {
        let Received { message, handle } = received;
        let given = message.system.iter().map(|(k, v)| (Cow::Owned(k.clone()), v.clone()));
        let first = message.first_received_at.map(unix_millis).unwrap_or_default();
        let counted = [
            ("SentTimestamp", unix_millis(message.sent_at)),
            ("ApproximateReceiveCount", message.receive_count.to_string()),
            ("ApproximateFirstReceiveTimestamp", first),
        ];
        let system = given.chain(counted.map(|(name, value)| (Cow::Borrowed(name), value)));
        let attributes = message.attributes.iter().filter(|(name, _)| self.for_attribute(name));
        let attributes: BTreeMap<_, _> = attributes.map(|(k, v)| (k.clone(), v.clone())).collect();
        ReceivedMessage {
            attributes: system.filter(|(name, _)| self.for_system(name)).collect(),
            body: message.body.clone(),
            md5_of_body: md5_hex(message.body.as_bytes()),
            md5_of_attributes: (!attributes.is_empty()).then(|| attributes_md5(&attributes)),
            message_attributes: attributes,
            message_id: message.id.clone(),
            receipt_handle: handle,
        }
    }
}

/// A message in the reply to a receive. Its members stand in the order of a tree's, which are sorted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReceivedMessage {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<Cow<'static, str>, String>,
    body: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<String, Value>,
    message_id: String,
    receipt_handle: String,
}
