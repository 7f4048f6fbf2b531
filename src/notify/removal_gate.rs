//! Stops removals while nobody can be notified of them.
//!
//! While every topic refuses us, the notice in hand is tried again and polling pauses. Messages
//! that were received before must not remove tags meanwhile, because nobody would learn of it. So
//! each notice that is tried again closes this gate, and removals wait until it is open.

use std::future::Future;

use tokio::sync::watch;

use crate::backoff::Stopping;
use crate::shutdown::Shutdown;

/// Closed while at least one notice is tried again because every topic refuses us.
#[derive(Debug)]
pub(super) struct RemovalGate(watch::Sender<usize>);

/// Keeps the gate closed until it is dropped.
#[derive(Debug)]
pub(super) struct Closed<'a>(&'a RemovalGate);

impl Default for RemovalGate {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl RemovalGate {
    /// Closes the gate for as long as a notice is tried again.
    pub(super) fn close(&self) -> Closed<'_> {
        self.0.send_modify(|notices| *notices += 1);
        Closed(self)
    }

    /// Waits until the gate is open, or until `clear` says that polling goes on.
    ///
    /// When the gate opens because a notice was given up, those who waited find out by their own
    /// notice whether the topics still refuse.
    ///
    /// # Errors
    /// [`Stopping`] if the worker begins to stop meanwhile.
    pub(super) async fn wait_until_open(
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

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|notices| *notices = notices.saturating_sub(1));
    }
}
