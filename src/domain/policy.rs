//! The team's policy: what is within its reach, and by which terms an image is judged.

use std::collections::BTreeSet;
use std::time::Duration;

use super::exception::Exceptions;
use super::findings::{Score, Severity, SeverityCounts};
use super::globs::{GlobIndex, Globs};
use super::image::{AccountId, Home, Region, Repository, RepositoryName, Tag};
use super::limits::Limits;

/// Whether the worker acts or only says what it would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Untag and tell.
    Enforce,
    /// Tell what would be untagged; change nothing.
    Audit,
}

impl Mode {
    /// The word of configuration, notices and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// What becomes of an image that violates the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its tags go; the image stays under its quarantine tag.
    Quarantine,
    /// Its tags go, and then the image itself.
    Delete,
}

/// When an index violates the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexRule {
    /// When any of its images does.
    Any,
    /// When every one of its images does.
    All,
}

/// What becomes of an image that ECR reports in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InUse {
    /// The same as of any other.
    Untag,
    /// It is told and left alone.
    Block,
}

/// What becomes of an image whose removals ECR repeats in other registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replicated {
    /// It is told and left alone.
    Block,
    /// Its tags go once its quarantine tag has arrived there.
    Follow,
}

/// What becomes of an image that cannot be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unscanned {
    /// The team is told.
    Tell,
    /// Nothing.
    Ignore,
}

/// Why the policy does not cover a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfReach {
    /// The account is not one of `policy.accounts`.
    Account,
    /// The Region is not one of `policy.regions`.
    Region,
    /// `policy.repositories` leaves it out.
    Repository,
}

impl OutOfReach {
    /// The reason as a log line says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Account => "the account is not in policy.accounts",
            Self::Region => "the Region is not in policy.regions",
            Self::Repository => "the repository is left out by policy.repositories",
        }
    }
}

/// What a source of counts says about severities that it does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reporting {
    /// Basic scanning lists a severity only if it has findings: absent means zero (ECR user guide).
    AbsentIsZero,
    /// Absent means that nothing is known: Inspector's scan event lists CRITICAL, HIGH and MEDIUM,
    /// zeros included, and nothing of the others but a total (Inspector user guide).
    AbsentIsUnknown,
}

/// By which an image is judged: the base policy's, or a rule's for its repositories.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Whether to act or only to tell.
    pub mode: Mode,
    /// What becomes of an image that violates the limits.
    pub action: Action,
    /// How many findings are allowed.
    pub limits: Limits,
    /// Tags that may go; none given means all.
    pub tags: Globs,
    /// Tags that stay whatever happens.
    pub protected_tags: Globs,
    /// When an index violates the policy.
    pub index: IndexRule,
    /// How many other tagged images without a known violation the repository must keep.
    pub keep_at_least: usize,
    /// What becomes of an image that is in use.
    pub in_use: InUse,
    /// What becomes of an image whose removals are repeated in other registries.
    pub replicated: Replicated,
    /// Severities of which findings without a fix do not count.
    pub fixable_only: BTreeSet<Severity>,
    /// Findings with a lower CVSS score do not count.
    pub min_score: Option<Score>,
    /// Whether only findings with a known exploit count.
    pub exploit_only: bool,
    /// How long a finding is known before it counts.
    pub grace: Option<Duration>,
    /// What becomes of an image that cannot be judged.
    pub unscanned: Unscanned,
}

impl Terms {
    /// Whether these counts alone, without a look at the registry, show that no limit is exceeded.
    #[must_use]
    pub fn clear(&self, counts: &SeverityCounts, reporting: Reporting) -> bool {
        let known = |severity| match reporting {
            Reporting::AbsentIsZero => true,
            Reporting::AbsentIsUnknown => counts.reported(severity).is_some(),
        };
        self.limits.severities().all(known) && self.limits.exceeded(counts).next().is_none()
    }

