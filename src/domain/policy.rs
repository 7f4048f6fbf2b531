//! The team's policy: what is within its reach, and which findings are too many.

use std::collections::{BTreeMap, BTreeSet};

use globset::{Glob, GlobSet, GlobSetBuilder};

use super::findings::{Severity, SeverityCounts};
use super::image::{AccountId, Home, Region, Repository, Tag};

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

/// How many findings of each severity are allowed. A severity without a limit is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(BTreeMap<Severity, u64>);

impl Limits {
    /// Limits for exactly these severities.
    pub fn new(limits: impl IntoIterator<Item = (Severity, u64)>) -> Self {
        Self(limits.into_iter().collect())
    }

    /// The severities of which `counts` has more than allowed, with the count and the limit, worst first.
    pub fn exceeded<'a>(
        &'a self,
        counts: &'a SeverityCounts,
    ) -> impl Iterator<Item = (Severity, u64, u64)> + 'a {
        self.0
            .iter()
            .map(|(&severity, &limit)| (severity, counts.of(severity), limit))
            .filter(|&(_, count, limit)| count > limit)
    }
}

impl Default for Limits {
    /// No Critical and no High finding.
    fn default() -> Self {
        Self::new([(Severity::Critical, 0), (Severity::High, 0)])
    }
}

/// A list of glob patterns. `*` stands for any characters, `/` among them.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Globs {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The first pattern that is no glob, and why.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, globset::Error> {
        let patterns: Vec<_> = patterns.into_iter().collect();
        let mut builder = GlobSetBuilder::new();
        for pattern in &patterns {
            builder.add(Glob::new(pattern)?);
        }
        Ok(Self { set: builder.build()?, patterns })
    }

    /// Whether there is no pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The first pattern that matches.
    #[must_use]
    pub fn matching(&self, text: &str) -> Option<&str> {
        let first = self.set.matches(text).into_iter().min()?;
        self.patterns.get(first).map(String::as_str)
    }
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

/// The team's policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Whether to act or only to tell.
    pub mode: Mode,
    /// What becomes of an image that violates the limits.
    pub action: Action,
    /// How many findings are allowed.
    pub limits: Limits,
    /// Tags that stay whatever happens.
    pub protected_tags: Globs,
    /// Repositories that are covered; none given means all.
    pub include: Globs,
    /// Repositories that are not, even where `include` names them.
    pub exclude: Globs,
    /// Accounts that are covered; `None` means the worker's own.
    pub accounts: Option<BTreeSet<AccountId>>,
    /// Regions that are covered; `None` means any.
    pub regions: Option<BTreeSet<Region>>,
}

/// What the policy says of an image's findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The name of the rule that judged.
    pub rule: &'static str,
    /// In words, each limit that is exceeded, worst first. Empty: the image may keep its tags.
    pub reasons: Vec<String>,
    /// The worst severity over its limit.
    pub worst: Option<Severity>,
}

impl Judgement {
    /// Whether any limit is exceeded.
    #[must_use]
    pub fn violates(&self) -> bool {
        !self.reasons.is_empty()
    }
}

impl Policy {
    /// Whether the policy covers this repository; `own` is where the worker lives.
    ///
    /// # Errors
    /// [`OutOfReach`] says which key leaves it out.
    pub fn reach(&self, repository: &Repository, own: &Home) -> Result<(), OutOfReach> {
        let account = match &self.accounts {
            Some(accounts) => accounts.contains(&repository.account),
            None => repository.account == own.account,
        };
        if !account {
            return Err(OutOfReach::Account);
        }
        if self.regions.as_ref().is_some_and(|regions| !regions.contains(&repository.region)) {
            return Err(OutOfReach::Region);
        }
        let name = repository.name.as_str();
        let included = self.include.is_empty() || self.include.matching(name).is_some();
        if !included || self.exclude.matching(name).is_some() {
            return Err(OutOfReach::Repository);
        }
        Ok(())
    }

    /// Judges an image by its findings.
    ///
    /// ```
    /// use tagwarden::domain::findings::{Severity, SeverityCounts};
    /// use tagwarden::domain::policy::Policy;
    ///
    /// let counts: SeverityCounts = [(Severity::High, 4), (Severity::Low, 9)].into_iter().collect();
    /// let judgement = Policy::default().judge(&counts);
    /// assert!(judgement.violates());
    /// assert_eq!(judgement.reasons, ["high 4 is over the limit of 0"]);
    /// ```
    #[must_use]
    pub fn judge(&self, counts: &SeverityCounts) -> Judgement {
        let exceeded: Vec<_> = self.limits.exceeded(counts).collect();
        Judgement {
            rule: "base",
            worst: exceeded.first().map(|&(severity, ..)| severity),
            reasons: exceeded
                .into_iter()
                .map(|(severity, count, limit)| {
                    format!("{severity} {count} is over the limit of {limit}")
                })
                .collect(),
        }
    }

