//! The second look at an image whose request was answered.
//!
//! A task that began to remove tags before it could see the hold may end after the restore. So the
//! message of a held image comes again, and what is missing then is given back. Any task may
//! receive it, and SQS may deliver a copy at once, so the records alone say what is left to do:
//! which outcomes the team was notified of, and when. A delivery before the time waits for it.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Restorer;
use crate::domain::names::Digest;
use crate::domain::record::{Hold, Record, Refusal as RecordedRefusal};
use crate::event::restore::RestoreAction;
use crate::notify::{HoldAnswer, Notifier};
use crate::outcome::{Failure, Outcome};
use crate::registry::Registry;
use crate::restore::answering::{Written, audit_grant};
use crate::restore::given::Given;
use crate::restore::refusal::{NotDone, Refusal};
use crate::restore::scene::Scene;

/// The second look may be so much early, because the clocks of tasks and of the queue differ.
const EARLY: Duration = Duration::from_secs(2);

impl<R: Registry, N: Notifier> Restorer<R, N> {
    /// Looks once more at an image whose request has an outcome, when it is time. The team is
    /// notified only of outcomes that it does not know.
    pub(super) async fn look_again(&self, scene: &Scene<'_>) -> Result<Outcome, NotDone> {
        let is_repeated = scene.asked.attempt.is_repeated();
        let before = Given::of_outcomes(scene.outcomes().map(|noted| &noted.record));
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
                self.answering.withdrawn(scene, &Written::Yes).await?;
            }
            return Ok(Outcome::Withdrawn);
        }
        let untold: BTreeSet<_> = scene.untold_outcomes().map(|noted| noted.id.clone()).collect();
        let hold = self.hold_in_force(scene);
        // The delivery that wrote them has ended before it could notify. At the first delivery of a
        // message it may be at it now.
        let is_left_untold = is_repeated && !untold.is_empty();
        if is_left_untold {
            self.tell(scene, hold, &untold).await?;
        }
        let Some(hold) = hold else { return Ok(Outcome::Restored) };
        let wait = if untold.is_empty() { self.time_left(scene) } else { self.parts.visibility };
        if is_left_untold {
            self.note_notified(scene, untold).await;
        }
        if wait > EARLY && !scene.asked.attempt.is_last() {
            return Err(Failure::SecondLook { again: wait }.into());
        }
        self.give_back_missing(scene, &before, hold).await
    }

    /// Returns the time until the second look is due.
    fn time_left(&self, scene: &Scene<'_>) -> Duration {
        let visibility = self.parts.visibility;
        let Some(at) = scene.notified_at() else { return Duration::ZERO };
        let left = (at + visibility).duration_since(self.parts.clock.now()).unwrap_or_default();
        // A clock that was ahead must not put it off for long.
        left.min(visibility)
    }

    /// Notifies the team of the outcomes that it does not know.
    async fn tell(
        &self,
        scene: &Scene<'_>,
        hold: Option<&Hold>,
        untold: &BTreeSet<Digest>,
    ) -> Result<(), Failure> {
        let given = Given::of_outcomes(scene.untold_outcomes().map(|noted| &noted.record));
        let is_withdrawn = hold.is_none() && scene.history.is_withdrawn(scene.asked.id());
        let hold = match hold {
            Some(hold) => HoldAnswer::Held(hold.clone()),
            None if is_withdrawn => HoldAnswer::Withdrawn,
            None => HoldAnswer::None,
        };
        self.answer(scene, given, hold, untold, &Written::Yes).await
    }

    /// Gives back the tags that another task has removed meanwhile.
    async fn give_back_missing(
        &self,
        scene: &Scene<'_>,
        before: &Given,
        hold: &Hold,
    ) -> Result<Outcome, NotDone> {
        let mut missing = scene.open_tags();
        missing.extend(before.restored.iter().chain(&before.present).cloned());
        missing.retain(|tag| !scene.image.tags.contains(tag));
        if missing.is_empty() {
            return Ok(Outcome::Restored);
        }
        audit_grant(scene.asked, "look again", &missing, Some(hold));
        let (given, done) = self.give_back(scene, missing).await;
        let mut told = BTreeSet::new();
        let mut recorded = Written::Yes;
        if !given.is_nothing() {
            let outcome = Record::Outcome(given.outcome(scene.asked, &scene.history));
            recorded = self.record(scene, &outcome).await?;
            told.insert(self.id_of(scene, &outcome));
        }
        // The next delivery notifies of the outcome that was written.
        done?;
        let hold = HoldAnswer::Held(hold.clone());
        self.answer(scene, given, hold, &told, &recorded).await?;
        self.note_notified(scene, told).await;
        Ok(Outcome::Restored)
    }
}