    /// Why this tag stays on an image that violates the policy, if it does.
    #[must_use]
    pub fn keeps(&self, tag: &Tag) -> Option<String> {
        if let Some(pattern) = self.protected_tags.matching(tag.as_str()) {
            return Some(format!("tag {tag} is protected by {pattern:?}"));
        }
        let goes = self.tags.admit(tag.as_str());
        (!goes).then(|| format!("tag {tag} is not among the rule's tags"))
    }
}

impl Default for Terms {
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

/// Other terms for some repositories.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name, for people.
    pub name: String,
    /// The repositories that it is for.
    pub repositories: Globs,
    /// By what their images are judged.
    pub terms: Terms,
}

/// A policy's rules, found by the repositories that they are for.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    all: Vec<Rule>,
    by_repository: GlobIndex,
    /// The first rule that is for every repository.
    for_all: Option<usize>,
}

impl Rules {
    /// The rules in their order.
    #[must_use]
    pub fn as_slice(&self) -> &[Rule] {
        &self.all
    }

    /// The first rule for a repository.
    fn first_for(&self, repository: &RepositoryName) -> Option<&Rule> {
        let matching = self.by_repository.matching(repository.as_str());
        let first = matching.into_iter().chain(self.for_all).min()?;
        self.all.get(first)
    }
}

impl FromIterator<Rule> for Rules {
    fn from_iter<T: IntoIterator<Item = Rule>>(rules: T) -> Self {
        let all: Vec<_> = rules.into_iter().collect();
        let by_repository = GlobIndex::new(all.iter().map(|rule| &rule.repositories).enumerate());
        let for_all = all.iter().position(|rule| rule.repositories.is_empty());
        Self { all, by_repository, for_all }
    }
}

/// The team's policy.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// By what images are judged where no rule says otherwise.
    pub base: Terms,
    /// Rules; the first whose repositories match is the one that counts.
    pub rules: Rules,
    /// What does not count, for a time.
    pub exceptions: Exceptions,
    /// Repositories that are covered; none given means all.
    pub include: Globs,
    /// Repositories that are not, even where `include` names them.
    pub exclude: Globs,
    /// Repositories that pulls fill from another registry, besides those that a rule's prefix names.
    pub pull_through: Globs,
    /// Accounts that are covered; `None` means the worker's own.
    pub accounts: Option<BTreeSet<AccountId>>,
    /// Regions that are covered; `None` means any.
    pub regions: Option<BTreeSet<Region>>,
}

impl Policy {
    /// The name of the base policy, where a rule's name is asked for.
    pub const BASE: &'static str = "base";

    /// Whether the policy covers this repository; `own` is where the worker lives.
    ///
    /// # Errors
    /// [`OutOfReach`] says which key leaves it out.
    pub fn reach(&self, repository: &Repository, own: &Home) -> Result<(), OutOfReach> {
        self.reach_registry(&repository.home(), own)?;
        let name = repository.name.as_str();
        if !self.include.admit(name) || self.exclude.matching(name).is_some() {
            return Err(OutOfReach::Repository);
        }
        Ok(())
    }

    /// The same of a registry, whichever of its repositories.
    ///
    /// # Errors
    /// [`OutOfReach`] says which key leaves it out.
    pub fn reach_registry(&self, registry: &Home, own: &Home) -> Result<(), OutOfReach> {
        let account = match &self.accounts {
            Some(accounts) => accounts.contains(&registry.account),
            None => registry.account == own.account,
        };
        if !account {
            return Err(OutOfReach::Account);
        }
        if self.regions.as_ref().is_some_and(|regions| !regions.contains(&registry.region)) {
            return Err(OutOfReach::Region);
        }
        Ok(())
    }

    /// Every account of the policy in every Region of it; where it names none, the worker's own.
    #[must_use]
    pub fn registries(&self, own: &Home) -> Vec<Home> {
        let accounts = self.accounts.clone().unwrap_or_else(|| [own.account.clone()].into());
        let regions = self.regions.clone().unwrap_or_else(|| [own.region.clone()].into());
        let of = |account: &AccountId| {
            let account = account.clone();
            regions
                .iter()
                .map(move |region| Home { account: account.clone(), region: region.clone() })
        };
        accounts.iter().flat_map(of).collect()
    }

