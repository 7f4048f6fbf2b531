//! Watches the expiry dates of exceptions, logs those that have expired or are about to, and counts
//! them in the metrics.

use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::clock::Clock;
use crate::domain::exception::{Exception, Standing};
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;

/// How often expiry dates are checked.
const EVERY: Duration = Duration::from_secs(900);

/// Logs the exceptions that are about to expire or have expired, at the start and whenever that
/// changes, until the worker stops.
pub(super) async fn watch(
    exceptions: &[Exception],
    clock: &Clock,
    instruments: &Instruments,
    shutdown: &Shutdown,
) {
    let mut before = vec![Standing::Active; exceptions.len()];
    loop {
        let now = clock.now();
        let standings: Vec<_> = exceptions.iter().map(|one| one.standing(now)).collect();
        for standing in Standing::ALL {
            let count = standings.iter().filter(|one| **one == standing).count();
            instruments.exceptions_standing(standing.as_str(), count);
        }
        for ((exception, standing), before) in exceptions.iter().zip(&standings).zip(&before) {
            if standing != before {
                log(exception, *standing);
            }
        }
        before = standings;
        tokio::select! {
            biased;
            () = shutdown.draining() => return,
            () = sleep(EVERY) => {}
        }
    }
}

fn log(exception: &Exception, standing: Standing) {
    let Exception { expires, owner, reason, .. } = exception;
    match standing {
        Standing::Active => {}
        Standing::Expiring => warn!(
            %exception, %expires, owner, reason, "an exception of the policy is about to expire"
        ),
        Standing::Expired => warn!(
            %exception,
            %expires,
            owner,
            reason,
            "an exception of the policy has expired and no longer applies"
        ),
    }
}
