//! Decides whether something that was read is recent enough for a message.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Freshness;

/// How far the clocks of the queue's own machines may be apart.
const SKEW: Duration = Duration::from_secs(2);

/// The start of something, by the time of day and by the process's own clock.
///
/// A read that began after a message was sent has seen all that the message could show, so it
/// answers that message too. `sent_at` is by the queue's clock, which gets two seconds to spare.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    at: Instant,
    by_the_clock: SystemTime,
}

impl Started {
    /// Returns a start at this moment, which is this time of day.
    #[must_use]
    pub fn now(time_of_day: SystemTime) -> Self {
        Self { at: Instant::now(), by_the_clock: time_of_day }
    }

    /// Returns how long ago it was.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// Returns whether the message was certainly sent before the start.
    #[must_use]
    pub fn is_after_sending(&self, of: Freshness) -> bool {
        self.is_after_receiving(of)
            || of.sent_at.is_some_and(|sent| sent + SKEW <= self.by_the_clock)
    }

    /// Returns whether the message was received before the start.
    #[must_use]
    pub fn is_after_receiving(&self, of: Freshness) -> bool {
        self.at >= of.received_at
    }
}
