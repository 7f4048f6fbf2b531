//! Notes of an explanation: what else is known, and where to look next.

use std::collections::BTreeSet;

use super::history::Past;
use crate::domain::names::{Repository, Tag};
use crate::domain::plan::Course;
use crate::inspect::Inspection;
use crate::quarantined::NamingTag;

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
pub(super) fn absent(repository: &Repository, tag: &Tag, naming: &NamingTag) -> Vec<String> {
    let name = &repository.name;
    let mut notes = vec![format!("no image of {name} has the tag {tag} now")];
    let NamingTag { images, more, without_records, unread } = naming;
    if *more > 0 {
        notes.push(format!("{more} more images have records that name it"));
    }
    if *unread > 0 {
        notes.push(format!("the records of {unread} images could not be read"));
    }
    if !images.is_empty() {
        return notes;
    }
    if without_records.is_empty() {
        notes.push(format!(
            "no record in {name} names it, and no image there was quarantined without records"
        ));
        return notes;
    }
    let count = without_records.len();
    let images = if count == 1 { "image was" } else { "images were" };
    let mut note =
        format!("{count} {images} quarantined without records; the notice names its digest:");
    for digest in without_records.iter().take(MAX_QUARANTINED) {
        note.push_str(&format!("\n{name}@{digest}"));
    }
    if count > MAX_QUARANTINED {
        note.push_str(&format!("\nand {} older ones", count - MAX_QUARANTINED));
    }
    notes.push(note);
    notes
}

/// Returns what is to be said of the records beside the histories.
pub(super) fn of_past(repository: &Repository, past: &Past) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(problem) = &past.problem {
        notes.push(format!("its records could not be read: {problem}"));
    }
    let named = past.named.as_ref().filter(|named| named.is_marked());
    if let Some(named) = named.filter(|named| named.history.quarantines().is_empty()) {
        notes.push(format!(
            "it bears the quarantine tag without records: its former tags are not known here, and \
             the notice names them\n{}",
            repository.pull_name(&named.image.digest)
        ));
    }
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
