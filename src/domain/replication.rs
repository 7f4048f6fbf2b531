//! The registries in which ECR repeats the removal of tags.
//!
//! With `deleteReplication`, a replication rule repeats the removal of a tag at its destinations.
//! ECR promises no order in which the quarantine tag and the removals arrive there, and it deletes
//! an image with its last tag. So before a tag is removed here, the quarantine tag has to be at
//! every destination (invariant 4; `inspect::Replicas` waits for it). This module only computes
//! the destinations.

use super::names::{RegistryId, Repository};

/// A replication rule that copies repositories to other registries and repeats removals there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedRemovals {
    /// The prefixes of the repository names that the rule covers. An empty list covers all
    /// repositories.
    pub prefixes: Vec<String>,
    /// The registries that the rule copies to.
    pub destinations: Vec<RegistryId>,
}

/// The rules of one registry that repeat removals elsewhere, without the rules that only copy
/// pushes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication(Vec<RepeatedRemovals>);

impl Replication {
    /// Creates the replication of a registry with these rules.
    #[must_use]
    pub fn new(rules: Vec<RepeatedRemovals>) -> Self {
        Self(rules)
    }

    /// Returns the registries that repeat a removal from this repository, each once and in order.
    /// The repository's own registry is never among them.
    #[must_use]
    pub fn destinations(&self, repository: &Repository) -> Vec<RegistryId> {
        let name = repository.name.as_str();
        let covers = |rule: &&RepeatedRemovals| {
            rule.prefixes.is_empty() || rule.prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        let covering = self.0.iter().filter(covers);
        let mut all: Vec<_> = covering.flat_map(|rule| rule.destinations.clone()).collect();
        all.retain(|destination| *destination != repository.registry_id());
        all.sort();
        all.dedup();
        all
    }
}

/// Lists registries in words, for people.
#[must_use]
pub(crate) fn listed(registries: &[RegistryId]) -> String {
    let names =
        registries.iter().map(|RegistryId { account, region }| format!("{account} {region}"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::{AccountId, Region, RepositoryName};

    fn registry_id(account: &str, region: &str) -> RegistryId {
        RegistryId {
            account: AccountId::parse(account).unwrap(),
            region: Region::parse(region).unwrap(),
        }
    }

    fn rule(prefixes: &[&str], destinations: &[&RegistryId]) -> RepeatedRemovals {
        let prefixes = prefixes.iter().map(ToString::to_string).collect();
        let destinations = destinations.iter().map(|registry_id| (*registry_id).clone()).collect();
        RepeatedRemovals { prefixes, destinations }
    }

    #[test]
    fn rule_covers_repository_by_prefix_or_without_prefixes() {
        let (own, far) =
            (registry_id("111122223333", "eu-west-1"), registry_id("111122223333", "us-east-1"));
        let other = registry_id("444455556666", "eu-west-1");
        let replication = Replication::new(vec![
            rule(&["team/", "prod"], &[&far, &other]),
            rule(&["prod"], &[&far]),
            rule(&[], &[&own]),
        ]);
        let of = |name: &str| {
            let (account, region) = (own.account.clone(), own.region.clone());
            let name = RepositoryName::parse(name).unwrap();
            replication.destinations(&Repository { account, region, name })
        };
        assert_eq!(of("team/app"), [far.clone(), other.clone()]);
        assert_eq!(
            of("production"),
            [far.clone(), other.clone()],
            "a prefix need not end at a slash"
        );
        assert_eq!(of("team"), []);
        assert_eq!(listed(&of("team/app")), "111122223333 us-east-1, 444455556666 eu-west-1");
    }
}
