//! Spreads the calls of sweeps over time, so that live events can call the registry too.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// A number of calls a second, for all who share it together.
#[derive(Debug)]
pub(crate) struct CallPace {
    apart: Duration,
    next: Mutex<Option<Instant>>,
}

impl CallPace {
    /// Creates a pace of this many calls a second.
    #[must_use]
    pub(crate) fn new(calls_per_second: u32) -> Self {
        let apart = Duration::from_secs(1) / calls_per_second.max(1);
        Self { apart, next: Mutex::default() }
    }

    /// Waits until the next call may be made.
    ///
    /// An inspection that makes many calls waits before each one, so that others can call in
    /// between.
    pub(crate) async fn wait(&self) {
        sleep_until(self.take()).await;
    }

    /// Takes the time of one call and returns when it may be made.
    fn take(&self) -> Instant {
        let mut next = self.next.lock();
        let at = next.unwrap_or_else(Instant::now).max(Instant::now());
        *next = Some(at + self.apart);
        at
    }
}
