//! Prints the images of a plan as CSV (RFC 4180): one header, then one row an image.
//!
//! A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula. Tags and texts
//! of findings come from strangers, so such a cell begins with an apostrophe instead (OWASP, "CSV
//! Injection").

use ::csv::{Error, Writer};

use super::{Document, Entry};
use crate::domain::text::escaped;

/// The names of the columns.
const HEADER: [&str; 22] = [
    "account",
    "region",
    "repository",
    "digest",
    "kind",
    "tags",
    "untag",
    "kept",
    "delete",
    "verdict",
    "rule",
    "pushed_at",
    "size",
    "critical",
    "high",
    "medium",
    "low",
    "worst_finding",
    "worst_package",
    "worst_installed",
    "worst_fixed",
    "reasons",
];

/// Returns the images of a plan as CSV.
pub(super) fn csv(document: &Document) -> Result<String, Error> {
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for entry in &document.images {
        writer.write_record(row(entry).map(|text| cell(&text)))?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn row(entry: &Entry) -> [String; HEADER.len()] {
    let of = |severity: &str| entry.counts.get(severity).copied().unwrap_or(0).to_string();
    let worst = entry.findings.first().cloned().unwrap_or_default();
    [
        entry.account.clone(),
        entry.region.clone(),
        entry.repository.clone(),
        entry.digest.clone(),
        entry.kind.clone(),
        entry.tags.join(" "),
        entry.untag.join(" "),
        entry.kept.join(" "),
        entry.delete.to_string(),
        entry.verdict.clone(),
        entry.rule.clone(),
        entry.pushed_at.clone().unwrap_or_default(),
        entry.size.map(|size| size.to_string()).unwrap_or_default(),
        of("critical"),
        of("high"),
        of("medium"),
        of("low"),
        worst.id,
        worst.package.unwrap_or_default(),
        worst.installed.unwrap_or_default(),
        worst.fixed.unwrap_or_default(),
        entry.reasons.join("; "),
    ]
}

fn cell(text: &str) -> String {
    let text = escaped(text, &[]);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cell_never_begins_a_formula_or_a_row() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)"] {
            assert_eq!(cell(text), format!("'{text}"));
        }
        assert_eq!(cell("1.0-rc"), "1.0-rc");
        assert_eq!(cell("\t=1\r\n"), "\\u0009=1\\u000d\\u000a");
    }
}
