//! Gathers the results of a sweep until all repositories of a registry have answered, and sends the
//! summary.
//!
//! No task leads, and a task that dies loses nothing. Results wait in the queue and come to any
//! task, which remembers all that it has seen ([`Known`]) and sends the summary when all have come.
//! A result that has come three times is sent on in one message with the others that the task
//! knows, so that waiting uses up no receives. A message is deleted only when the team was notified
//! of its result, or when another message that holds it was sent.
//!
//! A last message says that the summary was sent. It moves from task to task for ten minutes, or
//! for twice the visibility timeout if that is longer, so that the results in the hands of a task
//! that died come back while the other tasks know that they are in the summary.
//!
//! Everybody who can send messages can send results, so sweeps and their repositories have limits.
//! At a limit the sweep without news for the longest time gives way, and never the one whose result
//! has just come. A cache would choose by use, and would not know that each result changes the size
//! of its sweep.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use quick_cache::sync::Cache;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::known::{Account, Known, Next, ResultArrival};
use super::sending::{now, send};
use super::steps_taken::began;
use super::summary::{Share, Summary};
use crate::clock::Clock;
use crate::domain::coverage::Census;
use crate::domain::names::RegistryId;
use crate::domain::policy::Mode;
use crate::event::sweep::{Found, Order, Step, Told};
use crate::notify::{Announced, Dispatcher, Notifier};
use crate::outcome::{Attempt, Failure, Outcome};
use crate::queue::{Message, Outgoing, Queue};
use crate::telemetry::instruments::Instruments;

/// The time after which a result comes again while others are missing.
const AGAIN: Duration = Duration::from_secs(60);
/// After this many receives a result is sent on instead, together with others, so that waiting uses
/// up no receives.
const MAX_RECEIVES: u32 = 3;
/// The minimum life of the message that says that the summary was sent, for results that are still
/// on their way.
const ECHO: Duration = Duration::from_secs(600);
/// The most sweeps of registries whose results are remembered, and the most registries whose last
/// counts are.
const MAX_SWEEPS: usize = 1024;
/// The most repositories that are remembered in all of these sweeps together.
const MAX_REPOSITORIES: usize = 100_000;

/// A sweep, by its id and the second in which it began, and one of its registries.
type SweepKey = (String, u64, RegistryId);

/// The sweeps that this task knows, and the counts of the last sweep of each registry.
#[derive(Debug)]
pub(super) struct Gathering {
    sweeps: HashMap<SweepKey, Known>,
    /// A summary whose registry is forgotten compares with no sweep before.
    before: Cache<RegistryId, Census>,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { sweeps: HashMap::new(), before: Cache::new(MAX_SWEEPS) }
    }
}

impl Gathering {
    fn of(&mut self, key: &SweepKey) -> &mut Known {
        if self.sweeps.len() >= MAX_SWEEPS && !self.sweeps.contains_key(key) {
            self.forget_one(key);
        }
        self.sweeps.entry(key.clone()).or_insert_with(Known::new)
    }

    /// Forgets the sweep that has had no new result for the longest time. Its results are not lost,
    /// because they wait in the queue.
    fn forget_one(&mut self, but: &SweepKey) -> bool {
        let others = self.sweeps.iter().filter(|(key, _)| *key != but);
        let oldest = others.min_by_key(|(_, known)| known.news()).map(|(key, _)| key.clone());
        oldest.is_some_and(|oldest| self.sweeps.remove(&oldest).is_some())
    }

    /// Makes room for this many repositories of a sweep, and returns for how many there is room.
    fn room(&mut self, repositories: usize, of: &SweepKey) -> usize {
        loop {
            let size: usize = self.sweeps.values().map(Known::size).sum();
            let room = MAX_REPOSITORIES.saturating_sub(size);
            if room >= repositories || !self.forget_one(of) {
                return room;
            }
        }
    }

    fn next(&mut self, key: &SweepKey, found: &Found, arrival: ResultArrival) -> Next {
        let room = self.room(found.repositories.len(), key);
        self.of(key).next(found, ResultArrival { room, ..arrival })
    }
}

/// Gathers results and sends the summaries.
#[derive(Debug)]
pub(super) struct Aggregator<Q, N> {
    queue: Arc<Q>,
    dispatcher: Arc<Dispatcher<N>>,
    mode: Mode,
    visibility: Duration,
    clock: Clock,
    instruments: Arc<Instruments>,
    gathering: Mutex<Gathering>,
    /// When this task began.
    since: Instant,
}

