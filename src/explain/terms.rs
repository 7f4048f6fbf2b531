//! The keys of the configuration that mattered, with their values.

use std::collections::BTreeSet;

use serde::Serialize;

use super::Explainer;
use crate::domain::exception::Exception;
use crate::domain::findings::Severity;
use crate::domain::globs::Globs;
use crate::domain::names::Repository;
use crate::domain::policy::{
    Action, InUse, IndexRule, Policy, Replicated, RuleSettings, Unscanned,
};
use crate::domain::registries::Registries;

/// The number of exceptions that are named one by one.
const NAMED: usize = 5;

/// A key of the configuration with the value that was used.
#[derive(Debug, Serialize)]
pub(super) struct Key {
    pub(super) key: String,
    pub(super) value: String,
    /// Whether the rule's value differs from that of the base policy.
    pub(super) by_rule: bool,
    /// A remark about the key.
    pub(super) remark: Option<&'static str>,
}

impl Key {
    fn new(key: impl Into<String>, value: String) -> Self {
        Self { key: key.into(), value, by_rule: false, remark: None }
    }
}

impl Explainer<'_> {
    /// Returns every key that has an influence on images in this repository.
    pub(super) fn keys(&self, repository: &Repository) -> Vec<Key> {
        let (rule, terms) = self.policy.terms(repository);
        let base = values(&self.policy.base);
        let mut keys: Vec<_> = values(terms)
            .into_iter()
            .zip(base)
            .map(|((key, value), (_, inherited))| Key {
                by_rule: value != inherited,
                ..Key::new(format!("policy.{key}"), value)
            })
            .collect();
        if let Some(at) = self.policy.rules.as_slice().iter().position(|one| one.name == rule) {
            let tags = Key::new(format!("policy.rules[{at}].tags"), globs(&terms.tags, "all"));
            keys.push(Key { by_rule: true, ..tags });
            let applies_in = self.policy.rules.as_slice().get(at).map(|rule| &rule.registries);
            let lists = applies_in.map(lists).into_iter().flatten();
            keys.extend(lists.map(|(name, value)| Key {
                by_rule: true,
                ..Key::new(format!("policy.rules[{at}].{name}"), value)
            }));
        }
        keys.extend(self.check_scope());
        keys.extend(self.limits.iter().map(|(key, value)| Key {
            remark: Some("not judged here"),
            ..Key::new(key.clone(), value.clone())
        }));
        keys
    }

    /// Returns the keys that are the same for every repository.
    fn check_scope(&self) -> Vec<Key> {
        let Policy { rules, exceptions, include, exclude, pull_through, .. } = self.policy;
        let Policy { accounts, regions, .. } = self.policy;
        let listed = |names: Vec<String>, empty: &str| {
            if names.is_empty() { empty.to_owned() } else { names.join(", ") }
        };
        let names =
            |names: Option<Vec<String>>, empty: &str| listed(names.unwrap_or_default(), empty);
        let accounts = accounts.as_ref().map(|all| all.iter().map(ToString::to_string).collect());
        let regions = regions.as_ref().map(|all| all.iter().map(ToString::to_string).collect());
        let own = format!("the worker's own, {}", self.own.account);
        let rules = rules.as_slice().iter().map(|rule| rule.name.clone()).collect();
        vec![
            Key::new("policy.repositories.include", globs(include, "all")),
            Key::new("policy.repositories.exclude", globs(exclude, "none")),
            Key::new("policy.pull_through", globs(pull_through, "none")),
            Key::new("policy.accounts", names(accounts, &own)),
            Key::new("policy.regions", names(regions, "any")),
            Key::new("policy.rules", listed(rules, "none")),
            Key::new("policy.exceptions", listed(named(exceptions.as_slice()), "none")),
        ]
    }
}

fn named(exceptions: &[Exception]) -> Vec<String> {
    let all = exceptions.iter();
    let mut named: Vec<_> =
        all.take(NAMED).map(|one| format!("{one} until {}", one.expires)).collect();
    if exceptions.len() > NAMED {
        named.push(format!("and {} more", exceptions.len() - NAMED));
    }
    named
}

fn values(terms: &RuleSettings) -> Vec<(&'static str, String)> {
    let limited = Severity::ALL
        .into_iter()
        .filter_map(|severity| Some(format!("{severity} {}", terms.limits.of(severity)?)));
    let mut limits: Vec<_> = limited.collect();
    limits.push(if limits.is_empty() { "unlimited" } else { "others unlimited" }.to_owned());
    let fixable: Vec<_> = terms.fixable_only.iter().map(ToString::to_string).collect();
    let word = |is: bool, one: &str, other: &str| if is { one } else { other }.to_owned();
    let none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    vec![
        ("mode", terms.mode.as_str().to_owned()),
        ("action", word(terms.action == Action::Quarantine, "quarantine", "delete")),
        ("max_findings", limits.join(", ")),
        ("protected_tags", globs(&terms.protected_tags, "none")),
        ("index", word(terms.index == IndexRule::Any, "any", "all")),
        ("keep_at_least", terms.keep_at_least.to_string()),
        ("in_use", word(terms.in_use == InUse::Untag, "untag", "block")),
        ("replicated", word(terms.replicated == Replicated::Block, "block", "follow")),
        ("fixable_only", none((!fixable.is_empty()).then(|| fixable.join(", ")))),
        ("min_score", none(terms.min_score.map(|score| score.to_string()))),
        ("exploit_only", terms.exploit_only.to_string()),
        ("grace", none(terms.grace.map(|grace| humantime::format_duration(grace).to_string()))),
        ("unscanned", word(terms.unscanned == Unscanned::Tell, "tell", "ignore")),
    ]
}

/// Returns the accounts and Regions of a limit, each with the name of its key.
fn lists(limit: &Registries) -> Vec<(&'static str, String)> {
    fn joined<T: ToString>(all: &BTreeSet<T>) -> String {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
    let accounts = limit.accounts.as_ref().map(|all| ("accounts", joined(all)));
    let regions = limit.regions.as_ref().map(|all| ("regions", joined(all)));
    accounts.into_iter().chain(regions).collect()
}

fn globs(globs: &Globs, empty: &str) -> String {
    if globs.is_empty() { empty.to_owned() } else { globs.patterns().join(", ") }
}
