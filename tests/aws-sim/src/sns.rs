//! SNS: topics, subscriptions of SQS queues, and publishing.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::api::{ApiCall, ApiError, Input, Outcome, partition};
use crate::clock::iso_millis;
use crate::pattern;
use crate::sqs::{NewMessage, QueueKey};
use crate::world::World;

/// The most bytes of a message with its attributes.
const MAX_BYTES: usize = 262_144;
/// Who sends what a topic delivers. The value is one that AWS's own deliveries have shown; whether it is the same in
/// every Region is not known.
const SENDER: &str = "AIDAIT2UOQQY3AUEKVGXU";
/// A subject is shorter than this, in characters.
const SUBJECT_LIMIT: usize = 100;

/// A topic with its subscriptions, and everything that was published to it.
#[derive(Debug, Default)]
pub(crate) struct Topic {
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) published: Vec<Published>,
}

/// A queue that receives what is published to a topic.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) arn: String,
    /// The queue's ARN.
    pub(crate) endpoint: String,
    pub(crate) attributes: BTreeMap<String, String>,
}

/// A message that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The id that the publisher got.
    pub id: String,
    /// The subject, if there was one.
    pub subject: Option<String>,
    /// The message.
    pub message: String,
    /// The message attributes' string values.
    pub attributes: BTreeMap<String, String>,
    /// When.
    pub at: SystemTime,
}

fn invalid(message: impl std::fmt::Display) -> ApiError {
    ApiError::new("InvalidParameter", format!("Invalid parameter: {message}"))
}

fn not_found(what: &str) -> ApiError {
    ApiError::new("NotFound", format!("{what} does not exist")).with_status(404)
}

pub(crate) fn topic_arn(account: &str, region: &str, name: &str) -> String {
    format!("arn:{}:sns:{region}:{account}:{name}", partition(region))
}

impl Subscription {
    fn is(&self, attribute: &str, value: &str) -> bool {
        self.attributes.get(attribute).is_some_and(|set| set == value)
    }

    /// Whether the filter policy, if there is one, lets a message through.
    fn accepts(&self, published: &Published) -> bool {
        let policy = self
            .attributes
            .get("FilterPolicy")
            .and_then(|policy| serde_json::from_str(policy).ok());
        let Some(policy) = policy else {
            return true;
        };
        if self.is("FilterPolicyScope", "MessageBody") {
            return serde_json::from_str(&published.message)
                .is_ok_and(|body: Value| pattern::matches(&policy, &body));
        }
        pattern::matches(&policy, &json!(published.attributes))
    }
}

impl World {
    pub(crate) fn sns(&mut self, call: &ApiCall) -> Outcome {
        match call.operation.as_str() {
            "CreateTopic" => self.create_topic(call),
            "DeleteTopic" => {
                self.topics.remove(call.input.text("TopicArn").unwrap_or_default());
                Ok(json!({}))
            }
            "ListTopics" => Ok(self.list_topics(call)),
            "GetTopicAttributes" => self.get_topic_attributes(call),
            "Subscribe" => self.subscribe(call),
            "Unsubscribe" => self.unsubscribe(call),
            "ListSubscriptionsByTopic" => self.list_subscriptions(call),
            "SetSubscriptionAttributes" => self.set_subscription_attributes(call),
            "Publish" => self.publish(call),
            _ => Err(ApiError::unknown_operation(call)),
        }
    }

    fn create_topic(&mut self, call: &ApiCall) -> Outcome {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let name = call.input.text("Name").unwrap_or_default();
        if name.is_empty() || name.len() > 256 || !name.chars().all(valid) {
            return Err(invalid("Topic Name"));
        }
        let arn = topic_arn(&call.account, &call.region, name);
        self.topics.entry(arn.clone()).or_default();
        Ok(json!({"TopicArn": arn}))
    }

    fn list_topics(&self, call: &ApiCall) -> Value {
        let prefix = topic_arn(&call.account, &call.region, "");
        let arns = self.topics.keys().filter(|arn| arn.starts_with(&prefix));
        let topics: Vec<_> = arns.map(|arn| json!({"TopicArn": arn})).collect();
        json!({"Topics": topics})
    }

