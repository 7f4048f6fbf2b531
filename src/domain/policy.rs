//! The team's policy: which repositories it covers, and the terms by which their images are judged.
//!
//! A policy has base terms and rules. The first rule that matches a repository in its account and
//! Region replaces the base terms for it. The policy covers the configured accounts, Regions and
//! repositories; without configured accounts it covers the worker's own account. Invariant 7:
//! nothing outside this reach is ever touched, even if an event names it.

mod fingerprint;
mod version;

use std::collections::BTreeSet;
use std::time::Duration;

use super::exception::Exceptions;
use super::findings::{Score, Severity, SeverityCounts};
use super::globs::{GlobIndex, Globs};
use super::limits::Limits;
use super::names::{AccountId, Region, RegistryId, Repository, Tag};
use super::registries::Registries;

pub use self::fingerprint::Fingerprint;
pub use self::version::PolicyVersion;

/// Whether the worker acts or only reports what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Removes tags and notifies the team.
    Enforce,
    /// Notifies the team of the tags that would be removed, and changes nothing (invariant 8).
    Audit,
}

impl Mode {
    /// Returns the word that the configuration, notices and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// What to do with an image that violates the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Remove the tags and keep the image under its quarantine tag.
    Quarantine,
    /// Remove the tags, and then delete the image.
    Delete,
}

/// The condition under which an index violates the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexRule {
    /// Any of its images violates the policy.
    Any,
    /// All of its images violate the policy.
    All,
}

/// What to do with a violating image that ECR reports as in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUse {
    /// Remove the tags, as from any other image.
    Untag,
    /// Report the image as blocked and leave it alone.
    Block,
}

/// What to do with a violating image when ECR repeats removals in other registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicated {
    /// Report the image as blocked and leave it alone.
    Block,
    /// Remove the tags after the quarantine tag has arrived in those registries.
    Follow,
}

/// What to do with an image that cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unscanned {
    /// Notify the team.
    Tell,
    /// Do nothing.
    Ignore,
}

/// The reason why the policy does not cover a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfScope {
    /// The account is not one of `policy.accounts`.
    Account,
    /// The Region is not one of `policy.regions`.
    Region,
    /// `policy.repositories` leaves it out.
    Repository,
    /// It holds images that the worker itself is started from.
    OwnImages,
}

impl OutOfScope {
    /// Returns the reason in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "the account is not in policy.accounts",
            Self::Region => "the Region is not in policy.regions",
            Self::Repository => "the repository is left out by policy.repositories",
            Self::OwnImages => "the repository is one of policy.repositories.own_images",
        }
    }
}

/// The meaning of a severity that a source of counts does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporting {
    /// Absent means zero, because basic scanning lists a severity only if it has findings (ECR user
    /// guide).
    AbsentIsZero,
    /// Absent means unknown, because Inspector's scan event lists CRITICAL, HIGH and MEDIUM,
    /// including zeros, and of the other severities only a total (Inspector user guide).
    AbsentIsUnknown,
}

/// The settings by which an image is judged: those of the base policy, or of the first rule that
/// matches its repository.
#[derive(Clone, Debug)]
pub struct RuleSettings {
    /// Whether to act or only to report.
    pub mode: Mode,
    /// What to do with an image that exceeds a limit.
    pub action: Action,
    /// The number of findings that an image may have.
    pub limits: Limits,
    /// The tags that may be removed; empty means all.
    pub tags: Globs,
    /// The tags that are never removed.
    pub protected_tags: Globs,
    /// The condition under which an index violates the policy.
    pub index: IndexRule,
    /// The number of other tagged images without a known violation that must remain in the
    /// repository.
    pub keep_at_least: usize,
    /// What to do with an image that is in use.
    pub in_use: InUse,
    /// What to do with an image when ECR repeats removals in other registries.
    pub replicated: Replicated,
    /// The severities for which findings without a fix do not count.
    pub fixable_only: BTreeSet<Severity>,
    /// The CVSS score below which findings do not count.
    pub min_score: Option<Score>,
    /// Whether only findings with a known exploit count.
    pub exploit_only: bool,
    /// How long a finding must be known before it counts.
    pub grace: Option<Duration>,
    /// What to do with an image that cannot be judged.
    pub unscanned: Unscanned,
}