    /// Whether these counts alone, without a look at the registry, show that no limit is exceeded.
    #[must_use]
    pub fn clears(&self, counts: &SeverityCounts, reporting: Reporting) -> bool {
        let known = |severity| match reporting {
            Reporting::AbsentIsZero => true,
            Reporting::AbsentIsUnknown => counts.reported(severity).is_some(),
        };
        self.limits.0.keys().copied().all(known) && self.limits.exceeded(counts).next().is_none()
    }

    /// The pattern that protects this tag, if any.
    #[must_use]
    pub fn protects(&self, tag: &Tag) -> Option<&str> {
        self.protected_tags.matching(tag.as_str())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            action: Action::Quarantine,
            limits: Limits::default(),
            protected_tags: Globs::default(),
            include: Globs::default(),
            exclude: Globs::default(),
            accounts: None,
            regions: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::image::RepositoryName;
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
    fn by_default_one_critical_or_one_high_finding_violates_and_any_number_of_others_does_not() {
        let policy = Policy::default();
        let judged = policy.judge(&counts(&[(Severity::Critical, 1), (Severity::High, 4)]));
        assert_eq!(
            judged.reasons,
            ["critical 1 is over the limit of 0", "high 4 is over the limit of 0"]
        );
        assert_eq!(judged.worst, Some(Severity::Critical));
        assert!(policy.judge(&counts(&[(Severity::High, 1)])).violates());
        assert!(!policy.judge(&counts(&[(Severity::Medium, 900)])).violates());
    }

    #[test]
    fn a_count_at_its_limit_is_allowed() {
        let policy = Policy { limits: Limits::new([(Severity::High, 3)]), ..Policy::default() };
        assert!(!policy.judge(&counts(&[(Severity::High, 3)])).violates());
        assert!(policy.judge(&counts(&[(Severity::High, 4)])).violates());
        assert!(
            !policy.judge(&counts(&[(Severity::Critical, 9)])).violates(),
            "no limit, no violation"
        );
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
        let policy = Policy::default();
        let none = counts(&[]);
        assert!(policy.clears(&none, Reporting::AbsentIsZero));
        assert!(!policy.clears(&none, Reporting::AbsentIsUnknown));
        let zeros = counts(&[(Severity::Critical, 0), (Severity::High, 0)]);
        assert!(policy.clears(&zeros, Reporting::AbsentIsUnknown));
        let low = Policy { limits: Limits::new([(Severity::Low, 0)]), ..Policy::default() };
        assert!(!low.clears(&zeros, Reporting::AbsentIsUnknown));
        assert!(!policy.clears(&counts(&[(Severity::High, 1)]), Reporting::AbsentIsZero));
    }

    #[test]
    fn the_first_matching_pattern_is_the_one_named() {
        let globs = globs(&["v*", "release-*", "v1*"]);
        assert_eq!(globs.matching("v1.0"), Some("v*"));
        assert_eq!(globs.matching("latest"), None);
    }

    fn any_counts() -> impl Strategy<Value = SeverityCounts> {
        prop::collection::vec((0..Severity::ALL.len(), any::<u64>()), 0..10).prop_map(|list| {
            list.into_iter().map(|(at, count)| (Severity::ALL[at], count)).collect()
        })
    }

    proptest! {
        #[test]
        fn more_findings_never_turn_an_untag_into_a_keep(
            before in any_counts(), more in any_counts(),
            limits in prop::collection::vec((0..Severity::ALL.len(), any::<u64>()), 0..7),
        ) {
            let limits = limits.into_iter().map(|(at, limit)| (Severity::ALL[at], limit));
            let policy = Policy { limits: Limits::new(limits), ..Policy::default() };
            let mut after = before.clone();
            for (severity, count) in more.iter() {
                after.add(severity, count);
            }
            prop_assert!(!policy.judge(&before).violates() || policy.judge(&after).violates());
        }

        #[test]
        fn what_clears_an_image_never_violates(counts in any_counts()) {
            let policy = Policy::default();
            for reporting in [Reporting::AbsentIsZero, Reporting::AbsentIsUnknown] {
                prop_assert!(!policy.clears(&counts, reporting) || !policy.judge(&counts).violates());
            }
        }
    }
}
