//! Liveness and readiness: whether the polling loop turns over, and whether there is a reason not to work.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::aws::{AwsError, ErrorClass};
use crate::telemetry::instruments::Instruments;

/// Why polling is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// The queue is refused. The receive itself is the probe, so this one does not stop it.
    Queue,
    /// The queue gives messages but does not let them be settled.
    Settling,
    /// The topic is refused.
    Topic,
    /// Our own credentials are refused.
    Credentials,
    /// The registry refuses everything.
    Registry,
}

impl Pause {
    const ALL: [Self; 5] =
        [Self::Queue, Self::Settling, Self::Topic, Self::Credentials, Self::Registry];

    fn reason(self) -> &'static str {
        match self {
            Self::Queue => "paused: the queue is refused",
            Self::Settling => "paused: the queue refuses to have messages settled",
            Self::Topic => "paused: the topic is refused",
            Self::Credentials => "paused: the worker's credentials are refused",
            Self::Registry => "paused: the registry refuses every call",
        }
    }
}

/// What stands in the way of work.
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

    /// Whether the worker is ready to work, or why not.
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

    /// Why nothing is to be received now, if so.
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

/// Why nothing is to be received now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// An over-reach: until a restart.
    Stopped,
    /// What is received could not be settled.
    SettlingPaused,
    /// A refusal that concerns every message.
    Paused,
    /// The registry refused everything so far; another repository may still be allowed.
    RegistryPaused,
}

/// When the polling loop last showed that it lives.
#[derive(Clone, Copy, Debug)]
struct Beats {
    /// It turned over.
    turned: Instant,
    /// It turned over otherwise than by a call that was never answered.
    answered: Instant,
}

/// For how long calls that are never answered count as turning over. An endpoint that hangs for longer is as good as a
/// loop that does: a new task may reach another.
const UNANSWERED: Duration = Duration::from_secs(180);

/// The process's health. Shared by the loop that has it and the server that shows it.
#[derive(Debug)]
pub struct Health {
    state: watch::Sender<State>,
    beats: Mutex<Beats>,
    limit: Duration,
    instruments: Arc<Instruments>,
}

impl Health {
    /// Health of a loop that turns over at least once in `limit`.
    #[must_use]
    pub fn new(limit: Duration, instruments: Arc<Instruments>) -> Self {
        let (state, _) = watch::channel(State::default());
        let beats = Beats { turned: Instant::now(), answered: Instant::now() };
        Self { state, beats: Mutex::new(beats), limit, instruments }
    }

    /// The polling loop has turned over by success, by an error, or in a deliberate pause.
    pub fn beat(&self) {
        let now = Instant::now();
        *self.beats.lock().unwrap_or_else(PoisonError::into_inner) =
            Beats { turned: now, answered: now };
    }

    /// The polling loop has turned over, and nothing is known of whether anybody answers it.
    pub fn turned(&self) {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).turned = Instant::now();
    }

    /// The polling loop has turned over by a call that failed.
    pub fn beat_after(&self, error: &AwsError) {
        match error.class {
            ErrorClass::Timeout => self.turned(),
            _ => self.beat(),
        }
    }

    /// Whether the loop turns over.
    ///
    /// # Errors
    /// For how long it has not.
    pub fn live(&self) -> Result<(), Duration> {
        let Beats { turned, answered } = *self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        if turned.elapsed() > self.limit {
            return Err(turned.elapsed());
        }
        if answered.elapsed() > UNANSWERED.max(self.limit) {
            return Err(answered.elapsed());
        }
        Ok(())
    }

    /// Whether the worker is ready to work.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn ready(&self) -> Result<(), &'static str> {
        self.state.borrow().ready()
    }

    /// Queue and topic were checked; work begins.
    pub fn started(&self) {
        self.change(|state| state.started = true);
    }

    /// The stop signal has come.
    pub fn draining(&self) {
        self.change(|state| state.draining = true);
        self.instruments.draining();
    }

    /// A delete took more than was asked for: nothing is untagged any more in this process.
    pub fn overreached(&self) {
        self.change(|state| state.overreached = true);
        self.instruments.overreach();
    }

    /// Whether untagging has been stopped.
    #[must_use]
    pub fn is_overreached(&self) -> bool {
        self.state.borrow().overreached
    }

    /// Pauses polling, or lets it go on. Says whether that is news.
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

    /// Whether polling is paused for this reason.
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

    /// Shows the state in the metrics, while nobody else can change it.
    fn show(&self, state: &State) {
        self.instruments.ready(state.ready().is_ok());
        self.instruments.paused(state.paused.contains(&true));
    }

    /// Why nothing is to be received now, if so.
    #[must_use]
    pub fn obstacle(&self) -> Option<Obstacle> {
        self.state.borrow().obstacle()
    }

    /// Returns when nothing stands in the way of receiving.
    pub async fn clear(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.state.subscribe().wait_for(|state| state.obstacle().is_none()).await;
    }
}
