//! The page's pictures: bars with their numbers. A colour never says anything alone.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::cut::Cut;
use super::images::Place;
use super::words::{Group, coverage, many, number, per_cent, share, text, width};
use crate::domain::coverage::Coverage;
use crate::domain::findings::Severity;
use crate::sweep::plan_file::{Document, RepositoryCounts};

/// The repositories in the list of the worst.
const WORST: usize = 10;
/// The words of a census that this version does not know and that are shown. An edited plan can
/// have any number.
const UNKNOWN: usize = 10;

/// A number with its bar.
#[derive(Debug)]
pub(super) struct Bar {
    /// The class of its colour.
    pub(super) class: &'static str,
    pub(super) label: String,
    pub(super) number: String,
    /// Another number that belongs to it.
    pub(super) note: String,
    pub(super) width: String,
}

/// A part of a bar.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) x: String,
    pub(super) width: String,
}

/// A repository among the worst.
#[derive(Debug)]
pub(super) struct Worst {
    pub(super) place: Place,
    pub(super) images: String,
    pub(super) critical: String,
    pub(super) high: String,
    pub(super) parts: Vec<Part>,
}

/// Returns the numbers of a census by group, without empty groups.
fn groups(census: &BTreeMap<String, u64>) -> Vec<(Group, u64)> {
    let of = |group| {
        let in_group = |word: &str| Group::of(Coverage::from_word(word)) == group;
        let counts = census.iter().filter(|(word, _)| in_group(word));
        (group, counts.fold(0_u64, |all, (_, images)| all.saturating_add(*images)))
    };
    Group::ALL.into_iter().map(of).filter(|(_, images)| *images > 0).collect()
}

fn all(census: &BTreeMap<String, u64>) -> u64 {
    census.values().fold(0, |all, images| all.saturating_add(*images))
}

/// Returns the numbers that come first on the page: all images, and those of each group.
pub(super) fn tiles(document: &Document) -> Vec<Bar> {
    let totals = &document.totals;
    let whole = all(&totals.census);
    let tile = |class, label, images, note| Bar {
        class,
        label,
        number: number(images),
        note,
        width: String::new(),
    };
    let images = if totals.images == 1 { "image" } else { "images" };
    let repositories = many(totals.repositories, "repository", "repositories");
    let label = format!("tagged {images} in {repositories}");
    let of = |(group, images): (Group, u64)| {
        tile(group.class(), group.label().to_owned(), images, share(images, whole))
    };
    std::iter::once(tile("all", label, totals.images, String::new()))
        .chain(groups(&totals.census).into_iter().map(of))
        .collect()
}

/// Returns the bar that stands for all images.
pub(super) fn whole(document: &Document) -> Vec<Part> {
    let groups = groups(&document.totals.census);
    let of = groups.iter().map(|(group, images)| (group.class(), *images));
    parts(of, all(&document.totals.census))
}

/// Puts parts beside each other, with gaps between them. A part that is not zero can be seen.
fn parts(of: impl Iterator<Item = (&'static str, u64)>, whole: u64) -> Vec<Part> {
    const LEAST: f64 = 1.0;
    const GAP: f64 = 0.2;
    let widths: Vec<_> = of
        .filter(|(_, part)| *part > 0)
        .map(|(class, part)| (class, per_cent(part, whole).max(LEAST)))
        .collect();
    let sum: f64 = widths.iter().map(|(_, width)| width).sum();
    let shrink = (100.0 / sum.max(LEAST)).min(1.0);
    let mut x = 0.0;
    let place = |(class, width): (&'static str, f64)| {
        let width = width * shrink;
        let part = Part { class, x: format!("{x:.2}%"), width: format!("{:.2}%", width - GAP) };
        x += width;
        part
    };
    widths.into_iter().map(place).collect()
}

/// Returns the number of images with each coverage, in the order of the groups.
pub(super) fn coverages(document: &Document) -> Vec<Bar> {
    let census = &document.totals.census;
    let whole = all(census);
    let bar = |label: String, coverage: Option<Coverage>, images: u64| Bar {
        class: Group::of(coverage).class(),
        label,
        number: number(images),
        note: share(images, whole),
        width: width(images, whole),
    };
    let mut known: Vec<_> = Coverage::ALL
        .into_iter()
        .filter_map(|coverage| Some((coverage, *census.get(coverage.as_str())?)))
        .filter(|(_, images)| *images > 0)
        .collect();
    known.sort_by_key(|(coverage, images)| (Group::of(Some(*coverage)), Reverse(*images)));
    let unknown = census.iter().filter(|(word, _)| Coverage::from_word(word).is_none());
    known
        .into_iter()
        .map(|(known, images)| bar(coverage(known).to_owned(), Some(known), images))
        .chain(unknown.take(UNKNOWN).map(|(word, images)| bar(text(word), None, *images)))
        .collect()
}

/// Returns the number of findings of each severity, and the images for which it is the worst.
pub(super) fn severities(document: &Document) -> Vec<Bar> {
    let totals = &document.totals;
    let of = |counts: &BTreeMap<String, u64>, severity: Severity| {
        counts.get(severity.as_key()).copied().unwrap_or_default()
    };
    let most = Severity::ALL.into_iter().map(|severity| of(&totals.findings, severity)).max();
    let bar = |severity: Severity| {
        let findings = of(&totals.findings, severity);
        let images = of(&totals.worst, severity);
        let always = matches!(severity, Severity::Critical | Severity::High);
        (always || findings > 0 || images > 0).then(|| Bar {
            class: severity.as_key(),
            label: severity.to_string(),
            number: number(findings),
            note: number(images),
            width: width(findings, most.unwrap_or_default()),
        })
    };
    Severity::ALL.into_iter().filter_map(bar).collect()
}

/// Returns the repositories with the most critical and high findings that count.
pub(super) fn worst(document: &Document) -> Cut<Worst> {
    let of = |one: &RepositoryCounts, severity: Severity| {
        one.findings.get(severity.as_key()).copied().unwrap_or_default()
    };
    let key = |one: &&RepositoryCounts| {
        (of(one, Severity::Critical), of(one, Severity::High), one.violating())
    };
    let mut worst: Vec<_> =
        document.repositories.iter().filter(|one| one.violating() > 0).collect();
    worst.sort_by_key(|one| Reverse(key(one)));
    let sum = |one: &&RepositoryCounts| {
        of(one, Severity::Critical).saturating_add(of(one, Severity::High))
    };
    let longest = worst.iter().take(WORST).map(sum).max().unwrap_or_default();
    Cut::of(worst.into_iter(), WORST, |one| {
        let (critical, high) = (of(one, Severity::Critical), of(one, Severity::High));
        let place = Place::new(document, &one.account, &one.region, Some(&one.repository));
        Worst {
            place,
            images: number(one.violating()),
            critical: number(critical),
            high: number(high),
            parts: parts([("critical", critical), ("high", high)].into_iter(), longest),
        }
    })
}
