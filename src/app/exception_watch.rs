//! Watches the expiry dates of the exceptions of the policy in use, logs those that have expired or
//! are about to, and counts them in the metrics.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::clock::Clock;
use crate::domain::exception::{Exception, Standing};
use crate::in_use::PolicyInUse;
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;

/// How often expiry dates are checked.
const EVERY: Duration = Duration::from_secs(900);

/// Logs the exceptions that are about to expire or have expired, at the start and whenever that
/// changes, until the worker stops. Another version of the policy repeats nothing that was logged.
pub(super) async fn watch(
    policy: PolicyInUse,
    clock: &Clock,
    instruments: &Instruments,
    shutdown: &Shutdown,
) {
    let mut changes = policy.changes();
    let mut logged = HashSet::new();
    loop {
        let version = Arc::clone(&changes.borrow_and_update());
        let now = clock.now();
        let exceptions = version.exceptions.as_slice().iter();
        let standings: Vec<_> = exceptions.map(|one| (one, one.standing(now))).collect();
        for standing in Standing::ALL {
            let count = standings.iter().filter(|(_, one)| *one == standing).count();
            instruments.exceptions_standing(standing.as_str(), count);
        }
        let mut current = HashSet::new();
        for (exception, standing) in standings {
            if standing != Standing::Active {
                let key = key(exception, standing);
                if !logged.contains(&key) {
                    log(exception, standing);
                }
                current.insert(key);
            }
        }
        logged = current;
        tokio::select! {
            biased;
            () = shutdown.draining() => return,
            _ = changes.changed() => {}
            () = sleep(EVERY) => {}
        }
    }
}

/// Returns what makes a line about an exception the same line.
fn key(exception: &Exception, standing: Standing) -> (String, Standing) {
    let Exception { repositories, expires, owner, reason, .. } = exception;
    let repositories = repositories.patterns();
    (format!("{exception} {repositories:?} {expires} {owner:?} {reason:?}"), standing)
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
