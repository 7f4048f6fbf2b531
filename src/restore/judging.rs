//! Judges whether tags would be removed again as soon as they were given back.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ReceivedOrder;
use super::refusal::{NotDone, Refusal};
use super::scene::Scene;
use crate::assess::Assessor;
use crate::clock::Clock;
use crate::domain::names::Tag;
use crate::domain::policy::Mode;
use crate::inspect::{Inspection, Inspector, Safeguards};
use crate::notify::Notifier;
use crate::outcome::{Failure, wait_for_findings};
use crate::registry::Registry;

/// Judges images as the assessor does, as if they had their tags back.
#[derive(Debug)]
pub(super) struct Judge<R, N> {
    pub(super) assessor: Arc<Assessor<R, N>>,
    pub(super) inspector: Arc<Inspector<R>>,
    pub(super) safeguards: Arc<Safeguards<R>>,
    pub(super) clock: Clock,
}

/// What would become of tags that are given back.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// The tags that would be removed again.
    pub(super) removed_again: BTreeSet<Tag>,
    /// Why, in words.
    pub(super) why: String,
}

impl<R: Registry, N: Notifier> Judge<R, N> {
    /// Returns which of these tags would be removed again. It refuses the request if that cannot be
    /// known, because nothing to judge is not the same as nothing found.
    pub(super) async fn judge(
        &self,
        scene: &Scene<'_>,
        tags: &BTreeSet<Tag>,
    ) -> Result<Judgement, NotDone> {
        let Self { assessor, inspector, safeguards, .. } = self;
        let request = scene.request;
        let is_kept = request.settings().mode == Mode::Audit
            || assessor.check_scope(&request.policy, &request.repository).is_err();
        if is_kept || tags.is_empty() {
            return Ok(Judgement::default());
        }
        // With its mark alone nobody could pull it, and the plan would have nothing to remove.
        let mut image = scene.image.clone();
        image.tags.extend(tags.iter().filter(|tag| !scene.image.tags.contains(tag)).cloned());
        let inspection = Box::pin(inspector.inspect_read(request, image)).await?;
        match inspection {
            Inspection::Clean(..) | Inspection::NotAnImage => Ok(Judgement::default()),
            Inspection::Absent => Err(Refusal::Gone.into()),
            Inspection::Wait(_, reason, _) => Err(self.wait(scene.asked, reason)),
            Inspection::LeftToScan(snapshot) => {
                let gap = snapshot.and_then(|snapshot| snapshot.scan().gap());
                let gap = gap.unwrap_or_else(|| "its findings are not there yet".to_owned());
                Err(self.wait(scene.asked, gap))
            }
            Inspection::Unscanned(_, reason) | Inspection::Unresolved(_, reason) => {
                Err(Refusal::NotJudged(reason).into())
            }
            Inspection::Unpulled => {
                Err(Refusal::NotJudged("ECR does not scan it".to_owned()).into())
            }
            Inspection::Violation(violation) => {
                let violation = Box::pin(safeguards.check(request, *violation)).await?;
                let plan = violation.plan;
                if !plan.blockers.is_empty() {
                    return Ok(Judgement::default());
                }
                Ok(Judgement {
                    removed_again: plan
                        .untag
                        .into_iter()
                        .filter(|tag| tags.contains(tag))
                        .collect(),
                    why: violation.evaluation.reasons.join("; "),
                })
            }
        }
    }

    /// Waits for findings as events do, and refuses the request when that has taken too long.
    fn wait(&self, asked: &ReceivedOrder<'_>, reason: String) -> NotDone {
        let age = asked.sent_at.map(|sent| self.clock.since_by_queue(sent)).unwrap_or_default();
        match wait_for_findings(asked.attempt, age) {
            Some(again) => Failure::Pending { reason, again }.into(),
            None => Refusal::NotJudged(reason).into(),
        }
    }
}
