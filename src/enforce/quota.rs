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
        let Usages { all, repositories } = &mut *usages;
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
    all: Usage,
    repositories: HashMap<Repository, Usage>,
}

/// The limits and how much of them is used.
#[derive(Debug)]
pub(super) struct Quota {
    limits: LimitSettings,
    start: Instant,
    usages: Mutex<Usages>,
}

impl Quota {
    pub(super) fn new(limits: LimitSettings) -> Self {
        Self { limits, start: Instant::now(), usages: Mutex::default() }
    }

    fn usages(&self) -> MutexGuard<'_, Usages> {
        self.usages.lock()
    }

    /// Makes a deferral news again, because the team could not be notified of it.
    pub(super) fn undelivered(&self, repository: &Repository, deferral: &Deferral) {
        let mut usages = self.usages();
        let Usages { all, repositories } = &mut *usages;
        let usage = if deferral.here { repositories.get_mut(repository) } else { Some(all) };
        if let Some(usage) = usage {
            usage.is_notified = false;
        }
    }

    /// Returns in words which limit is reached.
    fn reached(&self, here: bool) -> String {
        let LimitSettings { untags_per_hour, untags_per_hour_per_repository, tasks } = self.limits;
        let (name, limit) = if here {
            (PER_REPOSITORY, untags_per_hour_per_repository)
        } else {
            (PER_HOUR, untags_per_hour)
        };
        let limit = limit.unwrap_or_default();
        match (tasks.get(), self.limits.share(limit)) {
            (1, _) => format!("{name} of {limit} is reached"),
            (tasks, share) => {
                format!("{name} of {limit}, {share} for each of {tasks} tasks, is reached")
            }
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
        let Usages { all, repositories } = &mut *usages;
        if repositories.len() >= MAX_REPOSITORIES {
            repositories.retain(|_, usage| usage.window == window || !usage.booked.is_empty());
        }
        all.enter(window);
        let here = repositories.entry(repository.clone()).or_default();
        here.enter(window);
        let LimitSettings { untags_per_hour, untags_per_hour_per_repository, .. } = self.limits;
        let share = |limit: Option<usize>| limit.map(|limit| self.limits.share(limit));
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
                    reason: self.reached(here),
                    again: start.saturating_sub(past) + Duration::from_secs(1),
                    is_news: !std::mem::replace(&mut usage.is_notified, true),
                });
            }
        }
        Admission::Now(Reservation { quota: self, repository, window, left: room })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::advance;

    use super::*;
    use crate::domain::names::sample::repository;

    /// Returns another digest each time.
    fn digest() -> Digest {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Digest::parse(format!("sha256:{number:064x}")).unwrap()
    }

    fn quota(all: Option<usize>, here: Option<usize>) -> Quota {
        shared(all, here, 1)
    }

    fn shared(all: Option<usize>, here: Option<usize>, tasks: usize) -> Quota {
        Quota::new(LimitSettings {
            untags_per_hour: all,
            untags_per_hour_per_repository: here,
            tasks: NonZeroUsize::new(tasks).unwrap(),
        })
    }

    fn later(admission: Admission<'_>) -> Deferral {
        match admission {
            Admission::Later(deferral) => deferral,
            now @ Admission::Now(_) => panic!("{now:?}"),
        }
    }

    /// Uses the whole reservation, and returns how many tags it had.
    fn now(admission: Admission<'_>) -> usize {
        match admission {
            Admission::Now(mut reservation) => {
                let tags = reservation.left();
                reservation.spend(tags);
                tags
            }
            later @ Admission::Later(_) => panic!("{later:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn image_over_the_limit_is_put_off_to_the_next_window_and_notified_once() {
        let quota = quota(Some(5), None);
        assert_eq!(now(quota.reserve(&repository("a"), &digest(), 3)), 3);
        let first = later(quota.reserve(&repository("b"), &digest(), 3));
        assert_eq!(first.reason, "limits.untags_per_hour of 5 is reached");
        assert_eq!((first.again, first.is_news), (Duration::from_secs(3601), true));
        assert_eq!(
            now(quota.reserve(&repository("c"), &digest(), 2)),
            2,
            "a smaller number still fits"
        );
        assert!(!later(quota.reserve(&repository("d"), &digest(), 1)).is_news);
        advance(first.again).await;
        assert_eq!(now(quota.reserve(&repository("b"), &digest(), 3)), 3);
        assert!(
            later(quota.reserve(&repository("d"), &digest(), 3)).is_news,
            "a new window is news again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_share_the_limits_in_equal_parts_rounded_down() {
        let quota = shared(Some(100), Some(11), 4);
        assert_eq!(now(quota.reserve(&repository("a"), &digest(), 2)), 2);
        let here = later(quota.reserve(&repository("a"), &digest(), 1));
        let words =
            "limits.untags_per_hour_per_repository of 11, 2 for each of 4 tasks, is reached";
        assert_eq!(here.reason, words);
        let repositories = ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        for name in repositories {
            assert_eq!(now(quota.reserve(&repository(name), &digest(), 2)), 2);
        }
        assert_eq!(now(quota.reserve(&repository("m"), &digest(), 1)), 1);
        let all = later(quota.reserve(&repository("n"), &digest(), 1));
        assert_eq!(all.reason, "limits.untags_per_hour of 100, 25 for each of 4 tasks, is reached");
    }

    #[tokio::test(start_paused = true)]
    async fn deferred_images_book_up_to_eleven_windows() {
        let quota = quota(Some(2), None);
        assert_eq!(now(quota.reserve(&repository("a"), &digest(), 2)), 2);
        let hours = |deferral: &Deferral| deferral.again.as_secs() / 3600;
        let waits: Vec<_> =
            (0..30).map(|_| hours(&later(quota.reserve(&repository("a"), &digest(), 1)))).collect();
        assert_eq!(waits[..5], [1, 1, 2, 2, 3]);
        assert_eq!(waits[29], 11);
    }

    #[tokio::test(start_paused = true)]
    async fn repository_at_its_limit_does_not_stop_the_others() {
        let quota = quota(Some(10), Some(2));
        assert_eq!(now(quota.reserve(&repository("a"), &digest(), 2)), 2);
        let deferral = later(quota.reserve(&repository("a"), &digest(), 1));
        assert_eq!(deferral.reason, "limits.untags_per_hour_per_repository of 2 is reached");
        assert_eq!(now(quota.reserve(&repository("b"), &digest(), 2)), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn tags_beyond_a_whole_window_are_removed_piece_by_piece() {
        let quota = quota(Some(2), None);
        assert_eq!(now(quota.reserve(&repository("a"), &digest(), 5)), 2);
        let again = later(quota.reserve(&repository("a"), &digest(), 3)).again;
        advance(again).await;
        assert_eq!(now(quota.reserve(&repository("a"), &digest(), 3)), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn unused_reservation_is_given_back_in_its_own_hour() {
        let quota = quota(Some(5), Some(4));
        let a = repository("a");
        let Admission::Now(mut reservation) = quota.reserve(&a, &digest(), 4) else { panic!() };
        reservation.spend(3);
        reservation.give_back(1);
        drop(reservation);
        assert_eq!(now(quota.reserve(&a, &digest(), 2)), 2);
        assert_eq!(now(quota.reserve(&repository("b"), &digest(), 1)), 1);
        later(quota.reserve(&repository("b"), &digest(), 1));

        advance(WINDOW).await;
        let Admission::Now(old) = quota.reserve(&a, &digest(), 4) else { panic!() };
        advance(WINDOW).await;
        assert_eq!(now(quota.reserve(&a, &digest(), 4)), 4);
        drop(old);
        later(quota.reserve(&a, &digest(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn deferral_is_news_again_if_its_notice_was_not_delivered() {
        let quota = quota(Some(2), Some(1));
        let (a, b) = (repository("a"), repository("b"));
        assert_eq!(
            (now(quota.reserve(&a, &digest(), 1)), now(quota.reserve(&b, &digest(), 1))),
            (1, 1)
        );
        let (all, here) = (
            later(quota.reserve(&repository("c"), &digest(), 1)),
            later(quota.reserve(&a, &digest(), 1)),
        );
        assert!(all.is_news && here.is_news);
        quota.undelivered(&a, &here);
        assert!(!later(quota.reserve(&repository("c"), &digest(), 1)).is_news);
        assert!(later(quota.reserve(&a, &digest(), 1)).is_news);
        quota.undelivered(&repository("c"), &all);
        assert!(later(quota.reserve(&repository("c"), &digest(), 1)).is_news);
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_everything_is_admitted() {
        let quota = quota(None, None);
        assert_eq!(now(quota.reserve(&repository("a"), &digest(), 1_000_000)), 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn messages_about_one_image_book_its_room_once() {
        let quota = quota(Some(1), None);
        let (a, one) = (repository("a"), digest());
        assert_eq!(now(quota.reserve(&a, &digest(), 1)), 1);
        for _ in 0..30 {
            assert_eq!(later(quota.reserve(&a, &one, 1)).again, Duration::from_secs(3601));
        }
        assert_eq!(later(quota.reserve(&a, &digest(), 1)).again, Duration::from_secs(7201));
    }
}
