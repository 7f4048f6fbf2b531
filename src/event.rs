//! Events: reads the body of a message as *assess this image*, *take this step of a sweep*, *give
//! tags back to this image*, *not for us* or *malformed*.
//!
//! Each event family has a file of its own, and `(source, detail-type)` selects it. An event that
//! arrives inside an SNS notification is unwrapped first, once.
//!
//! Nothing here trusts an event, because anybody who can send to the queue or publish on the event
//! bus can write one: an event leads to a look at the registry, never to an act. A contradiction is
//! never resolved by a guess: an event that names two different digests or several images is
//! malformed.
//!
//! Invariant 14: any bytes give one of these results, never a panic. Property tests and fuzz
//! targets hold that.
//!
//! One gap is known. The tags of an event without a digest lead to the image only while they are on
//! it. When a task is killed after it removed them and before it sent the notice, nothing leads the
//! next delivery to the image, so only the audit log has the removal. Every scan event that AWS
//! prints as an example has a digest.

mod ecr_image_action;
mod ecr_image_scan;
mod envelope;
mod inspector2_finding;
mod inspector2_scan;
mod notification;
mod reading;
pub mod restore;
mod scan;
mod shape;
pub mod sweep;

use std::collections::HashSet;

use crate::domain::findings::{Finding, SeverityCounts};
use crate::domain::names::{Digest, InvalidName, RegistryId, Repository, Tag};
use crate::domain::origin::Origin;
use crate::domain::policy::Reporting;

use envelope::{Envelope, Head};

/// The family of an event. This is the closed set of values of the metric label `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// "ECR Image Scan": basic scanning has ended.
    EcrImageScan,
    /// "ECR Image Action": an image was pushed, deleted, archived or restored.
    EcrImageAction,
    /// "Inspector2 Scan": the first scan of enhanced scanning has ended.
    Inspector2Scan,
    /// "Inspector2 Finding": enhanced scanning has found, changed or closed one finding.
    Inspector2Finding,
    /// A message of a sweep.
    Sweep,
    /// "Restore Image": somebody asks to give tags back, to hold an image, or to end a hold.
    Restore,
    /// An event of any other source or type.
    Other,
    /// A body that cannot be read as an event.
    Malformed,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::EcrImageScan,
        Self::EcrImageAction,
        Self::Inspector2Scan,
        Self::Inspector2Finding,
        Self::Sweep,
        Self::Restore,
        Self::Other,
        Self::Malformed,
    ];

    /// Returns the word for this kind in metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EcrImageScan => "ecr_image_scan",
            Self::EcrImageAction => "ecr_image_action",
            Self::Inspector2Scan => "inspector2_scan",
            Self::Inspector2Finding => "inspector2_finding",
            Self::Sweep => "sweep",
            Self::Restore => "restore",
            Self::Other => "other",
            Self::Malformed => "malformed",
        }
    }

    /// Returns whether the image of such an event is found again without another event, so that
    /// the message need not wait for it: the next sweep finds it.
    #[must_use]
    pub fn is_found_again(self) -> bool {
        self == Self::Sweep
    }

    /// Returns whether such an event is written when its image changes, so that its age is a delay
    /// of ours. An image that a sweep finds has the time at which the sweep began.
    #[must_use]
    pub fn is_written_at_the_change(self) -> bool {
        self != Self::Sweep
    }

    /// Returns whether messages of this kind wait for each other, as the results of a sweep do.
    /// Then a wait is nothing to warn of.
    #[must_use]
    pub fn waits_for_its_like(self) -> bool {
        self == Self::Sweep
    }
}

/// The state of the image as the event describes it.
///
/// No claim decides the state of a scan: ECR is asked, because the event may be about the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The scan has ended, with these findings if the event counts them.
    Complete {
        /// Number of findings by severity; `None` if the event gives no usable counts.
        counts: Option<SeverityCounts>,
        /// Whether a severity without a count has no findings or an unknown number.
        reporting: Reporting,
    },
    /// The scan has failed.
    Failed,
    /// "Inspector2 Finding" says that this finding is active in the image.
    Active(Box<Finding>),
    /// The event says nothing about findings: a tag was put on the image, the image was restored
    /// from the archive, or its scan or a finding is in a state that this version does not know.
    Nothing,
}

