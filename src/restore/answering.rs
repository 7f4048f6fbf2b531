//! The answer to a request, as a notice and in the audit log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::info;

use super::ReceivedOrder;
use super::actions::RestoreAct;
use super::refusal::Refusal;
use super::scene::Scene;
use crate::bounded::Slots;
use crate::domain::names::{Tag, joined};
use crate::domain::notice::NoticeAction;
use crate::domain::record::Hold;
use crate::domain::text::escaped;
use crate::enforce::blank_notice;
use crate::event::restore::RestoreAction;
use crate::inspect::Request;
use crate::notify::{
    Advice, AnsweredRefusal, Dispatcher, HoldAnswer, Notifier, RestoreAnswer, WayBack,
};
use crate::outcome::Failure;
use crate::telemetry::instruments::Instruments;
use crate::telemetry::logs::AUDIT;

/// How often the team is notified of requests of one sender that are turned away.
const EVERY: Duration = Duration::from_secs(3600);
/// The most senders that are remembered as turned away.
const MAX_SENDERS: usize = 100;

/// When the team was last notified of a sender.
type Notified = Mutex<Option<Instant>>;

/// Whether a record about a request was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Yes,
    /// ECR does not take it, for this reason.
    No(String),
}

/// Answers requests.
#[derive(Debug)]
pub(super) struct Answering<N> {
    dispatcher: Arc<Dispatcher<N>>,
    instruments: Arc<Instruments>,
    /// How removed tags can be given back, by the settings.
    way_back: WayBack,
    turned_away: Slots<String, Notified>,
}

impl<N: Notifier> Answering<N> {
    pub(super) fn new(
        dispatcher: Arc<Dispatcher<N>>,
        instruments: Arc<Instruments>,
        way_back: WayBack,
    ) -> Self {
        let is_fresh = |notified: &Notified| !is_due(*notified.lock());
        let turned_away = Slots::new(MAX_SENDERS, is_fresh);
        Self { dispatcher, instruments, way_back, turned_away }
    }

    /// Notifies the team of what was done.
    pub(super) async fn restored(
        &self,
        scene: &Scene<'_>,
        answer: RestoreAnswer,
        recorded: &Written,
    ) -> Result<(), Failure> {
        let Scene { request, image, .. } = scene;
        let action = NoticeAction::Restored;
        let mut notice = blank_notice(request, &image.digest, action);
        notice.media_type.clone_from(&image.media_type);
        let kept = image.tags.iter().filter(|tag| !tag.is_quarantine_of(&image.digest));
        notice.tags.kept.extend(kept.cloned());
        let new = answer.restored.iter().filter(|tag| !image.tags.contains(tag));
        notice.tags.kept.extend(new.cloned());
        if let Written::No(why) = recorded {
            notice.reasons.push(format!(
                "the outcome could not be recorded ({why}): lists go on to show these tags as \
                 removed"
            ));
        }
        notice.answer = Some(Box::new(answer));
        Ok(self.dispatcher.notify(notice).await?)
    }

    /// Notifies the team that the image is no longer held.
    pub(super) async fn withdrawn(
        &self,
        scene: &Scene<'_>,
        recorded: &Written,
    ) -> Result<(), Failure> {
        let asked = scene.asked;
        let hold = HoldAnswer::Withdrawn;
        let answer = RestoreAnswer { hold, ..RestoreAnswer::new(asked.id(), asked.sender()) };
        audit_result(&answer, asked);
        self.restored(scene, answer, recorded).await
    }

