//! The state of one queue and of the messages in it. Synchronous, without a clock: every step is given the time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::store::Messages;
use super::{QueueKey, invalid};
use crate::api::{ApiError, Input};

/// The longest that a message stays invisible, counted from its receive.
const MAX_VISIBILITY: Duration = Duration::from_secs(43_200);
/// The most messages of a standard queue in flight at once.
const MAX_IN_FLIGHT: usize = 120_000;

/// A standard queue.
#[derive(Debug)]
pub(crate) struct Queue {
    arn: String,
    pub(crate) created_at: SystemTime,
    /// The attributes that were set; the others have AWS's defaults.
    attributes: BTreeMap<String, String>,
    /// The dead-letter queue and the receives that a message is allowed.
    redrive: Option<(QueueKey, u32)>,
    pub(crate) messages: Messages,
}

/// A message in a queue.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
    /// Message attributes, as sent.
    pub(crate) attributes: BTreeMap<String, Value>,
    /// System attributes that never change, such as `SenderId` and `AWSTraceHeader`.
    pub(crate) system: BTreeMap<String, String>,
    pub(crate) sent_at: SystemTime,
    pub(crate) first_received_at: Option<SystemTime>,
    pub(crate) received_at: Option<SystemTime>,
    pub(crate) receive_count: u32,
    pub(crate) visible_at: SystemTime,
}

/// A message as a receive hands it out.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) message: &'a Message,
    pub(crate) handle: String,
}

impl Message {
    pub(crate) fn in_flight(&self, now: SystemTime) -> bool {
        self.visible_at > now && self.received_at.is_some()
    }

    pub(crate) fn delayed(&self, now: SystemTime) -> bool {
        self.visible_at > now && self.received_at.is_none()
    }

    /// Hands the message out once more: the handle of the receive before goes stale.
    pub(crate) fn receive(&mut self, now: SystemTime, visibility: Duration) {
        self.receive_count += 1;
        self.received_at = Some(now);
        self.first_received_at.get_or_insert(now);
        self.visible_at = now + visibility;
    }
}

/// The content of a receipt handle: which message of which queue, and which of its receives.
struct Receipt {
    slot: u64,
    receive: u32,
}

impl Queue {
    pub(crate) fn new(
        key: &QueueKey,
        now: SystemTime,
        attributes: BTreeMap<String, String>,
    ) -> Self {
        let (arn, messages) = (key.arn(), Messages::default());
        let redrive = redrive(&attributes);
        Self { arn, created_at: now, attributes, redrive, messages }
    }

    pub(crate) fn arn(&self) -> &str {
        &self.arn
    }

    /// The attributes that were set.
    pub(crate) fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }

    pub(crate) fn set_attributes(&mut self, set: impl IntoIterator<Item = (String, String)>) {
        self.attributes.extend(set);
        self.redrive = redrive(&self.attributes);
    }

    pub(crate) fn seconds(&self, attribute: &str, default: u64) -> Duration {
        let set = self.attributes.get(attribute).and_then(|value| value.parse().ok());
        Duration::from_secs(set.unwrap_or(default))
    }

    /// The dead-letter queue and the receives that a message is allowed.
    pub(crate) fn redrive(&self) -> Option<&(QueueKey, u32)> {
        self.redrive.as_ref()
    }

    /// Drops what is older than the queue's retention period.
    pub(crate) fn expire(&mut self, now: SystemTime) {
        let retention = self.seconds("MessageRetentionPeriod", 345_600);
        self.messages.expire(now, retention);
    }

    /// Whether there are so many messages in flight that no more can be.
    pub(crate) fn is_over_limit(&mut self, now: SystemTime) -> bool {
        self.messages.in_flight(now) >= MAX_IN_FLIGHT
    }

    /// Hands out up to `max` visible messages, oldest first or in an order that is drawn, and makes them invisible.
    pub(crate) fn receive(
        &mut self,
        now: SystemTime,
        max: usize,
        visibility: Duration,
        order: Option<&mut fastrand::Rng>,
        mut nonce: impl FnMut() -> String,
    ) -> Vec<Received<'_>> {
        let visible = self.messages.visible(now);
        let slots: Vec<u64> = match order {
            None => visible.take(max).collect(),
            Some(order) => {
                let mut slots: Vec<_> = visible.collect();
                order.shuffle(&mut slots);
                slots.truncate(max);
                slots
            }
        };
        for slot in &slots {
            self.messages.update(*slot, now, |message| message.receive(now, visibility));
        }
        let mut hand_out = |slot: u64| {
            let message = self.messages.get(slot)?;
            let content = format!("{} {slot} {} {}", self.arn, message.receive_count, nonce());
            Some(Received { message, handle: STANDARD.encode(content) })
        };
        slots.into_iter().filter_map(&mut hand_out).collect()
    }

    /// Makes what a receive handed out visible again, unless it was deleted or received again meanwhile.
    pub(crate) fn return_early(&mut self, handle: &str, now: SystemTime) {
        if let Ok(receipt) = self.receipt(handle)
            && self.current(&receipt).is_some()
        {
            self.messages.update(receipt.slot, now, |message| {
                message.visible_at = message.visible_at.min(now);
            });
        }
    }

    /// Deletes by receipt handle. The handle of an earlier receive succeeds and deletes nothing.
    pub(crate) fn delete(&mut self, handle: &str) -> Result<(), ApiError> {
        let receipt = self.receipt(handle)?;
        if self.current(&receipt).is_some() {
            self.messages.remove(receipt.slot);
        }
        Ok(())
    }

    /// Sets when a message in flight becomes visible again.
    pub(crate) fn change_visibility(
        &mut self,
        handle: &str,
        now: SystemTime,
        timeout: Duration,
    ) -> Result<(), ApiError> {
        let receipt = self.receipt(handle)?;
        let message = self.current(&receipt).ok_or_else(|| {
            invalid(format!(
                "Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not \
                 available for visibility timeout change."
            ))
        })?;
        if !message.in_flight(now) {
            return Err(ApiError::new(
                "MessageNotInflight",
                "The specified message isn't in flight.",
            ));
        }
        let until = now + timeout;
        if message.received_at.is_some_and(|received| until > received + MAX_VISIBILITY) {
            return Err(invalid(format!(
                "Value {} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the \
                 message is beyond the limit [43200 seconds].",
                timeout.as_secs()
            )));
        }
        self.messages.update(receipt.slot, now, |message| message.visible_at = until);
        Ok(())
    }

    /// The message of a receipt handle, unless it was deleted or received again since.
    fn current(&self, receipt: &Receipt) -> Option<&Message> {
        let message = self.messages.get(receipt.slot);
        message.filter(|message| message.receive_count == receipt.receive)
    }

    fn receipt(&self, handle: &str) -> Result<Receipt, ApiError> {
        let parse = || {
            let content = STANDARD.decode(handle).ok()?;
            let content = str::from_utf8(&content).ok()?;
            let mut parts = content.split(' ');
            let ours = parts.next()? == self.arn;
            let receipt =
                Receipt { slot: parts.next()?.parse().ok()?, receive: parts.next()?.parse().ok()? };
            ours.then_some(receipt)
        };
        parse().ok_or_else(|| {
            ApiError::new("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        })
    }
}

fn redrive(attributes: &BTreeMap<String, String>) -> Option<(QueueKey, u32)> {
    let policy: Value = serde_json::from_str(attributes.get("RedrivePolicy")?).ok()?;
    let target = QueueKey::from_arn(policy.text("deadLetterTargetArn")?)?;
    let receives = u32::try_from(policy.int("maxReceiveCount")?).ok()?;
    Some((target, receives))
}
