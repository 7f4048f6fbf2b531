//! The polling loop: permits, receives, dispatch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::assess::Assessor;
use super::message::Worker;
use super::turns::{Permit, Turns};
use crate::aws::AwsError;
use crate::health::{Health, Obstacle, Pause};
use crate::notify::Notifier;
use crate::queue::lease::Settler;
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

/// The right to work on so many messages at once, and one more for the canary.
struct Permits {
    work: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    most: usize,
    turns: Arc<Turns>,
}

/// Permits for one receive.
struct Held {
    permits: Vec<Permit>,
    canary: bool,
}

impl Permits {
    fn new(most: usize) -> Self {
        Self {
            work: Arc::new(Semaphore::new(most)),
            spare: Arc::new(Semaphore::new(1)),
            most,
            turns: Arc::new(Turns::new(most)),
        }
    }

    /// Whether no message is in hand.
    fn is_idle(&self) -> bool {
        self.work.available_permits() == self.most && self.turns.is_idle()
    }

    fn one(&self) -> Option<Held> {
        Some(Held { permits: vec![Permit::try_of(&self.work)?], canary: false })
    }

    fn spare(&self) -> Option<Held> {
        Some(Held { permits: vec![Permit::try_of(&self.spare)?], canary: true })
    }
}

impl<Q: Queue, R: Registry, N: Notifier> Consumer<Q, R, N> {
    /// Runs until the shutdown drains and every message in hand is settled.
    pub async fn run(self) {
        let permits = Permits::new(self.max_in_flight);
        let mut tasks = JoinSet::new();
        let mut failures = 0;
        let mut canary = Instant::now() + CANARY;
        while let Some(mut held) = self.permits(&permits, &mut canary).await {
            while tasks.try_join_next().is_some() {}
            let messages = match self.receive(held.permits.len()).await {
                Ok(messages) => messages,
                Err(error) => {
                    self.health().beat_after(&error);
                    failures += 1;
                    self.after_failed_receive(&error, failures).await;
                    continue;
                }
            };
            failures = 0;
            self.after_receive(messages.len());
            // A queue that gives more than was asked for has given what has no permit; it comes again.
            for message in messages {
                let Some(permit) = held.permits.pop() else { break };
                let worker = Worker {
                    assessor: Arc::clone(&self.assessor),
                    settler: self.settler.clone(),
                    visibility: self.visibility,
                    turns: Arc::clone(&permits.turns),
                    canary: held.canary,
                };
                tasks.spawn(async move { worker.work_on(message, permit).await });
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

    /// Waits until something may be received, and takes as many permits as one receive can use. `None`: draining.
    async fn permits(&self, permits: &Permits, canary: &mut Instant) -> Option<Held> {
        loop {
            self.health().turned();
            if self.shutdown().is_draining() {
                return None;
            }
            let due = Instant::now() >= *canary;
            let held = match self.health().obstacle() {
                None => self.several(permits).await?,
                // Every permit may be held by a call that is refused: the canary has one of its own.
                Some(Obstacle::RegistryPaused) if due => permits.one().or_else(|| permits.spare()),
                Some(Obstacle::SettlingPaused) if due && permits.is_idle() => {
                    *canary = Instant::now() + CANARY;
                    self.ask_to_settle().await;
                    None
                }
                // The calls in hand are the probes. Where there are none left, a new message is one.
                Some(Obstacle::Paused) if due && permits.is_idle() => permits.one(),
                Some(_) => None,
            };
            if let Some(held) = held {
                *canary = Instant::now() + CANARY;
                return Some(held);
            }
            tokio::select! {
                biased;
                () = self.shutdown().draining() => {}
                () = self.health().clear() => {}
                () = sleep(BEAT) => {}
            }
            self.health().beat();
        }
    }

    /// Asks whether messages may be settled again, when no lease is left by which that would show: another message
    /// would only lose its lease too.
    async fn ask_to_settle(&self) {
        match self.queue.may_settle().await {
            Ok(()) => self.assessor.set_paused(Pause::Settling, false, None),
            Err(error) => warn!(%error, "messages still cannot be settled"),
        }
    }

    /// At least one permit, and as many more as are free. `Some(None)`: to be asked again.
    async fn several(&self, permits: &Permits) -> Option<Option<Held>> {
        let first = tokio::select! {
            biased;
            () = self.shutdown().draining() => return Some(None),
            permit = Permit::next_of(&permits.work) => permit?,
            () = sleep(BEAT) => return Some(None),
        };
        // Asked with the permit in hand: what ended while we waited for it may have left an obstacle.
        if self.health().obstacle().is_some() {
            return Some(None);
        }
        let more = || Permit::try_of(&permits.work);
        let permits = std::iter::once(first).chain(std::iter::from_fn(more));
        Some(Some(Held { permits: permits.take(MOST_RECEIVED).collect(), canary: false }))
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
        self.health().beat();
        context.instruments.received(received);
        context.instruments.polled(context.clock.now());
        // A receive that succeeds was signed with our own credentials.
        for pause in [Pause::Queue, Pause::Credentials] {
            if self.health().set_paused(pause, false) {
                info!(?pause, "polling goes on");
            }
        }
    }

    async fn after_failed_receive(&self, error: &AwsError, failures: u32) {
        if error.class.is_refusal() {
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
