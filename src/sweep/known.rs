//! Keeps a task's knowledge of the sweep of one registry, and decides how to handle each result.
//!
//! Pure: [`Known`] holds the results that have arrived and what the team was notified of, and
//! [`Known::next`] says what to do with one more result. Sending is left to the aggregator.
//!
//! The rules keep summaries from contradicting each other, although any task may send one and may
//! die at any time:
//!
//! - The first result of a repository counts, and copies of it are no news.
//! - A summary is sent when all repositories have answered. After three hours it is sent without
//!   the missing ones, if the last quarter of an hour brought nothing new. Then only a task that
//!   knows more than half of the repositories sends a summary, so that no two tasks can make
//!   summaries of different repositories. All other results are notified as late.
//! - A summary on its way stays the same at every try, so that its id stays the same too.
//! - A task that began after the sweep and took no step of it cannot tell a copy of the only result
//!   from news. It waits a quarter of an hour for the message that says that the summary was sent,
//!   and then notifies the result as late.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::summary::Summary;
use crate::domain::names::RepositoryName;
use crate::event::sweep::{Found, Part};

/// The minimum time from the beginning of the sweep that missing results are waited for, because
/// the step of a repository that refuses us comes again after up to two hours.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// The minimum time from the last new result that missing results are waited for.
const NO_NEWS: Duration = Duration::from_secs(15 * 60);
/// The age of the sweep at which a summary that cannot be sent is given up.
const GIVEN_UP: Duration = Duration::from_secs(2 * 24 * 3600);
/// The pause before a summary that could not be sent is retried.
const RETRY: Duration = Duration::from_secs(120);
/// The most bytes of results that are sent on in one message, well below the limit of a message.
const MAX_BYTES: usize = 128 << 10;

pub(super) type Parts = BTreeMap<RepositoryName, Part>;

/// The notices that the team got about the sweep, as far as this task knows.
#[derive(Debug, Default, PartialEq, Eq)]
enum Notified {
    #[default]
    Nothing,
    /// A summary in which repositories are missing. It has these, if this task sent it.
    Some(BTreeSet<RepositoryName>),
    /// The summary of all repositories.
    All,
}

/// A summary on its way to the topics, the same at every try.
#[derive(Debug)]
struct SummaryDelivery {
    summary: Arc<Summary>,
    parts: Parts,
    /// Topics that have accepted it.
    accepted: BTreeSet<String>,
    /// When the last try failed; `None` while a message sends it.
    failed: Option<Instant>,
}

/// The results that go into a summary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) parts: Parts,
    /// The number of repositories of the sweep.
    pub(super) of: u32,
    /// Whether a summary was sent before, or may have been.
    pub(super) is_late: bool,
}

/// The circumstances in which a result arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResultArrival {
    /// The age of its sweep.
    pub(super) age: Duration,
    /// The number of repositories for which there is room.
    pub(super) room: usize,
    /// Whether its message may come again without using up its receives.
    pub(super) may_wait: bool,
    /// Whether this task began after the sweep and took no step of it: a summary may have been sent
    /// before it began.
    pub(super) may_have_missed_summary: bool,
}

/// The way in which a result is handled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the team was notified of the result, or another message holds it.
    Done,
    /// The summary was retried for two days, and no topic accepted it.
    GiveUp,
    /// There is no room for the result, and no more results are waited for.
    NoRoom,
    /// A summary is sent, because all repositories have answered or no more are waited for.
    Tell(Account),
    /// The summary is sent again, to topics that have not accepted it.
    TellAgain,
    /// These results are sent on as one message.
    Send(Parts),
    /// The result comes again. This many repositories are known.
    Wait(usize),
}

