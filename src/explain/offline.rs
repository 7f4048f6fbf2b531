//! Judging an event by nothing but itself.

use std::time::SystemTime;

use super::{ExplainedImage, Explainer, Explanation, Verdict};
use crate::domain::findings::{Findings, SeverityCounts};
use crate::domain::image::Home;
use crate::domain::judgement::Subject;
use crate::domain::plan::{Image, Kind, Plan, Storage};
use crate::event::{Claim, ImageEvent};

/// Explains an event by its own counts, at this time, for a worker that lives here.
#[must_use]
pub fn offline(
    explainer: &Explainer<'_>,
    event: &ImageEvent,
    own: &Home,
    now: SystemTime,
) -> Explanation {
    let mut explanation = explainer.about("by the event alone", event);
    if let Err(why) = explainer.policy.reach(&event.repository, own) {
        explanation.verdict = Verdict::OutOfReach;
        explanation.notes.push(why.as_str().to_owned());
        return explanation;
    }
    let terms = explainer.policy.terms(&event.repository.name).1;
    let findings = match &event.claim {
        Claim::Complete { counts: Some(counts), reporting } => {
            if terms.clear(counts, *reporting) {
                explainer.cleared(&mut explanation);
                return explanation;
            }
            Some(Findings::new(counts.clone(), Vec::new()))
        }
        Claim::Active(finding) => {
            Some(Findings::new(SeverityCounts::default(), vec![(**finding).clone()]))
        }
        Claim::Complete { counts: None, .. } | Claim::Pushed => None,
        Claim::Failed => {
            explanation.notes.push("the event says that the scan failed".to_owned());
            None
        }
    };
    let mut image = match &findings {
        Some(findings) => judged(explainer, event, findings, now),
        None => ExplainedImage::new(Verdict::Unknown, None),
    };
    if event.claim == Claim::Failed {
        image = explainer.with_calls(event, ExplainedImage::new(Verdict::Unscanned, None), None);
    }
    if let Some(digest) = &event.digest {
        image = image.of(digest);
    }
    let name = &event.repository.name;
    let what = image.digest.clone().unwrap_or_else(|| "the digest of its tags".to_owned());
    let mut reads = vec![format!("ecr DescribeImages {name} {what}")];
    if event.claim != Claim::Failed {
        reads.push(format!("ecr DescribeImageScanFindings {name} {what}"));
    }
    if image.verdict.untags() || image.verdict == Verdict::Unknown {
        reads.push(format!("ecr DescribeImages {name}, to see which indexes hold it"));
        reads.push("ecr DescribePullThroughCacheRules".to_owned());
    }
    image.calls.splice(0..0, reads);
    explanation.verdict = image.verdict;
    explanation.images.push(image);
    explanation.notes.push(
        "an event is never enough to act on: tags and findings are read from ECR, with --live here too".to_owned(),
    );
    if !explainer.policy.exceptions.is_empty() && !matches!(event.claim, Claim::Active(_)) {
        explanation
            .notes
            .push("the event has no list of findings: exceptions need --live".to_owned());
    }
    explanation
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
        Subject { repository: &event.repository.name, digests: &digests, pushed_at: None, now };
    let judgement = policy.judge(&subject, findings);
    let image = |verdict| {
        let image = ExplainedImage::new(verdict, None).judged(&judgement, &policy.exceptions);
        match &event.digest {
            Some(digest) => image.of(digest),
            None => image,
        }
    };
    if !judgement.violates() {
        // One finding says nothing of the others, and counts that do not clear leave something open.
        return image(Verdict::Unknown);
    }
    let Some(digest) = event.digest.clone() else {
        let terms = policy.terms(&event.repository.name).1;
        let audit = terms.mode == crate::domain::policy::Mode::Audit;
        return image(if audit { Verdict::WouldUntag } else { Verdict::Untag });
    };
    let observed = Image {
        digest,
        tags: event.tags.clone(),
        kind: Kind::Image,
        storage: Storage::Active,
        pushed_at: None,
        media_type: None,
    };
    let plan = Plan::new(policy.terms(&event.repository.name).1, &observed, 0);
    let verdict = explainer.verdict(event, &plan);
    explainer.with_calls(event, image(verdict).planned(&plan), Some(&plan))
}