impl RuleSettings {
    /// Returns whether these counts alone prove that no limit is exceeded, so that ECR need not be
    /// asked.
    #[must_use]
    pub fn clear(&self, counts: &SeverityCounts, reporting: Reporting) -> bool {
        let known = |severity| match reporting {
            Reporting::AbsentIsZero => true,
            Reporting::AbsentIsUnknown => counts.reported(severity).is_some(),
        };
        self.limits.severities().all(known) && self.limits.exceeded(counts).next().is_none()
    }

    /// Returns the reason why this tag stays on an image that violates the policy, or `None` if it
    /// is removed.
    #[must_use]
    pub fn keeps(&self, tag: &Tag) -> Option<String> {
        if let Some(pattern) = self.protected_tags.matching(tag.as_str()) {
            return Some(format!("tag {tag} is protected by {pattern:?}"));
        }
        let may_remove = self.tags.admit(tag.as_str());
        (!may_remove).then(|| format!("tag {tag} is not among the rule's tags"))
    }
}

impl Default for RuleSettings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            action: Action::Quarantine,
            limits: Limits::default(),
            tags: Globs::default(),
            protected_tags: Globs::default(),
            index: IndexRule::Any,
            keep_at_least: 0,
            in_use: InUse::Untag,
            replicated: Replicated::Block,
            fixable_only: BTreeSet::new(),
            min_score: None,
            exploit_only: false,
            grace: None,
            unscanned: Unscanned::Tell,
        }
    }
}

/// RuleSettings that replace the base terms for some repositories.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name, for people.
    pub name: String,
    /// The repositories that the rule matches; empty matches all.
    pub repositories: Globs,
    /// The registries in which it matches.
    pub registries: Registries,
    /// Whether the rule sets a mode of its own. Otherwise `terms.mode` is that of the base policy.
    pub sets_mode: bool,
    /// The terms for their images.
    pub terms: RuleSettings,
}

/// The rules of a policy, with an index that finds them by repository.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    all: Vec<Rule>,
    by_repository: GlobIndex,
    /// The positions of the rules that name no repositories and so match all.
    for_all: Vec<usize>,
}

impl Rules {
    /// Returns the rules in the order of the configuration.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        &self.all
    }

    /// Returns the first rule that matches a repository.
    fn first_for(&self, repository: &Repository) -> Option<&Rule> {
        let matching = self.by_repository.matching(repository.name.as_str());
        let matching = matching.iter().chain(&self.for_all);
        let rules = matching.filter_map(|at| Some((at, self.all.get(*at)?)));
        let rules = rules.filter(|(_, rule)| rule.registries.admit(repository));
        rules.min_by_key(|(at, _)| **at).map(|(_, rule)| rule)
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<T: IntoIterator<Item = Rule>>(rules: T) -> Self {
        let all: Vec<_> = rules.into_iter().collect();
        let by_repository = GlobIndex::new(all.iter().map(|rule| &rule.repositories).enumerate());
        let for_all = all.iter().enumerate().filter(|(_, rule)| rule.repositories.is_empty());
        let for_all = for_all.map(|(at, _)| at).collect();
        Self { all, by_repository, for_all }
    }
}

