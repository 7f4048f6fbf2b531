//! Carries out a plan on one image: mark, record, remove tags, notify, and delete if the policy
//! says so.

use std::sync::Arc;

use tracing::info;

use super::actions::ImageAction;
use super::mark::{Marking, mark};
use super::notices::{notice, tags_after};
use super::overreach::{PutBack, StillLost, described};
use super::part::{Marked, Part, PartDone, PassResult};
use super::quota::{Admission, Deferral, Quota, Reservation};
use super::recording::{Recorded, Recorder};
use super::removal::{Halt, Purpose, Removal, Removed};
use super::{LimitSettings, Target};
use crate::clock::Clock;
use crate::domain::names::{Tag, joined};
use crate::domain::notice::NoticeAction;
use crate::domain::plan::Plan;
use crate::domain::policy::Mode;
use crate::domain::reconcile::AnsweredId;
use crate::domain::record::HoldInForce;
use crate::health::Health;
use crate::inspect::{EcrCalls, Holds, MarkArrival, RecordStore, Replicas};
use crate::notify::{Dispatcher, Notice, NoticeTags, Notifier, WayBack};
use crate::outcome::{Failure, Outcome};
use crate::registry::{Manifest, Registry};
use crate::telemetry::instruments::Instruments;
use crate::telemetry::logs::AUDIT;

/// Everything that the enforcer shares with other parts of the worker.
#[derive(Debug)]
pub(crate) struct EnforcerParts<R, N> {
    pub ecr: Arc<EcrCalls<R>>,
    /// The registries to which removals are replicated.
    pub replicas: Arc<Replicas<R>>,
    /// The records on images.
    pub records: Arc<RecordStore<R>>,
    /// The holds on images.
    pub holds: Arc<Holds<R>>,
    pub dispatcher: Arc<Dispatcher<N>>,
    /// Stops all removals after an over-reach.
    pub health: Arc<Health>,
    pub clock: Clock,
    pub instruments: Arc<Instruments>,
}

/// Marks images, removes their tags, deletes them, and notifies the team of each act.
#[derive(Debug)]
pub(crate) struct Enforcer<R, N> {
    shared: EnforcerParts<R, N>,
    recorder: Recorder<R>,
    quota: Quota,
}

impl<R: Registry, N: Notifier> Enforcer<R, N> {
    /// Creates an enforcer with these limits.
    #[must_use]
    pub(crate) fn new(shared: EnforcerParts<R, N>, limits: LimitSettings) -> Self {
        let recorder = Recorder::new(
            Arc::clone(&shared.ecr),
            Arc::clone(&shared.records),
            Arc::clone(&shared.holds),
            Arc::clone(&shared.instruments),
        );
        Self { shared, recorder, quota: Quota::new(limits) }
    }

    /// Uses these limits for the removals that begin from now on.
    pub(crate) fn limit(&self, limits: LimitSettings) {
        self.quota.limit(limits);
    }

    /// Marks the image, records the removal, removes its tags, notifies the team, and deletes the
    /// image if the policy says so, as far as the limits of this hour permit.
    ///
    /// # Errors
    /// [`Failure`] if the message has to come again.
    pub(crate) async fn enforce(&self, target: Target<'_>) -> Result<Outcome, Failure> {
        let (repository, plan) = (target.repository(), target.plan);
        let digest = &target.violation.image.digest;
        let (mut left, mut part_of_plan) = (plan.untag.as_slice(), Part::First);
        let mut records = plan.records.clone();
        let deferral = loop {
            let reservation = match self.quota.reserve(repository, digest, left.len()) {
                Admission::Now(reservation) => reservation,
                Admission::Later(deferral) => break deferral,
            };
            let (now, rest) = left.split_at(reservation.left().min(left.len()));
            let part = Plan {
                untag: now.to_vec(),
                kept: plan.kept.iter().chain(rest).cloned().collect(),
                delete: plan.delete && rest.is_empty(),
                records: records.clone(),
                ..plan.clone()
            };
            let done =
                self.enforce_part(target.with_plan(&part), part_of_plan, reservation).await?;
            records = done.records.or(records);
            match done.outcome {
                outcome if rest.is_empty() => return Ok(outcome),
                Outcome::Quarantined | Outcome::Superseded => {
                    (left, part_of_plan) = (rest, Part::Later);
                }
                // The rest is left to the next process, because this one removes nothing any more.
                Outcome::Overreach => return Err(Failure::Stopped),
                outcome => return Ok(outcome),
            }
        };
        self.put_off(target, left, deferral).await
    }

