//! Carries out one request: who asks, what is there, what may be done, doing it, and the answer.

mod second_look;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::warn;

use super::actions::RestoreAct;
use super::answering::{Answering, Written, audit_grant, audit_result};
use super::given::{Given, closing};
use super::holding::{WantedHold, wanted_hold};
use super::judging::{Judge, Judgement};
use super::refusal::{NotDone, Refusal};
use super::scene::Scene;
use super::senders::Senders;
use super::{ReceivedOrder, RestoreSettings};
use crate::assess::Assessor;
use crate::aws::Aws;
use crate::clock::Clock;
use crate::domain::image::StorageStatus;
use crate::domain::names::{Digest, Tag, joined};
use crate::domain::policy::OutOfScope;
use crate::domain::record::{
    Hold, Notification, Record, Refusal as RecordedRefusal, Withdrawal, record_id,
};
use crate::enforce::write_record;
use crate::event::restore::RestoreAction;
use crate::in_use::PolicyInUse;
use crate::inspect::{EcrCalls, Inspector, RecordStore, Remembered, Request, Safeguards};
use crate::notify::{Dispatcher, HoldAnswer, LeftTag, Notifier, RestoreAnswer};
use crate::outcome::{Failure, Outcome};
use crate::registry::{GivingBack, Recording, Registry};
use crate::telemetry::instruments::Instruments;

/// A request that was sent longer ago is refused, because a message that somebody copied can be
/// sent at any time.
const LONGEST_AGE: Duration = Duration::from_secs(3600);

/// The parts that a restorer needs.
#[derive(Debug)]
pub(crate) struct RestorerParts<R, N> {
    /// Keeps the image from being assessed meanwhile.
    pub assessor: Arc<Assessor<R, N>>,
    pub inspector: Arc<Inspector<R>>,
    pub safeguards: Arc<Safeguards<R>>,
    pub ecr: Arc<EcrCalls<R>>,
    pub records: Arc<RecordStore<R>>,
    pub dispatcher: Arc<Dispatcher<N>>,
    pub policy: PolicyInUse,
    /// To find out the worker's own role.
    pub aws: Aws,
    /// How long a received message stays invisible.
    pub visibility: Duration,
    pub clock: Clock,
    pub instruments: Arc<Instruments>,
}

/// Carries out requests to restore images.
#[derive(Debug)]
pub(crate) struct Restorer<R, N> {
    parts: RestorerParts<R, N>,
    senders: Senders,
    judge: Judge<R, N>,
    answering: Answering<N>,
}

impl<R: Registry, N: Notifier> Restorer<R, N> {
    /// Creates a restorer of these parts.
    #[must_use]
    pub(crate) fn new(parts: RestorerParts<R, N>, settings: &RestoreSettings) -> Self {
        let RestoreSettings { senders, hold_senders, .. } = settings;
        let senders = Senders::new(parts.aws.clone(), senders, hold_senders);
        let answering = Answering::new(
            Arc::clone(&parts.dispatcher),
            Arc::clone(&parts.instruments),
            parts.records.settings().way_back,
        );
        let judge = Judge {
            assessor: Arc::clone(&parts.assessor),
            inspector: Arc::clone(&parts.inspector),
            safeguards: Arc::clone(&parts.safeguards),
            clock: parts.clock.clone(),
        };
        Self { parts, senders, judge, answering }
    }

    /// Carries out a request, or refuses it.
    ///
    /// # Errors
    /// [`Failure`] if the message has to come again.
    pub(crate) async fn restore(&self, asked: &ReceivedOrder<'_>) -> Result<Outcome, Failure> {
        let request = asked.request(self.parts.policy.current());
        let (refusal, tags) = match self.carry_out(asked, &request).await {
            Ok(outcome) => return Ok(outcome),
            Err(NotDone::Refused(refusal, tags)) => (refusal, tags),
            Err(NotDone::Failed(Failure::Rejected(error)))
                if error.is("RepositoryNotFoundException") =>
            {
                (Refusal::Gone, BTreeSet::new())
            }
            Err(NotDone::Failed(failure)) => return Err(failure),
        };
        self.answering.refuse(asked, &request, &refusal, tags).await?;
        Ok(Outcome::RestoreRefused)
    }

