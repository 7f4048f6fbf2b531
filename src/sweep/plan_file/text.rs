//! Prints a plan for people: what was inspected, a table of the images that need action or
//! attention, and a conclusion.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use super::{Document, Entry, Removals, Unread, entry};
use crate::domain::coverage::Coverage;
use crate::domain::policy::Fingerprint;
use crate::table::{self, Column, count, number};

/// The repositories that are named in a line that counts images.
const NAMED: usize = 3;
/// The width at which severity and id of a finding are shown.
const WORST: u16 = 28;
/// What the source of the policy is called when there is no file.
pub(crate) const DEFAULTS: &str = "defaults";

/// Prints a plan in lines of at most this width. `None` means that nothing is shortened.
pub(super) fn text(document: &Document, width: Option<u16>) -> String {
    let text = Text { document, width };
    let mut parts = vec![text.head()];
    parts.extend(Some(text.table()).filter(|table| !table.is_empty()));
    parts.extend(Some(text.notes()).filter(|notes| !notes.is_empty()));
    parts.push(text.conclusion());
    parts.join("\n")
}

struct Text<'a> {
    document: &'a Document,
    width: Option<u16>,
}

impl Text<'_> {
    fn head(&self) -> String {
        let Document { policy, registries, totals, .. } = self.document;
        let policy = match policy.source.as_str() {
            DEFAULTS => {
                format!("{DEFAULTS} ({}) - no file given; --config to use yours", policy.limits)
            }
            source => format!("{source} (sha256 {})", Fingerprint::short(&policy.fingerprint)),
        };
        let place = match registries.as_slice() {
            [one] => format!("registry   {} {}", one.account, one.region),
            some => format!("registries {}", number(some.len() as u64)),
        };
        let repositories = count(totals.repositories, "repository", "repositories");
        let images = count(totals.images, "image", "images");
        format!("policy     {policy}\n{place}   {repositories}   {images}\n")
    }

    /// Returns the repository's name, preceded by its registry if that is not the caller's own.
    fn place(&self, account: &str, region: &str, repository: Option<&str>) -> String {
        let name = repository.unwrap_or("(all repositories)");
        if account == self.document.account && region == self.document.region {
            return name.to_owned();
        }
        format!("{account}/{region}/{name}")
    }

    fn table(&self) -> String {
        let columns = [
            Column::free("REPOSITORY"),
            Column::fixed("IMAGE"),
            Column::free("TAGS"),
            Column::at_least(WORST, "WORST"),
            Column::fixed("AGE"),
            Column::fixed("VERDICT"),
            Column::free("REASON"),
        ];
        // At a terminal the reasons of images that need attention follow the table.
        let columns = if self.width.is_some() { &columns[..6] } else { &columns[..] };
        let listed = self.document.images.iter().map(|entry| self.row(entry));
        let failed = self.document.failed.iter().map(|unread| {
            let Unread { account, region, repository, problem } = unread;
            let place = self.place(account, region, repository.as_deref());
            let none = String::new;
            vec![place, none(), none(), none(), none(), "failed".to_owned(), problem.clone()]
        });
        let rows = listed.chain(failed).map(|mut row| {
            row.truncate(columns.len());
            row
        });
        table::table(columns, rows.collect(), self.width)
    }

    fn row(&self, entry: &Entry) -> Vec<String> {
        let quarantine = entry.digest.replacen("sha256:", "quarantine-", 1);
        let tags: Vec<_> = entry.tags.iter().filter(|tag| **tag != quarantine).collect();
        vec![
            self.place(&entry.account, &entry.region, Some(&entry.repository)),
            table::digest(&entry.digest, self.width),
            table::tags(&tags, self.width),
            worst(entry),
            self.age(entry).unwrap_or_default(),
            self.verdict(entry),
            entry.reasons.join("; "),
        ]
    }

    /// Returns the verdict. A deletion is named, because no tag brings the image back.
    fn verdict(&self, entry: &Entry) -> String {
        if entry.delete && entry.verdict == Coverage::Untag.as_str() {
            return "delete".to_owned();
        }
        entry.verdict.replace('_', " ")
    }

    /// Returns for how long an image had been in the registry when the plan was made.
    fn age(&self, entry: &Entry) -> Option<String> {
        let at = |text: &str| humantime::parse_rfc3339(text).ok();
        let (made, pushed) = (at(&self.document.made_at)?, at(entry.pushed_at.as_deref()?)?);
        Some(age(made, pushed))
    }

    /// Returns the reasons for images and repositories that need attention, which a table at a
    /// terminal has no room for, and the counts of images that are not listed.
    fn notes(&self) -> String {
        let mut notes = String::new();
        if self.width.is_some() {
            let needs_attention = |entry: &&Entry| {
                entry.verdict != Coverage::Untag.as_str() && !entry.reasons.is_empty()
            };
            let images = self.document.images.iter().filter(needs_attention).map(|entry| {
                let place = self.place(&entry.account, &entry.region, Some(&entry.repository));
                let digest = table::digest(&entry.digest, self.width);
                (format!("{place} {digest}"), entry.reasons.join("; "))
            });
            let failed = self.document.failed.iter().map(|unread| {
                let Unread { account, region, repository, problem } = unread;
                (self.place(account, region, repository.as_deref()), problem.clone())
            });
            notes = table::notes(images.chain(failed), self.width);
        }
        if let Some(not_covered) = self.not_covered() {
            notes.push_str(&not_covered);
        }
        notes
    }

    /// Returns the number of images that no scan covers, so that readers do not take them for
    /// clean.
    fn not_covered(&self) -> Option<String> {
        let images = self.document.totals.not_covered();
        if images == 0 {
            return None;
        }
        let uncovered = self.document.repositories.iter().filter(|one| one.not_covered() > 0);
        let mut uncovered: Vec<_> = uncovered.collect();
        uncovered.sort_by_key(|one| Reverse(one.not_covered()));
        let mut named: Vec<_> = uncovered
            .iter()
            .take(NAMED)
            .map(|one| {
                let place = self.place(&one.account, &one.region, Some(&one.repository));
                format!("{place} {}", number(one.not_covered()))
            })
            .collect();
        if uncovered.len() > NAMED {
            let more = uncovered.len() - NAMED;
            named.push(format!("{} more repositories", number(more as u64)));
        }
        let images = count(images, "image", "images");
        let hint = if self.document.all { "" } else { "   --all lists them" };
        Some(format!("+ {images} that no scan covers ({}){hint}\n", named.join(", ")))
    }

    /// Returns the number of images with each verdict, and what follows from them.
    fn conclusion(&self) -> String {
        let Document { totals, failed, complete, .. } = self.document;
        let counts: Vec<_> = totals
            .census
            .iter()
            .map(|(word, images)| format!("{} {}", number(*images), word.replace('_', " ")))
            .collect();
        let mut conclusion = String::new();
        if !counts.is_empty() {
            let images = count(totals.images, "image", "images");
            conclusion = format!("{images}: {}\n", counts.join(", "));
        }
        let unread = entry::sum(&totals.census, |coverage| coverage == Coverage::Failed);
        if unread > 0 || !failed.is_empty() {
            let places = failed.len() as u64;
            let places = (places > 0)
                .then(|| count(places, "repository or registry", "repositories or registries"));
            let images = (unread > 0).then(|| count(unread, "image", "images"));
            let parts: Vec<_> = places.into_iter().chain(images).collect();
            conclusion.push_str(&format!("{} could not be inspected\n", parts.join(" and ")));
        }
        if !complete {
            conclusion.push_str("Interrupted: this is what was found so far. Nothing was changed.");
            return conclusion;
        }
        if totals.repositories == 0 && failed.is_empty() {
            conclusion.push_str("No repository was read. Is it the right account and Region?\n");
        }
        let Removals { images, tags, repositories } = self.document.removals();
        let what = match images {
            0 => "no tags to remove".to_owned(),
            _ => format!(
                "{}, {} in {}",
                count(images, "image", "images"),
                count(tags, "tag", "tags"),
                count(repositories, "repository", "repositories"),
            ),
        };
        let deleted = self
            .document
            .images
            .iter()
            .filter(|entry| entry.delete && entry.verdict == Coverage::Untag.as_str());
        let deleted = match deleted.count() as u64 {
            0 => String::new(),
            deleted => format!("; {} would be deleted", count(deleted, "image", "images")),
        };
        conclusion.push_str(&format!("Plan: {what}{deleted}. Nothing was changed."));
        conclusion
    }
}

/// Returns the worst finding of an image: its severity, id, package and whether it has a fix.
fn worst(entry: &Entry) -> String {
    let Some((severity, _)) = entry.worst() else { return String::new() };
    let severity = severity.to_uppercase();
    let Some(finding) = entry.findings.first() else { return severity };
    let package = finding.package.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    let fix = finding.fixed.as_deref().map(|fixed| format!(" (fix {fixed})")).unwrap_or_default();
    format!("{severity} {}{package}{fix}", finding.id)
}

/// Returns the time since a push in its largest unit, such as `3d`.
fn age(now: SystemTime, pushed: SystemTime) -> String {
    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;
    match now.duration_since(pushed).unwrap_or(Duration::ZERO).as_secs() {
        seconds @ ..HOUR => format!("{}m", seconds / 60),
        seconds @ ..DAY => format!("{}h", seconds / HOUR),
        seconds => format!("{}d", seconds / DAY),
    }
}