/// The maximum number of tags of one image (Amazon ECR service quotas, "Tags per image").
const MAX_TAGS: usize = 1_000;

/// One image to assess: every event family is read as this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEvent {
    /// The family of the event.
    pub kind: Kind,
    /// The source, type, id and time of the event.
    pub origin: Origin,
    /// The repository. Its account and Region come from its ARN, else from the envelope, else they
    /// are the worker's own.
    pub repository: Repository,
    /// The image's digest, if the event names it.
    pub digest: Option<Digest>,
    /// The tags that the image had when the event was written.
    pub tags: Vec<Tag>,
    /// The state of the image as the event describes it.
    pub claim: Claim,
}

impl ImageEvent {
    /// Returns a request to assess the image, or ignores an event that names no image. An image
    /// whose only tag is our quarantine tag is assessed too, because an index may hold it, and
    /// because a tag that looks like our quarantine tag can be on another image.
    fn into_parsed(self) -> Parsed {
        if self.digest.is_some() || !self.tags.is_empty() {
            return Parsed::Assess(Box::new(self));
        }
        let reason = "the event names neither a digest nor a tag";
        Parsed::Ignored { kind: self.kind, origin: Box::new(self.origin), reason }
    }
}

/// The result of reading a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// Assess this image.
    Assess(Box<ImageEvent>),
    /// Take this step of a sweep.
    Sweep(Box<sweep::Order>),
    /// Give tags back to an image, hold it, or end its hold.
    Restore {
        /// The source and type of the message.
        origin: Box<Origin>,
        /// What it asks for.
        order: Box<restore::RestoreOrder>,
    },
    /// The body is an event, but there is nothing to do for it.
    Ignored {
        /// The family of the event.
        kind: Kind,
        /// The source, type, id and time of the event.
        origin: Box<Origin>,
        /// Why there is nothing to do.
        reason: &'static str,
    },
}

impl Parsed {
    /// Returns the family of the event.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Assess(event) => event.kind,
            Self::Sweep(_) => Kind::Sweep,
            Self::Restore { .. } => Kind::Restore,
            Self::Ignored { kind, .. } => *kind,
        }
    }

    /// Returns the source, type, id and time of the event.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        match self {
            Self::Assess(event) => &event.origin,
            Self::Sweep(order) => &order.origin,
            Self::Restore { origin, .. } | Self::Ignored { origin, .. } => origin,
        }
    }

    /// Returns the repository of the one image that the event is about, and the image if the event
    /// names its digest.
    #[must_use]
    pub fn image(&self) -> Option<(&Repository, Option<&Digest>)> {
        match self {
            Self::Assess(event) => Some((&event.repository, event.digest.as_ref())),
            Self::Restore { order, .. } => Some((&order.repository, Some(&order.digest))),
            Self::Sweep(_) | Self::Ignored { .. } => None,
        }
    }

    /// Returns the event, if it asks to assess an image.
    #[must_use]
    pub fn event(&self) -> Option<&ImageEvent> {
        match self {
            Self::Assess(event) => Some(event),
            Self::Sweep(_) | Self::Restore { .. } | Self::Ignored { .. } => None,
        }
    }
}

/// The body is not an event, or its shape is not one that its family has.
///
/// The text names the place and the expected value. It quotes no value of the body, because the
/// sender's data must not reach our logs.
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

    /// Adds a description of the body, if its shape is a known mistake.
    fn with_shape(self, body: &str) -> Self {
        match shape::of(body) {
            Some(shape) => Self(format!("{self}; the body looks like {shape}")),
            None => self,
        }
    }

    fn json(place: &str, error: &serde_json::Error) -> Self {
        let text = error.to_string();
        // serde quotes an unexpected string, and the name of an unknown field, in full.
        let quoted = |from: &str, to: &str| {
            let (before, rest) = text.split_once(from)?;
            Some((before, rest.rsplit_once(to)?.1))
        };
        Self(if let Some((before, after)) = quoted("string \"", "\", expected") {
            format!("{place}{before}a string, expected{after}")
        } else if let Some((before, after)) = quoted("unknown field `", "`, expected") {
            format!("{place}{before}an unknown field, expected{after}")
        } else {
            format!("{place}{text}")
        })
    }
}

