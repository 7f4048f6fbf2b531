//! What a task knows of the sweep of one registry, and what follows for a result that arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::summary::Summary;
use crate::domain::names::RepositoryName;
use crate::event::sweep::{Found, Part};

/// How long missing results are waited for at least, from the beginning of the sweep: a repository
/// that refuses us comes back after up to two hours.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);
/// How long missing results are waited for at least, from the last new result.
const NO_NEWS: Duration = Duration::from_secs(15 * 60);
/// How long a summary that cannot be sent is retried.
const GIVEN_UP: Duration = Duration::from_secs(2 * 24 * 3600);
/// How soon a summary that could not be sent is retried.
const RETRY: Duration = Duration::from_secs(120);
/// Bytes of results that are sent on together, well below the limit of a message.
const MAX_BYTES: usize = 128 << 10;

pub(super) type Parts = BTreeMap<RepositoryName, Part>;

/// How much the team was notified of, as far as this task knows.
#[derive(Debug, Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// A summary without all repositories; with these, if this task sent it.
    Some(BTreeSet<RepositoryName>),
    /// The summary of all repositories.
    All,
}

/// A summary on its way to the topics, the same at every try.
#[derive(Debug)]
struct Telling {
    summary: Arc<Summary>,
    parts: Parts,
    /// Topics that have heard it.
    heard: BTreeSet<String>,
    /// When the last try failed.
    failed: Option<Instant>,
}

/// The results that a summary is made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) parts: Parts,
    pub(super) of: u32,
    /// Whether a summary was sent before, or may have been.
    pub(super) is_late: bool,
}

/// The circumstances in which a result arrives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// The age of its sweep.
    pub(super) age: Duration,
    /// The number of repositories for which there is room.
    pub(super) room: usize,
    /// Whether it may come again without using up its receives.
    pub(super) may_wait: bool,
    /// Whether this task began after the sweep and took no step of it: a summary may have been sent
    /// before it began.
    pub(super) is_to_a_stranger: bool,
}

/// What follows for a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: the team was notified of it, or another message holds it.
    Done,
    /// The summary was retried for two days, and no topic accepted it.
    GiveUp,
    /// There was no room for it, and no more results are waited for.
    NoRoom,
    /// All repositories have answered, or no more are waited for: a summary is sent.
    Tell(Account),
    /// The summary is sent again to topics that have not heard it.
    TellAgain,
    /// These results are sent on as one message.
    Send(Parts),
    /// The result comes again; this many are known.
    Wait(usize),
}

