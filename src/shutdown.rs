//! The two steps of stopping: begin nothing new, then let go of what is not finished.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// What the parts of the worker watch. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    abandon: CancellationToken,
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
