//! Receiving: looks into a queue until there is a message or the wait is over.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::messages::{attributes_md5, ranged};
use super::queue::Received;
use super::{Queue, QueueKey, no_such_queue};
use crate::api::{ApiCall, ApiError, Input};
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
        (now < deadline).then(|| queue.next_visible(now).map_or(deadline, |at| at.min(deadline)))
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
            let messages: Vec<_> = received.into_iter().map(|one| describe(one, input)).collect();
            return Ok(Step::Done(Ok(json!({"Messages": messages}))));
        }
        Ok(match wanted.until(queue, now, arrived) {
            Some(until) => Step::Wait { until },
            None => Step::Done(Ok(json!({}))),
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
        let queue = self.queues.get(&key)?;
        if queue.is_over_limit(self.now) || queue.has_visible(self.now) {
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
        let Some((target, receives)) = self.queues.get(key).and_then(Queue::redrive) else {
            return;
        };
        if !self.queues.contains_key(&target) {
            return;
        }
        let moved = self.with_queue(key, |queue, now| queue.take_exhausted(now, receives));
        for mut message in moved.unwrap_or_default() {
            message.system.insert("DeadLetterQueueSourceArn".to_owned(), key.arn());
            message.received_at = None;
            self.with_queue(&target, |queue, _| queue.push(message));
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

/// A received message with the attributes that were asked for, and only those.
fn describe(received: Received, input: &Value) -> Value {
    let Received { message, handle } = received;
    let mut reply = json!({
        "MessageId": message.id,
        "ReceiptHandle": handle,
        "Body": message.body,
        "MD5OfBody": md5_hex(message.body.as_bytes()),
    });

    let mut wanted = input.texts("MessageSystemAttributeNames");
    wanted.extend(input.texts("AttributeNames"));
    let mut system = message.system;
    system.insert("SentTimestamp".to_owned(), unix_millis(message.sent_at));
    system.insert("ApproximateReceiveCount".to_owned(), message.receive_count.to_string());
    let first = message.first_received_at.map(unix_millis).unwrap_or_default();
    system.insert("ApproximateFirstReceiveTimestamp".to_owned(), first);
    system.retain(|name, _| wanted.contains(&"All") || wanted.contains(&name.as_str()));
    if !system.is_empty() {
        reply.set("Attributes", json!(system));
    }

    let wanted = input.texts("MessageAttributeNames");
    let asked_for = |name: &str| {
        wanted.iter().any(|pattern| match pattern.strip_suffix(".*") {
            Some(prefix) => name.starts_with(prefix),
            None => *pattern == "All" || *pattern == name,
        })
    };
    let attributes: BTreeMap<_, _> =
        message.attributes.into_iter().filter(|(name, _)| asked_for(name)).collect();
    if !attributes.is_empty() {
        reply.set("MD5OfMessageAttributes", json!(attributes_md5(&attributes)));
        reply.set("MessageAttributes", Value::Object(Map::from_iter(attributes)));
    }
    reply
}
