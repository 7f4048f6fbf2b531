//! Long polls whose callers have gone away. SQS does not notice: until its wait is over, such a
//! poll takes what comes, and nobody has the receipt handles.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::runtime::Handle;
use tokio::time::sleep_until;

use super::Sim;
use crate::api::ApiCall;
use crate::world::Step;

/// The polls that wait on without their callers, by their place in the record.
#[derive(Debug, Default)]
pub(super) struct AbandonedPolls(Mutex<BTreeMap<usize, Arc<Poll>>>);

#[derive(Debug)]
struct Poll {
    call: ApiCall,
    arrived: SystemTime,
}

impl AbandonedPolls {
    fn open(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<Poll>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that waits for its answer. When it is dropped before, it waits on without its caller.
pub(super) struct Waiting<'a> {
    pub(super) sim: &'a Sim,
    pub(super) seq: usize,
    pub(super) call: &'a ApiCall,
    pub(super) arrived: SystemTime,
    pub(super) is_answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            let poll = Poll { call: self.call.clone(), arrived: self.arrived };
            self.sim.inner.abandoned.open().insert(self.seq, Arc::new(poll));
            self.sim.go_on_with(self.seq);
            self.sim.inner.changed.notify_waiters();
        }
    }
}

impl Sim {
    /// How many long polls still wait though their callers have gone away. Each takes the next
    /// messages that come, as many as it asked for, and nobody gets them before their visibility
    /// timeout has passed.
    pub fn abandoned_polls(&self) -> usize {
        self.inner.abandoned.open().len()
    }

    /// Ends every long poll whose caller has gone away, as if its wait had been over.
    pub fn end_abandoned_polls(&self) {
        self.inner.abandoned.open().clear();
        self.inner.changed.notify_waiters();
    }

    /// Takes up, in a new runtime, the polls that the last one left.
    pub(super) fn go_on_with_abandoned_polls(&self) {
        let left: Vec<_> = self.inner.abandoned.open().keys().copied().collect();
        left.into_iter().for_each(|seq| self.go_on_with(seq));
    }

    /// A runtime that is being dropped drops this too; the poll is then left for the next one.
    fn go_on_with(&self, seq: usize) {
        if let Ok(runtime) = Handle::try_current() {
            let sim = self.clone();
            let rest = async move { sim.wait_without_caller(seq).await };
            drop(self.inner.late.spawn_on(rest, &runtime));
        }
    }

    async fn wait_without_caller(&self, seq: usize) {
        loop {
            let changed = self.inner.changed.notified();
            let Some(poll) = self.inner.abandoned.open().get(&seq).cloned() else { return };
            let until = match self.look(seq, &poll.call, poll.arrived) {
                Step::Wait { until } => until,
                Step::Done(answer) => {
                    self.inner.abandoned.open().remove(&seq);
                    self.tell_effect(seq, &answer);
                    self.change(|world| {
                        if let Some(entry) = world.trace.call(seq) {
                            entry.applied = true;
                        }
                    });
                    return;
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(self.inner.clock.instant_of(until)) => {}
            }
        }
    }
}
