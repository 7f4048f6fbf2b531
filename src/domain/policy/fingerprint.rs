//! The fingerprint of a policy: a short text that is the same for the same policy, and another for
//! any other. A saved plan carries it, so that a plan is carried out only under the policy by which
//! it was made.
//!
//! It is the SHA-256 of the checked policy in one canonical form, so the order of keys, the file
//! format, and whether a value comes from a file or a variable make no difference. The order of
//! lists does, because the first rule that matches applies. The mode of the base policy is left
//! out: a plan may be made in audit mode or without a mode, and says the same.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::{Action, InUse, IndexRule, Mode, Policy, Replicated, Rule, RuleSettings, Unscanned};
use crate::domain::exception::Exception;
use crate::domain::findings::Severity;
use crate::domain::names::{AccountId, Region};
use crate::domain::registries::Registries;
use crate::domain::text::hex;

/// Begins the canonical form. It changes with the form, so that two forms never agree by chance.
const FORM: &str = "tagwarden.policy/1";
/// The number of digits that people compare.
const SHORT: usize = 12;

/// The fingerprint of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Computes the fingerprint of a policy.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let canonical = serde_json::to_vec(&Canonical::new(policy)).unwrap_or_default();
        Self(hex(&Sha256::digest(canonical)))
    }

    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self("5a".repeat(32))
    }

    /// Returns all 64 hexadecimal digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the first digits of a fingerprint, which people compare.
    #[must_use]
    pub fn short(digits: &str) -> &str {
        digits.get(..SHORT).unwrap_or(digits)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::short(&self.0))
    }
}

/// The policy in the form that is hashed: JSON whose fields have a fixed order.
#[derive(Serialize)]
struct Canonical<'a> {
    form: &'static str,
    base: CanonicalSettings<'a>,
    rules: Vec<CanonicalRule<'a>>,
    exceptions: Vec<CanonicalException<'a>>,
    include: &'a [String],
    exclude: &'a [String],
    /// Left out if there are none, so that older fingerprints stay what they are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    own_images: Vec<String>,
    pull_through: &'a [String],
    #[serde(flatten)]
    registries: CanonicalRegistries<'a>,
}

/// Accounts and Regions, or `None` for the default.
#[derive(Serialize)]
struct CanonicalRegistries<'a> {
    accounts: Option<Vec<&'a str>>,
    regions: Option<Vec<&'a str>>,
}

#[derive(Serialize)]
struct CanonicalSettings<'a> {
    action: &'static str,
    limits: Vec<(&'static str, u64)>,
    tags: &'a [String],
    protected_tags: &'a [String],
    index: &'static str,
    keep_at_least: usize,
    in_use: &'static str,
    replicated: &'static str,
    fixable_only: Vec<&'static str>,
    min_score: Option<String>,
    exploit_only: bool,
    grace_nanoseconds: Option<u128>,
    unscanned: &'static str,
}

#[derive(Serialize)]
struct CanonicalRule<'a> {
    name: &'a str,
    repositories: &'a [String],
    /// Left out if there is no limit, so that older fingerprints stay what they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    registries: Option<CanonicalRegistries<'a>>,
    /// The rule's own mode, which does not follow that of the base policy.
    mode: Option<&'static str>,
    settings: CanonicalSettings<'a>,
}

#[derive(Serialize)]
struct CanonicalException<'a> {
    id: &'a [String],
    digest: Option<&'a str>,
    package: &'a [String],
    repositories: &'a [String],
    /// Left out if there is no limit, so that older fingerprints stay what they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    registries: Option<CanonicalRegistries<'a>>,
    reason: &'a str,
    owner: &'a str,
    expires: String,
}

// Every struct is taken apart in full, so that a new key cannot be forgotten here.

impl<'a> Canonical<'a> {
    fn new(policy: &'a Policy) -> Self {
        let Policy { base, rules, exceptions, include, exclude, own_images, .. } = policy;
        let Policy { pull_through, accounts, regions, .. } = policy;
        Self {
            form: FORM,
            base: CanonicalSettings::new(base),
            rules: rules.as_slice().iter().map(CanonicalRule::new).collect(),
            exceptions: exceptions.as_slice().iter().map(CanonicalException::new).collect(),
            include: include.patterns(),
            exclude: exclude.patterns(),
            own_images: own_images.iter().map(ToString::to_string).collect(),
            pull_through: pull_through.patterns(),
            registries: CanonicalRegistries::new(accounts.as_ref(), regions.as_ref()),
        }
    }
}

impl<'a> CanonicalRegistries<'a> {
    /// Returns the form of a limit, or nothing if there is none.
    fn limit(registries: &'a Registries) -> Option<Self> {
        let Registries { accounts, regions } = registries;
        (!registries.are_all()).then(|| Self::new(accounts.as_ref(), regions.as_ref()))
    }

    fn new(
        accounts: Option<&'a BTreeSet<AccountId>>,
        regions: Option<&'a BTreeSet<Region>>,
    ) -> Self {
        Self {
            accounts: accounts.map(|all| all.iter().map(|one| one.as_str()).collect()),
            regions: regions.map(|all| all.iter().map(|one| one.as_str()).collect()),
        }
    }
}

impl<'a> CanonicalSettings<'a> {
    fn new(settings: &'a RuleSettings) -> Self {
        let RuleSettings { mode: _, action, limits, tags, protected_tags, .. } = settings;
        let RuleSettings { index, keep_at_least, in_use, replicated, fixable_only, .. } = settings;
        let RuleSettings { min_score, exploit_only, grace, unscanned, .. } = settings;
        let limited = limits.severities();
        Self {
            action: match action {
                Action::Quarantine => "quarantine",
                Action::Delete => "delete",
            },
            limits: limited
                .filter_map(|severity| Some((severity.as_key(), limits.of(severity)?)))
                .collect(),
            tags: tags.patterns(),
            protected_tags: protected_tags.patterns(),
            index: match index {
                IndexRule::Any => "any",
                IndexRule::All => "all",
            },
            keep_at_least: *keep_at_least,
            in_use: match in_use {
                InUse::Untag => "untag",
                InUse::Block => "block",
            },
            replicated: match replicated {
                Replicated::Block => "block",
                Replicated::Follow => "follow",
            },
            fixable_only: fixable_only.iter().copied().map(Severity::as_key).collect(),
            min_score: min_score.map(|score| score.to_string()),
            exploit_only: *exploit_only,
            grace_nanoseconds: grace.map(|grace| grace.as_nanos()),
            unscanned: match unscanned {
                Unscanned::Tell => "tell",
                Unscanned::Ignore => "ignore",
            },
        }
    }
}

impl<'a> CanonicalRule<'a> {
    fn new(rule: &'a Rule) -> Self {
        let Rule { name, repositories, registries, sets_mode, terms } = rule;
        Self {
            name,
            repositories: repositories.patterns(),
            registries: CanonicalRegistries::limit(registries),
            mode: sets_mode.then_some(terms.mode).map(Mode::as_str),
            settings: CanonicalSettings::new(terms),
        }
    }
}

impl<'a> CanonicalException<'a> {
    fn new(exception: &'a Exception) -> Self {
        let Exception { id, digest, package, repositories, registries, reason, owner, expires } =
            exception;
        Self {
            id: id.patterns(),
            digest: digest.as_ref().map(|digest| digest.as_str()),
            package: package.patterns(),
            repositories: repositories.patterns(),
            registries: CanonicalRegistries::limit(registries),
            reason,
            owner,
            expires: expires.to_string(),
        }
    }
}
