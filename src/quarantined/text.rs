//! Prints what is in quarantine for people: a table, what the table has no room for, and what to
//! type next.

use std::time::SystemTime;

use super::document::{ListDocument, Totals};
use super::image::{Facts, QuarantinedImage};
use super::reader::{Listing, Unreadable};
use crate::domain::names::{RegistryId, Repository};
use crate::domain::record::{HoldInForce, Trust};
use crate::table::{self, Column, TableRow, WholeTags, count, number};

/// The width at which severity and id of a finding are shown.
const WORST: u16 = 24;
/// The room for the names of removed tags beside all other columns.
const REMOVED: u16 = 10;
/// The notes that are printed at a terminal below the table.
const MAX_NOTES: usize = 20;

/// Returns a list for people, in lines of at most this width. `None` means that nothing is
/// shortened, because a program reads it.
pub(crate) fn list_text(document: &ListDocument, width: Option<u16>) -> String {
    let ListDocument { own, listing, .. } = document;
    let mut parts = vec![head(document)];
    parts.extend(Some(table_of(&listing.images, own, width)).filter(|part| !part.is_empty()));
    parts.extend(Some(notes(document, width)).filter(|part| !part.is_empty()));
    parts.push(conclusion(document));
    parts.join("\n")
}

/// Returns a table of images in quarantine in lines of at most this width. `own` is the caller's
/// account and Region, which are not named.
fn table_of(images: &[QuarantinedImage], own: &RegistryId, width: Option<u16>) -> String {
    let any_signed = any_signed(images);
    let columns = [
        Column::free("REPOSITORY"),
        Column::fixed("IMAGE"),
        Column::fixed("REMOVED"),
        Column::at_least(WORST, "WORST"),
        Column::fixed("SINCE (UTC)"),
        Column::free("RULE"),
        Column::free("NOTICE"),
        Column::free("NOTE"),
    ];
    // At a terminal the notes follow the table, and `explain` says the rest.
    let columns = if width.is_some() { &columns[..5] } else { &columns[..] };
    let rows = images.iter().map(|image| {
        let tags: Vec<_> = image.removed.iter().map(|removed| removed.tag.as_str()).collect();
        let tags = match image.facts {
            Some(_) => WholeTags::new(&tags, REMOVED, width),
            None => WholeTags { cell: "?".to_owned(), below: Vec::new() },
        };
        let of = |field: fn(&Facts) -> &str| image.facts.as_ref().map(field).unwrap_or_default();
        let mut row = vec![
            place(&image.repository, own),
            table::digest(image.digest.as_str(), width),
            tags.cell,
            image.facts.as_ref().map(worst).unwrap_or_default(),
            image.since().map(minute).unwrap_or_default(),
            of(|facts| &facts.rule).to_owned(),
            of(|facts| &facts.notice).to_owned(),
            remarks(image, any_signed).join("; "),
        ];
        row.truncate(columns.len());
        TableRow { cells: row, below: tags.below }
    });
    table::table_with_lines(columns, rows.collect(), width)
}

fn head(document: &ListDocument) -> String {
    let place = match document.listing.registries.as_slice() {
        [one] => format!("registry   {} {}", one.account, one.region),
        some => format!("registries {}", number(some.len() as u64)),
    };
    let read = document.totals().repositories_read;
    let only = match document.only.as_slice() {
        [] => String::new(),
        only => format!(" ({})", only.join(", ")),
    };
    format!("{place}   {}{only}\n", count(read, "repository", "repositories"))
}

/// Returns what is to be said of single images and of what could not be read.
fn notes(document: &ListDocument, width: Option<u16>) -> String {
    let ListDocument { own, listing, .. } = document;
    let any_signed = any_signed(&listing.images);
    let mut rows = Vec::new();
    if width.is_some() {
        rows.extend(listing.images.iter().filter_map(|image| {
            let remarks = remarks(image, any_signed);
            let digest = table::digest(image.digest.as_str(), width);
            let subject = format!("{} {digest}", place(&image.repository, own));
            (!remarks.is_empty()).then(|| (subject, remarks.join("; ")))
        }));
    }
    let more = rows.len().saturating_sub(MAX_NOTES);
    rows.truncate(MAX_NOTES);
    rows.extend(listing.failed.iter().map(|unreadable| {
        let Unreadable { registry_id, repository, digest, problem } = unreadable;
        let mut subject = match repository {
            Some(repository) => place(repository, own),
            None => format!("{}/{} (all repositories)", registry_id.account, registry_id.region),
        };
        if let Some(digest) = digest {
            subject = format!("{subject} {}", table::digest(digest.as_str(), width));
        }
        (subject, format!("could not be read: {problem}"))
    }));
    let mut notes = table::notes(rows.into_iter(), width);
    if more > 0 {
        notes.push_str(&format!("+ {} with a note; `--format csv` has them all\n", images(more)));
    }
    notes
}

/// Returns whether any removed tag is on a record with a signature.
fn any_signed(images: &[QuarantinedImage]) -> bool {
    images.iter().flat_map(|image| &image.removed).any(|removed| removed.is_signed)
}