    fn topic(&mut self, call: &ApiCall) -> Result<(String, &mut Topic), ApiError> {
        let arn = call.input.text("TopicArn").or_else(|| call.input.text("TargetArn"));
        let arn = arn.ok_or_else(|| {
            invalid("TopicArn or TargetArn Reason: no value for required parameter")
        })?;
        if !arn.contains(":sns:") {
            return Err(invalid("TopicArn"));
        }
        // A topic answers in its own region only.
        let here = arn.split(':').nth(3) == Some(call.region.as_str());
        let topic = self.topics.get_mut(arn).filter(|_| here);
        topic.map(|topic| (arn.to_owned(), topic)).ok_or_else(|| not_found("Topic"))
    }

    fn get_topic_attributes(&mut self, call: &ApiCall) -> Outcome {
        let (arn, topic) = self.topic(call)?;
        let owner = arn.split(':').nth(4).unwrap_or_default();
        Ok(json!({"Attributes": {
            "TopicArn": arn,
            "Owner": owner,
            "DisplayName": "",
            "SubscriptionsConfirmed": topic.subscriptions.len().to_string(),
            "SubscriptionsPending": "0",
            "SubscriptionsDeleted": "0",
        }}))
    }

    fn subscribe(&mut self, call: &ApiCall) -> Outcome {
        let id = self.ids.uuid();
        let (topic_arn, topic) = self.topic(call)?;
        if call.input.text("Protocol") != Some("sqs") {
            return Err(invalid("Protocol Reason: only sqs is simulated"));
        }
        let endpoint = call.input.text("Endpoint").unwrap_or_default();
        if QueueKey::from_arn(endpoint).is_none() {
            return Err(invalid("SQS endpoint ARN"));
        }
        let given = call.input.get("Attributes").and_then(Value::as_object);
        let attributes = given
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let arn = topic.add(&topic_arn, endpoint, attributes, &id);
        Ok(json!({"SubscriptionArn": arn}))
    }

    fn unsubscribe(&mut self, call: &ApiCall) -> Outcome {
        let arn = call.input.text("SubscriptionArn").unwrap_or_default();
        for topic in self.topics.values_mut() {
            topic.subscriptions.retain(|subscription| subscription.arn != arn);
        }
        Ok(json!({}))
    }

    fn list_subscriptions(&mut self, call: &ApiCall) -> Outcome {
        let owner = call.account.clone();
        let (arn, topic) = self.topic(call)?;
        let rows = topic.subscriptions.iter().map(|subscription| {
            json!({
                "SubscriptionArn": subscription.arn,
                "Owner": owner,
                "Protocol": "sqs",
                "Endpoint": subscription.endpoint,
                "TopicArn": arn,
            })
        });
        Ok(json!({"Subscriptions": rows.collect::<Vec<_>>()}))
    }

    fn set_subscription_attributes(&mut self, call: &ApiCall) -> Outcome {
        let arn = call.input.text("SubscriptionArn").unwrap_or_default();
        let name = call.input.text("AttributeName").ok_or_else(|| invalid("AttributeName"))?;
        let value = call.input.text("AttributeValue").unwrap_or_default();
        let mut subscriptions = self.topics.values_mut().flat_map(|topic| &mut topic.subscriptions);
        let subscription = subscriptions.find(|subscription| subscription.arn == arn);
        let subscription = subscription.ok_or_else(|| not_found("Subscription"))?;
        subscription.attributes.insert(name.to_owned(), value.to_owned());
        Ok(json!({}))
    }

