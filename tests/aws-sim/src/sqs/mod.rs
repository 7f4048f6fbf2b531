//! SQS: standard queues with visibility timeouts, receive counts, redrive, stale receipt handles and batches.

mod attributes;
mod batch;
mod messages;
mod queue;
mod receive;
mod store;

use serde_json::{Value, json};

use crate::api::{ApiCall, ApiError, Input, Outcome, Reply, partition};
use crate::tags;
use crate::world::{Step, World};

pub(crate) use batch::failure;
pub(crate) use messages::NewMessage;
pub(crate) use queue::{Message, Queue};
pub(crate) use receive::ReceivedMessage;

/// What identifies a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueueKey {
    pub(crate) account: String,
    pub(crate) region: String,
    pub(crate) name: String,
}

impl QueueKey {
    /// The queue that a URL names by its last two segments, whatever its host.
    fn from_url(url: &str, region: &str) -> Option<Self> {
        let mut segments = url.trim_end_matches('/').rsplit('/');
        let (name, account) = (segments.next()?, segments.next()?);
        Some(Self { account: account.to_owned(), region: region.to_owned(), name: name.to_owned() })
    }

    /// The queue of an ARN, if it is an SQS ARN.
    pub(crate) fn from_arn(arn: &str) -> Option<Self> {
        let (_, rest) = arn.split_once(":sqs:")?;
        let mut parts = rest.splitn(3, ':');
        Some(Self {
            region: parts.next()?.to_owned(),
            account: parts.next()?.to_owned(),
            name: parts.next()?.to_owned(),
        })
    }

    pub(crate) fn arn(&self) -> String {
        let partition = partition(&self.region);
        format!("arn:{partition}:sqs:{}:{}:{}", self.region, self.account, self.name)
    }

    pub(crate) fn url(&self) -> String {
        format!("https://sqs.{}.amazonaws.com/{}/{}", self.region, self.account, self.name)
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

fn no_such_queue() -> ApiError {
    ApiError::new("QueueDoesNotExist", "The specified queue does not exist.")
}

impl World {
    pub(crate) fn sqs(&mut self, call: &ApiCall, arrived: std::time::SystemTime) -> Step {
        let input = &call.input;
        let outcome = match call.operation.as_str() {
            "CreateQueue" => self.create_queue(call),
            "ListQueues" => Ok(self.list_queues(call)),
            "GetQueueUrl" => self.get_queue_url(call),
            _ => match self.queue_key(call) {
                Err(error) => Err(error),
                Ok(key) => match call.operation.as_str() {
                    "ReceiveMessage" => return self.receive_message(&key, input, arrived),
                    "DeleteQueue" => {
                        self.queues.remove(&key);
                        self.resource_tags.remove(&key.arn());
                        Ok(json!({}))
                    }
                    "PurgeQueue" => {
                        self.with_queue(&key, |queue, _| queue.messages.clear());
                        Ok(json!({}))
                    }
                    "ListQueueTags" => {
                        let tags = self.tags_of_resource(&key.arn());
                        Ok(if tags.is_empty() { json!({}) } else { json!({"Tags": tags}) })
                    }
                    "GetQueueAttributes" => self.get_queue_attributes(&key, input),
                    "SetQueueAttributes" => self.set_queue_attributes(&key, input),
                    "SendMessage" => {
                        let sender = self.user_id(&call.caller);
                        self.send_message(&key, input, &sender)
                    }
                    "DeleteMessage" => self.delete_message(&key, input),
                    "ChangeMessageVisibility" => self.change_visibility(&key, input),
                    "SendMessageBatch" => {
                        let sender = self.user_id(&call.caller);
                        let send = |world: &mut Self, key: &QueueKey, entry: &Value| {
                            world.send_message(key, entry, &sender)
                        };
                        self.batch(&key, input, send)
                    }
                    "DeleteMessageBatch" => self.batch(&key, input, Self::delete_message),
                    "ChangeMessageVisibilityBatch" => {
                        self.batch(&key, input, Self::change_visibility)
                    }
                    _ => Err(ApiError::unknown_operation(call)),
                },
            },
        };
        Step::Done(outcome.map(Reply::Tree))
    }

    /// The queue that a call addresses, if it exists.
    fn queue_key(&self, call: &ApiCall) -> Result<QueueKey, ApiError> {
        let url = call.input.text("QueueUrl").ok_or_else(|| {
            ApiError::new("MissingParameter", "The request must contain the parameter QueueUrl.")
        })?;
        QueueKey::from_url(url, &call.region)
            .filter(|key| self.queues.contains_key(key))
            .ok_or_else(no_such_queue)
    }

    fn create_queue(&mut self, call: &ApiCall) -> Outcome {
        let name = call.input.text("QueueName").unwrap_or_default();
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 80 || !name.chars().all(valid) {
            return Err(invalid(
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length \
                 (FIFO queues are not simulated)",
            ));
        }
        let key = QueueKey {
            account: call.account.clone(),
            region: call.region.clone(),
            name: name.to_owned(),
        };
        let attributes = attributes::checked(&call.input)?;
        if let Some(existing) = self.queues.get(&key) {
            let same = attributes
                .iter()
                .all(|(name, value)| existing.attributes().get(name) == Some(value));
            if !same {
                let message = "A queue already exists with the same name and a different value for an attribute.";
                return Err(ApiError::new("QueueNameExists", message));
            }
        } else {
            let queue = Queue::new(&key, self.now, attributes);
            self.queues.insert(key.clone(), queue);
            self.tag_resource(key.arn(), tags::of_map(call.input.get("tags")));
        }
        Ok(json!({"QueueUrl": key.url()}))
    }

    fn list_queues(&self, call: &ApiCall) -> Value {
        let prefix = call.input.text("QueueNamePrefix").unwrap_or_default();
        let urls: Vec<_> = self
            .queues
            .keys()
            .filter(|key| key.account == call.account && key.region == call.region)
            .filter(|key| key.name.starts_with(prefix))
            .map(QueueKey::url)
            .collect();
        json!({"QueueUrls": urls})
    }

    fn get_queue_url(&self, call: &ApiCall) -> Outcome {
        let key = QueueKey {
            account: call.input.text("QueueOwnerAWSAccountId").unwrap_or(&call.account).to_owned(),
            region: call.region.clone(),
            name: call.input.text("QueueName").unwrap_or_default().to_owned(),
        };
        if !self.queues.contains_key(&key) {
            return Err(no_such_queue());
        }
        Ok(json!({"QueueUrl": key.url()}))
    }

    /// Runs `act` on a queue and the world's time; nothing when there is no such queue.
    pub(crate) fn with_queue<T>(
        &mut self,
        key: &QueueKey,
        act: impl FnOnce(&mut Queue, std::time::SystemTime) -> T,
    ) -> Option<T> {
        let now = self.now;
        self.queues.get_mut(key).map(|queue| act(queue, now))
    }
}
