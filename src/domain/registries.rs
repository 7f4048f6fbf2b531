//! The registries to which a rule, an exception or a topic is limited.

use std::collections::BTreeSet;
use std::fmt;

use super::names::{AccountId, Region, Repository};

/// The most accounts, and the most Regions, that a text names.
const NAMED: usize = 5;

/// Accounts and Regions to which something is limited. `None` admits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// The accounts, or all.
    pub accounts: Option<BTreeSet<AccountId>>,
    /// The Regions, or all.
    pub regions: Option<BTreeSet<Region>>,
}

impl Registries {
    /// Returns whether a repository is in one of the registries.
    #[must_use]
    pub fn admit(&self, repository: &Repository) -> bool {
        self.accounts.as_ref().is_none_or(|all| all.contains(&repository.account))
            && self.regions.as_ref().is_none_or(|all| all.contains(&repository.region))
    }

    /// Returns whether these registries include all of the others.
    #[must_use]
    pub fn cover(&self, others: &Self) -> bool {
        fn covers<T: Ord>(one: Option<&BTreeSet<T>>, other: Option<&BTreeSet<T>>) -> bool {
            one.is_none_or(|one| other.is_some_and(|other| other.is_subset(one)))
        }
        covers(self.accounts.as_ref(), others.accounts.as_ref())
            && covers(self.regions.as_ref(), others.regions.as_ref())
    }

    /// Returns whether every registry is admitted.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.accounts.is_none() && self.regions.is_none()
    }

    /// Returns the limit as explanations show it, such as `accounts 111122223333; Regions
    /// eu-west-1`, or `None` if there is none.
    #[must_use]
    pub fn to_text(&self) -> Option<String> {
        fn named<T: fmt::Display>(what: &str, all: Option<&BTreeSet<T>>) -> Option<String> {
            let all = all?;
            let names: Vec<_> = all.iter().take(NAMED).map(ToString::to_string).collect();
            let more = match all.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Some(format!("{what} {}{more}", names.join(", ")))
        }
        let accounts = named("accounts", self.accounts.as_ref());
        let regions = named("Regions", self.regions.as_ref());
        let parts: Vec<_> = accounts.into_iter().chain(regions).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }
}
