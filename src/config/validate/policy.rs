//! Checks of the policy, its rules and its exceptions. A rule starts as a copy of the base policy's
//! settings and replaces the keys that it gives.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use config::Value;

use crate::config::bounds::MAX_KEPT;
use crate::config::file::{List, RawException, RawPolicy, RawRule, RawRuleSettings};
use crate::config::mistake::{Gather, Mistake, Mistakes};
use crate::config::value::{
    again, choice, globs, globs_or_all, missing, names, registries, severities, severity,
    whole_number, within, wrong,
};
use crate::domain::exception::{Day, Exception};
use crate::domain::findings::{Score, Severity};
use crate::domain::limits::Limits;
use crate::domain::names::{Digest, InvalidName, Repository, RepositoryArn};
use crate::domain::policy::{
    Action, InUse, IndexRule, Mode, Policy, Replicated, Rule, RuleSettings, Unscanned,
};
use crate::domain::registries::Registries;

/// Ten years. A longer grace makes no sense.
const LONGEST_GRACE: Duration = Duration::from_secs(3650 * 24 * 3600);

pub(super) fn policy(mut raw: RawPolicy) -> Result<Policy, Mistakes> {
    let mut all = Gather::default();
    let base = all.add(terms("policy", raw.take_rule_settings(), RuleSettings::default()));
    let inherited = base.clone().unwrap_or_default();
    let mut rules: Vec<Rule> = Vec::new();
    for (at, raw) in raw.rules.into_iter().enumerate() {
        let Some(rule) = all.add(rule(at, raw, &inherited)) else { continue };
        if rules.iter().any(|other| other.name == rule.name) {
            all.add::<()>(Err(again(&format!("policy.rules[{at}].name"), &rule.name, "rule")));
        }
        rules.push(rule);
    }
    let exceptions = raw.exceptions.into_iter().enumerate();
    let exceptions = exceptions.map(|(at, raw)| all.add(exception(at, raw)));
    let exceptions: Vec<_> = exceptions.collect();
    let include = all.add(globs_or_all("policy.repositories.include", raw.repositories.include));
    let exclude = all.add(globs("policy.repositories.exclude", raw.repositories.exclude));
    let own_images = raw.repositories.own_images;
    let own_images = names("policy.repositories.own_images", own_images, own_repository, |_| None);
    let own_images = all.add(own_images);
    let pull_through = all.add(globs("policy.pull_through", raw.pull_through));
    let covered = all.add(registries("policy", raw.accounts, raw.regions));
    all.finish(|| {
        let Registries { accounts, regions } = covered?;
        Some(Policy {
            base: base?,
            rules: rules.into_iter().collect(),
            exceptions: exceptions.into_iter().collect::<Option<_>>()?,
            include: include?,
            exclude: exclude?,
            own_images: own_images?.unwrap_or_default(),
            pull_through: pull_through?,
            accounts,
            regions,
        })
    })
}

fn own_repository(arn: String) -> Result<Repository, InvalidName> {
    RepositoryArn::parse(&arn).map(|arn| arn.repository)
}

fn rule(at: usize, mut raw: RawRule, base: &RuleSettings) -> Result<Rule, Mistakes> {
    let key = format!("policy.rules[{at}]");
    let mut all = Gather::default();
    let settings = raw.take_rule_settings();
    let sets_mode = settings.mode.as_ref().is_some_and(|mode| !mode.is_empty());
    let terms = all.add(terms(&key, settings, base.clone()));
    let repositories = format!("{key}.repositories");
    let is_empty = raw.repositories.0.is_empty();
    let globs_of_it = || globs(&repositories, raw.repositories);
    let repositories = all.add(match is_empty {
        true => Err(missing(&repositories, "globs of repositories such as team/*")),
        false => globs_of_it(),
    });
    let registries = all.add(registries(&key, raw.accounts, raw.regions));
    let tags = all.add(globs_or_all(&format!("{key}.tags"), raw.tags));
    let name = raw.name.unwrap_or_else(|| format!("rules[{at}]"));
    let fits = !name.trim().is_empty() && name.len() <= 128 && !name.contains(char::is_control);
    if !fits || name == Policy::BASE {
        let expected = "a name on one line, of at most 128 characters, other than base";
        all.add::<()>(Err(wrong(&format!("{key}.name"), &name, expected)));
    }
    all.finish(|| {
        let terms = RuleSettings { tags: tags?, ..terms? };
        let (repositories, registries) = (repositories?, registries?);
        Some(Rule { name, repositories, registries, sets_mode, terms })
    })
}

