//! Recognizes common mistakes in how events are forwarded: the body wraps an event that a sender
//! should have unwrapped. The error then says what to send instead.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The keys that identify such bodies.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    #[serde(rename = "Records")]
    records: Option<IgnoredAny>,
    #[serde(rename = "Entries")]
    entries: Option<IgnoredAny>,
    #[serde(rename = "DetailType")]
    entry: Option<IgnoredAny>,
    #[serde(rename = "receiptHandle")]
    record: Option<IgnoredAny>,
    #[serde(rename = "detail-type")]
    event: Option<IgnoredAny>,
}

/// Returns a description of the body and the correct thing to send, or `None` if the shape is
/// unknown.
pub(super) fn of(body: &str) -> Option<&'static str> {
    let text = body.trim_start();
    if text.starts_with('"') {
        return Some("a JSON text, perhaps an event written as JSON twice: send the event itself");
    }
    let is_array = text.starts_with('[');
    let keys = if is_array {
        serde_json::from_str::<Vec<Keys>>(text).ok()?.into_iter().next()?
    } else {
        serde_json::from_str(text).ok()?
    };
    if keys.records.is_some() {
        return Some("an event of Lambda (`Records`): send the `body` of each record");
    }
    if keys.record.is_some() {
        return Some(
            "a record of SQS, as EventBridge Pipes and Lambda pass it on: send its `body`",
        );
    }
    if keys.entries.is_some() || keys.entry.is_some() {
        return Some(
            "entries of PutEvents: put them on an event bus, \
             whose rule sends the event to the queue",
        );
    }
    (is_array && keys.event.is_some())
        .then_some("several events: send each as a message of its own")
}
