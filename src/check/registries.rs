//! Warnings about the accounts and Regions of the policy, its rules, exceptions and topics: about
//! one that the policy does not cover, about a Region that is probably mistyped, and about
//! notices that no topic receives because of its accounts or severities.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::config::{JudgingSettings, closest, did_you_mean};
use crate::domain::names::{KNOWN_REGIONS, Region, RegistryId};
use crate::domain::policy::Policy;
use crate::domain::registries::Registries;
use crate::notify::TopicSettings;

/// A key, and the sentence to warn of it.
type Warning = (String, String);

/// Returns why the policy covers none of these registries. `own` is the worker's, if it is known.
pub(super) fn outside(
    policy: &Policy,
    own: Option<&RegistryId>,
    registries: &Registries,
) -> Option<String> {
    let left_out = |key| format!("{key} leaves out every place in which it would");
    if let (None, Some(own), Some(accounts)) = (&policy.accounts, own, &registries.accounts)
        && !accounts.contains(&own.account)
    {
        return Some(format!(
            "without policy.accounts, only the worker's own account {} is covered",
            own.account
        ));
    }
    if apart(policy.accounts.as_ref(), registries.accounts.as_ref()) {
        return Some(left_out("policy.accounts"));
    }
    apart(policy.regions.as_ref(), registries.regions.as_ref()).then(|| left_out("policy.regions"))
}

fn apart<T: Ord>(covered: Option<&BTreeSet<T>>, named: Option<&BTreeSet<T>>) -> bool {
    covered.zip(named).is_some_and(|(covered, named)| covered.is_disjoint(named))
}

pub(super) fn warnings(settings: &JudgingSettings) -> Vec<Warning> {
    let JudgingSettings { policy, own, .. } = settings;
    let topics = &settings.notify.topics;
    let mut warnings = mistyped("policy.regions", policy.regions.as_ref());
    let rules = policy.rules.as_slice().iter().enumerate();
    for (at, rule) in rules {
        warnings.extend(uncovered(policy, &format!("policy.rules[{at}]"), &rule.registries));
    }
    for (at, exception) in policy.exceptions.as_slice().iter().enumerate() {
        let key = format!("policy.exceptions[{at}]");
        if let Some(why) = outside(policy, own.as_ref(), &exception.registries) {
            let message = format!("{key} ({exception}) never applies: {why}");
            warnings.push((key.clone(), message));
        }
        warnings.extend(uncovered(policy, &key, &exception.registries));
    }
    for topic in topics {
        if let Some(why) = outside(policy, own.as_ref(), &topic.registries) {
            let message = format!("topic {} receives nothing: {why}", topic.arn);
            warnings.push(("notify.topics".to_owned(), message));
        }
        warnings.extend(uncovered(policy, "notify.topics", &topic.registries));
    }
    warnings.extend(unheard(policy, topics));
    warnings
}

/// Returns warnings about names that the policy leaves out while it covers others of the same list,
/// and about Regions that are probably mistyped.
fn uncovered(policy: &Policy, key: &str, registries: &Registries) -> Vec<Warning> {
    fn names<T: Ord + Display>(
        key: &str,
        of: &str,
        covered: Option<&BTreeSet<T>>,
        named: Option<&BTreeSet<T>>,
    ) -> Option<Warning> {
        let (covered, named) = covered.zip(named)?;
        let out: Vec<_> = named.difference(covered).collect();
        let one = out.first().filter(|_| out.len() < named.len())?;
        let covered: Vec<_> = covered.iter().map(ToString::to_string).collect();
        let meant = closest(&one.to_string(), covered.iter().map(String::as_str));
        let others =
            if out.len() > 1 { format!(" and {} more", out.len() - 1) } else { String::new() };
        let meant = did_you_mean(meant);
        let key = format!("{key}.{of}");
        let message = format!("{key} names {one}{others}, which policy.{of} leaves out{meant}");
        Some((key, message))
    }
    let Registries { accounts, regions } = registries;
    let accounts = names(key, "accounts", policy.accounts.as_ref(), accounts.as_ref());
    let of_regions = names(key, "regions", policy.regions.as_ref(), regions.as_ref());
    let mistyped = match policy.regions {
        Some(_) => Vec::new(),
        None => mistyped(&format!("{key}.regions"), regions.as_ref()),
    };
    accounts.into_iter().chain(of_regions).chain(mistyped).collect()
}

/// Returns warnings about Regions that are probably mistyped.
fn mistyped(key: &str, regions: Option<&BTreeSet<Region>>) -> Vec<Warning> {
    let unknown = regions.into_iter().flatten().map(Region::as_str);
    let unknown = unknown.filter(|region| !KNOWN_REGIONS.contains(region));
    let warnings = unknown.map(|region| {
        let meant = did_you_mean(closest(region, KNOWN_REGIONS));
        let problem = format!("names {region}, which is no Region that tagwarden knows{meant}");
        (key.to_owned(), format!("{key} {problem}"))
    });
    warnings.collect()
}

/// Returns warnings about accounts, and about severities with a limit, whose notices no topic
/// receives although there are topics.
fn unheard(policy: &Policy, topics: &[TopicSettings]) -> Vec<Warning> {
    if topics.is_empty() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    let mut warn = |message: String| {
        warnings.push(("notify.topics".to_owned(), message));
    };
    let hears = |account| {
        let of = |topic: &TopicSettings| topic.registries.accounts.clone();
        topics.iter().any(|topic| of(topic).is_none_or(|all| all.contains(account)))
    };
    for account in policy.accounts.iter().flatten().filter(|account| !hears(account)) {
        warn(format!("no topic receives notices about the account {account}"));
    }
    let terms = policy.rules.as_slice().iter().map(|rule| &rule.terms).chain([&policy.base]);
    let limited: BTreeSet<_> = terms.flat_map(|terms| terms.limits.severities()).collect();
    for severity in limited {
        let hears = |topic: &TopicSettings| {
            topic.severities.as_ref().is_none_or(|all| all.contains(&severity))
        };
        if !topics.iter().any(hears) {
            let severity = severity.as_key();
            warn(format!("no topic receives notices about images with {severity} findings alone"));
        }
    }
    warnings
}
