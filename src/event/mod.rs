//! Events: from the bytes of a message to *assess this image*, *not for us*, or *malformed*.
//!
//! One file per event family; the dispatch is on `(source, detail-type)`. Nothing here trusts an event:
//! what it says leads to a look at the registry, never to an act.

mod ecr_image_action;
mod ecr_image_scan;
mod envelope;
mod inspector2_finding;
mod inspector2_scan;
mod notification;
mod reading;
mod scan;
mod shape;
pub mod sweep;

use std::collections::HashSet;

use crate::domain::findings::{Finding, SeverityCounts};
use crate::domain::image::{Digest, Home, InvalidName, Repository, Tag};
use crate::domain::origin::Origin;
use crate::domain::policy::Reporting;

use envelope::{Envelope, Head};

/// The family of an event. The closed set of the metric label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// "ECR Image Scan": basic scanning.
    EcrImageScan,
    /// "ECR Image Action": a push, a deletion, a change of storage.
    EcrImageAction,
    /// "Inspector2 Scan": enhanced scanning's first scan.
    Inspector2Scan,
    /// "Inspector2 Finding": one finding of enhanced scanning.
    Inspector2Finding,
    /// A message of a sweep.
    Sweep,
    /// Any other event.
    Other,
    /// No event at all.
    Malformed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::EcrImageScan,
        Self::EcrImageAction,
        Self::Inspector2Scan,
        Self::Inspector2Finding,
        Self::Sweep,
        Self::Other,
        Self::Malformed,
    ];

    /// The word of metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcrImageScan => "ecr_image_scan",
            Self::EcrImageAction => "ecr_image_action",
            Self::Inspector2Scan => "inspector2_scan",
            Self::Inspector2Finding => "inspector2_finding",
            Self::Sweep => "sweep",
            Self::Other => "other",
            Self::Malformed => "malformed",
        }
    }
}

/// What an event says of the image.
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
    /// This finding is active in the image, says "Inspector2 Finding".
    Active(Box<Finding>),
    /// Nothing of findings: a tag was put on the image, it came back from the archive, or its scan or a finding is in a
    /// state that is new to us.
    Nothing,
}

/// The most tags of one image (Amazon ECR service quotas, "Tags per image").
const MOST_TAGS: usize = 1_000;

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
    /// What it says of the image.
    pub claim: Claim,
}

impl ImageEvent {
    /// Assess it, unless it leaves open which image it is about. One that bears nothing but our mark can still be held
    /// by an index, and what looks like our mark can be on another image.
    fn into_parsed(self) -> Parsed {
        if self.digest.is_some() || !self.tags.is_empty() {
            return Parsed::Assess(Box::new(self));
        }
        let reason = "the event names neither a digest nor a tag";
        Parsed::Ignored { kind: self.kind, origin: Box::new(self.origin), reason }
    }
}

/// What a message turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Assess this image.
    Assess(Box<ImageEvent>),
    /// Take this step of a sweep.
    Sweep(Box<sweep::Order>),
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
/// The text says what was expected where, and quotes no value of the body: they are not ours to print.
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

    /// Adds what the body looks like.
    fn that_looks(self, body: &str) -> Self {
        match shape::of(body) {
            Some(shape) => Self(format!("{self}; the body looks like {shape}")),
            None => self,
        }
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

/// Reads one message body: an event, or an SNS notification that carries one. `own` is the worker's own account
/// and Region.
///
/// # Errors
/// [`Malformed`] for anything that is neither an event for us nor one to ignore.
pub fn parse(body: &str, own: &Home) -> Result<Parsed, Malformed> {
    let body = without_bom(body);
    let problem = match event(body, own) {
        Ok(parsed) => return parsed,
        Err(problem) => problem,
    };
    let Some(message) = notification::message(body)? else {
        return Err(problem.that_looks(body));
    };
    let message = without_bom(&message);
    event(message, own)
        .map_err(|problem| problem.that_looks(message))
        .flatten()
        .map_err(|Malformed(problem)| Malformed(format!("in an SNS notification: {problem}")))
}

/// What programs on Windows write before a text is no part of it.
fn without_bom(body: &str) -> &str {
    body.strip_prefix('\u{feff}').unwrap_or(body)
}

/// Reads an event. The outer error: it is none.
fn event(body: &str, own: &Home) -> Result<Result<Parsed, Malformed>, Malformed> {
    let envelope = Envelope::parse(body);
    // Most are of a family, and are read once.
    if let Ok(envelope) = &envelope
        && let Some(parse) = family(&envelope.source, &envelope.detail_type)
    {
        return Ok(parse(envelope, own).and_then(bounded));
    }
    let head = Head::parse(body)?;
    Ok(match (envelope, family(&head.source, &head.detail_type)) {
        (Err(problem), Some(_)) => Err(problem),
        _ => Ok(Parsed::Ignored {
            kind: Kind::Other,
            origin: Box::new(head.origin()),
            reason: "events of this source and type are not for us",
        }),
    })
}

/// Every tag of an event without a digest has to be looked up.
fn bounded(parsed: Parsed) -> Result<Parsed, Malformed> {
    match &parsed {
        Parsed::Assess(event) if event.digest.is_none() && event.tags.len() > MOST_TAGS => {
            let tags = event.tags.len();
            Err(Malformed::new(format!(
                "the event names {tags} tags and no digest; an image has at most {MOST_TAGS} tags"
            )))
        }
        _ => Ok(parsed),
    }
}

/// How the family of this source and type reads its events.
type Parse = fn(&Envelope<'_>, &Home) -> Result<Parsed, Malformed>;

fn family(source: &str, detail_type: &str) -> Option<Parse> {
    Some(match (source, detail_type) {
        (ecr_image_scan::SOURCE, ecr_image_scan::DETAIL_TYPE) => ecr_image_scan::parse,
        (ecr_image_action::SOURCE, ecr_image_action::DETAIL_TYPE) => ecr_image_action::parse,
        (inspector2_scan::SOURCE, inspector2_scan::DETAIL_TYPE) => inspector2_scan::parse,
        (inspector2_finding::SOURCE, inspector2_finding::DETAIL_TYPE) => inspector2_finding::parse,
        (source, detail_type) if sweep::is_ours(source, detail_type) => sweep::parse,
        _ => return None,
    })
}

/// A digest as events write it: null and empty stand for none. `known` is what the event has said of it elsewhere.
fn digest(
    field: &str,
    raw: Option<String>,
    known: Option<Digest>,
) -> Result<Option<Digest>, Malformed> {
    let Some(text) = raw.filter(|text| !text.is_empty()) else { return Ok(known) };
    let digest = Digest::parse(text).map_err(|error| Malformed::name(field, &error))?;
    if known.is_some_and(|known| known != digest) {
        return Err(Malformed::new(format!("{field} and another digest in the event differ")));
    }
    Ok(Some(digest))
}

/// Tags as events write them: null and empty ones stand for an untagged image, and each counts once.
fn tags(field: &str, raw: Option<Vec<Option<String>>>) -> Result<Vec<Tag>, Malformed> {
    let field = format!("a tag of {field}");
    let mut met = HashSet::new();
    raw.into_iter()
        .flatten()
        .flatten()
        .filter(|tag| !tag.is_empty() && met.insert(tag.clone()))
        .map(|tag| Tag::parse(tag).map_err(|error| Malformed::name(&field, &error)))
        .collect()
}

#[cfg(test)]
mod tests;
