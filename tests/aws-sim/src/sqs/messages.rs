//! Sending, deleting and changing the visibility of single messages.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Message, QueueKey, invalid, no_such_queue};
use crate::api::{ApiError, Input, Outcome};
use crate::ids::md5_hex;
use crate::world::World;

/// The only message system attribute that a sender may give (SQS API reference, SendMessage).
const TRACE_HEADER: &str = "AWSTraceHeader";

/// What a sender gives.
#[derive(Debug)]
pub(crate) struct NewMessage {
    /// The unique id of the sender: `SenderId`.
    pub(crate) sender: String,
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) system: BTreeMap<String, String>,
    pub(crate) delay: Option<Duration>,
}

impl NewMessage {
    /// A message without attributes.
    pub(crate) fn of(sender: impl Into<String>, body: String) -> Self {
        Self {
            sender: sender.into(),
            body,
            attributes: BTreeMap::new(),
            system: BTreeMap::new(),
            delay: None,
        }
    }
}

fn missing(parameter: &str) -> ApiError {
    let message = format!("The request must contain the parameter {parameter}.");
    ApiError::new("MissingParameter", message)
}

/// An integer member that must lie in a range if it is there.
pub(super) fn ranged(
    input: &Value,
    name: &str,
    low: i64,
    high: i64,
) -> Result<Option<u64>, ApiError> {
    match input.int(name) {
        None => Ok(None),
        Some(value) if (low..=high).contains(&value) => Ok(Some(value.unsigned_abs())),
        Some(value) => Err(invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: Must be between {low} and {high}, if provided."
        ))),
    }
}

fn map_of(input: &Value, name: &str) -> BTreeMap<String, Value> {
    let given = input.get(name).and_then(Value::as_object);
    given.into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
}

impl World {
    /// Puts a message in a queue; its id, or nothing when there is no such queue.
    pub(crate) fn enqueue(&mut self, key: &QueueKey, new: NewMessage) -> Option<String> {
        let id = self.ids.uuid();
        let mut system = new.system;
        system.insert("SenderId".to_owned(), new.sender);
        self.with_queue(key, |queue, now| {
            let delay = new.delay.unwrap_or_else(|| queue.seconds("DelaySeconds", 0));
            let message = Message {
                id: id.clone(),
                body: new.body,
                attributes: new.attributes,
                system,
                sent_at: now,
                first_received_at: None,
                received_at: None,
                receive_count: 0,
                visible_at: now + delay,
            };
            queue.messages.push(message, now);
            id
        })
    }

    pub(super) fn send_message(&mut self, key: &QueueKey, input: &Value, sender: &str) -> Outcome {
        let body = input.text("MessageBody").filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| missing("MessageBody"))?;
        let limit = self
            .with_queue(key, |queue, _| queue.seconds("MaximumMessageSize", 1_048_576).as_secs())
            .ok_or_else(no_such_queue)?;
        if u64::try_from(body.len()).unwrap_or(u64::MAX) > limit {
            let message = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
            );
            return Err(invalid(message));
        }
        let given = map_of(input, "MessageSystemAttributes");
        if let Some(name) = given.keys().find(|name| *name != TRACE_HEADER) {
            let message = format!("Message system attribute name '{name}' is invalid.");
            return Err(invalid(message));
        }
        let mut system: BTreeMap<String, String> = given
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.text("StringValue")?.to_owned())))
            .collect();
        if let Some(group) = input.text("MessageGroupId") {
            system.insert("MessageGroupId".to_owned(), group.to_owned());
        }
        let attributes = map_of(input, "MessageAttributes");
        let mut reply = json!({"MD5OfMessageBody": md5_hex(body.as_bytes())});
        if !attributes.is_empty() {
            reply.set("MD5OfMessageAttributes", json!(attributes_md5(&attributes)));
        }
        let new = NewMessage {
            attributes,
            system,
            delay: ranged(input, "DelaySeconds", 0, 900)?.map(Duration::from_secs),
            ..NewMessage::of(sender, body.to_owned())
        };
        let id = self.enqueue(key, new).ok_or_else(no_such_queue)?;
        reply.set("MessageId", json!(id));
        Ok(reply)
    }

    pub(super) fn delete_message(&mut self, key: &QueueKey, input: &Value) -> Outcome {
        let handle = input.text("ReceiptHandle").ok_or_else(|| missing("ReceiptHandle"))?;
        let done = self.with_queue(key, |queue, _| queue.delete(handle));
        done.ok_or_else(no_such_queue)?.map(|()| json!({}))
    }

    pub(super) fn change_visibility(&mut self, key: &QueueKey, input: &Value) -> Outcome {
        let handle = input.text("ReceiptHandle").ok_or_else(|| missing("ReceiptHandle"))?;
        let timeout = ranged(input, "VisibilityTimeout", 0, 43_200)?;
        let timeout = Duration::from_secs(timeout.ok_or_else(|| missing("VisibilityTimeout"))?);
        let done = self.with_queue(key, |queue, now| queue.change_visibility(handle, now, timeout));
        done.ok_or_else(no_such_queue)?.map(|()| json!({}))
    }
}

/// SQS's digest of message attributes: name, type and value of each, length-prefixed, in order of name.
pub(super) fn attributes_md5(attributes: &BTreeMap<String, Value>) -> String {
    fn prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
    }
    let mut encoded = Vec::new();
    for (name, value) in attributes {
        prefixed(&mut encoded, name.as_bytes());
        prefixed(&mut encoded, value.text("DataType").unwrap_or_default().as_bytes());
        if let Some(text) = value.text("StringValue") {
            encoded.push(1);
            prefixed(&mut encoded, text.as_bytes());
        } else {
            let binary = STANDARD.decode(value.text("BinaryValue").unwrap_or_default());
            encoded.push(2);
            prefixed(&mut encoded, &binary.unwrap_or_default());
        }
    }
    md5_hex(&encoded)
}
