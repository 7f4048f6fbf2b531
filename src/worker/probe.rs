//! The pauses between two attempts at a call that is refused.

use std::time::Duration;

use tokio::time::sleep;

use crate::shutdown::Shutdown;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// Counts the attempts: from a second to half a minute apart.
#[derive(Debug, Default)]
pub(super) struct Probe(u32);

/// The worker is stopping: there is no next attempt.
#[derive(Debug)]
pub(super) struct Stopping;

impl Probe {
    /// Waits until the next attempt is due.
    pub(super) async fn wait(&mut self, shutdown: &Shutdown) -> Result<(), Stopping> {
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(self.0)).min(LONGEST);
        self.0 = self.0.saturating_add(1);
        tokio::select! {
            biased;
            () = shutdown.draining() => Err(Stopping),
            () = sleep(pause.mul_f64(1.0 - fastrand::f64() / 4.0)) => Ok(()),
        }
    }
}
