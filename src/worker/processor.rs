//! One message from its receive to its settlement: parse, dispatch, settle.
//!
//! If the event alone decides that nothing is to be done (its own counts show that no limit is
//! exceeded, or it is not for us), the message takes no task of its own: it is parsed where it was
//! received, and such messages of one receive are deleted by one call. Every other message is
//! worked on under the heartbeat of its lease, in a slot of its repository, and settled by the
//! table of [`disposition`]. A panic is caught and becomes a failure of that message alone
//! (invariant 10), and a message is deleted only after every effect is confirmed (invariant 1).
//!
//! When the queue refuses deletes, polling pauses and the delete is repeated under heartbeat. If
//! the worker gave up the lease instead, it would repeat the work until the message is in the
//! dead-letter queue. When a delete is not answered by the end of the time for work, the message is
//! made visible: the one case in which a lease is settled twice. If the delete was carried out, no
//! message is left to make visible; if not, the next task notifies again.

mod settling;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, warn};

use super::completion_log::{self, Completed};
use super::fairness::{Acquired, Fairness, Slot};
use super::permits::Permit;
use crate::assess::{Assessment, Assessor};
use crate::clock::Clock;
use crate::domain::names::{Digest, RegistryId, Repository};
use crate::domain::origin::Origin;
use crate::domain::policy::PolicyVersion;
use crate::event::restore::RestoreOrder;
use crate::event::{self, ImageEvent, Kind, Malformed, Parsed};
use crate::health::Health;
use crate::in_use::PolicyInUse;
use crate::inspect::{Freshness, Request, Urgency};
use crate::notify::Notifier;
use crate::outcome::{Attempt, Disposition, Failure, Outcome, disposition};
use crate::queue::{HeldLease, Message, Queue, SettleError, Settlement, Settler};
use crate::registry::Registry;
use crate::restore::{ReceivedOrder, Restorer};
use crate::shutdown::Shutdown;
use crate::sweep::Coordinator;
use crate::telemetry::instruments::{self, Instruments};
use crate::telemetry::traces;

/// Everything that the processor shares with other parts of the worker.
#[derive(Debug)]
pub(crate) struct ProcessorParts<Q, R, N> {
    pub assessor: Arc<Assessor<R, N>>,
    pub restorer: Restorer<R, N>,
    pub coordinator: Coordinator<Q, R, N>,
    pub policy: PolicyInUse,
    /// Extends and settles leases.
    pub settler: Settler,
    /// How long a received message stays invisible.
    pub visibility: Duration,
    /// The receives after which the queue's redrive policy moves a message away, if it has one.
    pub max_receive_count: Option<u32>,
    /// The worker's own registry.
    pub own: RegistryId,
    /// Whether polling is paused.
    pub health: Arc<Health>,
    pub shutdown: Shutdown,
    pub clock: Clock,
    pub instruments: Arc<Instruments>,
}

#[derive(Debug)]
pub(super) struct Processor<Q, R, N> {
    shared: ProcessorParts<Q, R, N>,
    fairness: Arc<Fairness>,
}

/// A message in work, and its parsed event.
#[derive(Debug)]
pub(super) struct ParsedMessage {
    /// The message without its body, which is dropped after parsing because hundreds of messages
    /// may wait and each may be long.
    message: Message,
    body_bytes: usize,
    span: Span,
    since: Instant,
    parsed: Result<Parsed, Malformed>,
    /// The outcome, if the event alone decides it.
    fast_path: Option<Outcome>,
    _counted: instruments::InFlight,
}

impl ParsedMessage {
    /// Returns whether nothing is left to do but to delete the message.
    pub(super) fn is_done(&self) -> bool {
        self.fast_path.is_some()
    }

    fn event(&self) -> Option<&ImageEvent> {
        self.parsed.as_ref().ok().and_then(Parsed::event)
    }

    fn named(&self) -> Vec<Digest> {
        let image = self.parsed.as_ref().ok().and_then(Parsed::image);
        image.and_then(|(_, digest)| digest.cloned()).into_iter().collect()
    }
}

/// The result of working on a message. It keeps the message's permit, and its slot of the
/// repository if it has one, until the message is settled.
struct Processed<'a> {
    assessment: Assessment,
    _held: Held<'a>,
}

