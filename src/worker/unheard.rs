//! Notices that are tried again while every topic refuses: until one is accepted, no further tags are removed.

use std::future::Future;

use tokio::sync::watch;

use super::probe::Stopping;
use crate::shutdown::Shutdown;

/// How many notices are tried again because every topic refuses us.
#[derive(Debug)]
pub(super) struct Unheard(watch::Sender<usize>);

/// One notice that is tried again, until this is dropped.
#[derive(Debug)]
pub(super) struct Retelling<'a>(&'a Unheard);

impl Default for Unheard {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Unheard {
    /// Counts a notice that is tried again.
    pub(super) fn again(&self) -> Retelling<'_> {
        self.0.send_modify(|notices| *notices += 1);
        Retelling(self)
    }

    /// Waits while a notice is tried again, unless `clear` says that polling goes on. When none is, whoever waited goes
    /// on and finds out by its own notice whether the topics still refuse.
    pub(super) async fn wait(
        &self,
        clear: impl Future<Output = ()>,
        shutdown: &Shutdown,
    ) -> Result<(), Stopping> {
        let mut notices = self.0.subscribe();
        tokio::select! {
            biased;
            // The sender lives in `self`, so the wait cannot fail.
            _ = notices.wait_for(|notices| *notices == 0) => Ok(()),
            () = shutdown.draining() => Err(Stopping),
            () = clear => Ok(()),
        }
    }
}

impl Drop for Retelling<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|notices| *notices = notices.saturating_sub(1));
    }
}
