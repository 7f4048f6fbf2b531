//! Which repositories are filled from another registry when somebody pulls: the next pull would
//! bring a removed tag back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::{info, warn};

use super::shared_cache::SharedCache;
use crate::aws::{AwsError, ErrorClass};
use crate::domain::names::{RegistryId, Repository};
use crate::domain::policy::Policy;
use crate::registry::Registry;

/// How long the pull-through cache rules of a registry are used.
const LIFE: Duration = Duration::from_secs(300);
/// Registries whose rules are remembered.
const MAX_REGISTRIES: usize = 1_000;
/// The prefix that stands for every repository of a registry (ECR user guide, "Creating a pull
/// through cache rule").
const ROOT: &str = "ROOT";

/// Whether pulls fill a repository from another registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PulledThrough {
    /// No rule covers it.
    No,
    /// The registry has a rule of the prefix ROOT, which says nothing of single repositories.
    Unsaid,
    /// By this prefix, or by the configuration.
    By(String),
}

/// The prefixes of pull-through cache rules, by registry.
#[derive(Debug)]
pub(super) struct PullThrough {
    prefixes: SharedCache<RegistryId, Arc<[String]>, AwsError>,
    /// Registries of which it was logged that they have a rule of the prefix ROOT.
    logged: Mutex<BTreeSet<RegistryId>>,
}

impl Default for PullThrough {
    fn default() -> Self {
        let prefixes = SharedCache::new(LIFE, MAX_REGISTRIES);
        Self { prefixes, logged: Mutex::default() }
    }
}

impl PullThrough {
    /// Whether this repository is filled from another registry.
    ///
    /// Nothing in ECR's API says who made a repository or where an image came from (ECR API
    /// reference, Repository and ImageDetail), so that a rule of the prefix ROOT covers what the
    /// policy names and nothing else.
    ///
    /// # Errors
    /// ECR's own trouble, which ends. What else keeps the rules from being read counts as no rules.
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
                    "could not list pull-through cache rules; assuming none; if access is denied, allow \
                     ecr:DescribePullThroughCacheRules"
                );
                Vec::new()
            }
        };
        if prefixes.iter().any(|prefix| prefix == ROOT) && self.is_news(registry_id) {
            info!(
                account = %registry_id.account,
                region = %registry_id.region,
                "the registry has a pull-through cache rule of the prefix ROOT, which says nothing of single \
                 repositories: those that it fills have to be named in policy.pull_through"
            );
        }
        Ok(prefixes.into())
    }

    fn is_news(&self, registry_id: &RegistryId) -> bool {
        let mut logged = self.logged.lock();
        if logged.len() >= MAX_REGISTRIES {
            logged.clear();
        }
        logged.insert(registry_id.clone())
    }
}

/// Returns whether ECR is in trouble that ends. An emulator that lacks the operation answers with a
/// status like that too, and is not in trouble.
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
