//! Takes the steps of scheduled sweeps.
//!
//! The first step becomes a message for each registry, a registry becomes a message for each
//! repository, and a repository is swept slice by slice, a hundred images each. The message of the
//! last slice is the repository's result. A step sends its consequences before it is deleted: its
//! images first, and then the next step by a call of its own, so that images that cannot be sent do
//! not leave two chains. From there on the step is done, whatever happens. Other scans are asked
//! for last, because the next sweep asks again if they are refused.
//!
//! Slices hold at most a quarter of the permits. A slice that finds no permit is sent again as a
//! new message, because waiting must not use up its receives.

use std::sync::Arc;
use std::time::Duration;

use humantime::format_rfc3339_seconds;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use super::SweepSettings;
use super::aggregate::{Aggregator, ResultMessage};
use super::inventory::{IMAGES_A_PAGE, Inventory, InventoryEntry, InventoryPage};
use super::rescan::Rescans;
use super::sending::{now, send};
use super::steps_taken::{StepsTaken, Taking, Turn};
use crate::backoff::Backoff;
use crate::bounded::Slots;
use crate::clock::Clock;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::names::{RegistryId, Repository};
use crate::domain::policy::{Mode, Policy, PolicyVersion};
use crate::event::Claim;
use crate::event::sweep::{self, Found, LONGEST_ID, MAX_SLICES, Order, Part, Slice, Step};
use crate::in_use::PolicyInUse;
use crate::inspect::{CallPace, EcrCalls, Freshness, Request, Urgency};
use crate::notify::{Dispatcher, Notifier};
use crate::outcome::{Attempt, Failure, Outcome};
use crate::queue::{Message, Outgoing, Queue};
use crate::registry::Registry;
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;

/// Slices hold at most the permits divided by this. The others are left to live events.
const PART_OF_PERMITS: usize = 4;
/// The shortest first delay and the longest delay of a slice that finds no permit.
const NO_ROOM: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// The time after which a copy of a step comes again while the step is in work.
const IN_WORK: Duration = Duration::from_secs(60);

/// The most registries whose pace is remembered. One that is forgotten begins anew.
const MAX_PACES: usize = 1_000;

/// Everything that the coordinator shares with other parts of the worker.
#[derive(Debug)]
pub(crate) struct CoordinatorParts<Q, R, N> {
    /// The queue on which the steps are sent.
    pub queue: Arc<Q>,
    pub inventory: Inventory<R>,
    pub ecr: Arc<EcrCalls<R>>,
    /// Notifies the team of the summary.
    pub dispatcher: Arc<Dispatcher<N>>,
    pub policy: PolicyInUse,
    /// The worker's own registry.
    pub own: RegistryId,
    /// How long a received message stays invisible.
    pub visibility: Duration,
    pub clock: Clock,
    pub shutdown: Shutdown,
    pub instruments: Arc<Instruments>,
}

/// Takes the steps of sweeps that come as messages.
#[derive(Debug)]
pub(crate) struct Coordinator<Q, R, N> {
    queue: Arc<Q>,
    inventory: Inventory<R>,
    policy: PolicyInUse,
    own: RegistryId,
    shutdown: Shutdown,
    instruments: Arc<Instruments>,
    calls_per_second: u32,
    room: Semaphore,
    paces: Slots<RegistryId, CallPace>,
    steps_taken: StepsTaken,
    rescans: Rescans<R>,
    aggregator: Aggregator<Q, N>,
}

impl<Q: Queue, R: Registry, N: Notifier> Coordinator<Q, R, N> {
    /// Creates a coordinator for a task that works on `max_in_flight` messages at once.
    #[must_use]
    pub(crate) fn new(
        shared: CoordinatorParts<Q, R, N>,
        settings: SweepSettings,
        max_in_flight: usize,
    ) -> Self {
        let CoordinatorParts { queue, inventory, ecr, dispatcher, policy, own, .. } = shared;
        let CoordinatorParts { visibility, clock, shutdown, instruments, .. } = shared;
        let rescans = Rescans::new(ecr, settings.rescan_after, clock.clone(), shutdown.clone());
        let aggregator = Aggregator::new(
            Arc::clone(&queue),
            dispatcher,
            policy.current().base.mode,
            visibility,
            clock,
            Arc::clone(&instruments),
        );
        Self {
            queue,
            inventory,
            policy,
            own,
            shutdown,
            instruments,
            calls_per_second: settings.calls_per_second,
            room: Semaphore::new((max_in_flight / PART_OF_PERMITS).max(1)),
            paces: Slots::new(MAX_PACES, |_| false),
            steps_taken: StepsTaken::default(),
            rescans,
            aggregator,
        }
    }

