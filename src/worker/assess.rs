//! One image: observe, decide, mark, untag, tell.

use std::sync::Arc;

use tracing::info;

use super::disposition::{Failure, Outcome, wait_for_findings};
use super::refusals::Refusals;
use super::told::Told;
use crate::clock::Clock;
use crate::config::NoticeFormat;
use crate::domain::findings::{Findings, SeverityCounts};
use crate::domain::image::{Digest, Home, Repository, Tag};
use crate::domain::plan::{Decision, Image, Plan, decide};
use crate::domain::policy::{Judgement, Mode, Policy};
use crate::event::{Claim, ImageEvent};
use crate::health::Health;
use crate::notify::{Notice, NoticeAction, NoticeTags, Notifier, notice_id};
use crate::queue::Message;
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;

/// Every word of the metric label `verdict`.
pub const VERDICTS: [&str; 4] = ["keep", "untag", "wait", "unscanned"];

/// What an assessment needs besides its registry and its notifier.
#[derive(Clone, Debug)]
pub struct Context {
    /// The team's policy.
    pub policy: Policy,
    /// The form of notices.
    pub format: NoticeFormat,
    /// The worker's own account and Region.
    pub own: Home,
    /// After how many receives a message moves to the dead-letter queue.
    pub max_receive_count: Option<u32>,
    /// Where refusals and over-reaches are reported to.
    pub health: Arc<Health>,
    /// When to stop.
    pub shutdown: Shutdown,
    /// The time of day.
    pub clock: Clock,
    /// What is counted.
    pub instruments: Arc<Instruments>,
}

/// Assesses images.
#[derive(Debug)]
pub struct Assessor<R, N> {
    pub(super) context: Context,
    pub(super) registry: R,
    pub(super) notifier: N,
    pub(super) refusals: Refusals,
    pub(super) told: Told,
}

/// One message's event on its way through the acts.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The message.
    pub message: &'a Message,
    /// What it says.
    pub event: &'a ImageEvent,
    /// Whether it was received beyond the permits to find out if another repository is still allowed: where it is refused
    /// it does not wait.
    pub canary: bool,
}

impl Job<'_> {
    /// The event's id, or the message's where the event has none: both are the same at every delivery.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.event.origin.id.as_deref().unwrap_or(&self.message.id)
    }

    /// Whether an earlier delivery may have begun.
    fn is_redelivered(&self) -> bool {
        self.message.receive_count > 1
    }
}

/// A judged image and what is to be done.
pub(super) struct Case<'a> {
    pub(super) job: Job<'a>,
    pub(super) image: &'a Image,
    pub(super) judgement: &'a Judgement,
    pub(super) findings: &'a Findings,
    pub(super) plan: &'a Plan,
}

