//! The policy's keys with the values that counted.

use super::Key;
use crate::domain::findings::Severity;
use crate::domain::globs::Globs;
use crate::domain::policy::{Action, InUse, IndexRule, Terms, Unscanned};

/// Every key of the policy, and whether a rule gives it another value than the base policy.
pub(super) fn keys(terms: &Terms, base: &Terms) -> Vec<Key> {
    let base = values(base);
    let values = values(terms).into_iter().zip(base);
    values
        .map(|((key, value), (_, inherited))| Key { by_rule: value != inherited, key, value })
        .collect()
}

fn values(terms: &Terms) -> Vec<(&'static str, String)> {
    let limits: Vec<_> = Severity::ALL
        .into_iter()
        .map(|severity| match terms.limits.of(severity) {
            Some(limit) => format!("{severity} {limit}"),
            None => format!("{severity} unlimited"),
        })
        .collect();
    let fixable: Vec<_> = terms.fixable_only.iter().map(ToString::to_string).collect();
    let word = |is: bool, one: &str, other: &str| if is { one } else { other }.to_owned();
    let none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
    vec![
        ("mode", terms.mode.as_str().to_owned()),
        ("action", word(terms.action == Action::Quarantine, "quarantine", "delete")),
        ("max_findings", limits.join(", ")),
        ("protected_tags", globs(&terms.protected_tags, "none")),
        ("tags", globs(&terms.tags, "all")),
        ("index", word(terms.index == IndexRule::Any, "any", "all")),
        ("keep_at_least", terms.keep_at_least.to_string()),
        ("in_use", word(terms.in_use == InUse::Untag, "untag", "block")),
        ("fixable_only", none((!fixable.is_empty()).then(|| fixable.join(", ")))),
        ("min_score", none(terms.min_score.map(|score| score.to_string()))),
        ("exploit_only", terms.exploit_only.to_string()),
        ("grace", none(terms.grace.map(|grace| humantime::format_duration(grace).to_string()))),
        ("unscanned", word(terms.unscanned == Unscanned::Tell, "tell", "ignore")),
    ]
}

fn globs(globs: &Globs, empty: &str) -> String {
    if globs.is_empty() { empty.to_owned() } else { globs.patterns().join(", ") }
}