    /// Takes one step of a sweep.
    ///
    /// # Errors
    /// [`Failure`] if the step has to come again.
    pub(crate) async fn step(
        &self,
        message: &Message,
        attempt: Attempt,
        order: &Order,
    ) -> Result<Outcome, Failure> {
        let order = &named(message, order);
        let taking = match self.steps_taken.turn(order) {
            Turn::Repeatable => None,
            Turn::First(taking) => Some(taking),
            Turn::Taken => return Ok(Outcome::Repeated),
            Turn::InWork if !attempt.is_last() => {
                let reason = "a copy of this step is in work".to_owned();
                return Err(Failure::Pending { reason, again: IN_WORK });
            }
            // It cannot wait, because this is its last receive.
            Turn::InWork => None,
        };
        let registry = match &order.step {
            Step::All | Step::Repository(_) => None,
            Step::Registry(registry_id) => Some(registry_id),
            Step::Result(found) => Some(&found.registry_id),
            Step::Told(told) => Some(&told.registry_id),
        };
        let policy = &self.policy.current();
        if let Some(Err(why)) =
            registry.map(|registry_id| policy.check_registry(registry_id, &self.own))
        {
            return Ok(Outcome::OutOfScope(why));
        }
        match &order.step {
            Step::All => self.sweep_all(policy, order, taking).await,
            Step::Registry(registry_id) => {
                self.sweep_registry(policy, order, registry_id, taking).await
            }
            Step::Repository(slice) => {
                let request = &request(message, attempt, order, &slice.repository, policy);
                self.sweep_slice(request, order, slice, taking).await
            }
            Step::Result(found) => {
                let has_swept = || self.steps_taken.has_swept(order, found);
                let arrived = ResultMessage { message, attempt, order };
                self.aggregator.add(arrived, found, has_swept).await
            }
            Step::Told(told) => {
                self.aggregator.was_told(ResultMessage { message, attempt, order }, told).await
            }
        }
    }

