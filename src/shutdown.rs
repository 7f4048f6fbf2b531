//! The steps of stopping. Invariant 12: SIGTERM ends the process within its grace period and loses
//! no message.
//!
//! `App::work` takes the steps one after the other, and every part of the worker watches
//! [`Shutdown`]:
//!
//! 1. *Drain*, at the signal: no new receive starts, and work in hand goes on.
//! 2. *Abandon*, after [`time_for_work`]: work in hand stops, and its messages are to be released
//!    (visibility 0).
//! 3. *Give up receives*, after [`time_for_receives`]: nobody waits any longer for receives that
//!    are not answered.
//! 4. The process ends as soon as all work has ended, at the latest [`time_to_flush`] before the
//!    end of the grace period, so that the last spans and metrics are still delivered.
//!
//! The signal does not drop a receive in flight, because SQS does not notice that the caller of a
//! long poll has gone away: until its wait is over, the poll takes messages, which then reach
//! nobody until their visibility timeout has passed and which have lost one receive. For the same
//! reason no message is released before the last receive has ended: that receive would take it
//! again.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// The state of the stop, watched by all parts of the worker. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abandon: CancellationToken,
    give_up_receives: CancellationToken,
    received_last: CancellationToken,
}

impl Shutdown {
    /// Starts the drain: nothing new begins, and work in hand goes on.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Ends all work in hand. Messages that are not finished are released.
    pub fn abandon(&self) {
        self.drain.cancel();
        self.abandon.cancel();
    }

    /// Stops waiting for receives that have not been answered yet.
    pub fn give_up_receives(&self) {
        self.drain.cancel();
        self.give_up_receives.cancel();
    }

    /// Records that the last receive has ended, so this process takes no message that becomes
    /// visible from now on.
    pub fn received_last(&self) {
        self.received_last.cancel();
    }

    /// Returns whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits until the drain begins.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits until work in hand has to end.
    pub async fn abandoned(&self) {
        self.abandon.cancelled().await;
    }

    /// Waits until receives that are not answered have to be given up.
    pub async fn receives_given_up(&self) {
        self.give_up_receives.cancelled().await;
    }

    /// Waits until the last receive has ended.
    pub async fn after_last_receive(&self) {
        self.received_last.cancelled().await;
    }
}

/// Returns how long the delivery of the last spans and metrics may take, after everything else has
/// ended.
#[must_use]
pub fn time_to_flush(grace: Duration) -> Duration {
    (grace / 10).min(Duration::from_secs(2))
}

/// Returns how long work in hand may go on after the signal, so that the release of unfinished
/// messages and the flush still fit into `grace`.
#[must_use]
pub fn time_for_work(grace: Duration) -> Duration {
    grace.saturating_sub((grace / 4).min(Duration::from_secs(5)))
}

/// Returns how long the worker waits for a receive after the signal. The queue itself waits for
/// messages no longer than the time for work. Half of the time that is left then is for its answer
/// to arrive, the other half for the release of the messages in it.
#[must_use]
pub fn time_for_receives(grace: Duration) -> Duration {
    let (work, flush) = (time_for_work(grace), time_to_flush(grace));
    work + grace.saturating_sub(work + flush) / 2
}
