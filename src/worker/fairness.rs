//! Shares the work fairly between repositories, so that a slow one leaves room for the others
//! (invariant 10).
//!
//! A message that needs ECR takes a slot of its repository. A repository may have as many running
//! slots as it leaves to the others, as switches share a buffer by a dynamic threshold: one busy
//! repository has half of the permits, the next has half of the rest. So a large backlog of one
//! fast repository is worked off at the pace of half of the permits.
//!
//! Further messages of the repository are queued under heartbeat, without a permit, so that polling
//! continues. There are sixteen places for each permit, shared by the same rule.
//!
//! A message that takes longer than a second yields: it continues without its permit. Meanwhile its
//! repository gets an eighth of its slots, and messages that find no place in the queue come again
//! later, except on their last receive. When no place is left and nothing is slow, messages wait
//! with their permit.
//!
//! Rejected: a fixed share for each repository, because a single busy one would leave permits
//! unused; and a queue for each repository, because everybody who can push images would decide how
//! long it is.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::permits::Permit;
use crate::domain::names::Repository;
use crate::outcome::Failure;
use crate::shutdown::Shutdown;

/// Places for queued messages for each permit, and as many for messages that have yielded.
const PLACES_PER_PERMIT: usize = 16;
/// A message that is in work for this long is slow: most messages take a tenth of it.
const SLOW: Duration = Duration::from_secs(1);
/// While one of its messages is slow, a repository gets its slots divided by this.
const PART_OF_SLOW: usize = 8;
/// Messages on their last receive have this many times as many places, because they cannot come
/// again.
const MORE_FOR_LAST_RECEIVES: usize = 4;

/// The state of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    /// The message waits, without a permit.
    Queued,
    /// The message is in work, with a permit.
    Running,
    /// The message is in work and slow, without a permit.
    Yielded,
}

/// The number of a repository's slots in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SlotCounts {
    queued: usize,
    running: usize,
    yielded: usize,
}

impl SlotCounts {
    fn at(&self, state: SlotState) -> usize {
        match state {
            SlotState::Queued => self.queued,
            SlotState::Running => self.running,
            SlotState::Yielded => self.yielded,
        }
    }

    fn at_mut(&mut self, state: SlotState) -> &mut usize {
        match state {
            SlotState::Queued => &mut self.queued,
            SlotState::Running => &mut self.running,
            SlotState::Yielded => &mut self.yielded,
        }
    }
}

/// The slots of all repositories.
#[derive(Debug)]
pub(super) struct Fairness {
    permits: usize,
    shares: Mutex<HashMap<Repository, SlotCounts>>,
    changed: Notify,
}

/// A counted place of a repository in one state, until it is dropped.
#[derive(Debug)]
struct Place<'a> {
    fairness: &'a Fairness,
    repository: &'a Repository,
    state: SlotState,
}

/// The slot of a message and its permit, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot<'a> {
    place: Place<'a>,
    permit: Permit,
}

/// The end of the wait for a slot.
#[derive(Debug)]
pub(super) enum Acquired<'a> {
    /// The message has a slot.
    Slot(Slot<'a>),
    /// It has none, and keeps its permit until it is settled.
    Nothing(Failure, Permit),
}

impl Slot<'_> {
    /// Does the message's work. If the work is slow, it continues without the permit.
    pub(super) async fn run<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = sleep(SLOW) => {}
        }
        let Place { fairness, repository, .. } = self.place;
        if let Some(yielded) = fairness.try_place(repository, SlotState::Yielded) {
            self.place = yielded;
            self.permit.give_up();
        }
        work.await
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut shares = self.fairness.shares();
        if let Some(share) = shares.get_mut(self.repository) {
            *share.at_mut(self.state) -= 1;
            if *share == SlotCounts::default() {
                shares.remove(self.repository);
            }
        }
        drop(shares);
        self.fairness.changed.notify_waiters();
    }
}

