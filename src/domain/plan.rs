//! From what was observed to what is to be done: the decision, and the plan of calls that it asks for.

use std::time::SystemTime;

use super::findings::{Finding, Findings, Scan, SeverityCounts};
use super::image::{Digest, Tag};
use super::judgement::{Judgement, Subject};
use super::policy::{Action, InUse, Policy, Terms};

/// What a manifest is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A container image.
    #[default]
    Image,
    /// An image index or a Docker manifest list.
    Index,
    /// Something else: a chart, a signature, an attestation.
    Artifact,
}

/// The media types of the configuration of a container image. ECR gives that of any other artifact as its
/// artifactMediaType.
pub const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Whether an artifact of this type is something else than a container image. An image may say of itself that it is one
/// (OCI image specification, "artifactType"), or nothing.
#[must_use]
pub fn is_other_artifact(artifact_type: &str) -> bool {
    !artifact_type.is_empty() && !IMAGE_CONFIGS.contains(&artifact_type)
}

/// Whether an image can be pulled (ECR user guide, "Archiving an image").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// It can.
    #[default]
    Active,
    /// It cannot, until it is restored.
    Archived,
    /// It is being restored.
    Activating,
}

/// What the registry says about one image now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The manifest's digest.
    pub digest: Digest,
    /// Every tag that points to it.
    pub tags: Vec<Tag>,
    /// What the manifest is of.
    pub kind: Kind,
    /// Whether it can be pulled.
    pub storage: Storage,
    /// When it was pushed.
    pub pushed_at: Option<SystemTime>,
    /// The manifest's media type, where the registry tells it.
    pub media_type: Option<String>,
}

impl Image {
    /// Whether it has a tag that people pull by: quarantine tags and the tags that hang signatures on an image do not
    /// count.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.tags.iter().any(|tag| !tag.is_quarantine_of(&self.digest) && !tag.is_referrer())
    }

    /// Whether its tags say that it hangs on another image.
    #[must_use]
    pub fn is_referrer(&self) -> bool {
        !self.tags.is_empty() && self.tags.iter().all(Tag::is_referrer)
    }

    /// Whether people can pull it by a tag of its own.
    #[must_use]
    pub fn is_pullable(&self) -> bool {
        self.kind != Kind::Artifact && self.storage == Storage::Active && self.is_tagged()
    }
}

/// What an event says of an image's findings: held against what ECR shows, never acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed<'a> {
    /// Nothing.
    Nothing,
    /// So many there are, by this kind of scanning.
    Counts(&'a SeverityCounts, Scanning),
    /// This one is there, says Inspector.
    Finding(&'a Finding),
}

/// Who scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanning {
    /// ECR itself, once.
    Basic,
    /// Amazon Inspector, again and again; what ECR shows lags behind it.
    Enhanced,
}

impl Claimed<'_> {
    fn may_be_ahead(self) -> bool {
        matches!(self, Self::Counts(_, Scanning::Enhanced) | Self::Finding(_))
    }

    /// The findings that there would be if ECR's list did not lag behind the event.
    fn added_to(self, findings: &Findings) -> Option<Findings> {
        match self {
            Self::Nothing => None,
            Self::Counts(counts, _) => {
                let mut claimed = findings.clone();
                claimed.counts =
                    claimed.counts.at_least(&counts.clone().without(&findings.inactive));
                Some(claimed)
            }
            Self::Finding(finding) => {
                let mut known = findings.list.iter().chain(&findings.inactive);
                if known.any(|known| known.id == finding.id) {
                    return None;
                }
                let mut claimed = findings.clone();
                claimed.list.push(finding.clone());
                claimed.counts.add(finding.severity, 1);
                Some(claimed)
            }
        }
    }
}

/// The policy's verdict on the findings of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// No limit is exceeded.
    Keep(Judgement),
    /// Findings are not there yet, or may still be growing; the text says what was seen.
    Wait(String),
    /// There is nothing to judge by; the text says why.
    Unscanned(String),
    /// A limit is exceeded.
    Violation(Judgement),
}

/// Judges the scan of an image. Enhanced scanning's findings can lag behind what the event claims, and lag is not to
/// be taken for clean.
#[must_use]
pub fn decide(
    policy: &Policy,
    subject: &Subject<'_>,
    scan: &Scan,
    claimed: Claimed<'_>,
) -> Decision {
    let (findings, growing) = match scan {
        Scan::Complete(findings) => (findings, claimed.may_be_ahead()),
        Scan::Active(findings) => (findings, true),
        Scan::Pending(state) => return Decision::Wait(format!("ECR's scan is {state}")),
        Scan::Unavailable(state) => {
            return Decision::Unscanned(format!("ECR's scan status is {state}"));
        }
    };
    let judgement = policy.judge(subject, findings);
    if judgement.violates() {
        return Decision::Violation(judgement);
    }
    let claimed = if growing { claimed.added_to(findings) } else { None };
    if claimed.is_some_and(|claimed| policy.judge(subject, &claimed).violates()) {
        return Decision::Wait("ECR shows fewer findings than the event".to_owned());
    }
    Decision::Keep(judgement)
}

/// The calls that a violation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tags to untag.
    pub untag: Vec<Tag>,
    /// Tags that stay.
    pub kept: Vec<Tag>,
    /// Why tags stay, in words.
    pub kept_because: Vec<String>,
    /// The quarantine tag.
    pub quarantine: Tag,
    /// Whether the image already bears its quarantine tag.
    pub marked: bool,
    /// Whether the image itself is to be deleted when its tags are gone and the team was told.
    pub delete: bool,
    /// Why nothing may be untagged after all, in words.
    pub holds: Vec<String>,
}

impl Plan {
    /// The plan for an image, or an index, that violates these terms and runs in so many places.
    #[must_use]
    pub fn new(terms: &Terms, image: &Image, in_use: u64) -> Self {
        let mut plan = Self {
            untag: Vec::new(),
            kept: Vec::new(),
            kept_because: Vec::new(),
            marked: false,
            delete: false,
            quarantine: Tag::quarantine(&image.digest),
            holds: Vec::new(),
        };
        for tag in &image.tags {
            if *tag == plan.quarantine {
                plan.marked = true;
            } else if let Some(why) = terms.keeps(tag) {
                plan.kept_because.push(why);
                plan.kept.push(tag.clone());
            } else {
                plan.untag.push(tag.clone());
            }
        }
        plan.delete = terms.action == Action::Delete && plan.kept.is_empty();
        if terms.in_use == InUse::Block && in_use > 0 {
            let places = if in_use == 1 { "place" } else { "places" };
            plan.holds.push(format!("it is in use in {in_use} {places} (in_use)"));
        }
        plan
    }
}

#[cfg(test)]
mod tests;