/// A sweep of one registry, as this task knows it.
#[derive(Debug)]
pub(super) struct Known {
    notified: Notified,
    delivery: Option<SummaryDelivery>,
    /// When the last new result arrived.
    news: Instant,
    /// The number of repositories of the sweep, as its results say.
    of: u32,
    /// The results of which the team was not notified yet.
    parts: Parts,
    /// The repositories in the last message that this task has sent.
    sent: BTreeSet<RepositoryName>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            notified: Notified::Nothing,
            delivery: None,
            news: Instant::now(),
            of: 0,
            parts: Parts::new(),
            sent: BTreeSet::new(),
        }
    }

    pub(super) fn news(&self) -> Instant {
        self.news
    }

    /// Returns how many repositories are remembered.
    pub(super) fn size(&self) -> usize {
        let notified = match &self.notified {
            Notified::Some(names) => names.len(),
            Notified::Nothing | Notified::All => 0,
        };
        notified
            + self.parts.len()
            + self.delivery.as_ref().map_or(0, |delivery| delivery.parts.len())
    }

    /// Adds this result, and returns how to handle it.
    pub(super) fn next(&mut self, found: &Found, arrival: ResultArrival) -> Next {
        let ResultArrival { age, room, may_wait, may_have_missed_summary } = arrival;
        if self.is_notified(found) {
            return Next::Done;
        }
        self.learn(found, room);
        // In a registry with one repository a copy of its result looks like the whole sweep.
        let may_be_a_copy = may_have_missed_summary && self.of == 1;
        let is_whole = self.notified == Notified::Nothing && self.is_whole() && !may_be_a_copy;
        let ended_waiting = (age >= PATIENCE || may_be_a_copy) && self.news.elapsed() >= NO_NEWS;
        let is_partial = self.notified != Notified::Nothing || !self.is_most() || may_be_a_copy;
        match &mut self.delivery {
            Some(SummaryDelivery { failed: Some(since), .. }) if since.elapsed() >= RETRY => {
                return Next::TellAgain;
            }
            Some(SummaryDelivery { failed: Some(_), .. }) if age >= GIVEN_UP => {
                return Next::GiveUp;
            }
            Some(_) => {}
            None if is_whole || (ended_waiting && !self.parts.is_empty()) => {
                return Next::Tell(Account {
                    parts: self.parts.clone(),
                    of: self.of,
                    is_late: !is_whole && is_partial,
                });
            }
            None if ended_waiting => return Next::NoRoom,
            None => {}
        }
        if self.has_sent_more_than(found) {
            return Next::Done;
        }
        if may_wait {
            return Next::Wait(self.parts.len());
        }
        Next::Send(self.with_others(found))
    }

    fn is_notified(&self, found: &Found) -> bool {
        match &self.notified {
            Notified::Nothing => false,
            Notified::Some(names) => found.repositories.keys().all(|name| names.contains(name)),
            Notified::All => true,
        }
    }

    fn learn(&mut self, found: &Found, room: usize) {
        self.of = self.of.max(found.of);
        let is_notified = |name: &RepositoryName| match &self.notified {
            Notified::Some(names) => names.contains(name),
            Notified::Nothing | Notified::All => false,
        };
        let is_new = |name: &RepositoryName| !self.parts.contains_key(name) && !is_notified(name);
        let new = found.repositories.iter().filter(|(name, _)| is_new(name)).take(room);
        let new: Vec<_> = new.map(|(name, part)| (name.clone(), part.clone())).collect();
        if !new.is_empty() {
            self.news = Instant::now();
            self.parts.extend(new);
        }
    }

    fn known(&self) -> u32 {
        u32::try_from(self.parts.len()).unwrap_or(u32::MAX)
    }

    fn is_whole(&self) -> bool {
        self.known() >= self.of
    }

    /// Returns whether this is more than half of the repositories. If another task has sent a
    /// summary, at most half of them are left. So no two tasks, whichever they are, can make
    /// summaries of different repositories.
    fn is_most(&self) -> bool {
        self.known() > self.of / 2
    }

    /// Returns whether a message that this task sent says more than this one, and all that it says.
    /// The sent message itself comes back too, and must not be taken for a copy.
    fn has_sent_more_than(&self, found: &Found) -> bool {
        found.repositories.keys().all(|name| self.sent.contains(name))
            && found.repositories.len() < self.sent.len()
    }

    /// Returns these results, with as many others as fit into one message.
    fn with_others(&self, found: &Found) -> Parts {
        let size = |(name, part): &(&RepositoryName, &Part)| {
            2 * name.as_str().len() + 32 * (1 + part.census.iter().count())
        };
        let mut bytes: usize = found.repositories.iter().map(|one| size(&one)).sum();
        let others = self.parts.iter().filter(|(name, _)| !found.repositories.contains_key(*name));
        let others = others.take_while(|one| {
            bytes += size(one);
            bytes <= MAX_BYTES
        });
        let others = others.map(|(name, part)| (name.clone(), part.clone()));
        others.chain(found.repositories.clone()).collect()
    }

    /// Notes that these repositories were sent on in one message.
    pub(super) fn has_sent(&mut self, names: BTreeSet<RepositoryName>) {
        self.sent = names;
    }

    /// Keeps this summary until it is sent.
    pub(super) fn begin(&mut self, summary: Summary, parts: Parts) {
        let summary = Arc::new(summary);
        self.delivery =
            Some(SummaryDelivery { summary, parts, accepted: BTreeSet::new(), failed: None });
    }

    /// Returns the summary and the topics that have accepted it, and notes that a message sends it.
    pub(super) fn tell(&mut self) -> Option<(Arc<Summary>, BTreeSet<String>)> {
        let delivery = self.delivery.as_mut()?;
        delivery.failed = None;
        Some((Arc::clone(&delivery.summary), delivery.accepted.clone()))
    }

    /// Notes that these topics have accepted the summary.
    pub(super) fn heard(&mut self, topics: BTreeSet<String>) {
        if let Some(delivery) = &mut self.delivery {
            delivery.accepted = topics;
        }
    }

    /// Notes that no message sends the summary any longer.
    pub(super) fn broke_off(&mut self) {
        if let Some(delivery) = self.delivery.as_mut().filter(|delivery| delivery.failed.is_none())
        {
            delivery.failed = Some(Instant::now());
        }
    }

    /// Notes that the summary was sent.
    pub(super) fn ended(&mut self) {
        let Some(SummaryDelivery { summary, parts, .. }) = self.delivery.take() else { return };
        if summary.is_whole() {
            *self = Self { notified: Notified::All, ..Self::new() };
            return;
        }
        self.sent.clear();
        self.parts.retain(|name, _| !parts.contains_key(name));
        let names = match std::mem::take(&mut self.notified) {
            Notified::Some(names) => names,
            Notified::Nothing | Notified::All => BTreeSet::new(),
        };
        self.notified = Notified::Some(names.into_iter().chain(parts.into_keys()).collect());
    }

    /// Notes that a task says that it sent a summary.
    pub(super) fn was_told(&mut self, is_whole: bool) {
        if self.delivery.as_ref().is_some_and(|delivery| delivery.failed.is_none()) {
            return;
        }
        if is_whole {
            *self = Self { notified: Notified::All, ..Self::new() };
        } else if self.delivery.is_some() {
            self.ended();
        } else if self.notified == Notified::Nothing {
            // Only the task that sent the summary knows what it says. Results that come here may be
            // in it, so they wait and come to that task first.
            (self.notified, self.news) = (Notified::Some(BTreeSet::new()), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