/// Reads one message body: an event, or an SNS notification that carries one. `own` is the account
/// and Region of the worker.
///
/// # Errors
/// Returns [`Malformed`] if the body is neither an event to act on nor one to ignore.
pub fn parse(body: &str, own: &RegistryId) -> Result<Parsed, Malformed> {
    let body = without_bom(body);
    let problem = match read(body, own) {
        Body::Event(parsed) => return parsed,
        Body::NotAnEvent(problem) => problem,
    };
    let Some(message) = notification::message(body)? else {
        return Err(problem.with_shape(body));
    };
    let message = without_bom(&message);
    let parsed = match read(message, own) {
        Body::Event(parsed) => parsed.and_then(restore::not_by_sns),
        Body::NotAnEvent(problem) => Err(problem.with_shape(message)),
    };
    parsed.map_err(|Malformed(problem)| Malformed(format!("in an SNS notification: {problem}")))
}

/// Removes the byte order mark that programs on Windows write before a text.
fn without_bom(body: &str) -> &str {
    body.strip_prefix('\u{feff}').unwrap_or(body)
}

/// A body that was read.
enum Body {
    /// It is an event. [`Malformed`] if its shape is not one that its family has.
    Event(Result<Parsed, Malformed>),
    /// It is not an event.
    NotAnEvent(Malformed),
}

fn read(body: &str, own: &RegistryId) -> Body {
    let envelope = Envelope::parse(body);
    // Most events belong to a family; the body is read once for them.
    if let Ok(envelope) = &envelope
        && let Some(parse) = family(&envelope.source, &envelope.detail_type)
    {
        return Body::Event(parse(envelope, own).and_then(bounded));
    }
    let head = match Head::parse(body) {
        Ok(head) => head,
        Err(problem) => return Body::NotAnEvent(problem),
    };
    Body::Event(match (envelope, family(&head.source, &head.detail_type)) {
        (Err(problem), Some(_)) => Err(problem),
        _ => Ok(Parsed::Ignored {
            kind: Kind::Other,
            origin: Box::new(head.origin()),
            reason: "events of this source and type are not for us",
        }),
    })
}

/// Refuses an event that names more tags than an image can have and no digest, because every tag of
/// an event without a digest has to be looked up.
fn bounded(parsed: Parsed) -> Result<Parsed, Malformed> {
    match &parsed {
        Parsed::Assess(event) if event.digest.is_none() && event.tags.len() > MAX_TAGS => {
            let tags = event.tags.len();
            Err(Malformed::new(format!(
                "the event names {tags} tags and no digest; an image has at most {MAX_TAGS} tags"
            )))
        }
        _ => Ok(parsed),
    }
}

/// Reads an event of one family.
type Parse = fn(&Envelope<'_>, &RegistryId) -> Result<Parsed, Malformed>;

fn family(source: &str, detail_type: &str) -> Option<Parse> {
    Some(match (source, detail_type) {
        (ecr_image_scan::SOURCE, ecr_image_scan::DETAIL_TYPE) => ecr_image_scan::parse,
        (ecr_image_action::SOURCE, ecr_image_action::DETAIL_TYPE) => ecr_image_action::parse,
        (inspector2_scan::SOURCE, inspector2_scan::DETAIL_TYPE) => inspector2_scan::parse,
        (inspector2_finding::SOURCE, inspector2_finding::DETAIL_TYPE) => inspector2_finding::parse,
        (source, detail_type) if sweep::is_ours(source, detail_type) => sweep::parse,
        (source, detail_type) if restore::is_ours(source, detail_type) => restore::parse,
        _ => return None,
    })
}

/// Reads a digest as events write it: null and the empty string mean that there is none. `known` is
/// the digest that another place in the event gives; the two must agree.
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

/// Reads tags as events write them. Null and empty tags mean an untagged image; a repeated tag
/// counts once.
fn tags(field: &str, raw: Option<Vec<Option<String>>>) -> Result<Vec<Tag>, Malformed> {
    let field = format!("a tag of {field}");
    let mut seen = HashSet::new();
    raw.into_iter()
        .flatten()
        .flatten()
        .filter(|tag| !tag.is_empty() && seen.insert(tag.clone()))
        .map(|tag| Tag::parse(tag).map_err(|error| Malformed::name(&field, &error)))
        .collect()
}

#[cfg(test)]
mod tests;
