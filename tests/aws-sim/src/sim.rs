//! The asynchronous shell around the state machine: its clock, its fault plan, and waiting for what it comes to.

mod abandoned;
mod course;
mod watch;

use std::future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource as _;
use tokio::sync::Notify;
use tokio::time::sleep_until;
use tokio_util::task::TaskTracker;

use crate::clock::{CallersClock, Clock};
use crate::config::{Record, SimConfig};
use crate::fault::{FaultPlan, NoFaults};
use crate::setup::misuse;
use crate::sts::Identity;
use crate::trace::{Call, CallOutcome};
use crate::world::World;

use abandoned::AbandonedPolls;
pub use watch::Moment;
use watch::Watching;

/// A simulated AWS. Clones are handles of the same one.
#[derive(Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

struct Inner {
    config: SimConfig,
    clock: Clock,
    callers_clock: CallersClock,
    world: Mutex<World>,
    /// Apart from the world, so that a rule may look at it. Locked before the world where both are.
    faults: Mutex<Box<dyn FaultPlan>>,
    watching: Watching,
    changed: Notify,
    /// Calls that go on without their callers.
    late: TaskTracker,
    abandoned: AbandonedPolls,
}

impl std::fmt::Debug for Sim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sim").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

impl Default for Sim {
    fn default() -> Self {
        Self::new(SimConfig::default())
    }
}

impl Sim {
    /// A simulation that is empty but for its settings. Its clock starts now: under paused time, make it inside the
    /// runtime.
    pub fn new(config: SimConfig) -> Self {
        let clock = Clock::starting_at(config.epoch);
        Self {
            inner: Arc::new(Inner {
                callers_clock: CallersClock::new(clock.clone()),
                clock,
                world: Mutex::new(World::new(config.clone())),
                config,
                faults: Mutex::new(Box::new(NoFaults)),
                watching: Watching::default(),
                changed: Notify::new(),
                late: TaskTracker::new(),
                abandoned: AbandonedPolls::default(),
            }),
        }
    }

    /// The settings.
    pub fn config(&self) -> &SimConfig {
        &self.inner.config
    }

    /// What the virtual clock shows.
    pub fn now(&self) -> SystemTime {
        self.inner.clock.now()
    }

    /// How long the simulation has existed, in virtual time.
    pub fn age(&self) -> Duration {
        self.inner.clock.elapsed()
    }

    /// Carries the simulation over into the current tokio runtime, whose clock is another: virtual time goes on from
    /// the latest moment that the simulation has seen. For tests of a crash, which drop a runtime and start the next.
    /// Long polls that were under way wait on: see [`Sim::end_abandoned_polls`].
    pub fn resume(&self) {
        let seen = self.world().now;
        self.inner.clock.resume_at(seen);
        self.go_on_with_abandoned_polls();
    }

    /// Sets how far the callers' clocks are ahead of AWS's, in seconds; negative is behind. It is the clock of every
    /// client that [`Sim::sdk_config`] made or will make. AWS's own time goes on undisturbed. Inside the process, a
    /// request whose signature is more than five minutes off is refused.
    pub fn set_callers_clock(&self, ahead: i64) {
        self.inner.callers_clock.set_ahead(ahead);
    }

    pub(crate) fn callers_clock(&self) -> CallersClock {
        self.inner.callers_clock.clone()
    }

    /// Sets who the caller with an access key is, to STS (`UserId`) and to SQS (`SenderId`): `AIDA…` for a user,
    /// `AROA…:session` for a role. Until then it is a user with an id of its own, see [`Sim::user_id`]; the access key
    /// that `AssumeRole` gives is the role's session.
    pub fn set_sender(&self, access_key: &str, user_id: &str) {
        let identity = Identity::of(user_id);
        self.change(|world| world.identities.insert(access_key.to_owned(), identity));
    }

    /// Replaces the fault plan: a [`FaultRule`](crate::FaultRule), a list of them, or any other [`FaultPlan`].
    pub fn set_faults(&self, plan: impl FaultPlan + 'static) {
        *self.faults() = Box::new(plan);
    }

    /// Lets nothing go wrong from now on.
    pub fn clear_faults(&self) {
        self.set_faults(NoFaults);
    }

    fn faults(&self) -> MutexGuard<'_, Box<dyn FaultPlan>> {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.inner.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the world as it is now.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        let now = self.now();
        let mut world = self.world();
        world.advance(now);
        look(&world)
    }

    /// Changes the world, and wakes everything that waits for a change.
    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let now = self.now();
        let mut world = self.world();
        world.advance(now);
        let result = act(&mut world);
        world.advance(now);
        drop(world);
        self.inner.changed.notify_waiters();
        result
    }

    /// Ends a test that asks for a record which is not kept, instead of one that is empty.
    #[track_caller]
    pub(crate) fn require_record(&self, what: &str) {
        if self.config().record == Record::Counts {
            misuse(format_args!("{what} needs Record::Calls"));
        }
    }

    /// Waits until something is true. It is asked again after every change of the simulation, and whenever a message
    /// becomes visible or a scan ends; never by polling.
    pub async fn wait_until(&self, mut condition: impl FnMut(&Self) -> bool) {
        loop {
            let changed = self.inner.changed.notified();
            if condition(self) {
                return;
            }
            let next = self.read(World::next_change).map(|at| self.inner.clock.instant_of(at));
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = due => {}
            }
        }
    }

    /// Waits until so many calls of an operation have been answered, and gives them.
    ///
    /// # Panics
    ///
    /// Under [`Record::Counts`].
    pub async fn wait_for_calls(&self, operation: &str, count: usize) -> Vec<Call> {
        self.require_record("wait_for_calls");
        let answered =
            |call: &&Call| call.operation == operation && call.outcome != CallOutcome::Unanswered;
        self.wait_until(|sim| {
            sim.read(|world| world.trace.calls().iter().filter(answered).count()) >= count
        })
        .await;
        self.read(|world| world.trace.calls().iter().filter(answered).cloned().collect())
    }
}
