//! Prints a report for people: the verdict first, then what to look at, then details.

use std::fmt::Write as _;

use super::{Report, RolePolicy, Setting};
use crate::config::Places;
use crate::domain::text::escaped;

/// The widest column. A longer text sticks out of it.
const WIDEST: usize = 44;

/// The details that are shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Details {
    /// Every key, including those that nobody has given.
    pub all_keys: bool,
    /// The IAM policies.
    pub iam: bool,
    /// Whether to use colours.
    pub coloured: bool,
}

impl Report {
    /// Writes the report for people. Every text from outside is escaped.
    #[must_use]
    pub fn render(&self, places: &Places, details: Details) -> String {
        let warnings = self.warnings.iter().map(|warning| {
            places.warning(warning.place.as_deref(), &warning.message, details.coloured)
        });
        let about_iam = details.iam || !self.permissions.is_empty();
        let iam_notes = self.iam_notes.iter().filter(|_| about_iam);
        let notes = self.notes.iter().chain(iam_notes).map(|note| format!("note: {note}"));
        let policies = self.policies.iter().filter(|_| details.iam);
        let policies = policies.map(|RolePolicy { of, policy }| {
            let policy = serde_json::to_string_pretty(policy).unwrap_or_default();
            format!("IAM policy of {of}\n{policy}")
        });
        let rest = notes.chain(self.permissions_tried()).chain(self.settings(details.all_keys));
        let rest = rest.chain(policies).map(|part| escaped(&part, &['\n']).into_owned());
        let parts: Vec<_> = [self.verdict()].into_iter().chain(warnings).chain(rest).collect();
        parts.join("\n\n")
    }

    /// Returns the first line.
    fn verdict(&self) -> String {
        let verdict = match self.summary() {
            Some(summary) if !self.is_permitted() => return format!("failed: {summary}"),
            Some(summary) => format!("ok: {summary}"),
            None => "ok".to_owned(),
        };
        let count = |number: usize, what: &str| {
            format!("{number} {what}{}", if number == 1 { "" } else { "s" })
        };
        let separator = if self.permissions.is_empty() { ": " } else { "; " };
        format!(
            "{verdict}{separator}{}, {}, {}",
            count(self.rules, "rule"),
            count(self.exceptions, "exception"),
            count(self.warnings.len(), "warning")
        )
    }

    fn settings(&self, all: bool) -> Option<String> {
        let shown: Vec<_> = self.configuration.iter().filter(|one| all || one.is_given).collect();
        let width = |of: fn(&Setting) -> usize| {
            shown.iter().map(|one| of(one)).filter(|width| *width <= WIDEST).max().unwrap_or(0)
        };
        let keys = width(|entry| entry.key.chars().count());
        let values = width(|entry| entry.value.chars().count());
        let mut text = if all {
            "Every key, its value, and the source of the value".to_owned()
        } else {
            "What is set, and by what (--all lists the defaults too)".to_owned()
        };
        for Setting { key, value, origin, .. } in &shown {
            let value = if value.is_empty() { "-".into() } else { escaped(value, &[]) };
            let origin = escaped(origin, &[]);
            let _ = write!(text, "\n  {key:<keys$}  {value:<values$}  {origin}");
        }
        (!shown.is_empty()).then_some(text)
    }

    fn permissions_tried(&self) -> Option<String> {
        let mut text = "Permissions, tried by calls that cannot change anything, on repositories \
                        that need not exist"
            .to_owned();
        let actions = self.permissions.iter().map(|tried| tried.action.len()).max()?;
        for tried in &self.permissions {
            let (result, action, resource) = (tried.result, tried.action, &tried.resource);
            let _ = write!(text, "\n  {result:<7}  {action:<actions$}  {resource}");
            if let Some(why) = &tried.why {
                let _ = write!(text, "\n           {}", escaped(why, &[]));
            }
        }
        Some(text)
    }

    /// Returns a summary of the permissions, if any was tried.
    fn summary(&self) -> Option<String> {
        let count = |result| self.permissions.iter().filter(|one| one.result == result).count();
        let (all, missing, unknown) = (self.permissions.len(), count("missing"), count("unknown"));
        if all == 0 {
            return None;
        }
        Some(match (missing, unknown) {
            (0, 0) => format!("all {all} permissions that were tried are granted"),
            (0, unknown) => {
                format!("{unknown} of {all} permissions could not be tried: see the answers of AWS")
            }
            (missing, 0) => format!(
                "{missing} of {all} permissions are missing: give the role the policy that --iam \
                 prints"
            ),
            (missing, unknown) => format!(
                "{missing} of {all} permissions are missing and {unknown} could not be tried: give \
                 the role the policy that --iam prints, then try again"
            ),
        })
    }
}