/// The policy: which images are covered, how they are judged, and what to do with them.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// The terms for repositories that no rule matches.
    pub base: RuleSettings,
    /// The rules. The first one that matches a repository applies.
    pub rules: Rules,
    /// The findings that do not count until a day.
    pub exceptions: Exceptions,
    /// The repositories that the policy covers; empty means all.
    pub include: Globs,
    /// The repositories that the policy does not cover, even if `include` names them.
    pub exclude: Globs,
    /// The repositories of the images that the worker's own task is started from. Without their
    /// tags ECS could not start it again, so the policy never covers them.
    pub own_images: BTreeSet<Repository>,
    /// The repositories that pulls fill from another registry, in addition to those that the prefix
    /// of a pull-through cache rule names.
    pub pull_through: Globs,
    /// The accounts that the policy covers; `None` means the worker's own.
    pub accounts: Option<BTreeSet<AccountId>>,
    /// The Regions that the policy covers; `None` means all.
    pub regions: Option<BTreeSet<Region>>,
}

impl Policy {
    /// The name that is used instead of a rule's name when no rule matches.
    pub const BASE: &'static str = "base";

    /// Checks that the policy covers this repository. `own` is the worker's account and Region.
    ///
    /// # Errors
    /// Returns [`OutOfScope`] if it does not, with the key that excludes the repository.
    pub fn check_scope(&self, repository: &Repository, own: &RegistryId) -> Result<(), OutOfScope> {
        self.check_registry(&repository.registry_id(), own)?;
        let name = repository.name.as_str();
        if !self.include.admit(name) || self.exclude.matching(name).is_some() {
            return Err(OutOfScope::Repository);
        }
        if self.own_images.contains(repository) {
            return Err(OutOfScope::OwnImages);
        }
        Ok(())
    }

    /// Checks that the policy covers this account and Region.
    ///
    /// # Errors
    /// Returns [`OutOfScope`] if it does not, with the key that excludes the registry.
    pub fn check_registry(
        &self,
        registry: &RegistryId,
        own: &RegistryId,
    ) -> Result<(), OutOfScope> {
        let account = match &self.accounts {
            Some(accounts) => accounts.contains(&registry.account),
            None => registry.account == own.account,
        };
        if !account {
            return Err(OutOfScope::Account);
        }
        if self.regions.as_ref().is_some_and(|regions| !regions.contains(&registry.region)) {
            return Err(OutOfScope::Region);
        }
        Ok(())
    }

    /// Returns every account of the policy in each of its Regions. If the policy names no accounts
    /// or no Regions, the worker's own is used.
    #[must_use]
    pub fn registries(&self, own: &RegistryId) -> Vec<RegistryId> {
        let accounts = self.accounts.clone().unwrap_or_else(|| [own.account.clone()].into());
        let regions = self.regions.clone().unwrap_or_else(|| [own.region.clone()].into());
        let of = |account: &AccountId| {
            let account = account.clone();
            regions
                .iter()
                .map(move |region| RegistryId { account: account.clone(), region: region.clone() })
        };
        accounts.iter().flat_map(of).collect()
    }

    /// Returns the policy as it is when the base policy's mode is `enforce`, with which a plan says
    /// what would be done. A rule with a mode of its own keeps it.
    #[must_use]
    pub fn enforced(mut self) -> Self {
        self.base.mode = Mode::Enforce;
        for rule in self.rules.all.iter_mut().filter(|rule| !rule.sets_mode) {
            rule.terms.mode = Mode::Enforce;
        }
        self
    }

    /// Returns whether neither the base policy nor any rule enforces.
    #[must_use]
    pub fn only_audits(&self) -> bool {
        let rules = self.rules.as_slice().iter().map(|rule| &rule.terms);
        rules.chain([&self.base]).all(|terms| terms.mode == Mode::Audit)
    }

    /// Returns the terms for a repository, and the name of the rule that sets them.
    #[must_use]
    pub fn terms(&self, repository: &Repository) -> (&str, &RuleSettings) {
        match self.rules.first_for(repository) {
            Some(rule) => (&rule.name, &rule.terms),
            None => (Self::BASE, &self.base),
        }
    }
}

#[cfg(test)]
mod tests;
