//! One message from its receive to its settling.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, warn};

use super::assess::{Assessor, Context, Job};
use super::disposition::{Disposition, disposition};
use super::outcome::{Failure, Outcome};
use super::probe::Probe;
use super::report::{self, Assessed};
use super::sweep::Sweeps;
use super::turns::{Permit, Turn, Turns};
use crate::aws::AwsError;
use crate::domain::image::Digest;
use crate::event::{self, ImageEvent, Kind, Parsed};
use crate::health::Pause;
use crate::notify::Notifier;
use crate::queue::lease::{HeldLease, Input, Lease, Output, SettleError, Settlement, Settler};
use crate::queue::{Message, Queue};
use crate::registry::Registry;
use crate::telemetry::instruments::InFlight;
use crate::telemetry::traces;

/// What the work on messages needs.
#[derive(Debug)]
pub(super) struct Worker<Q, R, N> {
    pub(super) queue: Arc<Q>,
    pub(super) assessor: Arc<Assessor<R, N>>,
    pub(super) settler: Settler,
    pub(super) visibility: Duration,
    pub(super) turns: Arc<Turns>,
    pub(super) sweeps: Sweeps,
}

/// A message in hand, and what there is to know of it without asking anybody.
#[derive(Debug)]
pub(super) struct InHand {
    /// Its body has been read and dropped: as many messages may wait as others are slow, each of
    /// any length.
    message: Message,
    body_bytes: usize,
    span: Span,
    since: Instant,
    parsed: Result<Parsed, event::Malformed>,
    /// What it comes to at a glance.
    glance: Option<Outcome>,
    _counted: InFlight,
}

impl InHand {
    /// Whether there is nothing left to do but to delete the message.
    pub(super) fn is_done(&self) -> bool {
        self.glance.is_some()
    }

    fn event(&self) -> Option<&ImageEvent> {
        match &self.parsed {
            Ok(Parsed::Assess(event)) => Some(event),
            _ => None,
        }
    }

    fn named(&self) -> Vec<Digest> {
        self.event().and_then(|event| event.digest.clone()).into_iter().collect()
    }
}

impl<Q: Queue, R: Registry, N: Notifier> Worker<Q, R, N> {
    pub(super) fn context(&self) -> &Context {
        self.assessor.context()
    }

    /// Takes a message in hand. `None`: that panicked, and the message comes again.
    pub(super) fn look(&self, mut message: Message) -> Option<InHand> {
        let Message { delivery, id, receive_count, body, .. } = &message;
        let span = traces::process(delivery, id, *receive_count, body.len());
        let since = Instant::now();
        let instruments = &self.context().instruments;
        let counted = instruments.in_flight();
        let look = || span.in_scope(|| self.parse(&message));
        let Ok((parsed, glance)) = std::panic::catch_unwind(AssertUnwindSafe(look)) else {
            instruments.panicked();
            return None;
        };
        let body_bytes = std::mem::take(&mut message.body).len();
        Some(InHand { message, body_bytes, span, since, parsed, glance, _counted: counted })
    }

    /// Deletes the messages of one receive that are done with at a glance, by one call. What cannot be deleted so is
    /// settled by itself.
    pub(super) async fn settle_together(&self, mut done: Vec<(InHand, Permit)>) {
        let judged = Instant::now();
        let results = self.delete_together(&done).await;
        // Backwards: what takes the place of one that is taken out has been looked at.
        for at in (0..done.len()).rev() {
            if let Some(Ok(())) = results.get(at) {
                let (one, _) = done.swap_remove(at);
                let result = one.glance.clone().ok_or(Failure::Abandoned);
                one.span.in_scope(|| {
                    self.assessed(&one, judged - one.since);
                    self.report(&one, &one.named(), &result, Disposition::Delete, &Ok(()));
                });
            }
        }
        let alone = done.into_iter().map(|(one, permit)| self.work_on(one, permit, false));
        join_all(alone).await;
    }

