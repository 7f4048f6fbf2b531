//! The queue in Amazon SQS.
//!
//! - *Waits.* The wait of a receive is a third of the visibility timeout, at most 20 seconds,
//!   because a lease counts from the instant before its receive was sent.
//! - *Stops.* SQS does not notice that the caller of a long poll has disconnected: until its wait
//!   is over, the poll takes messages that nobody gets before their visibility timeout has passed,
//!   and each of them loses a receive. So no receive is dropped, and nothing is released before the
//!   last one has ended, because it would take the released message too. A receive that begins
//!   while work is going on waits for one second, so that a busy worker stops in time; an idle
//!   worker makes about three receives a minute.
//! - *Retries.* The SDK repeats neither receives, because the polling loop does, nor settlements,
//!   because the holder of the lease does. For the other calls each client has a retry quota of its
//!   own: the SDK's default is one for all clients of a service and Region, so that one client that
//!   fails would use up the retries of the others.
//! - *Clock.* A message that is received for the first time carries the time of SQS. The worker's
//!   clock is set by it, so that a wrong or jumping clock of the machine changes nothing.

mod permissions;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, MessageSystemAttributeName as System, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use aws_sdk_sqs::{Client, config};
use serde::Deserialize;
use tokio::time::{Instant, sleep};

use super::{Message, NotSent, Outgoing, Queue, QueueInfo, ReceiptHandle, Visibility, Wait};
use crate::aws::{Aws, AwsError, CountAttempts, ErrorClass, Operation};
use crate::clock::Clock;
use crate::domain::names::{AccountId, Region, RegistryId};
use crate::telemetry::traces::{self, Delivery, SpanPlace};

/// The longest wait of SQS (SQS API reference, ReceiveMessage).
const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// The shortest wait that still asks all servers of SQS. It delays a stop by one second at most.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// The longest delay of SQS and the largest batch in bytes (SQS API reference, SendMessageBatch).
const LONGEST_DELAY: Duration = Duration::from_secs(900);
const LONGEST_BATCH: usize = 1_048_576;
/// The maximum number of attempts to send an entry of a batch, and the pause after its first
/// failure. Each further pause is three times as long.
const MAX_SENDS: usize = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The trace context of W3C, as message attributes.
const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";

/// A receipt handle that no message has.
const NO_RECEIPT: &str = "tagwarden-asks-whether-it-may";

/// The queue at one URL.
#[derive(Debug)]
pub(crate) struct SqsQueue {
    aws: Aws,
    receiver: Client,
    settler: Client,
    client: Client,
    url: String,
    name: Arc<str>,
    visibility: Duration,
    wait: Duration,
    clock: Clock,
}

impl SqsQueue {
    /// Creates the queue at `url`. Received messages stay invisible for `visibility`, and a stop
    /// waits `patience` for a receive. `clock` is set by the time of the queue.
    #[must_use]
    pub(crate) fn new(
        aws: Aws,
        url: String,
        visibility: Duration,
        patience: Duration,
        clock: Clock,
    ) -> Self {
        let wait = longest_wait(visibility, patience);
        Self {
            receiver: Client::from_conf(partition(&aws.for_receive(wait)).build()),
            settler: Client::from_conf(partition(&aws.for_settling()).build()),
            client: Client::from_conf(partition(aws.config()).interceptor(CountAttempts).build()),
            aws,
            name: url.rsplit('/').next().unwrap_or_default().into(),
            url,
            visibility,
            wait,
            clock,
        }
    }

    /// Returns the longest wait of a receive.
    #[must_use]
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }
}

impl SqsQueue {
    /// Sends one batch and repeats those of its entries that fail by themselves. Returns the error
    /// and the positions of the entries that are left if it gives up.
    async fn send_batch(&self, batch: &[Outgoing]) -> Result<(), (AwsError, Vec<usize>)> {
        let mut left: Vec<usize> = (0..batch.len()).collect();
        let mut pause = FIRST_PAUSE;
        for send in 1..=MAX_SENDS {
            let results = match self.send_entries(batch, &left).await {
                Ok(results) => results,
                Err(error) => return Err((error, left)),
            };
            let mut errors = Vec::new();
            let mut results = results.into_iter();
            left.retain(|_| match results.next() {
                Some(Err(error)) => {
                    errors.push(error);
                    true
                }
                _ => false,
            });
            // A permanent error ends the attempts, even if other entries failed with a transient
            // error.
            errors.sort_by_key(|error| error.class.is_transient());
            match errors.into_iter().next() {
                None => return Ok(()),
                Some(error) if send == MAX_SENDS || !error.class.is_transient() => {
                    return Err((error, left));
                }
                Some(_) => sleep(pause).await,
            }
            pause *= 3;
        }
        Ok(())
    }

