//! Decides whether something that was read is recent enough for a message.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Freshness;
use crate::clock::Clock;

/// How far the clocks of the queue's own machines may be apart.
const SKEW: Duration = Duration::from_secs(2);

/// The start of something, by the time of day and by the process's own clock.
///
/// A read that began after a message was sent has seen all that the message could show, so it
/// answers that message too. `sent_at` is by the queue's clock, which gets two seconds to spare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: Instant,
    /// `None` if the queue's clock was not known yet. The machine's clock does not do, because one
    /// that is ahead would make things seem more recent than they are.
    by_queue: Option<SystemTime>,
}

impl Started {
    /// Returns a start at this moment.
    #[must_use]
    pub(crate) fn now(clock: &Clock) -> Self {
        Self { at: Instant::now(), by_queue: clock.by_queue() }
    }

    /// Returns how long ago it was.
    #[must_use]
    pub(crate) fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// Returns whether the message was certainly sent before the start.
    #[must_use]
    pub(crate) fn is_after_sending(&self, of: Freshness) -> bool {
        let times = of.sent_at.zip(self.by_queue);
        self.is_after_receiving(of) || times.is_some_and(|(sent, started)| sent + SKEW <= started)
    }

    /// Returns whether the message was received before the start.
    #[must_use]
    pub(crate) fn is_after_receiving(&self, of: Freshness) -> bool {
        self.at >= of.received_at
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
    async fn only_the_queues_clock_tells_what_was_started_after_sending() {
        // The machine's clock is far ahead of the queue's.
        let clock = Clock::new(|| at(5_000));
        let early = Started::now(&clock);
        clock.set(Instant::now(), at(1_000));
        let late = Started::now(&clock);
        advance(Duration::from_secs(40)).await;
        let sent = |seconds| Freshness::now(Some(at(seconds)));
        assert!(!early.is_after_sending(sent(1_038)), "it was started before the message was sent");
        assert!(!early.is_after_sending(sent(900)), "it is not known that it was started after");
        assert!(late.is_after_sending(sent(998)));
        assert!(!late.is_after_sending(sent(999)), "the queue's machines may be two seconds apart");
        let received = Freshness { sent_at: Some(at(1_038)), received_at: early.at };
        assert!(early.is_after_sending(received), "a message is received after it was sent");
    }
}
