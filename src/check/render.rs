//! Prints a report for people.

use std::fmt;

use super::{Report, RolePolicy, Setting};
use crate::domain::text::escaped;

/// The widest column. A longer text sticks out of it.
const WIDEST: usize = 44;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Setting) -> usize| {
            self.configuration.iter().map(of).filter(|width| *width <= WIDEST).max().unwrap_or(0)
        };
        let keys = width(|entry| entry.key.chars().count());
        let values = width(|entry| entry.value.chars().count());
        writeln!(f, "Configuration: each key, its value, and the source of the value")?;
        for Setting { key, value, origin } in &self.configuration {
            let value = if value.is_empty() { "-".into() } else { escaped(value, &[]) };
            writeln!(f, "  {key:<keys$}  {value:<values$}  {origin}")?;
        }
        for RolePolicy { of, policy } in &self.policies {
            let policy = serde_json::to_string_pretty(policy).map_err(|_| fmt::Error)?;
            writeln!(f, "\nIAM policy of {of}\n{policy}")?;
        }
        if !self.permissions.is_empty() {
            writeln!(
                f,
                "\nPermissions, tried by calls that cannot change anything, on repositories that \
                 need not exist"
            )?;
        }
        let actions = self.permissions.iter().map(|tried| tried.action.len()).max().unwrap_or(0);
        for tried in &self.permissions {
            writeln!(f, "  {:<7}  {:<actions$}  {}", tried.result, tried.action, tried.resource)?;
            if let Some(why) = &tried.why {
                writeln!(f, "           {}", escaped(why, &[]))?;
            }
        }
        let lines = self.notes.iter().map(|note| ("note", note));
        let lines = lines.chain(self.warnings.iter().map(|warning| ("warning", warning)));
        for (at, (label, line)) in lines.enumerate() {
            let gap = if at == 0 { "\n" } else { "" };
            writeln!(f, "{gap}{label}: {}", escaped(line, &[]))?;
        }
        match self.summary() {
            Some(summary) => writeln!(f, "\n{summary}"),
            None => Ok(()),
        }
    }
}

impl Report {
    /// Returns a summary of the permissions, if any was tried.
    fn summary(&self) -> Option<String> {
        let count = |result| self.permissions.iter().filter(|one| one.result == result).count();
        let (all, missing, unknown) = (self.permissions.len(), count("missing"), count("unknown"));
        if all == 0 {
            return None;
        }
        Some(match (missing, unknown) {
            (0, 0) => format!("All {all} permissions that were tried are granted."),
            (0, unknown) => {
                format!(
                    "{unknown} of {all} permissions could not be tried: see the answers of AWS."
                )
            }
            (missing, 0) => {
                format!(
                    "{missing} of {all} permissions are missing: give the role the policy above."
                )
            }
            (missing, unknown) => format!(
                "{missing} of {all} permissions are missing and {unknown} could not be tried: give \
                 the role the policy above, then try again."
            ),
        })
    }
}
