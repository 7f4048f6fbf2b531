//! Asks for another scan of images that basic scanning scanned long ago or never.
//!
//! A registry may start no scan when it is asked, because its scanning is enhanced, its quota is
//! used up, or access is denied. Then it is not asked again for an hour.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quick_cache::sync::Cache;
use tokio::time::Instant;
use tracing::{info, warn};

use super::inventory::InventoryEntry;
use crate::aws::ErrorClass;
use crate::clock::Clock;
use crate::domain::names::RegistryId;
use crate::domain::policy::Mode;
use crate::inspect::{CallPace, EcrCalls, Request};
use crate::registry::{Registry, ScanAnswer};
use crate::shutdown::Shutdown;

/// The pause after which a registry that starts no scan is asked again.
const NOT_HERE: Duration = Duration::from_secs(3600);
/// The most registries that are remembered. One that is forgotten is asked again.
const MAX_REGISTRIES: usize = 1_000;

/// Asks registries for scans.
#[derive(Debug)]
pub(super) struct Rescans<R> {
    ecr: Arc<EcrCalls<R>>,
    after: Option<Duration>,
    clock: Clock,
    shutdown: Shutdown,
    /// The registries that start no scan when they are asked, and when they were last asked.
    not_here: Cache<RegistryId, Instant>,
}

impl<R: Registry> Rescans<R> {
    /// Creates a part that asks for a scan if the last one is older than `after`. With `None` it
    /// asks for none.
    pub(super) fn new(
        ecr: Arc<EcrCalls<R>>,
        after: Option<Duration>,
        clock: Clock,
        shutdown: Shutdown,
    ) -> Self {
        Self { ecr, after, clock, shutdown, not_here: Cache::new(MAX_REGISTRIES) }
    }

    /// Asks for scans of these images until the worker stops.
    ///
    /// The end of a scan comes as an event, so nothing waits for it here. If a scan cannot be
    /// started, the next sweep asks for it.
    pub(super) async fn ask(&self, request: &Request, images: &[InventoryEntry], pace: &CallPace) {
        let rescans = async {
            for image in images {
                self.ask_for(request, image, pace).await;
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.draining() => {}
            () = rescans => {}
        }
    }

    async fn ask_for(&self, request: &Request, image: &InventoryEntry, pace: &CallPace) {
        // An image that violates the policy is enforced first, because ECR shows no findings of an
        // image while it scans it. In audit mode no scan is asked for, because a scan is a change.
        let is_audit = request.settings().mode == Mode::Audit;
        if image.coverage.violates() || is_audit {
            return;
        }
        let repository = &request.repository;
        let registry_id = repository.registry_id();
        for (digest, _) in image.basic.iter().filter(|(_, last)| self.is_due(*last)) {
            if self.starts_no_scan(&registry_id) {
                break;
            }
            pace.wait().await;
            match Box::pin(self.ecr.unguarded().start_scan(repository, digest)).await {
                Ok(ScanAnswer::Started) => {}
                Ok(ScanAnswer::NotSupported) => {
                    let why = "its scanning is enhanced, or its quota is used up";
                    self.set_starts_no_scan(registry_id.clone(), why);
                }
                Err(error)
                    if matches!(error.class, ErrorClass::Refused | ErrorClass::Credentials) =>
                {
                    warn!(%error, "cannot ask for scans");
                    self.set_starts_no_scan(registry_id.clone(), "it refuses to");
                }
                Err(error) => warn!(%digest, %error, "cannot ask for another scan"),
            }
        }
    }

    fn is_due(&self, last: Option<SystemTime>) -> bool {
        let Some(after) = self.after else { return false };
        last.is_none_or(|last| self.clock.since(last) >= after)
    }

    fn starts_no_scan(&self, registry_id: &RegistryId) -> bool {
        self.not_here.get(registry_id).is_some_and(|since| since.elapsed() < NOT_HERE)
    }

    fn set_starts_no_scan(&self, registry_id: RegistryId, why: &str) {
        info!(
            account = %registry_id.account,
            region = %registry_id.region,
            why,
            "the registry starts no scans; it is not asked again for an hour"
        );
        self.not_here.insert(registry_id, Instant::now());
    }
}
