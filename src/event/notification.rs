//! The SNS notification around an event. SNS adds it when the queue is subscribed to a topic
//! without raw message delivery.
//!
//! Exactly one notification is unwrapped, so that nested bodies cannot make the parser recurse.

use serde::Deserialize;

use super::Malformed;
use super::envelope::object;

/// A message as SNS delivers it (SNS developer guide, "Parsing message formats").
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", expecting = "an SNS message")]
struct Notification {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(rename = "TopicArn")]
    _topic_arn: String,
    message: String,
}

impl Notification {
    fn parse(body: &str) -> Option<Self> {
        object("the body", body).ok()?;
        let read: Self = serde_json::from_str(body).ok()?;
        ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
            .contains(&read.kind.as_str())
            .then_some(read)
    }
}

/// Returns the text that an SNS notification carries, or `None` if the body is not a message of
/// SNS.
///
/// # Errors
/// Returns [`Malformed`] for a confirmation that SNS sends to the queue, and for a notification
/// that carries another notification.
pub(super) fn message(body: &str) -> Result<Option<String>, Malformed> {
    let Some(outer) = Notification::parse(body) else { return Ok(None) };
    match outer.kind.as_str() {
        "SubscriptionConfirmation" => Err(Malformed::new(
            "an SNS subscription confirmation, not an event: \
             the subscription has to be confirmed by hand",
        )),
        "UnsubscribeConfirmation" => Err(Malformed::new(
            "an SNS unsubscribe confirmation, not an event: if the queue is to stay subscribed, \
             the subscription has to be confirmed by hand",
        )),
        _ if Notification::parse(&outer.message).is_some() => Err(Malformed::new(
            "an SNS message inside an SNS notification: only one is unwrapped; \
             subscribe the queue with raw message delivery, or to the first topic",
        )),
        _ => Ok(Some(outer.message)),
    }
}
