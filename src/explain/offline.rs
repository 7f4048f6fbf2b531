//! Judges an event by its own counts, without a call to AWS. Invariant 6 holds for the worker: an
//! event alone is never enough to act on. So every explanation says what only ECR can show, and the
//! verdict is `Unknown` if that decides.

use std::time::SystemTime;

use super::{ExplainedImage, Explainer, Explanation, Verdict};
use crate::domain::evaluation::Subject;
use crate::domain::findings::{Findings, SeverityCounts};
use crate::domain::image::{Image, ImageKind, StorageStatus};
use crate::domain::names::RegistryId;
use crate::domain::plan::Plan;
use crate::domain::policy::{InUse, Mode, Reporting, RuleSettings};
use crate::event::{Claim, ImageEvent};

/// Explains an event by its own counts at this time, for a worker in `own`.
#[must_use]
pub(crate) fn offline(
    explainer: &Explainer<'_>,
    event: &ImageEvent,
    own: &RegistryId,
    now: SystemTime,
) -> Explanation {
    let mut explanation = explainer.about("by the event alone", event);
    if let Err(why) = explainer.policy.check_scope(&event.repository, own) {
        explanation.notes.push(why.as_str().to_owned());
        explanation.concludes(Verdict::OutOfScope);
        return explanation;
    }
    let terms = explainer.policy.terms(&event.repository).1;
    let findings = match &event.claim {
        Claim::Complete { counts: Some(counts), reporting } => {
            if terms.clear(counts, *reporting) {
                explainer.cleared(&mut explanation);
                return explanation;
            }
            Some(Findings::new(counts.clone(), Vec::new()))
        }
        Claim::Active(finding) => {
            Some(Findings::new(SeverityCounts::default(), [(**finding).clone()]))
        }
        Claim::Complete { counts: None, .. } | Claim::Nothing | Claim::Failed => None,
    };
    let mut image = match &findings {
        Some(findings) => judged(explainer, event, findings, now),
        None => ExplainedImage::new(Verdict::Unknown, None),
    };
    if event.claim == Claim::Failed {
        image = explainer.with_calls(
            &event.repository,
            ExplainedImage::new(Verdict::Unscanned, None),
            None,
        );
        image.reasons.push("the event says that the scan failed".to_owned());
    }
    if image.verdict == Verdict::Unknown {
        explanation.notes.push(what_is_open(&event.claim, terms, &image));
    }
    if let Some(digest) = &event.digest {
        image = image.of(digest);
    }
    let name = &event.repository.name;
    let what = match &image.digest {
        Some(digest) => format!("{name} {digest}"),
        None => format!("{name}, of the images that the tags point to"),
    };
    let mut reads = vec![format!("ecr DescribeImages {what}")];
    reads.push(format!("ecr DescribeImageScanFindings {what}"));
    if image.verdict.untags() || image.verdict == Verdict::Unknown {
        let whether = if image.verdict.untags() { "" } else { ", if it violates the policy" };
        reads.push(format!("ecr DescribeImages {name}, to see which indexes hold it{whether}"));
        reads.push(format!("ecr DescribeRegistry{whether}"));
        reads.push(format!("ecr DescribePullThroughCacheRules{whether}"));
    }
    image.calls.splice(0..0, reads);
    let verdict = image.verdict;
    explanation.images.push(image);
    explanation.notes.push(
        "the worker never acts on an event alone: it reads tags and findings from ECR first, as \
         --live does here"
            .to_owned(),
    );
    if !explainer.policy.exceptions.as_slice().is_empty()
        && !matches!(event.claim, Claim::Active(_))
    {
        explanation.notes.push(
            "the event does not list its findings: exceptions apply with --live only".to_owned(),
        );
    }
    let narrowed = narrowing(terms);
    if findings.is_some() && !narrowed.is_empty() && !matches!(event.claim, Claim::Active(_)) {
        explanation.notes.push(format!(
            "the event only counts its findings: the effect of {} shows with --live only",
            narrowed.join(", ")
        ));
    }
    explanation.notes.extend(explainer.untold(&event.repository, &explanation.images));
    explanation.concludes(verdict);
    explanation
}

