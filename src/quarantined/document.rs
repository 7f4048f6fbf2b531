//! The document of `tagwarden list`, as text, as JSON, or as CSV.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::Serialize;

use super::image::{Facts, QuarantinedImage, RemovedTag};
use super::reader::{Listing, Unreadable};
use crate::domain::findings::Severity;
use crate::domain::image::ImageKind;
use crate::domain::names::{RegistryId, Tag};
use crate::domain::record::{HoldInForce, RecordedFinding, Trust};
use crate::table;

/// The document's name and version.
const SCHEMA: &str = "tagwarden.list/1";

/// What is in quarantine.
#[derive(Debug)]
pub(crate) struct ListDocument {
    /// The caller's account and Region.
    pub(super) own: RegistryId,
    /// When the reading began.
    pub(super) now: SystemTime,
    /// The globs of `--repository`. If there are none, all repositories of the policy were read.
    pub(super) only: Vec<String>,
    /// What was read.
    pub(super) listing: Listing,
}

/// The numbers of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Totals {
    /// The images in quarantine.
    pub images: u64,
    /// Their tags that were removed, as far as they are known.
    pub tags: u64,
    /// The repositories that have such images.
    pub repositories: u64,
    /// The repositories that were read.
    pub repositories_read: u64,
    /// The images with our mark, without records, and with tags.
    pub unclear: u64,
}

#[derive(Serialize)]
struct ListJson<'a> {
    schema: &'static str,
    tagwarden: &'static str,
    made_at: String,
    account: &'a str,
    region: &'a str,
    only: &'a [String],
    registries: Vec<PlaceJson<'a>>,
    complete: bool,
    totals: Totals,
    oldest: Option<String>,
    images: Vec<ImageJson<'a>>,
    failed: Vec<UnreadableJson<'a>>,
}

#[derive(Serialize)]
struct PlaceJson<'a> {
    account: &'a str,
    region: &'a str,
}

#[derive(Serialize)]
struct ImageJson<'a> {
    account: &'a str,
    region: &'a str,
    repository: &'a str,
    digest: &'a str,
    kind: &'static str,
    pushed_at: Option<String>,
    size: Option<u64>,
    tags: Vec<&'a str>,
    removed: Vec<RemovedJson<'a>>,
    in_quarantine: bool,
    since: Option<String>,
    record: Option<RecordJson<'a>>,
    hold: Option<HoldJson<'a>>,
    verified: bool,
    signed: bool,
    unverified_records: usize,
    too_many_artifacts: bool,
}

#[derive(Serialize)]
struct RemovedJson<'a> {
    tag: &'a str,
    since: Option<String>,
    signed: bool,
}

#[derive(Serialize)]
struct RecordJson<'a> {
    rule: &'a str,
    reasons: &'a [String],
    counts: BTreeMap<&'static str, u64>,
    worst: Option<&'a RecordedFinding>,
    findings: &'a [String],
    cause: Option<&'a str>,
    platform: Option<&'a str>,
    event: &'a str,
    event_time: Option<&'a str>,
    notice: &'a str,
    policy: &'a str,
}

#[derive(Serialize)]
struct HoldJson<'a> {
    until: String,
    owner: &'a str,
    reason: &'a str,
    verified: bool,
}

#[derive(Serialize)]
struct UnreadableJson<'a> {
    account: &'a str,
    region: &'a str,
    repository: Option<&'a str>,
    digest: Option<&'a str>,
    problem: &'a str,
}

/// The names of the columns of the CSV.
const HEADER: [&str; 27] = [
    "account",
    "region",
    "repository",
    "digest",
    "kind",
    "in_quarantine",
    "removed",
    "tags",
    "since",
    "pushed_at",
    "size",
    "rule",
    "worst_severity",
    "worst_finding",
    "worst_package",
    "worst_installed",
    "worst_fixed",
    "critical",
    "high",
    "reasons",
    "event",
    "notice",
    "policy",
    "held_until",
    "held_by",
    "verified",
    "signed",
];

impl ListDocument {
    /// Makes the document of what the caller `own` has read, beginning at this time, in the
    /// repositories that match the globs `only`.
    #[must_use]
    pub(crate) fn new(
        own: RegistryId,
        now: SystemTime,
        only: Vec<String>,
        listing: Listing,
    ) -> Self {
        Self { own, now, only, listing }
    }

    /// Returns what was read.
    #[must_use]
    pub(crate) fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Returns the numbers of what was read.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        let Listing { repositories, images, unclear, .. } = &self.listing;
        let quarantined = || images.iter().filter(|image| image.is_in_quarantine);
        let places: BTreeSet<_> = quarantined().map(|image| &image.repository).collect();
        Totals {
            images: quarantined().count() as u64,
            tags: quarantined().map(|image| image.removed.len() as u64).sum(),
            repositories: places.len() as u64,
            repositories_read: *repositories,
            unclear: *unclear,
        }
    }

    /// Returns the versioned JSON document.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        let Self { own, now, only, listing } = self;
        let document = ListJson {
            schema: SCHEMA,
            tagwarden: env!("CARGO_PKG_VERSION"),
            made_at: time(*now),
            account: own.account.as_str(),
            region: own.region.as_str(),
            only,
            registries: listing.registries.iter().map(PlaceJson::new).collect(),
            complete: !listing.is_interrupted,
            totals: self.totals(),
            oldest: listing.oldest().map(time),
            images: listing.images.iter().map(ImageJson::new).collect(),
            failed: listing.failed.iter().map(UnreadableJson::new).collect(),
        };
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }

    /// Returns the images as CSV, one row an image.
    ///
    /// # Errors
    /// The writer's error.
    pub(crate) fn csv(&self) -> Result<String, ::csv::Error> {
        table::csv(&HEADER, self.listing.images.iter().map(row))
    }
}