/// A message about the results of a sweep, and which of its deliveries this is.
#[derive(Clone, Copy)]
pub(super) struct ResultMessage<'a> {
    pub(super) message: &'a Message,
    pub(super) attempt: Attempt,
    pub(super) order: &'a Order,
}

impl ResultMessage<'_> {
    /// Returns whether the message may come again without using up its receives.
    fn may_wait(&self) -> bool {
        self.attempt.number < MAX_RECEIVES && !self.attempt.is_last()
    }
}

/// Marks a summary as being sent. When this is dropped before the summary was sent, another message
/// may send it.
struct SendingSummary<'a> {
    gathering: &'a Mutex<Gathering>,
    key: &'a SweepKey,
}

impl Drop for SendingSummary<'_> {
    fn drop(&mut self) {
        if let Some(known) = self.gathering.lock().sweeps.get_mut(self.key) {
            known.broke_off();
        }
    }
}

impl<Q: Queue, N: Notifier> Aggregator<Q, N> {
    /// Creates an aggregator that knows of no sweep yet.
    pub(super) fn new(
        queue: Arc<Q>,
        dispatcher: Arc<Dispatcher<N>>,
        mode: Mode,
        visibility: Duration,
        clock: Clock,
        instruments: Arc<Instruments>,
    ) -> Self {
        let (gathering, since) = (Mutex::default(), Instant::now());
        Self { queue, dispatcher, mode, visibility, clock, instruments, gathering, since }
    }

