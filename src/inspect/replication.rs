//! Waits for the quarantine tag in the registries to which ECR replicates removals, before any tag
//! is removed (invariant 4).
//!
//! Each change travels by itself, and nothing says in which order changes arrive. If a removal
//! arrived before the quarantine tag, it would remove the copy's last tag, and ECR deletes an image
//! with its last tag.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

use super::shared_cache::SharedCache;
use super::{EcrCalls, Request};
use crate::domain::names::{Digest, RegistryId, Repository, Tag};
use crate::domain::replication::{Replication, listed};
use crate::outcome::{Failure, waits_for_replicas};
use crate::registry::Registry;
use crate::shutdown::Shutdown;

/// How long the rules of a registry are used. A new rule is known this much later at most.
const LIFE: Duration = Duration::from_secs(300);
/// The most registries whose rules are remembered.
const MAX_REGISTRIES: usize = 1_000;
/// The pauses between reads of the quarantine tag within one pass, because a tag mostly arrives
/// within seconds.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// The registries to which ECR replicates removals.
#[derive(Debug)]
pub(crate) struct Replicas<R> {
    ecr: Arc<EcrCalls<R>>,
    rules: SharedCache<RegistryId, Arc<Replication>, Failure>,
    shutdown: Shutdown,
}

/// Whether the quarantine tag has arrived in every registry to which removals are replicated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MarkArrival {
    /// It can be read everywhere.
    Everywhere,
    /// It is missing in some registry, and is not waited for any longer. The text says where.
    GivenUp(String),
}

impl<R: Registry> Replicas<R> {
    /// Creates a part that has read no rules yet.
    #[must_use]
    pub(crate) fn new(ecr: Arc<EcrCalls<R>>, shutdown: Shutdown) -> Self {
        Self { ecr, rules: SharedCache::new(LIFE, MAX_REGISTRIES), shutdown }
    }

    /// Returns the registries to which ECR replicates removals in the request's repository.
    ///
    /// # Errors
    /// [`Failure`] if the rules cannot be read.
    pub(crate) async fn of(&self, request: &Request) -> Result<Vec<RegistryId>, Failure> {
        let registry_id = request.repository.registry_id();
        let rules = self.rules.get(&registry_id, || self.read(request, &registry_id)).await?;
        Ok(rules.destinations(&request.repository))
    }

    /// Reads the rules of a registry.
    ///
    /// A registry that lacks the operation (an emulator) has no rules. A registry of another
    /// account that cannot be asked without a role there is taken to have none. A refusal is a
    /// failure for all who wait for it together, and never "no rule".
    async fn read(
        &self,
        request: &Request,
        registry_id: &RegistryId,
    ) -> Result<Arc<Replication>, Failure> {
        let RegistryId { account, region } = registry_id;
        match self.ecr.call(request, |registry| registry.replication(registry_id)).await {
            Ok(Some(rules)) => Ok(Arc::new(rules)),
            Ok(None) => {
                warn!(
                    %account,
                    %region,
                    "could not read the replication rules, because only the account itself may; \
                     assuming that removals are not replicated; set aws.assume_role"
                );
                Ok(Arc::default())
            }
            Err(Failure::Rejected(error) | Failure::Transient(error))
                if error.lacks_operation() =>
            {
                warn!(%account, %region, %error, "the registry does not support replication");
                Ok(Arc::default())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Waits until the quarantine tag of an image can be read in all of these registries.
    ///
    /// The tag itself is read. DescribeImageReplicationStatus does not help, because it is about
    /// the image and may have been complete before the image was tagged.
    ///
    /// # Errors
    /// [`Failure::Unreplicated`] if the message comes again to look once more.
    pub(crate) async fn wait_for_mark(
        &self,
        request: &Request,
        digest: &Digest,
        mark: &Tag,
        replicas: &[RegistryId],
    ) -> Result<MarkArrival, Failure> {
        let mut missing = replicas.to_vec();
        let mut pauses = PAUSES.iter();
        let is_last = request.attempt.is_last();
        loop {
            let mut still_missing = Vec::new();
            for registry_id in missing {
                match self.bears(request, digest, mark, &registry_id).await {
                    Ok(true) => {}
                    Ok(false) => still_missing.push(registry_id),
                    // On the last receive a registry that cannot be read counts as one without the
                    // tag, so that the team is notified.
                    Err(Failure::Refused(_) | Failure::Rejected(_)) if is_last => {
                        still_missing.push(registry_id);
                    }
                    Err(failure) => return Err(failure),
                }
            }
            missing = still_missing;
            if missing.is_empty() {
                return Ok(MarkArrival::Everywhere);
            }
            let Some(pause) = pauses.next() else { break };
            debug!(%digest, missing = listed(&missing), "waits for the quarantine tag");
            tokio::select! {
                biased;
                // The last receive is not abandoned, because it has to notify the team.
                () = self.shutdown.draining(), if !is_last => return Err(Failure::Abandoned),
                () = sleep(*pause) => {}
            }
        }
        let missing = listed(&missing);
        if waits_for_replicas(request.attempt) {
            return Err(Failure::Unreplicated { missing, receives: request.attempt.number });
        }
        Ok(MarkArrival::GivenUp(format!(
            "the quarantine tag has not arrived in {missing}, where ECR repeats removals: they \
             could delete the image there (replicated)"
        )))
    }

    /// Returns whether the image's copy in this registry bears the mark.
    async fn bears(
        &self,
        request: &Request,
        digest: &Digest,
        mark: &Tag,
        registry_id: &RegistryId,
    ) -> Result<bool, Failure> {
        let replica = &Repository {
            account: registry_id.account.clone(),
            region: registry_id.region.clone(),
            name: request.repository.name.clone(),
        };
        let read = |registry| R::resolve(registry, replica, mark);
        let found = self.ecr.call_about(request, replica, read).await?;
        Ok(found.as_ref() == Some(digest))
    }
}
