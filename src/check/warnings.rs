//! Warnings about settings that are allowed, and that their author has probably not meant.

use std::time::SystemTime;

use super::reach;
use crate::config::{Settings, UntagBy};
use crate::domain::exception::Standing;
use crate::domain::notice::NoticeAction;
use crate::domain::policy::{Mode, Policy};

pub(super) fn warnings(settings: &Settings, now: SystemTime) -> Vec<String> {
    let policy = &settings.policy;
    let mut warnings = exceptions(policy, now);
    for (at, why) in reach::never_counting(policy) {
        let name = policy.rules.as_slice().get(at).map(|rule| rule.name.as_str());
        let name = name.unwrap_or_default();
        warnings.push(format!("policy.rules[{at}] ({name}) never counts: {why}"));
    }
    if policy.base.limits.severities().next().is_none() {
        warnings.push(
            "policy.max_findings has no limit: without a rule that has one, every image keeps its tags".to_owned(),
        );
    }
    match (policy.base.mode, reach::changed(policy).is_empty()) {
        (Mode::Audit, true) => warnings.push(
            "policy.mode is audit: the team is told what would be untagged, and nothing is".to_owned(),
        ),
        (Mode::Audit, false) => warnings.push(
            "policy.mode is audit: nothing is untagged, but for repositories of a rule with mode enforce".to_owned(),
        ),
        (Mode::Enforce, _) => {}
    }
    if settings.untag_by == UntagBy::Tag {
        warnings.push(
            "registry.untag is tag: a tag that moves at the wrong moment is lost; for emulators only, with ECR use tag_and_digest".to_owned(),
        );
    }
    let taken = |action: &NoticeAction| {
        settings.notify.topics.iter().any(|topic| topic.actions.contains(action))
    };
    let untold = NoticeAction::ALL.into_iter().filter(|action| !taken(action));
    warnings.extend(
        untold.map(|action| format!("no topic takes notices of the action {}", action.as_str())),
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
                format!("counts no more from {expires} on: renew it, or mend what it is about")
            }
            Standing::Expired => {
                format!("counts no more since {expires}: take it out, or renew it")
            }
        };
        Some(format!("policy.exceptions[{at}] ({exception}; owner {owner}) {how}"))
    });
    warnings.collect()
}
