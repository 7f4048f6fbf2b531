//! Notes of an explanation: what else is known, and where to look next.

use std::collections::BTreeSet;

use crate::domain::names::{Repository, Tag};
use crate::domain::plan::Course;
use crate::inspect::{Inspection, Quarantined};

/// The most quarantined images that are named.
const MAX_QUARANTINED: usize = 5;

/// Returns how a quarantined image can still be pulled.
pub(super) fn still_works(repository: &Repository, inspection: &Inspection) -> Option<String> {
    let Inspection::Violation(violation) = inspection else { return None };
    let is_marked = matches!(violation.plan.course(), Course::Marked);
    let name = || repository.pull_name(&violation.image.digest);
    is_marked.then(|| format!("quarantined; pull by digest still works:\n{}", name()))
}

/// Returns what is known of a tag that is on no image.
pub(super) fn absent(repository: &Repository, tag: &Tag, quarantined: &Quarantined) -> Vec<String> {
    let name = &repository.name;
    let mut notes = vec![
        format!("no image of {name} has the tag {tag} now"),
        "if tagwarden removed it, the image is kept; the notice names its digest".to_owned(),
    ];
    let Quarantined { digests, is_cut } = quarantined;
    let among = if *is_cut { " among those that could be listed" } else { "" };
    if digests.is_empty() {
        notes.push(format!("no image of {name}{among} has a quarantine tag alone"));
        return notes;
    }
    let images = if digests.len() == 1 { "image has" } else { "images have" };
    let count = digests.len();
    let mut note =
        format!("{count} {images}{among} only a quarantine tag; explain each by its name:");
    for digest in digests.iter().take(MAX_QUARANTINED) {
        note.push_str(&format!("\n{name}@{digest}"));
    }
    if count > MAX_QUARANTINED {
        note.push_str(&format!("\nand {} older ones", count - MAX_QUARANTINED));
    }
    notes.push(note);
    notes
}

/// Returns the notes of all plans, each once.
pub(super) fn of_plans(all: &[Inspection]) -> Vec<String> {
    let plans = all.iter().filter_map(|inspection| match inspection {
        Inspection::Violation(violation) => Some(&violation.plan),
        _ => None,
    });
    let notes: BTreeSet<_> = plans.flat_map(|plan| plan.notes.iter().cloned()).collect();
    notes.into_iter().collect()
}
