//! `tagwarden check`: warnings about what the author of a configuration has probably not meant
//! (`warnings`, `unmatched`), the effective configuration with the source of each value, and the
//! IAM policy that it needs (`iam`). `scope` computes from the globs which repositories a policy
//! covers and changes. The report is a versioned JSON document, and `render` prints it for people.

pub mod iam;
mod lifecycle;
mod pattern;
mod registries;
pub mod render;
pub mod scope;
mod unmatched;
mod warnings;
pub mod widening;

use std::time::SystemTime;

use serde::Serialize;

pub(crate) use self::lifecycle::Lifecycle;
use self::warnings::Warning;
use crate::aws::{Permission, Tried};
use crate::config::{Entry, JudgingSettings, Origin, Places};

/// One key with its value and the source of the value.
#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: String,
    origin: String,
    /// Whether somebody has given it.
    #[serde(skip)]
    is_given: bool,
}

/// A permission that was tried.
#[derive(Debug, Serialize)]
struct TriedPermission {
    action: &'static str,
    resource: String,
    result: &'static str,
    why: Option<String>,
}

/// A policy document, and the role that it is for.
#[derive(Debug, Serialize)]
struct RolePolicy {
    of: String,
    policy: iam::Document,
}

/// The report of a check.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    rules: usize,
    exceptions: usize,
    configuration: Vec<Setting>,
    warnings: Vec<Warning>,
    /// What else a worker needs.
    notes: Vec<String>,
    /// What to know about the policies.
    iam_notes: Vec<String>,
    policies: Vec<RolePolicy>,
    permissions: Vec<TriedPermission>,
}

impl Report {
    /// Makes the report on these settings at this time, for a worker at this place.
    #[must_use]
    pub fn new(
        settings: &JudgingSettings,
        entries: Vec<Entry>,
        places: &Places,
        place: &iam::Place,
        now: SystemTime,
    ) -> Self {
        let mut policies = vec![RolePolicy {
            of: "the task's role".to_owned(),
            policy: iam::task_policy(settings, place),
        }];
        policies.extend(iam::other_accounts_policy(settings, place).map(|policy| RolePolicy {
            of: format!(
                "the role {} in every other account",
                settings.aws.assume_role.as_deref().unwrap_or_default()
            ),
            policy,
        }));
        policies.extend(iam::operator_policy(settings, place).map(|policy| RolePolicy {
            of: "an operator who may restore images".to_owned(),
            policy,
        }));
        let mut warnings = warnings::warnings(settings, now);
        let widening = widening::widening(&entries).into_iter();
        warnings.extend(widening.map(|one| Warning::about(one.key, one.message)));
        warnings.extend(unread_findings(settings, place).map(Warning::general));
        warnings.extend(policies.iter().filter_map(|RolePolicy { of, policy }| {
            let too_long = policy.too_long()?;
            Some(Warning::general(format!("the IAM policy of {of} has {too_long}")))
        }));
        for warning in &mut warnings {
            warning.at = warning.place.as_deref().and_then(|key| places.of(key));
        }
        let setting = |Entry { key, value, origin, .. }| Setting {
            key,
            value,
            is_given: matches!(origin, Origin::File(_) | Origin::Variable(_)),
            origin: origin.to_string(),
        };
        Self {
            schema: "tagwarden.check/1",
            rules: settings.policy.rules.as_slice().len(),
            exceptions: settings.policy.exceptions.as_slice().len(),
            configuration: entries.into_iter().map(setting).collect(),
            warnings,
            notes: missing(settings).into_iter().collect(),
            iam_notes: iam_notes(settings, place),
            policies,
            permissions: Vec::new(),
        }
    }

    /// Adds warnings about the lifecycle policies of repositories.
    pub(crate) fn lifecycle(&mut self, read: &Lifecycle) {
        self.warnings.extend(read.warnings().into_iter().map(Warning::general));
    }

    /// Adds the results of trying permissions.
    pub fn tried(&mut self, tried: Vec<Tried>) {
        if tried.is_empty() {
            return;
        }
        self.iam_notes.push(
            "a permission counts as granted when AWS objects only to the request itself; \
             permissions of kms and inspector2 are not tried"
                .to_owned(),
        );
        self.permissions.extend(tried.into_iter().map(|tried| {
            let (result, why) = match tried.permission {
                Permission::Granted => ("granted", None),
                Permission::Missing(why) => ("missing", Some(why)),
                Permission::Unknown(why) => ("unknown", Some(why)),
            };
            TriedPermission { action: tried.action, resource: tried.resource, result, why }
        }));
    }

    /// Returns whether every permission that was tried is granted.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        self.permissions.iter().all(|tried| tried.result == "granted")
    }

    /// Returns the versioned JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Returns a warning if findings of other accounts cannot be read. ECR never shows the findings of
/// enhanced scanning to other accounts, whatever the repository's policy allows
/// (containers-roadmap, issue 2541).
fn unread_findings(settings: &JudgingSettings, place: &iam::Place) -> Option<String> {
    // If the worker's own account is not known, the first account may be the worker's own.
    let known = usize::from(place.own.is_none());
    let others = iam::other_accounts(&settings.policy, place);
    let other = others.get(known)?;
    settings.aws.assume_role.is_none().then(|| {
        format!(
            "policy.accounts names {other}{}, and aws.assume_role is not set: findings of enhanced \
             scanning cannot be read there, whatever a repository policy allows",
            if others.len() > known + 1 { " and others" } else { "" }
        )
    })
}

/// Returns the keys that a worker needs and that are not set, as a note.
fn missing(settings: &JudgingSettings) -> Option<String> {
    let needed = [
        ("policy.mode", settings.mode.is_none()),
        ("queue.url", settings.queue.is_none()),
        ("notify.topic_arn", settings.notify.topics.is_empty()),
    ];
    let missing: Vec<_> = needed.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect();
    (!missing.is_empty()).then(|| format!("`tagwarden run` also needs {}", missing.join(", ")))
}

/// Returns notes about the policies, such as what else has to be set up.
fn iam_notes(settings: &JudgingSettings, place: &iam::Place) -> Vec<String> {
    let mut notes = Vec::new();
    if place.own.is_none() && settings.queue.is_some() {
        notes.push(
            "queue.url names no account and Region, so the policy has * in their place; --live \
             asks the queue"
                .to_owned(),
        );
    }
    if place.is_key_unknown(&settings.notify.topics) {
        notes.push(
            "QueueKey and TopicKeys are needed only if a key of your own encrypts the queue or \
             topics; if none does, leave them out; --live asks the queue and topics"
                .to_owned(),
        );
    }
    let others = iam::other_accounts(&settings.policy, place);
    match &settings.aws.assume_role {
        _ if others.is_empty() => {}
        Some(_) => {
            let id = settings.aws.external_id.as_ref().map(|_| ", with the external id");
            notes.push(format!(
                "the role in every other account must trust the task's role{}",
                id.unwrap_or_default()
            ));
        }
        None => notes.push(
            "in other accounts enhanced scanning needs aws.assume_role; for basic scanning it is \
             enough that the policy of every repository allows the task's role the same"
                .to_owned(),
        ),
    }
    notes
}
