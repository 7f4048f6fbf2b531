//! Warnings about settings that are allowed, and that their author has probably not meant.

use std::time::SystemTime;

use super::scope;
use crate::config::Settings;
use crate::domain::exception::Standing;
use crate::domain::notice::NoticeAction;
use crate::domain::policy::{Mode, Policy};
use crate::registry::UntagBy;

pub(super) fn warnings(settings: &Settings, now: SystemTime) -> Vec<String> {
    let policy = &settings.policy;
    let mut warnings = exceptions(policy, now);
    for (at, why) in scope::never_counting(policy) {
        let name = policy.rules.as_slice().get(at).map(|rule| rule.name.as_str());
        let name = name.unwrap_or_default();
        warnings.push(format!("policy.rules[{at}] ({name}) never applies: {why}"));
    }
    if policy.base.limits.severities().next().is_none() {
        warnings.push(
            "policy.max_findings has no limit: unless a rule has one, every image keeps its tags"
                .to_owned(),
        );
    }
    match (policy.base.mode, scope::changed(policy).is_empty()) {
        (Mode::Audit, true) => warnings.push(
            "policy.mode is audit: notices say which tags would be removed, and no tag is removed"
                .to_owned(),
        ),
        (Mode::Audit, false) => warnings.push(
            "policy.mode is audit: tags are removed only in repositories of a rule with mode \
             enforce"
                .to_owned(),
        ),
        (Mode::Enforce, _) => {}
    }
    if settings.untag_by == UntagBy::Tag {
        warnings.push(
            "registry.untag is tag: a tag that moves between the read and the delete is lost; use \
             it for emulators only, and tag_and_digest with ECR"
                .to_owned(),
        );
    }
    let taken = |action: &NoticeAction| {
        settings.notify.topics.iter().any(|topic| topic.actions.contains(action))
    };
    let untold = NoticeAction::ALL.into_iter().filter(|action| !taken(action));
    warnings.extend(
        untold.map(|action| format!("no topic receives notices of the action {}", action.as_str())),
    );
    warnings
}

fn exceptions(policy: &Policy, now: SystemTime) -> Vec<String> {
    let all = policy.exceptions.as_slice().iter().enumerate();
    let warnings = all.filter_map(|(at, exception)| {
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
        Some(format!("policy.exceptions[{at}] ({exception}; owner {owner}) {how}"))
    });
    warnings.collect()
}
