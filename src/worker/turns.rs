//! Whose turn it is: one slow repository leaves room for the others.
//!
//! A message that needs ECR takes a turn of its repository. A repository may have as many turns as it leaves to the
//! others, as switches share out a buffer by a dynamic threshold: one that is busy has half of the permits, the next half
//! of what is left. Its further messages wait under heartbeat without a permit, so that polling goes on past them. A
//! message that is slow steps aside: it goes on without its permit, and as long as it does, its repository gets few
//! further turns, and what finds no place to wait comes again later.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

use super::outcome::Failure;
use crate::domain::image::Repository;
use crate::shutdown::Shutdown;

/// Messages that may wait for their turn, and as many that may have stepped aside, for each permit.
const PLACES_PER_PERMIT: usize = 16;
/// A message that is in work for so long is slow: most take a tenth of it.
const SLOW: Duration = Duration::from_secs(1);
/// What part of its turns a repository has left while one of its messages is slow.
const LEFT_TO_SLOW: usize = 8;
/// How many times the places there are for messages on their last receive: they cannot come again.
const MORE_FOR_THE_LAST: usize = 4;

/// The right to work on one message. It can be given up for a while.
#[derive(Debug)]
pub(super) struct Permit {
    of: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// One that is free now.
    pub(super) fn try_of(of: &Arc<Semaphore>) -> Option<Self> {
        let held = Arc::clone(of).try_acquire_owned().ok()?;
        Some(Self { of: Arc::clone(of), held: Some(held) })
    }

    /// The next one that is free.
    pub(super) async fn next_of(of: &Arc<Semaphore>) -> Option<Self> {
        let mut permit = Self { of: Arc::clone(of), held: None };
        permit.take_again().await;
        permit.held.is_some().then_some(permit)
    }

    fn give_up(&mut self) {
        self.held = None;
    }

    async fn take_again(&mut self) {
        // Fails only on a semaphore that was closed, which nobody does.
        self.held = Arc::clone(&self.of).acquire_owned().await.ok();
    }
}

/// Where a message of a repository stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It waits for its turn, without a permit.
    Waiting,
    /// It is in work, with a permit.
    AtWork,
    /// It is in work, and slow: without a permit.
    Aside,
}

/// Number of a repository's messages by where they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    waiting: usize,
    at_work: usize,
    aside: usize,
}

impl Share {
    fn at(&self, stand: Stand) -> usize {
        match stand {
            Stand::Waiting => self.waiting,
            Stand::AtWork => self.at_work,
            Stand::Aside => self.aside,
        }
    }

    fn at_mut(&mut self, stand: Stand) -> &mut usize {
        match stand {
            Stand::Waiting => &mut self.waiting,
            Stand::AtWork => &mut self.at_work,
            Stand::Aside => &mut self.aside,
        }
    }
}

/// The turns of all repositories.
#[derive(Debug)]
pub(super) struct Turns {
    permits: usize,
    shares: Mutex<HashMap<Repository, Share>>,
    changed: Notify,
}

/// A message's turn, or its wait for one, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    repository: &'a Repository,
    stand: Stand,
}

impl Turn<'_> {
    /// Does the message's work. If that is slow, it goes on without the permit.
    pub(super) async fn run<T>(&mut self, permit: &mut Permit, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(SLOW) => {}
        }
        if let Some(aside) = self.turns.try_stand(self.repository, Stand::Aside) {
            *self = aside;
            permit.give_up();
        }
        work.await
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut shares = self.turns.shares();
        if let Some(share) = shares.get_mut(self.repository) {
            *share.at_mut(self.stand) -= 1;
            if *share == Share::default() {
                shares.remove(self.repository);
            }
        }
        drop(shares);
        self.turns.changed.notify_waiters();
    }
}

