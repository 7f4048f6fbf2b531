//! What a sweep found, gathered until all repositories of a registry have answered, and told.
//!
//! Nobody leads: results wait in the queue, come to any task, and are sent on together by whoever has seen several. A
//! message is deleted only when what it says has been told or stands in another message that was sent. That it was told is
//! a message too, for tasks that come later.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::{error, info};

use super::Sweeps;
use crate::domain::coverage::Census;
use crate::domain::image::{Home, RepositoryName};
use crate::event::sweep::{Found, Order, Step};
use crate::notify::Notifier;
use crate::notify::summary::{Share, Summary};
use crate::queue::{Message, Outgoing, Queue};
use crate::registry::Registry;
use crate::worker::message::Worker;
use crate::worker::outcome::{Failure, Outcome};

/// When a result comes again that others are still missing to.
const AGAIN: Duration = Duration::from_secs(60);
/// After so many receives it is sent on instead, together with others, so that none is used up by waiting.
const RECEIVES: u32 = 3;
/// How long missing results are waited for at least, from the sweep's beginning: a repository that refuses us comes back
/// after up to two hours. And since the last new result.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
const NO_NEWS: Duration = Duration::from_secs(15 * 60);
/// How long a summary that cannot be told is tried.
const GIVEN_UP: Duration = Duration::from_secs(2 * 24 * 3600);
/// How soon it is tried again.
const NOT_TOLD: Duration = Duration::from_secs(120);
/// How long results that are still on their way are told that the summary was.
const ECHO: Duration = Duration::from_secs(600);
/// Bytes of results that are sent on together, well below what a queue takes.
const MOST_BYTES: usize = 128 << 10;
/// Sweeps of registries of which it is remembered what they found.
const MOST: usize = 1024;

type Repositories = BTreeMap<RepositoryName, Census>;
/// A sweep, and a registry of it.
type Key = (String, Home);

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Somebody is telling it.
    Telling,
    Told,
}

/// A sweep of one registry, as this task knows it.
#[derive(Debug)]
struct Known {
    state: State,
    /// When something new was learnt last.
    news: Instant,
    of: u32,
    repositories: Repositories,
    /// Those whose results stand in the last message that this task has sent.
    sent: BTreeSet<RepositoryName>,
    /// Topics that have heard the summary.
    heard: BTreeSet<String>,
    not_told: Option<Instant>,
}

impl Known {
    fn new() -> Self {
        Self {
            state: State::Open,
            news: Instant::now(),
            of: 0,
            repositories: BTreeMap::new(),
            sent: BTreeSet::new(),
            heard: BTreeSet::new(),
            not_told: None,
        }
    }

    fn learn(&mut self, found: &Found) {
        self.of = self.of.max(found.of);
        for (name, census) in &found.repositories {
            if self.repositories.insert(name.clone(), census.clone()).is_none() {
                self.news = Instant::now();
            }
        }
    }

    fn told(&mut self) {
        let heard = std::mem::take(&mut self.heard);
        *self = Self { state: State::Told, heard, ..Self::new() };
    }

    fn is_whole(&self) -> bool {
        u32::try_from(self.repositories.len()).is_ok_and(|known| known >= self.of)
    }

    /// Whether a message that was sent says all that this one says, and more: the message itself comes back too, and must
    /// not be taken for a copy.
    fn has_sent_more_than(&self, found: &Found) -> bool {
        found.repositories.keys().all(|name| self.sent.contains(name))
            && found.repositories.len() < self.sent.len()
    }

    /// These results, and as many others as are sent in one message.
    fn with_others(&self, found: &Found) -> Repositories {
        let size = |(name, census): &(&RepositoryName, &Census)| {
            name.as_str().len() + 32 * (1 + census.iter().count())
        };
        let mut bytes: usize = found.repositories.iter().map(|one| size(&one)).sum();
        let others =
            self.repositories.iter().filter(|(name, _)| !found.repositories.contains_key(*name));
        let others = others.take_while(|one| {
            bytes += size(one);
            bytes <= MOST_BYTES
        });
        let others = others.map(|(name, census)| (name.clone(), census.clone()));
        others.chain(found.repositories.clone()).collect()
    }
}

/// The sweeps that this task knows of, and what each registry's last one came to.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    sweeps: HashMap<Key, Known>,
    before: HashMap<Home, Census>,
}

impl Gathering {
    fn of(&mut self, key: &Key) -> &mut Known {
        if self.sweeps.len() >= MOST && !self.sweeps.contains_key(key) {
            let oldest = |(_, known): &(&Key, &Known)| (known.state != State::Told, known.news);
            if let Some(oldest) = self.sweeps.iter().min_by_key(oldest).map(|(key, _)| key.clone())
            {
                self.sweeps.remove(&oldest);
            }
        }
        self.sweeps.entry(key.clone()).or_insert_with(Known::new)
    }
}

impl Sweeps {
    fn gathering(&self) -> MutexGuard<'_, Gathering> {
        // Sums: whole at every point where a panic could leave them.
        self.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever tells a summary. Where that is broken off, somebody else may.
struct Telling<'a> {
    sweeps: &'a Sweeps,
    key: &'a Key,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let mut gathering = self.sweeps.gathering();
        let known = gathering.of(self.key);
        if known.state == State::Telling {
            (known.state, known.not_told) = (State::Open, Some(Instant::now()));
        }
    }
}