/// A sweep of one registry, as this task knows it.
#[derive(Debug)]
pub(super) struct Known {
    told: Told,
    telling: Option<Telling>,
    /// When the last new result arrived.
    news: Instant,
    of: u32,
    parts: Parts,
    /// The repositories in the last message that this task has sent.
    sent: BTreeSet<RepositoryName>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            told: Told::Nothing,
            telling: None,
            news: Instant::now(),
            of: 0,
            parts: Parts::new(),
            sent: BTreeSet::new(),
        }
    }

    pub(super) fn news(&self) -> Instant {
        self.news
    }

    /// How many repositories are remembered.
    pub(super) fn size(&self) -> usize {
        let told = match &self.told {
            Told::Some(names) => names.len(),
            Told::Nothing | Told::All => 0,
        };
        told + self.parts.len() + self.telling.as_ref().map_or(0, |telling| telling.parts.len())
    }

    /// What follows for this result.
    pub(super) fn next(&mut self, found: &Found, arrival: Arrival) -> Next {
        let Arrival { age, room, may_wait, is_to_a_stranger } = arrival;
        if self.is_told(found) {
            return Next::Done;
        }
        self.learn(found, room);
        // A single result makes a registry of one repository whole, and so would a copy of it.
        let may_be_a_copy = is_to_a_stranger && self.of == 1;
        let is_whole = self.told == Told::Nothing && self.is_whole() && !may_be_a_copy;
        let no_more_come = (age >= PATIENCE || may_be_a_copy) && self.news.elapsed() >= NO_NEWS;
        let is_less = self.told != Told::Nothing || !self.is_most() || may_be_a_copy;
        match &mut self.telling {
            Some(Telling { failed: Some(since), .. }) if since.elapsed() >= RETRY => {
                return Next::TellAgain;
            }
            Some(Telling { failed: Some(_), .. }) if age >= GIVEN_UP => return Next::GiveUp,
            Some(_) => {}
            None if is_whole || (no_more_come && !self.parts.is_empty()) => {
                return Next::Tell(Account {
                    parts: self.parts.clone(),
                    of: self.of,
                    is_late: !is_whole && is_less,
                });
            }
            None if no_more_come => return Next::NoRoom,
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

    fn is_told(&self, found: &Found) -> bool {
        match &self.told {
            Told::Nothing => false,
            Told::Some(names) => found.repositories.keys().all(|name| names.contains(name)),
            Told::All => true,
        }
    }

    fn learn(&mut self, found: &Found, room: usize) {
        self.of = self.of.max(found.of);
        let is_told = |name: &RepositoryName| match &self.told {
            Told::Some(names) => names.contains(name),
            Told::Nothing | Told::All => false,
        };
        let is_new = |name: &RepositoryName| !self.parts.contains_key(name) && !is_told(name);
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

    /// Whether it is more than what can be left of a sweep whose summary was told by somebody else: that needs more than
    /// half of the repositories, so that no two summaries can be made of different ones, by whatever tasks.
    fn is_most(&self) -> bool {
        self.known() > self.of / 2
    }

    /// Whether a message that was sent says all that this one says, and more: the message itself comes back too, and must
    /// not be taken for a copy.
    fn has_sent_more_than(&self, found: &Found) -> bool {
        found.repositories.keys().all(|name| self.sent.contains(name))
            && found.repositories.len() < self.sent.len()
    }

    /// These results, and as many others as are sent in one message.
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

    /// These were sent on in one message.
    pub(super) fn has_sent(&mut self, names: BTreeSet<RepositoryName>) {
        self.sent = names;
    }

    /// Somebody begins to tell this.
    pub(super) fn begin(&mut self, summary: Summary, parts: Parts) {
        let summary = Arc::new(summary);
        self.telling = Some(Telling { summary, parts, heard: BTreeSet::new(), failed: None });
    }

    /// What is to be told, and who has heard it. From now on somebody tells it.
    pub(super) fn tell(&mut self) -> Option<(Arc<Summary>, BTreeSet<String>)> {
        let telling = self.telling.as_mut()?;
        telling.failed = None;
        Some((Arc::clone(&telling.summary), telling.heard.clone()))
    }

    /// These topics have heard it.
    pub(super) fn heard(&mut self, topics: BTreeSet<String>) {
        if let Some(telling) = &mut self.telling {
            telling.heard = topics;
        }
    }

    /// Nobody tells it any longer.
    pub(super) fn broke_off(&mut self) {
        if let Some(telling) = self.telling.as_mut().filter(|telling| telling.failed.is_none()) {
            telling.failed = Some(Instant::now());
        }
    }

    /// It was told.
    pub(super) fn ended(&mut self) {
        let Some(Telling { summary, parts, .. }) = self.telling.take() else { return };
        if summary.is_whole() {
            *self = Self { told: Told::All, ..Self::new() };
            return;
        }
        self.sent.clear();
        self.parts.retain(|name, _| !parts.contains_key(name));
        let names = match std::mem::take(&mut self.told) {
            Told::Some(names) => names,
            Told::Nothing | Told::All => BTreeSet::new(),
        };
        self.told = Told::Some(names.into_iter().chain(parts.into_keys()).collect());
    }

    /// Somebody says that a summary was told.
    pub(super) fn was_told(&mut self, is_whole: bool) {
        if self.telling.as_ref().is_some_and(|telling| telling.failed.is_none()) {
            return;
        }
        if is_whole {
            *self = Self { told: Told::All, ..Self::new() };
        } else if self.telling.is_some() {
            self.ended();
        } else if self.told == Told::Nothing {
            // What that summary says is known to whoever told it: what comes here may stand in it, and goes to them first.
            (self.told, self.news) = (Told::Some(BTreeSet::new()), Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
