//! The steps of stopping: begin nothing new, let go of what is not finished, and give up receives
//! that are not answered.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// What the parts of the worker watch. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abandon: CancellationToken,
    give_up_receives: CancellationToken,
    received_last: CancellationToken,
}

impl Shutdown {
    /// Nothing new from now on; work in hand goes on.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Work in hand ends now; what is not finished is released.
    pub fn abandon(&self) {
        self.drain.cancel();
        self.abandon.cancel();
    }

    /// Receives that have not been answered by now are not waited for any longer.
    pub fn give_up_receives(&self) {
        self.drain.cancel();
        self.give_up_receives.cancel();
    }

    /// The last receive has ended: what becomes visible from now on, this process does not take.
    pub fn received_last(&self) {
        self.received_last.cancel();
    }

    /// Whether draining has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Returns when draining begins.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Returns when work in hand is to end.
    pub async fn abandoned(&self) {
        self.abandon.cancelled().await;
    }

    /// Returns when receives are not to be waited for any longer.
    pub async fn receives_given_up(&self) {
        self.give_up_receives.cancelled().await;
    }

    /// Returns when the last receive has ended.
    pub async fn after_last_receive(&self) {
        self.received_last.cancelled().await;
    }
}

/// How long the last spans and metrics may take to be delivered when everything else has ended.
#[must_use]
pub fn time_to_flush(grace: Duration) -> Duration {
    (grace / 10).min(Duration::from_secs(2))
}

/// How long after the signal work in hand may go on, so that releasing the rest and flushing still fit into `grace`.
#[must_use]
pub fn time_for_work(grace: Duration) -> Duration {
    grace.saturating_sub((grace / 4).min(Duration::from_secs(5)))
}

/// How long after the signal a receive is waited for. The queue waits for messages no longer than
/// the time for work; half of the time that is left after that is for its answer to arrive, the
/// other half for releasing what it brings.
#[must_use]
pub fn time_for_receives(grace: Duration) -> Duration {
    let (work, flush) = (time_for_work(grace), time_to_flush(grace));
    work + grace.saturating_sub(work + flush) / 2
}