/// Returns the settings under this key: the values that it gives, and `inherited` for all others.
fn terms(
    key: &str,
    raw: RawRuleSettings,
    inherited: RuleSettings,
) -> Result<RuleSettings, Mistakes> {
    let key = |name: &str| format!("{key}.{name}");
    let mut all = Gather::default();
    let mut terms = inherited;
    // An empty mode counts as missing, like one that an empty variable gives.
    if let Some(mode) = raw.mode.filter(|mode| !mode.is_empty()) {
        let choices = [("enforce", Mode::Enforce), ("audit", Mode::Audit)];
        terms.mode = all.add(choice(&key("mode"), &mode, &choices)).unwrap_or(terms.mode);
    }
    if let Some(action) = raw.action {
        let choices = [("quarantine", Action::Quarantine), ("delete", Action::Delete)];
        terms.action = all.add(choice(&key("action"), &action, &choices)).unwrap_or(terms.action);
    }
    let limits = limits(&key("max_findings"), raw.max_findings, terms.limits.clone());
    terms.limits = all.add(limits).unwrap_or(terms.limits);
    if let Some(tags) = raw.protected_tags {
        terms.protected_tags = all.add(globs(&key("protected_tags"), tags)).unwrap_or_default();
    }
    if let Some(index) = raw.index {
        let choices = [("any", IndexRule::Any), ("all", IndexRule::All)];
        terms.index = all.add(choice(&key("index"), &index, &choices)).unwrap_or(terms.index);
    }
    if let Some(least) = raw.keep_at_least {
        let least = all.add(within(&key("keep_at_least"), &least, 0..=MAX_KEPT));
        terms.keep_at_least = least.unwrap_or(terms.keep_at_least);
    }
    if let Some(in_use) = raw.in_use {
        let choices = [("untag", InUse::Untag), ("block", InUse::Block)];
        terms.in_use = all.add(choice(&key("in_use"), &in_use, &choices)).unwrap_or(terms.in_use);
    }
    if let Some(replicated) = raw.replicated {
        let choices = [("block", Replicated::Block), ("follow", Replicated::Follow)];
        let replicated = all.add(choice(&key("replicated"), &replicated, &choices));
        terms.replicated = replicated.unwrap_or(terms.replicated);
    }
    if let Some(severities) = raw.fixable_only {
        let severities = all.add(severity_set(&key("fixable_only"), &severities));
        terms.fixable_only = severities.unwrap_or_default();
    }
    if let Some(score) = raw.min_score {
        terms.min_score = all.add(min_score(&key("min_score"), &score)).flatten();
    }
    if let Some(only) = raw.exploit_only {
        let choices = [("true", true), ("false", false)];
        let only = all.add(choice(&key("exploit_only"), &only.to_string(), &choices));
        terms.exploit_only = only.unwrap_or(terms.exploit_only);
    }
    if let Some(written) = raw.grace {
        terms.grace = all.add(grace(&key("grace"), &written)).flatten();
    }
    if let Some(unscanned) = raw.unscanned {
        let choices = [("tell", Unscanned::Tell), ("ignore", Unscanned::Ignore)];
        let unscanned = all.add(choice(&key("unscanned"), &unscanned, &choices));
        terms.unscanned = unscanned.unwrap_or(terms.unscanned);
    }
    all.finish(|| Some(terms))
}

fn min_score(key: &str, value: &Value) -> Result<Option<Score>, Mistake> {
    let written = value.to_string();
    if written == "none" {
        return Ok(None);
    }
    let score = written.parse().ok().and_then(Score::new);
    score.map(Some).ok_or_else(|| wrong(key, &written, "a number from 0 to 10, or none"))
}