    /// One result for each message, or none at all where nobody waits for them any longer.
    async fn delete_together(&self, done: &[(InHand, Permit)]) -> Vec<Result<(), AwsError>> {
        let Some((first, _)) = done.first() else { return Vec::new() };
        // What one receive brings is leased from the same instant.
        let mut lease = Lease::new(first.message.leased_from, self.visibility);
        if lease.step(Instant::now(), Input::Settle) != Output::Settle {
            return Vec::new();
        }
        let spans: Vec<_> = done.iter().map(|(one, _)| traces::settle(&one.span)).collect();
        let receipts = done.iter().map(|(one, _)| one.message.receipt.clone()).collect();
        let results = tokio::select! {
            biased;
            results = self.settler.deletes.submit_all(receipts, spans.clone()) => results,
            () = self.context().shutdown.abandoned() => Vec::new(),
        };
        if results.iter().any(Result::is_ok) {
            self.assessor.set_paused(Pause::Settling, false, None);
        }
        results
    }

    /// Works on a message and settles it. A `canary` is to find out if another repository is still allowed.
    pub(super) async fn work_on(&self, in_hand: InHand, permit: Permit, canary: bool) {
        let span = in_hand.span.clone();
        self.work(&in_hand, permit, canary).instrument(span).await;
    }

    async fn work(&self, in_hand: &InHand, mut permit: Permit, canary: bool) {
        let context = self.context();
        let InHand { message, glance, since, .. } = in_hand;
        let mut lease =
            HeldLease::new(message, self.visibility, &self.settler, &context.instruments);
        let mut digests = in_hand.named();
        // Kept until the message is settled: so long it is in hand.
        let mut turn = None;
        let result = match glance {
            // Its delete was sent already, together with others: from then on nothing extends its lease.
            Some(outcome) => Ok(Ok(outcome.clone())),
            None => {
                let work = self.outcome(in_hand, &mut permit, canary, &mut turn, &mut digests);
                lease.run(work).await
            }
        };
        let Ok(result) = result else { return lease_lost(message) };
        let (most, shutdown) = (context.max_receive_count, &context.shutdown);
        let disposition = disposition(&result, message.receive_count, most, fastrand::f64());
        self.assessed(in_hand, since.elapsed());
        let settlement = match disposition {
            Disposition::Delete => Settlement::Delete,
            Disposition::Retry(delay) | Disposition::Redrive(delay) => Settlement::Visible(delay),
            Disposition::Release => Settlement::Visible(Duration::ZERO),
        };
        let is_released = disposition == Disposition::Release;
        // A receive of this task that is still under way would take what is released now.
        if is_released
            && shutdown.is_draining()
            && lease.run(shutdown.after_last_receive()).await.is_err()
        {
            return lease_lost(message);
        }
        let out_of_time = async {
            shutdown.abandoned().await;
            shutdown.after_last_receive().await;
        };
        let settled = tokio::select! {
            biased;
            settled = self.settle(&mut lease, settlement) => Some(settled),
            () = out_of_time, if !is_released => None,
        };
        match settled {
            Some(settled) => self.report(in_hand, &digests, &result, disposition, &settled),
            // The queue does not answer, and there is no more time to wait for it.
            None => {
                let settled = lease.release().await;
                self.report(in_hand, &digests, &result, Disposition::Release, &settled);
            }
        }
    }

