//! Liveness and readiness: whether the polling loop turns over, and whether anything keeps the
//! worker from working.
//!
//! Invariant 13: *liveness* means that the polling loop turns over. Success, error, timeout and
//! deliberate pause all count. A loop that hangs is not live, and neither is a loop that has had no
//! answer to a receive for three minutes: another task may reach another endpoint.
//!
//! Invariant 11: *readiness* says whether work goes on. While AWS refuses the queue, every topic,
//! the worker's own credentials or every call to the registry, polling is paused ([`Pause`]), so
//! that refusals do not push good messages into the dead-letter queue. Every pause has a probe that
//! ends it, so recovery needs no restart: a message in hand repeats its refused call under
//! heartbeat, and when no message is in hand, one is received for this. If the queue refuses to
//! delete messages, it is asked with a receipt handle of no message instead, because a received
//! message would only lose its lease. After an over-reach (invariant 5) the worker stays stopped
//! until a restart.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::aws::{AwsError, ErrorClass};
use crate::telemetry::instruments::Instruments;

/// The reason for a pause of polling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The queue refuses receives. The next receive is the probe, so this pause does not stop
    /// receives.
    Queue,
    /// The queue delivers messages but does not let the worker settle them.
    Settling,
    /// Every topic refuses notices.
    Topic,
    /// AWS refuses the worker's own credentials.
    Credentials,
    /// The registry refuses every call.
    Registry,
}

impl Pause {
    const ALL: [Self; 5] =
        [Self::Queue, Self::Settling, Self::Topic, Self::Credentials, Self::Registry];

    fn reason(self) -> &'static str {
        match self {
            Self::Queue => "paused: the queue refuses access",
            Self::Settling => "paused: the queue refuses to delete messages",
            Self::Topic => "paused: every topic refuses notices",
            Self::Credentials => "paused: the worker's credentials are refused",
            Self::Registry => "paused: the registry refuses every call",
        }
    }
}

/// Everything that can keep the worker from working.
#[derive(Clone, Debug, Default)]
struct State {
    started: bool,
    draining: bool,
    overreached: bool,
    paused: [bool; Pause::ALL.len()],
}

impl State {
    fn paused(&self, pause: Pause) -> bool {
        Pause::ALL.iter().zip(self.paused).any(|(&known, on)| known == pause && on)
    }

    /// Returns `Ok` if the worker is ready to work, and the reason if it is not.
    fn ready(&self) -> Result<(), &'static str> {
        if self.draining {
            return Err("draining");
        }
        if self.overreached {
            return Err("stopped by an over-reach: read the log, then restart");
        }
        if let Some(pause) = Pause::ALL.into_iter().find(|&pause| self.paused(pause)) {
            return Err(pause.reason());
        }
        if self.started { Ok(()) } else { Err("starting") }
    }

    /// Returns the reason to receive nothing now, if there is one.
    fn obstacle(&self) -> Option<Obstacle> {
        if self.overreached {
            return Some(Obstacle::Stopped);
        }
        if self.paused(Pause::Settling) {
            return Some(Obstacle::SettlingPaused);
        }
        if [Pause::Topic, Pause::Credentials].iter().any(|&on| self.paused(on)) {
            return Some(Obstacle::Paused);
        }
        self.paused(Pause::Registry).then_some(Obstacle::RegistryPaused)
    }
}

/// A reason to receive nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// An over-reach has stopped the worker until a restart.
    Stopped,
    /// The queue does not let the worker settle messages, so every message received now would lose
    /// its lease.
    SettlingPaused,
    /// A refusal concerns every message.
    Paused,
    /// The registry has refused every call so far, but may still allow calls for another
    /// repository.
    RegistryPaused,
}

/// The last times at which the polling loop showed that it lives.
#[derive(Clone, Copy, Debug)]
struct Beats {
    /// The loop turned over, for any reason.
    turned: Instant,
    /// The loop turned over for another reason than a call that was never answered.
    answered: Instant,
}

/// How long a row of calls without an answer counts as turning over. A restart helps when an
/// endpoint hangs for longer, because a new task may reach another endpoint.
const UNANSWERED: Duration = Duration::from_secs(180);

/// The health of the process, written by the worker and shown by the HTTP server.
#[derive(Debug)]
pub struct Health {
    state: watch::Sender<State>,
    beats: Mutex<Beats>,
    limit: Duration,
    instruments: Arc<Instruments>,
}

