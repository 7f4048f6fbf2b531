//! The polling loop: takes permits, receives messages, and hands them to the processor.
//!
//! Receives follow the queue. One long poll runs while the queue is empty, and another is added
//! while receives come back full. A receive waits ten milliseconds for ten permits, because it
//! costs the same for one message. All receives together hold half of the permits, so that the
//! others are left to messages that gave theirs up while they were queued.
//!
//! A stop waits for its receives (invariant 12). SQS does not notice that the caller of a long poll
//! is gone: until the poll's wait is over, it takes messages that nobody gets until their
//! visibility timeout has passed, and each of them has lost one receive. So no receive is dropped,
//! and receives are short while messages are in work.
//!
//! A pause always has a probe. While the registry refuses everything, one message a minute is
//! received, beyond the permits if all are taken, because it may be about a repository that does
//! not refuse. In all other pauses a message is received only when none is in work.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use super::fairness::Fairness;
use super::permits::{Permit, Permits};
use super::processor::{Processor, ProcessorParts};
use crate::aws::AwsError;
use crate::backoff::{Backoff, Retries};
use crate::clock::Clock;
use crate::health::{Health, Obstacle, Pause};
use crate::inspect::Urgency;
use crate::notify::Notifier;
use crate::queue::{Message, Queue, Wait};
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;

/// The most messages of one receive (SQS API reference, ReceiveMessage).
const MAX_RECEIVED: usize = 10;
/// How often the loop shows that it lives while it waits, at least.
const BEAT: Duration = Duration::from_secs(5);
/// How often one message is received while the registry refuses everything, because it may be about
/// a repository that does not refuse us.
const PROBE: Duration = Duration::from_secs(60);
/// How long a receive waits for more permits than are free, because a receive of ten messages costs
/// as much as a receive of one.
const GATHER: Duration = Duration::from_millis(10);
/// The pauses after failed receives.
const RECEIVE_BACKOFF: Backoff =
    Backoff::new(Duration::from_secs(1), 2, Duration::from_secs(30)).spread(0.25);

/// Takes messages from the queue until the worker stops.
#[derive(Debug)]
pub(crate) struct Poller<Q, R, N> {
    queue: Arc<Q>,
    processor: Arc<Processor<Q, R, N>>,
    permits: Permits,
    fairness: Arc<Fairness>,
    max_in_flight: usize,
    health: Arc<Health>,
    shutdown: Shutdown,
    clock: Clock,
    instruments: Arc<Instruments>,
}

/// The tasks of the messages in work.
#[derive(Debug, Default)]
struct Tasks {
    working: JoinSet<()>,
    /// The tasks of messages that only wait for the answer to their delete, which takes a moment.
    deleting: JoinSet<()>,
}

impl Tasks {
    fn len(&self) -> usize {
        self.working.len() + self.deleting.len()
    }

    /// Returns a task that has ended.
    fn try_next(&mut self) -> Option<Result<(), JoinError>> {
        self.working.try_join_next().or_else(|| self.deleting.try_join_next())
    }

    /// Waits for the next task that ends; `None` if there are none.
    async fn next(&mut self) -> Option<Result<(), JoinError>> {
        match self.working.join_next().await {
            Some(ended) => Some(ended),
            None => self.deleting.join_next().await,
        }
    }
}

/// The permits and circumstances of one receive.
struct Ticket {
    /// One for each message.
    permits: Vec<Permit>,
    urgency: Urgency,
    /// The pauses when the receive begins. Its success ends these, and says nothing about a refusal
    /// that comes later.
    paused: Vec<Pause>,
}

impl Ticket {
    fn new(permits: Vec<Permit>) -> Self {
        Self { permits, urgency: Urgency::Queued, paused: Vec::new() }
    }

    fn of(permit: Option<Permit>) -> Option<Self> {
        permit.map(|permit| Self::new(vec![permit]))
    }

    fn probing(self) -> Self {
        Self { urgency: Urgency::Probe, ..self }
    }
}

/// When the next probe is due while polling is paused.
struct Probe(Instant);

impl Probe {
    /// Returns a probe that is due in [`PROBE`].
    fn later() -> Self {
        Self(Instant::now() + PROBE)
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.0
    }
}

/// Whether a receive may begin.
enum Readiness {
    /// It may begin, with this.
    Receive(Ticket),
    /// It may not begin now.
    NotNow,
    /// No receive begins any more.
    Draining,
}

