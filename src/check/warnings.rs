//! Warnings about settings that are allowed, and that their author has probably not meant: above
//! all about those that look as if they protected something and protect nothing.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::unmatched::{Names, reason};
use super::{registries, scope};
use crate::config::JudgingSettings;
use crate::domain::exception::Standing;
use crate::domain::globs::Globs;
use crate::domain::notice::NoticeAction;
use crate::domain::policy::{Action, Mode, Policy, RuleSettings};
use crate::domain::record::RestoreKeys;
use crate::registry::{Records, UntagBy};

/// A grace that is so long is probably a mistake: findings are accepted without saying so.
const LONG_GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

/// A setting that its author has probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Warning {
    /// The key that it is about, if it is about one.
    pub(super) key: Option<String>,
    /// What is probably not meant, and what to do.
    pub(super) message: String,
    /// The place of the value: file, line and column, or the name of a variable.
    pub(super) at: Option<String>,
    /// The key, or the item of its list, whose place is shown.
    #[serde(skip)]
    pub(super) place: Option<String>,
}

impl Warning {
    pub(super) fn general(message: String) -> Self {
        Self { key: None, message, at: None, place: None }
    }

    /// A warning that is a sentence of its own, about this key.
    pub(super) fn about(key: String, message: String) -> Self {
        Self { place: Some(key.clone()), key: Some(key), message, at: None }
    }

    fn of(key: impl Into<String>, message: impl AsRef<str>) -> Self {
        let key = key.into();
        let message = format!("{key} {}", message.as_ref());
        Self::about(key, message)
    }
}

pub(super) fn warnings(settings: &JudgingSettings, now: SystemTime) -> Vec<Warning> {
    let policy = &settings.policy;
    let mut warnings = exceptions(policy, now);
    for (at, why) in scope::never_counting(policy, settings.own.as_ref()) {
        let name = policy.rules.as_slice().get(at).map(|rule| rule.name.as_str());
        let name = name.unwrap_or_default();
        let key = format!("policy.rules[{at}]");
        let message = format!("{key} ({name}) never applies: {why}");
        warnings.push(Warning::about(key, message));
    }
    warnings.extend(useless_patterns(settings));
    warnings.extend(terms(settings));
    if covers_nothing(policy) {
        let message = "leaves out every repository that is included: no image is covered";
        warnings.push(Warning::of("policy.repositories.exclude", message));
    }
    if policy.base.limits.severities().next().is_none() {
        let message = "has no limit: unless a rule has one, every image keeps its tags";
        warnings.push(Warning::of("policy.max_findings", message));
    }
    match (settings.mode, scope::changed(policy).is_empty()) {
        (Some(Mode::Audit), true) => warnings.push(Warning::of(
            "policy.mode",
            "is audit: notices say which tags would be removed, and no tag is removed",
        )),
        (Some(Mode::Audit), false) => warnings.push(Warning::of(
            "policy.mode",
            "is audit: tags are removed only in repositories of a rule with mode enforce",
        )),
        (Some(Mode::Enforce) | None, _) => {}
    }
    if settings.untag_by == UntagBy::Tag {
        warnings.push(Warning::of(
            "registry.untag",
            "is tag: a tag that moves between the read and the delete is lost; use it for \
             emulators only, and tag_and_digest with ECR",
        ));
    }
    if settings.records == Records::Off {
        warnings.push(Warning::of(
            "registry.records",
            "is off: no image remembers which tags it lost, so nothing can be listed or restored; \
             use it for emulators only, and required with ECR",
        ));
    }
    warnings.extend(restoring(settings));
    let topics = &settings.notify.topics;
    let taken = |action: &NoticeAction| topics.iter().any(|topic| topic.actions.contains(action));
    let unread = NoticeAction::ALL.into_iter().filter(|one| !topics.is_empty() && !taken(one));
    let of_registries = registries::warnings(settings).into_iter();
    warnings.extend(of_registries.map(|(key, message)| Warning::about(key, message)));
    warnings.extend(unread.map(|action| {
        let message = format!("no topic receives notices of the action {}", action.as_str());
        Warning::about("notify.topics".to_owned(), message)
    }));
    warnings
}

/// Returns warnings if somebody should be able to restore images and nobody can, and if somebody
/// can who should not.
fn restoring(settings: &JudgingSettings) -> Vec<Warning> {
    const KEY: &str = "restore.key";
    let restore = &settings.restore;
    let senders = [("senders", &restore.senders), ("hold_senders", &restore.hold_senders)];
    let mut senders = senders.into_iter().filter(|(_, senders)| !senders.is_empty());
    let named = senders.next().map(|(name, _)| format!("restore.{name}"));
    let mut warnings = Vec::new();
    let useless = match (&restore.keys, settings.records, named) {
        (Some(_), Records::Required, None) => Some(Warning::of(
            KEY,
            "serves nobody: restore.senders and restore.hold_senders are empty, so every restore \
             is refused; list the ids of those who may ask, such as `aws iam get-role --role-name \
             NAME --query Role.RoleId --output text` prints",
        )),
        (_, _, None) | (Some(_), Records::Required, Some(_)) => None,
        (_, Records::Off, Some(key)) => Some(Warning::of(
            key,
            "allows nothing: with registry.records = \"off\" nothing is recorded; set it to \
             \"required\", or leave this out",
        )),
        (None, Records::Required, Some(key)) => Some(Warning::of(
            key,
            "allows nothing: without restore.key every restore is refused; set \
             TAGWARDEN__RESTORE__KEY where the worker runs, to what `openssl rand -base64 33` \
             prints",
        )),
    };
    warnings.extend(useless);
    let guessable = restore.keys.iter().flat_map(RestoreKeys::guessable);
    warnings.extend(guessable.map(|at| {
        let message = format!(
            "has a key, number {at}, that can be guessed, and whoever guesses it holds any image: \
             put what `openssl rand -base64 33` prints before it, and take it out once nothing that \
             it signed is in quarantine"
        );
        Warning::of(KEY, message)
    }));
    warnings
}

