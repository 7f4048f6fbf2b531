//! `tagwarden check`: the effective configuration with the source of each value, warnings about
//! what its author has probably not meant (`warnings`), and the IAM policy that it needs (`iam`).
//! `scope` computes from the globs which repositories a policy covers and changes. The report is a
//! versioned JSON document, and `render` prints it for people.

pub mod iam;
mod pattern;
mod render;
pub mod scope;
mod warnings;

use std::time::SystemTime;

use serde::Serialize;

use crate::aws::{Permission, Tried};
use crate::config::{Entry, Settings};

/// One key with its value and the source of the value.
#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: String,
    origin: String,
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
    configuration: Vec<Setting>,
    warnings: Vec<String>,
    notes: Vec<String>,
    policies: Vec<RolePolicy>,
    permissions: Vec<TriedPermission>,
}

impl Report {
    /// Makes the report on these settings at this time, for a worker at this place.
    #[must_use]
    pub fn new(
        settings: &Settings,
        entries: Vec<Entry>,
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
        let mut warnings = warnings::warnings(settings, now);
        warnings.extend(unread_findings(settings, place));
        warnings.extend(policies.iter().filter_map(|RolePolicy { of, policy }| {
            Some(format!("the IAM policy of {of} has {}", policy.too_long()?))
        }));
        let setting =
            |Entry { key, value, origin }| Setting { key, value, origin: origin.to_string() };
        Self {
            schema: "tagwarden.check/1",
            configuration: entries.into_iter().map(setting).collect(),
            warnings,
            notes: notes(settings, place),
            policies,
            permissions: Vec::new(),
        }
    }

    /// Adds a warning about something that is probably not meant.
    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Adds the results of trying permissions.
    pub fn tried(&mut self, tried: Vec<Tried>) {
        if tried.is_empty() {
            return;
        }
        self.notes.push(
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
fn unread_findings(settings: &Settings, place: &iam::Place) -> Option<String> {
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

/// Returns notes about the policies, such as what else has to be set up.
fn notes(settings: &Settings, place: &iam::Place) -> Vec<String> {
    let mut notes = Vec::new();
    if place.own.is_none() {
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