    /// Repeats the deletion and the notice of an earlier delivery that marked the image and removed
    /// its tags, because that delivery may have died before them.
    ///
    /// # Errors
    /// [`Failure`] if the message has to come again.
    pub(crate) async fn repeat(&self, target: Target<'_>) -> Result<Outcome, Failure> {
        let Target { request, violation, plan } = target;
        let tags = self.tags_after(target, Vec::new());
        if !plan.delete || !plan.blockers.is_empty() {
            self.notify(target, NoticeAction::Quarantined, tags).await?;
            return Ok(Outcome::AlreadyQuarantined);
        }
        if self.shared.health.is_overreached() {
            return Err(Failure::Stopped);
        }
        let read = |registry| R::manifest(registry, &request.repository, &violation.image.digest);
        let Some(manifest) = self.shared.ecr.call(request, read).await? else {
            return Ok(Outcome::Absent);
        };
        self.notify(target, NoticeAction::Deleted, tags).await?;
        self.delete_image(target, &manifest).await
    }

    /// Notifies the team of an image whose tags stay although it violates the policy.
    ///
    /// # Errors
    /// [`Failure`] if the team cannot be notified.
    pub(crate) async fn report_blocked(&self, target: Target<'_>) -> Result<Outcome, Failure> {
        let plan = target.plan;
        let kept = plan.kept.iter().chain(&plan.untag).cloned().collect();
        let tags = NoticeTags { kept, ..NoticeTags::default() };
        let mut notice = self.notice(target, NoticeAction::Blocked, tags);
        notice.reasons.extend(plan.kept_because.iter().chain(&plan.blockers).cloned());
        self.shared.dispatcher.notify(notice).await?;
        Ok(Outcome::Blocked)
    }

    /// Leaves a violating image alone because somebody holds it. The team is notified only of tags
    /// that an earlier delivery removed and could not notify.
    ///
    /// # Errors
    /// [`Failure`] if the team cannot be notified of these.
    pub(crate) async fn keep_held(
        &self,
        target: Target<'_>,
        hold: &HoldInForce,
    ) -> Result<Outcome, Failure> {
        info!(
            target: AUDIT,
            event_id = target.request.event_id,
            repository = %target.repository().name,
            digest = %target.violation.image.digest,
            until = %humantime::format_rfc3339_seconds(hold.until),
            owner = hold.owner,
            reason = hold.reason,
            kept = joined(&target.plan.untag),
            "held"
        );
        if target.request.settings().mode == Mode::Enforce {
            let mut tags = self.tags_after(target, Vec::new());
            if !tags.claimed.is_empty() {
                tags.kept.extend_from_slice(&target.plan.untag);
                self.notify(target, NoticeAction::Quarantined, tags).await?;
            }
        }
        Ok(Outcome::Held)
    }

    /// Notifies the team of the tags that would be removed if the policy were not in audit mode.
    ///
    /// # Errors
    /// [`Failure`] if the team cannot be notified.
    pub(crate) async fn report_planned(&self, target: Target<'_>) -> Result<Outcome, Failure> {
        let plan = target.plan;
        let tags = NoticeTags {
            kept: plan.kept.clone(),
            would_untag: plan.untag.clone(),
            ..NoticeTags::default()
        };
        self.notify(target, NoticeAction::WouldUntag, tags).await?;
        self.count(ImageAction::UntagPlanned, plan.untag.len());
        Ok(Outcome::WouldUntag)
    }

