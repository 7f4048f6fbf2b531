//! What a sweep found, gathered until all repositories of a registry have answered, and told.
//!
//! Nobody leads: results wait in the queue, come to any task, and are sent on together by whoever has seen several. A
//! message is deleted only when what it says has been told or stands in another message that was sent. That it was told is
//! a message too, for tasks that come later.

use std::collections::{BTreeSet, HashMap};
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{error, info, warn};

use super::Sweeps;
use super::known::{Account, Arrival, Known, Next};
use super::taken::began;
use crate::domain::coverage::Census;
use crate::domain::image::Home;
use crate::event::sweep::{Found, Order, Step, Told};
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
/// How long results that are still on their way are told that the summary was, at least.
const ECHO: Duration = Duration::from_secs(600);
/// Sweeps of registries of which it is remembered what they found, and repositories of all of them: anybody may send results.
const MOST: usize = 1024;
const MOST_REPOSITORIES: usize = 100_000;

/// A sweep, by its id and when it began, and a registry of it.
type Key = (String, u64, Home);

/// The sweeps that this task knows of, and what each registry's last one came to.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    sweeps: HashMap<Key, Known>,
    before: HashMap<Home, Census>,
}

impl Gathering {
    fn of(&mut self, key: &Key) -> &mut Known {
        if self.sweeps.len() >= MOST && !self.sweeps.contains_key(key) {
            self.forget_one(key);
        }
        self.sweeps.entry(key.clone()).or_insert_with(Known::new)
    }

    /// Forgets the sweep of which nothing new was heard for longest: what it found waits in the queue.
    fn forget_one(&mut self, but: &Key) -> bool {
        let others = self.sweeps.iter().filter(|(key, _)| *key != but);
        let oldest = others.min_by_key(|(_, known)| known.news()).map(|(key, _)| key.clone());
        oldest.is_some_and(|oldest| self.sweeps.remove(&oldest).is_some())
    }

    /// Room for so many repositories of a sweep, or for as many as there can be.
    fn room(&mut self, repositories: usize, of: &Key) -> usize {
        loop {
            let size: usize = self.sweeps.values().map(Known::size).sum();
            let room = MOST_REPOSITORIES.saturating_sub(size);
            if room >= repositories || !self.forget_one(of) {
                return room;
            }
        }
    }

    fn next(&mut self, key: &Key, found: &Found, arrival: Arrival) -> Next {
        let room = self.room(found.repositories.len(), key);
        self.of(key).next(found, Arrival { room, ..arrival })
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
        if let Some(known) = self.sweeps.gathering().sweeps.get_mut(self.key) {
            known.broke_off();
        }
    }
}

