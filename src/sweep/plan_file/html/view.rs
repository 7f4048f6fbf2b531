//! Everything that the page shows: the document's numbers in the order in which people need them,
//! cut to what a browser and a reader can bear. Every cut is counted.

use std::collections::BTreeSet;

use super::charts::{Bar, Part, Worst, coverages, severities, tiles, whole, worst};
use super::cut::Cut;
use super::images::Line;
use super::lists::{
    Changes, Failure, Unseen, by_repository, changed, failures, kept, name, unseen,
};
use super::words::{many, number, text, time};
use crate::sweep::plan_file::{Document, Entry};

/// The images that are described whole. They are the work of weeks, and a browser shows the page
/// within seconds.
const WHOLE: usize = 500;
/// The images beyond those that have one line each.
const BRIEF: usize = 2000;
/// If more images would be changed, they are closed at first, so that people see them as a list.
const OPEN: usize = 10;
/// The names in a sentence.
const NAMES: usize = 20;

/// Everything that the page shows.
#[derive(Debug)]
pub(super) struct View {
    pub(super) title: String,
    pub(super) registries: Cut<String>,
    pub(super) only: Cut<String>,
    pub(super) made_at: String,
    pub(super) version: String,
    pub(super) source: String,
    pub(super) fingerprint: String,
    pub(super) mode: String,
    pub(super) complete: bool,
    pub(super) sentence: String,
    pub(super) deleted: Option<String>,
    pub(super) tiles: Vec<Bar>,
    pub(super) whole: Vec<Part>,
    pub(super) coverages: Vec<Bar>,
    pub(super) severities: Vec<Bar>,
    pub(super) worst: Cut<Worst>,
    pub(super) open: bool,
    pub(super) changed: String,
    pub(super) changes: Vec<Changes>,
    pub(super) brief: Cut<Line>,
    pub(super) kept: Cut<Line>,
    pub(super) unseen: Cut<Unseen>,
    pub(super) failures: Cut<Failure>,
}

impl View {
    pub(super) fn new(document: &Document) -> Self {
        let Document { account, region, registries, policy, .. } = document;
        let changed = changed(document);
        let (first, rest) = changed.split_at(changed.len().min(WHOLE));
        let deleted = changed.iter().filter(|entry| entry.delete).count() as u64;
        let registry = |account: &str, region: &str| text(&format!("{account} {region}"));
        Self {
            title: match registries.as_slice() {
                [] => registry(account, region),
                [one] => registry(&one.account, &one.region),
                several => many(several.len() as u64, "registry", "registries"),
            },
            registries: Cut::of(registries.iter(), NAMES, |one| {
                registry(&one.account, &one.region)
            }),
            only: Cut::of(document.only.iter(), NAMES, |glob| text(glob)),
            made_at: time(&document.made_at),
            version: text(&document.tagwarden),
            source: text(&policy.source),
            fingerprint: text(&policy.fingerprint),
            mode: text(&policy.mode),
            complete: document.complete,
            sentence: sentence(&changed),
            deleted: (deleted > 0).then(|| many(deleted, "image", "images")),
            tiles: tiles(document),
            whole: whole(document),
            coverages: coverages(document),
            severities: severities(document),
            worst: worst(document),
            open: changed.len() <= OPEN,
            changed: number(changed.len() as u64),
            changes: by_repository(document, first),
            brief: Cut::of(rest.iter(), BRIEF, |entry| Line::new(document, entry)),
            kept: kept(document),
            unseen: unseen(document),
            failures: failures(document),
        }
    }
}

fn sentence(changed: &[&Entry]) -> String {
    if changed.is_empty() {
        return "This plan removes no tags.".to_owned();
    }
    let tags = changed.iter().map(|entry| entry.untag.len() as u64).sum();
    let repositories: BTreeSet<_> = changed.iter().map(|entry| name(entry)).collect();
    format!(
        "This plan would remove {} from {} in {}.",
        many(tags, "tag", "tags"),
        many(changed.len() as u64, "image", "images"),
        many(repositories.len() as u64, "repository", "repositories")
    )
}
