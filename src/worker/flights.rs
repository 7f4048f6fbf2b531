//! One assessment of an image at a time, and what it came to for every message that it can speak for.
//!
//! A push brings hundreds of findings about one image, each a message of its own. One assessment that began after a
//! message was sent has seen all that the message could show. No correctness rests on it: another task, or this one
//! after a restart, assesses again.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::Span;

use super::memory::Shared;
use super::observe::{Seen, Sight};
use super::outcome::{Failure, Outcome};
use crate::domain::image::{Digest, Repository, Tag};
use crate::queue::Message;
use crate::telemetry::traces::{self, Place};

/// How long a result is kept for messages that are still in the queue.
const KEPT: Duration = Duration::from_secs(60);
/// Images of which a result is kept.
const MOST: usize = 256;
/// How far the clocks of the queue's own machines may be apart.
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
    pub(super) fn after_receiving(&self, message: &Message) -> bool {
        self.at >= message.received_at
    }
}

/// For whom an assessment speaks.
#[derive(Clone, Debug)]
pub(super) enum Speaks {
    /// What it came to is so for everybody: the image was acted on, or there is none to act on.
    ForAll,
    /// What it saw is for everybody to judge by the claims of their own event, and to wait for in their own time.
    BySight(Shared<Sight>),
    /// For nobody else.
    ForNone,
}

/// What an assessment came to.
#[derive(Clone, Debug)]
pub(super) struct Landed {
    pub(super) result: Result<Outcome, Failure>,
    pub(super) speaks: Speaks,
}

#[derive(Debug)]
struct Last {
    began: Began,
    ended: Instant,
    /// Where it was done.
    place: Option<Place>,
    /// The tags that its event named, where its message had been delivered before: those of them that had gone before
    /// it are told too.
    claimed: Option<Vec<Tag>>,
    landed: Landed,
}

impl Last {
    fn serves(&self, (message, tags): (&Message, &[Tag])) -> bool {
        let begun = match (&self.landed.speaks, &self.landed.result) {
            (Speaks::ForNone, _) => false,
            (Speaks::BySight(sight), _) => {
                self.began.after_sending(message) && sight.get().is_some()
            }
            // A message that comes again may be the one whose team was not told of the tags that it names.
            (Speaks::ForAll, Ok(_)) => {
                let told = |tag| self.claimed.iter().flatten().any(|claimed| claimed == tag);
                let told = self.claimed.is_some() && tags.iter().all(told);
                self.began.after_sending(message) && (message.receive_count == 1 || told)
            }
            // One that has come more often may have to tell that it is waited for no longer.
            (Speaks::ForAll, Err(Failure::Unreplicated { receives, .. })) => {
                self.began.after_receiving(message) && message.receive_count <= *receives
            }
            // A failure is for those who waited for it, not for those who come back.
            (Speaks::ForAll, Err(_)) => self.began.after_receiving(message),
        };
        begun && self.is_kept()
    }

    fn is_kept(&self) -> bool {
        self.ended.elapsed() < KEPT
    }
}

fn joined(outcome: &Outcome) -> Outcome {
    match outcome {
        Outcome::Joined(word) => Outcome::Joined(word),
        outcome => Outcome::Joined(outcome.as_str()),
    }
}

type Flight = Arc<tokio::sync::Mutex<Option<Last>>>;
type All = HashMap<(Repository, Digest), Flight>;

/// The assessments under way and the last results.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<All>);

impl Flights {
    /// The result of `work` on the image for a message whose event names these tags, or that of another message's work which began after this message was sent
    /// and speaks for it. Where only its sight does, `work` is given what `judge` makes of that, and need not look itself;
    /// but what is to wait by a sight from before the message was in our hands came again to look anew.
    pub(super) async fn fly<F, J>(
        &self,
        image: (&Repository, &Digest),
        (message, tags): (&Message, &[Tag]),
        time_of_day: impl Fn() -> SystemTime,
        judge: impl Fn(Arc<Sight>) -> J,
        work: impl FnOnce(Option<Seen>) -> F,
    ) -> Result<Outcome, Failure>
    where
        F: Future<Output = Landed>,
        J: Future<Output = Seen>,
    {
        let flight = self.of(image);
        let mut last = flight.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.serves((message, tags))) {
            let Speaks::BySight(sight) = &last.landed.speaks else {
                traces::refer_to(last.place.as_ref());
                return last.landed.result.clone().map(|outcome| joined(&outcome));
            };
            // It may just have given way to others.
            if let Some(sight) = sight.get() {
                traces::refer_to(last.place.as_ref());
                let seen = judge(sight).await;
                if last.began.after_receiving(message) || !matches!(seen, Seen::Wait(..)) {
                    return work(Some(seen)).await.result.map(|outcome| match outcome {
                        Outcome::Clean | Outcome::LeftToScan => joined(&outcome),
                        acted => acted,
                    });
                }
            }
        }
        let began = Began::now(time_of_day());
        let landed = work(None).await;
        let claimed = (message.receive_count > 1).then(|| tags.to_vec());
        let (ended, place) = (Instant::now(), Place::of(&Span::current()));
        *last = Some(Last { began, ended, place, claimed, landed: landed.clone() });
        landed.result
    }

    /// Drops the results that have been kept for long enough: each may hold many findings.
    pub(super) fn tidy(&self) {
        drop_old(&mut self.all());
    }

    fn of(&self, (repository, digest): (&Repository, &Digest)) -> Flight {
        let mut flights = self.all();
        drop_old(&mut flights);
        if flights.len() >= MOST {
            flights.retain(|_, flight| Arc::strong_count(flight) > 1);
        }
        Arc::clone(flights.entry((repository.clone(), digest.clone())).or_default())
    }

    fn all(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What nobody waits for can be done again.
fn drop_old(flights: &mut All) {
    flights.retain(|_, flight| {
        Arc::strong_count(flight) > 1
            || flight.try_lock().is_ok_and(|last| last.as_ref().is_some_and(Last::is_kept))
    });
}
