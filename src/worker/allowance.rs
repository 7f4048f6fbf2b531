//! How much this process may untag in an hour, its share of what all tasks may, so that the day of a Log4Shell does not empty a registry.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::LimitSettings;
use crate::domain::image::{Digest, Repository};

const PER_HOUR: &str = "limits.untags_per_hour";
const PER_REPOSITORY: &str = "limits.untags_per_hour_per_repository";
const WINDOW: Duration = Duration::from_secs(3600);
/// A message can stay invisible for twelve hours in all (SQS developer guide, "visibility timeout"); it comes back
/// with time to spare, and is put off again.
const MOST_WINDOWS: u64 = 11;
/// Repositories that are counted before those of past windows are forgotten.
const MOST_REPOSITORIES: usize = 10_000;

/// Whether tags may be untagged now.
#[derive(Debug)]
pub(super) enum Admission<'a> {
    /// So many of them. Fewer than asked for only where all would exceed the limit of a whole window.
    Now(Grant<'a>),
    /// Not before a later window.
    Later(Deferral),
}

/// Leave to untag so many tags of one repository. What was not used of it is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Grant<'a> {
    allowance: &'a Allowance,
    repository: &'a Repository,
    window: u64,
    left: usize,
}

impl Grant<'_> {
    /// How many tags may go.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// So many are about to go: from here on they count as gone unless they are said not to be.
    pub(super) fn spend(&mut self, tags: usize) {
        self.left = self.left.saturating_sub(tags);
    }

    /// So many did not go after all.
    pub(super) fn give_back(&mut self, tags: usize) {
        self.left += tags;
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        let mut meters = self.allowance.meters();
        let Meters { all, repositories } = &mut *meters;
        for meter in repositories.get_mut(self.repository).into_iter().chain([all]) {
            if meter.window == self.window {
                meter.used = meter.used.saturating_sub(self.left);
            }
        }
    }
}

/// A limit is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deferral {
    /// Whether it is the limit of the repository.
    here: bool,
    /// The limit, in words.
    pub(super) reason: String,
    /// When to ask again.
    pub(super) again: Duration,
    /// Whether nobody was told of it in this window yet.
    pub(super) news: bool,
}

/// The use of one limit. Windows are counted from the start of the process.
#[derive(Debug, Default)]
struct Meter {
    window: u64,
    used: usize,
    told: bool,
    /// Tags that were put off, by the window that they were put off to: the next ones come after them.
    booked: BTreeMap<u64, HashMap<Digest, usize>>,
}

impl Meter {
    fn turn(&mut self, window: u64) {
        if self.window != window {
            self.booked = self.booked.split_off(&(window + 1));
            *self = Self { window, booked: std::mem::take(&mut self.booked), ..Self::default() };
        }
    }

    /// How many of so many tags fit now.
    fn room(&self, limit: usize, tags: usize) -> usize {
        match limit.saturating_sub(self.used) {
            left if tags <= left => tags,
            // An image with more tags than a whole window allows is done piece by piece.
            left if tags > limit => left,
            _ => 0,
        }
    }

