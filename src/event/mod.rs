//! Events: from the bytes of a message to *assess this image*, *not for us*, or *malformed*.
//!
//! One file per event family; the dispatch is on `(source, detail-type)`. Nothing here trusts an event:
//! what it says leads to a look at the registry, never to an act.

mod ecr_image_scan;
mod envelope;
mod inspector2_scan;

use std::collections::HashMap;

use serde::Deserialize;

use crate::domain::findings::{Severity, SeverityCounts};
use crate::domain::image::{Digest, Home, InvalidName, Repository, Tag};
use crate::domain::origin::Origin;
use crate::domain::policy::Reporting;

use envelope::{Envelope, Head};

/// The family of an event. The closed set of the metric label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// "ECR Image Scan": basic scanning.
    EcrImageScan,
    /// "Inspector2 Scan": enhanced scanning's first scan.
    Inspector2Scan,
    /// Any other event.
    Other,
    /// No event at all.
    Malformed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::EcrImageScan, Self::Inspector2Scan, Self::Other, Self::Malformed];

    /// The word of metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcrImageScan => "ecr_image_scan",
            Self::Inspector2Scan => "inspector2_scan",
            Self::Other => "other",
            Self::Malformed => "malformed",
        }
    }
}

/// What a scan event says of the scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The scan has ended; these are its findings, where the event has them.
    Complete {
        /// Number of findings by severity, if given.
        counts: Option<SeverityCounts>,
        /// What an absent severity means.
        reporting: Reporting,
    },
    /// The scan has failed.
    Failed,
}

/// The one thing that every event family turns into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// Its family.
    pub kind: Kind,
    /// Where it came from.
    pub origin: Origin,
    /// The repository, with account and Region from its ARN, else from the envelope, else our own.
    pub repository: Repository,
    /// The image's digest, if given.
    pub digest: Option<Digest>,
    /// The tags that the image had when the event was written.
    pub tags: Vec<Tag>,
    /// What it says of the scan.
    pub claim: Claim,
}

/// What a message turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Assess this image.
    Assess(Box<ImageEvent>),
    /// An event, but not for us.
    Ignored {
        /// Its family.
        kind: Kind,
        /// Where it came from.
        origin: Box<Origin>,
        /// Why there is nothing to do.
        reason: &'static str,
    },
}

/// A message that is no event, or an event in a shape that its family does not have.
///
/// The text says what was expected where, and quotes nothing of the body: it is not ours to print.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Malformed {
    fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }

    fn name(field: &str, error: &InvalidName) -> Self {
        Self(format!("{field} is not {}", error.expected()))
    }

    fn json(place: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // serde quotes a string that it did not expect, whole.
        let quoted = text
            .split_once("string \"")
            .and_then(|(before, rest)| Some((before, rest.rsplit_once("\", expected")?.1)));
        Self(match quoted {
            Some((before, after)) => format!("{place}{before}a string, expected{after}"),
            None => format!("{place}{text}"),
        })
    }
}

/// Reads one message body. `own` is the worker's own account and Region.
///
/// # Errors
/// [`Malformed`] for anything that is neither an event for us nor one to ignore.
pub fn parse(body: &str, own: &Home) -> Result<Parsed, Malformed> {
    let head = Head::parse(body)?;
    match (head.source.as_ref(), head.detail_type.as_ref()) {
        (ecr_image_scan::SOURCE, ecr_image_scan::DETAIL_TYPE) => {
            ecr_image_scan::parse(&Envelope::parse(body)?, own)
        }
        (inspector2_scan::SOURCE, inspector2_scan::DETAIL_TYPE) => {
            inspector2_scan::parse(&Envelope::parse(body)?, own)
        }
        _ => Ok(Parsed::Ignored {
            kind: Kind::Other,
            origin: Box::new(head.origin()),
            reason: "events of this source and type are not for us",
        }),
    }
}

/// Counts by severity as events write them: any key can be missing. The sum that Inspector adds as TOTAL is left out.
/// A null, or findings of a severity that is new to us, make the counts worthless: `None`, to be looked up.
fn severity_counts(raw: HashMap<String, Option<u64>>) -> Option<SeverityCounts> {
    let mut counts = SeverityCounts::default();
    for (word, count) in raw.into_iter().filter(|(word, _)| word != "TOTAL") {
        match (Severity::from_word(&word.to_ascii_uppercase()), count) {
            (Some(severity), Some(count)) => counts.add(severity, count),
            (None, Some(0)) => {}
            (None, Some(_)) | (_, None) => return None,
        }
    }
    Some(counts)
}

/// Tags as events write them: null and empty ones stand for an untagged image.
fn tags(raw: Option<Vec<Option<String>>>) -> Result<Vec<Tag>, Malformed> {
    raw.into_iter()
        .flatten()
        .flatten()
        .filter(|tag| !tag.is_empty())
        .map(|tag| Tag::parse(tag).map_err(|error| Malformed::name("a tag of image-tags", &error)))
        .collect()
}

/// The detail of a scan event, alike in every family that reports scans.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "the detail of a scan event")]
struct ScanDetail {
    scan_status: String,
    repository_name: String,
    image_digest: Option<String>,
    image_tags: Option<Vec<Option<String>>>,
    finding_severity_counts: Option<HashMap<String, Option<u64>>>,
}

impl ScanDetail {
    /// The event of a family whose scans end with the status `complete` or FAILED.
    fn into_event(
        self,
        kind: Kind,
        complete: &str,
        reporting: Reporting,
        envelope: &Envelope<'_>,
        own: &Home,
    ) -> Result<Parsed, Malformed> {
        let origin = envelope.origin()?;
        let ignored = |reason| Parsed::Ignored { kind, origin: Box::new(origin.clone()), reason };
        let claim = match self.scan_status.as_str() {
            "FAILED" => Claim::Failed,
            status if status == complete => Claim::Complete {
                counts: self.finding_severity_counts.and_then(severity_counts),
                reporting,
            },
            _ => return Ok(ignored("the scan status is neither complete nor failed")),
        };
        let place = envelope.place(&self.repository_name, own)?;
        let digest = match self.image_digest.filter(|digest| !digest.is_empty()) {
            None => place.digest,
            Some(text) => {
                let digest =
                    Digest::parse(text).map_err(|error| Malformed::name("image-digest", &error))?;
                if place.digest.is_some_and(|other| other != digest) {
                    return Err(Malformed::new(
                        "image-digest and the digest in the repository's ARN differ",
                    ));
                }
                Some(digest)
            }
        };
        let tags = tags(self.image_tags)?;
        if digest.is_none() && tags.is_empty() {
            return Ok(ignored("the event names neither a digest nor a tag"));
        }
        if !tags.is_empty() && tags.iter().all(Tag::is_quarantine) {
            return Ok(ignored("the image bears nothing but our own quarantine tag"));
        }
        Ok(Parsed::Assess(Box::new(ImageEvent {
            kind,
            origin,
            repository: place.repository,
            digest,
            tags,
            claim,
        })))
    }
}

#[cfg(test)]
mod tests;
