//! Checks of the policy, its rules and its exceptions. A rule starts as a copy of the base policy's
//! settings and replaces the keys that it gives.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use config::Value;

use crate::config::ConfigError;
use crate::config::bounds::MAX_KEPT;
use crate::config::file::{List, RawException, RawPolicy, RawRule, RawRuleSettings};
use crate::config::value::{again, choice, globs, missing, names, whole_number, within, wrong};
use crate::domain::exception::{Day, Exception};
use crate::domain::findings::{Score, Severity};
use crate::domain::limits::Limits;
use crate::domain::names::{AccountId, Digest, Region};
use crate::domain::policy::{
    Action, InUse, IndexRule, Mode, Policy, Replicated, Rule, RuleSettings, Unscanned,
};

/// Ten years. A longer grace makes no sense.
const LONGEST_GRACE: Duration = Duration::from_secs(3650 * 24 * 3600);
pub(super) fn policy(mut raw: RawPolicy) -> Result<Policy, ConfigError> {
    let base = terms("policy", raw.take_rule_settings(), RuleSettings::default())?;
    let rules = raw.rules.into_iter().enumerate();
    let exceptions = raw.exceptions.into_iter().enumerate();
    let rules = rules.map(|(at, raw)| rule(at, raw, &base)).collect::<Result<Vec<_>, _>>()?;
    let mut known = HashSet::new();
    for (at, rule) in rules.iter().enumerate() {
        if !known.insert(rule.name.as_str()) {
            return Err(again(&format!("policy.rules[{at}].name"), &rule.name, "rule"));
        }
    }
    Ok(Policy {
        rules: rules.into_iter().collect(),
        exceptions: exceptions.map(|(at, raw)| exception(at, raw)).collect::<Result<_, _>>()?,
        base,
        include: globs("policy.repositories.include", raw.repositories.include)?,
        exclude: globs("policy.repositories.exclude", raw.repositories.exclude)?,
        pull_through: globs("policy.pull_through", raw.pull_through)?,
        accounts: names("policy.accounts", raw.accounts, AccountId::parse)?,
        regions: names("policy.regions", raw.regions, Region::parse)?,
    })
}

fn rule(at: usize, mut raw: RawRule, base: &RuleSettings) -> Result<Rule, ConfigError> {
    let key = format!("policy.rules[{at}]");
    let terms = terms(&key, raw.take_rule_settings(), base.clone())?;
    let repositories = format!("{key}.repositories");
    if raw.repositories.0.is_empty() {
        return Err(missing(&repositories, "globs of repositories such as team/*"));
    }
    let name = raw.name.unwrap_or_else(|| format!("rules[{at}]"));
    let fits = !name.trim().is_empty() && name.len() <= 128 && !name.contains(char::is_control);
    if !fits || name == Policy::BASE {
        let expected = "a name on one line, of at most 128 characters, other than base";
        return Err(wrong(&format!("{key}.name"), &name, expected));
    }
    Ok(Rule {
        name,
        repositories: globs(&repositories, raw.repositories)?,
        terms: RuleSettings { tags: globs(&format!("{key}.tags"), raw.tags)?, ..terms },
    })
}

