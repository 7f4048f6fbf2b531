//! The queue: receiving messages, holding their leases, settling them.

pub mod batch;
pub mod lease;
pub mod sqs;

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::aws::AwsError;
use crate::domain::image::Home;
use crate::telemetry::traces::Delivery;

/// Names one receive of one message; every receive gives a new one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReceiptHandle(pub String);

impl fmt::Debug for ReceiptHandle {
    /// A handle is long and lets its holder delete the message: it stays out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptHandle")
    }
}

/// A received message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The queue's id of the message, the same at every receive.
    pub id: String,
    /// Names this receive.
    pub receipt: ReceiptHandle,
    /// The body as it was sent.
    pub body: String,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// When it was sent, by the queue's clock.
    pub sent_at: Option<SystemTime>,
    /// The instant before the receive was sent: the lease counts from here.
    pub leased_from: Instant,
    /// The instant at which it was in our hands: it was certainly sent before.
    pub received_at: Instant,
    /// How it came, for its trace.
    pub delivery: Delivery,
}

/// What the queue says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// The queue's account and Region, which are the worker's own.
    pub home: Home,
    /// After how many receives an undeleted message moves to the dead-letter queue; `None` without a redrive policy.
    pub max_receive_count: Option<u32>,
}

/// A change of visibility: from now, the message stays invisible for this long.
#[derive(Clone, Debug)]
pub struct Visibility {
    /// Whose.
    pub receipt: ReceiptHandle,
    /// For how long; whole seconds, zero makes it visible at once.
    pub timeout: Duration,
}

/// How long a receive waits for its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// As long as the queue permits and a stop can wait for: it costs the fewest calls.
    Long,
    /// A moment: a stop waits for the receive before it can release what is in hand.
    Short,
}

/// A message to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Its body.
    pub body: String,
    /// For how long nobody can receive it.
    pub delay: Duration,
}

/// That not all of several messages could be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} of {of} messages could not be sent: {error}", .left.len())]
pub struct NotSent {
    /// Why.
    pub error: AwsError,
    /// The positions of those that were not, as far as is known: a call that nobody answered may have sent its own.
    pub left: Vec<usize>,
    /// How many were to be sent.
    pub of: usize,
}

/// What the worker needs of a queue.
pub trait Queue: Send + Sync + 'static {
    /// Reads the queue's attributes: that it exists, may be used, and what its redrive policy is.
    fn info(&self) -> impl Future<Output = Result<QueueInfo, AwsError>> + Send;

    /// Receives up to `max` messages (1 to 10), waiting for the first. Dropping the future does not
    /// end the receive: until its wait is over, the queue hands messages to nobody, which hides
    /// them until their visibility timeout has passed.
    fn receive(
        &self,
        max: usize,
        wait: Wait,
    ) -> impl Future<Output = Result<Vec<Message>, AwsError>> + Send;

    /// Deletes up to ten messages. One result for each, in order. A stale handle may be answered as success
    /// without deleting anything (SQS developer guide): the message then comes again.
    fn delete(
        &self,
        receipts: &[ReceiptHandle],
    ) -> impl Future<Output = Vec<Result<(), AwsError>>> + Send;

    /// Asks whether messages may be deleted and changed, without touching any.
    fn may_settle(&self) -> impl Future<Output = Result<(), AwsError>> + Send;

    /// Sends messages in order, each to be seen after a delay (whole seconds, 900 at the most). What fails by itself is
    /// tried some times more, and the others are not sent again with it. What cannot be sent ends it: the error names what
    /// is left, and the others were sent.
    fn send(&self, messages: &[Outgoing]) -> impl Future<Output = Result<(), NotSent>> + Send;

    /// Changes the visibility of up to ten messages. One result for each, in order.
    fn change_visibility(
        &self,
        changes: &[Visibility],
    ) -> impl Future<Output = Vec<Result<(), AwsError>>> + Send;
}
