//! Watching calls take their course: a test's own eyes on every call, at the moments that matter.

use std::sync::{Arc, Mutex, PoisonError};

use crate::api::Answer;
use crate::sim::Sim;
use crate::trace::Call;

/// A moment in the course of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Moment {
    /// The call comes in. Its faults are known; none has struck yet.
    Arrived,
    /// Immediately before the call has its effect.
    Before,
    /// Immediately after the call had its effect. The outcome and the reply are the service's own, even if the answer
    /// is lost or changed on its way.
    After,
    /// The caller gets its answer. The outcome and the reply are what it sees.
    Answered,
}

type Watcher = Box<dyn FnMut(&Sim, &Call, Moment) + Send>;

/// Who watches, if anybody. The watcher has a lock of its own, so that it can itself put an end to the watching.
#[derive(Default)]
pub(super) struct Watching(Mutex<Option<Arc<Mutex<Watcher>>>>);

impl Watching {
    fn set(&self, watcher: Option<Arc<Mutex<Watcher>>>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = watcher;
    }

    fn watcher(&self) -> Option<Arc<Mutex<Watcher>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sim {
    /// Lets a test watch every call, in place of the watcher before. It is called synchronously and may use everything
    /// of the simulation but `handle`. What it changes is no call.
    ///
    /// Between [`Moment::Before`] and [`Moment::After`] of a call nobody else acts, if the runtime has one thread. A
    /// `ReceiveMessage` that waits has them around the look that answers it. A call that a fault, or a signature that
    /// has expired, keeps from having its effect has neither; a call whose caller has gone away is not answered.
    ///
    /// A panic of the watcher is one of the calling task, which may survive it: a test had better collect what it sees.
    ///
    /// # Panics
    ///
    /// Under [`Record::Counts`](crate::Record::Counts).
    #[track_caller]
    pub fn watch(&self, watcher: impl FnMut(&Self, &Call, Moment) + Send + 'static) {
        self.require_record("a watcher");
        self.inner.watching.set(Some(Arc::new(Mutex::new(Box::new(watcher)))));
    }

    /// Puts an end to the watching.
    pub fn unwatch(&self) {
        self.inner.watching.set(None);
    }

    pub(super) fn is_watched(&self) -> bool {
        self.inner.watching.watcher().is_some()
    }

    /// Tells the watcher of a call as it is recorded.
    pub(super) fn tell(&self, seq: usize, moment: Moment) {
        self.tell_as(seq, moment, |_| ());
    }

    /// Tells the watcher that a call had its effect, and what the service makes of it.
    pub(super) fn tell_effect(&self, seq: usize, answer: &Answer) {
        self.tell_as(seq, Moment::After, |call| {
            call.applied = true;
            call.end(answer);
        });
    }

    fn tell_as(&self, seq: usize, moment: Moment, edit: impl FnOnce(&mut Call)) {
        let Some(watcher) = self.inner.watching.watcher() else {
            return;
        };
        let Some(mut call) = self.read(|world| world.trace.calls().get(seq).cloned()) else {
            return;
        };
        edit(&mut call);
        let mut watcher = watcher.lock().unwrap_or_else(PoisonError::into_inner);
        watcher(self, &call, moment);
    }
}
