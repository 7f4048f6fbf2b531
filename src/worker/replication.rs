//! Removals that ECR repeats in other registries: nothing is removed before the quarantine tag has
//! arrived there.
//!
//! Each change travels by itself, and nothing says in which order they arrive. A removal that comes
//! before the quarantine tag would be that of the copy's last tag, and ECR deletes an image with
//! its last tag.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::{debug, warn};

use super::assess::{Assessor, Case, Job};
use super::disposition::waits_for_replicas;
use super::outcome::Failure;
use super::single_flight::SingleFlight;
use crate::aws::{AwsError, ErrorClass};
use crate::domain::image::{Home, Repository};
use crate::domain::plan::Plan;
use crate::domain::policy::Replicated;
use crate::domain::replication::{Replication, listed};
use crate::notify::Notifier;
use crate::registry::Registry;

/// How long a registry's rules are believed: a rule that is made, or begins to repeat removals, is
/// known so much later.
const LIFE: Duration = Duration::from_secs(300);
/// Registries whose rules are remembered.
const MOST_REGISTRIES: usize = 1_000;
/// The pauses between looks for the quarantine tag, within one pass: a tag mostly arrives within
/// seconds.
const PAUSES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// The rules by which registries repeat removals in others, by registry.
#[derive(Debug)]
pub(super) struct ReplicationRules(SingleFlight<Home, Arc<Replication>, Failure>);

impl Default for ReplicationRules {
    fn default() -> Self {
        Self(SingleFlight::new(LIFE, MOST_REGISTRIES))
    }
}

/// Whether there is no such operation: an emulator says so as of the request's fault, or as of its
/// own.
fn lacks_operation(error: &AwsError) -> bool {
    let Some(code) = error.code.as_deref() else { return false };
    let words = ["Unknown", "NotImplemented", "Unsupported", "InvalidAction"];
    matches!(error.class, ErrorClass::Rejected | ErrorClass::Unavailable)
        && words.iter().any(|word| code.contains(word))
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Adds to the plan where removals are repeated: what has to be waited for there, or why
    /// nothing may be removed.
    pub(super) async fn hold_by_replication(
        &self,
        job: Job<'_>,
        plan: &mut Plan,
    ) -> Result<(), Failure> {
        let home = job.event.repository.home();
        let rules = self.replication.0.get(&home, || self.replication_of(job, &home)).await?;
        let replicas = rules.destinations(&job.event.repository);
        if replicas.is_empty() {
            return Ok(());
        }
        match self.terms(job).replicated {
            Replicated::Follow => plan.replicas = replicas,
            Replicated::Block => plan.holds.push(format!(
                "ECR repeats removals in {}, which could delete the image there (replicated)",
                listed(&replicas)
            )),
        }
        Ok(())
    }

    /// The rules of this registry. One that lacks the operation (an emulator) has none; so it is
    /// taken to be where a registry of another account tells us nothing, because it cannot be asked
    /// without a role there.
    ///
    /// A refusal is one, for all who wait for it together.
    async fn replication_of(&self, job: Job<'_>, home: &Home) -> Result<Arc<Replication>, Failure> {
        let Home { account, region } = home;
        match self.ecr(job, || self.registry.replication(home)).await {
            Ok(Some(rules)) => Ok(Arc::new(rules)),
            Ok(None) => {
                warn!(
                    %account,
                    %region,
                    "cannot tell whether removals are repeated in other registries and takes it that they are not: ECR \
                     tells only the account itself; set aws.assume_role"
                );
                Ok(Arc::default())
            }
            Err(Failure::Rejected(error) | Failure::Transient(error))
                if lacks_operation(&error) =>
            {
                warn!(%account, %region, %error, "the registry knows no replication");
                Ok(Arc::default())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Waits until the quarantine tag can be read wherever removals are repeated. `Some`: why it is
    /// waited for no longer.
    ///
    /// DescribeImageReplicationStatus does not tell: it is about the image, and may have been
    /// complete before the tag.
    pub(super) async fn mark_in_replicas(
        &self,
        case: &Case<'_>,
    ) -> Result<Option<String>, Failure> {
        let mut missing = case.plan.replicas.clone();
        let mut pauses = PAUSES.iter();
        let is_last = self.context.is_last_receive(case.job.message);
        loop {
            let mut still = Vec::new();
            for home in missing {
                match self.bears_mark(case, &home).await {
                    Ok(true) => {}
                    Ok(false) => still.push(home),
                    // A destination that cannot be read is told as one without the tag, at last.
                    Err(Failure::Refused(_) | Failure::Rejected(_)) if is_last => still.push(home),
                    Err(failure) => return Err(failure),
                }
            }
            missing = still;
            if missing.is_empty() {
                return Ok(None);
            }
            let Some(pause) = pauses.next() else { break };
            debug!(digest = %case.image.digest, missing = listed(&missing), "waits for the quarantine tag");
            tokio::select! {
                biased;
                // On its last receive it has to be told: nobody else will come to it.
                () = self.context.shutdown.draining(), if !is_last => {
                    return Err(Failure::Abandoned);
                }
                () = sleep(*pause) => {}
            }
        }
        let (message, most) = (case.job.message, self.context.max_receive_count);
        let (missing, receives) = (listed(&missing), message.receive_count);
        if waits_for_replicas(receives, most) {
            return Err(Failure::Unreplicated { missing, receives });
        }
        Ok(Some(format!(
            "the quarantine tag has not arrived in {missing}, where ECR repeats removals: they could delete the image \
             there (replicated)"
        )))
    }

    async fn bears_mark(&self, case: &Case<'_>, home: &Home) -> Result<bool, Failure> {
        let replica = &Repository {
            account: home.account.clone(),
            region: home.region.clone(),
            name: case.repository().name.clone(),
        };
        let read = || self.registry.resolve(replica, &case.plan.quarantine);
        let digest = self.ecr_about(case.job, replica, read).await?;
        Ok(digest.as_ref() == Some(&case.image.digest))
    }
}
