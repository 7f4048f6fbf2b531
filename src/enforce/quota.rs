//! Limits how many tags this process may remove in an hour, so that the day of a Log4Shell does not
//! empty a registry.
//!
//! Each task has an equal share of the limits. A removal reserves room in the window of the current
//! hour, and the unused part of a [`Reservation`] is given back.
//!
//! When a limit is reached, the message books room in a later window of its own and comes again
//! then. If all waiting messages came back in the next hour instead, a backlog of days would use up
//! its receives in one. A message can be put off by at most eleven hours, because it can stay
//! invisible for twelve.
//!
//! Each task keeps its own books, in memory: after a restart the limits count from zero.
//!
//! A repository whose window is the current one, or that has bookings, is never forgotten, because
//! its limit would begin anew: who names many repositories could then exceed it. Their number is
//! bounded by what the process can remove and put off in its windows.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::LimitSettings;
use crate::domain::names::{Digest, Repository};

/// The keys of the limits in the configuration.
const PER_HOUR: &str = "limits.untags_per_hour";
const PER_REPOSITORY: &str = "limits.untags_per_hour_per_repository";
const WINDOW: Duration = Duration::from_secs(3600);
/// The most windows by which a message is put off. A message can stay invisible for twelve hours in
/// all (SQS developer guide, "visibility timeout"), so it comes back with time to spare and may be
/// put off again.
const MAX_WINDOWS: u64 = 11;
/// The most repositories that are counted before those of past windows are forgotten.
const MAX_REPOSITORIES: usize = 10_000;

/// Whether tags may be removed now.
#[derive(Debug)]
pub(super) enum Admission<'a> {
    /// This many of them may be removed now: all, or as many as a whole window allows.
    Now(Reservation<'a>),
    /// They may be removed in a later window.
    Later(Deferral),
}

/// Room for a number of removals in one repository. The unused part is given back when this is
/// dropped.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    quota: &'a Quota,
    repository: &'a Repository,
    window: u64,
    left: usize,
}

impl Reservation<'_> {
    /// Returns how many tags may still be removed.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// Counts tags as removed, because a call that removes them is about to be made.
    pub(super) fn spend(&mut self, tags: usize) {
        self.left = self.left.saturating_sub(tags);
    }

    /// Gives back tags that were not removed, although a call was made.
    pub(super) fn give_back(&mut self, tags: usize) {
        self.left += tags;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut usages = self.quota.usages();
        let Usages { all, repositories, .. } = &mut *usages;
        for usage in repositories.get_mut(self.repository).into_iter().chain([all]) {
            if usage.window == self.window {
                usage.used = usage.used.saturating_sub(self.left);
            }
        }
    }
}

/// A limit is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deferral {
    /// Whether it is the limit of the repository, rather than the limit of all.
    here: bool,
    /// The limit, in words.
    pub(super) reason: String,
    /// The time until there is room.
    pub(super) again: Duration,
    /// Whether the team was not notified of it in this window yet.
    pub(super) is_news: bool,
}

/// The use of one limit. Usages are counted from the start of the process.
#[derive(Debug, Default)]
struct Usage {
    window: u64,
    used: usize,
    is_notified: bool,
    /// The tags that were put off, by the window to which they were put off.
    booked: BTreeMap<u64, HashMap<Digest, usize>>,
}

impl Usage {
    fn enter(&mut self, window: u64) {
        if self.window != window {
            self.booked = self.booked.split_off(&(window + 1));
            *self = Self { window, booked: std::mem::take(&mut self.booked), ..Self::default() };
        }
    }

    /// Returns how many of these tags fit now.
    fn room(&self, limit: usize, tags: usize) -> usize {
        match limit.saturating_sub(self.used) {
            left if tags <= left => tags,
            // If an image has more tags than a whole window allows, they are removed piece by
            // piece.
            left if tags > limit => left,
            _ => 0,
        }
    }

