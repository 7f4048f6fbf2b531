//! `tagwarden explain`: what the worker would do about one event, and why, without touching anything.

mod offline;
mod render;
mod terms;

use serde::Serialize;

use crate::config::TopicSettings;
use crate::domain::exception::Exception;
use crate::domain::image::{Digest, Repository, Tag};
use crate::domain::index::Child;
use crate::domain::judgement::Judgement;
use crate::domain::notice::NoticeAction;
use crate::domain::origin::Origin;
use crate::domain::plan::{self, Image, Plan};
use crate::domain::policy::{Mode, Policy, Unscanned};
use crate::event::{ImageEvent, Kind};
use crate::registry::UNTAG_BATCH;
use crate::worker::look::Look;
use crate::worker::observe::Seen;

pub use offline::offline;

/// What becomes of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The event is not for us.
    Ignored,
    /// The policy does not cover the repository.
    OutOfReach,
    /// The image may keep its tags.
    Keep,
    /// Its tags go.
    Untag,
    /// Its tags would go, were it not for audit mode.
    WouldUntag,
    /// Its tags ought to go and cannot; the team is told.
    Blocked,
    /// Findings are not there yet: the worker looks again.
    Wait,
    /// Its scan has not ended, and an event will come when it has.
    LeftToScan,
    /// It cannot be judged; the team is told.
    Unscanned,
    /// It does not exist.
    Absent,
    /// It is no container image.
    NotAnImage,
    /// It bears our mark, and nothing is left to untag.
    AlreadyQuarantined,
    /// It violates the policy and has no tag.
    NothingToUntag,
    /// The event alone does not tell.
    Unknown,
}

impl Verdict {
    /// Whether tags go, or would go.
    #[must_use]
    pub fn untags(self) -> bool {
        matches!(self, Self::Untag | Self::WouldUntag)
    }
}

/// One image and what becomes of it.
#[derive(Debug, Serialize)]
pub struct ExplainedImage {
    verdict: Verdict,
    digest: Option<String>,
    kind: &'static str,
    cause: Option<ExplainedChild>,
    reasons: Vec<String>,
    set_aside: Vec<String>,
    exceptions: Vec<ExplainedException>,
    untag: Vec<String>,
    kept: Vec<String>,
    kept_because: Vec<String>,
    calls: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ExplainedChild {
    digest: String,
    platform: Option<String>,
}

#[derive(Debug, Serialize)]
struct ExplainedException {
    position: usize,
    exception: String,
    expires: String,
    owner: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct ExplainedRepository {
    account: String,
    region: String,
    name: String,
}

#[derive(Debug, Serialize)]
struct ExplainedEvent {
    kind: &'static str,
    id: Option<String>,
    source: String,
    detail_type: String,
    time: Option<String>,
}

/// A key of the policy and the value that counted.
#[derive(Debug, Serialize)]
struct Key {
    key: &'static str,
    value: String,
    /// Whether the rule sets another value than the base policy.
    by_rule: bool,
}

/// The whole explanation.
#[derive(Debug, Serialize)]
pub struct Explanation {
    schema: &'static str,
    verdict: Verdict,
    judged: &'static str,
    event: ExplainedEvent,
    repository: Option<ExplainedRepository>,
    rule: Option<String>,
    images: Vec<ExplainedImage>,
    notes: Vec<String>,
    policy: Vec<Key>,
}

/// What an explanation is made by.
#[derive(Clone, Copy, Debug)]
pub struct Explainer<'a> {
    /// The policy.
    pub policy: &'a Policy,
    /// The topics, as far as they are configured.
    pub topics: &'a [TopicSettings],
}

impl Explanation {
    /// Whether any tag goes, or would go but for audit mode.
    #[must_use]
    pub fn untags(&self) -> bool {
        self.images.iter().any(|image| image.verdict.untags())
    }

    /// Adds something that the reader should know.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The versioned JSON document.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn new(judged: &'static str, kind: &'static str, origin: &Origin) -> Self {
        Self {
            schema: "tagwarden.explain/1",
            verdict: Verdict::Ignored,
            judged,
            event: ExplainedEvent {
                kind,
                id: origin.id.clone(),
                source: origin.source.clone(),
                detail_type: origin.detail_type.clone(),
                time: origin.time.clone(),
            },
            repository: None,
            rule: None,
            images: Vec::new(),
            notes: Vec::new(),
            policy: Vec::new(),
        }
    }
}

