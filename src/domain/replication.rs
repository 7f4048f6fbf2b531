//! Where ECR repeats what is removed from a registry.

use super::image::{Home, Repository};

/// A rule by which ECR copies repositories to other registries and repeats removals there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepeatedRemovals {
    /// What the names of its repositories begin with; none given means all.
    pub prefixes: Vec<String>,
    /// The registries that it copies to.
    pub destinations: Vec<Home>,
}

/// The rules of one registry by which removals are repeated elsewhere. Rules that only copy what is
/// pushed are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication(Vec<RepeatedRemovals>);

impl Replication {
    /// By these rules.
    #[must_use]
    pub fn new(rules: Vec<RepeatedRemovals>) -> Self {
        Self(rules)
    }

    /// The registries in which a removal from this repository is repeated, each once and in order.
    #[must_use]
    pub fn destinations(&self, repository: &Repository) -> Vec<Home> {
        let name = repository.name.as_str();
        let covers = |rule: &&RepeatedRemovals| {
            rule.prefixes.is_empty() || rule.prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        let covering = self.0.iter().filter(covers);
        let mut all: Vec<_> = covering.flat_map(|rule| rule.destinations.clone()).collect();
        all.retain(|destination| *destination != repository.home());
        all.sort();
        all.dedup();
        all
    }
}

/// These registries as people read them.
#[must_use]
pub fn listed(registries: &[Home]) -> String {
    let names = registries.iter().map(|Home { account, region }| format!("{account} {region}"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::{AccountId, Region, RepositoryName};

    fn home(account: &str, region: &str) -> Home {
        Home { account: AccountId::parse(account).unwrap(), region: Region::parse(region).unwrap() }
    }

    fn rule(prefixes: &[&str], destinations: &[&Home]) -> RepeatedRemovals {
        let prefixes = prefixes.iter().map(ToString::to_string).collect();
        let destinations = destinations.iter().map(|home| (*home).clone()).collect();
        RepeatedRemovals { prefixes, destinations }
    }

    #[test]
    fn a_repository_is_copied_by_every_rule_that_names_it_or_none() {
        let (own, far) = (home("111122223333", "eu-west-1"), home("111122223333", "us-east-1"));
        let other = home("444455556666", "eu-west-1");
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
            "a prefix of the name, not of its parts"
        );
        assert_eq!(of("team"), []);
        assert_eq!(listed(&of("team/app")), "111122223333 us-east-1, 444455556666 eu-west-1");
    }
}