    /// Puts the rest of an image's tags off to a later hour.
    async fn put_off(
        &self,
        target: Target<'_>,
        left: &[Tag],
        deferral: Deferral,
    ) -> Result<Outcome, Failure> {
        info!(
            target: AUDIT,
            digest = %target.violation.image.digest,
            kept = joined(left),
            reasons = deferral.reason,
            again_in_seconds = deferral.again.as_secs(),
            "put off"
        );
        if deferral.is_news {
            let kept = target.plan.kept.iter().chain(left).cloned().collect();
            let tags = NoticeTags { kept, ..NoticeTags::default() };
            let mut notice = self.notice(target, NoticeAction::Blocked, tags);
            let until = self.shared.clock.now() + deferral.again;
            notice.reasons.push(format!(
                "{}: this image waits until {}, and others like it wait too; you are notified of \
                 this once an hour",
                deferral.reason,
                humantime::format_rfc3339_seconds(until)
            ));
            if let Err(failure) = self.shared.dispatcher.notify(notice).await {
                self.quota.undelivered(target.repository(), &deferral);
                return Err(failure.into());
            }
        }
        let Deferral { reason, again, .. } = deferral;
        Err(Failure::Limited { reason, again })
    }

    async fn enforce_part(
        &self,
        target: Target<'_>,
        part: Part,
        reservation: Reservation<'_>,
    ) -> Result<PartDone, Failure> {
        match self.mark_and_remove(target, part, reservation).await? {
            PassResult::Absent => Ok(PartDone::of(Outcome::Absent)),
            PassResult::Held(hold) => self.keep_held(target, &hold).await.map(PartDone::of),
            PassResult::Refused(reason) => {
                let left = target.plan.untag.clone();
                self.blocked(target, Vec::new(), left, reason).await.map(PartDone::of)
            }
            PassResult::Marked(marked) => {
                let Marked { manifest, plan, removed } = *marked;
                let moved = removed.done.moved.clone();
                let outcome = self.finish(target.with_plan(&plan), &manifest, removed).await;
                if !moved.is_empty() && !matches!(outcome, Ok(Outcome::Deleted)) {
                    self.recorder.close_moved(target, &manifest, &moved).await;
                }
                Ok(PartDone { outcome: outcome?, records: plan.records })
            }
        }
    }

    #[tracing::instrument(name = "act", skip_all, fields(digest = %target.violation.image.digest))]
    async fn mark_and_remove(
        &self,
        target: Target<'_>,
        part: Part,
        reservation: Reservation<'_>,
    ) -> Result<PassResult, Failure> {
        let EnforcerParts { ecr, replicas, health, .. } = &self.shared;
        if health.is_overreached() {
            return Err(Failure::Stopped);
        }
        let (manifest, quarantine) = match mark(ecr, target).await? {
            Marking::Done { manifest, mark } => (manifest, mark),
            Marking::Refused(reason) => {
                self.count(ImageAction::MarkRefused, 1);
                return Ok(PassResult::Refused(reason));
            }
            Marking::Absent => return Ok(PassResult::Absent),
        };
        self.count(ImageAction::MarkDone, 1);
        let mut plan = Plan { quarantine, ..target.plan.clone() };
        let digest = &target.violation.image.digest;
        let arrival =
            replicas.wait_for_mark(target.request, digest, &plan.quarantine, &plan.replicas);
        let removed = match arrival.await? {
            MarkArrival::Everywhere => {
                let hold = match part {
                    Part::First => match self.recorder.record(target, &manifest).await? {
                        Recorded::Held(hold) => Some(hold),
                        Recorded::Rejected(reason) => return Ok(PassResult::Refused(reason)),
                        Recorded::Done(known) => {
                            plan.records = Some(known);
                            None
                        }
                        Recorded::Full(known, reason) => {
                            plan.records = Some(known);
                            self.report_unrecorded(target.with_plan(&plan), &reason).await?;
                            // A topic may have been waited for.
                            self.recorder.hold(target).await?
                        }
                    },
                    Part::Later => self.recorder.hold(target).await?,
                };
                if let Some(hold) = hold {
                    return Ok(PassResult::Held(hold));
                }
                self.removal(target, Purpose::Quarantine).run(&plan.untag, Some(reservation)).await
            }
            MarkArrival::GivenUp(reason) => {
                Removed { halt: Some(Halt::Blocked(reason)), ..Removed::default() }
            }
        };
        Ok(PassResult::Marked(Box::new(Marked { manifest, plan, removed })))
    }