impl Turns {
    /// Turns for so many permits.
    pub(super) fn new(permits: usize) -> Self {
        Self { permits, shares: Mutex::default(), changed: Notify::new() }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<Repository, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no message has a turn or waits for one.
    pub(super) fn is_idle(&self) -> bool {
        self.shares().is_empty()
    }

    /// Lets one more message of a repository stand there, if that leaves the others at least as much room.
    fn try_stand<'a>(&'a self, repository: &'a Repository, stand: Stand) -> Option<Turn<'a>> {
        let places = self.permits.saturating_mul(PLACES_PER_PERMIT);
        let room = if stand == Stand::AtWork { self.permits } else { places };
        self.try_stand_in(room, repository, stand)
    }

    fn try_stand_in<'a>(
        &'a self,
        room: usize,
        repository: &'a Repository,
        stand: Stand,
    ) -> Option<Turn<'a>> {
        let mut shares = self.shares();
        let taken: usize = shares.values().map(|share| share.at(stand)).sum();
        let left = room.saturating_sub(taken);
        let share = shares.get(repository).copied().unwrap_or_default();
        let is_slow = stand == Stand::AtWork && share.aside > 0;
        let left = if is_slow { left.div_ceil(LEFT_TO_SLOW) } else { left };
        if share.at(stand) >= left {
            return None;
        }
        *shares.entry(repository.clone()).or_default().at_mut(stand) += 1;
        Some(Turn { turns: self, repository, stand })
    }

    fn is_slow(&self, repository: &Repository) -> bool {
        self.shares().get(repository).is_some_and(|share| share.aside > 0)
    }

    /// A place to wait at; there are more for a message that cannot come again.
    fn try_wait<'a>(&'a self, repository: &'a Repository, is_last: bool) -> Option<Turn<'a>> {
        let more = self.permits.saturating_mul(PLACES_PER_PERMIT * MORE_FOR_THE_LAST);
        match self.try_stand(repository, Stand::Waiting) {
            None if is_last => self.try_stand_in(more, repository, Stand::Waiting),
            place => place,
        }
    }

    /// Waits for a turn, without the permit where there is a place to wait at. Where there is none and the repository is
    /// slow, the message comes again, unless this is its last receive; a drain ends no last receive either.
    pub(super) async fn take<'a>(
        &'a self,
        repository: &'a Repository,
        permit: &mut Permit,
        is_last: bool,
        shutdown: &Shutdown,
    ) -> Result<Turn<'a>, Failure> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(turn) = self.try_stand(repository, Stand::AtWork) {
                    return Ok(turn);
                }
                if let Some(place) = self.try_wait(repository, is_last) {
                    permit.give_up();
                    let turn = self.next(repository).await;
                    // Whoever waits for a place may have the permit that is waited for here.
                    drop(place);
                    permit.take_again().await;
                    return Ok(turn);
                }
                if !is_last && self.is_slow(repository) {
                    return Err(Failure::Crowded);
                }
                changed.await;
            }
        };
        tokio::select! {
            biased;
            () = shutdown.draining(), if !is_last => match self.try_stand(repository, Stand::AtWork) {
                Some(turn) => Ok(turn),
                None => Err(Failure::Abandoned),
            },
            turn = wait => turn,
        }
    }

    async fn next<'a>(&'a self, repository: &'a Repository) -> Turn<'a> {
        loop {
            let changed = self.changed.notified();
            if let Some(turn) = self.try_stand(repository, Stand::AtWork) {
                return turn;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::refusals::tests::repository;

    /// How many turns a repository gets before it has to wait.
    fn taken<'a>(turns: &'a Turns, repository: &'a Repository) -> Vec<Turn<'a>> {
        std::iter::from_fn(|| turns.try_stand(repository, Stand::AtWork)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn one_repository_takes_half_and_the_next_half_of_what_is_left() {
        let turns = Turns::new(32);
        let (a, b, c) = (repository("a"), repository("b"), repository("c"));
        let of_a = taken(&turns, &a);
        let of_b = taken(&turns, &b);
        let of_c = taken(&turns, &c);
        assert_eq!((of_a.len(), of_b.len(), of_c.len()), (16, 8, 4));
        drop(of_a);
        assert_eq!(taken(&turns, &c).len(), 8, "what comes free is shared out anew");
    }

    #[tokio::test(start_paused = true)]
    async fn however_few_permits_there_are_a_repository_that_is_alone_has_a_turn() {
        for most in 1..=3 {
            let turns = Turns::new(most);
            assert_eq!(taken(&turns, &repository("a")).len(), most.div_ceil(2), "{most}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gives_the_permit_up_and_has_it_again_with_the_turn() {
        let turns = Turns::new(2);
        let (a, permits) = (repository("a"), Arc::new(Semaphore::new(1)));
        let shutdown = Shutdown::default();
        let first = turns.try_stand(&a, Stand::AtWork).unwrap();
        let mut permit = Permit::try_of(&permits).unwrap();
        let waits = turns.take(&a, &mut permit, false, &shutdown);
        tokio::pin!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(permits.available_permits(), 1);
        drop(first);
        waits.await.unwrap();
        assert_eq!(permits.available_permits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_slow_goes_on_without_a_permit_and_its_repository_gets_few_further_turns() {
        let turns = Turns::new(32);
        let (a, b, permits) = (repository("a"), repository("b"), Arc::new(Semaphore::new(1)));
        let mut permit = Permit::try_of(&permits).unwrap();
        let mut turn = turns.try_stand(&a, Stand::AtWork).unwrap();
        let slow = turn.run(&mut permit, sleep(SLOW * 3));
        let look = async {
            sleep(SLOW * 2).await;
            assert_eq!(permits.available_permits(), 1);
            assert_eq!(taken(&turns, &a).len(), 4);
            assert_eq!(taken(&turns, &b).len(), 16);
        };
        tokio::join!(slow, look);
        drop(turn);
        assert_eq!(taken(&turns, &a).len(), 16, "it is not slow any more");
        assert!(turns.is_idle(), "nothing is remembered of who has no turn");
    }

    #[tokio::test(start_paused = true)]
    async fn where_too_many_wait_for_a_repository_that_is_slow_the_message_comes_again() {
        let turns = Turns::new(1);
        let (a, permits) = (repository("a"), Arc::new(Semaphore::new(2)));
        let shutdown = Shutdown::default();
        let held = turns.try_stand(&a, Stand::AtWork).unwrap();
        let _all: Vec<_> = std::iter::from_fn(|| turns.try_stand(&a, Stand::Waiting)).collect();

        let mut permit = Permit::try_of(&permits).unwrap();
        let waits = turns.take(&a, &mut permit, false, &shutdown);
        tokio::pin!(waits);
        assert!(futures_util::poll!(&mut waits).is_pending());
        assert_eq!(permits.available_permits(), 1, "while it is fast, with the permit in hand");

        let _slow = turns.try_stand(&a, Stand::Aside).unwrap();
        turns.changed.notify_waiters();
        assert!(matches!(waits.await, Err(Failure::Crowded)));

        let mut permit = Permit::try_of(&permits).unwrap();
        let last = turns.take(&a, &mut permit, true, &shutdown);
        tokio::pin!(last);
        assert!(futures_util::poll!(&mut last).is_pending(), "its last receive waits");
        assert_eq!(permits.available_permits(), 1, "at a place that others do not get");
        drop(held);
        assert!(last.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_turn_and_waits_for_a_permit_leaves_the_place_to_who_has_one() {
        let turns = Turns::new(1);
        let (a, permits) = (repository("a"), Arc::new(Semaphore::new(1)));
        let shutdown = Shutdown::default();
        let held = turns.try_stand(&a, Stand::AtWork).unwrap();
        let mut places: Vec<_> =
            std::iter::from_fn(|| turns.try_stand(&a, Stand::Waiting)).collect();
        places.pop();

        let wait = async || {
            let mut permit = Permit::try_of(&permits).unwrap();
            drop(turns.take(&a, &mut permit, false, &shutdown).await.unwrap());
        };
        let (first, second) = (wait(), wait());
        tokio::pin!(first, second);
        assert!(futures_util::poll!(&mut first).is_pending(), "at the last place");
        assert!(futures_util::poll!(&mut second).is_pending(), "with the last permit");
        drop(held);
        assert!(futures_util::poll!(&mut first).is_pending(), "it has the turn and no permit");
        assert!(futures_util::poll!(&mut second).is_pending(), "it has the place now");
        first.await;
        second.await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_the_wait() {
        let turns = Turns::new(1);
        let (a, permits) = (repository("a"), Arc::new(Semaphore::new(1)));
        let shutdown = Shutdown::default();
        let _held = turns.try_stand(&a, Stand::AtWork).unwrap();
        shutdown.drain();
        let mut permit = Permit::try_of(&permits).unwrap();
        let ended = turns.take(&a, &mut permit, false, &shutdown).await;
        assert!(matches!(ended, Err(Failure::Abandoned)));
    }
}
