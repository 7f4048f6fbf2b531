//! The course of a call: it arrives, suffers its faults, has its effect, and is answered.

use std::future;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio::time::{sleep, sleep_until};

use super::abandoned::Waiting;
use super::{Moment, Sim};
use crate::api::{Answer, ApiCall, ApiError, Reply};
use crate::fault::Fault;
use crate::partial::PartialFailure;
use crate::protocol;
use crate::signature;
use crate::trace::CallOutcome;
use crate::wire::{ConnectionFault, Request, Response};
use crate::world::{Step, World};

/// A call on its way.
struct Course {
    /// Its place in the record.
    seq: usize,
    call: ApiCall,
    faults: Vec<Fault>,
    /// Why the service does not take its signature.
    unsigned: Option<ApiError>,
}

/// What is still to go wrong with a call that is about to have its effect.
#[derive(Default)]
struct Aftermath {
    partial: PartialFailure,
    edits: Vec<crate::fault::Edit>,
    redeliver: Option<Duration>,
    reply_delay: Duration,
    ending: Ending,
}

/// What becomes of the answer once the call has had its effect.
#[derive(Default)]
enum Ending {
    #[default]
    Answer,
    Error(ApiError),
    Reset,
    Hang,
}

impl Sim {
    /// Answers one request, whenever and however it was signed.
    ///
    /// # Errors
    ///
    /// [`ConnectionFault`] where a fault resets the connection.
    pub async fn handle(&self, request: Request) -> Result<Response, ConnectionFault> {
        self.answer(request, false).await
    }

    /// Answers one request: the only entry, used by both faces.
    pub(crate) async fn answer(
        &self,
        request: Request,
        check_signing_time: bool,
    ) -> Result<Response, ConnectionFault> {
        let call = match protocol::parse(&request, &self.inner.config) {
            Ok(call) => call,
            Err(refusal) => return Ok(refusal),
        };
        let unsigned =
            if check_signing_time { signature::refusal(&request, &call, self.now()) } else { None };
        let (protocol, operation) = (call.protocol, call.operation.clone());
        let (request_id, course) = self.arrive(call, unsigned);
        let seq = course.seq;
        self.inner.changed.notify_waiters();
        self.tell(seq, Moment::Arrived);
        // A late call takes its course even if its caller gives it up meanwhile: the request is on its way.
        let answer = if course.faults.iter().any(|fault| matches!(fault, Fault::Delay(_))) {
            let sim = self.clone();
            finish(self.inner.late.spawn(async move { sim.suffer(course).await })).await
        } else {
            self.suffer(course).await
        };
        self.record(seq, &answer);
        self.tell(seq, Moment::Answered);
        Ok(protocol::render(protocol, &operation, &answer?, &request_id))
    }

    /// Enters a call in the record, and asks the plan what goes wrong with it.
    fn arrive(&self, call: ApiCall, unsigned: Option<ApiError>) -> (String, Course) {
        let at = self.inner.clock.elapsed();
        let mut plan = self.faults();
        let (seq, request_id) = {
            let mut world = self.world();
            (world.trace.enter(at, &call), world.ids.uuid())
        };
        let mut faults = plan.faults(&call);
        // What would come after the end of a call does not strike it.
        if let Some(last) = faults.iter().position(Fault::is_final) {
            faults.truncate(last + 1);
        }
        if let Some(entry) = self.world().trace.call(seq) {
            entry.faults = faults.iter().map(ToString::to_string).collect();
        }
        (request_id, Course { seq, call, faults, unsigned })
    }