    /// Books room for tags of an image, and returns the window: the one that another message about
    /// the same image has booked, or else the first later one with room.
    fn book(&mut self, limit: usize, digest: &Digest, tags: usize) -> u64 {
        let mut booked = self.booked.iter();
        if let Some((&window, _)) = booked.find(|(_, images)| images.contains_key(digest)) {
            return window;
        }
        let last = self.window + MAX_WINDOWS;
        let fits = |window: &u64| {
            let booked: usize = self.booked.get(window).into_iter().flat_map(HashMap::values).sum();
            booked == 0 || booked + tags <= limit
        };
        let window = (self.window + 1..last).find(fits).unwrap_or(last);
        self.booked.entry(window).or_default().insert(digest.clone(), tags);
        window
    }
}

#[derive(Debug, Default)]
struct Usages {
    limits: LimitSettings,
    all: Usage,
    repositories: HashMap<Repository, Usage>,
}

/// The limits and how much of them is used.
#[derive(Debug)]
pub(super) struct Quota {
    start: Instant,
    usages: Mutex<Usages>,
}

impl Quota {
    pub(super) fn new(limits: LimitSettings) -> Self {
        let usages = Mutex::new(Usages { limits, ..Usages::default() });
        Self { start: Instant::now(), usages }
    }

    /// Uses these limits from now on. What is reserved or booked stays so.
    pub(super) fn limit(&self, limits: LimitSettings) {
        self.usages().limits = limits;
    }

    fn usages(&self) -> MutexGuard<'_, Usages> {
        self.usages.lock()
    }

    /// Makes a deferral news again, because the team could not be notified of it.
    pub(super) fn undelivered(&self, repository: &Repository, deferral: &Deferral) {
        let mut usages = self.usages();
        let Usages { all, repositories, .. } = &mut *usages;
        let usage = if deferral.here { repositories.get_mut(repository) } else { Some(all) };
        if let Some(usage) = usage {
            usage.is_notified = false;
        }
    }

    /// Reserves room for the removal of tags of one image.
    pub(super) fn reserve<'a>(
        &'a self,
        repository: &'a Repository,
        digest: &Digest,
        tags: usize,
    ) -> Admission<'a> {
        let past = self.start.elapsed();
        let window = past.as_secs() / WINDOW.as_secs();
        let mut usages = self.usages();
        let Usages { limits: settings, all, repositories } = &mut *usages;
        if repositories.len() >= MAX_REPOSITORIES {
            repositories.retain(|_, usage| usage.window == window || !usage.booked.is_empty());
        }
        all.enter(window);
        let here = repositories.entry(repository.clone()).or_default();
        here.enter(window);
        let settings = *settings;
        let LimitSettings { untags_per_hour, untags_per_hour_per_repository, .. } = settings;
        let share = |limit: Option<usize>| limit.map(|limit| settings.share(limit));
        let limits = [
            (true, share(untags_per_hour_per_repository), here),
            (false, share(untags_per_hour), all),
        ];
        let mut room = tags;
        for (_, limit, usage) in &limits {
            room = room.min(limit.map_or(tags, |limit| usage.room(limit, tags)));
        }
        for (here, limit, usage) in limits {
            if room > 0 {
                usage.used += room;
            } else if let Some(limit) = limit.filter(|&limit| usage.room(limit, tags) == 0) {
                let window = usage.book(limit, digest, tags.min(limit));
                let start = WINDOW.saturating_mul(u32::try_from(window).unwrap_or(u32::MAX));
                return Admission::Later(Deferral {
                    here,
                    reason: reached(settings, here),
                    again: start.saturating_sub(past) + Duration::from_secs(1),
                    is_news: !std::mem::replace(&mut usage.is_notified, true),
                });
            }
        }
        Admission::Now(Reservation { quota: self, repository, window, left: room })
    }
}

/// Returns in words which limit is reached.
fn reached(limits: LimitSettings, here: bool) -> String {
    let LimitSettings { untags_per_hour, untags_per_hour_per_repository, tasks } = limits;
    let (name, limit) = if here {
        (PER_REPOSITORY, untags_per_hour_per_repository)
    } else {
        (PER_HOUR, untags_per_hour)
    };
    let limit = limit.unwrap_or_default();
    match (tasks.get(), limits.share(limit)) {
        (1, _) => format!("{name} of {limit} is reached"),
        (tasks, share) => {
            format!("{name} of {limit}, {share} for each of {tasks} tasks, is reached")
        }
    }
}

#[cfg(test)]
mod tests;
