//! The polling loop: permits, receives, dispatch.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tracing::{info, warn};

use super::assess::Assessor;
use super::message::Worker;
use super::sweep::Sweeps;
use super::turns::{Permit, Turns};
use crate::aws::AwsError;
use crate::config::SweepSettings;
use crate::health::{Health, Obstacle, Pause};
use crate::notify::Notifier;
use crate::queue::lease::Settler;
use crate::queue::{Message, Queue, Wait};
use crate::registry::Registry;
use crate::shutdown::Shutdown;

/// The most messages of one receive (SQS API reference, ReceiveMessage).
const MOST_RECEIVED: usize = 10;
/// The loop shows that it lives at least this often while it waits.
const BEAT: Duration = Duration::from_secs(5);
/// While the registry refuses everything, one message is taken in this time: it may be about a repository that
/// does not refuse us.
const CANARY: Duration = Duration::from_secs(60);
/// How long a receive waits for more permits than are free, where messages in hand may give theirs back: a receive of ten
/// costs what a receive of one does.
const GATHER: Duration = Duration::from_millis(10);
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
    /// How sweeps go about it.
    pub sweep: SweepSettings,
}

/// The right to work on so many messages at once, to have as many deleted besides, and one more for the canary.
struct Permits {
    work: Arc<Semaphore>,
    settling: Arc<Semaphore>,
    spare: Arc<Semaphore>,
    most: usize,
    turns: Arc<Turns>,
}

/// The tasks of the messages in hand.
#[derive(Debug, Default)]
struct Tasks {
    working: JoinSet<()>,
    /// Those of messages that are done with and wait for the answer to their delete, which takes a
    /// moment.
    deleting: JoinSet<()>,
}

impl Tasks {
    fn len(&self) -> usize {
        self.working.len() + self.deleting.len()
    }

    /// One that has ended.
    fn try_next(&mut self) -> Option<Result<(), JoinError>> {
        self.working.try_join_next().or_else(|| self.deleting.try_join_next())
    }

    /// The next one that ends; `None` when there are none.
    async fn next(&mut self) -> Option<Result<(), JoinError>> {
        match self.working.join_next().await {
            Some(ended) => Some(ended),
            None => self.deleting.join_next().await,
        }
    }
}

/// Permits for one receive.
struct Held {
    permits: Vec<Permit>,
    canary: bool,
    /// The pauses that there were when the receive began. Its success says nothing of a refusal
    /// that came after.
    paused: Vec<Pause>,
}

impl Held {
    fn of(permits: Vec<Permit>) -> Self {
        Self { permits, canary: false, paused: Vec::new() }
    }
}

impl Permits {
    fn new(most: usize) -> Self {
        Self {
            work: Arc::new(Semaphore::new(most)),
            settling: Arc::new(Semaphore::new(most)),
            spare: Arc::new(Semaphore::new(1)),
            most,
            turns: Arc::new(Turns::new(most)),
        }
    }

    /// Whether no message is in hand.
    fn is_idle(&self) -> bool {
        [&self.work, &self.settling].iter().all(|of| of.available_permits() == self.most)
            && self.turns.is_idle()
    }

    fn one(&self) -> Option<Held> {
        Some(Held::of(vec![Permit::try_of(&self.work)?]))
    }

    /// A permit for a message that has only to be deleted: its own is free for the next receive, as long as that many
    /// deletes are not yet answered.
    fn to_settle(&self, own: Permit) -> Permit {
        Permit::try_of(&self.settling).unwrap_or(own)
    }

    fn spare(&self) -> Option<Held> {
        Some(Held { canary: true, ..Held::of(vec![Permit::try_of(&self.spare)?]) })
    }
}

impl<Q: Queue, R: Registry, N: Notifier> Consumer<Q, R, N> {
    /// Runs until the shutdown drains, every receive has ended and every message in hand is
    /// settled.
    pub async fn run(self) {
        let permits = Permits::new(self.max_in_flight);
        let mut tasks = Tasks::default();
        let mut polls = FuturesUnordered::new();
        let mut pace = Pace::new(self.max_in_flight);
        let worker = Arc::new(Worker {
            assessor: Arc::clone(&self.assessor),
            settler: self.settler.clone(),
            visibility: self.visibility,
            turns: Arc::clone(&permits.turns),
            queue: Arc::clone(&self.queue),
            sweeps: Sweeps::new(self.sweep, self.max_in_flight),
        });
        let mut canary = Instant::now() + CANARY;
        let mut draining = false;
        while !(draining && polls.is_empty()) {
            tokio::select! {
                biased;
                Some((held, received)) = polls.next() => {
                    while let Some(ended) = tasks.try_next() {
                        self.after_task(ended);
                    }
                    self.after_receive(held, received, &mut pace, &permits, &worker, &mut tasks);
                }
                held = self.permits(&permits, &pace, &mut canary), if !draining && polls.len() < pace.polls => {
                    match held {
                        Some(held) => {
                            while let Some(ended) = tasks.try_next() {
                                self.after_task(ended);
                            }
                            let wait = wait(tasks.working.len(), polls.len());
                            polls.push(self.poll(held, wait));
                        }
                        None => draining = true,
                    }
                }
                () = self.shutdown().receives_given_up() => {
                    warn!(
                        receives = polls.len(),
                        "not answered in time; a message that they take comes again when its visibility timeout passes"
                    );
                    break;
                }
            }
        }
        drop(polls);
        self.shutdown().received_last();
        info!(in_flight = tasks.len(), "draining");
        while let Some(ended) = tasks.next().await {
            self.after_task(ended);
        }
    }