    fn publish(&mut self, call: &ApiCall) -> Outcome {
        let now = self.now;
        let id = self.ids.uuid();
        let input = &call.input;
        let (arn, topic) = self.topic(call)?;
        let message = input.text("Message").filter(|message| !message.is_empty());
        let message = message.ok_or_else(|| invalid("Empty message"))?;
        let subject = input.text("Subject");
        if subject.is_some_and(|subject| !valid_subject(subject)) {
            return Err(invalid("Subject"));
        }
        let empty = Map::new();
        let attributes =
            input.get("MessageAttributes").and_then(Value::as_object).unwrap_or(&empty);
        if message.len() + size_of_attributes(attributes)? > MAX_BYTES {
            return Err(invalid("Message too long"));
        }
        let published = Published {
            id: id.clone(),
            subject: subject.map(str::to_owned),
            message: message.to_owned(),
            attributes: attributes
                .iter()
                .map(|(name, value)| {
                    (name.clone(), value.text("StringValue").unwrap_or_default().to_owned())
                })
                .collect(),
            at: now,
        };
        topic.published.push(published.clone());
        let deliveries: Vec<_> = topic
            .subscriptions
            .iter()
            .filter(|subscription| subscription.accepts(&published))
            .filter_map(|subscription| {
                let queue = QueueKey::from_arn(&subscription.endpoint)?;
                let raw = subscription.is("RawMessageDelivery", "true");
                Some((queue, delivery(raw, &arn, &subscription.arn, &published, attributes)))
            })
            .collect();
        for (queue, message) in deliveries {
            self.enqueue(&queue, message);
        }
        Ok(json!({"MessageId": id}))
    }
}

impl Topic {
    /// Subscribes a queue; the subscription's ARN, the old one if the queue was subscribed already.
    pub(crate) fn add(
        &mut self,
        topic_arn: &str,
        endpoint: &str,
        attributes: BTreeMap<String, String>,
        id: &str,
    ) -> String {
        let existing =
            self.subscriptions.iter().find(|subscription| subscription.endpoint == endpoint);
        if let Some(existing) = existing {
            return existing.arn.clone();
        }
        let arn = format!("{topic_arn}:{id}");
        self.subscriptions.push(Subscription {
            arn: arn.clone(),
            endpoint: endpoint.to_owned(),
            attributes,
        });
        arn
    }
}

fn valid_subject(subject: &str) -> bool {
    let length = subject.chars().count();
    (1..SUBJECT_LIMIT).contains(&length) && !subject.chars().any(char::is_control)
}

fn size_of_attributes(attributes: &Map<String, Value>) -> Result<usize, ApiError> {
    let mut size = 0;
    for (name, value) in attributes {
        let data_type = value.text("DataType").unwrap_or_default();
        let content =
            value.text("StringValue").or_else(|| value.text("BinaryValue")).unwrap_or_default();
        let reserved = name.starts_with("AWS.") || name.starts_with("Amazon.");
        if name.is_empty()
            || name.len() > 256
            || reserved
            || data_type.is_empty()
            || content.is_empty()
        {
            return Err(ApiError::new(
                "ParameterValueInvalid",
                format!(
                    "The message attribute '{name}' must contain a valid name, type and non-empty value."
                ),
            ));
        }
        size += name.len() + data_type.len() + content.len();
    }
    Ok(size)
}

/// What a subscribed queue gets: the message itself with its attributes, or the Notification envelope.
fn delivery(
    raw: bool,
    topic_arn: &str,
    subscription_arn: &str,
    published: &Published,
    attributes: &Map<String, Value>,
) -> NewMessage {
    if raw {
        return NewMessage {
            attributes: attributes.clone().into_iter().collect(),
            ..NewMessage::of(SENDER, published.message.clone())
        };
    }
    let region = topic_arn.split(':').nth(3).unwrap_or_default();
    let mut envelope = json!({
        "Type": "Notification",
        "MessageId": published.id,
        "TopicArn": topic_arn,
        "Message": published.message,
        "Timestamp": iso_millis(published.at),
        "SignatureVersion": "1",
        "Signature": "SYNTHETIC",
        "SigningCertURL": format!("https://sns.{region}.amazonaws.com/SimpleNotificationService-0.pem"),
        "UnsubscribeURL":
            format!("https://sns.{region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={subscription_arn}"),
    });
    if let Some(subject) = &published.subject {
        envelope.set("Subject", json!(subject));
    }
    if !attributes.is_empty() {
        let rows = attributes.iter().map(|(name, value)| {
            let content = value.text("StringValue").or_else(|| value.text("BinaryValue"));
            (name.clone(), json!({"Type": value.text("DataType"), "Value": content}))
        });
        envelope.set("MessageAttributes", Value::Object(rows.collect()));
    }
    NewMessage::of(SENDER, envelope.to_string())
}
