//! One message from its receive to its settling.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, warn};

use super::assess::{Assessor, Context, Job};
use super::disposition::{Disposition, disposition};
use super::outcome::{Failure, Outcome};
use super::probe::Probe;
use super::report::{self, Assessed};
use super::turns::{Permit, Turn, Turns};
use crate::domain::image::Digest;
use crate::event::{self, Kind, Parsed};
use crate::health::Pause;
use crate::notify::Notifier;
use crate::queue::Message;
use crate::queue::lease::{HeldLease, SettleError, Settlement, Settler};
use crate::registry::Registry;
use crate::telemetry::traces;

/// What the work on one message needs.
#[derive(Debug)]
pub(super) struct Worker<R, N> {
    pub(super) assessor: Arc<Assessor<R, N>>,
    pub(super) settler: Settler,
    pub(super) visibility: Duration,
    pub(super) turns: Arc<Turns>,
    /// Whether the message is to find out if another repository is still allowed.
    pub(super) canary: bool,
}

impl<R: Registry, N: Notifier> Worker<R, N> {
    /// Works on a message and settles it.
    pub(super) async fn work_on(&self, message: Message, permit: Permit) {
        let Message { delivery, id, receive_count, body, .. } = &message;
        let span = traces::process(delivery, id, *receive_count, body.len());
        self.work(message, permit).instrument(span).await;
    }

    async fn work(&self, message: Message, mut permit: Permit) {
        let context = self.assessor.context();
        let instruments = &context.instruments;
        let _in_flight = instruments.in_flight();
        let started = Instant::now();
        let mut lease = HeldLease::new(&message, self.visibility, &self.settler, instruments);
        let parsed = self.parse(&message);
        report::identify(&parsed);
        let event = match &parsed {
            Ok(Parsed::Assess(event)) => Some(event.as_ref()),
            _ => None,
        };
        let mut digests: Vec<_> =
            event.and_then(|event| event.digest.clone()).into_iter().collect();
        // Kept until the message is settled: so long it is in hand.
        let mut turn = None;
        let work = async {
            match &parsed {
                Err(malformed) => Err(malformed.clone().into()),
                Ok(Parsed::Ignored { reason, .. }) => Ok(Outcome::Ignored(reason)),
                Ok(Parsed::Assess(event)) => {
                    let job = Job { message: &message, event, canary: self.canary, at_once: false };
                    self.assess(job, &mut permit, &mut turn, &mut digests).await
                }
            }
        };
        let work = AssertUnwindSafe(work).catch_unwind().map(|caught| {
            caught.unwrap_or_else(|_| {
                instruments.panicked();
                Err(Failure::Panicked)
            })
        });
        let work = async {
            tokio::select! {
                biased;
                result = work => result,
                () = context.shutdown.abandoned() => Err(Failure::Abandoned),
            }
        };
        let Ok(result) = lease.run(work).await else {
            let what = "the lease was lost; the message comes again";
            warn!(message_id = message.id, "{what}");
            traces::failed(&Span::current(), "lease_lost", what);
            return;
        };
        let most = context.max_receive_count;
        let disposition = disposition(&result, message.receive_count, most, fastrand::f64());
        let age = event.and_then(|event| event.origin.at).map(|at| context.clock.since(at));
        instruments.assessed(started.elapsed(), age);
        let settlement = match disposition {
            Disposition::Delete => Settlement::Delete,
            Disposition::Retry(delay) | Disposition::Redrive(delay) => Settlement::Visible(delay),
            Disposition::Release => Settlement::Visible(Duration::ZERO),
        };
        let settled = tokio::select! {
            biased;
            settled = self.settle(&mut lease, settlement) => Some(settled),
            () = context.shutdown.abandoned(), if disposition != Disposition::Release => None,
        };
        let reason = match &result {
            Ok(outcome) => outcome.as_str(),
            Err(failure) => failure.as_str(),
        };
        let (settled, disposition, reason) = match settled {
            Some(settled) => (settled, disposition, reason),
            // The queue does not answer, and there is no more time to wait for it.
            None => (lease.release().await, Disposition::Release, Failure::Abandoned.as_str()),
        };
        match &settled {
            Ok(()) => instruments.settled(disposition.as_str(), reason),
            Err(error) => {
                warn!(message_id = message.id, %error, "cannot settle; the message comes again");
            }
        }
        report::assessed(&Assessed {
            message: &message,
            last_receive: context.is_last_receive(&message),
            parsed: &parsed,
            digests: &digests,
            result: &result,
            disposition,
            took: started.elapsed(),
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
        if let Some(result) = self.assessor.at_a_glance(job).await {
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

    fn parse(&self, message: &Message) -> Result<Parsed, event::Malformed> {
        let context = self.assessor.context();
        let parsed = event::parse(&message.body, &context.own);
        let kind = match &parsed {
            Ok(Parsed::Assess(event)) => event.kind,
            Ok(Parsed::Ignored { kind, .. }) => *kind,
            Err(_) => Kind::Malformed,
        };
        context.instruments.event(kind.as_str());
        parsed
    }
}
