//! The asynchronous shell around the state machine: waiting, faults, and the record of calls.

use std::future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_smithy_async::time::TimeSource as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};
use tokio_util::task::TaskTracker;

use crate::api::{ApiCall, ApiError, Outcome};
use crate::clock::Clock;
use crate::config::SimConfig;
use crate::fault::{Fault, FaultPlan, NoFaults};
use crate::partial::PartialFailure;
use crate::protocol;
use crate::trace::{Call, CallOutcome};
use crate::wire::{ConnectionFault, Request, Response};
use crate::world::{Step, World};

/// A simulated AWS. Clones are handles of the same one.
#[derive(Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

struct Inner {
    config: SimConfig,
    clock: Clock,
    state: Mutex<State>,
    changed: Notify,
    /// Calls that go on without their callers.
    late: TaskTracker,
}

struct State {
    world: World,
    faults: Box<dyn FaultPlan>,
}

/// What becomes of the answer once the call has had its effect.
enum Ending {
    Answer,
    Error(ApiError),
    Reset,
    Hang,
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
        let state = State { world: World::new(config.clone()), faults: Box::new(NoFaults) };
        Self {
            inner: Arc::new(Inner {
                clock: Clock::starting_at(config.epoch),
                config,
                state: Mutex::new(state),
                changed: Notify::new(),
                late: TaskTracker::new(),
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

    /// Carries the simulation over into the current tokio runtime, whose clock is another: virtual time goes on from
    /// the latest moment that the simulation has seen. For tests of a crash, which drop a runtime and start the next.
    pub fn resume(&self) {
        let seen = self.lock(|state| state.world.now);
        self.inner.clock.resume_at(seen);
    }

    pub(crate) fn clock(&self) -> Clock {
        self.inner.clock.clone()
    }

    /// Replaces the fault plan: a [`FaultRule`](crate::FaultRule), a list of them, or any other [`FaultPlan`].
    pub fn set_faults(&self, plan: impl FaultPlan + 'static) {
        self.lock(|state| state.faults = Box::new(plan));
    }

    /// Lets nothing go wrong from now on.
    pub fn clear_faults(&self) {
        self.set_faults(NoFaults);
    }

    fn lock<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.inner.state.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut state)
    }

    /// Reads the world as it is now.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        let now = self.now();
        self.lock(|state| {
            state.world.advance(now);
            look(&state.world)
        })
    }

    /// Changes the world, and wakes everything that waits for a change.
    pub(crate) fn change<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let now = self.now();
        let result = self.lock(|state| {
            state.world.advance(now);
            let result = act(&mut state.world);
            state.world.advance(now);
            result
        });
        self.inner.changed.notify_waiters();
        result
    }

    /// Answers one request: the only entry, used by both faces.
    ///
    /// # Errors
    ///
    /// [`ConnectionFault`] where a fault resets the connection.
    pub async fn handle(&self, request: Request) -> Result<Response, ConnectionFault> {
        let call = match protocol::parse(&request, &self.inner.config) {
            Ok(call) => call,
            Err(refusal) => return Ok(refusal),
        };
        let (protocol, operation) = (call.protocol, call.operation.clone());
        let at = self.inner.clock.elapsed();
        let (seq, request_id, faults) = self.lock(|state| {
            let seq = state.world.calls.len();
            state.world.calls.push(Call::arriving(seq, at, &call));
            (seq, state.world.ids.uuid(), state.faults.faults(&call))
        });
        self.inner.changed.notify_waiters();
        // A late call takes its course even if its caller gives it up meanwhile: the request is on its way.
        let outcome = if faults.iter().any(|fault| matches!(fault, Fault::Delay(_))) {
            let sim = self.clone();
            finish(self.inner.late.spawn(async move { sim.suffer(seq, call, faults).await })).await
        } else {
            self.suffer(seq, call, faults).await
        };
        self.record(seq, &outcome);
        let outcome = outcome?;
        Ok(protocol::render(protocol, &operation, &outcome, &request_id))
    }

    /// Carries a call out under its faults.
    async fn suffer(
        &self,
        seq: usize,
        mut call: ApiCall,
        faults: Vec<Fault>,
    ) -> Result<Outcome, ConnectionFault> {
        let mut ending = Ending::Answer;
        let mut reply_delay = Duration::ZERO;
        let mut edits = Vec::new();
        let mut partial = PartialFailure::default();
        for fault in faults {
            match fault {
                Fault::ErrorBefore(error) => return Ok(Err(error)),
                Fault::ConnectionReset => return Err(ConnectionFault),
                Fault::Hang => future::pending().await,
                Fault::Delay(time) => sleep(time).await,
                Fault::Act(action) => action(self),
                Fault::FailEntries { code, entries } => partial.take(&mut call, &code, &entries),
                Fault::Replace(edit) => edits.push(edit),
                Fault::DelayReply(time) => reply_delay += time,
                Fault::ErrorAfter(error) => ending = Ending::Error(error),
                Fault::ConnectionResetAfter => ending = Ending::Reset,
                Fault::HangAfter => ending = Ending::Hang,
            }
        }

        let outcome = if partial.is_total {
            PartialFailure::nothing(&call)
        } else {
            self.perform(&call).await
        };
        let outcome = partial.merge(&call, outcome).map(|mut reply| {
            edits.iter().for_each(|edit| edit(&mut reply));
            reply
        });
        self.change(|world| {
            if let Some(entry) = world.calls.get_mut(seq) {
                entry.applied = true;
            }
        });

        if !reply_delay.is_zero() {
            sleep(reply_delay).await;
        }
        match ending {
            Ending::Answer => Ok(outcome),
            Ending::Error(error) => Ok(Err(error)),
            Ending::Reset => Err(ConnectionFault),
            Ending::Hang => future::pending().await,
        }
    }

    /// Looks at the call until it is answered. A caller that goes away meanwhile has taken nothing.
    async fn perform(&self, call: &ApiCall) -> Outcome {
        let arrived = self.now();
        loop {
            let changed = self.inner.changed.notified();
            let (step, redriven) = self.lock(|state| {
                let before = state.world.redriven;
                let step = state.world.apply(self.now(), arrived, call);
                (step, state.world.redriven > before)
            });
            if redriven {
                self.inner.changed.notify_waiters();
            }
            let until = match step {
                Step::Done(outcome) => return outcome,
                Step::Wait { until } => until,
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(self.inner.clock.instant_of(until)) => {}
            }
        }
    }

    fn record(&self, seq: usize, outcome: &Result<Outcome, ConnectionFault>) {
        self.change(|world| {
            let Some(entry) = world.calls.get_mut(seq) else {
                return;
            };
            entry.outcome = match outcome {
                Ok(Ok(reply)) => {
                    entry.reply = Some(reply.clone());
                    CallOutcome::Ok
                }
                Ok(Err(error)) => CallOutcome::Error(error.code.clone()),
                Err(ConnectionFault) => CallOutcome::ConnectionReset,
            };
        });
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
    pub async fn wait_for_calls(&self, operation: &str, count: usize) -> Vec<Call> {
        let answered =
            |call: &&Call| call.operation == operation && call.outcome != CallOutcome::Unanswered;
        self.wait_until(|sim| {
            sim.read(|world| world.calls.iter().filter(answered).count()) >= count
        })
        .await;
        self.read(|world| world.calls.iter().filter(answered).cloned().collect())
    }
}

/// Waits for a call that goes on by itself, and passes a panic of a test's own closure on.
async fn finish<T>(task: JoinHandle<T>) -> T {
    match task.await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => future::pending().await,
        },
    }
}