    /// Makes one call for these entries of a batch and returns one result for each of them.
    async fn send_entries(
        &self,
        batch: &[Outgoing],
        which: &[usize],
    ) -> Result<Vec<Result<(), AwsError>>, AwsError> {
        let operation = Operation::SendMessageBatch;
        let entries = which.iter().enumerate().filter_map(|(id, at)| {
            let message = batch.get(*at)?;
            SendMessageBatchRequestEntry::builder()
                .id(id.to_string())
                .message_body(&message.body)
                .delay_seconds(whole_seconds(message.delay.min(LONGEST_DELAY)))
                .build()
                .ok()
        });
        let request = self
            .client
            .send_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()));
        let answer = self.aws.call(operation, request.send()).await?;
        let done = answer.successful.into_iter().map(|entry| entry.id).collect();
        Ok(results(operation, which.len(), Ok((done, answer.failed))))
    }
}

/// Returns the longest wait of a receive, in whole seconds. A lease counts from before the receive,
/// so the wait must leave most of it; and a receive that is in flight when the stop signal arrives
/// must end in time.
fn longest_wait(visibility: Duration, patience: Duration) -> Duration {
    let wait = (visibility / 3).min(patience).min(LONGEST_WAIT);
    Duration::from_secs(wait.as_secs()).max(SHORT_WAIT)
}

/// Returns the configuration of a client with a retry quota of its own.
fn partition(config: &SdkConfig) -> config::Builder {
    config::Builder::from(config).retry_partition(Aws::retry_quota())
}

/// The redrive policy as SQS writes it; the count is a number or a string.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RedrivePolicy {
    max_receive_count: serde_json::Value,
}

impl Queue for SqsQueue {
    async fn info(&self) -> Result<QueueInfo, AwsError> {
        let operation = Operation::GetQueueAttributes;
        let request = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::QueueArn)
            .attribute_names(QueueAttributeName::RedrivePolicy);
        let answer = self.aws.call(operation, request.send()).await?;
        let attributes = answer.attributes.unwrap_or_default();
        let arn = attributes.get(&QueueAttributeName::QueueArn).map_or("", String::as_str);
        let registry_id = match arn.split(':').collect::<Vec<_>>().as_slice() {
            ["arn", _, "sqs", region, account, _] => {
                AccountId::parse(*account).ok().zip(Region::parse(*region).ok())
            }
            _ => None,
        };
        let (account, region) = registry_id.ok_or_else(|| {
            AwsError::unexpected(operation, format!("the answer's QueueArn is {arn:?}"))
        })?;
        let max_receive_count = attributes
            .get(&QueueAttributeName::RedrivePolicy)
            .and_then(|policy| serde_json::from_str::<RedrivePolicy>(policy).ok())
            .and_then(|policy| policy.max_receive_count.to_string().trim_matches('"').parse().ok());
        Ok(QueueInfo { registry_id: RegistryId { account, region }, max_receive_count })
    }

    async fn receive(&self, max: usize, wait: Wait) -> Result<Vec<Message>, AwsError> {
        let wait = match wait {
            Wait::Long => self.wait,
            Wait::Short => SHORT_WAIT,
        };
        let span = traces::receive(&self.name);
        let mut request = self
            .receiver
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, 10)).unwrap_or(10))
            .wait_time_seconds(whole_seconds(wait))
            .visibility_timeout(whole_seconds(self.visibility))
            .message_system_attribute_names(System::ApproximateReceiveCount)
            .message_system_attribute_names(System::ApproximateFirstReceiveTimestamp)
            .message_system_attribute_names(System::SentTimestamp)
            .message_system_attribute_names(System::SenderId);
        // The headers of the sender are of no use to a worker that exports no traces.
        if !span.is_disabled() {
            request = request
                .message_system_attribute_names(System::AwsTraceHeader)
                .message_attribute_names(TRACEPARENT)
                .message_attribute_names(TRACESTATE);
        }
        let leased_from = Instant::now();
        let answer = self.aws.call_in(&span, Operation::ReceiveMessage, request.send()).await?;
        let received_at = Instant::now();
        span.record("messaging.batch.message_count", traces::number(answer.messages().len()));
        let received = SpanPlace::of(&span);
        Ok(answer
            .messages
            .unwrap_or_default()
            .into_iter()
            .filter_map(|message| {
                let (mut receive_count, mut first, mut sent_at) = (1, None, None);
                let (mut sender, mut xray) = (None, None);
                for (name, value) in message.attributes.unwrap_or_default() {
                    match name {
                        System::ApproximateReceiveCount => {
                            receive_count = value.parse().unwrap_or(1);
                        }
                        System::ApproximateFirstReceiveTimestamp => first = time(&value),
                        System::SentTimestamp => sent_at = time(&value),
                        System::SenderId => sender = Some(value),
                        System::AwsTraceHeader => xray = Some(value),
                        _ => {}
                    }
                }
                // This is the first receive of the message, so the timestamp of the first receive
                // is the time of SQS now.
                if let (1, Some(now)) = (receive_count, first) {
                    self.clock.set(received_at, now);
                }
                let header = |name| {
                    let attribute = message.message_attributes.as_ref()?.get(name)?;
                    attribute.string_value()
                };
                let delivery = Delivery {
                    queue: Arc::clone(&self.name),
                    sent: SpanPlace::sent_by(
                        header(TRACEPARENT),
                        header(TRACESTATE),
                        xray.as_deref(),
                    ),
                    received: received.clone(),
                };
                Some(Message {
                    delivery,
                    id: message.message_id.unwrap_or_default(),
                    // A message without a handle can neither be kept nor settled; SQS delivers it
                    // again.
                    receipt: ReceiptHandle(message.receipt_handle?),
                    body: message.body.unwrap_or_default(),
                    receive_count,
                    sent_at,
                    sender,
                    leased_from,
                    received_at,
                })
            })
            .collect())
    }

    async fn delete(&self, receipts: &[ReceiptHandle]) -> Vec<Result<(), AwsError>> {
        let operation = Operation::DeleteMessageBatch;
        let entries = receipts.iter().enumerate().filter_map(|(at, receipt)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(&receipt.0)
                .build()
                .ok()
        });
        let request = self
            .settler
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()));
        let answer = self.aws.call(operation, request.send()).await.map(|answer| {
            let done = answer.successful.into_iter().map(|entry| entry.id).collect();
            (done, answer.failed)
        });
        results(operation, receipts.len(), answer)
    }

    async fn may_settle(&self) -> Result<(), AwsError> {
        let receipt = ReceiptHandle(NO_RECEIPT.to_owned());
        let change = Visibility { receipt: receipt.clone(), timeout: Duration::ZERO };
        let deletes = self.delete(&[receipt]).await;
        let changes = self.change_visibility(&[change]).await;
        // The answer that there is no such message shows that the permission exists.
        let mut errors = deletes.into_iter().chain(changes).filter_map(Result::err);
        errors.find(|error| error.class != ErrorClass::Rejected).map_or(Ok(()), Err)
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<(), NotSent> {
        let mut from = 0;
        for batch in batches(messages) {
            if let Err((error, left)) = self.send_batch(batch).await {
                let of = messages.len();
                let left = left.into_iter().map(|at| from + at);
                let left = left.chain(from + batch.len()..of).collect();
                return Err(NotSent { error, left, of });
            }
            from += batch.len();
        }
        Ok(())
    }

    async fn change_visibility(&self, changes: &[Visibility]) -> Vec<Result<(), AwsError>> {
        let operation = Operation::ChangeMessageVisibilityBatch;
        let entries = changes.iter().enumerate().filter_map(|(at, change)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(&change.receipt.0)
                .visibility_timeout(whole_seconds(change.timeout))
                .build()
                .ok()
        });
        let request = self
            .settler
            .change_message_visibility_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries.collect()));
        let answer = self.aws.call(operation, request.send()).await.map(|answer| {
            let done = answer.successful.into_iter().map(|entry| entry.id).collect();
            (done, answer.failed)
        });
        results(operation, changes.len(), answer)
    }
}

