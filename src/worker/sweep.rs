//! A sweep, step by step: every tagged image that the policy covers is looked at, whatever events there were.
//!
//! A step looks and sends messages, and acts on nothing: an image whose tags have to go becomes a message of its own and
//! takes the way of every event. A step that is broken off is done again, and does no harm. Once what follows was sent it is
//! done, whatever happens then: a copy of it ends where it comes to a task that has taken it.

mod gather;
mod image;
mod known;
mod taken;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use humantime::format_rfc3339_seconds;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{info, warn};

use self::gather::Gathering;
use self::taken::{Taken, Taking, Turn};
use super::assess::{Context, Job};
use super::message::Worker;
use super::outcome::{Failure, Outcome};
use super::survey::{PAGE, Pace, SurveyPage};
use crate::aws::{AwsError, ErrorClass};
use crate::config::SweepSettings;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::image::Home;
use crate::event::sweep::{Found, LONGEST_ID, MOST_SLICES, Order, Part, Slice, Step};
use crate::event::{Claim, ImageEvent, Kind};
use crate::notify::Notifier;
use crate::queue::{Message, Outgoing, Queue};
use crate::registry::Registry;

/// The part of the permits that slices hold together at the most; the others are left to live events.
const PART_OF_PERMITS: usize = 4;
/// How long a slice waits in the queue that found no permit of its part: at first at least, and at the most.
const NO_ROOM: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// When a copy of a step comes again that is still in work.
const IN_WORK: Duration = Duration::from_secs(60);
/// How long a registry that begins no scan is not asked again.
const NOT_HERE: Duration = Duration::from_secs(3600);

/// What the steps of sweeps share in this task.
#[derive(Debug)]
pub(super) struct Sweeps {
    settings: SweepSettings,
    room: Semaphore,
    paces: Mutex<HashMap<Home, Arc<Pace>>>,
    /// Registries that begin no scan when they are asked, and since when that is known.
    not_here: Mutex<HashMap<Home, Instant>>,
    gathering: Mutex<Gathering>,
    taken: Taken,
    /// Since when this task is there.
    since: Instant,
}

impl Sweeps {
    pub(super) fn new(settings: SweepSettings, max_in_flight: usize) -> Self {
        Self {
            settings,
            room: Semaphore::new((max_in_flight / PART_OF_PERMITS).max(1)),
            paces: Mutex::default(),
            not_here: Mutex::default(),
            gathering: Mutex::default(),
            taken: Taken::default(),
            since: Instant::now(),
        }
    }

    /// What the calls to this registry are paced by.
    fn pace(&self, home: &Home) -> Arc<Pace> {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        // One that nobody uses begins anew.
        paces.retain(|_, pace| Arc::strong_count(pace) > 1);
        let new = || Arc::new(Pace::new(self.settings.calls_per_second));
        Arc::clone(paces.entry(home.clone()).or_insert_with(new))
    }

    /// Whether this registry begins no scan when it is asked.
    fn begins_no_scan(&self, home: &Home) -> bool {
        let not_here = self.not_here.lock().unwrap_or_else(PoisonError::into_inner);
        not_here.get(home).is_some_and(|since| since.elapsed() < NOT_HERE)
    }

    fn set_begins_no_scan(&self, home: Home, why: &str) {
        info!(
            account = %home.account,
            region = %home.region,
            why,
            "the registry begins no scan when it is asked; it is not asked again for an hour"
        );
        let mut not_here = self.not_here.lock().unwrap_or_else(PoisonError::into_inner);
        not_here.insert(home, Instant::now());
    }

    /// The time between two calls.
    fn apart(&self) -> Duration {
        Duration::from_secs(1) / self.settings.calls_per_second
    }
}

fn failure(error: AwsError) -> Failure {
    match error.class {
        ErrorClass::Refused | ErrorClass::Credentials => Failure::Refused(error),
        ErrorClass::Rejected => Failure::Rejected(error),
        _ => Failure::Transient(error),
    }
}

fn now(body: String) -> Outgoing {
    Outgoing { body, delay: Duration::ZERO }
}

impl<Q: Queue, R: Registry, N: Notifier> Worker<Q, R, N> {
    /// Takes one step of a sweep.
    pub(super) async fn sweep(&self, message: &Message, order: &Order) -> Result<Outcome, Failure> {
        let mut order = order.clone();
        // A schedule without an id of its own: the message's is the same at every delivery.
        let own = order.origin.id.clone().filter(|id| id.len() <= LONGEST_ID);
        let id = || own.unwrap_or_else(|| message.id.clone());
        order.sweep = Some(order.sweep.clone().unwrap_or_else(id));
        // A time that cannot be, or lies ahead, would never grow old.
        let is_possible = |at| message.sent_at.is_none_or(|sent| at <= sent);
        if !order.origin.at.is_some_and(is_possible) {
            order.origin.at = message.sent_at;
            order.origin.time = message.sent_at.map(|at| format_rfc3339_seconds(at).to_string());
        }
        let taking = match self.sweeps.taken.turn(&order) {
            None => None,
            Some(Turn::First(taking)) => Some(taking),
            Some(Turn::Taken) => return Ok(Outcome::Repeated),
            Some(Turn::InWork) if !self.context().is_last_receive(message) => {
                let reason = "a copy of this step is in work".to_owned();
                return Err(Failure::Pending { reason, again: IN_WORK });
            }
            // It must not be used up by waiting.
            Some(Turn::InWork) => None,
        };
        match &order.step {
            Step::All => self.sweep_all(&order, taking).await,
            Step::Registry(home) => self.sweep_registry(&order, home, taking).await,
            Step::Repository(slice) => self.sweep_slice(message, &order, slice, taking).await,
            Step::Result(found) => self.gather(message, &order, found).await,
            Step::Told(told) => self.was_told(message, &order, told).await,
        }
    }