    fn gathering(&self) -> MutexGuard<'_, Gathering> {
        self.gathering.lock()
    }

    /// Adds a result. `has_swept` says whether this task has taken a step of that sweep.
    pub(super) async fn add(
        &self,
        arrived: ResultMessage<'_>,
        found: &Found,
        has_swept: impl Fn() -> bool,
    ) -> Result<Outcome, Failure> {
        let Found { registry_id, of, .. } = found;
        let order = arrived.order;
        let key = &key(order, registry_id);
        let age = order.origin.at.map(|began| self.clock.since(began)).unwrap_or_default();
        let arrival = ResultArrival {
            age,
            room: 0,
            may_wait: arrived.may_wait(),
            may_have_missed_summary: self.since.elapsed() < age && !has_swept(),
        };
        let next = self.gathering().next(key, found, arrival);
        match next {
            Next::Done => Ok(Outcome::Swept),
            Next::GiveUp => {
                error!(sweep = order.sweep, "the summary of a sweep could not be sent in two days");
                Ok(Outcome::Swept)
            }
            Next::NoRoom => {
                let most = MAX_REPOSITORIES;
                warn!(
                    sweep = order.sweep,
                    most,
                    "results of a sweep are dropped: too many repositories of other sweeps are \
                     remembered"
                );
                Ok(Outcome::Late)
            }
            Next::Wait(known) => Err(Failure::Pending {
                reason: format!("{known} of {of} repositories have been swept"),
                again: AGAIN,
            }),
            Next::Send(repositories) => {
                let sent = repositories.keys().cloned().collect();
                let step = Step::Result(Found { repositories, ..found.clone() });
                let body = Order { step, ..order.clone() }.body();
                send(&*self.queue, &[Outgoing { body, delay: AGAIN }]).await?;
                self.gathering().of(key).has_sent(sent);
                Ok(Outcome::Swept)
            }
            Next::Tell(account) => {
                let summary = self.summary(order, registry_id, &account);
                self.gathering().of(key).begin(summary, account.parts);
                self.tell(order, key).await
            }
            Next::TellAgain => self.tell(order, key).await,
        }
    }

    /// Sends the summary to every topic that has not accepted it, and sends a message that lets
    /// other tasks know.
    async fn tell(&self, order: &Order, key: &SweepKey) -> Result<Outcome, Failure> {
        let Some((summary, heard)) = self.gathering().of(key).tell() else {
            return Ok(Outcome::Swept);
        };
        let _sending = SendingSummary { gathering: &self.gathering, key };
        let Announced { heard, result } = self.dispatcher.announce(summary.as_ref(), heard).await;
        self.gathering().of(key).heard(heard);
        result?;
        let Summary { registry_id, census, is_late, .. } = summary.as_ref();
        if *is_late && !summary.is_whole() {
            self.gathering().of(key).ended();
            return Ok(Outcome::Late);
        }
        // For other tasks, and for results that are still on their way.
        let at = self.clock.now();
        let step =
            Step::Told(Told { registry_id: registry_id.clone(), at, is_whole: summary.is_whole() });
        send(&*self.queue, &[now(Order { step, ..order.clone() }.body())]).await?;
        let mut gathering = self.gathering();
        gathering.of(key).ended();
        gathering.before.insert(registry_id.clone(), census.clone());
        drop(gathering);
        self.instruments.sweep_ended(census, at);
        Ok(if *is_late { Outcome::Late } else { Outcome::Swept })
    }

    /// Notes that a summary was sent: further results of that sweep are dropped, or late.
    pub(super) async fn was_told(
        &self,
        arrived: ResultMessage<'_>,
        told: &Told,
    ) -> Result<Outcome, Failure> {
        let ResultMessage { message, order, .. } = arrived;
        self.gathering().of(&key(order, &told.registry_id)).was_told(told.is_whole);
        // A time in the future would keep the message for ever.
        let at = message.sent_at.map_or(told.at, |sent| told.at.min(sent));
        // The messages of a task that died come back after the visibility timeout.
        if self.clock.since(at) >= ECHO.max(self.visibility.saturating_mul(2)) {
            return Ok(Outcome::Swept);
        }
        if arrived.may_wait() {
            let reason = "results of the sweep may still be on their way".to_owned();
            return Err(Failure::Pending { reason, again: AGAIN });
        }
        let step = Step::Told(Told { at, ..told.clone() });
        let body = Order { step, ..order.clone() }.body();
        send(&*self.queue, &[Outgoing { body, delay: AGAIN }]).await?;
        Ok(Outcome::Swept)
    }

    fn summary(&self, order: &Order, registry_id: &RegistryId, account: &Account) -> Summary {
        let Account { parts, of, is_late } = account;
        let mut census = Census::default();
        parts.values().for_each(|part| census.absorb(&part.census));
        let swept = parts.len();
        let shares = parts.iter().map(|(repository, part)| Share {
            repository: repository.clone(),
            census: part.census.clone(),
        });
        let cut = parts.iter().filter(|(_, part)| part.is_cut);
        let sweep = order.sweep.clone().unwrap_or_default();
        let RegistryId { account, region } = registry_id;
        if *is_late {
            warn!(
                sweep, %account, %region, swept, of,
                "results of a sweep come late: its summary was sent, or may have been; the team \
                 is notified of them separately"
            );
        } else {
            info!(sweep, %account, %region, swept, of, "sweep ends");
        }
        Summary {
            sweep,
            registry_id: registry_id.clone(),
            began: order.origin.time.clone(),
            swept,
            repositories: *of as usize,
            before: self.gathering().before.get(registry_id).filter(|_| !is_late),
            mode: self.mode,
            worst: Share::worst(shares.collect()),
            cut: cut.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(),
            is_late: *is_late,
            census,
        }
    }
}

fn key(order: &Order, registry_id: &RegistryId) -> SweepKey {
    (order.sweep.clone().unwrap_or_default(), began(order), registry_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::{AccountId, Region, RepositoryName};
    use crate::event::sweep::Part;

    #[test]
    fn memory_of_forged_sweeps_is_bounded() {
        let registry_id = RegistryId {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
        };
        let name = |number: usize| RepositoryName::parse(format!("r{number}")).unwrap();
        let repositories = (0..4_096).map(|number| (name(number), Part::default())).collect();
        let many = Found { registry_id: registry_id.clone(), of: 1_000_000, repositories };
        let one = Found { repositories: [(name(1), Part::default())].into(), ..many.clone() };
        let arrival = ResultArrival {
            age: Duration::ZERO,
            room: 0,
            may_wait: true,
            may_have_missed_summary: false,
        };
        let mut gathering = Gathering::default();
        for number in 0..3_000_u32 {
            let key = (format!("forged {number}"), 0, registry_id.clone());
            let found = if number % 50 == 0 { &many } else { &one };
            gathering.next(&key, found, arrival);
        }
        let size: usize = gathering.sweeps.values().map(Known::size).sum();
        assert!(gathering.sweeps.len() <= MAX_SWEEPS && size <= MAX_REPOSITORIES, "{size}");
        let last = ("forged 2999".to_owned(), 0, registry_id);
        assert_eq!(gathering.next(&last, &one, arrival), Next::Wait(1));
    }
}
