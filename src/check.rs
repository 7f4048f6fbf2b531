//! `tagwarden check`: what a configuration comes to, where each value is from, and what it needs to be allowed.

pub mod iam;

use std::fmt;

use serde::Serialize;

use crate::aws::{Permission, Tried};
use crate::config::{Entry, Settings};
use crate::domain::exception::Standing;
use crate::domain::policy::Mode;

/// One key with its value and where that is from.
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

/// A policy document and whose it is.
#[derive(Debug, Serialize)]
struct RolePolicy {
    of: String,
    policy: iam::Document,
}

/// What a check came to.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: &'static str,
    configuration: Vec<Setting>,
    warnings: Vec<String>,
    policies: Vec<RolePolicy>,
    permissions: Vec<TriedPermission>,
}

impl Report {
    /// A report on settings, at this time; `keys` are what queue and topics turned out to be encrypted with.
    #[must_use]
    pub fn new(
        settings: &Settings,
        entries: Vec<Entry>,
        place: &iam::Place,
        now: std::time::SystemTime,
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
        Self {
            schema: "tagwarden.check/1",
            configuration: entries
                .into_iter()
                .map(|entry| Setting {
                    key: entry.key,
                    value: entry.value,
                    origin: entry.origin.to_string(),
                })
                .collect(),
            warnings: warnings(settings, now),
            policies,
            permissions: Vec::new(),
        }
    }

    /// Adds something that the reader should know.
    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Adds what trying permissions came to.
    pub fn tried(&mut self, tried: Vec<Tried>) {
        self.permissions.extend(tried.into_iter().map(|tried| {
            let (result, why) = match tried.permission {
                Permission::Granted => ("granted", None),
                Permission::Missing(why) => ("missing", Some(why)),
                Permission::Unknown(why) => ("unknown", Some(why)),
            };
            TriedPermission { action: tried.action, resource: tried.resource, result, why }
        }));
    }

    /// Whether every permission that was tried is there.
    #[must_use]
    pub fn is_permitted(&self) -> bool {
        self.permissions.iter().all(|tried| tried.result == "granted")
    }

    /// The versioned JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// What is allowed, and probably not meant.
fn warnings(settings: &Settings, now: std::time::SystemTime) -> Vec<String> {
    let policy = &settings.policy;
    let mut warnings = Vec::new();
    for (at, exception) in policy.exceptions.iter().enumerate() {
        let how = match exception.standing(now) {
            Standing::Active => continue,
            Standing::Expiring => "expires within 14 days",
            Standing::Expired => "has expired and counts no more",
        };
        let (until, owner) = (&exception.expires, &exception.owner);
        warnings.push(format!("policy.exceptions[{at}] ({exception}, {owner}) {how}: {until}"));
    }
    let everything = |rule: &crate::domain::policy::Rule| {
        rule.repositories.patterns().iter().any(|pattern| pattern == "*" || pattern == "**")
    };
    if let Some(at) = policy.rules.iter().position(everything)
        && at + 1 < policy.rules.len()
    {
        warnings
            .push(format!("policy.rules[{at}] is for every repository: no rule after it counts"));
    }
    if policy.base.limits.severities().next().is_none() {
        warnings
            .push("policy.max_findings has no limit: nothing violates the base policy".to_owned());
    }
    if policy.base.mode == Mode::Audit {
        warnings.push("policy.mode is audit: the base policy changes nothing".to_owned());
    }
    let untold = crate::domain::notice::NoticeAction::ALL.into_iter().filter(|action| {
        !settings.notify.topics.iter().any(|topic| topic.actions.contains(action))
    });
    for action in untold {
        warnings.push(format!("no topic takes notices of the action {}", action.as_str()));
    }
    warnings
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Setting) -> usize| {
            self.configuration.iter().map(of).max().unwrap_or(0).min(60)
        };
        let (keys, values) = (width(|entry| entry.key.len()), width(|entry| entry.value.len()));
        writeln!(f, "Configuration")?;
        for Setting { key, value, origin } in &self.configuration {
            writeln!(f, "  {key:<keys$}  {value:<values$}  {origin}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "\nwarning: {warning}")?;
        }
        for RolePolicy { of, policy } in &self.policies {
            let policy = serde_json::to_string_pretty(policy).map_err(|_| fmt::Error)?;
            writeln!(f, "\nIAM policy of {of}\n{policy}")?;
        }
        if !self.permissions.is_empty() {
            writeln!(f, "\nPermissions that were tried")?;
        }
        for tried in &self.permissions {
            write!(f, "  {:<8} {:<34} {}", tried.result, tried.action, tried.resource)?;
            match &tried.why {
                Some(why) => writeln!(f, "\n           {why}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}