    /// The terms for a repository, and the name of the rule that sets them.
    #[must_use]
    pub fn terms(&self, repository: &RepositoryName) -> (&str, &Terms) {
        match self.rules.first_for(repository) {
            Some(rule) => (&rule.name, &rule.terms),
            None => (Self::BASE, &self.base),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns.iter().map(ToString::to_string)).unwrap()
    }

    fn repository(account: &str, region: &str, name: &str) -> Repository {
        Repository {
            account: AccountId::parse(account).unwrap(),
            region: Region::parse(region).unwrap(),
            name: RepositoryName::parse(name).unwrap(),
        }
    }

    fn own() -> Home {
        Home {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
        }
    }

    fn counts(list: &[(Severity, u64)]) -> SeverityCounts {
        list.iter().copied().collect()
    }

    #[test]
    fn reach_is_own_account_any_region_and_every_repository_unless_told_otherwise() {
        let policy = Policy::default();
        assert_eq!(policy.reach(&repository("111122223333", "us-east-1", "a"), &own()), Ok(()));
        assert_eq!(
            policy.reach(&repository("444455556666", "eu-west-1", "a"), &own()),
            Err(OutOfReach::Account)
        );

        let policy = Policy {
            accounts: Some([AccountId::parse("444455556666").unwrap()].into()),
            regions: Some([Region::parse("eu-west-1").unwrap()].into()),
            include: globs(&["team/*"]),
            exclude: globs(&["team/secret*"]),
            ..Policy::default()
        };
        let reach =
            |account, region, name| policy.reach(&repository(account, region, name), &own());
        assert_eq!(reach("444455556666", "eu-west-1", "team/a/b"), Ok(()));
        assert_eq!(reach("111122223333", "eu-west-1", "team/a"), Err(OutOfReach::Account));
        assert_eq!(reach("444455556666", "us-east-1", "team/a"), Err(OutOfReach::Region));
        assert_eq!(reach("444455556666", "eu-west-1", "other"), Err(OutOfReach::Repository));
        assert_eq!(reach("444455556666", "eu-west-1", "team/secret"), Err(OutOfReach::Repository));
    }

    #[test]
    fn an_event_clears_only_by_severities_that_its_family_reports() {
        let terms = Terms::default();
        let none = counts(&[]);
        assert!(terms.clear(&none, Reporting::AbsentIsZero));
        assert!(!terms.clear(&none, Reporting::AbsentIsUnknown));
        let zeros = counts(&[(Severity::Critical, 0), (Severity::High, 0)]);
        assert!(terms.clear(&zeros, Reporting::AbsentIsUnknown));
        let low = Terms { limits: Limits::new([(Severity::Low, 0)]), ..Terms::default() };
        assert!(!low.clear(&zeros, Reporting::AbsentIsUnknown));
        assert!(!terms.clear(&counts(&[(Severity::High, 1)]), Reporting::AbsentIsZero));
    }

    #[test]
    fn the_first_rule_that_matches_the_repository_sets_the_terms() {
        let rule = |name: &str, repositories: &[&str]| Rule {
            name: name.to_owned(),
            repositories: globs(repositories),
            terms: Terms::default(),
        };
        let policy = Policy {
            rules: [rule("legacy", &["legacy/*", "old"]), rule("all", &["*"])]
                .into_iter()
                .collect(),
            ..Policy::default()
        };
        let by = |name: &str| policy.terms(&RepositoryName::parse(name).unwrap()).0.to_owned();
        assert_eq!(
            (by("legacy/a"), by("old"), by("team")),
            ("legacy".into(), "old".replace("old", "legacy"), "all".into())
        );
        assert_eq!(Policy::default().terms(&RepositoryName::parse("a").unwrap()).0, "base");
    }
}
