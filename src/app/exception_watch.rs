//! Exceptions grow old: what has expired, or is about to, is said in the log and shown in the metrics.

use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::clock::Clock;
use crate::domain::exception::{Exception, Standing};
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;

/// How often it is looked at the calendar.
const EVERY: Duration = Duration::from_secs(900);

/// Says at the start where exceptions stand, and whenever that changes, until the shutdown drains.
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
                say(exception, *standing);
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

fn say(exception: &Exception, standing: Standing) {
    let Exception { expires, owner, reason, .. } = exception;
    match standing {
        Standing::Active => {}
        Standing::Expiring => warn!(
            %exception, %expires, owner, reason, "an exception of the policy is about to expire"
        ),
        Standing::Expired => warn!(
            %exception, %expires, owner, reason, "an exception of the policy has expired: it counts no more"
        ),
    }
}