/// Returns the settings of the base policy and of each rule, with their keys. A value that a rule
/// inherits is not its own.
fn own_settings(policy: &Policy) -> impl Iterator<Item = (String, &RuleSettings, bool)> {
    let rules = policy.rules.as_slice().iter().enumerate();
    let rules = rules.map(|(at, rule)| (format!("policy.rules[{at}]"), &rule.terms, true));
    [("policy".to_owned(), &policy.base, false)].into_iter().chain(rules)
}

fn useless_patterns(settings: &JudgingSettings) -> Vec<Warning> {
    let policy = &settings.policy;
    let mut lists: Vec<(String, &Globs, Names)> = vec![
        ("policy.repositories.include".to_owned(), &policy.include, Names::Repositories),
        ("policy.repositories.exclude".to_owned(), &policy.exclude, Names::Repositories),
        ("policy.pull_through".to_owned(), &policy.pull_through, Names::Repositories),
    ];
    for (key, terms, is_rule) in own_settings(policy) {
        let inherited = policy.base.protected_tags.patterns();
        if !is_rule || terms.protected_tags.patterns() != inherited {
            lists.push((format!("{key}.protected_tags"), &terms.protected_tags, Names::Tags));
        }
        lists.push((format!("{key}.tags"), &terms.tags, Names::Tags));
    }
    for (at, rule) in policy.rules.as_slice().iter().enumerate() {
        let key = format!("policy.rules[{at}].repositories");
        lists.push((key, &rule.repositories, Names::Repositories));
    }
    for (at, exception) in policy.exceptions.as_slice().iter().enumerate() {
        let key = format!("policy.exceptions[{at}].repositories");
        lists.push((key, &exception.repositories, Names::Repositories));
    }
    for topic in settings.notify.topics.iter().filter(|topic| !topic.repositories.is_empty()) {
        lists.push(("notify.topics".to_owned(), &topic.repositories, Names::Repositories));
    }
    let mut warnings = Vec::new();
    for (key, globs, names) in lists {
        for (at, pattern) in globs.patterns().iter().enumerate() {
            if let Some(reason) = reason(pattern, names) {
                let message = format!("matches nothing by {pattern:?}: {reason}");
                let place = Some(format!("{key}[{at}]"));
                warnings.push(Warning { place, ..Warning::of(key.clone(), message) });
            }
        }
    }
    warnings
}

fn terms(settings: &JudgingSettings) -> Vec<Warning> {
    let policy = &settings.policy;
    let mut warnings = Vec::new();
    for (key, terms, is_rule) in own_settings(policy) {
        let is_own = |differs: bool| !is_rule || differs;
        if terms
            .protected_tags
            .patterns()
            .iter()
            .any(|pattern| ["*", "**"].contains(&pattern.as_str()))
            && is_own(terms.protected_tags.patterns() != policy.base.protected_tags.patterns())
        {
            let message = "protects every tag: no tag is ever removed";
            warnings.push(Warning::of(format!("{key}.protected_tags"), message));
        }
        if let Some(grace) = terms.grace.filter(|grace| *grace >= LONG_GRACE)
            && is_own(terms.grace != policy.base.grace)
        {
            let message = format!(
                "is {}: a finding does not count before it has been known for that long",
                humantime::format_duration(grace)
            );
            warnings.push(Warning::of(format!("{key}.grace"), message));
        }
        if terms.action == Action::Delete
            && settings.limits.untags_per_hour.is_none()
            && is_own(terms.action != policy.base.action)
        {
            let message = "is delete, and nothing limits how many images are deleted in an hour: \
                           set limits.untags_per_hour";
            warnings.push(Warning::of(format!("{key}.action"), message));
        }
    }
    warnings
}

/// Returns whether every pattern of included repositories is excluded as it is written, or all are.
fn covers_nothing(policy: &Policy) -> bool {
    let (include, exclude) = (policy.include.patterns(), policy.exclude.patterns());
    let is_out = |pattern: &String| exclude.contains(pattern);
    exclude.iter().any(|pattern| ["*", "**"].contains(&pattern.as_str()))
        || (!include.is_empty() && include.iter().all(is_out))
}

fn exceptions(policy: &Policy, now: SystemTime) -> Vec<Warning> {
    let all = || policy.exceptions.as_slice().iter().enumerate();
    let everything = all().filter(|(_, exception)| {
        let is_every = |globs: &Globs| globs.is_empty() || globs.patterns() == ["*"];
        exception.digest.is_none()
            && exception.registries.are_all()
            && [&exception.id, &exception.package, &exception.repositories]
                .into_iter()
                .all(is_every)
    });
    let everything = everything.map(|(at, exception)| {
        let message = format!(
            "policy.exceptions[{at}] accepts every finding of every image until {}: nothing counts",
            exception.expires
        );
        Warning::about(format!("policy.exceptions[{at}].id"), message)
    });
    let warnings = all().filter_map(|(at, exception)| {
        let (expires, owner) = (&exception.expires, &exception.owner);
        let how = match exception.standing(now) {
            Standing::Active => return None,
            Standing::Expiring => {
                format!("no longer applies from {expires} on: renew it, or fix what it accepts")
            }
            Standing::Expired => {
                format!("has not applied since {expires}: remove it, or renew it")
            }
        };
        let message = format!("policy.exceptions[{at}] ({exception}; owner {owner}) {how}");
        Some(Warning::about(format!("policy.exceptions[{at}].expires"), message))
    });
    everything.chain(warnings).collect()
}
