//! Prints the images of a plan as CSV: one header, then one row an image.

use ::csv::Error;

use super::{Document, Entry};
use crate::table;

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
    table::csv(&HEADER, document.images.iter().map(row))
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