    /// Refuses a request about a registry that the policy does not cover, before it takes a slot,
    /// because anybody who can send to the queue may name any registry. Returns `None` if the
    /// registry is covered.
    ///
    /// # Errors
    /// [`Failure`] if the message has to come again.
    pub(crate) async fn refuse_out_of_scope(
        &self,
        asked: &ReceivedOrder<'_>,
    ) -> Result<Option<Outcome>, Failure> {
        let RestorerParts { assessor, policy, .. } = &self.parts;
        let policy = policy.current();
        match assessor.check_scope(&policy, &asked.order.repository) {
            Err(why @ (OutOfScope::Account | OutOfScope::Region)) => {
                let refusal = Refusal::OutOfScope(why);
                self.answering
                    .refuse(asked, &asked.request(policy), &refusal, BTreeSet::new())
                    .await?;
                Ok(Some(Outcome::RestoreRefused))
            }
            // Its tags may have been removed before the policy left it out.
            Err(OutOfScope::Repository | OutOfScope::OwnImages) | Ok(()) => Ok(None),
        }
    }

    async fn carry_out(
        &self,
        asked: &ReceivedOrder<'_>,
        request: &Request,
    ) -> Result<Outcome, NotDone> {
        let RestorerParts { assessor, records, clock, .. } = &self.parts;
        self.senders.check(asked).await?;
        let sent_at = asked.sent_at.ok_or(Refusal::NoTime)?;
        let is_late = clock.since(sent_at) > LONGEST_AGE;
        if !records.settings().is_required {
            return Err(Refusal::RecordsOff.into());
        }
        let _undisturbed = assessor.undisturbed(&request.repository, &asked.order.digest).await;
        let scene = self.scene(asked, request).await?;
        let done = match scene.is_answered() {
            // It was carried out in time, and its second look is due.
            true => self.look_again(&scene).await,
            false if is_late => Err(Refusal::TooOld(LONGEST_AGE).into()),
            false => self.decide(&scene, sent_at).await,
        };
        match done {
            Err(NotDone::Refused(refusal, _)) => {
                if refusal.is_recorded() && scene.has_room() {
                    let refused = Some(RecordedRefusal(refusal.to_string()));
                    self.record(&scene, &Record::Outcome(closing(asked, refused))).await?;
                }
                Err(NotDone::Refused(refusal, scene.open_tags()))
            }
            done => done,
        }
    }

