//! Deletes and changes of visibility, gathered by ten: each caller waits for the result of its own entry.

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

/// The most entries that SQS takes in one batch.
const BATCH: usize = 10;
/// How long the first entry of a batch waits for others.
const LINGER: Duration = Duration::from_millis(10);
/// Entries that may wait before submitting waits too.
const BACKLOG: usize = 1024;

/// What is to be sent, who waits for the result, and where in which trace.
struct Entry<T> {
    entry: T,
    reply: oneshot::Sender<Result<(), AwsError>>,
    span: Span,
}

/// The sending side: cheap to clone; entries go out as long as [`run`] runs.
pub struct Batcher<T> {
    operation: Operation,
    entries: mpsc::Sender<Entry<T>>,
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

/// The receiving side, to be given to [`run`].
#[derive(Debug)]
pub struct Entries<T> {
    operation: Operation,
    receiver: mpsc::Receiver<Entry<T>>,
}

impl<T> Batcher<T> {
    /// A batcher for one operation.
    #[must_use]
    pub fn new(operation: Operation) -> (Self, Entries<T>) {
        let (entries, receiver) = mpsc::channel(BACKLOG);
        (Self { operation, entries }, Entries { operation, receiver })
    }

    /// Sends one entry with the next batch and waits for its own result.
    ///
    /// # Errors
    /// The entry's error, or the whole batch's.
    pub fn submit(&self, entry: T) -> impl Future<Output = Result<(), AwsError>> + use<T> {
        let (operation, entries) = (self.operation, self.entries.clone());
        async move {
            let stopped = || AwsError {
                operation,
                class: ErrorClass::Connection,
                code: None,
                message: "the worker has stopped".to_owned(),
                request_id: None,
            };
            let (reply, result) = oneshot::channel();
            let entry = Entry { entry, reply, span: Span::current() };
            entries.send(entry).await.map_err(|_| stopped())?;
            result.await.unwrap_or_else(|_| Err(stopped()))
        }
    }
}

/// Sends batches until every [`Batcher`] is gone and the last batch is answered. Batches do not wait for each
/// other: one that hangs holds up only its own entries.
pub async fn run<T, F, Fut>(entries: Entries<T>, send: F)
where
    F: Fn(Vec<T>) -> Fut,
    Fut: Future<Output = Vec<Result<(), AwsError>>>,
{
    let Entries { operation, mut receiver } = entries;
    let mut sending = FuturesUnordered::new();
    let mut open = true;
    while open || !sending.is_empty() {
        tokio::select! {
            biased;
            Some(()) = sending.next() => {}
            first = receiver.recv(), if open => match first {
                None => open = false,
                Some(first) => {
                    let batch = gather(first, &mut receiver).await;
                    let span = traces::batch(operation.name(), batch.len());
                    for entry in &batch {
                        span.follows_from(&entry.span);
                    }
                    let (entries, replies): (Vec<_>, Vec<_>) =
                        batch.into_iter().map(|entry| (entry.entry, entry.reply)).unzip();
                    let results = send(entries).instrument(span);
                    sending.push(async move {
                        for (reply, result) in replies.into_iter().zip(results.await) {
                            // Whoever asked may be gone; the entry was sent all the same.
                            let _ = reply.send(result);
                        }
                    });
                }
            },
        }
    }
}

async fn gather<T>(first: Entry<T>, receiver: &mut mpsc::Receiver<Entry<T>>) -> Vec<Entry<T>> {
    let mut batch = vec![first];
    let end = Instant::now() + LINGER;
    while batch.len() < BATCH {
        match timeout_at(end, receiver.recv()).await {
            Ok(Some(entry)) => batch.push(entry),
            Ok(None) | Err(_) => break,
        }
    }
    batch
}
