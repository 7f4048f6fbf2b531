//! The tables at the end.

use aws_sim::RepoKey;
use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use crate::bus::{Scan, TaggedImage, is_mark, short};
use crate::narrator::Sightings;
use crate::stage::{PROTECTED, Stage};

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
    let (after, why) = after(stage, sightings, image);
    [
        image.repository.clone(),
        short(&image.digest).to_owned(),
        if image.is_mark() { "quarantine-…".to_owned() } else { image.tag.clone() },
        if came_later { "" } else { "tagged" }.to_owned(),
        after,
        why,
    ]
}

/// Where a tag is now, and why.
fn after(stage: &Stage, sightings: &Sightings, image: &TaggedImage) -> (String, String) {
    let RepoKey { account, region, .. } = &stage.repository;
    let repository = RepoKey::new(account, region, &image.repository);
    let tags = stage.sim.tags(&repository, &image.digest).unwrap_or_default();
    let is_quarantined = tags.iter().any(|tag| is_mark(tag));
    let scan = sightings.scans.get(&image.digest);
    let found = scan.map_or_else(|| "not scanned".to_owned(), Scan::findings);
    match stage.sim.tag_target(&repository, &image.tag) {
        None => ("untagged".to_owned(), found),
        Some(digest) if digest != image.digest => {
            (format!("on {}", short(&digest)), "moved by somebody else".to_owned())
        }
        Some(_) if image.is_mark() => ("tagged".to_owned(), "keeps the image".to_owned()),
        Some(_) if is_quarantined => ("tagged".to_owned(), format!("protected by {PROTECTED}")),
        Some(_) if scan.is_some_and(Scan::is_over_the_limits) => {
            ("tagged".to_owned(), format!("{found}; not judged"))
        }
        Some(_) => ("tagged".to_owned(), found),
    }
}
