//! Concurrency permits: how many messages are in work at once.
//!
//! A message holds a permit while it is in work, except while it is queued for its repository or
//! has yielded because it is slow ([`Fairness`](super::fairness::Fairness)). Before a receive
//! begins it takes a permit for each message that it asks for, so that every received message can
//! be worked on at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// The right to work on one message. It can be given up for a while.
#[derive(Debug)]
pub(super) struct Permit {
    of: Arc<Semaphore>,
    held: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Takes a permit that is free now.
    pub(super) fn try_of(of: &Arc<Semaphore>) -> Option<Self> {
        let held = Arc::clone(of).try_acquire_owned().ok()?;
        Some(Self { of: Arc::clone(of), held: Some(held) })
    }

    /// Waits for the next permit that is free.
    pub(super) async fn next_of(of: &Arc<Semaphore>) -> Option<Self> {
        let mut permit = Self { of: Arc::clone(of), held: None };
        permit.take_again().await;
        permit.held.is_some().then_some(permit)
    }

    /// Gives the permit up until it is taken again.
    pub(super) fn give_up(&mut self) {
        self.held = None;
    }

    /// Waits for a permit again.
    pub(super) async fn take_again(&mut self) {
        // This fails only if the semaphore was closed, and nothing closes it.
        self.held = Arc::clone(&self.of).acquire_owned().await.ok();
    }
}

/// The permits of the worker.
#[derive(Debug)]
pub(super) struct Permits {
    work: Arc<Semaphore>,
    /// For messages that only have to be deleted.
    settling: Arc<Semaphore>,
    /// For the probe, beyond the others.
    spare: Arc<Semaphore>,
    most: usize,
}

impl Permits {
    /// Creates the permits for this many messages at once.
    pub(super) fn new(most: usize) -> Self {
        Self {
            work: Arc::new(Semaphore::new(most)),
            settling: Arc::new(Semaphore::new(most)),
            spare: Arc::new(Semaphore::new(1)),
            most,
        }
    }

    /// Returns whether no message holds a permit.
    pub(super) fn are_free(&self) -> bool {
        [&self.work, &self.settling].iter().all(|of| of.available_permits() == self.most)
    }

    /// Takes a permit, if one is free.
    pub(super) fn try_one(&self) -> Option<Permit> {
        Permit::try_of(&self.work)
    }

    /// Takes the permit for the probe, if it is free.
    pub(super) fn try_spare(&self) -> Option<Permit> {
        Permit::try_of(&self.spare)
    }

    /// Waits for a permit.
    pub(super) async fn one(&self) -> Option<Permit> {
        Permit::next_of(&self.work).await
    }

    /// Adds permits to `first`, up to `most`, and waits for them for this long in all.
    pub(super) async fn gather(
        &self,
        first: Permit,
        most: usize,
        patience: Duration,
    ) -> Vec<Permit> {
        let end = Instant::now() + patience;
        let mut permits = vec![first];
        while permits.len() < most {
            let next = match self.try_one() {
                Some(permit) => Some(permit),
                // Another receive or a message may give a permit back in a moment.
                None => timeout_at(end, self.one()).await.ok().flatten(),
            };
            match next {
                Some(permit) => permits.push(permit),
                None => break,
            }
        }
        permits
    }

    /// Exchanges the permit of a message that only has to be deleted, so that it is free for the
    /// next receive. Returns the same permit if too many deletes are unanswered.
    pub(super) fn to_settle(&self, own: Permit) -> Permit {
        Permit::try_of(&self.settling).unwrap_or(own)
    }
}
