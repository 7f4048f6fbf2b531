//! The queue: receives messages, holds their leases and settles them.
//!
//! The worker sees only the trait [`Queue`]. [`lease`] keeps a message invisible to others while
//! work on it goes on, [`batch`] gathers the calls of all leases by ten, and [`sqs`] makes the
//! calls.
//!
//! A receipt handle may be used by its holder alone, so deletes and changes of visibility are
//! repeated by the holder of the lease and never by the SDK: no attempt begins after the lease has
//! ended.

mod batch;
mod lease;
mod settings;
mod sqs;

use std::fmt;
use std::future::Future;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub(crate) use self::batch::{Batcher, send_batches};
pub(crate) use self::lease::{HeldLease, SettleError, Settlement, Settler};
pub(crate) use self::settings::{QueueSettings, registry_of};
pub(crate) use self::sqs::SqsQueue;
use crate::aws::AwsError;
use crate::domain::names::RegistryId;
use crate::telemetry::traces::Delivery;

/// Identifies one receive of one message; every receive gives a new handle.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct ReceiptHandle(pub String);

impl fmt::Debug for ReceiptHandle {
    /// Hides the handle from logs, because it is long and lets its holder delete the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReceiptHandle")
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The id that the queue gives to the message, the same at every receive.
    pub id: String,
    /// The handle of this receive.
    pub receipt: ReceiptHandle,
    /// The body as it was sent.
    pub body: String,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// When it was sent, by the clock of the queue.
    pub sent_at: Option<SystemTime>,
    /// Who sent it, as the queue names the sender: the unique id of a user, or of a role with a `:`
    /// and the name of its session (SQS API reference, ReceiveMessage, `SenderId`).
    pub sender: Option<String>,
    /// The instant before the receive was sent. The lease counts from here, because the visibility
    /// timeout may have begun at any moment since.
    pub leased_from: Instant,
    /// The instant at which the message had arrived: it was certainly sent before.
    pub received_at: Instant,
    /// The queue and the spans of sender and receiver, for its trace.
    pub delivery: Delivery,
}

/// The attributes of the queue that the worker needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueueInfo {
    /// The account and Region of the queue, which are the worker's own.
    pub registry_id: RegistryId,
    /// The number of receives after which an undeleted message moves to the dead-letter queue;
    /// `None` without a redrive policy. A queue without one is accepted with a warning: a poison
    /// message stays until its retention ends, and nothing else depends on the policy.
    pub max_receive_count: Option<u32>,
}

/// A change of visibility: from now on, the message stays invisible for this long.
#[derive(Clone, Debug)]
pub(crate) struct Visibility {
    /// The handle of the message.
    pub receipt: ReceiptHandle,
    /// The time in whole seconds; zero makes the message visible at once.
    pub timeout: Duration,
}

/// How long a receive waits for its first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As long as the queue permits and a stop can wait for, because that costs the fewest calls.
    Long,
    /// A moment, because a stop waits for the receive before it can release the messages in hand.
    Short,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub body: String,
    /// The time during which nobody can receive it.
    pub delay: Duration,
}

/// Some of several messages could not be sent.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{} of {of} messages could not be sent: {error}", .left.len())]
pub(crate) struct NotSent {
    /// The error that ended the sending.
    pub error: AwsError,
    /// The positions of the messages that were not sent, as far as is known: a call without an
    /// answer may have sent its messages.
    pub left: Vec<usize>,
    /// The number of messages to send.
    pub of: usize,
}

/// The operations of a queue that the worker needs.
pub(crate) trait Queue: Send + Sync + 'static {
    /// Reads the queue's attributes. Success means that the queue exists and may be used.
    fn info(&self) -> impl Future<Output = Result<QueueInfo, AwsError>> + Send;

    /// Receives up to `max` messages (1 to 10) and waits for the first. Never drop the future: the
    /// receive does not end with it. Until its wait is over, the queue gives messages to nobody,
    /// and they stay hidden until their visibility timeout has passed.
    fn receive(
        &self,
        max: usize,
        wait: Wait,
    ) -> impl Future<Output = Result<Vec<Message>, AwsError>> + Send;

    /// Deletes up to ten messages. Returns one result for each, in order. SQS may answer a stale
    /// handle with success and delete nothing (SQS developer guide): the message is then delivered
    /// again.
    fn delete(
        &self,
        receipts: &[ReceiptHandle],
    ) -> impl Future<Output = Vec<Result<(), AwsError>>> + Send;

    /// Checks that messages may be deleted and changed, without touching any.
    fn may_settle(&self) -> impl Future<Output = Result<(), AwsError>> + Send;

    /// Sends messages in order; each becomes visible after its delay (whole seconds, at most 900).
    ///
    /// Entries of a batch that fail by themselves are sent again a few times, without the other
    /// entries. If one cannot be sent, the sending ends: the error names the messages that are
    /// left, and the others were sent.
    fn send(&self, messages: &[Outgoing]) -> impl Future<Output = Result<(), NotSent>> + Send;

    /// Changes the visibility of up to ten messages. Returns one result for each, in order.
    fn change_visibility(
        &self,
        changes: &[Visibility],
    ) -> impl Future<Output = Vec<Result<(), AwsError>>> + Send;
}
