//! Which repositories a policy covers, in which it changes something, and which of its rules ever count.

use super::pattern::Pattern;
use crate::domain::globs::Globs;
use crate::domain::policy::{Mode, Policy, Rule, Terms};

/// The repositories that a policy covers, as patterns that IAM knows. What it excludes is not taken off: IAM cannot.
#[must_use]
pub fn covered(policy: &Policy) -> Vec<String> {
    in_iam(&included(policy))
}

/// Those of them in which it changes something.
#[must_use]
pub fn changed(policy: &Policy) -> Vec<String> {
    let included = included(policy);
    let by_a_rule =
        |one: &Pattern| policy.rules.iter().flat_map(patterns).any(|rule| rule.covers(one));
    if acts(&policy.base) && !included.iter().all(by_a_rule) {
        return in_iam(&included);
    }
    let mut changed = Vec::new();
    let mut earlier: Vec<Pattern> = Vec::new();
    for rule in &policy.rules {
        let of_rule = patterns(rule);
        if acts(&rule.terms) {
            let left =
                of_rule.iter().filter(|one| !earlier.iter().any(|before| before.covers(one)));
            let both = left.flat_map(|one| included.iter().filter_map(|other| meet(one, other)));
            changed.extend(both);
        }
        earlier.extend(of_rule);
    }
    in_iam(&changed)
}

/// Why this rule never counts, if so.
#[must_use]
pub fn never_counts(policy: &Policy, at: usize) -> Option<String> {
    let rule = policy.rules.get(at)?;
    let of_rule = patterns(rule);
    let covers = |earlier: &&Rule| {
        let earlier = patterns(earlier);
        of_rule.iter().all(|one| earlier.iter().any(|before| before.covers(one)))
    };
    if let Some(before) = policy.rules.iter().take(at).position(|earlier| covers(&earlier)) {
        let name = policy.rules.get(before).map(|rule| rule.name.as_str()).unwrap_or_default();
        return Some(format!(
            "policy.rules[{before}] ({name}) comes first for all its repositories"
        ));
    }
    let included = included(policy);
    let excluded: Vec<_> = all_of(&policy.exclude);
    let out = |one: &Pattern| {
        included.iter().all(|other| other.is_apart_from(one))
            || excluded.iter().any(|other| other.covers(one))
    };
    of_rule
        .iter()
        .all(out)
        .then(|| "policy.repositories leaves all its repositories out".to_owned())
}

/// Examples of the repositories that a policy covers, which need not exist: one for each of its patterns.
#[must_use]
pub fn examples(policy: &Policy) -> Vec<String> {
    let included = included(policy);
    let rules = policy.rules.iter().flat_map(patterns);
    let both = rules.flat_map(|one| {
        included.iter().filter_map(move |other| meet(&one, other)).collect::<Vec<_>>()
    });
    let all = included.iter().cloned().chain(both);
    let mut names: Vec<_> = all.map(|pattern| pattern.example("tagwarden-check")).collect();
    names.sort();
    names.dedup();
    names
}

fn acts(terms: &Terms) -> bool {
    terms.mode == Mode::Enforce && terms.limits.severities().next().is_some()
}

/// What both patterns match, or something wider that is within one of them.
fn meet(one: &Pattern, other: &Pattern) -> Option<Pattern> {
    if one.is_apart_from(other) {
        return None;
    }
    Some(if other.covers(one) { one.clone() } else { other.clone() })
}

fn included(policy: &Policy) -> Vec<Pattern> {
    if policy.include.is_empty() {
        return vec![Pattern::everything()];
    }
    all_of(&policy.include)
}

fn patterns(rule: &Rule) -> Vec<Pattern> {
    all_of(&rule.repositories)
}

fn all_of(globs: &Globs) -> Vec<Pattern> {
    globs.patterns().iter().flat_map(|glob| Pattern::all_of(glob)).collect()
}

/// As IAM writes them, those left out that another covers.
fn in_iam(patterns: &[Pattern]) -> Vec<String> {
    let covered = |at: usize, one: &Pattern| {
        patterns.iter().enumerate().any(|(other_at, other)| {
            other_at != at && other.covers(one) && (other_at < at || !one.covers(other))
        })
    };
    let left = patterns.iter().enumerate().filter(|(at, one)| !covered(*at, one));
    let mut texts: Vec<_> = left.map(|(_, pattern)| pattern.in_iam()).collect();
    texts.sort();
    texts.dedup();
    texts
}
