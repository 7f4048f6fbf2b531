//! One assessment of an image at a time, and its result for every message that it answers.
//!
//! A push causes hundreds of findings about one image, each a message of its own. An assessment
//! that started after a message was sent has seen all that the message could show, so its result
//! serves that message too:
//!
//! - If the image was acted on, or there is none, the whole result is shared.
//! - If the image may keep its tags, only the snapshot of its scan is shared: another event may
//!   claim more, so each message judges the snapshot by its own claims and waits in its own time.
//! - A message that comes again may be the one whose notice was lost. It shares a result only if
//!   that assessment reported the same tags as claimed.
//!
//! No correctness rests on it: another task, or this one after a restart, assesses again.
//! Rejected: deduplication by the queue (FIFO), because it knows nothing of when ECR was read.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tracing::Span;

use crate::domain::names::{Digest, Repository, Tag};
use crate::inspect::{Request, ScanSnapshot, Shared, Started};
use crate::outcome::{Failure, Outcome};
use crate::telemetry::traces::{self, Place};

/// How long a result is kept for messages that are still in the queue.
const LIFE: Duration = Duration::from_secs(60);
/// Images whose results are kept.
const MAX_IMAGES: usize = 256;

/// How much of an assessment serves other messages.
#[derive(Clone, Debug)]
pub(super) enum Sharing {
    /// The result: the image was acted on, or there is none to act on.
    Result,
    /// The snapshot, for each message to judge by its own claims.
    Snapshot(Shared<ScanSnapshot>),
    /// Nothing.
    Nothing,
}

/// What came of an assessment.
#[derive(Clone, Debug)]
pub(super) struct FlightResult {
    pub(super) result: Result<Outcome, Failure>,
    pub(super) sharing: Sharing,
}

impl FlightResult {
    /// An inspection that failed: it failed for all who waited for it, unless it only has to be
    /// repeated in the message's own time.
    pub(super) fn failed(failure: Failure) -> Self {
        let sharing = match failure {
            Failure::Pending { .. } => Sharing::Nothing,
            _ => Sharing::Result,
        };
        Self { sharing, result: Err(failure) }
    }
}

/// What an earlier assessment has for a message.
pub(super) enum Reusable {
    /// Its result.
    Result(Result<Outcome, Failure>),
    /// Its snapshot. If `is_older` than the receive of the message, it must not make the message
    /// wait, because the message came again to look anew.
    Snapshot { snapshot: Arc<ScanSnapshot>, is_older: bool },
}

#[derive(Debug)]
struct Last {
    started: Started,
    ended: Instant,
    /// The span in which it was done.
    place: Option<Place>,
    /// The tags that its event named, if its message had been delivered before: those of them that
    /// had been removed before it were reported too.
    claimed: Option<Vec<Tag>>,
    result: FlightResult,
}

impl Last {
    fn serves(&self, request: &Request) -> bool {
        let Request { freshness, attempt, tags, .. } = request;
        let is_recent = match (&self.result.sharing, &self.result.result) {
            (Sharing::Nothing, _) => false,
            (Sharing::Snapshot(snapshot), _) => {
                self.started.is_after_sending(*freshness) && snapshot.get().is_some()
            }
            // A message that comes again may be the one whose team was not notified of the tags
            // that it names.
            (Sharing::Result, Ok(_)) => {
                let is_claimed = |tag| self.claimed.iter().flatten().any(|claimed| claimed == tag);
                let is_reported = self.claimed.is_some() && tags.iter().all(is_claimed);
                self.started.is_after_sending(*freshness) && (!attempt.is_repeated() || is_reported)
            }
            // A message that has come more often may have to report that it waits no longer.
            (Sharing::Result, Err(Failure::Unreplicated { receives, .. })) => {
                self.started.is_after_receiving(*freshness) && attempt.number <= *receives
            }
            // A failure is for those who waited for it, not for those who come again.
            (Sharing::Result, Err(_)) => self.started.is_after_receiving(*freshness),
        };
        is_recent && self.is_kept()
    }

    fn is_kept(&self) -> bool {
        self.ended.elapsed() < LIFE
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Last>>>;
type Slots = HashMap<(Repository, Digest), Slot>;

/// The right to assess one image, until it is dropped.
pub(super) struct Flight(OwnedMutexGuard<Option<Last>>);

impl Flight {
    /// Returns what the last assessment has for this request.
    pub(super) fn reusable(&self, request: &Request) -> Option<Reusable> {
        let last = self.0.as_ref().filter(|last| last.serves(request))?;
        let reusable = match &last.result.sharing {
            Sharing::Snapshot(snapshot) => {
                // It may just have given way to other findings.
                let snapshot = snapshot.get()?;
                let is_older = !last.started.is_after_receiving(request.freshness);
                Reusable::Snapshot { snapshot, is_older }
            }
            _ => Reusable::Result(last.result.result.clone().map(Outcome::shared)),
        };
        traces::refer_to(last.place.as_ref());
        Some(reusable)
    }

    /// Keeps the result of an assessment for others, and returns it.
    pub(super) fn land(
        mut self,
        started: Started,
        request: &Request,
        result: FlightResult,
    ) -> Result<Outcome, Failure> {
        let claimed = request.attempt.is_repeated().then(|| request.tags.clone());
        let (ended, place) = (Instant::now(), Place::of(&Span::current()));
        let own = result.result.clone();
        *self.0 = Some(Last { started, ended, place, claimed, result });
        own
    }
}

/// The assessments under way and the last results.
#[derive(Debug, Default)]
pub(super) struct SingleFlight(Mutex<Slots>);

impl SingleFlight {
    /// Waits until nobody else assesses this image.
    pub(super) async fn enter(&self, repository: &Repository, digest: &Digest) -> Flight {
        Flight(self.slot(repository, digest).lock_owned().await)
    }

    /// Drops the results that have been kept for long enough, because each may hold many findings.
    pub(super) fn tidy(&self) {
        drop_old(&mut self.0.lock());
    }

    fn slot(&self, repository: &Repository, digest: &Digest) -> Slot {
        let mut slots = self.0.lock();
        drop_old(&mut slots);
        if slots.len() >= MAX_IMAGES {
            slots.retain(|_, slot| is_used(slot));
        }
        Arc::clone(slots.entry((repository.clone(), digest.clone())).or_default())
    }
}

fn is_used(slot: &Slot) -> bool {
    Arc::strong_count(slot) > 1
}

/// Drops what nobody waits for, because it can be done again.
fn drop_old(slots: &mut Slots) {
    slots.retain(|_, slot| {
        is_used(slot) || slot.try_lock().is_ok_and(|last| last.as_ref().is_some_and(Last::is_kept))
    });
}