impl Explainer<'_> {
    /// An event that is not for us.
    #[must_use]
    pub fn ignored(&self, kind: Kind, origin: &Origin, reason: &str) -> Explanation {
        let mut explanation = Explanation::new("by its kind", kind.as_str(), origin);
        explanation.notes.push(reason.to_owned());
        explanation
    }

    /// What a look at ECR came to.
    #[must_use]
    pub fn live(&self, event: &ImageEvent, look: &Look) -> Explanation {
        let mut explanation = self.about("by what ECR shows now", event);
        match look {
            Look::OutOfReach(why) => {
                explanation.verdict = Verdict::OutOfReach;
                explanation.notes.push(why.as_str().to_owned());
            }
            Look::Cleared => self.cleared(&mut explanation),
            Look::Seen(all) => {
                explanation.images = all.iter().map(|seen| self.seen(event, seen)).collect();
                explanation.verdict = gravest(&explanation.images);
            }
        }
        explanation
    }

    fn about(&self, judged: &'static str, event: &ImageEvent) -> Explanation {
        let Repository { account, region, name } = &event.repository;
        let (rule, terms) = self.policy.terms(name);
        Explanation {
            repository: Some(ExplainedRepository {
                account: account.to_string(),
                region: region.to_string(),
                name: name.to_string(),
            }),
            rule: Some(rule.to_owned()),
            policy: terms::keys(terms, &self.policy.base),
            ..Explanation::new(judged, event.kind.as_str(), &event.origin)
        }
    }

    fn cleared(&self, explanation: &mut Explanation) {
        explanation.verdict = Verdict::Keep;
        explanation
            .notes
            .push("the event's own counts exceed no limit: nothing is looked up".to_owned());
    }

    fn seen(&self, event: &ImageEvent, seen: &Seen) -> ExplainedImage {
        let bare = |verdict| ExplainedImage::new(verdict, None);
        let because = |verdict, image: &Image, reason: &str| ExplainedImage {
            reasons: vec![reason.to_owned()],
            ..ExplainedImage::new(verdict, Some(image))
        };
        let image = match seen {
            Seen::Absent => bare(Verdict::Absent),
            Seen::NotAnImage => bare(Verdict::NotAnImage),
            Seen::LeftToScan => bare(Verdict::LeftToScan),
            Seen::Clean(judgement, _) => {
                bare(Verdict::Keep).judged(judgement, &self.policy.exceptions)
            }
            Seen::Wait(image, reason) => because(Verdict::Wait, image, reason),
            Seen::Unscanned(image, reason) => because(Verdict::Unscanned, image, reason),
            Seen::Violation(violation) => {
                let (verdict, plan) = (self.verdict(event, &violation.plan), &violation.plan);
                ExplainedImage::new(verdict, Some(&violation.image))
                    .judged(&violation.judgement, &self.policy.exceptions)
                    .planned(plan)
                    .caused(violation.cause.as_ref())
            }
        };
        let plan = match seen {
            Seen::Violation(violation) => Some(&violation.plan),
            _ => None,
        };
        let image = match &event.digest {
            Some(digest) if image.digest.is_none() => image.of(digest),
            _ => image,
        };
        self.with_calls(event, image, plan)
    }

    fn verdict(&self, event: &ImageEvent, plan: &Plan) -> Verdict {
        let audit = self.policy.terms(&event.repository.name).1.mode == Mode::Audit;
        match (plan.untag.is_empty(), plan.holds.is_empty()) {
            (true, _) if plan.marked => Verdict::AlreadyQuarantined,
            (true, _) if plan.kept.is_empty() => Verdict::NothingToUntag,
            (true, _) | (false, false) => Verdict::Blocked,
            (false, true) if audit => Verdict::WouldUntag,
            (false, true) => Verdict::Untag,
        }
    }

    /// Adds the calls that change or tell something.
    fn with_calls(
        &self,
        event: &ImageEvent,
        mut image: ExplainedImage,
        plan: Option<&Plan>,
    ) -> ExplainedImage {
        let name = &event.repository.name;
        let mut calls = Vec::new();
        let unscanned = self.policy.terms(name).1.unscanned;
        let told = match image.verdict {
            Verdict::Untag if plan.is_some_and(|plan| plan.delete) => Some(NoticeAction::Deleted),
            Verdict::Untag => Some(NoticeAction::Quarantined),
            Verdict::WouldUntag => Some(NoticeAction::WouldUntag),
            Verdict::Blocked => Some(NoticeAction::Blocked),
            Verdict::Unscanned if unscanned == Unscanned::Tell => Some(NoticeAction::Unscanned),
            _ => None,
        };
        let digest = image.digest.clone().unwrap_or_else(|| "the digest".to_owned());
        if let (Verdict::Untag, Some(plan)) = (image.verdict, plan) {
            calls.push(format!("ecr BatchGetImage {name} {digest}"));
            calls.push(format!("ecr PutImage {name} {} = {digest}", plan.quarantine));
            for tags in plan.untag.chunks(UNTAG_BATCH) {
                calls.push(format!(
                    "ecr BatchDeleteImage {name} {}, each only while it is {digest}",
                    strings(tags).join(", ")
                ));
            }
        }
        if let Some(action) = told {
            let wants = |topic: &&TopicSettings| {
                topic.repositories.admit(name.as_str()) && topic.actions.contains(&action)
            };
            let topics = self.topics.iter().filter(wants);
            calls.extend(
                topics.map(|topic| format!("sns Publish {} {}", action.as_str(), topic.arn)),
            );
            if self.topics.is_empty() {
                calls.push(format!("sns Publish {}", action.as_str()));
            }
        }
        if let (Some(NoticeAction::Deleted), Some(plan)) = (told, plan) {
            calls.push(format!("ecr BatchDeleteImage {name} {} = {digest}", plan.quarantine));
        }
        if image.verdict != Verdict::Wait && image.verdict != Verdict::Unknown {
            calls.push("sqs DeleteMessage".to_owned());
        }
        image.calls.extend(calls);
        image
    }
}