/// What is to be done with a result.
enum Next {
    /// It was told, or stands elsewhere.
    Done,
    /// All have answered, or no more are waited for.
    Tell(Repositories, u32),
    /// Send on these.
    Send(Repositories),
    /// Let it come again.
    Wait(usize),
}

impl<Q: Queue, R: Registry, N: Notifier> Worker<Q, R, N> {
    /// Adds what was found to what is known.
    pub(super) async fn gather(
        &self,
        message: &Message,
        order: &Order,
        found: &Found,
    ) -> Result<Outcome, Failure> {
        let key = &key(order, &found.home);
        match self.next(message, order, found, key) {
            Next::Done => Ok(Outcome::Swept),
            Next::Wait(known) => Err(Failure::Pending {
                reason: format!("{known} of {} repositories have been swept", found.of),
                again: AGAIN,
            }),
            Next::Send(repositories) => {
                let sent = repositories.keys().cloned().collect();
                let step = Step::Result(Found { repositories, ..found.clone() });
                let body = Order { step, ..order.clone() }.body();
                self.send(&[Outgoing { body, delay: AGAIN }]).await?;
                self.sweeps.gathering().of(key).sent = sent;
                Ok(Outcome::Swept)
            }
            Next::Tell(repositories, of) => {
                let _telling = Telling { sweeps: &self.sweeps, key };
                let summary = self.summary(order, &found.home, repositories, of);
                self.tell(&summary, key).await?;
                // For tasks that do not know it, and results that are still on their way.
                let now = self.context().clock.now();
                let step = Step::Told(found.home.clone(), now);
                let body = Order { step, ..order.clone() }.body();
                self.send(&[Outgoing { body, delay: Duration::ZERO }]).await?;
                let mut gathering = self.sweeps.gathering();
                gathering.before.insert(found.home.clone(), summary.census.clone());
                gathering.of(key).told();
                drop(gathering);
                self.context().instruments.sweep_ended(&summary.census, now);
                Ok(Outcome::Swept)
            }
        }
    }

    fn next(&self, message: &Message, order: &Order, found: &Found, key: &Key) -> Next {
        let age = order.origin.at.map(|began| self.context().clock.since(began));
        let age = age.unwrap_or_default();
        let mut gathering = self.sweeps.gathering();
        let known = gathering.of(key);
        if known.state == State::Told {
            return Next::Done;
        }
        known.learn(found);
        let is_late = age >= PATIENCE && known.news.elapsed() >= NO_NEWS;
        let may_tell = known.not_told.is_none_or(|at| at.elapsed() >= NOT_TOLD);
        if (known.is_whole() || is_late) && may_tell && known.state == State::Open {
            known.state = State::Telling;
            return Next::Tell(known.repositories.clone(), known.of);
        }
        if known.not_told.is_some() && age >= GIVEN_UP {
            error!(sweep = order.sweep, "what a sweep came to could not be told in two days");
            return Next::Done;
        }
        if known.has_sent_more_than(found) {
            return Next::Done;
        }
        if self.may_wait(message) {
            return Next::Wait(known.repositories.len());
        }
        Next::Send(known.with_others(found))
    }

    /// That a summary was told: what else comes of that sweep is done with.
    pub(super) async fn was_told(
        &self,
        message: &Message,
        order: &Order,
        home: &Home,
        at: SystemTime,
    ) -> Result<Outcome, Failure> {
        {
            let mut gathering = self.sweeps.gathering();
            let known = gathering.of(&key(order, home));
            if known.state == State::Open {
                known.told();
            }
        }
        if self.context().clock.since(at) >= ECHO {
            return Ok(Outcome::Swept);
        }
        if self.may_wait(message) {
            let reason = "results of the sweep may still be on their way".to_owned();
            return Err(Failure::Pending { reason, again: AGAIN });
        }
        self.send(&[Outgoing { body: order.body(), delay: AGAIN }]).await?;
        Ok(Outcome::Swept)
    }

    /// Whether a message may come again without its receives being used up.
    fn may_wait(&self, message: &Message) -> bool {
        message.receive_count < RECEIVES && !self.context().is_last_receive(message)
    }

    /// Tells every topic that has not heard it.
    async fn tell(&self, summary: &Summary, key: &Key) -> Result<(), Failure> {
        let mut heard = self.sweeps.gathering().of(key).heard.clone();
        let told = self.assessor.tell_summary(summary, &mut heard).await;
        self.sweeps.gathering().of(key).heard = heard;
        told
    }

    fn summary(&self, order: &Order, home: &Home, repositories: Repositories, of: u32) -> Summary {
        let mut census = Census::default();
        repositories.values().for_each(|of| census.absorb(of));
        let swept = repositories.len();
        let shares = repositories.into_iter();
        let shares = shares.map(|(repository, census)| Share { repository, census }).collect();
        let sweep = order.sweep.clone().unwrap_or_default();
        info!(sweep, account = %home.account, region = %home.region, swept, of, "sweep ends");
        Summary {
            sweep,
            home: home.clone(),
            began: order.origin.time.clone(),
            swept,
            repositories: of as usize,
            before: self.sweeps.gathering().before.get(home).cloned(),
            mode: self.context().policy.base.mode,
            worst: Share::worst(shares),
            census,
        }
    }
}

fn key(order: &Order, home: &Home) -> Key {
    (order.sweep.clone().unwrap_or_default(), home.clone())
}
