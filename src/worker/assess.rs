//! One image: observe, decide, mark, untag, tell.

use std::sync::Arc;

use tracing::info;

use super::allowance::Allowance;
use super::disposition::wait_for_findings;
use super::flights::{Flights, Landed, Speaks};
use super::foreign::Foreign;
use super::listings::Listings;
use super::memory::FindingsMemory;
use super::observe::{Seen, Violation};
use super::outcome::{Failure, Outcome};
use super::pull_through::PullThrough;
use super::refusals::Refusals;
use super::replication::ReplicationRules;
use super::told::Told;
use super::topics::Topic;
use super::unheard::Unheard;
use crate::clock::Clock;
use crate::config::LimitSettings;
use crate::domain::findings::SeverityCounts;
use crate::domain::image::{Digest, Home, Repository, Tag};
use crate::domain::index::Child;
use crate::domain::judgement::Judgement;
use crate::domain::notice::NoticeAction;
use crate::domain::plan::{Image, Kind, Plan};
use crate::domain::policy::{Mode, Policy, Unscanned};
use crate::event::{Claim, ImageEvent};
use crate::health::Health;
use crate::notify::{NoticeTags, Notifier};
use crate::queue::Message;
use crate::registry::{IMAGE_BATCH, Registry};
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;
use crate::telemetry::logs::AUDIT;

/// Every word of the metric label `verdict`.
pub const VERDICTS: [&str; 5] = ["keep", "untag", "wait", "unscanned", "none"];

/// What an assessment needs besides its registry and its topics.
#[derive(Clone, Debug)]
pub struct Context {
    /// The team's policy.
    pub policy: Policy,
    /// How much may be untagged.
    pub limits: LimitSettings,
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

impl Context {
    /// Whether the queue's redrive policy permits no further receive of this message.
    pub(super) fn is_last_receive(&self, message: &Message) -> bool {
        self.max_receive_count.is_some_and(|most| message.receive_count >= most)
    }
}

/// Assesses images.
#[derive(Debug)]
pub struct Assessor<R, N> {
    pub(super) context: Context,
    pub(super) registry: R,
    pub(super) topics: Vec<Topic<N>>,
    pub(super) refusals: Refusals,
    pub(super) told: Told,
    pub(super) memory: FindingsMemory,
    pub(super) flights: Flights,
    pub(super) listings: Listings,
    pub(super) pull_through: PullThrough,
    pub(super) replication: ReplicationRules,
    pub(super) allowance: Allowance,
    pub(super) foreign: Foreign,
    pub(super) unheard: Unheard,
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
    /// Whether somebody is waiting for the answer: nothing is put off, and whatever is refused ends it.
    pub at_once: bool,
}

impl Job<'_> {
    /// The event's id, or the message's where the event has none: both are the same at every delivery.
    #[must_use]
    pub fn event_id(&self) -> &str {
        self.event.origin.id.as_deref().unwrap_or(&self.message.id)
    }

    /// Whether an earlier delivery may have begun.
    pub(super) fn is_redelivered(&self) -> bool {
        self.message.receive_count > 1
    }
}

/// A judged image and what is to be done.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) job: Job<'a>,
    pub(super) image: &'a Image,
    pub(super) cause: Option<&'a Child>,
    pub(super) judgement: &'a Judgement,
    pub(super) counts: &'a SeverityCounts,
    pub(super) plan: &'a Plan,
}