impl Case<'_> {
    pub(super) fn repository(&self) -> &Repository {
        &self.job.event.repository
    }
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// An assessor with this registry and notifier.
    #[must_use]
    pub fn new(context: Context, registry: R, notifier: N) -> Self {
        Self { context, registry, notifier, refusals: Refusals::default(), told: Told::default() }
    }

    /// What it was made with.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Assesses the image that an event is about, and writes down which that is: an event without a digest is about
    /// what its tags point to.
    ///
    /// # Errors
    /// Why the message is not done with.
    pub async fn assess(
        &self,
        job: Job<'_>,
        digests: &mut Vec<Digest>,
    ) -> Result<Outcome, Failure> {
        let Context { policy, own, .. } = &self.context;
        let event = job.event;
        digests.extend(event.digest.clone());
        if let Err(why) = policy.reach(&event.repository, own) {
            return Ok(Outcome::OutOfReach(why));
        }
        let mut over_limit = false;
        if let Claim::Complete { counts: Some(counts), reporting } = &event.claim {
            if policy.clears(counts, *reporting) {
                return Ok(Outcome::Clean);
            }
            over_limit = policy.judge(counts).violates();
        }
        if digests.is_empty() {
            *digests = self.resolve(job).await?;
        }
        // One bad image of several must not keep the others from being assessed; the gravest result stands for all.
        let mut result = Ok(Outcome::Absent);
        for digest in digests.iter() {
            let assessed = match self.assess_image(job, digest, over_limit).await {
                // Deleted by somebody in the middle of it.
                Err(Failure::Rejected(error)) if error.is("RepositoryNotFoundException") => {
                    Ok(Outcome::Absent)
                }
                assessed => assessed,
            };
            if matches!(
                (&result, &assessed),
                (Ok(Outcome::Absent | Outcome::Clean), _) | (Ok(_), Err(_))
            ) {
                result = assessed;
            }
        }
        result
    }

    /// The images that the event's tags point to now.
    async fn resolve(&self, job: Job<'_>) -> Result<Vec<Digest>, Failure> {
        let event = job.event;
        let mut digests = Vec::new();
        for tag in &event.tags {
            let repository = &event.repository;
            let found = self.ecr(job, || self.registry.resolve(repository, tag)).await?;
            if let Some(digest) = found
                && !digests.contains(&digest)
            {
                digests.push(digest);
            }
        }
        Ok(digests)
    }

    async fn assess_image(
        &self,
        job: Job<'_>,
        digest: &Digest,
        over_limit: bool,
    ) -> Result<Outcome, Failure> {
        let repository = &job.event.repository;
        let image = self.ecr(job, || self.registry.image(repository, digest)).await?;
        let Some(image) = image else { return Ok(Outcome::Absent) };
        let decision = if job.event.claim == Claim::Failed {
            Decision::Unscanned("the scan failed".to_owned())
        } else {
            let scan = self.ecr(job, || self.registry.scan(repository, digest)).await?;
            let Some(scan) = scan else { return Ok(Outcome::Absent) };
            decide(&self.context.policy, &image, scan, over_limit)
        };
        self.context.instruments.decision(match &decision {
            Decision::Keep => "keep",
            Decision::Untag { .. } => "untag",
            Decision::Wait(_) => "wait",
            Decision::Unscanned(_) => "unscanned",
        });
        match decision {
            Decision::Keep => Ok(Outcome::Clean),
            Decision::Unscanned(reason) => self.unscanned(job, &image, reason).await,
            Decision::Wait(reason) => {
                let sent = job.message.sent_at;
                let age = sent.map(|sent| self.context.clock.since(sent)).unwrap_or_default();
                let most = self.context.max_receive_count;
                match wait_for_findings(job.message.receive_count, most, age) {
                    Some(again) => Err(Failure::Pending { reason, again }),
                    None => self.unscanned(job, &image, reason).await,
                }
            }
            Decision::Untag { judgement, findings, plan } => {
                let case = Case {
                    job,
                    image: &image,
                    judgement: &judgement,
                    findings: &findings,
                    plan: &plan,
                };
                self.violation(&case).await
            }
        }
    }

    async fn violation(&self, case: &Case<'_>) -> Result<Outcome, Failure> {
        let Case { job, plan, judgement, .. } = case;
        let enforce = self.context.policy.mode == Mode::Enforce;
        if plan.untag.is_empty() && plan.marked {
            // A delivery before this one did it, and may not have told.
            if !job.is_redelivered() {
                return Ok(Outcome::AlreadyQuarantined);
            }
            let tags = self.tags_after(case, Vec::new());
            if enforce && plan.delete {
                if self.context.health.is_overreached() {
                    return Err(Failure::Stopped);
                }
                let Some(manifest) = self.manifest(case).await? else { return Ok(Outcome::Absent) };
                self.tell(self.notice(case, NoticeAction::Deleted, tags)).await?;
                return self.delete_image(case, &manifest).await;
            }
            self.tell(self.notice(case, NoticeAction::Quarantined, tags)).await?;
            return Ok(Outcome::AlreadyQuarantined);
        }
        if plan.untag.is_empty() && !plan.kept.is_empty() {
            let tags = NoticeTags { kept: plan.kept.clone(), ..NoticeTags::default() };
            let mut notice = self.notice(case, NoticeAction::Blocked, tags);
            notice.reasons.extend(plan.kept_because.iter().cloned());
            self.tell(notice).await?;
            return Ok(Outcome::Blocked);
        }
        if plan.untag.is_empty() {
            let named = !job.event.tags.is_empty();
            return Ok(if named { Outcome::Superseded } else { Outcome::NothingToUntag });
        }
        info!(
            target: "tagwarden::audit",
            message_id = job.message.id,
            event_id = job.event_id(),
            account = %case.repository().account,
            region = %case.repository().region,
            repository = %case.repository().name,
            digest = %case.image.digest,
            mode = self.context.policy.mode.as_str(),
            rule = judgement.rule,
            reasons = judgement.reasons.join("; "),
            untag = joined(&plan.untag),
            kept = joined(&plan.kept),
            quarantine = %plan.quarantine,
            delete = plan.delete,
            "plan"
        );
        if enforce {
            return self.enforce(case).await;
        }
        let tags = NoticeTags {
            kept: plan.kept.clone(),
            would_untag: plan.untag.clone(),
            ..NoticeTags::default()
        };
        self.tell(self.notice(case, NoticeAction::WouldUntag, tags)).await?;
        self.context.instruments.image_action("untag", "planned", "audit", plan.untag.len());
        Ok(Outcome::WouldUntag)
    }

    async fn unscanned(
        &self,
        job: Job<'_>,
        image: &Image,
        reason: String,
    ) -> Result<Outcome, Failure> {
        let mut notice = self.blank_notice(job, &image.digest, NoticeAction::Unscanned);
        notice.reasons = vec![reason];
        notice.tags.kept = image.tags.clone();
        self.tell(notice).await?;
        Ok(Outcome::Unscanned)
    }

    /// The tags of a notice about a marked image, after these went.
    pub(super) fn tags_after(&self, case: &Case<'_>, untagged: Vec<Tag>) -> NoticeTags {
        let Case { job, image, plan, .. } = case;
        // Only an earlier delivery of ours takes tags off an image with our mark in our name.
        let ours = job.is_redelivered() && plan.marked;
        let claimed = job.event.tags.iter().filter(|tag| {
            ours && !image.tags.contains(tag)
                && !tag.is_quarantine()
                && self.context.policy.protects(tag).is_none()
        });
        NoticeTags {
            untagged,
            claimed: claimed.cloned().collect(),
            kept: plan.kept.clone(),
            would_untag: Vec::new(),
            quarantine: Some(plan.quarantine.clone()),
        }
    }

    fn blank_notice(&self, job: Job<'_>, digest: &Digest, action: NoticeAction) -> Notice {
        let repository = &job.event.repository;
        Notice {
            id: notice_id(repository, digest, job.event_id()),
            action,
            mode: self.context.policy.mode,
            repository: repository.clone(),
            digest: digest.clone(),
            tags: NoticeTags::default(),
            counts: SeverityCounts::default(),
            findings: Vec::new(),
            reasons: Vec::new(),
            judgement: None,
            event: job.event.origin.clone(),
            event_id: job.event_id().to_owned(),
        }
    }

    pub(super) fn notice(&self, case: &Case<'_>, action: NoticeAction, tags: NoticeTags) -> Notice {
        Notice {
            tags,
            counts: case.findings.counts.clone(),
            findings: case.findings.list.clone(),
            reasons: case.judgement.reasons.clone(),
            judgement: Some(case.judgement.clone()),
            ..self.blank_notice(case.job, &case.image.digest, action)
        }
    }
}

pub(super) fn joined(tags: &[Tag]) -> String {
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",")
}