impl ExplainedImage {
    fn new(verdict: Verdict, image: Option<&Image>) -> Self {
        Self {
            verdict,
            digest: image.map(|image| image.digest.to_string()),
            kind: match image.map(|image| image.kind) {
                Some(plan::Kind::Index) => "index",
                Some(plan::Kind::Artifact) => "artifact",
                Some(plan::Kind::Image) | None => "image",
            },
            cause: None,
            reasons: Vec::new(),
            set_aside: Vec::new(),
            exceptions: Vec::new(),
            untag: Vec::new(),
            kept: Vec::new(),
            kept_because: Vec::new(),
            calls: Vec::new(),
        }
    }

    fn judged(mut self, judgement: &Judgement, exceptions: &[Exception]) -> Self {
        self.reasons.extend(judgement.reasons.iter().cloned());
        self.set_aside = judgement.notes.clone();
        let used = judgement.exceptions.iter();
        let used = used.filter_map(|&at| Some((at, exceptions.get(at)?)));
        self.exceptions = used
            .map(|(position, exception)| ExplainedException {
                position,
                exception: exception.to_string(),
                expires: exception.expires.to_string(),
                owner: exception.owner.clone(),
                reason: exception.reason.clone(),
            })
            .collect();
        self
    }

    fn planned(mut self, plan: &Plan) -> Self {
        self.untag = strings(&plan.untag);
        self.kept = strings(&plan.kept);
        self.kept_because = plan.kept_because.iter().chain(&plan.holds).cloned().collect();
        self
    }

    fn caused(mut self, cause: Option<&Child>) -> Self {
        self.cause = cause.map(|child| ExplainedChild {
            digest: child.digest.to_string(),
            platform: child.platform.clone(),
        });
        self
    }

    fn of(mut self, digest: &Digest) -> Self {
        self.digest = Some(digest.to_string());
        self
    }
}

fn strings(tags: &[Tag]) -> Vec<String> {
    tags.iter().map(ToString::to_string).collect()
}

/// The verdict that stands for all: one that untags, else the first that is not "keep".
fn gravest(images: &[ExplainedImage]) -> Verdict {
    let verdicts = || images.iter().map(|image| image.verdict);
    let untags = verdicts().find(|verdict| verdict.untags());
    let blocked = || verdicts().find(|verdict| *verdict == Verdict::Blocked);
    let other = || verdicts().find(|verdict| *verdict != Verdict::Keep);
    untags.or_else(blocked).or_else(other).unwrap_or(if images.is_empty() {
        Verdict::Absent
    } else {
        Verdict::Keep
    })
}
