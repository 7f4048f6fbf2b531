//! Lets one assessment of an image run at a time, and shares its result with other messages.
//!
//! A push causes hundreds of findings about one image, each a message of its own. An assessment
//! that started after a message was sent (by the queue's clock, with two seconds to spare) or after
//! it was received has seen all that the message could show, so its result serves that message too:
//!
//! - If the image was acted on or is absent, the whole result is shared.
//! - If the image may keep its tags, only the snapshot of its scan is shared, because another event
//!   may claim more: each message judges the snapshot by its own claim and waits in its own time.
//! - A message that comes again may be the one whose notice was lost. It shares a result only if
//!   that assessment reported the same tags as claimed. If it waited for findings, it inspects
//!   anew, because the retry exists to look again.
//! - A failure is shared only with messages that waited for it.
//! - A message that is judged by another policy, because a watched file has changed it meanwhile,
//!   shares nothing. The right to assess an image does not depend on the policy, so two policies
//!   never work on one image at once.
//!
//! Results are kept for a minute. No correctness rests on the sharing: another task, or this one
//! after a restart, assesses again.
//!
//! Rejected: deduplication by the queue (FIFO), because it does not know when ECR was read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;
use tracing::Span;

use crate::bounded::Slots;
use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::policy::Fingerprint;
use crate::inspect::{Evictable, Request, ScanSnapshot, Started};
use crate::outcome::{Failure, Outcome};
use crate::telemetry::traces::{self, SpanPlace};

/// How long a result is kept for messages that are still in the queue.
const LIFE: Duration = Duration::from_secs(60);
/// The most images whose results are kept.
const MAX_IMAGES: usize = 256;

/// How much of an assessment serves other messages.
#[derive(Clone, Debug)]
pub(super) enum Sharing {
    /// The whole result, because the image was acted on or is absent.
    Result,
    /// The snapshot, for each message to judge by its own claims.
    Snapshot(Evictable<ScanSnapshot>),
    /// No part of it.
    Nothing,
}

/// The result of an assessment, and how much of it serves other messages.
#[derive(Clone, Debug)]
pub(super) struct FlightResult {
    pub(super) result: Result<Outcome, Failure>,
    pub(super) sharing: Sharing,
}

impl FlightResult {
    /// Returns the result of an inspection that failed. All messages that waited for it share the
    /// failure, unless the inspection only has to be repeated in the message's own time.
    pub(super) fn failed(failure: Failure) -> Self {
        let sharing = match failure {
            Failure::Pending { .. } => Sharing::Nothing,
            _ => Sharing::Result,
        };
        Self { sharing, result: Err(failure) }
    }
}

/// The part of an earlier assessment that serves a message.
pub(super) enum Reusable {
    /// Its result.
    Result(Result<Outcome, Failure>),
    /// Its snapshot. If it `is_older` than the receive of the message, it must not make the message
    /// wait, because the message came again to look anew.
    Snapshot { snapshot: Arc<ScanSnapshot>, is_older: bool },
}

/// The last assessment of an image.
#[derive(Debug)]
struct Last {
    started: Started,
    ended: Instant,
    /// The fingerprint of the policy by which it was done. A message that is judged by another
    /// policy shares nothing of it.
    policy: Fingerprint,
    /// The span in which it was done.
    place: Option<SpanPlace>,
    /// The tags that its event named, if its message had been delivered before. Only then it also
    /// reported those of them that an earlier delivery had removed.
    claimed: Option<Vec<Tag>>,
    result: FlightResult,
}

impl Last {
    fn serves(&self, request: &Request) -> bool {
        let Request { freshness, attempt, tags, policy, .. } = request;
        if self.policy != *policy.fingerprint() {
            return false;
        }
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
            // A message that has come more often may have to report that its wait is over.
            (Sharing::Result, Err(Failure::Unreplicated { receives, .. })) => {
                self.started.is_after_receiving(*freshness) && attempt.number <= *receives
            }
            // A failure is for messages that waited for it, not for messages that come again.
            (Sharing::Result, Err(_)) => self.started.is_after_receiving(*freshness),
        };
        is_recent && self.is_kept()
    }

    fn is_kept(&self) -> bool {
        self.ended.elapsed() < LIFE
    }
}

/// Held by the message that assesses the image.
type LastFlight = tokio::sync::Mutex<Option<Last>>;

/// The right to assess one image, until it is dropped.
pub(super) struct Flight(OwnedMutexGuard<Option<Last>>);

