//! Queue attributes: those that can be set, with their ranges, and those that are computed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{Queue, QueueKey};
use crate::api::{ApiError, Input, Outcome};
use crate::clock::unix_seconds;
use crate::world::World;

/// The numeric attributes with their ranges and defaults.
const NUMERIC: [(&str, u64, u64, &str); 5] = [
    ("DelaySeconds", 0, 900, "0"),
    ("MaximumMessageSize", 1024, 1_048_576, "1048576"),
    ("MessageRetentionPeriod", 60, 1_209_600, "345600"),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, "0"),
    ("VisibilityTimeout", 0, 43_200, "30"),
];

/// The textual attributes, kept as they come.
const TEXTUAL: [&str; 6] = [
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
];

/// The settable attributes of a request, checked.
pub(super) fn checked(input: &Value) -> Result<BTreeMap<String, String>, ApiError> {
    let given = input.get("Attributes").and_then(Value::as_object);
    given
        .into_iter()
        .flatten()
        .map(|(name, value)| {
            let value = value.as_str().unwrap_or_default();
            check(name, value).map(|()| (name.clone(), value.to_owned()))
        })
        .collect()
}

fn check(name: &str, value: &str) -> Result<(), ApiError> {
    let valid = match NUMERIC.iter().find(|(known, ..)| *known == name) {
        Some((_, low, high, _)) => {
            value.parse().is_ok_and(|number: u64| (*low..=*high).contains(&number))
        }
        None if name == "RedrivePolicy" => value.is_empty() || valid_redrive(value),
        None if TEXTUAL.contains(&name) => true,
        None => {
            let message = format!("Unknown Attribute {name}.");
            return Err(ApiError::new("InvalidAttributeName", message));
        }
    };
    if valid {
        return Ok(());
    }
    let message = format!("Invalid value for the parameter {name}.");
    Err(ApiError::new("InvalidAttributeValue", message))
}

fn valid_redrive(policy: &str) -> bool {
    serde_json::from_str::<Value>(policy).is_ok_and(|policy| {
        let target = policy.text("deadLetterTargetArn").and_then(QueueKey::from_arn);
        let receives = policy.int("maxReceiveCount").unwrap_or_default();
        target.is_some() && (1..=1000).contains(&receives)
    })
}

fn all(queue: &mut Queue, now: SystemTime) -> BTreeMap<String, String> {
    let visible = queue.messages.visible(now).len().to_string();
    let delayed = queue.messages.delayed(now).to_string();
    let in_flight = queue.messages.in_flight(now).to_string();
    let created = format!("{:.0}", unix_seconds(queue.created_at).floor());
    let mut attributes: BTreeMap<String, String> = NUMERIC
        .iter()
        .map(|(name, .., default)| ((*name).to_owned(), (*default).to_owned()))
        .collect();
    attributes.extend(queue.attributes().clone());
    attributes.extend([
        ("ApproximateNumberOfMessages".to_owned(), visible),
        ("ApproximateNumberOfMessagesDelayed".to_owned(), delayed),
        ("ApproximateNumberOfMessagesNotVisible".to_owned(), in_flight),
        ("CreatedTimestamp".to_owned(), created.clone()),
        ("LastModifiedTimestamp".to_owned(), created),
        ("QueueArn".to_owned(), queue.arn().to_owned()),
    ]);
    attributes
}

impl World {
    pub(super) fn get_queue_attributes(&mut self, key: &QueueKey, input: &Value) -> Outcome {
        let mut attributes = self
            .with_queue(key, |queue, now| {
                queue.expire(now);
                all(queue, now)
            })
            .unwrap_or_default();
        let wanted = input.texts("AttributeNames");
        if !wanted.contains(&"All") {
            attributes.retain(|name, _| wanted.contains(&name.as_str()));
        }
        let attributes: Map<String, Value> =
            attributes.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
        Ok(if attributes.is_empty() { json!({}) } else { json!({"Attributes": attributes}) })
    }

    pub(super) fn set_queue_attributes(&mut self, key: &QueueKey, input: &Value) -> Outcome {
        let attributes = checked(input)?;
        self.with_queue(key, |queue, _| queue.set_attributes(attributes));
        Ok(json!({}))
    }
}
