//! The polling loop: permits, receives, dispatch, and the settling of every message that came.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::assess::{Assessor, Job};
use super::disposition::{Disposition, Failure, Outcome, disposition};
use super::report::{self, Assessed};
use crate::aws::{AwsError, ErrorClass};
use crate::event::{self, Kind, Parsed};
use crate::health::{Health, Obstacle, Pause};
use crate::notify::Notifier;
use crate::queue::lease::{HeldLease, Settlement, Settler};
use crate::queue::{Message, Queue};
use crate::registry::Registry;
use crate::shutdown::Shutdown;

/// The most messages of one receive (SQS API reference, ReceiveMessage).
const MOST_RECEIVED: usize = 10;
/// How long a receive in flight is awaited when the stop signal comes.
const LAST_RECEIVE: Duration = Duration::from_secs(1);
/// The loop shows that it lives at least this often while it waits.
const BEAT: Duration = Duration::from_secs(5);
/// While the registry refuses everything, one message is taken in this time: it may be about a repository that
/// does not refuse us.
const CANARY: Duration = Duration::from_secs(60);
/// First and longest pause after a failed receive.
const RECEIVE_BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Takes messages from the queue until it is told to stop.
#[derive(Debug)]
pub struct Consumer<Q, R, N> {
    /// The queue.
    pub queue: Arc<Q>,
    /// Who assesses images.
    pub assessor: Arc<Assessor<R, N>>,
    /// How leases are extended and settled.
    pub settler: Settler,
    /// How many messages are worked on at once.
    pub max_in_flight: usize,
    /// How long a received message stays invisible.
    pub visibility: Duration,
}

impl<Q: Queue, R: Registry, N: Notifier> Consumer<Q, R, N> {
    /// Runs until the shutdown drains and every message in hand is settled.
    pub async fn run(self) {
        let permits = Arc::new(Semaphore::new(self.max_in_flight));
        let mut tasks = JoinSet::new();
        let mut failures = 0;
        let mut canary = Instant::now() + CANARY;
        while let Some(mut held) = self.permits(&permits, &mut canary).await {
            while tasks.try_join_next().is_some() {}
            let messages = match self.receive(held.len()).await {
                Ok(messages) => messages,
                Err(error) => {
                    failures += 1;
                    self.after_failed_receive(&error, failures).await;
                    continue;
                }
            };
            failures = 0;
            self.after_receive(messages.len());
            // A queue that gives more than was asked for has given what has no permit; it comes again.
            for message in messages {
                let Some(permit) = held.pop() else { break };
                let worker = Worker {
                    assessor: Arc::clone(&self.assessor),
                    settler: self.settler.clone(),
                    visibility: self.visibility,
                };
                tasks.spawn(async move {
                    worker.work_on(message).await;
                    drop(permit);
                });
            }
        }
        info!(in_flight = tasks.len(), "draining");
        while tasks.join_next().await.is_some() {}
    }

    fn health(&self) -> &Health {
        &self.assessor.context().health
    }

    fn shutdown(&self) -> &Shutdown {
        &self.assessor.context().shutdown
    }

    /// Waits until something may be received and as many permits as one receive can use. `None`: draining.
    async fn permits(
        &self,
        permits: &Arc<Semaphore>,
        canary: &mut Instant,
    ) -> Option<Vec<OwnedSemaphorePermit>> {
        loop {
            self.health().beat();
            if self.shutdown().is_draining() {
                return None;
            }
            let first = tokio::select! {
                biased;
                () = self.shutdown().draining() => continue,
                permit = Arc::clone(permits).acquire_owned() => permit.ok()?,
                () = sleep(BEAT) => continue,
            };
            // Asked with the permit in hand: what ended while we waited for it may have left an obstacle.
            let most = match self.health().obstacle() {
                None => MOST_RECEIVED,
                Some(Obstacle::RegistryPaused) if Instant::now() >= *canary => 1,
                Some(_) => {
                    drop(first);
                    tokio::select! {
                        biased;
                        () = self.shutdown().draining() => {}
                        () = self.health().clear() => {}
                        () = sleep(BEAT) => {}
                    }
                    continue;
                }
            };
            *canary = Instant::now() + CANARY;
            let more = || Arc::clone(permits).try_acquire_owned().ok();
            return Some(
                std::iter::once(first).chain(std::iter::from_fn(more)).take(most).collect(),
            );
        }
    }

