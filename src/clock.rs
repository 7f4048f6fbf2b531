//! The wall clock as a value, so that whoever builds the worker owns its time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Tells the time of day. Intervals are measured with [`tokio::time::Instant`], never with this.
///
/// It shows the machine's time until the queue's is known, and that from then on: the times of messages are the
/// queue's, and a machine's clock can be wrong and can jump. Clones show the same time.
#[derive(Clone)]
pub struct Clock(Arc<Shown>);

struct Shown {
    machine: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// A time of the queue's clock, and the instant at which it had certainly passed.
    queue: Mutex<Option<(Instant, SystemTime)>>,
}

/// A time of the queue's clock is used no longer than this where there is a newer one: the rate of two clocks differs.
const STALE: Duration = Duration::from_secs(3600);

impl Clock {
    /// A clock that asks `machine` until it is set.
    pub fn new(machine: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shown { machine: Box::new(machine), queue: Mutex::default() }))
    }

    /// This machine's clock.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine itself")]
    pub fn of_this_machine() -> Self {
        Self::new(SystemTime::now)
    }

    /// The queue's clock showed this time at or before that instant.
    pub fn set(&self, at: Instant, shown: SystemTime) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // Each is late by what its answer took on its way: the one that shows most is the best.
        let better = queue.is_none_or(|(known_at, known)| {
            at.saturating_duration_since(known_at) > STALE
                || shown > known + at.saturating_duration_since(known_at)
        });
        if better {
            *queue = Some((at, shown));
        }
    }

    /// The time of day.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        let queue = *self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match queue {
            Some((at, shown)) => shown + at.elapsed(),
            None => (self.0.machine)(),
        }
    }

    /// How long ago `then` was; zero where it lies ahead, as clocks of two machines disagree.
    #[must_use]
    pub fn since(&self, then: SystemTime) -> Duration {
        self.now().duration_since(then).unwrap_or_default()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use tokio::time::advance;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn the_queues_time_counts_once_it_is_known_and_the_best_of_its_times() {
        let clock = Clock::new(|| at(5));
        assert_eq!(clock.now(), at(5));
        clock.set(Instant::now(), at(1_000));
        assert_eq!(clock.now(), at(1_000), "wherever the machine's clock has got to");
        advance(Duration::from_secs(10)).await;
        clock.set(Instant::now(), at(1_007));
        assert_eq!(clock.now(), at(1_010), "an answer that was three seconds on its way says less");
        clock.set(Instant::now(), at(1_012));
        assert_eq!(clock.now(), at(1_012), "and one that shows more says more");
        advance(STALE).await;
        advance(Duration::from_secs(1)).await;
        clock.set(Instant::now(), at(4_000));
        assert_eq!(clock.now(), at(4_000), "an old one is not kept for ever");
    }
}