impl Health {
    /// Returns the health of a polling loop that has to turn over at least once in `limit`.
    #[must_use]
    pub fn new(limit: Duration, instruments: Arc<Instruments>) -> Self {
        let (state, _) = watch::channel(State::default());
        let beats = Beats { turned: Instant::now(), answered: Instant::now() };
        Self { state, beats: Mutex::new(beats), limit, instruments }
    }

    /// Records that the polling loop has turned over by a success, an error that AWS answered, or a
    /// deliberate pause.
    pub fn beat(&self) {
        let now = Instant::now();
        *self.beats.lock() = Beats { turned: now, answered: now };
    }

    /// Records that the polling loop has turned over, although nobody may answer it.
    pub fn turned(&self) {
        self.beats.lock().turned = Instant::now();
    }

    /// Records that the polling loop has turned over by a call that failed. A timeout is not an
    /// answer.
    pub fn beat_after(&self, error: &AwsError) {
        match error.class {
            ErrorClass::Timeout => self.turned(),
            _ => self.beat(),
        }
    }

    /// Checks that the polling loop turns over and gets answers.
    ///
    /// # Errors
    /// Returns for how long it has not.
    pub fn live(&self) -> Result<(), Duration> {
        let Beats { turned, answered } = *self.beats.lock();
        if turned.elapsed() > self.limit {
            return Err(turned.elapsed());
        }
        if answered.elapsed() > UNANSWERED.max(self.limit) {
            return Err(answered.elapsed());
        }
        Ok(())
    }

    /// Checks that the worker is ready to work.
    ///
    /// # Errors
    /// Returns the reason if it is not ready.
    pub fn ready(&self) -> Result<(), &'static str> {
        self.state.borrow().ready()
    }

    /// Records that the queue and the topics were checked and work begins.
    pub fn started(&self) {
        self.change(|state| state.started = true);
    }

    /// Records that the stop signal has arrived.
    pub fn draining(&self) {
        self.change(|state| state.draining = true);
        self.instruments.draining();
    }

    /// Records an over-reach: a call removed more than it was asked to. This process removes no
    /// more tags.
    pub fn overreached(&self) {
        self.change(|state| state.overreached = true);
        self.instruments.overreach();
    }

    /// Returns whether an over-reach has stopped the removal of tags.
    #[must_use]
    pub fn is_overreached(&self) -> bool {
        self.state.borrow().overreached
    }

    /// Pauses polling, or lets it go on. Returns whether that changes anything.
    pub fn set_paused(&self, pause: Pause, on: bool) -> bool {
        self.state.send_if_modified(|state| {
            if state.paused(pause) == on {
                return false;
            }
            for (known, flag) in Pause::ALL.iter().zip(&mut state.paused) {
                if *known == pause {
                    *flag = on;
                }
            }
            self.show(state);
            true
        })
    }

    /// Pauses polling because a call was refused, until such a call succeeds.
    pub fn pause(&self, pause: Pause, error: &AwsError) {
        if self.set_paused(pause, true) {
            warn!(?pause, %error, "polling paused until the refused call succeeds");
        }
    }

    /// Lets polling go on, as far as it was paused for this reason.
    pub fn resume(&self, pause: Pause) {
        if self.set_paused(pause, false) {
            info!(?pause, "polling goes on");
        }
    }

    /// Returns whether polling is paused for this reason.
    #[must_use]
    pub fn is_paused(&self, pause: Pause) -> bool {
        self.state.borrow().paused(pause)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| {
            change(state);
            self.show(state);
        });
    }

    /// Shows the state in the metrics. The caller holds the lock of the state, so nobody else can
    /// change it meanwhile.
    fn show(&self, state: &State) {
        self.instruments.ready(state.ready().is_ok());
        self.instruments.paused(state.paused.contains(&true));
    }

    /// Returns the reason to receive nothing now, if there is one.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.state.borrow().obstacle()
    }

    /// Waits until nothing keeps the worker from receiving.
    pub async fn clear(&self) {
        // The wait cannot fail, because it only fails when the sender is dropped, and `self` owns
        // the sender.
        let _ = self.state.subscribe().wait_for(|state| state.obstacle().is_none()).await;
    }
}