    /// One receive. The stop signal waits a moment for it: messages that are on their way would be stranded.
    async fn receive(&self, max: usize) -> Result<Vec<Message>, AwsError> {
        let mut receive = std::pin::pin!(self.queue.receive(max));
        tokio::select! {
            biased;
            result = &mut receive => result,
            () = self.shutdown().draining() => {
                timeout(LAST_RECEIVE, receive).await.unwrap_or_else(|_| Ok(Vec::new()))
            }
        }
    }

    fn after_receive(&self, received: usize) {
        let context = self.assessor.context();
        context.instruments.received(received);
        context.instruments.polled(context.clock.now());
        if self.health().set_paused(Pause::Queue, false) {
            info!(pause = ?Pause::Queue, "polling goes on");
        }
    }

    async fn after_failed_receive(&self, error: &AwsError, failures: u32) {
        if matches!(error.class, ErrorClass::Refused | ErrorClass::Credentials) {
            self.health().set_paused(Pause::Queue, true);
        }
        let (first, longest) = RECEIVE_BACKOFF;
        let pause = first.saturating_mul(2_u32.saturating_pow(failures - 1)).min(longest);
        warn!(%error, failures, retry_in_seconds = pause.as_secs(), "cannot receive");
        tokio::select! {
            biased;
            () = self.shutdown().draining() => {}
            () = sleep(pause.mul_f64(1.0 - fastrand::f64() / 4.0)) => {}
        }
    }
}

/// What one message needs.
struct Worker<R, N> {
    assessor: Arc<Assessor<R, N>>,
    settler: Settler,
    visibility: Duration,
}

impl<R: Registry, N: Notifier> Worker<R, N> {
    async fn work_on(&self, message: Message) {
        let context = self.assessor.context();
        let instruments = &context.instruments;
        let _in_flight = instruments.in_flight();
        let started = Instant::now();
        let mut lease = HeldLease::new(&message, self.visibility, &self.settler, instruments);
        let parsed = self.parse(&message);
        let event = match &parsed {
            Ok(Parsed::Assess(event)) => Some(event.as_ref()),
            _ => None,
        };
        let mut digests = Vec::new();
        let work = async {
            match &parsed {
                Err(malformed) => Err(malformed.clone().into()),
                Ok(Parsed::Ignored { reason, .. }) => Ok(Outcome::Ignored(reason)),
                Ok(Parsed::Assess(event)) => {
                    self.assessor.assess(Job { message: &message, event }, &mut digests).await
                }
            }
        };
        let work = AssertUnwindSafe(work).catch_unwind().map(|caught| {
            caught.unwrap_or_else(|_| {
                instruments.panicked();
                Err(Failure::Panicked)
            })
        });
        let work = async {
            tokio::select! {
                biased;
                result = work => result,
                () = context.shutdown.abandoned() => Err(Failure::Abandoned),
            }
        };
        let Ok(result) = lease.run(work).await else {
            warn!(message_id = message.id, "the lease was lost; the message comes again");
            return;
        };
        let disposition = disposition(&result, message.receive_count, fastrand::f64());
        let age = event.and_then(|event| event.origin.at).map(|at| context.clock.since(at));
        instruments.assessed(started.elapsed(), age);
        let settlement = match disposition {
            Disposition::Delete => Settlement::Delete,
            Disposition::Retry(delay) | Disposition::Redrive(delay) => Settlement::Visible(delay),
            Disposition::Release => Settlement::Visible(Duration::ZERO),
        };
        let reason = match &result {
            Ok(outcome) => outcome.as_str(),
            Err(failure) => failure.as_str(),
        };
        match lease.settle(settlement).await {
            Ok(()) => instruments.settled(disposition.as_str(), reason),
            Err(error) => {
                warn!(message_id = message.id, %error, "cannot settle; the message comes again");
            }
        }
        report::assessed(&Assessed {
            message: &message,
            last_receive: context
                .max_receive_count
                .is_some_and(|most| message.receive_count >= most),
            parsed: &parsed,
            digests: &digests,
            result: &result,
            disposition,
            took: started.elapsed(),
        });
    }

    fn parse(&self, message: &Message) -> Result<Parsed, event::Malformed> {
        let context = self.assessor.context();
        let parsed = event::parse(&message.body, &context.own);
        let kind = match &parsed {
            Ok(Parsed::Assess(event)) => event.kind,
            Ok(Parsed::Ignored { kind, .. }) => *kind,
            Err(_) => Kind::Malformed,
        };
        context.instruments.event(kind.as_str());
        parsed
    }
}
