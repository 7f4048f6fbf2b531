//! The tables at the end.

use comfy_table::Table;
use comfy_table::presets::UTF8_FULL_CONDENSED;

use crate::bus::{Finding, Scan, TaggedImage, is_mark, short};
use crate::narrator::Sightings;
use crate::stage::{PROTECTED, Stage, platform_of};

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
    let repository = stage.repository(&image.repository);
    let tags = stage.sim.tags(&repository, &image.digest).unwrap_or_default();
    let is_quarantined = tags.iter().any(|tag| is_mark(tag));
    let found = found(stage, sightings, image);
    match stage.sim.tag_target(&repository, &image.tag) {
        None => ("untagged".to_owned(), found),
        Some(digest) if digest != image.digest => {
            (format!("on {}", short(&digest)), "moved by somebody else".to_owned())
        }
        Some(_) if image.is_mark() => ("tagged".to_owned(), "keeps the image".to_owned()),
        Some(_) if is_quarantined => ("tagged".to_owned(), format!("protected by {PROTECTED}")),
        Some(_) if is_over_the_limits(sightings, &image.digest) => {
            let is_clean = sightings.clean.contains(&image.digest);
            let why = if is_clean { "accepted by an exception" } else { "not judged" };
            ("tagged".to_owned(), format!("{found}; {why}"))
        }
        Some(_) => ("tagged".to_owned(), found),
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
