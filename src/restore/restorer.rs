//! Carries out one request: who asks, what is there, what may be done, doing it, and the answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::actions::RestoreAct;
use super::answering::{Answering, audit_grant, audit_result};
use super::given::{Given, closing};
use super::judging::{Judge, Judgement};
use super::refusal::{Refusal, Stop};
use super::scene::Scene;
use super::senders::Senders;
use super::{Asked, RestoreSettings};
use crate::assess::Assessor;
use crate::aws::Aws;
use crate::clock::Clock;
use crate::domain::image::StorageStatus;
use crate::domain::names::Tag;
use crate::domain::policy::{OutOfScope, Policy};
use crate::domain::record::{Hold, Record, Refusal as RecordedRefusal, Withdrawal};
use crate::enforce::write_record;
use crate::event::restore::RestoreAction;
use crate::inspect::{EcrCalls, Inspector, RecordStore, Remembered, Request, Safeguards};
use crate::notify::{Dispatcher, HoldAnswer, LeftTag, Notifier};
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
    pub policy: Arc<Policy>,
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
            Arc::clone(&parts.policy),
            Arc::clone(&parts.instruments),
            parts.records.settings().way_back,
        );
        let judge = Judge {
            assessor: Arc::clone(&parts.assessor),
            inspector: Arc::clone(&parts.inspector),
            safeguards: Arc::clone(&parts.safeguards),
            policy: Arc::clone(&parts.policy),
            clock: parts.clock.clone(),
        };
        Self { parts, senders, judge, answering }
    }

    /// Carries out a request, or refuses it.
    ///
    /// # Errors
    /// [`Failure`] if the message has to come again.
    pub(crate) async fn restore(&self, asked: &Asked<'_>) -> Result<Outcome, Failure> {
        let request = asked.request();
        let (refusal, tags) = match self.carry_out(asked, &request).await {
            Ok(outcome) => return Ok(outcome),
            Err(Stop::Refused(refusal, tags)) => (refusal, tags),
            Err(Stop::Failed(Failure::Rejected(error)))
                if error.is("RepositoryNotFoundException") =>
            {
                (Refusal::Gone, BTreeSet::new())
            }
            Err(Stop::Failed(failure)) => return Err(failure),
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
        asked: &Asked<'_>,
    ) -> Result<Option<Outcome>, Failure> {
        match self.parts.assessor.check_scope(&asked.order.repository) {
            Err(why @ (OutOfScope::Account | OutOfScope::Region)) => {
                let refusal = Refusal::OutOfScope(why);
                self.answering.refuse(asked, &asked.request(), &refusal, BTreeSet::new()).await?;
                Ok(Some(Outcome::RestoreRefused))
            }
            // Its tags may have been removed before the policy left it out.
            Err(OutOfScope::Repository | OutOfScope::OwnImages) | Ok(()) => Ok(None),
        }
    }

    async fn carry_out(&self, asked: &Asked<'_>, request: &Request) -> Result<Outcome, Stop> {
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
            Err(Stop::Refused(refusal, _)) => {
                if refusal.is_recorded() && scene.has_room() {
                    let refused = Some(RecordedRefusal(refusal.to_string()));
                    self.record(&scene, &Record::Outcome(closing(asked, refused))).await?;
                }
                Err(Stop::Refused(refusal, scene.open_tags()))
            }
            done => done,
        }
    }

    /// Reads the image and its records.
    async fn scene<'a>(
        &self,
        asked: &'a Asked<'a>,
        request: &'a Request,
    ) -> Result<Scene<'a>, Stop> {
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
    async fn decide(&self, scene: &Scene<'_>, sent_at: SystemTime) -> Result<Outcome, Stop> {
        if self.parts.records.keys().is_none() {
            return Err(Refusal::NoKey.into());
        }
        if scene.asked.order.action == RestoreAction::Withdraw {
            return self.withdraw(scene).await;
        }
        let wanted = self.wanted_hold(scene, sent_at)?;
        let is_wanted = wanted.is_some();
        let hold = wanted.clone().or_else(|| self.hold_in_force(scene).cloned());
        let mut tags = scene.open_tags();
        let present = scene.named_and_present(&tags);
        if tags.is_empty() && present.is_empty() && wanted.is_none() {
            let unsigned = scene.history.unverified().len();
            return Err(Refusal::NothingToGiveBack { unsigned }.into());
        }
        let Judgement { removed_again, why } = match hold {
            Some(_) => Judgement::default(),
            None => self.judge.judge(scene, &tags).await?,
        };
        if !removed_again.is_empty() && removed_again == tags && present.is_empty() {
            return Err(Refusal::StillViolates(why).into());
        }
        tags.retain(|tag| !removed_again.contains(tag));
        audit_grant(scene.asked, "give back", &tags, hold.as_ref());
        if let Some(hold) = wanted
            && scene.own_hold().is_none()
        {
            self.must_record(scene, &Record::Hold(hold)).await?;
            self.count(scene, RestoreAct::Held, 1);
        }
        let mut given = self.give_back(scene, tags).await?;
        given.present.extend(present);
        self.count(scene, RestoreAct::Refused, removed_again.len());
        given.left.extend(
            removed_again
                .into_iter()
                .map(|tag| LeftTag { tag, reason: format!("it would be removed again: {why}") }),
        );
        given.left.extend(scene.named_and_unknown(&given));
        let outcome = given.outcome(scene.asked, &scene.history);
        let is_recorded = is_wanted || !outcome.closes.is_empty() || scene.has_room();
        let recorded = match is_recorded {
            true => self.record(scene, &Record::Outcome(outcome)).await?,
            false => Recording::Confirmed,
        };
        if given.is_nothing() && hold.is_none() {
            return Err(Refusal::NoTagTaken(given.why_left().unwrap_or_default()).into());
        }
        let held = hold.clone().map_or(HoldAnswer::None, HoldAnswer::Held);
        self.answer(scene, given, held, &recorded).await?;
        match hold {
            Some(_) if is_recorded && !scene.asked.attempt.is_last() => {
                Err(Failure::SecondLook { again: self.parts.visibility }.into())
            }
            _ => Ok(Outcome::Restored),
        }
    }

    /// Returns the hold that is asked for, if it may be granted. A hold that an earlier delivery
    /// has written is that hold, whatever the message says.
    fn wanted_hold(&self, scene: &Scene<'_>, sent_at: SystemTime) -> Result<Option<Hold>, Refusal> {
        let asked = scene.asked;
        let RestoreAction::Hold { until, reason, owner, .. } = &asked.order.action else {
            return Ok(None);
        };
        let now = self.parts.clock.now();
        if let Some(written) = scene.own_hold() {
            return match written.until > now {
                true => Ok(Some(written.clone())),
                false => Err(Refusal::HoldIsPast(written.until)),
            };
        }
        // The time of sending is the same at every delivery, and so are the bytes of the record.
        let issued = sent_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let issued = SystemTime::UNIX_EPOCH + Duration::from_secs(issued.as_secs());
        let most = self.parts.records.settings().max_hold;
        if *until <= now || *until <= issued {
            return Err(Refusal::HoldIsPast(*until));
        }
        let latest = issued + most;
        if *until > latest {
            return Err(Refusal::HoldIsTooLong { most, latest });
        }
        Ok(Some(Hold {
            until: *until,
            issued,
            reason: reason.clone(),
            owner: owner.clone(),
            request: asked.id().to_owned(),
            sender: asked.sender(),
        }))
    }

    fn hold_in_force<'a>(&self, scene: &'a Scene<'_>) -> Option<&'a Hold> {
        let RestorerParts { records, clock, .. } = &self.parts;
        records.keys()?;
        let hold = scene.history.hold(clock.now(), records.settings().max_hold)?;
        Some(&hold.record)
    }

    /// Gives tags back one by one, each only if no image has it.
    async fn give_back(&self, scene: &Scene<'_>, tags: BTreeSet<Tag>) -> Result<Given, Failure> {
        let Scene { request, image, manifest, .. } = scene;
        let mut given = Given::default();
        for tag in tags {
            if image.tags.contains(&tag) {
                given.present.insert(tag);
                continue;
            }
            let give = |registry| R::give_back(registry, &request.repository, manifest, &tag);
            match self.parts.ecr.call(request, give).await {
                Ok(GivingBack::Confirmed) => {
                    self.count(scene, RestoreAct::TagRestored, 1);
                    given.restored.insert(tag);
                }
                Ok(GivingBack::Taken(_)) => {
                    self.count(scene, RestoreAct::TagSuperseded, 1);
                    given.superseded.insert(tag);
                }
                Ok(GivingBack::RefusedForGood(reason)) => {
                    self.count(scene, RestoreAct::Refused, 1);
                    given.left.push(LeftTag { tag, reason });
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(given)
    }

    /// Ends every hold of the image.
    async fn withdraw(&self, scene: &Scene<'_>) -> Result<Outcome, Stop> {
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
            self.count(scene, RestoreAct::Withdrawn, 1);
        }
        let recorded = self.record(scene, &Record::Outcome(closing(asked, None))).await?;
        self.answering.withdrawn(scene, &recorded).await?;
        Ok(Outcome::Withdrawn)
    }

    /// Looks once more at an image whose request has an outcome. While a hold is in force, tags
    /// that another task has removed meanwhile are given back.
    async fn look_again(&self, scene: &Scene<'_>) -> Result<Outcome, Stop> {
        let is_repeated = scene.asked.attempt.is_repeated();
        let before = Given::of_outcomes(scene.outcomes());
        if scene.outcomes().next().is_none() {
            return Err(Refusal::Withdrawn.into());
        }
        if let Some(RecordedRefusal(why)) = scene.recorded_refusal(&before) {
            return match is_repeated {
                true => Err(Refusal::Before(why.clone()).into()),
                false => Ok(Outcome::RestoreRefused),
            };
        }
        if scene.asked.order.action == RestoreAction::Withdraw {
            if is_repeated {
                self.answering.withdrawn(scene, &Recording::Confirmed).await?;
            }
            return Ok(Outcome::Withdrawn);
        }
        let hold = self.hold_in_force(scene);
        let mut missing = BTreeSet::new();
        if hold.is_some() {
            missing.extend(scene.open_tags());
            missing.extend(before.restored.iter().chain(&before.present).cloned());
            missing.retain(|tag| !scene.image.tags.contains(tag));
        }
        audit_grant(scene.asked, "look again", &missing, hold);
        if let Some(hold) = hold {
            let given = self.give_back(scene, missing).await?;
            if !given.is_nothing() {
                let outcome = given.outcome(scene.asked, &scene.history);
                let recorded = self.record(scene, &Record::Outcome(outcome)).await?;
                let hold = HoldAnswer::Held(hold.clone());
                self.answer(scene, given, hold, &recorded).await?;
            }
        }
        // The first delivery may have ended before it could notify.
        if is_repeated {
            let is_withdrawn = hold.is_none() && scene.history.is_withdrawn(scene.asked.id());
            let hold = match hold {
                Some(hold) => HoldAnswer::Held(hold.clone()),
                None if is_withdrawn => HoldAnswer::Withdrawn,
                None => HoldAnswer::None,
            };
            self.answer(scene, before, hold, &Recording::Confirmed).await?;
        }
        Ok(Outcome::Restored)
    }

    /// Notifies the team of what became of the tags and of the hold.
    async fn answer(
        &self,
        scene: &Scene<'_>,
        given: Given,
        hold: HoldAnswer,
        recorded: &Recording,
    ) -> Result<(), Failure> {
        let answer = given.answer(scene.asked, hold);
        audit_result(&answer, scene.asked);
        self.answering.restored(scene, answer, recorded).await
    }

    async fn record(&self, scene: &Scene<'_>, record: &Record) -> Result<Recording, Failure> {
        let RestorerParts { ecr, records, .. } = &self.parts;
        write_record(ecr, records, scene.request, &scene.manifest, record).await
    }

    /// Writes a record without which nothing may be done.
    async fn must_record(&self, scene: &Scene<'_>, record: &Record) -> Result<(), Stop> {
        match self.record(scene, record).await? {
            Recording::Confirmed => Ok(()),
            Recording::Full(why) => Err(Refusal::NoRoom(why).into()),
        }
    }

    fn count(&self, scene: &Scene<'_>, act: RestoreAct, count: usize) {
        let RestorerParts { policy, instruments, .. } = &self.parts;
        act.count(instruments, scene.request.settings(policy).mode, count);
    }
}
