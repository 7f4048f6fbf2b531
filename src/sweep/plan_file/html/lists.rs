//! The page's lists of repositories: what would be changed, what cannot be judged, and what failed.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::cut::Cut;
use super::images::{Badness, Image, Line, Place, badness};
use super::words::{coverage, many, number, text};
use crate::domain::coverage::Coverage;
use crate::sweep::plan_file::{Document, Entry, RepositoryCounts};

/// The rows of a table.
const ROWS: usize = 300;

/// The images of a repository that would lose tags.
#[derive(Debug)]
pub(super) struct Changes {
    pub(super) place: Place,
    pub(super) images: Vec<Image>,
}

/// A repository with images that nobody can judge.
#[derive(Debug)]
pub(super) struct Unseen {
    pub(super) place: Place,
    pub(super) images: String,
    pub(super) why: Vec<String>,
}

/// Something that could not be inspected, and the reasons.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) place: Place,
    pub(super) what: String,
    pub(super) problem: String,
}

/// Returns the account, Region and repository of an image.
pub(super) fn name(entry: &Entry) -> (&str, &str, &str) {
    (&entry.account, &entry.region, &entry.repository)
}

/// Returns the images with tags to remove, by repository. The repository of the worst image comes
/// first.
pub(super) fn changed(document: &Document) -> Vec<&Entry> {
    let goes = |entry: &&Entry| !entry.untag.is_empty();
    let mut changed: Vec<_> = document.images.iter().filter(goes).collect();
    let mut worst: BTreeMap<_, Badness> = BTreeMap::new();
    for entry in &changed {
        let worst = worst.entry(name(entry)).or_insert_with(|| badness(entry));
        *worst = (*worst).min(badness(entry));
    }
    changed.sort_by_key(|entry| (worst.get(&name(entry)).copied(), name(entry), badness(entry)));
    changed
}

/// Describes images whole, those of one repository together. They are in the order of [`changed`].
pub(super) fn by_repository(document: &Document, images: &[&Entry]) -> Vec<Changes> {
    images
        .chunk_by(|one, other| name(one) == name(other))
        .filter_map(|images| {
            let place = Place::of(document, images.first()?);
            let images = images.iter().map(|entry| Image::new(document, entry)).collect();
            Some(Changes { place, images })
        })
        .collect()
}

/// Returns the images that exceed a limit and keep their tags.
pub(super) fn kept(document: &Document) -> Cut<Line> {
    let stays = |entry: &&Entry| {
        let coverage = Coverage::from_word(&entry.verdict);
        entry.untag.is_empty() && coverage.is_some_and(Coverage::violates)
    };
    let mut kept: Vec<_> = document.images.iter().filter(stays).collect();
    kept.sort_by_key(|entry| badness(entry));
    Cut::of(kept.into_iter(), ROWS, |entry| Line::new(document, entry))
}

/// Returns the repositories with images that no scan covers, the most images first.
pub(super) fn unseen(document: &Document) -> Cut<Unseen> {
    let is_unseen = |coverage: &Coverage| {
        *coverage == Coverage::Scanning || coverage.is_gap() && *coverage != Coverage::Failed
    };
    let why = |one: &RepositoryCounts| -> Vec<(Coverage, u64)> {
        let reasons = Coverage::ALL.into_iter().filter(is_unseen);
        let mut why: Vec<_> = reasons
            .filter_map(|coverage| Some((coverage, *one.census.get(coverage.as_str())?)))
            .filter(|(_, images)| *images > 0)
            .collect();
        why.sort_by_key(|(_, images)| Reverse(*images));
        why
    };
    let sum = |why: &[(Coverage, u64)]| {
        why.iter().fold(0_u64, |all, (_, images)| all.saturating_add(*images))
    };
    let mut unseen: Vec<_> = document
        .repositories
        .iter()
        .map(|one| (one, why(one)))
        .filter(|(_, why)| !why.is_empty())
        .collect();
    unseen.sort_by_key(|(_, why)| Reverse(sum(why)));
    Cut::of(unseen.into_iter(), ROWS, |(one, why)| Unseen {
        place: Place::new(document, &one.account, &one.region, Some(&one.repository)),
        images: number(sum(&why)),
        why: why
            .into_iter()
            .map(|(reason, images)| format!("{}: {}", coverage(reason), number(images)))
            .collect(),
    })
}

/// Returns what could not be inspected: registries and repositories, then images.
pub(super) fn failures(document: &Document) -> Cut<Failure> {
    let is_failed = |entry: &&Entry| entry.verdict == Coverage::Failed.as_str();
    let failed: Vec<_> = document.images.iter().filter(is_failed).collect();
    let mut listed: BTreeMap<_, u64> = BTreeMap::new();
    for entry in &failed {
        *listed.entry(name(entry)).or_default() += 1;
    }
    let places = document.failed.iter().map(|unread| {
        let name = unread.repository.as_deref();
        let place = Place::new(document, &unread.account, &unread.region, name);
        let what = if name.is_some() { "repository" } else { "registry" };
        Failure { place, what: what.to_owned(), problem: text(&unread.problem) }
    });
    let images = failed.iter().map(|entry| Failure {
        place: Place::of(document, entry),
        what: text(&entry.digest),
        problem: text(&entry.reasons.join("; ")),
    });
    let unlisted = document.repositories.iter().filter_map(|one| {
        let name = (one.account.as_str(), one.region.as_str(), one.repository.as_str());
        let failed = one.census.get(Coverage::Failed.as_str()).copied().unwrap_or_default();
        let more = failed.saturating_sub(listed.get(&name).copied().unwrap_or_default());
        (more > 0).then(|| Failure {
            place: Place::new(document, name.0, name.1, Some(name.2)),
            what: many(more, "image", "images"),
            problem: "the plan does not say why".to_owned(),
        })
    });
    let all: Vec<_> = places.chain(images).chain(unlisted).collect();
    Cut::of(all.into_iter(), ROWS, |failure| failure)
}