    fn removal<'a>(&'a self, target: Target<'a>, purpose: Purpose) -> Removal<'a, R> {
        let EnforcerParts { ecr, health, instruments, .. } = &self.shared;
        Removal { ecr, health, instruments, target, purpose }
    }

    /// Concludes a pass. If tags were removed, the team is notified of them first, whatever ended
    /// the pass.
    async fn finish(
        &self,
        target: Target<'_>,
        manifest: &Manifest,
        Removed { done, uncertain, halt }: Removed,
    ) -> Result<Outcome, Failure> {
        let EnforcerParts { dispatcher, .. } = &self.shared;
        dispatcher.may_have_lost(target.repository(), &target.violation.image.digest, &uncertain);
        let is_left = |tag: &&Tag| {
            !done.gone.contains(tag) && !done.absent.contains(tag) && !done.moved.contains(tag)
        };
        let left: Vec<_> = target.plan.untag.iter().filter(is_left).cloned().collect();
        // A tag that was read a moment ago and is absent now was removed by a call whose answer was
        // lost.
        let gone: Vec<_> = done.gone.into_iter().chain(done.absent).collect();
        let mut tags = self.tags_after(target, gone.clone());
        let is_nothing_removed = tags.untagged.is_empty() && tags.claimed.is_empty();
        match halt {
            Some(Halt::Overreach(beyond)) => {
                self.overreach(target, manifest, gone, left, &beyond).await
            }
            Some(Halt::Blocked(reason)) => self.blocked(target, gone, left, reason).await,
            Some(Halt::Failure(failure)) => {
                if !is_nothing_removed {
                    tags.kept.extend(left);
                    self.notify(target, NoticeAction::Quarantined, tags).await?;
                }
                Err(failure)
            }
            None if is_nothing_removed => Ok(Outcome::Superseded),
            None if target.plan.delete => {
                self.notify(target, NoticeAction::Deleted, tags).await?;
                self.delete_image(target, manifest).await
            }
            None => {
                self.notify(target, NoticeAction::Quarantined, tags).await?;
                Ok(Outcome::Quarantined)
            }
        }
    }

    /// Deletes the image by its last tag, the quarantine tag, after the team was notified. If it
    /// bears several quarantine tags, they are removed together.
    async fn delete_image(
        &self,
        target: Target<'_>,
        manifest: &Manifest,
    ) -> Result<Outcome, Failure> {
        let (image, mark) = (&target.violation.image, &target.plan.quarantine);
        let others = image.tags.iter().filter(|tag| tag.is_quarantine_of(&image.digest));
        let others = others.filter(|tag| *tag != mark);
        let marks: Vec<_> = others.chain([mark]).cloned().collect();
        match self.removal(target, Purpose::Delete).run(&marks, None).await.halt {
            None => {
                info!(target: AUDIT, digest = %image.digest, "image deleted");
                Ok(Outcome::Deleted)
            }
            Some(Halt::Failure(failure)) => Err(failure),
            Some(Halt::Blocked(reason)) => {
                self.blocked(target, Vec::new(), Vec::new(), reason).await
            }
            Some(Halt::Overreach(beyond)) => {
                self.overreach(target, manifest, Vec::new(), Vec::new(), &beyond).await
            }
        }
    }