impl<Q: Queue, R: Registry, N: Notifier> Poller<Q, R, N> {
    /// Creates a poller that works on `max_in_flight` messages at once.
    #[must_use]
    pub(crate) fn new(
        queue: Arc<Q>,
        shared: ProcessorParts<Q, R, N>,
        max_in_flight: usize,
    ) -> Self {
        let fairness = Arc::new(Fairness::new(max_in_flight));
        let (health, instruments) = (Arc::clone(&shared.health), Arc::clone(&shared.instruments));
        let (shutdown, clock) = (shared.shutdown.clone(), shared.clock.clone());
        let processor = Arc::new(Processor::new(shared, Arc::clone(&fairness)));
        let permits = Permits::new(max_in_flight);
        Self {
            queue,
            processor,
            permits,
            fairness,
            max_in_flight,
            health,
            shutdown,
            clock,
            instruments,
        }
    }

    /// Runs until the shutdown drains, every receive has ended and every message in work is
    /// settled.
    pub(crate) async fn run(self) {
        let mut tasks = Tasks::default();
        let mut polls = FuturesUnordered::new();
        let mut pace = PollPace::new(self.max_in_flight);
        let mut probe = Probe::later();
        let mut draining = false;
        while !(draining && polls.is_empty()) {
            let may_poll = !draining && polls.len() < pace.polls;
            tokio::select! {
                biased;
                Some((ticket, received)) = polls.next() => {
                    self.reap(&mut tasks);
                    self.after_receive(ticket, received, &mut pace, &mut tasks);
                }
                ticket = self.ticket(&pace, &mut probe), if may_poll => {
                    match ticket {
                        Some(ticket) => {
                            self.reap(&mut tasks);
                            let wait = wait(tasks.working.len(), polls.len());
                            polls.push(self.poll(ticket, wait));
                        }
                        None => draining = true,
                    }
                }
                () = self.shutdown.receives_given_up() => {
                    warn!(
                        receives = polls.len(),
                        "receives are not answered in time; a message that they take comes again \
                         when its visibility timeout has passed"
                    );
                    break;
                }
            }
        }
        drop(polls);
        self.shutdown.received_last();
        info!(in_flight = tasks.len(), "draining");
        while let Some(ended) = tasks.next().await {
            self.after_task(ended);
        }
    }

    fn reap(&self, tasks: &mut Tasks) {
        while let Some(ended) = tasks.try_next() {
            self.after_task(ended);
        }
    }