/// Returns what is to be said of an image beyond the columns of the table.
fn remarks(image: &QuarantinedImage, any_signed: bool) -> Vec<String> {
    let mut remarks = Vec::new();
    if !image.is_in_quarantine {
        remarks.push("none of its tags is missing".to_owned());
    }
    if image.facts.is_none() {
        remarks.push("quarantined without records: its former tags are not known".to_owned());
    }
    // If nothing is signed, it is said once and not of each image.
    let unsigned = image.removed.iter().filter(|removed| any_signed && !removed.is_signed).count();
    if unsigned > 0 && unsigned == image.removed.len() {
        remarks.push("not signed: no worker gives its tags back".to_owned());
    } else if unsigned > 0 {
        remarks.push(format!("{unsigned} of its tags not signed: no worker gives them back"));
    }
    remarks.extend(image.hold.as_ref().map(held));
    if !image.tags.is_empty() {
        let kept: Vec<_> = image.tags.iter().map(|tag| tag.as_str()).collect();
        remarks.push(format!("still has {}", table::tags(&kept, Some(0))));
    }
    if image.is_cut {
        remarks.push("too many artifacts are attached to it: no worker gives its tags back".into());
    }
    if image.unverified > 0 {
        let records = count(image.unverified as u64, "record", "records");
        remarks.push(format!("{records} that count for nothing"));
    }
    remarks
}

/// Returns a hold in words.
fn held(hold: &HoldInForce) -> String {
    let HoldInForce { until, owner, reason, trust } = hold;
    let doubt = match trust {
        Trust::Verified => "",
        Trust::NotVerified => ", not verified here",
    };
    format!("held until {} by {owner} ({reason}){doubt}", minute(*until))
}

fn conclusion(document: &ListDocument) -> String {
    let listing = &document.listing;
    let Totals { images, tags, repositories, unclear, .. } = document.totals();
    let mut lines = Vec::new();
    if unclear > 0 {
        lines.push(format!(
            "{} with the mark, with tags and without records: quarantined in part, or given back",
            count(unclear, "image", "images")
        ));
    }
    if !listing.failed.is_empty() {
        let failed = count(listing.failed.len() as u64, "part", "parts");
        lines.push(format!("{failed} could not be read"));
    }
    if listing.is_interrupted {
        lines.push("Interrupted: this is what was found so far.".to_owned());
    }
    if images == 0 {
        lines.push(match document.totals().repositories_read {
            0 => "No repository was read. Is it the right account and Region?".to_owned(),
            _ => "Nothing is in quarantine.".to_owned(),
        });
        return lines.join("\n");
    }
    let oldest = listing.oldest().map(|at| format!("; oldest since {}", minute(at)));
    lines.push(format!(
        "{} in quarantine, {}, {}{}",
        count(images, "image", "images"),
        count(tags, "tag", "tags"),
        count(repositories, "repository", "repositories"),
        oldest.unwrap_or_default(),
    ));
    if listing.images.iter().any(|image| image.trust == Trust::NotVerified) {
        lines.push(
            "Records are shown as they are: only the worker can tell ours from others.".to_owned(),
        );
    }
    lines.extend(next(document));
    lines.join("\n")
}

/// Says what to type next, for the first image whose tags a worker gives back; if there is none,
/// for the first whose tags are known.
fn next(document: &ListDocument) -> Option<String> {
    let Listing { images, .. } = &document.listing;
    let signed = images
        .iter()
        .filter(|image| !image.is_cut)
        .find_map(|image| Some((image, image.removed.iter().find(|removed| removed.is_signed)?)));
    let first = || images.iter().find_map(|image| Some((image, image.removed.first()?)));
    let (image, removed) = signed.or_else(first)?;
    let name = format!("{}:{}", command_name(&image.repository, &document.own), removed.tag);
    let why = format!("Why: tagwarden explain {name}");
    Some(match signed {
        Some(_) => format!(
            "{why}\nBack: tagwarden restore {name}\n\
             \x20     which is refused if the policy would remove it again: explain says whether"
        ),
        None => format!(
            "{why}\nBack: by hand, because nothing here is signed by the worker; the commands:\n\
             \x20     tagwarden restore {name}"
        ),
    })
}

/// Returns the name of a repository for a command line: with its registry unless that is the
/// caller's own.
#[must_use]
pub(crate) fn command_name(repository: &Repository, own: &RegistryId) -> String {
    if repository.registry_id() == *own {
        return repository.name.to_string();
    }
    let Repository { account, region, name } = repository;
    format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}")
}

/// Returns the repository's name, preceded by its registry if that is not the caller's own.
fn place(repository: &Repository, own: &RegistryId) -> String {
    if repository.registry_id() == *own {
        repository.name.to_string()
    } else {
        repository.to_string()
    }
}

/// Returns the worst finding: its severity, id, package and whether it has a fix.
fn worst(facts: &Facts) -> String {
    let Some(finding) = &facts.worst else {
        let severity = facts.counts.worst().map(|severity| severity.as_word().to_owned());
        return severity.unwrap_or_default();
    };
    let package = finding.package.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let fix = finding.fixed.as_deref().map(|fixed| format!(" (fix {fixed})")).unwrap_or_default();
    format!("{} {}{package}{fix}", finding.severity.to_uppercase(), finding.id)
}

/// Returns a time to the minute, in UTC.
fn minute(at: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(at).to_string().replacen('T', " ", 1);
    text.chars().take("2030-12-31 23:59".len()).collect()
}

fn images(of: usize) -> String {
    count(of as u64, "image", "images")
}
