//! Which core a process runs on. Where only Linux says and sets that, others measure without.

#[cfg(target_os = "linux")]
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores of a run: one for the contender, another for everything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    contender: usize,
    others: usize,
}

impl Cores {
    /// The first two that this process may use; the same one twice where there is no second.
    pub(crate) fn of_this_process() -> Self {
        let mut cores = allowed().into_iter();
        let contender = cores.next().unwrap_or_default();
        Self { contender, others: cores.next().unwrap_or(contender) }
    }

    /// Whether each has a core of its own.
    pub(crate) fn are_two(&self) -> bool {
        self.contender != self.others
    }

    /// Has this thread, and so what it starts, run beside the contender.
    pub(crate) fn stay_beside(&self) {
        run_on(self.others);
    }

    /// Starts something on the contender's core.
    pub(crate) fn start_contender<T>(&self, start: impl FnOnce() -> T) -> T {
        run_on(self.contender);
        let started = start();
        self.stay_beside();
        started
    }
}

#[cfg(target_os = "linux")]
fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(None).expect("an affinity");
    (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect()
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> Vec<usize> {
    Vec::new()
}

#[cfg(target_os = "linux")]
fn run_on(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).expect("an affinity that is allowed");
}

#[cfg(not(target_os = "linux"))]
fn run_on(_: usize) {}