    async fn send(&self, messages: &[Outgoing]) -> Result<(), Failure> {
        self.queue.send(messages).await.map_err(|error| {
            warn!(%error, "cannot send what follows from a step of a sweep; it comes again, and what was sent is sent twice");
            failure(error.error)
        })
    }

    /// One message for each account and Region of the policy.
    async fn sweep_all(
        &self,
        order: &Order,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, Failure> {
        let Context { policy, own, .. } = self.context();
        let registries = policy.registries(own).into_iter();
        let messages: Vec<_> = registries
            .map(|home| now(Order { step: Step::Registry(home), ..order.clone() }.body()))
            .collect();
        info!(sweep = order.sweep, registries = messages.len(), "sweep begins");
        self.send(&messages).await?;
        taking.iter().for_each(Taking::is_taken);
        Ok(Outcome::Swept)
    }

    /// One message for each repository that the policy covers, spread over the time that they take.
    async fn sweep_registry(
        &self,
        order: &Order,
        home: &Home,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, Failure> {
        let Context { policy, own, .. } = self.context();
        if let Err(why) = policy.reach_registry(home, own) {
            return Ok(Outcome::OutOfReach(why));
        }
        let Home { account, region } = home;
        let covered = self.assessor.covered(home).await.map_err(failure)?;
        let of = u32::try_from(covered.len()).unwrap_or(u32::MAX);
        info!(sweep = order.sweep, %account, %region, repositories = of, "sweep of a registry");
        let apart = self.sweeps.apart();
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
            let found = Found { home: home.clone(), of, repositories: Default::default() };
            let order = Order { step: Step::Result(found), ..order.clone() };
            messages.push(now(order.body()));
        }
        self.send(&messages).await?;
        taking.iter().for_each(Taking::is_taken);
        Ok(Outcome::Swept)
    }

    /// Looks at some images of a repository, and sends on what follows before this message is deleted.
    async fn sweep_slice(
        &self,
        message: &Message,
        order: &Order,
        slice: &Slice,
        taking: Option<Taking<'_>>,
    ) -> Result<Outcome, Failure> {
        let Ok(_room) = self.sweeps.room.try_acquire() else {
            // As a new message: one that waits for room must not use up its receives.
            let (least, longest) = NO_ROOM;
            // The time of a slice.
            let first = self.sweeps.apart().saturating_mul(PAGE.into()).max(least);
            let delay = first.saturating_mul(2_u32.saturating_pow(slice.waits)).min(longest);
            let delay = delay.mul_f64(1.0 - fastrand::f64() / 2.0);
            let slice = Slice { waits: slice.waits.saturating_add(1), ..slice.clone() };
            let order = Order { step: Step::Repository(slice), ..order.clone() };
            self.send(&[Outgoing { body: order.body(), delay }]).await?;
            return Ok(Outcome::PutOff);
        };
        let repository = &slice.repository;
        let event = ImageEvent {
            kind: Kind::Sweep,
            origin: order.origin.clone(),
            repository: repository.clone(),
            digest: None,
            tags: Vec::new(),
            claim: Claim::Nothing,
        };
        let job = Job { message, event: &event, canary: false, at_once: false };
        // The policy of this task may be another than that of the one that sent the step.
        let Context { policy, own, .. } = self.context();
        let is_covered = policy.reach(repository, own).is_ok();
        let pace = self.sweeps.pace(&repository.home());
        let survey = async {
            match is_covered {
                true => self.assessor.survey(job, slice.next_token.as_deref(), &pace).await,
                false => SurveyPage::default(),
            }
        };
        let page = tokio::select! {
            biased;
            () = self.context().shutdown.draining() => return Err(Failure::Abandoned),
            page = survey => page,
        };
        if let Some(failure) = page.failure {
            return Err(failure);
        }
        let mut census = Census::default();
        census.add(Coverage::Failed, page.unread);
        let mut messages = Vec::new();
        for image in &page.images {
            census.count(image.coverage);
            messages.extend(self.to_act_on(job, order, image));
        }
        let mut all = slice.census.clone();
        all.absorb(&census);
        let is_cut = page.next_token.is_some() && slice.slices >= MOST_SLICES;
        let step = match page.next_token.filter(|_| !is_cut) {
            Some(token) => Step::Repository(Slice {
                slices: slice.slices.saturating_add(1),
                waits: 0,
                next_token: Some(token),
                census: all,
                ..slice.clone()
            }),
            None => Step::Result(Found {
                home: repository.home(),
                of: slice.of,
                repositories: [(repository.name.clone(), Part { census: all, is_cut })].into(),
            }),
        };
        if is_cut {
            warn!(
                sweep = order.sweep, %repository, slices = MOST_SLICES,
                "a repository holds more images than a sweep looks at; the others are left unseen"
            );
        }
        // By a call of its own: images that cannot be sent must not leave the chain in two.
        self.send(&messages).await?;
        self.send(&[now(Order { step, ..order.clone() }.body())]).await?;
        taking.iter().for_each(Taking::is_taken);
        self.context().instruments.swept(&census);
        // Last, and whether or not it succeeds: the slice is done.
        self.rescan_all(job, &page.images, &pace).await;
        Ok(Outcome::Swept)
    }
}