    /// What a message comes to, whatever goes wrong on the way.
    async fn outcome<'a>(
        &'a self,
        InHand { message, parsed, .. }: &'a InHand,
        permit: &mut Permit,
        canary: bool,
        turn: &mut Option<Turn<'a>>,
        digests: &mut Vec<Digest>,
    ) -> Result<Outcome, Failure> {
        let context = self.context();
        let work = async {
            match parsed {
                Err(malformed) => Err(malformed.clone().into()),
                Ok(Parsed::Ignored { reason, .. }) => Ok(Outcome::Ignored(reason)),
                Ok(Parsed::Sweep(order)) => Box::pin(self.sweep(message, order)).await,
                Ok(Parsed::Assess(event)) => {
                    let job = Job { message, event, canary, at_once: false };
                    match Box::pin(self.assess(job, permit, turn, digests)).await {
                        // The next sweep finds it again: what is over the limits must not pile up.
                        Err(Failure::Limited { .. })
                            if event.kind == Kind::Sweep && message.receive_count > 1 =>
                        {
                            Ok(Outcome::PutOff)
                        }
                        result => result,
                    }
                }
            }
        };
        let work = AssertUnwindSafe(work).catch_unwind().map(|caught| {
            caught.unwrap_or_else(|_| {
                context.instruments.panicked();
                Err(Failure::Panicked)
            })
        });
        tokio::select! {
            biased;
            result = work => result,
            () = context.shutdown.abandoned() => Err(Failure::Abandoned),
        }
    }

    fn assessed(&self, in_hand: &InHand, took: Duration) {
        let Context { clock, instruments, .. } = self.context();
        // What a sweep finds is as old as the sweep, and nobody's delay.
        let event = in_hand.event().filter(|event| event.kind != Kind::Sweep);
        let at = event.and_then(|event| event.origin.at);
        instruments.assessed(took, at.map(|at| clock.since(at)));
    }

    /// Counts and logs what became of a message.
    fn report(
        &self,
        in_hand: &InHand,
        digests: &[Digest],
        result: &Result<Outcome, Failure>,
        disposition: Disposition,
        settled: &Result<(), SettleError>,
    ) {
        let InHand { message, parsed, since, .. } = in_hand;
        let reason = match result {
            _ if disposition == Disposition::Release => Failure::Abandoned.as_str(),
            Ok(outcome) => outcome.as_str(),
            Err(failure) => failure.as_str(),
        };
        match settled {
            Ok(()) => self.context().instruments.settled(disposition.as_str(), reason),
            Err(error) => {
                warn!(message_id = message.id, %error, "cannot settle; the message comes again");
            }
        }
        report::assessed(&Assessed {
            message,
            body_bytes: in_hand.body_bytes,
            last_receive: self.context().is_last_receive(message),
            parsed,
            digests,
            result,
            disposition,
            took: since.elapsed(),
        });
        if let Err(error) = settled {
            traces::failed(&Span::current(), "not_settled", &error.to_string());
        }
    }

    /// Assesses the image when it is its repository's turn.
    async fn assess<'a>(
        &'a self,
        job: Job<'a>,
        permit: &mut Permit,
        turn: &mut Option<Turn<'a>>,
        digests: &mut Vec<Digest>,
    ) -> Result<Outcome, Failure> {
        if let Some(result) = self.assessor.out_of_reach(job).await {
            return result;
        }
        // The canary is to find out at once.
        if job.canary {
            return self.assessor.assess(job, digests).await;
        }
        let Context { shutdown, .. } = self.assessor.context();
        let is_last = self.assessor.context().is_last_receive(job.message);
        let taken = self.turns.take(&job.event.repository, permit, is_last, shutdown).await?;
        turn.insert(taken).run(permit, self.assessor.assess(job, digests)).await
    }

    /// Settles the message. Where the queue refuses that, polling pauses, the lease is kept and the settling is the probe.
    async fn settle(
        &self,
        lease: &mut HeldLease<'_>,
        settlement: Settlement,
    ) -> Result<(), SettleError> {
        let shutdown = &self.assessor.context().shutdown;
        let mut probe = Probe::default();
        loop {
            let error = match lease.settle(settlement).await {
                // The message went with the queue.
                Err(SettleError::Refused(error)) if !error.is_missing_queue() => error,
                result => {
                    if result.is_ok() {
                        self.assessor.set_paused(Pause::Settling, false, None);
                    }
                    return result;
                }
            };
            self.assessor.set_paused(Pause::Settling, true, Some(&error));
            if lease.run(probe.wait(shutdown)).await?.is_err() {
                return Err(SettleError::Refused(error));
            }
        }
    }

    /// What a message says, and what it comes to where that says it all.
    fn parse(&self, message: &Message) -> (Result<Parsed, event::Malformed>, Option<Outcome>) {
        let context = self.context();
        let parsed = event::parse(&message.body, &context.own);
        let (kind, glance) = match &parsed {
            Ok(Parsed::Assess(event)) => {
                let clean = self.assessor.is_cleared_at_a_glance(event);
                (event.kind, clean.then_some(Outcome::Clean))
            }
            Ok(Parsed::Sweep(_)) => (Kind::Sweep, None),
            Ok(Parsed::Ignored { kind, reason, .. }) => (*kind, Some(Outcome::Ignored(reason))),
            Err(_) => (Kind::Malformed, None),
        };
        context.instruments.event(kind.as_str());
        report::identify(&parsed);
        (parsed, glance)
    }
}

/// Says that a message comes again because its lease ended before its work did.
fn lease_lost(message: &Message) {
    let what = "the lease was lost; the message comes again";
    warn!(message_id = message.id, "{what}");
    traces::failed(&Span::current(), "lease_lost", what);
}