    /// Notifies the team of a refused request. Of requests that nobody allowed, it is notified once
    /// an hour for each sender, because anybody who can send to the queue can write them.
    pub(super) async fn refuse(
        &self,
        asked: &ReceivedOrder<'_>,
        request: &Request,
        refusal: &Refusal,
        tags: BTreeSet<Tag>,
    ) -> Result<(), Failure> {
        audit_refusal(asked, refusal);
        let mode = request.settings().mode;
        RestoreAct::Refused.count(&self.instruments, mode, 1);
        let sender = asked.principal().unwrap_or_default().to_owned();
        let notified =
            refusal.is_turned_away().then(|| self.turned_away.get(&sender, Notified::default));
        if let Some(notified) = &notified {
            let mut at = notified.lock();
            if !is_due(*at) {
                return Ok(());
            }
            *at = Some(Instant::now());
        }
        let digest = &asked.order.digest;
        let mut notice = blank_notice(request, digest, NoticeAction::Refused);
        let reason = refusal.to_string();
        notice.reasons.push(reason.clone());
        notice.way_back = self.way_back;
        let advice = match (refusal.advice(), self.way_back) {
            // If nobody may ask for a hold, an exception for the image is the only way.
            (Advice::AskForHold, WayBack::ByHand | WayBack::Restore { longest_hold: None }) => {
                Advice::ByHand
            }
            (advice, _) => advice,
        };
        let answered = AnsweredRefusal { reason, advice };
        let answer = RestoreAnswer {
            asked: tags.into_iter().collect(),
            refusal: Some(answered),
            ..RestoreAnswer::new(asked.id(), asked.sender())
        };
        notice.answer = Some(Box::new(answer));
        let delivered = self.dispatcher.notify(notice).await;
        if let (Err(_), Some(notified)) = (&delivered, notified) {
            *notified.lock() = None;
        }
        Ok(delivered?)
    }
}

fn is_due(notified: Option<Instant>) -> bool {
    notified.is_none_or(|at| at.elapsed() >= EVERY)
}

/// Writes an audit line about a request, which names it, its sender and the image.
macro_rules! audit {
    ($asked:expr, $message:literal, $($fields:tt)*) => {{
        let asked: &ReceivedOrder<'_> = $asked;
        let repository = &asked.order.repository;
        info!(
            target: AUDIT,
            message_id = asked.message_id,
            request = asked.id(),
            sender = %escaped(&asked.sender(), &[]),
            account = %repository.account,
            region = %repository.region,
            repository = %repository.name,
            digest = %asked.order.digest,
            $($fields)*
            $message
        )
    }};
}

/// Writes the audit line of what is about to be done, because the process may die before it could
/// write one later.
pub(super) fn audit_grant(
    asked: &ReceivedOrder<'_>,
    what: &'static str,
    tags: &BTreeSet<Tag>,
    hold: Option<&Hold>,
) {
    audit!(
        asked,
        "restore granted",
        what,
        tags = joined(&tags.iter().cloned().collect::<Vec<_>>()),
        until = hold.map(|hold| humantime::format_rfc3339_seconds(hold.until).to_string()),
        owner = hold.map(|hold| escaped(&hold.owner, &[]).into_owned()),
        reason = hold.map(|hold| escaped(&hold.reason, &[]).into_owned()),
    );
}

/// Writes the audit line of a refused request.
fn audit_refusal(asked: &ReceivedOrder<'_>, refusal: &Refusal) {
    let (until, owner, reason) = match &asked.order.action {
        RestoreAction::Hold { until, owner, reason, .. } => {
            (Some(*until), Some(owner.as_str()), Some(reason.as_str()))
        }
        RestoreAction::GiveBack { .. } | RestoreAction::Withdraw => (None, None, None),
    };
    audit!(
        asked,
        "restore refused",
        until = until.map(|until| humantime::format_rfc3339_seconds(until).to_string()),
        owner = owner.map(|owner| escaped(owner, &[]).into_owned()),
        reason = reason.map(|reason| escaped(reason, &[]).into_owned()),
        why = %escaped(&refusal.to_string(), &[]),
    );
}

/// Writes the audit line of what was done.
pub(super) fn audit_result(answer: &RestoreAnswer, asked: &ReceivedOrder<'_>) {
    let left: Vec<_> = answer.left.iter().map(|left| left.tag.clone()).collect();
    audit!(
        asked,
        "restored",
        restored = joined(&answer.restored),
        present = joined(&answer.present),
        superseded = joined(&answer.superseded),
        left = joined(&left),
        held = matches!(answer.hold, HoldAnswer::Held(_) | HoldAnswer::Already(_)),
        withdrawn = answer.hold == HoldAnswer::Withdrawn,
    );
}