impl<'a> PlaceJson<'a> {
    fn new(of: &'a RegistryId) -> Self {
        Self { account: of.account.as_str(), region: of.region.as_str() }
    }
}

impl<'a> ImageJson<'a> {
    fn new(of: &'a QuarantinedImage) -> Self {
        Self {
            account: of.repository.account.as_str(),
            region: of.repository.region.as_str(),
            repository: of.repository.name.as_str(),
            digest: of.digest.as_str(),
            kind: kind(of.kind),
            pushed_at: of.pushed_at.map(time),
            size: of.size,
            tags: of.tags.iter().map(Tag::as_str).collect(),
            removed: of.removed.iter().map(RemovedJson::new).collect(),
            in_quarantine: of.is_in_quarantine,
            since: of.since().map(time),
            record: of.facts.as_ref().map(RecordJson::new),
            hold: of.hold.as_ref().map(HoldJson::new),
            verified: of.trust == Trust::Verified,
            signed: of.is_signed(),
            unverified_records: of.unverified,
            too_many_artifacts: of.is_cut,
        }
    }
}

impl<'a> RemovedJson<'a> {
    fn new(of: &'a RemovedTag) -> Self {
        Self { tag: of.tag.as_str(), since: of.since.map(time), signed: of.is_signed }
    }
}

impl<'a> RecordJson<'a> {
    fn new(of: &'a Facts) -> Self {
        Self {
            rule: &of.rule,
            reasons: &of.reasons,
            counts: of.counts.iter().map(|(of, count)| (of.as_key(), count)).collect(),
            worst: of.worst.as_ref(),
            findings: &of.finding_ids,
            cause: of.cause.as_ref().map(|cause| cause.as_str()),
            platform: of.platform.as_deref(),
            event: &of.event,
            event_time: of.event_time.as_deref(),
            notice: &of.notice,
            policy: &of.policy,
        }
    }
}

impl<'a> HoldJson<'a> {
    fn new(of: &'a HoldInForce) -> Self {
        Self {
            until: time(of.until),
            owner: &of.owner,
            reason: &of.reason,
            verified: of.trust == Trust::Verified,
        }
    }
}

impl<'a> UnreadableJson<'a> {
    fn new(of: &'a Unreadable) -> Self {
        Self {
            account: of.registry_id.account.as_str(),
            region: of.registry_id.region.as_str(),
            repository: of.repository.as_ref().map(|repository| repository.name.as_str()),
            digest: of.digest.as_ref().map(|digest| digest.as_str()),
            problem: &of.problem,
        }
    }
}

fn row(image: &QuarantinedImage) -> [String; HEADER.len()] {
    let optional = |text: Option<String>| text.unwrap_or_default();
    let facts = image.facts.as_ref();
    let worst = facts.and_then(|facts| facts.worst.clone());
    let count = |severity| {
        let counts = facts.map(|facts| facts.counts.of(severity));
        optional(counts.map(|count| count.to_string()))
    };
    let of_worst = |field: fn(&RecordedFinding) -> Option<&String>| {
        optional(worst.as_ref().and_then(field).cloned())
    };
    let of_facts = |field: fn(&Facts) -> String| optional(facts.map(field));
    let hold = image.hold.as_ref();
    [
        image.repository.account.to_string(),
        image.repository.region.to_string(),
        image.repository.name.to_string(),
        image.digest.to_string(),
        kind(image.kind).to_owned(),
        image.is_in_quarantine.to_string(),
        image.removed.iter().map(|removed| removed.tag.as_str()).collect::<Vec<_>>().join(" "),
        image.tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(" "),
        optional(image.since().map(time)),
        optional(image.pushed_at.map(time)),
        optional(image.size.map(|size| size.to_string())),
        of_facts(|facts| facts.rule.clone()),
        of_worst(|worst| Some(&worst.severity)),
        of_worst(|worst| Some(&worst.id)),
        of_worst(|worst| worst.package.as_ref()),
        of_worst(|worst| worst.installed.as_ref()),
        of_worst(|worst| worst.fixed.as_ref()),
        count(Severity::Critical),
        count(Severity::High),
        of_facts(|facts| facts.reasons.join("; ")),
        of_facts(|facts| facts.event.clone()),
        of_facts(|facts| facts.notice.clone()),
        of_facts(|facts| facts.policy.clone()),
        optional(hold.map(|hold| time(hold.until))),
        optional(hold.map(|hold| hold.owner.clone())),
        (image.trust == Trust::Verified).to_string(),
        image.is_signed().to_string(),
    ]
}

fn kind(kind: ImageKind) -> &'static str {
    match kind {
        ImageKind::Image => "image",
        ImageKind::Index => "index",
        ImageKind::Artifact => "artifact",
    }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}