    /// The first later window with room for so many tags of an image; the one that is booked for it already, where
    /// another of its messages was put off.
    fn book(&mut self, limit: usize, digest: &Digest, tags: usize) -> u64 {
        let mut booked = self.booked.iter();
        if let Some((&window, _)) = booked.find(|(_, images)| images.contains_key(digest)) {
            return window;
        }
        let last = self.window + MOST_WINDOWS;
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
struct Meters {
    all: Meter,
    repositories: HashMap<Repository, Meter>,
}

/// The limits and how much of them is used.
#[derive(Debug)]
pub(super) struct Allowance {
    limits: LimitSettings,
    start: Instant,
    meters: Mutex<Meters>,
}

impl Allowance {
    pub(super) fn new(limits: LimitSettings) -> Self {
        Self { limits, start: Instant::now(), meters: Mutex::default() }
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        self.meters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The news of a deferral could not be told: they are news again.
    pub(super) fn not_told(&self, repository: &Repository, deferral: &Deferral) {
        let mut meters = self.meters();
        let Meters { all, repositories } = &mut *meters;
        let meter = if deferral.here { repositories.get_mut(repository) } else { Some(all) };
        if let Some(meter) = meter {
            meter.told = false;
        }
    }

    /// The limit that is reached, in words.
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

    /// Asks to untag so many tags of one image.
    pub(super) fn admit<'a>(
        &'a self,
        repository: &'a Repository,
        digest: &Digest,
        tags: usize,
    ) -> Admission<'a> {
        let past = self.start.elapsed();
        let window = past.as_secs() / WINDOW.as_secs();
        let mut meters = self.meters();
        let Meters { all, repositories } = &mut *meters;
        if repositories.len() >= MOST_REPOSITORIES {
            repositories.retain(|_, meter| meter.window == window || !meter.booked.is_empty());
        }
        all.turn(window);
        let here = repositories.entry(repository.clone()).or_default();
        here.turn(window);
        let LimitSettings { untags_per_hour, untags_per_hour_per_repository, .. } = self.limits;
        let share = |limit: Option<usize>| limit.map(|limit| self.limits.share(limit));
        let limits = [
            (true, share(untags_per_hour_per_repository), here),
            (false, share(untags_per_hour), all),
        ];
        let mut room = tags;
        for (_, limit, meter) in &limits {
            room = room.min(limit.map_or(tags, |limit| meter.room(limit, tags)));
        }
        for (here, limit, meter) in limits {
            if room > 0 {
                meter.used += room;
            } else if let Some(limit) = limit.filter(|&limit| meter.room(limit, tags) == 0) {
                let window = meter.book(limit, digest, tags.min(limit));
                let start = WINDOW.saturating_mul(u32::try_from(window).unwrap_or(u32::MAX));
                return Admission::Later(Deferral {
                    here,
                    reason: self.reached(here),
                    again: start.saturating_sub(past) + Duration::from_secs(1),
                    news: !std::mem::replace(&mut meter.told, true),
                });
            }
        }
        Admission::Now(Grant { allowance: self, repository, window, left: room })
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::time::advance;

    use super::*;
    use crate::worker::refusals::tests::repository;

    /// Another one each time.
    fn digest() -> Digest {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Digest::parse(format!("sha256:{number:064x}")).unwrap()
    }

    fn allowance(all: Option<usize>, here: Option<usize>) -> Allowance {
        shared(all, here, 1)
    }

    fn shared(all: Option<usize>, here: Option<usize>, tasks: usize) -> Allowance {
        Allowance::new(LimitSettings {
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

    /// Uses all that is granted.
    fn now(admission: Admission<'_>) -> usize {
        match admission {
            Admission::Now(mut grant) => {
                let tags = grant.left();
                grant.spend(tags);
                tags
            }
            later @ Admission::Later(_) => panic!("{later:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_limit_images_are_put_off_to_the_next_window_and_told_once() {
        let allowance = allowance(Some(5), None);
        assert_eq!(now(allowance.admit(&repository("a"), &digest(), 3)), 3);
        let first = later(allowance.admit(&repository("b"), &digest(), 3));
        assert_eq!(first.reason, "limits.untags_per_hour of 5 is reached");
        assert_eq!((first.again, first.news), (Duration::from_secs(3601), true));
        assert_eq!(now(allowance.admit(&repository("c"), &digest(), 2)), 2, "what fits goes on");
        assert!(!later(allowance.admit(&repository("d"), &digest(), 1)).news);
        advance(first.again).await;
        assert_eq!(now(allowance.admit(&repository("b"), &digest(), 3)), 3);
        assert!(
            later(allowance.admit(&repository("d"), &digest(), 3)).news,
            "a new window is news again"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn several_tasks_share_the_limits_in_equal_parts_rounded_down() {
        let allowance = shared(Some(100), Some(11), 4);
        assert_eq!(now(allowance.admit(&repository("a"), &digest(), 2)), 2);
        let here = later(allowance.admit(&repository("a"), &digest(), 1));
        let words =
            "limits.untags_per_hour_per_repository of 11, 2 for each of 4 tasks, is reached";
        assert_eq!(here.reason, words);
        let repositories = ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        for name in repositories {
            assert_eq!(now(allowance.admit(&repository(name), &digest(), 2)), 2);
        }
        assert_eq!(now(allowance.admit(&repository("m"), &digest(), 1)), 1);
        let all = later(allowance.admit(&repository("n"), &digest(), 1));
        assert_eq!(all.reason, "limits.untags_per_hour of 100, 25 for each of 4 tasks, is reached");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_off_queues_up_over_the_windows_within_what_sqs_can_hide() {
        let allowance = allowance(Some(2), None);
        assert_eq!(now(allowance.admit(&repository("a"), &digest(), 2)), 2);
        let hours = |deferral: &Deferral| deferral.again.as_secs() / 3600;
        let waits: Vec<_> = (0..30)
            .map(|_| hours(&later(allowance.admit(&repository("a"), &digest(), 1))))
            .collect();
        assert_eq!(waits[..5], [1, 1, 2, 2, 3]);
        assert_eq!(waits[29], 11);
    }

    #[tokio::test(start_paused = true)]
    async fn one_repository_at_its_limit_leaves_the_others_theirs() {
        let allowance = allowance(Some(10), Some(2));
        assert_eq!(now(allowance.admit(&repository("a"), &digest(), 2)), 2);
        let deferral = later(allowance.admit(&repository("a"), &digest(), 1));
        assert_eq!(deferral.reason, "limits.untags_per_hour_per_repository of 2 is reached");
        assert_eq!(now(allowance.admit(&repository("b"), &digest(), 2)), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn an_image_with_more_tags_than_the_limit_is_done_piece_by_piece() {
        let allowance = allowance(Some(2), None);
        assert_eq!(now(allowance.admit(&repository("a"), &digest(), 5)), 2);
        let again = later(allowance.admit(&repository("a"), &digest(), 3)).again;
        advance(again).await;
        assert_eq!(now(allowance.admit(&repository("a"), &digest(), 3)), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_used_of_a_grant_is_given_back_in_its_own_hour() {
        let allowance = allowance(Some(5), Some(4));
        let a = repository("a");
        let Admission::Now(mut grant) = allowance.admit(&a, &digest(), 4) else { panic!() };
        grant.spend(3);
        grant.give_back(1);
        drop(grant);
        assert_eq!(now(allowance.admit(&a, &digest(), 2)), 2);
        assert_eq!(now(allowance.admit(&repository("b"), &digest(), 1)), 1);
        later(allowance.admit(&repository("b"), &digest(), 1));

        advance(WINDOW).await;
        let Admission::Now(old) = allowance.admit(&a, &digest(), 4) else { panic!() };
        advance(WINDOW).await;
        assert_eq!(now(allowance.admit(&a, &digest(), 4)), 4);
        drop(old);
        later(allowance.admit(&a, &digest(), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn news_that_could_not_be_told_are_news_again() {
        let allowance = allowance(Some(2), Some(1));
        let (a, b) = (repository("a"), repository("b"));
        assert_eq!(
            (now(allowance.admit(&a, &digest(), 1)), now(allowance.admit(&b, &digest(), 1))),
            (1, 1)
        );
        let (all, here) = (
            later(allowance.admit(&repository("c"), &digest(), 1)),
            later(allowance.admit(&a, &digest(), 1)),
        );
        assert!(all.news && here.news);
        allowance.not_told(&a, &here);
        assert!(!later(allowance.admit(&repository("c"), &digest(), 1)).news);
        assert!(later(allowance.admit(&a, &digest(), 1)).news);
        allowance.not_told(&repository("c"), &all);
        assert!(later(allowance.admit(&repository("c"), &digest(), 1)).news);
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_everything_is_admitted() {
        let allowance = allowance(None, None);
        assert_eq!(now(allowance.admit(&repository("a"), &digest(), 1_000_000)), 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_about_one_image_book_its_room_once() {
        let allowance = allowance(Some(1), None);
        let (a, one) = (repository("a"), digest());
        assert_eq!(now(allowance.admit(&a, &digest(), 1)), 1);
        for _ in 0..30 {
            assert_eq!(later(allowance.admit(&a, &one, 1)).again, Duration::from_secs(3601));
        }
        assert_eq!(later(allowance.admit(&a, &digest(), 1)).again, Duration::from_secs(7201));
    }
}
