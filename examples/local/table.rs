//! The tables at the end.

use std::fmt;

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use crate::bus::{Finding, Scan, TaggedImage, is_mark, short};
use crate::log::Plan;
use crate::narrator::Sightings;
use crate::page::Fate;
use crate::stage::{Stage, platform_of};

fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header).add_rows(rows);
    table
}

/// What became of each event's message.
pub(crate) fn events(rows: Vec<[String; 4]>) -> Table {
    table(["", "event", "message", "because"], rows)
}

/// Every tag that was seen, by image, and where it is now.
pub(crate) fn tags(stage: &Stage, sightings: &Sightings) -> Table {
    let mut seen: Vec<&TaggedImage> = Vec::new();
    for image in &sightings.tags {
        if !seen.contains(&image) {
            seen.push(image);
        }
    }
    // The sort is stable: an image's tags come together, and stay in their order.
    seen.sort_by_key(|image| sightings.tags.iter().position(|other| other.digest == image.digest));
    let rows = seen.into_iter().map(|image| row(stage, sightings, image)).collect();
    table(["repository", "image", "tag", "before", "after", "why"], rows)
}

fn row(stage: &Stage, sightings: &Sightings, image: &TaggedImage) -> [String; 6] {
    let first = sightings.tags.iter().find(|one| one.is_same_tag(image));
    let came_later = image.is_mark() || first != Some(image);
    let After { fate, on, why } = after(stage, sightings, image);
    let now = match on {
        Some(digest) => format!("on {}", short(&digest)),
        None if fate == Fate::Untagged => "untagged".to_owned(),
        None => "tagged".to_owned(),
    };
    [
        image.repository.clone(),
        short(&image.digest).to_owned(),
        if image.is_mark() { "quarantine-…".to_owned() } else { image.tag.clone() },
        if came_later { "" } else { "tagged" }.to_owned(),
        now,
        why.to_string(),
    ]
}

/// What became of a tag.
pub(crate) struct After {
    /// In one word.
    pub(crate) fate: Fate,
    /// The other image that it is on by now.
    pub(crate) on: Option<String>,
    /// Why.
    pub(crate) why: Why,
}

/// Why a tag is where it is.
pub(crate) enum Why {
    /// What was found in its image.
    Found(String),
    /// Too much was found, which the policy accepts.
    Accepted(String),
    /// Too much was found, and this is what came of it.
    Left(String, String),
    /// Its name is protected.
    Protected,
    /// It was taken off, and given back.
    GivenBack(String),
    /// Somebody else has moved it.
    Moved,
    /// It is the quarantine tag.
    Mark,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(found) => f.write_str(found),
            Self::Accepted(found) => write!(f, "{found}; accepted by an exception"),
            Self::Left(found, why) => write!(f, "{found}; {why}"),
            Self::Protected => f.write_str("its name is protected"),
            Self::GivenBack(found) => write!(f, "{found}; given back"),
            Self::Moved => f.write_str("moved by somebody else"),
            Self::Mark => f.write_str("keeps the image"),
        }
    }
}

/// Where a tag is now, and why.
pub(crate) fn after(stage: &Stage, sightings: &Sightings, image: &TaggedImage) -> After {
    let repository = stage.repository(&image.repository);
    let tags = stage.sim.tags(&repository, &image.digest).unwrap_or_default();
    let is_quarantined = tags.iter().any(|tag| is_mark(tag));
    let found = found(stage, sightings, image);
    let (fate, why) = match stage.sim.tag_target(&repository, &image.tag) {
        None => (Fate::Untagged, Why::Found(found)),
        Some(digest) if digest != image.digest => {
            return After { fate: Fate::Moved, on: Some(digest), why: Why::Moved };
        }
        Some(_) if image.is_mark() => (Fate::Kept, Why::Mark),
        Some(_) if sightings.is_given_back(image) => (Fate::Kept, Why::GivenBack(found)),
        Some(_) if is_quarantined => (Fate::Kept, Why::Protected),
        Some(_) => left(sightings, &image.digest, found),
    };
    After { fate, on: None, why }
}

/// Why a tag is left on an image that is not quarantined.
fn left(sightings: &Sightings, digest: &str, found: String) -> (Fate, Why) {
    let other = sightings.others.get(digest).or_else(|| {
        let cause = |plan: &&Plan| plan.digest == digest;
        sightings.others.get(sightings.plans.iter().rev().find(cause)?.cause.as_ref()?)
    });
    match other {
        Some(other) if other.starts_with("would untag") => (Fate::WouldUntag, Why::Found(found)),
        _ if !is_over_the_limits(sightings, digest) => (Fate::Kept, Why::Found(found)),
        _ if sightings.clean.contains(digest) => (Fate::Kept, Why::Accepted(found)),
        Some(other) => (Fate::Kept, Why::Left(found, other.clone())),
        None => (Fate::Kept, Why::Left(found, "not judged".to_owned())),
    }
}

fn is_over_the_limits(sightings: &Sightings, digest: &str) -> bool {
    let Sightings { scans, findings, .. } = sightings;
    scans.get(digest).is_some_and(Scan::is_over_the_limits)
        || findings.get(digest).is_some_and(|known| known.iter().any(Finding::is_over_the_limits))
}

/// What is known to be in an image; in an index, in the image that is to blame.
fn found(stage: &Stage, sightings: &Sightings, image: &TaggedImage) -> String {
    if !image.is_index() {
        return found_in(sightings, &image.digest);
    }
    let mut plans = sightings.plans.iter().filter(|plan| plan.digest == image.digest);
    match plans.find_map(|plan| plan.cause.as_deref()) {
        Some(child) => {
            let platform =
                platform_of(&stage.sim, child).unwrap_or_else(|| short(child).to_owned());
            format!("{} in {platform}", found_in(sightings, child))
        }
        None => "an index: its images are scanned".to_owned(),
    }
}

fn found_in(sightings: &Sightings, digest: &str) -> String {
    match sightings.findings.get(digest).map(Vec::as_slice) {
        Some([one]) => format!("{} ({})", one.id, one.severity),
        Some(several) => format!("{} findings after the scan", several.len()),
        None => {
            sightings.scans.get(digest).map_or_else(|| "not scanned".to_owned(), Scan::findings)
        }
    }
}
