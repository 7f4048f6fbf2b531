//! One call to one service, whatever its protocol: the parsed request, and the error it may end in.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::sqs::ReceivedMessage;

/// The simulated services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// Amazon Simple Queue Service.
    Sqs,
    /// Amazon Elastic Container Registry.
    Ecr,
    /// Amazon Simple Notification Service.
    Sns,
    /// Amazon EventBridge.
    Events,
    /// AWS Security Token Service.
    Sts,
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqs => "sqs",
            Self::Ecr => "ecr",
            Self::Sns => "sns",
            Self::Events => "events",
            Self::Sts => "sts",
        })
    }
}

/// How a request was written, and so how its reply must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// AWS JSON 1.0 (SQS). In query mode the error codes of the older protocol come in a header.
    Json10 { query_mode: bool },
    /// AWS JSON 1.1 (ECR, EventBridge).
    Json11,
    /// AWS query: a form in, XML out (SNS, STS).
    Query,
}

/// A parsed request: who calls which operation with what.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiCall {
    /// The service addressed.
    pub service: Service,
    /// The operation, in the service's own spelling, such as `BatchDeleteImage`.
    pub operation: String,
    /// The input with sorted keys. Lists and maps of the query protocol are JSON lists and maps here.
    pub input: Value,
    /// The access key id that signed the request.
    pub caller: String,
    /// The account whose credentials signed the request.
    pub account: String,
    /// The region of the request's credential scope.
    pub region: String,
    pub(crate) protocol: Protocol,
}

impl ApiCall {
    /// The account that the call acts on: ECR's `registryId` where given, else the caller's.
    pub fn target_account(&self) -> &str {
        self.input.text("registryId").unwrap_or(&self.account)
    }
}

/// An error that a service answers with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The HTTP status code.
    pub status: u16,
    /// The error code as the SDK's model names it, such as `RepositoryNotFoundException`.
    pub code: String,
    /// What went wrong, in words.
    pub message: String,
    /// What KMS said, where it is a key that ECR may not use: `kmsError`.
    pub kms_error: Option<String>,
}

impl ApiError {
    /// An error of the caller (HTTP 400).
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.into(), message: message.into(), kms_error: None }
    }

    /// The same error under another HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn unknown_operation(call: &ApiCall) -> Self {
        let message = format!("{} does not simulate {}", call.service, call.operation);
        Self::new("UnknownOperationException", message)
    }
}

/// What an operation comes to.
pub(crate) type Outcome = Result<Value, ApiError>;

/// What a call is answered with.
pub(crate) type Answer = Result<Reply, ApiError>;

/// The reply of a success. Received messages become a tree only where one is asked for, since building it is a fifth
/// of what a receive costs.
#[derive(Debug)]
pub(crate) enum Reply {
    Tree(Value),
    Messages(Vec<ReceivedMessage>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Messages<'a> {
    messages: &'a [ReceivedMessage],
}

impl Reply {
    pub(crate) fn tree(&self) -> Cow<'_, Value> {
        match self {
            Self::Tree(tree) => Cow::Borrowed(tree),
            Self::Messages(messages) => Cow::Owned(json!(Messages { messages })),
        }
    }

    pub(crate) fn into_tree(self) -> Value {
        match self {
            Self::Tree(tree) => tree,
            messages @ Self::Messages(_) => messages.tree().into_owned(),
        }
    }

    /// The JSON text: the same in either form.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let written = match self {
            Self::Tree(tree) => serde_json::to_vec(tree),
            Self::Messages(messages) => serde_json::to_vec(&Messages { messages }),
        };
        // With strings as keys it can always be written.
        written.unwrap_or_default()
    }
}

/// Typed access to the members of a JSON object.
pub(crate) trait Input {
    /// A string member.
    fn text(&self, key: &str) -> Option<&str>;
    /// An integer member; the query protocol writes it as a string.
    fn int(&self, key: &str) -> Option<i64>;
    /// A list member; empty when absent.
    fn list(&self, key: &str) -> &[Value];
    /// A list member's strings.
    fn texts(&self, key: &str) -> Vec<&str> {
        self.list(key).iter().filter_map(Value::as_str).collect()
    }
    /// Sets a member; on anything but an object it does nothing.
    fn set(&mut self, key: &str, value: Value);
}

impl Input for Value {
    fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }

    fn int(&self, key: &str) -> Option<i64> {
        let value = self.get(key)?;
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }

    fn list(&self, key: &str) -> &[Value] {
        self.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    fn set(&mut self, key: &str, value: Value) {
        if let Some(members) = self.as_object_mut() {
            members.insert(key.to_owned(), value);
        }
    }
}

/// The ARN partition of a region.
pub(crate) fn partition(region: &str) -> &'static str {
    const PARTITIONS: [(&str, &str); 7] = [
        ("us-gov-", "aws-us-gov"),
        ("cn-", "aws-cn"),
        ("eusc-", "aws-eusc"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
    ];
    let known = PARTITIONS.iter().find(|(prefix, _)| region.starts_with(prefix));
    known.map_or("aws", |(_, partition)| partition)
}
