//! One assessment of an image at a time, and its result for every message that it can speak for.
//!
//! A push brings hundreds of findings about one image, each a message of its own. One assessment that began after a
//! message was sent has seen all that the message could show. No correctness rests on it: another task, or this one
//! after a restart, assesses again.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::observe::Sight;
use super::outcome::{Failure, Outcome};
use crate::domain::image::{Digest, Repository};
use crate::queue::Message;

/// How long a result is kept for messages that are still in the queue.
const KEPT: Duration = Duration::from_secs(60);
/// Images of which a result is kept.
const MOST: usize = 256;
/// How far the queue's clock and ours may be apart.
const SKEW: Duration = Duration::from_secs(2);

/// When something was begun, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    at: Instant,
    by_the_clock: SystemTime,
}

impl Began {
    /// Now, which is this time of day.
    pub(super) fn now(time_of_day: SystemTime) -> Self {
        Self { at: Instant::now(), by_the_clock: time_of_day }
    }

    pub(super) fn at(&self) -> Instant {
        self.at
    }

    /// Whether the message was certainly sent before.
    pub(super) fn after_sending(&self, message: &Message) -> bool {
        self.after_receiving(message)
            || message.sent_at.is_some_and(|sent| sent + SKEW <= self.by_the_clock)
    }

    /// Whether the message was in our hands before.
    fn after_receiving(&self, message: &Message) -> bool {
        self.at >= message.received_at
    }
}

/// What an assessment came to.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    pub(super) result: Result<Outcome, Failure>,
    /// What was seen, where the result is that there is nothing to do: a message that claims more has to compare.
    pub(super) sight: Option<Arc<Sight>>,
    /// Whether it may speak for other messages at all.
    pub(super) shared: bool,
}

impl Landed {
    /// A result that may speak for other messages.
    pub(super) fn new(result: Result<Outcome, Failure>) -> Self {
        Self { result, sight: None, shared: true }
    }
}

#[derive(Debug)]
struct Last {
    began: Began,
    ended: Instant,
    landed: Landed,
}

type Flight = Arc<tokio::sync::Mutex<Option<Last>>>;

/// The assessments under way and the last results.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<(Repository, Digest), Flight>>);

/// How a message came by its result.
#[derive(Debug)]
pub(super) enum Flown {
    /// By an assessment of its own.
    Own(Landed),
    /// By another message's.
    Joined(Landed),
}

impl Flights {
    /// The result of `work`, or of another message's work on the same image that began after this message was sent
    /// and that `accepted` says speaks for it.
    pub(super) async fn fly(
        &self,
        image: (&Repository, &Digest),
        message: &Message,
        time_of_day: impl Fn() -> SystemTime,
        accepted: impl Fn(&Landed) -> bool,
        work: impl Future<Output = Landed>,
    ) -> Flown {
        let flight = self.of(image);
        let mut last = flight.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.landed.shared) {
            let after_sending = match &last.landed.result {
                Ok(_) => last.began.after_sending(message),
                // A failure is for those who waited for it, not for those who come back.
                Err(_) => last.began.after_receiving(message),
            };
            if after_sending && last.ended.elapsed() < KEPT && accepted(&last.landed) {
                return Flown::Joined(last.landed.clone());
            }
        }
        let began = Began::now(time_of_day());
        let landed = work.await;
        *last = Some(Last { began, ended: Instant::now(), landed: landed.clone() });
        Flown::Own(landed)
    }

    fn of(&self, (repository, digest): (&Repository, &Digest)) -> Flight {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.len() >= MOST {
            // What nobody waits for can be done again.
            flights.retain(|_, flight| {
                let recent = |last: &Option<Last>| {
                    last.as_ref().is_some_and(|last| last.ended.elapsed() < KEPT)
                };
                flight.try_lock().is_ok_and(|last| recent(&last)) || Arc::strong_count(flight) > 1
            });
        }
        if flights.len() >= MOST {
            flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        }
        Arc::clone(flights.entry((repository.clone(), digest.clone())).or_default())
    }
}