    /// Carries a call out under its faults.
    async fn suffer(&self, course: Course) -> Result<Answer, ConnectionFault> {
        let Course { seq, mut call, faults, unsigned } = course;
        let mut aftermath = Aftermath::default();
        for fault in faults {
            match fault {
                Fault::ErrorBefore(error) => return Ok(Err(error)),
                Fault::ConnectionReset => return Err(ConnectionFault),
                Fault::Hang => future::pending().await,
                Fault::Delay(time) => sleep(time).await,
                Fault::Act(action) => action(self),
                Fault::FailEntries { code, entries } => {
                    aftermath.partial.take(&mut call, &code, &entries);
                }
                Fault::Replace(edit) => aftermath.edits.push(edit),
                Fault::Redeliver(after) => aftermath.redeliver = Some(after),
                Fault::DelayReply(time) => aftermath.reply_delay += time,
                Fault::ErrorAfter(error) => aftermath.ending = Ending::Error(error),
                Fault::ConnectionResetAfter => aftermath.ending = Ending::Reset,
                Fault::HangAfter => aftermath.ending = Ending::Hang,
            }
        }
        match unsigned {
            Some(refusal) => Ok(Err(refusal)),
            None => self.take_effect(seq, &call, aftermath).await,
        }
    }

    /// Lets a call have its effect, and the faults have theirs on the answer.
    async fn take_effect(
        &self,
        seq: usize,
        call: &ApiCall,
        aftermath: Aftermath,
    ) -> Result<Answer, ConnectionFault> {
        let Aftermath { partial, edits, redeliver, reply_delay, ending } = aftermath;
        let answer = if partial.is_total {
            partial.merge(call, PartialFailure::nothing(call))
        } else {
            let answer = partial.merge(call, self.perform(seq, call).await);
            self.tell_effect(seq, &answer);
            answer
        };
        self.change(|world| {
            if let Some(entry) = world.trace.call(seq) {
                entry.applied = true;
            }
            if let (Some(after), Ok(reply)) = (redeliver, &answer) {
                world.redeliver(call, &reply.tree(), after);
            }
        });

        if !reply_delay.is_zero() {
            sleep(reply_delay).await;
        }
        match ending {
            Ending::Answer if edits.is_empty() => Ok(answer),
            Ending::Answer => Ok(answer.map(|reply| {
                let mut reply = reply.into_tree();
                edits.iter().for_each(|edit| edit(&mut reply));
                Reply::Tree(reply)
            })),
            Ending::Error(error) => Ok(Err(error)),
            Ending::Reset => Err(ConnectionFault),
            Ending::Hang => future::pending().await,
        }
    }

    /// Looks at the call until it is answered. A poll goes on waiting when its caller goes away
    /// meanwhile.
    async fn perform(&self, seq: usize, call: &ApiCall) -> Answer {
        let arrived = self.now();
        let mut waiting = Waiting { sim: self, seq, call, arrived, is_answered: false };
        loop {
            let changed = self.inner.changed.notified();
            let until = match self.look(seq, call, arrived) {
                Step::Done(answer) => {
                    waiting.is_answered = true;
                    return answer;
                }
                Step::Wait { until } => until,
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(self.inner.clock.instant_of(until)) => {}
            }
        }
    }

    /// One look at a call. The watcher is told of the one that answers it, for which it must be known beforehand that
    /// it will.
    pub(super) fn look(&self, seq: usize, call: &ApiCall, arrived: SystemTime) -> Step {
        let now = self.now();
        if self.is_watched() {
            if let Some(until) = self.stir(|world| world.wait(now, arrived, call)) {
                return Step::Wait { until };
            }
            self.tell(seq, Moment::Before);
        }
        self.stir(|world| {
            let step = world.apply(now, arrived, call);
            if matches!(step, Step::Done(_)) {
                world.trace.take_effect(seq);
            }
            step
        })
    }

    /// Looks at the world, and wakes what waits for a change if messages have moved to a dead-letter queue.
    fn stir<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.world();
        let before = world.redriven;
        let result = look(&mut world);
        let redriven = world.redriven > before;
        drop(world);
        if redriven {
            self.inner.changed.notify_waiters();
        }
        result
    }

    fn record(&self, seq: usize, answer: &Result<Answer, ConnectionFault>) {
        self.change(|world| {
            let Some(entry) = world.trace.call(seq) else {
                return;
            };
            match answer {
                Ok(answer) => entry.end(answer),
                Err(ConnectionFault) => entry.outcome = CallOutcome::ConnectionReset,
            }
        });
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
