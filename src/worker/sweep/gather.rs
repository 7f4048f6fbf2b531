//! What a sweep found, gathered until all repositories of a registry have answered, and told once.
//!
//! Nobody leads: results wait in the queue, come to any task, and are sent on together by whoever has seen several. A
//! message is deleted only when what it says has been told or stands in another message that was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

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
/// After so many receives it is sent on instead, together with the others, so that none is used up by waiting.
const RECEIVES: u32 = 3;
/// How long missing results are waited for. A repository that refuses us comes back after up to two hours.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// Sweeps of which it is remembered what they found.
const MOST: usize = 64;

type Repositories = BTreeMap<u32, (RepositoryName, Census)>;

/// A sweep of one registry, as this task knows it.
#[derive(Debug)]
struct Known {
    since: Instant,
    repositories: Repositories,
    /// Those whose results stand in the last message that this task has sent.
    sent: BTreeSet<u32>,
    told: bool,
}

impl Known {
    /// Whether a message that was sent says all that this one says, and more: the message itself comes back too, and must
    /// not be taken for a copy.
    fn has_sent_more_than(&self, found: &Found) -> bool {
        found.repositories.keys().all(|number| self.sent.contains(number))
            && found.repositories.len() < self.sent.len()
    }
}

/// The sweeps that this task knows of, by sweep, account and Region, and what each registry's last one came to.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    sweeps: BTreeMap<(String, String, String), Known>,
    before: BTreeMap<(String, String), Census>,
}

impl Gathering {
    fn of(&mut self, sweep: &str, home: &Home) -> &mut Known {
        let key = (sweep.to_owned(), home.account.to_string(), home.region.to_string());
        if self.sweeps.len() >= MOST && !self.sweeps.contains_key(&key) {
            let oldest = self.sweeps.iter().min_by_key(|(_, known)| known.since);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.sweeps.remove(&oldest);
            }
        }
        self.sweeps.entry(key).or_insert_with(|| Known {
            since: Instant::now(),
            repositories: BTreeMap::new(),
            sent: BTreeSet::new(),
            told: false,
        })
    }
}

/// What is to be done with a result.
enum Next {
    /// It is known, and stands elsewhere.
    Done,
    /// All have answered, or no more are waited for.
    Tell(Repositories),
    /// Send on what is known.
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
        let sweep = order.sweep.as_deref().unwrap_or_default();
        let age =
            order.origin.at.map(|began| self.context().clock.since(began)).unwrap_or_default();
        let next = {
            let mut gathering = self.gathering();
            let known = gathering.of(sweep, &found.home);
            known.repositories.extend(found.repositories.clone());
            let is_sent = known.has_sent_more_than(found);
            let all = u32::try_from(known.repositories.len()).is_ok_and(|known| known >= found.of);
            if known.told || (!all && is_sent) {
                Next::Done
            } else if all || age >= PATIENCE {
                Next::Tell(known.repositories.clone())
            } else if message.receive_count < RECEIVES && !self.context().is_last_receive(message) {
                Next::Wait(known.repositories.len())
            } else {
                Next::Send(known.repositories.clone())
            }
        };
        match next {
            Next::Done => Ok(Outcome::Swept),
            Next::Wait(known) => Err(Failure::Pending {
                reason: format!("{known} of {} repositories have been swept", found.of),
                again: AGAIN,
            }),
            Next::Send(repositories) => {
                let numbers: Vec<_> = repositories.keys().copied().collect();
                let found = Found { repositories, ..found.clone() };
                let body = Order { step: Step::Result(found.clone()), ..order.clone() }.body();
                self.send(&[Outgoing { body, delay: AGAIN }]).await?;
                self.gathering().of(sweep, &found.home).sent = numbers.into_iter().collect();
                Ok(Outcome::Swept)
            }
            Next::Tell(repositories) => {
                let summary = self.summary(sweep, order, found, repositories);
                self.assessor.tell_summary(&summary).await?;
                let mut gathering = self.gathering();
                gathering.before.insert(key(&found.home), summary.census.clone());
                gathering.of(sweep, &found.home).told = true;
                drop(gathering);
                let context = self.context();
                context.instruments.sweep_ended(&summary.census, context.clock.now());
                Ok(Outcome::Swept)
            }
        }
    }

    fn gathering(&self) -> MutexGuard<'_, Gathering> {
        // Sums: whole at every point where a panic could leave them.
        self.sweeps.gathering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn summary(
        &self,
        sweep: &str,
        order: &Order,
        found: &Found,
        repositories: Repositories,
    ) -> Summary {
        let mut census = Census::default();
        for (_, of) in repositories.values() {
            census.absorb(of);
        }
        let swept = repositories.len();
        let shares = repositories
            .into_values()
            .map(|(repository, census)| Share { repository, census })
            .collect();
        let Home { account, region } = &found.home;
        info!(
            sweep,
            %account,
            %region,
            swept,
            of = found.of,
            "sweep ends"
        );
        Summary {
            sweep: sweep.to_owned(),
            home: found.home.clone(),
            began: order.origin.time.clone(),
            swept,
            repositories: found.of as usize,
            before: self.gathering().before.get(&key(&found.home)).cloned(),
            mode: self.context().policy.base.mode,
            worst: Share::worst(shares),
            census,
        }
    }
}

fn key(home: &Home) -> (String, String) {
    (home.account.to_string(), home.region.to_string())
}
