//! Finds repositories that pull-through cache rules fill, because the next pull would bring a
//! removed tag back.
//!
//! The rules of a registry are asked for before every act and read at most once in four minutes.
//! When they cannot be read for good (access is denied, or an emulator lacks the operation), the
//! worker assumes that there are none: a removal is then in vain but not dangerous. In other
//! accounts without `aws.assume_role` the question is always refused, because no repository policy
//! can grant it.
//!
//! A rule of the prefix ROOT covers every repository that no other prefix covers, the team's own
//! too. Nothing in ECR's API says who made a repository or where an image came from (ECR API
//! reference, Repository and ImageDetail), so such a rule covers only the repositories that
//! `policy.pull_through` names. Rejected: blocking everything under ROOT, because that would switch
//! tagwarden off.

use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use tracing::{info, warn};

use super::shared_cache::SharedCache;
use crate::aws::{AwsError, ErrorClass};
use crate::domain::names::{RegistryId, Repository};
use crate::domain::policy::Policy;
use crate::registry::Registry;

/// How long the rules of a registry are used.
const LIFE: Duration = Duration::from_secs(300);
/// The most registries whose rules are remembered.
const MAX_REGISTRIES: usize = 1_000;
/// The prefix that covers every repository that no other prefix covers (ECR user guide, "Creating a
/// pull through cache rule").
const ROOT: &str = "ROOT";

/// Whether pulls fill a repository from another registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PulledThrough {
    /// No rule covers it.
    No,
    /// Not known: the registry has a rule of the prefix ROOT, which names no repositories.
    Unsaid,
    /// Yes, by the rule of this prefix or by the configuration.
    By(String),
}

/// The prefixes of pull-through cache rules, by registry.
#[derive(Debug)]
pub(super) struct PullThrough {
    prefixes: SharedCache<RegistryId, Arc<[String]>, AwsError>,
    /// The registries whose rule of the prefix ROOT was logged. To log one of them twice does no
    /// harm.
    logged: Cache<RegistryId, ()>,
}

impl Default for PullThrough {
    fn default() -> Self {
        let prefixes = SharedCache::new(LIFE, MAX_REGISTRIES);
        Self { prefixes, logged: Cache::new(MAX_REGISTRIES) }
    }
}

impl PullThrough {
    /// Returns whether this repository is filled from another registry.
    ///
    /// # Errors
    /// An error of ECR that passes, such as throttling. After any other error the registry is taken
    /// to have no rules.
    pub(super) async fn of<R: Registry>(
        &self,
        registry: &R,
        policy: &Policy,
        repository: &Repository,
    ) -> Result<PulledThrough, AwsError> {
        let name = repository.name.as_str();
        if let Some(glob) = policy.pull_through.matching(name) {
            return Ok(PulledThrough::By(format!("{glob:?} of policy.pull_through")));
        }
        let registry_id = repository.registry_id();
        let prefixes =
            self.prefixes.get(&registry_id, || self.read(registry, &registry_id)).await?;
        let fills = |prefix: &&String| {
            let rest = name.strip_prefix(prefix.as_str());
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        Ok(match prefixes.iter().find(fills) {
            Some(prefix) => PulledThrough::By(prefix.clone()),
            None if prefixes.iter().any(|prefix| prefix == ROOT) => PulledThrough::Unsaid,
            None => PulledThrough::No,
        })
    }

    async fn read<R: Registry>(
        &self,
        registry: &R,
        registry_id: &RegistryId,
    ) -> Result<Arc<[String]>, AwsError> {
        let prefixes = match registry.pull_through_prefixes(registry_id).await {
            Ok(prefixes) => prefixes,
            Err(error) if is_passing(&error) => return Err(error),
            // A registry without this API has no such repositories either.
            Err(error) => {
                warn!(
                    account = %registry_id.account,
                    region = %registry_id.region,
                    %error,
                    "could not list pull-through cache rules; assuming none; if access is denied, \
                     allow ecr:DescribePullThroughCacheRules"
                );
                Vec::new()
            }
        };
        if prefixes.iter().any(|prefix| prefix == ROOT) && self.is_news(registry_id) {
            info!(
                account = %registry_id.account,
                region = %registry_id.region,
                "the registry has a pull-through cache rule of the prefix ROOT, which does not say \
                 which repositories it fills; name them in policy.pull_through"
            );
        }
        Ok(prefixes.into())
    }

    /// Returns whether the registry's rule of the prefix ROOT was not logged before, and counts it
    /// as logged.
    fn is_news(&self, registry_id: &RegistryId) -> bool {
        let is_news = self.logged.get(registry_id).is_none();
        self.logged.insert(registry_id.clone(), ());
        is_news
    }
}

/// Returns whether the error passes, so that the question is worth repeating. An emulator that
/// lacks the operation may answer with a status of an unavailable server, which does not pass.
fn is_passing(error: &AwsError) -> bool {
    match error.class {
        ErrorClass::Throttled
        | ErrorClass::Timeout
        | ErrorClass::Connection
        | ErrorClass::Credentials => true,
        ErrorClass::Unavailable => error.code.is_some() && !error.lacks_operation(),
        ErrorClass::Refused | ErrorClass::Rejected => false,
    }
}
