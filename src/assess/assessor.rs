//! Assesses one image from top to bottom: single flight, inspect, safeguards, enforce, notify.
//!
//! An image that violates the policy is enforced after the indexes that hold it, because people
//! pull the indexes, and because ECR deletes an image only when no index holds it. The assessment
//! of an image may wait for the assessments of these indexes, never the reverse, so assessments do
//! not wait for each other in a circle. In audit mode everything but the enforcement is the same,
//! and the notice says what would be done (invariant 8).

use std::sync::Arc;

use tracing::info;

use super::out_of_scope::Refusals;
use super::single_flight::{FlightResult, Reusable, Sharing, SingleFlight, Undisturbed};
use crate::clock::Clock;
use crate::domain::image::{Image, ImageKind};
use crate::domain::names::{Digest, RegistryId, Repository, Tag, joined};
use crate::domain::notice::NoticeAction;
use crate::domain::plan::Course;
use crate::domain::policy::{Mode, OutOfScope, Policy, Unscanned};
use crate::enforce::{Enforcer, LimitSettings, Target, blank_notice};
use crate::event::ImageEvent;
use crate::inspect::{
    Inspection, Inspector, Request, Safeguards, Started, Verdict, Violation, is_cleared,
};
use crate::notify::{Dispatcher, Notifier};
use crate::outcome::{Failure, Outcome, graver, wait_for_findings};
use crate::registry::Registry;
use crate::telemetry::instruments::Instruments;
use crate::telemetry::logs::AUDIT;

/// The stages of an assessment, and the other parts that it needs.
#[derive(Debug)]
pub(crate) struct Stages<R, N> {
    pub inspector: Arc<Inspector<R>>,
    /// Finds reasons for leaving tags in place.
    pub safeguards: Arc<Safeguards<R>>,
    pub enforcer: Enforcer<R, N>,
    pub dispatcher: Arc<Dispatcher<N>>,
    /// The worker's own registry.
    pub own: RegistryId,
    pub clock: Clock,
    pub instruments: Arc<Instruments>,
}

#[derive(Debug)]
pub(crate) struct Assessor<R, N> {
    stages: Stages<R, N>,
    single_flight: SingleFlight,
    refusals: Refusals<N>,
}

/// The result of assessing a request.
#[derive(Debug)]
pub(crate) struct Assessment {
    /// The images that the request turned out to be about.
    pub digests: Vec<Digest>,
    /// The gravest of the images' results.
    pub result: Result<Outcome, Failure>,
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Creates an assessor of these stages.
    #[must_use]
    pub(crate) fn new(stages: Stages<R, N>) -> Self {
        let refusals = Refusals::new(Arc::clone(&stages.dispatcher));
        Self { stages, single_flight: SingleFlight::default(), refusals }
    }

    /// Drops old results that were kept for other messages.
    pub(crate) fn tidy(&self) {
        self.single_flight.tidy();
    }

    /// Uses these limits for the removals that begin from now on.
    pub(crate) fn limit(&self, limits: LimitSettings) {
        self.stages.enforcer.limit(limits);
    }

    /// Returns whether an event needs no call to ECR: the policy covers it, and its own counts show
    /// that no limit is exceeded.
    #[must_use]
    pub(crate) fn is_cleared_at_a_glance(&self, policy: &Policy, event: &ImageEvent) -> bool {
        self.check_scope(policy, &event.repository).is_ok()
            && is_cleared(policy, &event.repository, &event.claim)
    }

    /// Returns why the policy does not cover a repository.
    ///
    /// # Errors
    /// [`OutOfScope`] if it does not.
    pub(crate) fn check_scope(
        &self,
        policy: &Policy,
        repository: &Repository,
    ) -> Result<(), OutOfScope> {
        policy.check_scope(repository, &self.stages.own)
    }

    /// Returns whether this process removed tags of an image, or may have, without the team being
    /// notified of it.
    #[must_use]
    pub(crate) fn owes_notice(&self, repository: &Repository, digest: &Digest) -> bool {
        !self.stages.dispatcher.left_to_notify(repository, digest).is_empty()
    }