impl Flight {
    /// Returns the part of the last assessment that serves this request, if any.
    pub(super) fn reusable(&self, request: &Request) -> Option<Reusable> {
        let last = self.0.as_ref().filter(|last| last.serves(request))?;
        let reusable = match &last.result.sharing {
            Sharing::Snapshot(snapshot) => {
                // It may have given way to other findings a moment ago.
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
        let (ended, place) = (Instant::now(), SpanPlace::of(&Span::current()));
        let (policy, own) = (request.policy.fingerprint().clone(), result.result.clone());
        *self.0 = Some(Last { started, ended, policy, place, claimed, result });
        own
    }
}

/// Keeps an image from being assessed until it is dropped.
pub(crate) struct Undisturbed(#[expect(dead_code, reason = "it is held")] Flight);

impl Flight {
    /// Forgets the last assessment, because what is done now makes it untrue.
    pub(super) fn undisturbed(mut self) -> Undisturbed {
        *self.0 = None;
        Undisturbed(self)
    }
}

/// The assessments under way and the last results.
#[derive(Debug)]
pub(super) struct SingleFlight(Slots<(Repository, Digest), LastFlight>);

impl Default for SingleFlight {
    fn default() -> Self {
        Self(Slots::new(MAX_IMAGES, is_kept))
    }
}

impl SingleFlight {
    /// Waits until no other message assesses this image.
    pub(super) async fn enter(&self, repository: &Repository, digest: &Digest) -> Flight {
        self.tidy();
        let slot = self.0.get(&(repository.clone(), digest.clone()), LastFlight::default);
        Flight(slot.lock_owned().await)
    }

    /// Drops the results that have been kept for long enough, because each may hold many findings.
    pub(super) fn tidy(&self) {
        self.0.tidy();
    }
}

fn is_kept(slot: &LastFlight) -> bool {
    slot.try_lock().is_ok_and(|last| last.as_ref().is_some_and(Last::is_kept))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::domain::names::sample::repository;
    use crate::domain::origin::Origin;
    use crate::domain::policy::{Policy, PolicyVersion, RuleSettings, Unscanned};
    use crate::event::Claim;
    use crate::inspect::{Freshness, Urgency};
    use crate::outcome::Attempt;

    fn request() -> Request {
        let digest = Digest::parse(format!("sha256:{}", "a".repeat(64))).unwrap();
        let origin = Origin {
            id: None,
            source: String::new(),
            detail_type: String::new(),
            time: None,
            at: None,
        };
        Request {
            repository: repository("team/app"),
            digest: Some(digest),
            tags: Vec::new(),
            claim: Claim::Nothing,
            origin,
            event_id: String::new(),
            message_id: None,
            freshness: Freshness::now(None),
            attempt: Attempt::ONLY,
            urgency: Urgency::Queued,
            only: None,
            policy: Arc::new(PolicyVersion::new(Policy::default())),
        }
    }

    async fn enter(flights: &SingleFlight, request: &Request) -> Flight {
        flights.enter(&request.repository, request.digest.as_ref().unwrap()).await
    }

    async fn land(flights: &SingleFlight, request: &Request) {
        let result = FlightResult { result: Ok(Outcome::Quarantined), sharing: Sharing::Result };
        let started = Started::now(&Clock::of_this_machine());
        let _ = enter(flights, request).await.land(started, request, result);
    }

    #[tokio::test(start_paused = true)]
    async fn result_from_before_an_undisturbed_time_serves_nobody() {
        let (flights, request) = (SingleFlight::default(), request());
        land(&flights, &request).await;
        assert!(enter(&flights, &request).await.reusable(&request).is_some());
        drop(enter(&flights, &request).await.undisturbed());
        assert!(enter(&flights, &request).await.reusable(&request).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn result_by_another_policy_serves_nobody() {
        let (flights, request) = (SingleFlight::default(), request());
        land(&flights, &request).await;
        let unscanned = Unscanned::Ignore;
        let base = RuleSettings { unscanned, ..RuleSettings::default() };
        let other = PolicyVersion::new(Policy { base, ..Policy::default() });
        let by_other = Request { policy: Arc::new(other), ..request.clone() };
        assert!(enter(&flights, &by_other).await.reusable(&by_other).is_none());
        let same = PolicyVersion::new(Policy::default());
        let by_same = Request { policy: Arc::new(same), ..request };
        assert!(enter(&flights, &by_same).await.reusable(&by_same).is_some());
    }
}