impl Fairness {
    /// Creates a fairness that shares this many permits.
    pub(super) fn new(permits: usize) -> Self {
        Self { permits, shares: Mutex::default(), changed: Notify::new() }
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<Repository, SlotCounts>> {
        self.shares.lock()
    }

    /// Returns whether no message has a slot.
    pub(super) fn is_idle(&self) -> bool {
        self.shares().is_empty()
    }

    /// Takes a place in this state, if the repository then leaves at least as much room to the
    /// others as it has.
    fn try_place<'a>(&'a self, repository: &'a Repository, state: SlotState) -> Option<Place<'a>> {
        let places = self.permits.saturating_mul(PLACES_PER_PERMIT);
        let room = if state == SlotState::Running { self.permits } else { places };
        self.try_place_within(room, repository, state)
    }

    fn try_place_within<'a>(
        &'a self,
        room: usize,
        repository: &'a Repository,
        state: SlotState,
    ) -> Option<Place<'a>> {
        let mut shares = self.shares();
        let taken: usize = shares.values().map(|share| share.at(state)).sum();
        let left = room.saturating_sub(taken);
        let share = shares.get(repository).copied().unwrap_or_default();
        let is_slow = state == SlotState::Running && share.yielded > 0;
        let left = if is_slow { left.div_ceil(PART_OF_SLOW) } else { left };
        if share.at(state) >= left {
            return None;
        }
        *shares.entry(repository.clone()).or_default().at_mut(state) += 1;
        Some(Place { fairness: self, repository, state })
    }

    /// Returns whether a message of the repository has yielded.
    fn is_slow(&self, repository: &Repository) -> bool {
        self.shares().get(repository).is_some_and(|share| share.yielded > 0)
    }

    /// Takes a place in the queue. There are more places for a message that cannot come again.
    fn try_queue<'a>(&'a self, repository: &'a Repository, is_last: bool) -> Option<Place<'a>> {
        let more = self.permits.saturating_mul(PLACES_PER_PERMIT * MORE_FOR_LAST_RECEIVES);
        match self.try_place(repository, SlotState::Queued) {
            None if is_last => self.try_place_within(more, repository, SlotState::Queued),
            place => place,
        }
    }

    /// Waits for a running slot, without the permit if there is a place in the queue.
    ///
    /// A message on its last receive cannot come again, so it waits even if its repository is slow,
    /// and a stop of the worker does not end its wait.
    ///
    /// It gets none with [`Failure::Crowded`] if the queue is full and the repository is slow, and
    /// with [`Failure::Abandoned`] if the worker begins to stop.
    pub(super) async fn acquire<'a>(
        &'a self,
        repository: &'a Repository,
        mut permit: Permit,
        is_last: bool,
        shutdown: &Shutdown,
    ) -> Acquired<'a> {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if let Some(running) = self.try_place(repository, SlotState::Running) {
                    return Ok(running);
                }
                if let Some(queued) = self.try_queue(repository, is_last) {
                    permit.give_up();
                    let running = self.next_running(repository).await;
                    // Another message that waits for a place may hold the permit that this one
                    // needs.
                    drop(queued);
                    permit.take_again().await;
                    return Ok(running);
                }
                if !is_last && self.is_slow(repository) {
                    return Err(Failure::Crowded);
                }
                changed.await;
            }
        };
        let running = tokio::select! {
            biased;
            () = shutdown.draining(), if !is_last => {
                self.try_place(repository, SlotState::Running).ok_or(Failure::Abandoned)
            }
            running = wait => running,
        };
        match running {
            Ok(place) => Acquired::Slot(Slot { place, permit }),
            Err(failure) => Acquired::Nothing(failure, permit),
        }
    }

    /// Waits for a running place.
    async fn next_running<'a>(&'a self, repository: &'a Repository) -> Place<'a> {
        loop {
            let changed = self.changed.notified();
            if let Some(running) = self.try_place(repository, SlotState::Running) {
                return running;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests;
