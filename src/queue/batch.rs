//! Gathers deletes and changes of visibility into batches of ten. Each caller waits for the result
//! of its own entry.
//!
//! SQS bills each call, however many entries it has. An entry waits for others for ten milliseconds
//! at most, and not at all when five are together, because then a longer wait would save less than
//! it costs. Batches do not wait for each other, so one that hangs delays only its own entries
//! (invariant 10).
//!
//! The span of a batch has a trace of its own with links to the traces of its messages, because ten
//! messages have no common parent.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument as _, Span};

use crate::aws::{AwsError, ErrorClass, Operation};
use crate::telemetry::traces;

/// The maximum number of entries that SQS takes in one batch.
const BATCH: usize = 10;
/// A batch of this size waits for no more entries: waiting would save less than it costs.
const ENOUGH: usize = 5;
/// How long the first entry of a smaller batch waits for others.
const LINGER: Duration = Duration::from_millis(10);
/// The number of entries that may wait before a caller that submits has to wait too.
const BACKLOG: usize = 1024;

/// Entries that go into one batch, the receiver of their results, and the spans on whose behalf
/// they are sent.
struct BatchEntry<T> {
    entries: Vec<T>,
    reply: oneshot::Sender<Vec<Result<(), AwsError>>>,
    spans: Vec<Span>,
}

/// The sending side, cheap to clone. Entries are sent as long as [`send_batches`] runs.
pub(crate) struct Batcher<T> {
    operation: Operation,
    entries: mpsc::Sender<BatchEntry<T>>,
}

impl<T> Clone for Batcher<T> {
    fn clone(&self) -> Self {
        Self { operation: self.operation, entries: self.entries.clone() }
    }
}

impl<T> fmt::Debug for Batcher<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batcher({})", self.operation.name())
    }
}

/// The receiving side, for [`send_batches`].
#[derive(Debug)]
pub(crate) struct Entries<T> {
    operation: Operation,
    receiver: mpsc::Receiver<BatchEntry<T>>,
}

impl<T> Batcher<T> {
    /// Creates a batcher for one operation.
    #[must_use]
    pub(crate) fn new(operation: Operation) -> (Self, Entries<T>) {
        let (entries, receiver) = mpsc::channel(BACKLOG);
        (Self { operation, entries }, Entries { operation, receiver })
    }

    /// Sends one entry with the next batch and waits for its own result.
    ///
    /// # Errors
    /// Returns the error of the entry or of the whole batch.
    pub(crate) fn submit(&self, entry: T) -> impl Future<Output = Result<(), AwsError>> + use<T> {
        let results = self.submit_all(vec![entry], vec![Span::current()]);
        let operation = self.operation;
        async move {
            let missing =
                || Err(AwsError::unexpected(operation, "the batch has no result for this entry"));
            results.await.pop().unwrap_or_else(missing)
        }
    }

    /// Sends up to ten entries, each on behalf of a span, with the next batch that has room for all
    /// of them. Waits for their results and returns them in order.
    pub(crate) fn submit_all(
        &self,
        entries: Vec<T>,
        spans: Vec<Span>,
    ) -> impl Future<Output = Vec<Result<(), AwsError>>> + use<T> {
        let (operation, submitted) = (self.operation, self.entries.clone());
        async move {
            let count = entries.len();
            let (reply, results) = oneshot::channel();
            let stopped = match submitted.send(BatchEntry { entries, reply, spans }).await {
                Ok(()) => results.await.ok(),
                Err(_) => None,
            };
            stopped.unwrap_or_else(|| {
                let stopped = AwsError {
                    operation,
                    class: ErrorClass::Connection,
                    code: None,
                    message: "the worker has stopped".to_owned(),
                    request_id: None,
                };
                vec![Err(stopped); count]
            })
        }
    }
}

/// Sends batches until every [`Batcher`] is dropped and the last batch is answered. Batches do not
/// wait for each other: one that hangs delays only its own entries.
pub(crate) async fn send_batches<T, F, Fut>(entries: Entries<T>, send: F)
where
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Vec<Result<(), AwsError>>>,
{
    let Entries { operation, mut receiver } = entries;
    let mut sending = FuturesUnordered::new();
    let mut next = None;
    let mut open = true;
    while open || next.is_some() || !sending.is_empty() {
        let is_open = open || next.is_some();
        let first = async {
            match next.take() {
                Some(first) => Some(first),
                None => receiver.recv().await,
            }
        };
        tokio::select! {
            biased;
            Some(()) = sending.next() => {}
            first = first, if is_open => match first {
                None => open = false,
                Some(first) => {
                    let Gathered { batch, left } =
                        gather(first, &mut receiver, &mut sending).await;
                    next = left;
                    let size = batch.iter().map(|entry| entry.entries.len()).sum();
                    let span = traces::batch(operation.name(), size);
                    let mut entries = Vec::with_capacity(size);
                    let mut replies = Vec::with_capacity(batch.len());
                    for entry in batch {
                        for of in &entry.spans {
                            span.follows_from(of);
                        }
                        replies.push((entry.entries.len(), entry.reply));
                        entries.extend(entry.entries);
                    }
                    let results = send(entries).instrument(span);
                    sending.push(async move {
                        let mut results = results.await;
                        for (count, reply) in replies {
                            let rest = results.split_off(count.min(results.len()));
                            // The caller may have stopped waiting; its entries were sent all the
                            // same.
                            let _ = reply.send(std::mem::replace(&mut results, rest));
                        }
                    });
                }
            },
        }
    }
}

/// The entries of one request.
struct Gathered<T> {
    batch: Vec<BatchEntry<T>>,
    /// An entry that does not fit any more, for the next batch.
    left: Option<BatchEntry<T>>,
}

/// Gathers up to ten entries. Batches in flight make progress meanwhile.
async fn gather<T>(
    first: BatchEntry<T>,
    receiver: &mut mpsc::Receiver<BatchEntry<T>>,
    sending: &mut FuturesUnordered<impl Future<Output = ()>>,
) -> Gathered<T> {
    let mut size = first.entries.len();
    let mut batch = vec![first];
    let end = Instant::now() + LINGER;
    while size < BATCH {
        let received = match receiver.try_recv() {
            Ok(entry) => Ok(Some(entry)),
            Err(_) if size >= ENOUGH => break,
            Err(_) => tokio::select! {
                biased;
                Some(()) = sending.next() => continue,
                received = timeout_at(end, receiver.recv()) => received,
            },
        };
        match received {
            Ok(Some(entry)) if size + entry.entries.len() > BATCH => {
                return Gathered { batch, left: Some(entry) };
            }
            Ok(Some(entry)) => {
                size += entry.entries.len();
                batch.push(entry);
            }
            Ok(None) | Err(_) => break,
        }
    }
    Gathered { batch, left: None }
}
