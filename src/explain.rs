//! `tagwarden explain`: the worker's decision about one event or one image and the reasons for it,
//! without changing anything.
//!
//! `offline` judges an event alone. [`Explainer::live`] judges an event and [`Explainer::image`]
//! an image by what the worker's own inspection of ECR returned. All use the same policy code as
//! the worker. `calls` lists the calls that would follow, `terms` the keys that mattered, `notes`
//! what else is known, and `render` prints the explanation for people. The JSON document is
//! versioned.

mod calls;
mod history;
mod history_text;
mod image;
pub(crate) mod live;
mod notes;
mod offline;
mod render;
mod terms;
mod today;

use serde::Serialize;

use crate::domain::image::Image;
use crate::domain::image_reference::TagOrDigest;
use crate::domain::names::{Digest, RegistryId, Repository};
use crate::domain::origin::Origin;
use crate::domain::plan::{Course, Plan};
use crate::domain::policy::{Mode, Policy};
use crate::event::{ImageEvent, Kind};
use crate::inspect::Inspection;
use crate::notify::TopicSettings;
use crate::registry::Records;

use self::history::ExplainedHistory;
pub(crate) use self::history::Past;
pub(crate) use self::image::ExplainedImage;
use self::live::Live;
pub(crate) use self::offline::offline;
use self::today::IfGivenBack;
pub(crate) use self::today::Today;

/// The decision about one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The worker ignores the event.
    Ignored,
    /// The policy does not cover the repository.
    #[serde(rename = "out_of_reach")]
    OutOfScope,
    /// The image may keep its tags.
    Keep,
    /// Its tags are removed.
    Untag,
    /// Its tags would be removed if audit mode were off.
    WouldUntag,
    /// It violates the policy and its tags cannot be removed. The team is notified.
    Blocked,
    /// It violates the policy, and its tags stay for now because somebody holds it.
    Held,
    /// Its findings are not there yet. The worker tries again later.
    Wait,
    /// Its scan has not ended. An event will come when it has.
    LeftToScan,
    /// It cannot be judged. The team is notified.
    Unscanned,
    /// It does not exist.
    Absent,
    /// It is not a container image.
    NotAnImage,
    /// It bears our mark, and nothing is left to untag.
    AlreadyQuarantined,
    /// It violates the policy and has no tag.
    NothingToUntag,
    /// The event alone is not enough to decide.
    Unknown,
}

impl Verdict {
    /// Returns whether tags are removed, or would be without audit mode.
    #[must_use]
    pub(crate) fn untags(self) -> bool {
        matches!(self, Self::Untag | Self::WouldUntag)
    }

    /// Returns what happens to the message.
    fn message(self) -> &'static str {
        match self {
            Self::Wait => {
                "returns for up to half an hour; then the team is notified that the image is \
                 unscanned"
            }
            Self::Unknown => "depends on what ECR shows",
            Self::Untag | Self::WouldUntag | Self::Blocked | Self::Unscanned => {
                "deleted when the calls have succeeded"
            }
            _ => "deleted",
        }
    }
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

/// The whole explanation.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    schema: &'static str,
    /// Where the policy is from.
    policy_source: String,
    verdict: Verdict,
    /// Why the tag that was asked about stays on an image that has lost others.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_kept: Option<String>,
    judged: &'static str,
    /// The event; `None` if an image is explained.
    event: Option<ExplainedEvent>,
    repository: Option<ExplainedRepository>,
    rule: Option<String>,
    /// The accounts and Regions in which the rule applies, unless it applies in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    rule_applies_in: Option<String>,
    /// What happens to the message.
    message: Option<&'static str>,
    images: Vec<ExplainedImage>,
    /// What was removed from the image, or from the images that had the tag.
    history: Vec<ExplainedHistory>,
    notes: Vec<String>,
    policy: Vec<terms::Key>,
    /// Whether the text lists the keys of the policy. The JSON document always has them.
    #[serde(skip)]
    lists_keys: bool,
}

/// The inputs of an explanation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Explainer<'a> {
    /// The policy to judge by.
    pub policy: &'a Policy,
    /// The topics that are configured.
    pub topics: &'a [TopicSettings],
    /// The worker's account and Region, or the best guess.
    pub own: &'a RegistryId,
    /// `limits.*`, each key with its value.
    pub limits: &'a [(String, String)],
    /// Whether what is removed is recorded on the image.
    pub records: Records,
}

impl Explanation {
    /// Returns whether any tag is removed, or would be without audit mode.
    #[must_use]
    pub(crate) fn untags(&self) -> bool {
        self.images.iter().any(|image| image.verdict.untags())
    }

    fn concludes(&mut self, verdict: Verdict) {
        self.verdict = verdict;
        let waits = self.images.iter().any(|image| image.verdict == Verdict::Wait);
        let message = if waits { Verdict::Wait.message() } else { verdict.message() };
        self.message = self.event.is_some().then_some(message);
    }