    /// Sends one message for each account and Region of the policy.
    async fn sweep_all(
        &self,
        policy: &Policy,
        order: &Order,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, Failure> {
        let registries = policy.registries(&self.own).into_iter();
        let messages: Vec<_> = registries
            .map(|registry_id| {
                now(Order { step: Step::Registry(registry_id), ..order.clone() }.body())
            })
            .collect();
        info!(sweep = order.sweep, registries = messages.len(), "sweep begins");
        send(&*self.queue, &messages).await?;
        taking.iter().for_each(Taking::is_taken);
        Ok(Outcome::Swept)
    }

    /// Sends one message for each repository that the policy covers, spread over the time that the
    /// repositories take.
    async fn sweep_registry(
        &self,
        policy: &Policy,
        order: &Order,
        registry_id: &RegistryId,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, Failure> {
        let RegistryId { account, region } = registry_id;
        let covered = self.inventory.covered(policy, registry_id).await?;
        let of = u32::try_from(covered.len()).unwrap_or(u32::MAX);
        info!(sweep = order.sweep, %account, %region, repositories = of, "sweep of a registry");
        let apart = self.apart();
        let mut messages: Vec<_> = (0..of)
            .zip(covered)
            .map(|(number, repository)| {
                let slice = Slice {
                    repository,
                    number,
                    of,
                    slices: 0,
                    waits: 0,
                    next_token: None,
                    census: Census::default(),
                };
                let order = Order { step: Step::Repository(slice), ..order.clone() };
                Outgoing { body: order.body(), delay: apart.saturating_mul(number) }
            })
            .collect();
        if messages.is_empty() {
            let found =
                Found { registry_id: registry_id.clone(), of, repositories: Default::default() };
            let order = Order { step: Step::Result(found), ..order.clone() };
            messages.push(now(order.body()));
        }
        send(&*self.queue, &messages).await?;
        taking.iter().for_each(Taking::is_taken);
        Ok(Outcome::Swept)
    }

    /// Inspects one slice of a repository's images, and sends the messages that follow.
    async fn sweep_slice(
        &self,
        request: &Request,
        order: &Order,
        slice: &Slice,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, Failure> {
        let Ok(_room) = self.room.try_acquire() else {
            self.put_off(order, slice).await?;
            return Ok(Outcome::PutOff);
        };
        let pace = self.pace(&request.repository.registry_id());
        // This task's policy is checked too, because the task that sent the step may have another.
        let is_covered = request.policy.check_scope(&request.repository, &self.own).is_ok();
        let inspect = async {
            match is_covered {
                true => self.inventory.page(request, slice.next_token.as_deref(), &pace).await,
                false => InventoryPage::default(),
            }
        };
        let page = tokio::select! {
            biased;
            () = self.shutdown.draining() => return Err(Failure::Abandoned),
            page = inspect => page,
        };
        if let Some(failure) = page.failure {
            return Err(failure);
        }
        let mut census = Census::default();
        census.add(Coverage::Failed, page.unread);
        let mut messages = Vec::new();
        for image in &page.images {
            census.count(image.coverage);
            messages.extend(self.to_assess(request, order, image));
        }
        let step = next_step(order, slice, &census, page.next_token);
        // The next step has a call of its own, because images that cannot be sent must not leave
        // two chains.
        send(&*self.queue, &messages).await?;
        send(&*self.queue, &[now(Order { step, ..order.clone() }.body())]).await?;
        taking.iter().for_each(Taking::is_taken);
        self.instruments.swept(&census);
        // This comes last and may fail, because the slice is done.
        self.rescans.ask(request, &page.images, &pace).await;
        Ok(Outcome::Swept)
    }

    /// Sends a slice that finds no permit as a new message.
    async fn put_off(&self, order: &Order, slice: &Slice) -> Result<(), Failure> {
        let (least, longest) = NO_ROOM;
        let time_of_a_slice = self.apart().saturating_mul(IMAGES_A_PAGE.into());
        let backoff = Backoff::new(time_of_a_slice.max(least), 2, longest).spread(0.5);
        let waits = slice.waits.saturating_add(1);
        let delay = backoff.pause(waits, fastrand::f64());
        let slice = Slice { waits, ..slice.clone() };
        let order = Order { step: Step::Repository(slice), ..order.clone() };
        send(&*self.queue, &[Outgoing { body: order.body(), delay }]).await
    }

    /// Returns the message that has an image assessed. There is one if tags of the image are to be
    /// removed, or if the team is to be notified of an index that is not known as a whole.
    fn to_assess(
        &self,
        request: &Request,
        order: &Order,
        image: &InventoryEntry,
    ) -> Option<Outgoing> {
        let body = || sweep::image(order, &request.repository, &image.image.digest, &image.untag);
        let enforces = || request.settings().mode == Mode::Enforce;
        let acts = image.coverage == Coverage::Untag || (image.is_unresolved && enforces());
        acts.then(|| now(body()))
    }

    /// Returns the pace of the calls to this registry.
    fn pace(&self, registry_id: &RegistryId) -> Arc<CallPace> {
        self.paces.get(registry_id, || CallPace::new(self.calls_per_second))
    }

    /// Returns the time between two calls.
    fn apart(&self) -> Duration {
        Duration::from_secs(1) / self.calls_per_second
    }
}

/// Returns the order with an id and with a time that is not in the future.
fn named(message: &Message, order: &Order) -> Order {
    let mut order = order.clone();
    // A schedule without an id of its own takes the message's, which is the same at every delivery.
    let own = order.origin.id.clone().filter(|id| id.len() <= LONGEST_ID);
    let id = || own.unwrap_or_else(|| message.id.clone());
    order.sweep = Some(order.sweep.clone().unwrap_or_else(id));
    // A sweep without a time, or with one in the future, would never grow old.
    let is_possible = |at| message.sent_at.is_none_or(|sent| at <= sent);
    if !order.origin.at.is_some_and(is_possible) {
        order.origin.at = message.sent_at;
        order.origin.time = message.sent_at.map(|at| format_rfc3339_seconds(at).to_string());
    }
    order
}

/// Returns the question that a slice of this repository asks, by this policy.
fn request(
    message: &Message,
    attempt: Attempt,
    order: &Order,
    repository: &Repository,
    policy: &Arc<PolicyVersion>,
) -> Request {
    Request {
        repository: repository.clone(),
        digest: None,
        tags: Vec::new(),
        claim: Claim::Nothing,
        origin: order.origin.clone(),
        event_id: order.origin.id.clone().unwrap_or_else(|| message.id.clone()),
        message_id: Some(message.id.clone()),
        freshness: Freshness { sent_at: message.sent_at, received_at: message.received_at },
        attempt,
        urgency: Urgency::Queued,
        only: None,
        policy: Arc::clone(policy),
    }
}

/// Returns the step that follows a slice: the next slice, or the result of the repository.
fn next_step(order: &Order, slice: &Slice, census: &Census, next_token: Option<String>) -> Step {
    let repository = &slice.repository;
    let mut all = slice.census.clone();
    all.absorb(census);
    let is_cut = next_token.is_some() && slice.slices >= MAX_SLICES;
    if is_cut {
        warn!(
            sweep = order.sweep, %repository, slices = MAX_SLICES,
            "a repository holds more images than a sweep inspects; the others are not inspected"
        );
    }
    match next_token.filter(|_| !is_cut) {
        Some(token) => Step::Repository(Slice {
            slices: slice.slices.saturating_add(1),
            waits: 0,
            next_token: Some(token),
            census: all,
            ..slice.clone()
        }),
        None => Step::Result(Found {
            registry_id: repository.registry_id(),
            of: slice.of,
            repositories: [(repository.name.clone(), Part { census: all, is_cut })].into(),
        }),
    }
}