    /// Notifies the team that the image cannot be acted on, or not any further, and which tags are
    /// left.
    async fn blocked(
        &self,
        target: Target<'_>,
        untagged: Vec<Tag>,
        left: Vec<Tag>,
        reason: String,
    ) -> Result<Outcome, Failure> {
        let mut tags = self.tags_after(target, untagged);
        tags.kept.extend(left);
        let is_nothing_removed = tags.untagged.is_empty() && tags.claimed.is_empty();
        let mut notice = self.notice(target, NoticeAction::Blocked, tags);
        notice.reasons.push(reason);
        if is_nothing_removed {
            notice.way_back = WayBack::default();
        }
        self.shared.dispatcher.notify(notice).await?;
        Ok(Outcome::Blocked)
    }

    /// Notifies the team of every tag that is about to be removed without a record, because the
    /// repository is full (the exception of invariant 18).
    async fn report_unrecorded(&self, target: Target<'_>, reason: &str) -> Result<(), Failure> {
        let kept = target.violation.plan.untag.clone();
        let quarantine = Some(target.plan.quarantine.clone());
        let tags = NoticeTags { kept, quarantine, ..NoticeTags::default() };
        let mut notice = self.notice(target, NoticeAction::Blocked, tags);
        notice.reasons.push(format!(
            "the repository is full and takes no record of the tags that are removed next: keep \
             this notice, because it is the only list of them, and delete images that nobody needs \
             or have the quota of images per repository raised ({reason})"
        ));
        Ok(self.shared.dispatcher.notify(notice).await?)
    }

    /// Puts back what the registry removed beyond the request, and notifies the team.
    async fn overreach(
        &self,
        target: Target<'_>,
        manifest: &Manifest,
        gone: Vec<Tag>,
        left: Vec<Tag>,
        beyond: &[AnsweredId],
    ) -> Result<Outcome, Failure> {
        let StillLost { own, described: lost } =
            PutBack::new(&self.shared.ecr, target, manifest).run(beyond).await;
        self.recorder.record_lost(target, manifest, &own).await;
        let mut tags = self.tags_after(target, gone);
        tags.kept.extend(left.iter().cloned());
        let mut notice = self.notice(target, NoticeAction::Failed, tags);
        let took = described(beyond);
        notice.reasons.push(format!("over-reach: the registry also removed {took}"));
        if lost.is_empty() {
            self.count(ImageAction::PutBackDone, 1);
            notice.reasons.push("it was put back".to_owned());
        } else {
            self.count(ImageAction::PutBackFailed, 1);
            notice.reasons.push(format!("could not put back: {}", lost.join("; ")));
        }
        notice.reasons.push("this worker removes nothing more until it is restarted".to_owned());
        self.shared.dispatcher.notify(notice).await?;
        if !lost.is_empty() {
            return Err(Failure::NotPutBack(lost.join("; ")));
        }
        // The other tags are left to the next process, because this one removes nothing any more.
        if left.is_empty() { Ok(Outcome::Overreach) } else { Err(Failure::Stopped) }
    }

    async fn notify(
        &self,
        target: Target<'_>,
        action: NoticeAction,
        tags: NoticeTags,
    ) -> Result<(), Failure> {
        Ok(self.shared.dispatcher.notify(self.notice(target, action, tags)).await?)
    }

    fn notice(&self, target: Target<'_>, action: NoticeAction, tags: NoticeTags) -> Notice {
        let way_back = self.recorder.way_back(target.plan.records.as_ref());
        notice(target, action, tags, way_back)
    }

    fn tags_after(&self, target: Target<'_>, untagged: Vec<Tag>) -> NoticeTags {
        let digest = &target.violation.image.digest;
        let lost = self.shared.dispatcher.left_to_notify(target.repository(), digest);
        tags_after(target, untagged, lost)
    }

    fn count(&self, action: ImageAction, count: usize) {
        action.count(&self.shared.instruments, count);
    }
}
