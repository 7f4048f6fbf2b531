//! Computes from a policy's globs which repositories it covers, in which of them it can change
//! something, and which of its rules never apply. Globs are compared as `Pattern`s. Only certain
//! answers count: a rule is reported only if another rule surely matches all of its repositories
//! first, and a repository is left out of the IAM policy only if no rule can act there.

use std::collections::BTreeSet;

use super::pattern::{Pattern, PatternIndex};
use super::registries::outside;
use crate::domain::globs::Globs;
use crate::domain::names::RegistryId;
use crate::domain::policy::{Mode, Policy, Rule, RuleSettings};

/// Returns the repositories that a policy covers, as patterns that IAM understands. Excluded
/// repositories are not subtracted, because IAM cannot express that in a list of resources.
#[must_use]
pub fn covered(policy: &Policy) -> Vec<String> {
    in_iam(&included(policy))
}

/// Returns the covered repositories in which the policy can change something.
#[must_use]
pub fn changed(policy: &Policy) -> Vec<String> {
    let included = included(policy);
    let rules: Vec<_> = policy.rules.as_slice().iter().map(patterns).collect();
    let everywhere = policy.rules.as_slice().iter().zip(&rules);
    let everywhere = everywhere.filter(|(rule, _)| rule.registries.are_all());
    let of_rules: PatternIndex<'_> =
        everywhere.flat_map(|(_, of_rule)| of_rule).map(|one| (0, one)).collect();
    // A rule for some registries says nothing of the others.
    let by_a_rule = |one: &Pattern| of_rules.covering(one).next().is_some();
    if acts(&policy.base) && !included.iter().all(by_a_rule) {
        return in_iam(&included);
    }
    let mut changed = Vec::new();
    let mut earlier = PatternIndex::default();
    for (rule, of_rule) in policy.rules.as_slice().iter().zip(&rules) {
        if acts(&rule.terms) {
            let left = of_rule.iter().filter(|one| earlier.covering(one).next().is_none());
            let both = left.flat_map(|one| included.iter().filter_map(|other| meet(one, other)));
            changed.extend(both);
        }
        if rule.registries.are_all() {
            earlier.extend(of_rule.iter().map(|one| (0, one)));
        }
    }
    in_iam(&changed)
}

/// Returns the positions of the rules that never apply, and the reasons.
#[must_use]
pub fn never_counting(policy: &Policy, own: Option<&RegistryId>) -> Vec<(usize, String)> {
    let included = included(policy);
    let excluded: Vec<_> = all_of(&policy.exclude);
    let out = |one: &Pattern| {
        included.iter().all(|other| other.is_apart_from(one))
            || excluded.iter().any(|other| other.covers(one))
    };
    let rules: Vec<_> = policy.rules.as_slice().iter().map(patterns).collect();
    let mut earlier = PatternIndex::default();
    let mut never = Vec::new();
    let all = policy.rules.as_slice();
    for (at, (rule, of_rule)) in all.iter().zip(&rules).enumerate() {
        let covers = |before: &usize| {
            all.get(*before).is_some_and(|before| before.registries.cover(&rule.registries))
        };
        if let Some(before) = first_for_all(&earlier, of_rule, covers) {
            let name = all.get(before).map(|rule| rule.name.as_str()).unwrap_or_default();
            let why = format!("policy.rules[{before}] ({name}) matches all its repositories first");
            never.push((at, why));
        } else if let Some(why) = outside(policy, own, &rule.registries) {
            never.push((at, why));
        } else if of_rule.iter().all(out) {
            never.push((at, "policy.repositories leaves out all its repositories".to_owned()));
        }
        earlier.extend(of_rule.iter().map(|one| (at, one)));
    }
    never
}

/// Returns the first of the rules that may, which covers all of these patterns by itself.
fn first_for_all(
    earlier: &PatternIndex<'_>,
    of_rule: &[Pattern],
    may: impl Fn(&usize) -> bool,
) -> Option<usize> {
    let (first, others) = of_rule.split_first()?;
    let mut rules: BTreeSet<usize> = earlier.covering(first).filter(may).collect();
    for one in others {
        let covering: BTreeSet<usize> = earlier.covering(one).collect();
        rules.retain(|rule| covering.contains(rule));
    }
    rules.into_iter().next()
}

/// Returns an example for each pattern of the covered repositories. The repository need not exist.
#[must_use]
pub fn examples(policy: &Policy) -> Vec<String> {
    let included = included(policy);
    let rules = policy.rules.as_slice().iter().flat_map(patterns);
    let both = rules.flat_map(|one| {
        included.iter().filter_map(move |other| meet(&one, other)).collect::<Vec<_>>()
    });
    let all = included.iter().cloned().chain(both);
    let mut names: Vec<_> = all.map(|pattern| pattern.example("tagwarden-check")).collect();
    names.sort();
    names.dedup();
    names
}

fn acts(terms: &RuleSettings) -> bool {
    terms.mode == Mode::Enforce && terms.limits.severities().next().is_some()
}

/// Returns a pattern that matches at least everything that both match, and nothing beyond one of
/// them. Returns `None` if no text can match both.
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

/// Returns the patterns as IAM writes them, without those that another one covers.
fn in_iam(patterns: &[Pattern]) -> Vec<String> {
    let index: PatternIndex<'_> = patterns.iter().enumerate().collect();
    let covered = |at: usize, one: &Pattern| {
        index.covering(one).any(|other_at| {
            let is_covered = || patterns.get(other_at).is_some_and(|other| one.covers(other));
            other_at != at && (other_at < at || !is_covered())
        })
    };
    let left = patterns.iter().enumerate().filter(|(at, one)| !covered(*at, one));
    let mut texts: Vec<_> = left.map(|(_, pattern)| pattern.in_iam()).collect();
    texts.sort();
    texts.dedup();
    texts
}