    /// Waits until no message assesses this image, and keeps it from being assessed until the
    /// returned value is dropped. What is known of it by then serves no other message.
    pub(crate) async fn undisturbed(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Undisturbed {
        self.single_flight.enter(repository, digest).await.undisturbed()
    }

    /// Refuses a request that the policy does not cover.
    ///
    /// # Errors
    /// [`Failure`] if the team cannot be notified.
    pub(crate) async fn refuse_out_of_scope(
        &self,
        request: &Request,
        why: OutOfScope,
    ) -> Result<Outcome, Failure> {
        self.refusals.refuse(request, why).await
    }

    /// Assesses the images that a request is about.
    pub(crate) async fn assess(&self, request: &Request) -> Assessment {
        match self.images(request).await {
            Ok(digests) => {
                let result = self.assess_images(request, &digests).await;
                Assessment { digests, result }
            }
            Err(failure) => Assessment { digests: Vec::new(), result: Err(failure) },
        }
    }

    /// Returns the images that a request is about.
    ///
    /// # Errors
    /// [`Failure`] if ECR does not say to which images its tags point.
    pub(crate) async fn images(&self, request: &Request) -> Result<Vec<Digest>, Failure> {
        let Stages { inspector, dispatcher, .. } = &self.stages;
        let lost = |tag: &Tag| dispatcher.image_that_lost(&request.repository, tag);
        inspector.evaluator().digests(request, lost).await
    }

    /// Assesses these images, and returns the gravest of their results.
    ///
    /// # Errors
    /// [`Failure`] if the message has to come again.
    pub(crate) async fn assess_images(
        &self,
        request: &Request,
        digests: &[Digest],
    ) -> Result<Outcome, Failure> {
        // One bad image of several must not keep the others from being assessed.
        let mut result = Ok(Outcome::Absent);
        for digest in digests {
            let assessed = match Box::pin(self.assess_image(request, digest)).await {
                // Somebody deleted the repository meanwhile.
                Err(Failure::Rejected(error)) if error.is("RepositoryNotFoundException") => {
                    Ok(Outcome::Absent)
                }
                assessed => assessed,
            };
            result = graver(result, assessed);
        }
        result
    }

    /// Assesses one image, or reuses another message's assessment of it.
    async fn assess_image(&self, request: &Request, digest: &Digest) -> Result<Outcome, Failure> {
        let flight = self.single_flight.enter(&request.repository, digest).await;
        match flight.reusable(request) {
            Some(Reusable::Result(result)) => return result,
            Some(Reusable::Snapshot { snapshot, is_older }) => {
                let claim = &request.claim;
                let inspection =
                    self.stages.inspector.evaluator().judge(request, snapshot, claim).await;
                if !(is_older && matches!(inspection, Inspection::Wait(..))) {
                    return self.act_on_reused(request, digest, inspection).await;
                }
            }
            None => {}
        }
        let started = Started::now(&self.stages.clock);
        let inspection = self.stages.inspector.inspect(request, digest).await;
        flight.land(started, request, self.act_on(request, inspection).await)
    }

    async fn act_on_reused(
        &self,
        request: &Request,
        digest: &Digest,
        inspection: Inspection,
    ) -> Result<Outcome, Failure> {
        let inspection = match inspection {
            // Only an inspection can say whether anybody can pull the image.
            Inspection::Unscanned(..) => self.stages.inspector.inspect(request, digest).await,
            inspection => Ok(inspection),
        };
        match self.act_on(request, inspection).await.result {
            Ok(outcome @ (Outcome::Clean | Outcome::LeftToScan)) => Ok(outcome.shared()),
            result => result,
        }
    }

    async fn act_on(
        &self,
        request: &Request,
        inspection: Result<Inspection, Failure>,
    ) -> FlightResult {
        let mut inspection = match inspection {
            Ok(inspection) => inspection,
            Err(failure) => return FlightResult::failed(failure),
        };
        let sharing = match (inspection.take_snapshot(), &inspection) {
            (Some(snapshot), _) => {
                Sharing::Snapshot(self.stages.inspector.evaluator().share(snapshot))
            }
            (None, Inspection::Violation(_) | Inspection::Absent | Inspection::Unpulled) => {
                Sharing::Result
            }
            // Whether a manifest is taken for an image depends on the event's claim too.
            (None, _) => Sharing::Nothing,
        };
        let verdict = inspection.verdict();
        let result = self.act(request, inspection).await;
        // Whether an image is held is known only after it was judged.
        let is_held = matches!(result, Ok(Outcome::Held));
        let verdict = if is_held { Verdict::Held } else { verdict };
        self.stages.instruments.decision(verdict.as_str());
        FlightResult { result, sharing }
    }

    /// Does what an inspection asks for, with the image and the indexes that hold it.
    async fn act(&self, request: &Request, inspection: Inspection) -> Result<Outcome, Failure> {
        match inspection {
            Inspection::Wait(image, reason, _) => {
                let sent = request.freshness.sent_at;
                let age = sent.map(|sent| self.stages.clock.since_by_queue(sent));
                let age = age.unwrap_or_default();
                match wait_for_findings(request.attempt, age) {
                    Some(again) => Err(Failure::Pending { reason, again }),
                    None => self.unscanned(request, &image, reason).await,
                }
            }
            Inspection::Violation(violation) if violation.image.kind != ImageKind::Index => {
                let indexes = Box::pin(self.assess_holders(request, &violation)).await?;
                // A person agreed to the image and its indexes together: it keeps its tags if one
                // of these was refused.
                if request.only.is_some()
                    && let Some(failure) = indexes.iter().find_map(|index| index.as_ref().err())
                {
                    return Err(failure.clone());
                }
                let mut violation = *violation;
                violation.plan.delete &=
                    indexes.iter().flatten().filter(|index| index.leaves_no_image()).count()
                        == indexes.len();
                let own = self.act_on_violation(request, violation).await;
                indexes.into_iter().fold(own, graver)
            }
            inspection => self.conclude(request, inspection).await,
        }
    }

    /// Assesses every index that holds an image that violates the policy.
    async fn assess_holders(
        &self,
        request: &Request,
        cause: &Violation,
    ) -> Result<Vec<Result<Outcome, Failure>>, Failure> {
        let Stages { inspector, clock, .. } = &self.stages;
        let Some(tagged) = inspector.evaluator().tagged_images(request).await? else {
            return Ok(Vec::new());
        };
        let mut results = Vec::new();
        for holder in tagged.holding(&cause.image.digest) {
            let flight = self.single_flight.enter(&request.repository, holder.digest()).await;
            if let Some(Reusable::Result(result)) = flight.reusable(request) {
                results.push(result);
                continue;
            }
            let started = Started::now(clock);
            let result = match inspector.inspect_holder(request, holder, cause).await {
                Ok(inspection) => {
                    // If the index needs nothing, the result is not shared, because the next
                    // message may know of another violating image in it.
                    let sharing = match inspection {
                        Inspection::Violation(_) => Sharing::Result,
                        _ => Sharing::Nothing,
                    };
                    FlightResult { result: self.conclude(request, inspection).await, sharing }
                }
                Err(failure) => FlightResult::failed(failure),
            };
            results.push(flight.land(started, request, result));
        }
        Ok(results)
    }

    /// Does what an inspection asks for, with the inspected image or index alone.
    async fn conclude(
        &self,
        request: &Request,
        inspection: Inspection,
    ) -> Result<Outcome, Failure> {
        match inspection {
            Inspection::Violation(violation) => self.act_on_violation(request, *violation).await,
            Inspection::Unscanned(image, reason) => self.unscanned(request, &image, reason).await,
            Inspection::Unresolved(image, reason) => self.unresolved(request, &image, reason).await,
            Inspection::Clean(..) => Ok(Outcome::Clean),
            Inspection::Wait(..) | Inspection::LeftToScan(_) => Ok(Outcome::LeftToScan),
            Inspection::Unpulled => Ok(Outcome::NothingToUntag),
            Inspection::NotAnImage => Ok(Outcome::NotAnImage),
            Inspection::Absent => Ok(Outcome::Absent),
        }
    }

    async fn act_on_violation(
        &self,
        request: &Request,
        violation: Violation,
    ) -> Result<Outcome, Failure> {
        let Stages { safeguards, enforcer, dispatcher, .. } = &self.stages;
        let enforces = request.settings().mode == Mode::Enforce;
        if enforces {
            // This comes before the image is read for the last time, because the wait may be long.
            dispatcher.wait_until_notifiable().await?;
        }
        let violation = safeguards.check(request, violation).await?;
        let target = Target::whole(request, &violation);
        let digest = &violation.image.digest;
        if let Some(hold) = &violation.plan.hold {
            return enforcer.keep_held(target, hold).await;
        }
        match violation.plan.course() {
            // An earlier delivery removed the tags and may not have notified the team. In audit
            // mode no delivery of ours removed them.
            Course::Marked
                if request.attempt.is_repeated()
                    && enforces
                    && request.permits_deletion(digest) =>
            {
                enforcer.repeat(target).await
            }
            Course::Marked => Ok(Outcome::AlreadyQuarantined),
            Course::Untagged if request.tags.is_empty() => Ok(Outcome::NothingToUntag),
            Course::Untagged => Ok(Outcome::Superseded),
            Course::Blocked => enforcer.report_blocked(target).await,
            // Somebody pushed a tag or an index after the person had agreed.
            Course::Remove if !request.permits(digest, &violation.plan.untag) => {
                Err(Failure::TagsRefused(match violation.cause {
                    Some(_) => format!("the tags of the index {digest} differ from the plan"),
                    None => "its tags differ from the plan".to_owned(),
                }))
            }
            Course::Remove => {
                self.audit(target);
                match enforces {
                    true => enforcer.enforce(target).await,
                    false => enforcer.report_planned(target).await,
                }
            }
        }
    }

    /// Writes the audit line of a plan before anything is done, because the process may die before
    /// it could write one later.
    fn audit(&self, Target { request, violation, plan }: Target<'_>) {
        info!(
            target: AUDIT,
            message_id = request.message_id.as_deref(),
            event_id = request.event_id,
            account = %request.repository.account,
            region = %request.repository.region,
            repository = %request.repository.name,
            digest = %violation.image.digest,
            cause = violation.cause.as_ref().map(|child| child.digest.as_str()),
            mode = request.settings().mode.as_str(),
            policy = request.policy.fingerprint().as_str(),
            rule = violation.evaluation.rule,
            reasons = violation.evaluation.reasons.join("; "),
            untag = joined(&plan.untag),
            kept = joined(&plan.kept),
            quarantine = %plan.quarantine,
            delete = plan.delete,
            "plan"
        );
    }

    /// Notifies the team of an index that is not known as a whole, whatever the policy says about
    /// images that cannot be scanned, because somebody may have made the index so on purpose.
    async fn unresolved(
        &self,
        request: &Request,
        image: &Image,
        reason: String,
    ) -> Result<Outcome, Failure> {
        // A tag that attaches an artifact to an image counts too, because people can pull by it.
        if image.tags.iter().all(|tag| tag.is_quarantine_of(&image.digest)) {
            return Ok(Outcome::NothingToUntag);
        }
        self.notify_unjudged(request, image, reason, NoticeAction::Blocked).await?;
        Ok(Outcome::Blocked)
    }

    async fn unscanned(
        &self,
        request: &Request,
        image: &Image,
        reason: String,
    ) -> Result<Outcome, Failure> {
        if request.settings().unscanned == Unscanned::Tell {
            self.notify_unjudged(request, image, reason, NoticeAction::Unscanned).await?;
        }
        Ok(Outcome::Unscanned)
    }

    async fn notify_unjudged(
        &self,
        request: &Request,
        image: &Image,
        reason: String,
        action: NoticeAction,
    ) -> Result<(), Failure> {
        let mut notice = blank_notice(request, &image.digest, action);
        notice.media_type.clone_from(&image.media_type);
        notice.reasons = vec![reason];
        let kept = image.tags.iter().filter(|tag| !tag.is_quarantine_of(&image.digest));
        notice.tags.kept = kept.cloned().collect();
        Ok(self.stages.dispatcher.notify(notice).await?)
    }
}