/// Returns the keys in effect that need more than counts.
fn narrowing(terms: &RuleSettings) -> Vec<&'static str> {
    let keys = [
        ("fixable_only", !terms.fixable_only.is_empty()),
        ("min_score", terms.min_score.is_some()),
        ("exploit_only", terms.exploit_only),
        ("grace", terms.grace.is_some()),
        ("keep_at_least", terms.keep_at_least > 0),
        ("in_use", terms.in_use == InUse::Block),
    ];
    keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect()
}

/// Returns the reason why the event alone is not enough.
fn what_is_open(claim: &Claim, terms: &RuleSettings, image: &ExplainedImage) -> String {
    if !image.reasons.is_empty() {
        return "the event names no tag: the image may have one now, and an index that contains it \
                would lose its tags"
            .to_owned();
    }
    match claim {
        Claim::Nothing => "the event says nothing about findings".to_owned(),
        Claim::Active(_) => {
            "this finding alone exceeds no limit: the image may have others".to_owned()
        }
        Claim::Complete { counts: Some(counts), reporting: Reporting::AbsentIsUnknown } => {
            let open = terms.limits.severities().filter(|one| counts.reported(*one).is_none());
            let open: Vec<_> = open.map(|severity| severity.to_string()).collect();
            format!("the event does not count {}, for which there is a limit", open.join(", "))
        }
        Claim::Complete { .. } | Claim::Failed => "the event has no counts of findings".to_owned(),
    }
}

fn judged(
    explainer: &Explainer<'_>,
    event: &ImageEvent,
    findings: &Findings,
    now: SystemTime,
) -> ExplainedImage {
    let policy = explainer.policy;
    let digests: Vec<_> = event.digest.iter().collect();
    let subject =
        Subject { repository: &event.repository, digests: &digests, pushed_at: None, now };
    let evaluation = policy.judge(&subject, findings);
    let image = |verdict| {
        let image = ExplainedImage::new(verdict, None).judged(&evaluation, &policy.exceptions);
        match &event.digest {
            Some(digest) => image.of(digest),
            None => image,
        }
    };
    if !evaluation.violates() {
        // One finding says nothing about the others, and counts that do not clear the image leave
        // something open.
        return image(Verdict::Unknown);
    }
    let terms = policy.terms(&event.repository).1;
    let Some(digest) = event.digest.clone() else {
        let image = by_tags(event, terms, image(Verdict::Unknown));
        return explainer.with_calls(&event.repository, image, None);
    };
    let observed = Image {
        digest,
        tags: event.tags.clone(),
        kind: ImageKind::Image,
        storage: StorageStatus::Active,
        pushed_at: None,
        size: None,
        media_type: None,
    };
    let plan = Plan::new(terms, &observed, 0);
    let verdict = match explainer.verdict(&event.repository, &plan) {
        Verdict::NothingToUntag => return image(Verdict::Unknown),
        verdict => verdict,
    };
    explainer.with_calls(&event.repository, image(verdict).planned(&plan), Some(&plan))
}

/// Decides about the tags of an event without a digest. The image that they are on is not known
/// yet.
fn by_tags(event: &ImageEvent, terms: &RuleSettings, mut image: ExplainedImage) -> ExplainedImage {
    for tag in &event.tags {
        match terms.keeps(tag) {
            Some(why) => {
                image.kept.push(tag.to_string());
                image.kept_because.push(why);
            }
            None => image.untag.push(tag.to_string()),
        }
    }
    image.verdict = match (image.untag.is_empty(), terms.mode) {
        (true, _) => Verdict::Blocked,
        (false, Mode::Audit) => Verdict::WouldUntag,
        (false, Mode::Enforce) => Verdict::Untag,
    };
    if image.verdict == Verdict::Untag {
        let name = &event.repository.name;
        for operation in ["BatchGetImage", "PutImage", "BatchDeleteImage"] {
            image
                .calls
                .push(format!("ecr {operation} {name}, of the images that the tags point to"));
        }
    }
    image
}