    /// Reads the image and its records.
    async fn scene<'a>(
        &self,
        asked: &'a ReceivedOrder<'a>,
        request: &'a Request,
    ) -> Result<Scene<'a>, NotDone> {
        let RestorerParts { inspector, ecr, records, .. } = &self.parts;
        let digest = &asked.order.digest;
        let image = inspector.evaluator().image(request, digest).await?.ok_or(Refusal::Gone)?;
        if image.storage != StorageStatus::Active {
            return Err(Refusal::Archived.into());
        }
        let read = |registry| R::manifest(registry, &request.repository, digest);
        let manifest = ecr.call(request, read).await?.ok_or(Refusal::Gone)?;
        let Remembered { history, is_cut } = records.read(request, digest).await?;
        if is_cut {
            return Err(Refusal::TooManyArtifacts.into());
        }
        Ok(Scene { asked, request, image, manifest, history })
    }

    /// Carries out a request that was not carried out before.
    async fn decide(&self, scene: &Scene<'_>, sent_at: SystemTime) -> Result<Outcome, NotDone> {
        if self.parts.records.keys().is_none() {
            return Err(Refusal::NoKey.into());
        }
        if scene.asked.order.action == RestoreAction::Withdraw {
            return self.withdraw(scene).await;
        }
        let (now, max_hold) = (self.parts.clock.now(), self.parts.records.settings().max_hold);
        let wanted = wanted_hold(scene, sent_at, now, max_hold)?;
        let is_own = matches!(wanted, WantedHold::New(_) | WantedHold::Written(_));
        let hold = wanted.hold().or_else(|| self.hold_in_force(scene)).cloned();
        let before = scene.given_before();
        let mut tags = scene.tags_to_give_back(&before);
        let present = scene.named_and_present([&tags, &before.restored]);
        let is_there = !present.is_empty() || !before.restored.is_empty();
        if tags.is_empty() && !is_there && wanted == WantedHold::None {
            let unsigned = scene.history.unverified().len();
            return Err(Refusal::NothingToGiveBack { unsigned }.into());
        }
        let Judgement { removed_again, why } = match hold {
            Some(_) => Judgement::default(),
            None => self.judge.judge(scene, &tags).await?,
        };
        if !removed_again.is_empty() && removed_again == tags && !is_there {
            return Err(Refusal::StillViolates(why).into());
        }
        tags.retain(|tag| !removed_again.contains(tag));
        audit_grant(scene.asked, "give back", &tags, hold.as_ref());
        if let WantedHold::New(hold) = &wanted {
            self.must_record(scene, &Record::Hold(hold.clone())).await?;
            self.count(scene, RestoreAct::Held, 1);
        }
        let mut given = match self.give_back(scene, tags).await {
            (given, Ok(())) => given,
            (given, Err(failure)) => {
                self.record_part(scene, &given).await;
                return Err(failure.into());
            }
        };
        let is_new = is_own || !given.restored.is_empty();
        given.restored.extend(before.restored);
        given.present.extend(present);
        self.count(scene, RestoreAct::Refused, removed_again.len());
        given.left.extend(
            removed_again
                .into_iter()
                .map(|tag| LeftTag { tag, reason: format!("it would be removed again: {why}") }),
        );
        given.left.extend(scene.named_and_unknown(&given));
        let outcome = given.outcome(scene.asked, &scene.history);
        let is_recorded = is_own || !outcome.closes.is_empty() || scene.has_room();
        let recorded = match is_recorded {
            true => self.record(scene, &Record::Outcome(outcome.clone())).await?,
            false => Written::Yes,
        };
        if given.is_nothing() && hold.is_none() {
            return Err(Refusal::NoTagTaken(given.why_left().unwrap_or_default()).into());
        }
        let held = match (wanted, hold) {
            (WantedHold::Granted(hold), _) => HoldAnswer::Already(hold),
            (_, Some(hold)) => HoldAnswer::Held(hold),
            (_, None) => HoldAnswer::None,
        };
        // If nothing is new, the request that came before has its own second look.
        let is_looked_at =
            held != HoldAnswer::None && is_new && is_recorded && !scene.asked.attempt.is_last();
        let outcomes = BTreeSet::from([self.id_of(scene, &Record::Outcome(outcome))]);
        self.answer(scene, given, held, &outcomes, &recorded).await?;
        match is_looked_at {
            true => {
                self.note_notified(scene, outcomes).await;
                Err(Failure::SecondLook { again: self.parts.visibility }.into())
            }
            false => Ok(Outcome::Restored),
        }
    }

    fn hold_in_force<'a>(&self, scene: &'a Scene<'_>) -> Option<&'a Hold> {
        let RestorerParts { records, clock, .. } = &self.parts;
        records.keys()?;
        let hold = scene.history.hold(clock.now(), records.settings().max_hold)?;
        Some(&hold.record)
    }

    /// Gives tags back one by one, each only if no image has it. Returns what was done before a
    /// call failed too.
    async fn give_back(
        &self,
        scene: &Scene<'_>,
        tags: BTreeSet<Tag>,
    ) -> (Given, Result<(), Failure>) {
        let Scene { asked, request, image, manifest, .. } = scene;
        let mut given = Given::default();
        for tag in tags {
            if image.tags.contains(&tag) {
                given.present.insert(tag);
                continue;
            }
            let give = |registry| R::give_back(registry, &request.repository, manifest, &tag);
            let reason = match self.parts.ecr.call(request, give).await {
                Ok(GivingBack::Confirmed) => {
                    self.count(scene, RestoreAct::TagRestored, 1);
                    given.restored.insert(tag);
                    continue;
                }
                Ok(GivingBack::Taken(_)) => {
                    self.count(scene, RestoreAct::TagSuperseded, 1);
                    given.superseded.insert(tag);
                    continue;
                }
                Ok(GivingBack::RefusedForGood(reason)) => reason,
                // Nobody would be answered if the message went to the dead-letter queue.
                Err(Failure::Rejected(error)) if asked.attempt.is_last() => error.to_string(),
                Err(failure) => return (given, Err(failure)),
            };
            self.count(scene, RestoreAct::Refused, 1);
            given.left.push(LeftTag { tag, reason });
        }
        (given, Ok(()))
    }

    /// Records tags that were given back before a call failed, so that the next delivery knows them
    /// from tags that were there before. If that fails too, it cannot tell them apart.
    async fn record_part(&self, scene: &Scene<'_>, given: &Given) {
        if given.restored.is_empty() {
            return;
        }
        let part = Record::Outcome(given.part(scene.asked, &scene.history));
        if let Err(problem) = self.try_record(scene, &part).await {
            warn!(
                request = scene.asked.id(),
                digest = %scene.image.digest,
                tags = joined(&given.restored.iter().cloned().collect::<Vec<_>>()),
                error = problem,
                "cannot record which tags were given back before a call failed"
            );
        }
    }

    /// Records that the team was notified of these outcomes, for the task that looks once more. If
    /// that fails, the team is notified twice.
    async fn note_notified(&self, scene: &Scene<'_>, outcomes: BTreeSet<Digest>) {
        let notification = Notification {
            request: scene.asked.id().to_owned(),
            outcomes,
            at: self.parts.clock.now(),
        };
        if let Err(problem) = self.try_record(scene, &Record::Notification(notification)).await {
            warn!(
                request = scene.asked.id(),
                digest = %scene.image.digest,
                error = problem,
                "cannot record that the team was notified; it may be notified again"
            );
        }
    }

    /// Writes a record without which the work goes on. Returns why it was not written.
    async fn try_record(&self, scene: &Scene<'_>, record: &Record) -> Result<(), String> {
        match self.record(scene, record).await {
            Ok(Written::Yes) => Ok(()),
            Ok(Written::No(why)) => Err(why),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// Ends every hold of the image.
    async fn withdraw(&self, scene: &Scene<'_>) -> Result<Outcome, NotDone> {
        let now = self.parts.clock.now();
        let (asked, history) = (scene.asked, &scene.history);
        let holds = history.holds().iter().map(|noted| &noted.record);
        let holds = holds.filter(|hold| hold.until > now && !history.is_withdrawn(&hold.request));
        let holds: Vec<_> = holds.collect();
        // An earlier delivery may have ended them all.
        if holds.is_empty() && !history.is_answered(asked.id()) {
            return Err(Refusal::NotHeld.into());
        }
        for hold in holds {
            audit_grant(asked, "withdraw", &BTreeSet::new(), Some(hold));
            let withdrawal = Withdrawal {
                withdraws: hold.request.clone(),
                request: asked.id().to_owned(),
                sender: asked.sender(),
            };
            self.must_record(scene, &Record::Withdrawal(withdrawal)).await?;
        }
        let recorded = self.record(scene, &Record::Outcome(closing(asked, None))).await?;
        // Once for the request, however many holds there were.
        self.count(scene, RestoreAct::Withdrawn, 1);
        self.answering.withdrawn(scene, &recorded).await?;
        Ok(Outcome::Withdrawn)
    }

    /// Notifies the team of what became of the tags and of the hold, by these outcomes.
    async fn answer(
        &self,
        scene: &Scene<'_>,
        given: Given,
        hold: HoldAnswer,
        outcomes: &BTreeSet<Digest>,
        recorded: &Written,
    ) -> Result<(), Failure> {
        let outcomes = outcomes.clone();
        let answer = RestoreAnswer { outcomes, ..given.answer(scene.asked, hold) };
        audit_result(&answer, scene.asked);
        self.answering.restored(scene, answer, recorded).await
    }

    async fn record(&self, scene: &Scene<'_>, record: &Record) -> Result<Written, Failure> {
        let RestorerParts { ecr, records, .. } = &self.parts;
        match write_record(ecr, records, scene.request, &scene.manifest, record).await {
            Ok(Recording::Confirmed) => Ok(Written::Yes),
            Ok(Recording::Full(why)) => Ok(Written::No(format!("the repository is full: {why}"))),
            // Nobody would be answered if the message went to the dead-letter queue. Before that,
            // the message comes again, because an upload that broke off begins anew.
            Err(Failure::Rejected(error))
                if scene.asked.attempt.is_last() && !error.is("RepositoryNotFoundException") =>
            {
                Ok(Written::No(format!("ECR rejects the record: {error}")))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Returns the id of a record as the image's records have it, which covers the key.
    fn id_of(&self, scene: &Scene<'_>, record: &Record) -> Digest {
        let (repository, digest) = (&scene.request.repository, &scene.image.digest);
        let said = record.annotations();
        match self.parts.records.keys() {
            Some(keys) => record_id(&keys.sign(repository, digest, said)),
            None => record_id(&said),
        }
    }

    /// Writes a record without which nothing may be done.
    async fn must_record(&self, scene: &Scene<'_>, record: &Record) -> Result<(), NotDone> {
        match self.record(scene, record).await? {
            Written::Yes => Ok(()),
            Written::No(why) => Err(Refusal::NotRecorded(why).into()),
        }
    }

    fn count(&self, scene: &Scene<'_>, act: RestoreAct, count: usize) {
        act.count(&self.parts.instruments, scene.request.settings().mode, count);
    }
}