impl<Q: Queue, R: Registry, N: Notifier> Worker<Q, R, N> {
    /// Adds what was found to what is known.
    pub(super) async fn gather(
        &self,
        message: &Message,
        order: &Order,
        found: &Found,
    ) -> Result<Outcome, Failure> {
        let Found { home, of, .. } = found;
        let super::Context { policy, own, clock, .. } = self.context();
        if let Err(why) = policy.reach_registry(home, own) {
            return Ok(Outcome::OutOfReach(why));
        }
        let key = &key(order, home);
        let age = order.origin.at.map(|began| clock.since(began)).unwrap_or_default();
        let arrival = Arrival {
            age,
            room: 0,
            may_wait: self.may_wait(message),
            is_to_a_stranger: self.sweeps.since.elapsed() < age
                && !self.sweeps.taken.has_swept(order, found),
        };
        let next = self.sweeps.gathering().next(key, found, arrival);
        match next {
            Next::Done => Ok(Outcome::Swept),
            Next::GiveUp => {
                error!(sweep = order.sweep, "what a sweep came to could not be told in two days");
                Ok(Outcome::Swept)
            }
            Next::NoRoom => {
                let most = MOST_REPOSITORIES;
                warn!(
                    sweep = order.sweep,
                    most,
                    "results of a sweep are left untold: of others too many repositories are remembered"
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
                self.send(&[Outgoing { body, delay: AGAIN }]).await?;
                self.sweeps.gathering().of(key).has_sent(sent);
                Ok(Outcome::Swept)
            }
            Next::Tell(account) => {
                let summary = self.summary(order, home, &account);
                self.sweeps.gathering().of(key).begin(summary, account.parts);
                self.tell(order, key).await
            }
            Next::TellAgain => self.tell(order, key).await,
        }
    }

    /// Tells what is to be told of a sweep to every topic that has not heard it, and to other tasks that it was.
    async fn tell(&self, order: &Order, key: &Key) -> Result<Outcome, Failure> {
        let Some((summary, mut heard)) = self.sweeps.gathering().of(key).tell() else {
            return Ok(Outcome::Swept);
        };
        let _telling = Telling { sweeps: &self.sweeps, key };
        let told = self.assessor.tell_summary(&summary, &mut heard).await;
        self.sweeps.gathering().of(key).heard(heard);
        told?;
        let Summary { home, census, is_late, .. } = summary.as_ref();
        if *is_late && !summary.is_whole() {
            self.sweeps.gathering().of(key).ended();
            return Ok(Outcome::Late);
        }
        // For tasks that do not know it, and results that are still on their way.
        let at = self.context().clock.now();
        let step = Step::Told(Told { home: home.clone(), at, is_whole: summary.is_whole() });
        self.send(&[super::now(Order { step, ..order.clone() }.body())]).await?;
        let mut gathering = self.sweeps.gathering();
        gathering.of(key).ended();
        if gathering.before.len() < MOST || gathering.before.contains_key(home) {
            gathering.before.insert(home.clone(), census.clone());
        }
        drop(gathering);
        self.context().instruments.sweep_ended(census, at);
        Ok(if *is_late { Outcome::Late } else { Outcome::Swept })
    }

    /// That a summary was told: what else comes of that sweep is done with, or late.
    pub(super) async fn was_told(
        &self,
        message: &Message,
        order: &Order,
        told: &Told,
    ) -> Result<Outcome, Failure> {
        let super::Context { policy, own, clock, .. } = self.context();
        if let Err(why) = policy.reach_registry(&told.home, own) {
            return Ok(Outcome::OutOfReach(why));
        }
        self.sweeps.gathering().of(&key(order, &told.home)).was_told(told.is_whole);
        // A time that lies ahead would keep it for ever.
        let at = message.sent_at.map_or(told.at, |sent| told.at.min(sent));
        // What a task that died had in hand comes back after the visibility timeout.
        if clock.since(at) >= ECHO.max(self.visibility.saturating_mul(2)) {
            return Ok(Outcome::Swept);
        }
        if self.may_wait(message) {
            let reason = "results of the sweep may still be on their way".to_owned();
            return Err(Failure::Pending { reason, again: AGAIN });
        }
        let step = Step::Told(Told { at, ..told.clone() });
        let body = Order { step, ..order.clone() }.body();
        self.send(&[Outgoing { body, delay: AGAIN }]).await?;
        Ok(Outcome::Swept)
    }

    /// Whether a message may come again without its receives being used up.
    fn may_wait(&self, message: &Message) -> bool {
        message.receive_count < RECEIVES && !self.context().is_last_receive(message)
    }

    fn summary(&self, order: &Order, home: &Home, account: &Account) -> Summary {
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
        let Home { account, region } = home;
        if *is_late {
            warn!(
                sweep, %account, %region, swept, of,
                "results of a sweep come late: its summary was told, or may have been; they are told by themselves"
            );
        } else {
            info!(sweep, %account, %region, swept, of, "sweep ends");
        }
        Summary {
            sweep,
            home: home.clone(),
            began: order.origin.time.clone(),
            swept,
            repositories: *of as usize,
            before: self.sweeps.gathering().before.get(home).filter(|_| !is_late).cloned(),
            mode: self.context().policy.base.mode,
            worst: Share::worst(shares.collect()),
            cut: cut.map(|(name, _)| name.clone()).collect::<BTreeSet<_>>(),
            is_late: *is_late,
            census,
        }
    }
}

fn key(order: &Order, home: &Home) -> Key {
    (order.sweep.clone().unwrap_or_default(), began(order), home.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::{AccountId, Region, RepositoryName};
    use crate::event::sweep::Part;

    #[test]
    fn what_is_remembered_of_sweeps_that_nobody_began_is_bounded() {
        let home = Home {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
        };
        let name = |number: usize| RepositoryName::parse(format!("r{number}")).unwrap();
        let repositories = (0..4_096).map(|number| (name(number), Part::default())).collect();
        let many = Found { home: home.clone(), of: 1_000_000, repositories };
        let one = Found { repositories: [(name(1), Part::default())].into(), ..many.clone() };
        let arrival =
            Arrival { age: Duration::ZERO, room: 0, may_wait: true, is_to_a_stranger: false };
        let mut gathering = Gathering::default();
        for number in 0..3_000_u32 {
            let key = (format!("forged {number}"), 0, home.clone());
            let found = if number % 50 == 0 { &many } else { &one };
            gathering.next(&key, found, arrival);
        }
        let size: usize = gathering.sweeps.values().map(Known::size).sum();
        assert!(gathering.sweeps.len() <= MOST && size <= MOST_REPOSITORIES, "{size}");
        let last = ("forged 2999".to_owned(), 0, home);
        assert_eq!(gathering.next(&last, &one, arrival), Next::Wait(1));
    }
}