/// Returns the settings under this key: the values that it gives, and `inherited` for all others.
fn terms(
    key: &str,
    raw: RawRuleSettings,
    inherited: RuleSettings,
) -> Result<RuleSettings, ConfigError> {
    let key = |name: &str| format!("{key}.{name}");
    let word = |value: &Value| value.to_string();
    let mut terms = inherited;
    if let Some(mode) = raw.mode {
        let choices = [("enforce", Mode::Enforce), ("audit", Mode::Audit)];
        terms.mode = choice(&key("mode"), &mode, &choices)?;
    }
    if let Some(action) = raw.action {
        let choices = [("quarantine", Action::Quarantine), ("delete", Action::Delete)];
        terms.action = choice(&key("action"), &action, &choices)?;
    }
    terms.limits = limits(&key("max_findings"), raw.max_findings, terms.limits)?;
    if let Some(tags) = raw.protected_tags {
        terms.protected_tags = globs(&key("protected_tags"), tags)?;
    }
    if let Some(index) = raw.index {
        let choices = [("any", IndexRule::Any), ("all", IndexRule::All)];
        terms.index = choice(&key("index"), &index, &choices)?;
    }
    if let Some(least) = raw.keep_at_least {
        terms.keep_at_least = within(&key("keep_at_least"), &least, 0..=MAX_KEPT)?;
    }
    if let Some(in_use) = raw.in_use {
        let choices = [("untag", InUse::Untag), ("block", InUse::Block)];
        terms.in_use = choice(&key("in_use"), &in_use, &choices)?;
    }
    if let Some(replicated) = raw.replicated {
        let choices = [("block", Replicated::Block), ("follow", Replicated::Follow)];
        terms.replicated = choice(&key("replicated"), &replicated, &choices)?;
    }
    if let Some(severities) = raw.fixable_only {
        terms.fixable_only = severity_set(&key("fixable_only"), &severities)?;
    }
    if let Some(score) = raw.min_score {
        let number = word(&score).parse().ok().and_then(Score::new);
        terms.min_score = match word(&score).as_str() {
            "none" => None,
            _ if number.is_some() => number,
            other => return Err(wrong(&key("min_score"), other, "a number from 0 to 10, or none")),
        };
    }
    if let Some(only) = raw.exploit_only {
        let choices = [("true", true), ("false", false)];
        terms.exploit_only = choice(&key("exploit_only"), &word(&only), &choices)?;
    }
    if let Some(written) = raw.grace {
        terms.grace = match written.as_str() {
            "none" => None,
            written => Some(grace(&key("grace"), written)?),
        };
    }
    if let Some(unscanned) = raw.unscanned {
        let choices = [("tell", Unscanned::Tell), ("ignore", Unscanned::Ignore)];
        terms.unscanned = choice(&key("unscanned"), &unscanned, &choices)?;
    }
    Ok(terms)
}

fn grace(key: &str, written: &str) -> Result<Duration, ConfigError> {
    let known = humantime::parse_duration(written).ok().filter(|grace| *grace <= LONGEST_GRACE);
    let expected = "a duration with its unit such as 7d, up to 3650d, or none";
    known.ok_or_else(|| wrong(key, written, expected))
}

fn severity(word: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|known| known.as_key() == word)
}

fn severities() -> String {
    Severity::ALL.map(Severity::as_key).join(", ")
}

fn severity_set(key: &str, words: &List) -> Result<BTreeSet<Severity>, ConfigError> {
    match words.0.as_slice() {
        [word] if word == "none" => Ok(BTreeSet::new()),
        [word] if word == "all" => Ok(Severity::ALL.into()),
        words => words.iter().map(|word| severity(word)).collect::<Option<_>>().ok_or_else(|| {
            let expected = format!("none, all, or a list of {}", severities());
            wrong(key, &words.join(", "), &expected)
        }),
    }
}

/// Returns the limits by severity. A limit is a number, or `unlimited` to lift an inherited one.
fn limits(
    key: &str,
    raw: BTreeMap<String, Value>,
    inherited: Limits,
) -> Result<Limits, ConfigError> {
    raw.into_iter().try_fold(inherited, |limits, (word, value)| {
        let key = format!("{key}.{word}");
        let severity = severity(&word).ok_or_else(|| {
            let problem = format!("is unknown; expected one of {}", severities());
            ConfigError::Key { key: key.clone(), problem }
        })?;
        if value.to_string() == "unlimited" {
            return Ok(limits.with(severity, None));
        }
        let expected = "a whole number from 0, or unlimited";
        let limit =
            whole_number(&value).ok_or_else(|| wrong(&key, &value.to_string(), expected))?;
        Ok(limits.with(severity, Some(limit)))
    })
}

fn exception(at: usize, raw: RawException) -> Result<Exception, ConfigError> {
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
    if raw.id.is_none() && raw.digest.is_none() {
        let expected = "a finding's id or a glob such as CVE-2021-44228, or digest instead";
        return Err(missing(&key("id"), expected));
    }
    let expected = "a date such as 2026-12-31";
    let expires = raw.expires.ok_or_else(|| missing(&key("expires"), expected))?.to_string();
    let digest = raw.digest.map(|digest| {
        Digest::parse(digest)
            .map_err(|error| ConfigError::Key { key: key("digest"), problem: error.to_string() })
    });
    Ok(Exception {
        id: pattern("id", raw.id)?,
        digest: digest.transpose()?,
        package: pattern("package", raw.package)?,
        repositories: globs(&key("repositories"), raw.repositories)?,
        reason: text("reason", raw.reason, "a sentence that says why it is accepted")?,
        owner: text("owner", raw.owner, "who is responsible for it, such as a team or an address")?,
        expires: Day::parse(&expires).ok_or_else(|| wrong(&key("expires"), &expires, expected))?,
    })
}