/// Returns one result for each entry of a batch, in the order of the request, because HTTP 200 says
/// nothing about the single entries.
fn results(
    operation: Operation,
    entries: usize,
    answer: Result<(Vec<String>, Vec<BatchResultErrorEntry>), AwsError>,
) -> Vec<Result<(), AwsError>> {
    let (done, failed) = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![Err(error); entries],
    };
    let mut results: Vec<_> = (0..entries)
        .map(|_| Err(AwsError::unexpected(operation, "the answer has no result for this entry")))
        .collect();
    let mut set = |id: &str, result| {
        if let Some(entry) = id.parse().ok().and_then(|at: usize| results.get_mut(at)) {
            *entry = result;
        }
    };
    done.iter().for_each(|id| set(id, Ok(())));
    for entry in failed {
        let message = entry.message.unwrap_or_default();
        let error = AwsError::of_entry(operation, &entry.code, &message, entry.sender_fault);
        set(&entry.id, Err(error));
    }
    results
}

/// Splits messages into batches: ten at most, and no more bytes than SQS takes in one call.
fn batches(messages: &[Outgoing]) -> impl Iterator<Item = &[Outgoing]> {
    let mut left = messages;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = left.iter().take(10).take_while(|message| {
            bytes += message.body.len();
            bytes <= LONGEST_BATCH
        });
        // A message that is too long by itself is sent alone, so that SQS refuses it alone.
        let (batch, rest) = left.split_at(fits.count().max(1).min(left.len()));
        left = rest;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Reads a time as SQS writes it, in milliseconds since 1970.
fn time(text: &str) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_millis(text.parse().ok()?))
}

/// Rounds up, because a deferred message must not arrive too early.
fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    // The longest visibility timeout of SQS is twelve hours.
    i32::try_from(seconds.min(43_200)).unwrap_or(43_200)
}

#[cfg(test)]
mod tests;