/// What a message holds while it is in work.
#[expect(dead_code, reason = "it is held until it is dropped")]
enum Held<'a> {
    /// It needed no slot, or found none.
    Permit(Permit),
    Slot(Slot<'a>),
    /// The wait for a slot was broken off.
    Nothing,
}

/// Returns a message whose work names no image.
fn unnamed(result: Result<Outcome, Failure>, held: Held<'_>) -> Processed<'_> {
    Processed { assessment: Assessment { digests: Vec::new(), result }, _held: held }
}

impl<Q: Queue, R: Registry, N: Notifier> Processor<Q, R, N> {
    pub(super) fn new(shared: ProcessorParts<Q, R, N>, fairness: Arc<Fairness>) -> Self {
        Self { shared, fairness }
    }

    /// Drops old results that were kept for other messages.
    pub(super) fn tidy(&self) {
        self.shared.assessor.tidy();
    }

    /// Parses a message. Returns `None` if that panicked; the message then comes again.
    pub(super) fn parse(&self, mut message: Message) -> Option<ParsedMessage> {
        let Message { delivery, id, receive_count, body, .. } = &message;
        let span = traces::process(delivery, id, *receive_count, body.len());
        let since = Instant::now();
        let instruments = &self.shared.instruments;
        let counted = instruments.in_flight();
        let parse = || span.in_scope(|| self.parse_body(&message.body));
        let Ok((parsed, fast_path)) = catch_unwind(AssertUnwindSafe(parse)) else {
            instruments.panicked();
            return None;
        };
        let body_bytes = std::mem::take(&mut message.body).len();
        Some(ParsedMessage {
            message,
            body_bytes,
            span,
            since,
            parsed,
            fast_path,
            _counted: counted,
        })
    }

    /// Returns the event of a body, and the outcome if the event alone decides it.
    fn parse_body(&self, body: &str) -> (Result<Parsed, Malformed>, Option<Outcome>) {
        let parsed = event::parse(body, &self.shared.own);
        let kind = parsed.as_ref().map_or(Kind::Malformed, Parsed::kind);
        let fast_path = match &parsed {
            Ok(Parsed::Assess(event)) => {
                let ProcessorParts { assessor, policy, .. } = &self.shared;
                let is_clean = assessor.is_cleared_at_a_glance(&policy.current(), event);
                is_clean.then_some(Outcome::Clean)
            }
            Ok(Parsed::Ignored { reason, .. }) => Some(Outcome::Ignored(reason)),
            Ok(Parsed::Sweep(_) | Parsed::Restore { .. }) | Err(_) => None,
        };
        self.shared.instruments.event(kind.as_str());
        completion_log::identify(&parsed);
        (parsed, fast_path)
    }

    /// Works on a message and settles it.
    pub(super) async fn process(&self, one: ParsedMessage, permit: Permit, urgency: Urgency) {
        let span = one.span.clone();
        self.work_and_settle(&one, permit, urgency).instrument(span).await;
    }

    async fn work_and_settle(&self, one: &ParsedMessage, permit: Permit, urgency: Urgency) {
        let ProcessorParts { settler, visibility, shutdown, instruments, .. } = &self.shared;
        let message = &one.message;
        let mut lease = HeldLease::new(message, *visibility, settler, instruments);
        let processed = match &one.fast_path {
            // Its delete has been sent together with others, so nothing extends its lease any more.
            Some(outcome) => {
                let assessment = Assessment { digests: one.named(), result: Ok(outcome.clone()) };
                Processed { assessment, _held: Held::Permit(permit) }
            }
            None => match lease.run(self.work(one, permit, urgency)).await {
                Ok(processed) => processed,
                Err(_) => return lease_lost(message),
            },
        };
        let assessment = &processed.assessment;
        let disposition = disposition(&assessment.result, self.attempt(message), fastrand::f64());
        self.measure(one, one.since.elapsed());
        let settlement = match disposition {
            Disposition::Delete => Settlement::Delete,
            Disposition::Retry(delay) | Disposition::Redrive(delay) => Settlement::Visible(delay),
            Disposition::Release => Settlement::Visible(Duration::ZERO),
        };
        let is_released = disposition == Disposition::Release;
        // Wait, because a receive of this task that is still under way would take the message.
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
            Some(settled) => self.complete(one, assessment, disposition, &settled),
            // The queue does not answer, and there is no more time to wait for it.
            None => {
                let settled = lease.release().await;
                self.complete(one, assessment, Disposition::Release, &settled);
            }
        }
    }

    fn attempt(&self, message: &Message) -> Attempt {
        Attempt { number: message.receive_count, most: self.shared.max_receive_count }
    }

    /// Does the work that a message asks for.
    async fn work<'a>(
        &'a self,
        one: &'a ParsedMessage,
        permit: Permit,
        urgency: Urgency,
    ) -> Processed<'a> {
        let ParsedMessage { message, parsed, .. } = one;
        match parsed {
            Err(malformed) => unnamed(Err(malformed.clone().into()), Held::Permit(permit)),
            Ok(Parsed::Ignored { reason, .. }) => {
                unnamed(Ok(Outcome::Ignored(reason)), Held::Permit(permit))
            }
            Ok(Parsed::Sweep(order)) => {
                let step = self.shared.coordinator.step(message, self.attempt(message), order);
                unnamed(self.guarded(Box::pin(step)).await.flatten(), Held::Permit(permit))
            }
            Ok(Parsed::Restore { origin, order }) => {
                self.restore(one, origin, order, permit, urgency).await
            }
            Ok(Parsed::Assess(event)) => {
                let mut processed = self.assess(one, event, permit, urgency).await;
                let Assessment { digests, result } = &mut processed.assessment;
                if event.kind.is_found_again()
                    && self.attempt(message).is_repeated()
                    && matches!(result, Err(Failure::Limited { .. }))
                {
                    // Messages over the limits must not pile up.
                    *result = Ok(Outcome::PutOff);
                }
                if digests.is_empty() {
                    *digests = one.named();
                }
                processed
            }
        }
    }

    /// Does a part of the work. A panic or the end of the time for work becomes a failure.
    async fn guarded<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let ProcessorParts { shutdown, instruments, .. } = &self.shared;
        tokio::select! {
            biased;
            done = AssertUnwindSafe(work).catch_unwind() => done.map_err(|_| {
                instruments.panicked();
                Failure::Panicked
            }),
            () = shutdown.abandoned() => Err(Failure::Abandoned),
        }
    }

    /// Returns the question that a message asks, by this policy.
    fn request(
        &self,
        message: &Message,
        event: &ImageEvent,
        urgency: Urgency,
        policy: Arc<PolicyVersion>,
    ) -> Request {
        let Message { sent_at, received_at, .. } = *message;
        let (freshness, attempt) = (Freshness { sent_at, received_at }, self.attempt(message));
        Request::of_event(event, Some(&message.id), freshness, attempt, urgency, policy)
    }

    /// Assesses the image when its repository has a slot for it.
    async fn assess<'a>(
        &'a self,
        one: &'a ParsedMessage,
        event: &'a ImageEvent,
        permit: Permit,
        urgency: Urgency,
    ) -> Processed<'a> {
        let ProcessorParts { assessor, policy, .. } = &self.shared;
        let request = |policy| self.request(&one.message, event, urgency, policy);
        let current = policy.current();
        if let Err(why) = assessor.check_scope(&current, &event.repository) {
            let request = request(current);
            let refused = self.guarded(assessor.refuse_out_of_scope(&request, why)).await;
            return unnamed(refused.flatten(), Held::Permit(permit));
        }
        // A message may wait long for its slot, and is judged by the policy in use after that.
        let work = || async {
            let request = request(policy.current());
            self.assess_guarded(&request).await
        };
        self.in_slot(one, &event.repository, permit, urgency, work).await
    }

    /// Carries out a request to restore an image when its repository has a slot for it.
    async fn restore<'a>(
        &'a self,
        one: &'a ParsedMessage,
        origin: &'a Origin,
        order: &'a RestoreOrder,
        permit: Permit,
        urgency: Urgency,
    ) -> Processed<'a> {
        let message = &one.message;
        let asked = ReceivedOrder {
            order,
            origin,
            message_id: &message.id,
            sender: message.sender.as_deref(),
            sent_at: message.sent_at,
            received_at: message.received_at,
            attempt: self.attempt(message),
            urgency,
        };
        let refused = self.guarded(self.shared.restorer.refuse_out_of_scope(&asked)).await;
        if let Some(refused) = refused.flatten().transpose() {
            return unnamed(refused, Held::Permit(permit));
        }
        let work = || async {
            let restored = Box::pin(self.shared.restorer.restore(&asked));
            let result = self.guarded(restored).await.flatten();
            Assessment { digests: one.named(), result }
        };
        self.in_slot(one, &order.repository, permit, urgency, work).await
    }

    /// Does the work of a message when its repository has a slot for it.
    async fn in_slot<'a>(
        &'a self,
        one: &'a ParsedMessage,
        repository: &'a Repository,
        permit: Permit,
        urgency: Urgency,
        work: impl AsyncFnOnce() -> Assessment,
    ) -> Processed<'a> {
        // A probe does not wait for a slot, because it has to find out at once.
        if urgency == Urgency::Probe {
            return Processed { assessment: work().await, _held: Held::Permit(permit) };
        }
        let is_last = self.attempt(&one.message).is_last();
        let slot = self.fairness.acquire(repository, permit, is_last, &self.shared.shutdown);
        let mut slot = match self.guarded(slot).await {
            Ok(Acquired::Slot(slot)) => slot,
            Ok(Acquired::Nothing(failure, permit)) => {
                return unnamed(Err(failure), Held::Permit(permit));
            }
            Err(failure) => return unnamed(Err(failure), Held::Nothing),
        };
        // What the work needs is made by it, because messages without a slot may be many, each of
        // any size.
        let assessment = slot.run(work()).await;
        Processed { assessment, _held: Held::Slot(slot) }
    }

    /// Assesses the images of a request. They are known to the log even if their assessment panics
    /// or is abandoned.
    async fn assess_guarded(&self, request: &Request) -> Assessment {
        let assessor = &self.shared.assessor;
        let digests = match self.guarded(Box::pin(assessor.images(request))).await.flatten() {
            Ok(digests) => digests,
            Err(failure) => return Assessment { digests: Vec::new(), result: Err(failure) },
        };
        let assess = Box::pin(assessor.assess_images(request, &digests));
        let result = self.guarded(assess).await.flatten();
        Assessment { digests, result }
    }

    fn measure(&self, one: &ParsedMessage, took: Duration) {
        let ProcessorParts { clock, instruments, .. } = &self.shared;
        let event = one.event().filter(|event| event.kind.is_written_at_the_change());
        let at = event.and_then(|event| event.origin.at);
        instruments.assessed(took, at.map(|at| clock.since(at)));
    }

    /// Counts and logs the end of a message.
    fn complete(
        &self,
        one: &ParsedMessage,
        Assessment { digests, result }: &Assessment,
        disposition: Disposition,
        settled: &Result<(), SettleError>,
    ) {
        let ParsedMessage { message, parsed, since, .. } = one;
        let reason = match result {
            _ if disposition == Disposition::Release => Failure::Abandoned.as_str(),
            Ok(outcome) => outcome.as_str(),
            Err(failure) => failure.as_str(),
        };
        match settled {
            Ok(()) => self.shared.instruments.settled(disposition.as_str(), reason),
            Err(error) => {
                warn!(message_id = message.id, %error, "cannot settle; the message comes again");
            }
        }
        completion_log::write(&Completed {
            message,
            body_bytes: one.body_bytes,
            last_receive: self.attempt(message).is_last(),
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
}

/// Declares the families of events and the settlements that are counted.
pub(crate) fn declare(instruments: &Instruments) {
    Kind::ALL.iter().for_each(|kind| instruments.declare_event(kind.as_str()));
    for (disposition, reason) in Disposition::label_sets() {
        instruments.declare_settled(disposition, reason);
    }
}

/// Logs that a message comes again because its lease ended before its work did.
fn lease_lost(message: &Message) {
    let what = "the lease was lost; the message comes again";
    warn!(message_id = message.id, "{what}");
    traces::failed(&Span::current(), "lease_lost", what);
}