impl Case<'_> {
    pub(super) fn repository(&self) -> &Repository {
        &self.job.event.repository
    }
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// An assessor with this registry and these topics.
    #[must_use]
    pub fn new(context: Context, registry: R, topics: Vec<Topic<N>>) -> Self {
        Self {
            allowance: Allowance::new(context.limits),
            context,
            registry,
            topics,
            refusals: Refusals::default(),
            told: Told::default(),
            memory: FindingsMemory::default(),
            flights: Flights::default(),
            listings: Listings::default(),
            pull_through: PullThrough::default(),
            replication: ReplicationRules::default(),
            foreign: Foreign::default(),
            unheard: Unheard::default(),
        }
    }

    /// What it was made with.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Drops what is kept for other messages and old: there may be none that would.
    pub(super) fn tidy(&self) {
        self.flights.tidy();
    }

    /// Whether an event needs no call to ECR: its own counts show that no limit of the policy that covers it is exceeded.
    pub(super) fn is_cleared_at_a_glance(&self, event: &ImageEvent) -> bool {
        let Context { policy, own, .. } = &self.context;
        policy.reach(&event.repository, own).is_ok() && self.is_cleared(event)
    }

    /// What an event comes to that the policy does not cover.
    pub(super) async fn out_of_reach(&self, job: Job<'_>) -> Option<Result<Outcome, Failure>> {
        let Context { policy, own, .. } = &self.context;
        let why = policy.reach(&job.event.repository, own).err()?;
        Some(self.refuse(job, why).await)
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
        *digests = self.digests(job).await?;
        // One bad image of several must not keep the others from being assessed; the gravest result stands for all.
        let mut result = Ok(Outcome::Absent);
        for digest in digests.iter() {
            let assessed = match Box::pin(self.assess_image(job, digest)).await {
                // Deleted by somebody in the middle of it.
                Err(Failure::Rejected(error)) if error.is("RepositoryNotFoundException") => {
                    Ok(Outcome::Absent)
                }
                assessed => assessed,
            };
            result = graver(result, assessed);
        }
        result
    }

    /// Whether the event's own counts show that no limit is exceeded.
    pub(super) fn is_cleared(&self, event: &ImageEvent) -> bool {
        match &event.claim {
            Claim::Complete { counts: Some(counts), reporting } => {
                let (_, terms) = self.context.policy.terms(&event.repository.name);
                terms.clear(counts, *reporting)
            }
            _ => false,
        }
    }

    /// The image that the event names, else those that its tags point to now.
    pub(super) async fn digests(&self, job: Job<'_>) -> Result<Vec<Digest>, Failure> {
        let event = job.event;
        let mut digests: Vec<_> = event.digest.iter().cloned().collect();
        if !digests.is_empty() {
            return Ok(digests);
        }
        let repository = &event.repository;
        for tags in event.tags.chunks(IMAGE_BATCH) {
            let mut found = self.ecr(job, || self.registry.resolve_all(repository, tags)).await?;
            for tag in tags {
                let lost = || self.told.image_that_lost(repository, tag);
                if let Some(digest) = found.remove(tag).or_else(lost)
                    && !digests.contains(&digest)
                {
                    digests.push(digest);
                }
            }
        }
        Ok(digests)
    }

    /// Assesses one image, or waits for another message's assessment that speaks for this one too.
    async fn assess_image(&self, job: Job<'_>, digest: &Digest) -> Result<Outcome, Failure> {
        self.fly(job, digest, |judged| async move {
            let seen = match judged {
                // Whether anybody can pull an image that cannot be judged takes a look of its own.
                None | Some(Seen::Unscanned(..)) => self.observe(job, digest).await,
                Some(seen) => Ok(seen),
            };
            let mut seen = match seen {
                Ok(seen) => seen,
                Err(failure) => return failed(failure),
            };
            let speaks = match (seen.take_sight(), &seen) {
                (Some(sight), _) => Speaks::BySight(self.memory.share(sight)),
                (None, Seen::Violation(_) | Seen::Absent | Seen::Unpulled) => Speaks::ForAll,
                // Whether something is an image hangs on what the event claims, too.
                (None, _) => Speaks::ForNone,
            };
            Landed { result: self.act(job, seen).await, speaks }
        })
        .await
    }

    async fn fly<F: Future<Output = Landed>>(
        &self,
        job: Job<'_>,
        digest: &Digest,
        work: impl FnOnce(Option<Seen>) -> F,
    ) -> Result<Outcome, Failure> {
        let image = (&job.event.repository, digest);
        let now = || self.context.clock.now();
        let judge = |sight| self.judged(job, sight, &job.event.claim);
        let asked = (job.message, job.event.tags.as_slice());
        self.flights.fly(image, asked, now, judge, work).await
    }

    /// Does what follows from what was seen.
    async fn act(&self, job: Job<'_>, seen: Seen) -> Result<Outcome, Failure> {
        self.context.instruments.decision(match &seen {
            Seen::Clean(..) => "keep",
            Seen::Violation(_) => "untag",
            Seen::Unresolved(..) => "unscanned",
            Seen::Wait(..) => "wait",
            Seen::Unscanned(..) => "unscanned",
            Seen::Absent | Seen::NotAnImage | Seen::Unpulled | Seen::LeftToScan(_) => "none",
        });
        match seen {
            Seen::Wait(image, reason, _) => {
                let sent = job.message.sent_at;
                let age = sent.map(|sent| self.context.clock.since(sent)).unwrap_or_default();
                let most = self.context.max_receive_count;
                match wait_for_findings(job.message.receive_count, most, age) {
                    Some(again) => Err(Failure::Pending { reason, again }),
                    None => self.unscanned(job, &image, reason).await,
                }
            }
            Seen::Violation(violation) if violation.image.kind != Kind::Index => {
                // The indexes first: people pull them, and an image can be deleted only when no index holds it.
                let indexes = Box::pin(self.act_on_indexes(job, &violation)).await?;
                let mut violation = *violation;
                let gone = |index: &Result<_, _>| {
                    matches!(
                        index,
                        Ok(Outcome::Deleted | Outcome::Absent | Outcome::Joined("deleted"))
                    )
                };
                // ECR deletes no image that an index holds, so nobody is told that it does.
                violation.plan.delete &= indexes.iter().all(gone);
                let own = self.violation(job, violation).await;
                Ok(indexes.into_iter().fold(own, graver)?)
            }
            seen => self.conclude(job, seen).await,
        }
    }

    /// Acts on every index that holds an image that violates the policy.
    async fn act_on_indexes(
        &self,
        job: Job<'_>,
        to_blame: &Violation,
    ) -> Result<Vec<Result<Outcome, Failure>>, Failure> {
        let Some(listing) = self.listing(job).await? else { return Ok(Vec::new()) };
        let mut results = Vec::new();
        for holder in listing.holding(&to_blame.image.digest) {
            let digest = holder.digest();
            let work = |_| async move {
                let seen = match self.observe_holder(job, holder, to_blame).await {
                    Ok(seen) => seen,
                    Err(failure) => return failed(failure),
                };
                // One that found nothing to do may not have seen what is known by the next.
                let speaks = match seen {
                    Seen::Violation(_) => Speaks::ForAll,
                    _ => Speaks::ForNone,
                };
                Landed { result: self.conclude(job, seen).await, speaks }
            };
            results.push(self.fly(job, digest, work).await);
        }
        Ok(results)
    }

    /// Does what follows for the image, or the index, that was seen, and for none else.
    async fn conclude(&self, job: Job<'_>, seen: Seen) -> Result<Outcome, Failure> {
        match seen {
            Seen::Violation(violation) => self.violation(job, *violation).await,
            Seen::Unscanned(image, reason) => self.unscanned(job, &image, reason).await,
            Seen::Unresolved(image, reason) => self.unresolved(job, &image, reason).await,
            Seen::Clean(..) => Ok(Outcome::Clean),
            Seen::Wait(..) | Seen::LeftToScan(_) => Ok(Outcome::LeftToScan),
            Seen::Unpulled => Ok(Outcome::NothingToUntag),
            Seen::NotAnImage => Ok(Outcome::NotAnImage),
            Seen::Absent => Ok(Outcome::Absent),
        }
    }

    async fn violation(&self, job: Job<'_>, mut violation: Violation) -> Result<Outcome, Failure> {
        let Context { health, shutdown, .. } = &self.context;
        let enforce = self.terms(job).mode == Mode::Enforce;
        if enforce {
            // Nobody would learn of the tags. Before anything is looked at for the last time: the wait may be long.
            self.unheard.wait(health.clear(), shutdown).await?;
        }
        self.hold(job, &mut violation).await?;
        let Violation { image, cause, judgement, counts, plan, .. } = &violation;
        let case = &Case { job, image, cause: cause.as_ref(), judgement, counts, plan };
        if plan.untag.is_empty() && plan.marked {
            // A delivery before this one did it, and may not have told. In audit mode none of ours did.
            if !job.is_redelivered() || !enforce {
                return Ok(Outcome::AlreadyQuarantined);
            }
            let tags = self.tags_after(case, Vec::new());
            if plan.delete && plan.holds.is_empty() {
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
        if plan.untag.is_empty() && plan.kept.is_empty() {
            let named = !job.event.tags.is_empty();
            return Ok(if named { Outcome::Superseded } else { Outcome::NothingToUntag });
        }
        if plan.untag.is_empty() || !plan.holds.is_empty() {
            let mut tags = NoticeTags { kept: plan.kept.clone(), ..NoticeTags::default() };
            tags.kept.extend(plan.untag.iter().cloned());
            let mut notice = self.notice(case, NoticeAction::Blocked, tags);
            notice.reasons.extend(plan.kept_because.iter().chain(&plan.holds).cloned());
            self.tell(notice).await?;
            return Ok(Outcome::Blocked);
        }
        info!(
            target: AUDIT,
            message_id = job.message.id,
            event_id = job.event_id(),
            account = %case.repository().account,
            region = %case.repository().region,
            repository = %case.repository().name,
            digest = %image.digest,
            cause = cause.as_ref().map(|child| child.digest.as_str()),
            mode = self.terms(job).mode.as_str(),
            rule = judgement.rule,
            reasons = judgement.reasons.join("; "),
            untag = joined(&plan.untag),
            kept = joined(&plan.kept),
            quarantine = %plan.quarantine,
            delete = plan.delete,
            "plan"
        );
        if enforce {
            return self.enforce_within_limits(case).await;
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

    /// An index that is not known as a whole is told of, whatever the policy says of images that cannot be scanned: it
    /// may well have been made so.
    async fn unresolved(
        &self,
        job: Job<'_>,
        image: &Image,
        reason: String,
    ) -> Result<Outcome, Failure> {
        // Also a tag that hangs something on an image is one that people can pull by.
        if image.tags.iter().all(|tag| tag.is_quarantine_of(&image.digest)) {
            return Ok(Outcome::NothingToUntag);
        }
        let mut notice = self.blank_notice(job, &image.digest, NoticeAction::Blocked);
        notice.media_type.clone_from(&image.media_type);
        notice.reasons = vec![reason];
        notice.tags.kept = image.tags.clone();
        self.tell(notice).await?;
        Ok(Outcome::Blocked)
    }

    async fn unscanned(
        &self,
        job: Job<'_>,
        image: &Image,
        reason: String,
    ) -> Result<Outcome, Failure> {
        if self.terms(job).unscanned == Unscanned::Tell {
            let mut notice = self.blank_notice(job, &image.digest, NoticeAction::Unscanned);
            notice.media_type.clone_from(&image.media_type);
            notice.reasons = vec![reason];
            notice.tags.kept = image.tags.clone();
            self.tell(notice).await?;
        }
        Ok(Outcome::Unscanned)
    }
}

/// A look that failed: so it does for whoever waited for it, unless it is only to come again in its own time.
fn failed(failure: Failure) -> Landed {
    let own = matches!(failure, Failure::Pending { .. });
    Landed { speaks: if own { Speaks::ForNone } else { Speaks::ForAll }, result: Err(failure) }
}

/// The graver of two results: a failure, the sooner it is tried again, else what was done rather than what was not.
fn graver(
    one: Result<Outcome, Failure>,
    other: Result<Outcome, Failure>,
) -> Result<Outcome, Failure> {
    match (one, other) {
        (
            Err(Failure::Pending { .. } | Failure::Limited { .. } | Failure::Unreplicated { .. }),
            Err(sooner),
        ) => Err(sooner),
        (Err(failure), _) | (Ok(_), Err(failure)) => Err(failure),
        (Ok(one), Ok(other)) if one.gravity() >= other.gravity() => Ok(one),
        (Ok(_), Ok(other)) => Ok(other),
    }
}

pub(super) fn joined(tags: &[Tag]) -> String {
    tags.iter().map(Tag::as_str).collect::<Vec<_>>().join(",")
}