    /// Adds a note for the reader.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Says where the policy is from.
    pub(crate) fn judged_by(&mut self, source: String) {
        self.policy_source = source;
    }

    /// Lists the keys of the policy in the text too.
    pub(crate) fn list_keys(&mut self) {
        self.lists_keys = true;
    }

    /// Returns the versioned JSON document.
    #[must_use]
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    fn new(judged: &'static str, event: Option<(Kind, &Origin)>) -> Self {
        let lists_keys = event.is_some();
        let event = event.map(|(kind, origin)| ExplainedEvent {
            kind: kind.as_str(),
            id: origin.id.clone(),
            source: origin.source.clone(),
            detail_type: origin.detail_type.clone(),
            time: origin.time.clone(),
        });
        Self {
            schema: "tagwarden.explain/1",
            policy_source: String::new(),
            verdict: Verdict::Ignored,
            tag_kept: None,
            judged,
            event,
            repository: None,
            rule: None,
            rule_applies_in: None,
            message: lists_keys.then_some(Verdict::Ignored.message()),
            images: Vec::new(),
            history: Vec::new(),
            notes: Vec::new(),
            policy: Vec::new(),
            lists_keys,
        }
    }
}

impl Explainer<'_> {
    /// Explains an event that the worker ignores.
    #[must_use]
    pub(crate) fn ignored(&self, kind: Kind, origin: &Origin, reason: &str) -> Explanation {
        let mut explanation = Explanation::new("by its kind", Some((kind, origin)));
        explanation.notes.push(reason.to_owned());
        explanation
    }

    /// Explains an event by the result of inspecting ECR.
    #[must_use]
    pub(crate) fn live(&self, event: &ImageEvent, live: &Live) -> Explanation {
        let about = self.about("by what ECR shows now", event);
        self.inspections(about, &event.repository, event.digest.as_ref(), live)
    }

    /// Explains an image that somebody names, by the result of inspecting ECR and by what the
    /// registry remembers.
    #[must_use]
    pub(crate) fn image(
        &self,
        repository: &Repository,
        image: &TagOrDigest,
        live: &Live,
        past: &Past,
    ) -> Explanation {
        let digest = match image {
            TagOrDigest::Digest(digest) => Some(digest),
            TagOrDigest::Tag(_) => None,
        };
        let about = self.of(repository, Explanation::new("by what ECR shows now", None));
        let mut explanation = self.inspections(about, repository, digest, live);
        if let (TagOrDigest::Tag(tag), Verdict::Absent) = (image, explanation.verdict) {
            explanation.notes.extend(notes::absent(repository, tag, &past.naming));
        }
        explanation.history = past.histories(repository, self.own, image);
        self.judge_today(&mut explanation, repository, (image, live), past);
        explanation.notes.extend(notes::of_past(repository, past));
        // Otherwise its history says so.
        if let (Live::Inspected(all), Some(_)) = (live, &past.problem) {
            let works = all.iter().filter_map(|one| notes::still_works(repository, one));
            explanation.notes.extend(works);
        }
        explanation
    }

    /// Adds what would become of removed tags if they were given back now.
    fn judge_today(
        &self,
        explanation: &mut Explanation,
        repository: &Repository,
        (image, live): (&TagOrDigest, &Live),
        past: &Past,
    ) {
        for Today { digest, judged } in &past.today {
            let TagOrDigest::Tag(tag) = image else { continue };
            let today = IfGivenBack::of(
                self.policy,
                repository,
                Some(tag),
                judged.as_deref().map_err(String::as_str),
            );
            let history = explanation.history.iter_mut();
            if let Some(of) = history.into_iter().find(|of| of.is_of(digest)) {
                of.if_given_back = Some(today);
            }
            let all = judged.as_deref().unwrap_or_default();
            let last = all.len().saturating_sub(1);
            let all = all.iter().enumerate();
            let all = all.map(|(at, one)| self.inspected(repository, Some(digest), one, at < last));
            explanation.images.extend(all);
        }
        let named = match image {
            TagOrDigest::Digest(digest) => Some(digest),
            // The tag is on an image that may have lost others.
            TagOrDigest::Tag(_) => past.named.as_ref().map(|named| &named.image.digest),
        };
        if let (TagOrDigest::Tag(tag), Verdict::AlreadyQuarantined) = (image, explanation.verdict)
            && named.is_some_and(|digest| !tag.is_quarantine_of(digest))
        {
            explanation.tag_kept = self.policy.terms(repository).1.keeps(tag);
        }
        if let (Some(digest), Live::Inspected(all)) = (named, live) {
            let today = IfGivenBack::of(self.policy, repository, None, Ok(all));
            let history = explanation.history.iter_mut();
            if let Some(of) = history.into_iter().find(|of| of.is_of(digest)) {
                of.if_given_back = Some(today);
            }
        }
    }

    fn inspections(
        &self,
        mut explanation: Explanation,
        repository: &Repository,
        digest: Option<&Digest>,
        live: &Live,
    ) -> Explanation {
        match live {
            Live::OutOfScope(why) => {
                explanation.notes.push(why.as_str().to_owned());
                explanation.concludes(Verdict::OutOfScope);
            }
            Live::Cleared => self.cleared(&mut explanation),
            Live::Inspected(all) => {
                let last = all.len().saturating_sub(1);
                let images = all.iter().enumerate();
                let images =
                    images.map(|(at, one)| self.inspected(repository, digest, one, at < last));
                explanation.images = images.collect();
                explanation.notes.extend(notes::of_plans(all));
                explanation.notes.extend(self.deletes(repository, &explanation.images));
                explanation.notes.extend(self.untold(repository, &explanation.images));
                explanation.concludes(gravest(&explanation.images));
            }
        }
        explanation
    }

    fn about(&self, judged: &'static str, event: &ImageEvent) -> Explanation {
        let explanation = Explanation::new(judged, Some((event.kind, &event.origin)));
        self.of(&event.repository, explanation)
    }

    /// Adds what the policy says of a repository.
    fn of(&self, repository: &Repository, explanation: Explanation) -> Explanation {
        let Repository { account, region, name } = repository;
        let rule = self.policy.terms(repository).0;
        let applied = self.policy.rules.as_slice().iter().find(|one| one.name == rule);
        Explanation {
            repository: Some(ExplainedRepository {
                account: account.to_string(),
                region: region.to_string(),
                name: name.to_string(),
            }),
            rule: Some(rule.to_owned()),
            rule_applies_in: applied.and_then(|rule| rule.registries.to_text()),
            policy: self.keys(repository),
            ..explanation
        }
    }

    fn cleared(&self, explanation: &mut Explanation) {
        explanation.notes.push(
            "the event's own counts exceed no limit: the worker reads nothing from ECR".to_owned(),
        );
        explanation.concludes(Verdict::Keep);
    }

    /// Explains one image that was inspected. If `before_its_child` is set, it is not the image
    /// that was asked for but an index that contains it.
    fn inspected(
        &self,
        repository: &Repository,
        digest: Option<&Digest>,
        inspection: &Inspection,
        before_its_child: bool,
    ) -> ExplainedImage {
        let bare = |verdict| ExplainedImage::new(verdict, None);
        let because = |verdict, image: &Image, reason: &str| ExplainedImage {
            reasons: vec![reason.to_owned()],
            ..ExplainedImage::new(verdict, Some(image))
        };
        let image = match inspection {
            Inspection::Absent => bare(Verdict::Absent),
            Inspection::NotAnImage => bare(Verdict::NotAnImage),
            Inspection::Unpulled => bare(Verdict::NothingToUntag),
            Inspection::LeftToScan(_) => bare(Verdict::LeftToScan),
            Inspection::Clean(evaluation, snapshot) => {
                let image = snapshot.as_ref().map(|snapshot| snapshot.image());
                ExplainedImage::new(Verdict::Keep, image)
                    .judged(evaluation, &self.policy.exceptions)
            }
            Inspection::Wait(image, reason, _) => because(Verdict::Wait, image, reason),
            Inspection::Unscanned(image, reason) => because(Verdict::Unscanned, image, reason),
            Inspection::Unresolved(image, reason) => because(Verdict::Blocked, image, reason),
            Inspection::Violation(violation) => {
                let (verdict, plan) = (self.verdict(repository, &violation.plan), &violation.plan);
                ExplainedImage::new(verdict, Some(&violation.image))
                    .judged(&violation.evaluation, &self.policy.exceptions)
                    .planned(plan)
                    .caused(violation.cause.as_ref())
            }
        };
        let plan = match inspection {
            Inspection::Violation(violation) => Some(&violation.plan),
            _ => None,
        };
        let is_index = before_its_child || matches!(inspection, Inspection::Clean(_, None));
        let image = match digest {
            Some(digest) if image.digest.is_none() && !before_its_child => image.of(digest),
            _ => image,
        };
        let image = if is_index && digest.is_some() {
            ExplainedImage { kind: "index", ..image }
        } else {
            image
        };
        self.with_calls(repository, image, plan)
    }

    fn verdict(&self, repository: &Repository, plan: &Plan) -> Verdict {
        let audit = self.policy.terms(repository).1.mode == Mode::Audit;
        match plan.course() {
            _ if plan.hold.is_some() => Verdict::Held,
            Course::Marked => Verdict::AlreadyQuarantined,
            Course::Untagged => Verdict::NothingToUntag,
            Course::Blocked => Verdict::Blocked,
            Course::Remove if audit => Verdict::WouldUntag,
            Course::Remove => Verdict::Untag,
        }
    }
}

/// Returns the verdict for all images together: one that removes tags, else `Blocked`, else the
/// first that is not `Keep`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_keep_the_words_that_programs_read() {
        let word = |verdict| serde_json::to_value(verdict).unwrap();
        assert_eq!(word(Verdict::OutOfScope), "out_of_reach");
        assert_eq!(word(Verdict::AlreadyQuarantined), "already_quarantined");
    }
}