fn grace(key: &str, written: &str) -> Result<Option<Duration>, Mistake> {
    if written == "none" {
        return Ok(None);
    }
    let known = humantime::parse_duration(written).ok().filter(|grace| *grace <= LONGEST_GRACE);
    let expected = "a duration with its unit such as 7d, up to 3650d, or none";
    known.map(Some).ok_or_else(|| wrong(key, written, expected))
}

fn severity_set(key: &str, words: &List) -> Result<BTreeSet<Severity>, Mistake> {
    match words.0.as_slice() {
        [word] if word == "none" => Ok(BTreeSet::new()),
        [word] if word == "all" => Ok(Severity::ALL.into()),
        words => severities(key, words, "none, all, or a list of"),
    }
}

/// Returns the limits by severity. A limit is a number, or `unlimited` to lift an inherited one.
fn limits(key: &str, raw: BTreeMap<String, Value>, inherited: Limits) -> Result<Limits, Mistakes> {
    let mut all = Gather::default();
    let mut limits = inherited;
    for (word, value) in raw {
        let key = format!("{key}.{word}");
        // The shape has been checked, so every key is the name of a severity.
        let Some(severity) = severity(&word) else { continue };
        let expected = "a whole number from 0, or unlimited";
        let limit = match value.to_string().as_str() {
            "unlimited" => Ok(None),
            text => whole_number(&value).map(Some).ok_or_else(|| wrong(&key, text, expected)),
        };
        if let Some(limit) = all.add(limit) {
            limits = limits.with(severity, limit);
        }
    }
    all.finish(|| Some(limits))
}

fn exception(at: usize, raw: RawException) -> Result<Exception, Mistakes> {
    let key = |name: &str| format!("policy.exceptions[{at}].{name}");
    let text = |name: &str, value: Option<String>, expected: &str| {
        let value = value.filter(|value| !value.trim().is_empty());
        let value = value.ok_or_else(|| missing(&key(name), expected))?;
        if value.len() > 500 || value.contains(char::is_control) {
            return Err(wrong(&key(name), &value, "one line of at most 500 characters"));
        }
        Ok(value)
    };
    let pattern = |name: &str, value: Option<String>| match value {
        // An empty pattern matches nothing. If it were dropped, the exception would match
        // everything.
        Some(value) if value.trim().is_empty() => {
            Err(wrong(&key(name), &value, "a glob, or leave it out"))
        }
        value => globs(&key(name), List(value.into_iter().collect())),
    };
    let mut all = Gather::default();
    if raw.id.is_none() && raw.digest.is_none() {
        let expected = "a finding's id or a glob such as CVE-2021-44228, or digest instead";
        all.add::<()>(Err(missing(&key("id"), expected)));
    }
    let id = all.add(pattern("id", raw.id));
    let digest = raw.digest.map(|digest| {
        Digest::parse(digest).map_err(|error| Mistake::value(&key("digest"), error.to_string()))
    });
    let digest = all.add(digest.transpose());
    let package = all.add(pattern("package", raw.package));
    let repositories = all.add(globs_or_all(&key("repositories"), raw.repositories));
    let here = format!("policy.exceptions[{at}]");
    let registries = all.add(registries(&here, raw.accounts, raw.regions));
    let expected = "a sentence that says why it is accepted";
    let reason = all.add(text("reason", raw.reason, expected));
    let expected = "who is responsible for it, such as a team or an address";
    let owner = all.add(text("owner", raw.owner, expected));
    let expected = "a date such as 2026-12-31";
    let expires = raw.expires.ok_or_else(|| missing(&key("expires"), expected));
    let expires = all.add(expires.and_then(|written| {
        let written = written.to_string();
        Day::parse(&written).ok_or_else(|| wrong(&key("expires"), &written, expected))
    }));
    all.finish(|| {
        Some(Exception {
            id: id?,
            digest: digest?,
            package: package?,
            repositories: repositories?,
            registries: registries?,
            reason: reason?,
            owner: owner?,
            expires: expires?,
        })
    })
}
