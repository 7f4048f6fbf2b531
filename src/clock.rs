//! The time of day as a value, set by the queue's clock.
//!
//! The worker compares the time of day with times that the queue has set, such as the time when a
//! message was sent. A machine's clock can be wrong and can jump, so a comparison with it can give
//! any age. Therefore the worker uses the queue's clock: an answer to a receive says what that
//! clock shows, and from then on [`Clock`] adds the monotonic time that has passed. Before the
//! first message only the machine's time is known. Signatures do not need this clock, because the
//! SDK corrects them by the time in AWS's answers.
//!
//! The clock is passed in as a value, so a test that builds a worker also owns its time.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

/// Shows the time of day: the machine's time until [`Clock::set`] is called, the queue's time after
/// that.
///
/// Clones share their state and show the same time. Use [`tokio::time::Instant`] to measure
/// intervals, because this clock moves when it is set.
#[derive(Clone)]
pub struct Clock(Arc<Shown>);

struct Shown {
    machine: Box<dyn Fn() -> SystemTime + Send + Sync>,
    /// A time that the queue's clock has shown, and an instant at or after that moment.
    queue: Mutex<Option<(Instant, SystemTime)>>,
}

/// A reading of the queue's clock that is older than this gives way to any newer one, because two
/// clocks run at slightly different rates.
const STALE: Duration = Duration::from_secs(3600);

impl Clock {
    /// Returns a clock that asks `machine` for the time until it is set.
    pub fn new(machine: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shown { machine: Box::new(machine), queue: Mutex::default() }))
    }

    /// Returns a clock that shows this machine's time until it is set.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine itself")]
    pub fn of_this_machine() -> Self {
        Self::new(SystemTime::now)
    }

    /// Records that the queue's clock showed the time `shown` at or before the instant `at`.
    pub fn set(&self, at: Instant, shown: SystemTime) {
        let mut queue = self.0.queue.lock();
        // Each reading is late by the time that its answer took on the way, so the reading that
        // shows the latest time is the most exact.
        let better = queue.is_none_or(|(known_at, known)| {
            at.saturating_duration_since(known_at) > STALE
                || shown > known + at.saturating_duration_since(known_at)
        });
        if better {
            *queue = Some((at, shown));
        }
    }

    /// Returns the time of day.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.by_queue().unwrap_or_else(|| (self.0.machine)())
    }

    /// Returns the queue's time; `None` until [`Clock::set`] is called.
    ///
    /// The process may have to work without it for a while: only the first receive of a message
    /// shows it, and after a restart all messages may be ones that come again.
    #[must_use]
    pub fn by_queue(&self) -> Option<SystemTime> {
        let queue = *self.0.queue.lock();
        queue.map(|(at, shown)| shown + at.elapsed())
    }

    /// Returns how long ago `then` was, or zero if it lies in the future, because the clocks of two
    /// machines can disagree.
    #[must_use]
    pub fn since(&self, then: SystemTime) -> Duration {
        self.now().duration_since(then).unwrap_or_default()
    }

    /// Returns how long ago the queue's clock showed `then`, or zero until the queue's clock is
    /// known, because a machine's clock that is ahead would make any wait seem over.
    #[must_use]
    pub fn since_by_queue(&self, then: SystemTime) -> Duration {
        let age = self.by_queue().and_then(|now| now.duration_since(then).ok());
        age.unwrap_or_default()
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
    async fn age_by_the_queue_is_zero_until_its_clock_is_known() {
        let clock = Clock::new(|| at(9_000));
        assert_eq!(clock.since_by_queue(at(1_000)), Duration::ZERO, "the machine may be ahead");
        clock.set(Instant::now(), at(1_060));
        assert_eq!(clock.since_by_queue(at(1_000)), Duration::from_secs(60));
        assert_eq!(clock.since_by_queue(at(1_100)), Duration::ZERO, "it lies in the future");
    }

    #[tokio::test(start_paused = true)]
    async fn clock_shows_latest_queue_time_once_it_is_set() {
        let clock = Clock::new(|| at(5));
        assert_eq!((clock.now(), clock.by_queue()), (at(5), None));
        clock.set(Instant::now(), at(1_000));
        assert_eq!(clock.now(), at(1_000), "the machine's clock no longer counts");
        assert_eq!(clock.by_queue(), Some(at(1_000)));
        advance(Duration::from_secs(10)).await;
        clock.set(Instant::now(), at(1_007));
        assert_eq!(clock.now(), at(1_010), "an answer that took three seconds is less exact");
        clock.set(Instant::now(), at(1_012));
        assert_eq!(clock.now(), at(1_012), "a later reading is more exact");
        advance(STALE).await;
        advance(Duration::from_secs(1)).await;
        clock.set(Instant::now(), at(4_000));
        assert_eq!(clock.now(), at(4_000), "a stale reading gives way");
    }
}