    /// Counts a panic outside of the work on a message, where panics are caught.
    fn after_task(&self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.instruments.panicked();
        }
    }

    async fn poll(
        &self,
        mut ticket: Ticket,
        wait: Wait,
    ) -> (Ticket, Result<Vec<Message>, AwsError>) {
        ticket.paused = [Pause::Queue, Pause::Credentials]
            .into_iter()
            .filter(|pause| self.health.is_paused(*pause))
            .collect();
        let received = self.queue.receive(ticket.permits.len(), wait).await;
        (ticket, received)
    }

    fn after_receive(
        &self,
        mut ticket: Ticket,
        received: Result<Vec<Message>, AwsError>,
        pace: &mut PollPace,
        tasks: &mut Tasks,
    ) {
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => return self.after_failed_receive(&error, pace),
        };
        pace.received(messages.len(), ticket.permits.len());
        if messages.is_empty() {
            self.processor.tidy();
        }
        self.show_success(messages.len(), &ticket.paused);
        let mut done = Vec::new();
        // If the queue gives more messages than asked for, some have no permit. They come again.
        for message in messages {
            let Some(permit) = ticket.permits.pop() else { break };
            let Some(one) = self.processor.parse(message) else { continue };
            if one.is_done() {
                done.push((one, self.permits.to_settle(permit)));
                continue;
            }
            let (processor, urgency) = (Arc::clone(&self.processor), ticket.urgency);
            tasks.working.spawn(async move { processor.process(one, permit, urgency).await });
        }
        if !done.is_empty() {
            let processor = Arc::clone(&self.processor);
            tasks.deleting.spawn(async move { processor.settle_together(done).await });
        }
    }

    /// Waits until a message may be received, and takes as many permits as one receive can use.
    /// Returns `None` if the worker stops.
    async fn ticket(&self, pace: &PollPace, probe: &mut Probe) -> Option<Ticket> {
        tokio::select! {
            biased;
            () = self.shutdown.draining() => return None,
            () = sleep_until(pace.resume) => {}
        }
        loop {
            self.health.turned();
            if self.shutdown.is_draining() {
                return None;
            }
            let is_probe_due = probe.is_due();
            let ticket = match self.health.obstacle() {
                None => match self.several().await {
                    Readiness::Receive(ticket) => Some(ticket),
                    Readiness::NotNow => None,
                    Readiness::Draining => return None,
                },
                // Every permit may be held by a call that is refused, so the probe has one of its
                // own.
                Some(Obstacle::RegistryPaused) if is_probe_due => {
                    let spare = || Ticket::of(self.permits.try_spare()).map(Ticket::probing);
                    Ticket::of(self.permits.try_one()).or_else(spare)
                }
                Some(Obstacle::SettlingPaused) if is_probe_due && self.is_idle() => {
                    *probe = Probe::later();
                    self.ask_to_settle().await;
                    None
                }
                // Calls in hand are the probes. If there are none, a new message becomes one.
                Some(Obstacle::Paused) if is_probe_due && self.is_idle() => {
                    Ticket::of(self.permits.try_one())
                }
                Some(_) => None,
            };
            if let Some(ticket) = ticket {
                *probe = Probe::later();
                return Some(ticket);
            }
            tokio::select! {
                biased;
                () = self.shutdown.draining() => {}
                () = self.health.clear() => {}
                () = sleep(BEAT) => {}
            }
            self.health.beat();
        }
    }

    /// Returns whether no message is in work.
    fn is_idle(&self) -> bool {
        self.permits.are_free() && self.fairness.is_idle()
    }

    /// Asks the queue whether messages may be settled again. No lease is left that would show it,
    /// and another message is not received because it would only lose its lease too.
    async fn ask_to_settle(&self) {
        match self.queue.may_settle().await {
            Ok(()) => self.health.resume(Pause::Settling),
            Err(error) => warn!(%error, "messages still cannot be settled"),
        }
    }

    /// Takes at least one permit, and as many more as are free.
    async fn several(&self) -> Readiness {
        let first = tokio::select! {
            biased;
            () = self.shutdown.draining() => return Readiness::Draining,
            permit = self.permits.one() => permit,
            () = sleep(BEAT) => return Readiness::NotNow,
        };
        let Some(first) = first else { return Readiness::Draining };
        // This is checked with the permit in hand, because work that ended during the wait may have
        // left an obstacle.
        if self.health.obstacle().is_some() {
            return Readiness::NotNow;
        }
        let permits = self.permits.gather(first, most_received(self.max_in_flight), GATHER).await;
        // The worker may have begun to stop meanwhile.
        match self.shutdown.is_draining() {
            true => Readiness::Draining,
            false => Readiness::Receive(Ticket::new(permits)),
        }
    }

    fn show_success(&self, received: usize, paused: &[Pause]) {
        self.health.beat();
        self.instruments.received(received);
        self.instruments.polled(self.clock.now());
        // A receive that succeeds shows that the worker's own credentials work too.
        for &pause in paused {
            self.health.resume(pause);
        }
    }

    fn after_failed_receive(&self, error: &AwsError, pace: &mut PollPace) {
        self.health.beat_after(error);
        if error.class.is_refusal() {
            self.health.set_paused(Pause::Queue, true);
        }
        let pause = pace.failed();
        let failures = pace.retries.failures();
        warn!(%error, failures, retry_in_seconds = pause.as_secs(), "cannot receive");
    }
}

/// Returns how long a receive waits that begins while this many messages are in work and this many
/// receives run. A stop waits for every receive, so only a single receive waits long, and only
/// while no message has to be finished or released.
fn wait(working: usize, receives: usize) -> Wait {
    if working == 0 && receives == 0 { Wait::Long } else { Wait::Short }
}

/// Returns the most messages of one receive with this many permits, so that a single receive leaves
/// half of them to messages that gave theirs up while they are queued.
fn most_received(permits: usize) -> usize {
    MAX_RECEIVED.min(permits.div_ceil(2))
}

/// The number of receives at once, and when the next may begin.
#[derive(Debug)]
struct PollPace {
    /// Receives at once: one while the queue is empty, more while every receive brings as many
    /// messages as it can.
    polls: usize,
    most: usize,
    /// Receives that failed in a row.
    retries: Retries,
    /// When the next receive may begin.
    resume: Instant,
}

impl PollPace {
    fn new(max_in_flight: usize) -> Self {
        // Rounded to the nearest, so that waiting receives never hold nearly every permit.
        let each = most_received(max_in_flight);
        let most = ((max_in_flight + each) / (2 * each)).max(1);
        let retries = Retries::new(RECEIVE_BACKOFF);
        Self { polls: 1, most, retries, resume: Instant::now() }
    }

    fn received(&mut self, received: usize, asked: usize) {
        self.retries.succeeded();
        self.polls = match received {
            _ if received >= asked => (self.polls + 1).min(self.most),
            // The receive brought less than half, so one receive at a time is enough.
            _ if 2 * received < asked => 1,
            _ => self.polls,
        };
    }

    /// Notes a failed receive, and returns how long no other begins. A receive that fails during a
    /// pause began before the pause, so it does not lengthen it.
    fn failed(&mut self) -> Duration {
        self.polls = 1;
        let now = Instant::now();
        if self.resume <= now {
            self.resume = now + self.retries.failed();
        }
        self.resume - now
    }
}