    /// What panics inside an assessment is caught there; this is the rest of a message's way.
    fn after_task(&self, ended: Result<(), JoinError>) {
        if ended.is_err_and(|error| error.is_panic()) {
            self.assessor.context().instruments.panicked();
        }
    }

    async fn poll(&self, mut held: Held, wait: Wait) -> (Held, Result<Vec<Message>, AwsError>) {
        held.paused = [Pause::Queue, Pause::Credentials]
            .into_iter()
            .filter(|pause| self.health().is_paused(*pause))
            .collect();
        let received = self.queue.receive(held.permits.len(), wait).await;
        (held, received)
    }

    fn after_receive(
        &self,
        mut held: Held,
        received: Result<Vec<Message>, AwsError>,
        pace: &mut Pace,
        permits: &Permits,
        worker: &Arc<Worker<Q, R, N>>,
        tasks: &mut Tasks,
    ) {
        let messages = match received {
            Ok(messages) => messages,
            Err(error) => return self.after_failed_receive(&error, pace),
        };
        pace.received(messages.len(), held.permits.len());
        if messages.is_empty() {
            self.assessor.tidy();
        }
        self.show_success(messages.len(), &held.paused);
        let mut done = Vec::new();
        // A queue that gives more than was asked for has given what has no permit; it comes again.
        for message in messages {
            let Some(permit) = held.permits.pop() else { break };
            let Some(in_hand) = worker.look(message) else { continue };
            if in_hand.is_done() {
                done.push((in_hand, permits.to_settle(permit)));
                continue;
            }
            let (worker, canary) = (Arc::clone(worker), held.canary);
            tasks.working.spawn(async move { worker.work_on(in_hand, permit, canary).await });
        }
        if !done.is_empty() {
            let worker = Arc::clone(worker);
            tasks.deleting.spawn(async move { worker.settle_together(done).await });
        }
    }

    fn health(&self) -> &Health {
        &self.assessor.context().health
    }

    fn shutdown(&self) -> &Shutdown {
        &self.assessor.context().shutdown
    }

    /// Waits until something may be received, and takes as many permits as one receive can use. `None`: draining.
    async fn permits(&self, permits: &Permits, pace: &Pace, canary: &mut Instant) -> Option<Held> {
        tokio::select! {
            biased;
            () = self.shutdown().draining() => return None,
            () = sleep_until(pace.resume) => {}
        }
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
        let most = most_received(permits.most);
        let mut several = vec![first];
        let end = Instant::now() + GATHER;
        while several.len() < most {
            let free = Permit::try_of(&permits.work);
            let next = match free {
                Some(permit) => Some(permit),
                // Whoever polls, or works, may be done in a moment.
                None => timeout_at(end, Permit::next_of(&permits.work)).await.ok().flatten(),
            };
            match next {
                Some(permit) => several.push(permit),
                None => break,
            }
        }
        // The stop signal may have come meanwhile.
        let draining = self.shutdown().is_draining();
        Some((!draining).then(|| Held::of(several)))
    }

    fn show_success(&self, received: usize, paused: &[Pause]) {
        let context = self.assessor.context();
        self.health().beat();
        context.instruments.received(received);
        context.instruments.polled(context.clock.now());
        // A receive that succeeds was signed with our own credentials.
        for &pause in paused {
            if self.health().set_paused(pause, false) {
                info!(?pause, "polling goes on");
            }
        }
    }

    fn after_failed_receive(&self, error: &AwsError, pace: &mut Pace) {
        self.health().beat_after(error);
        if error.class.is_refusal() {
            self.health().set_paused(Pause::Queue, true);
        }
        let pause = pace.failed();
        warn!(%error, failures = pace.failures, retry_in_seconds = pause.as_secs(), "cannot receive");
    }
}

/// How long a receive waits that begins while so many messages are worked on. The stop waits for
/// every receive, so what waits long is one alone, and only while there is nothing to finish or to
/// release.
fn wait(working: usize, receives: usize) -> Wait {
    if working == 0 && receives == 0 { Wait::Long } else { Wait::Short }
}

/// The most messages of one receive with so many permits. Receives that wait hold about half of them, and leave the rest
/// to messages that gave theirs up until their turn.
fn most_received(permits: usize) -> usize {
    MOST_RECEIVED.min(permits.div_ceil(2))
}

/// How many receives are under way at once, and when the next may begin.
#[derive(Debug)]
struct Pace {
    /// Receives at once: one while the queue is empty, more while every receive brings as many messages as it can.
    polls: usize,
    most: usize,
    /// Receives that failed in a row.
    failures: u32,
    /// Not before.
    resume: Instant,
}

impl Pace {
    fn new(max_in_flight: usize) -> Self {
        // To the nearest, so that waiting receives never hold nearly every permit.
        let each = most_received(max_in_flight);
        let most = ((max_in_flight + each) / (2 * each)).max(1);
        Self { polls: 1, most, failures: 0, resume: Instant::now() }
    }

    fn received(&mut self, received: usize, asked: usize) {
        self.failures = 0;
        self.polls = match received {
            _ if received >= asked => (self.polls + 1).min(self.most),
            // The flood is over: what trickles in needs one receive.
            _ if 2 * received < asked => 1,
            _ => self.polls,
        };
    }

    /// For how long nothing is received now. What fails while nothing is received was begun before, and says nothing new.
    fn failed(&mut self) -> Duration {
        self.polls = 1;
        let now = Instant::now();
        if self.resume <= now {
            let (first, longest) = RECEIVE_BACKOFF;
            let pause = first.saturating_mul(2_u32.saturating_pow(self.failures)).min(longest);
            self.failures += 1;
            self.resume = now + pause.mul_f64(1.0 - fastrand::f64() / 4.0);
        }
        self.resume - now
    }
}
