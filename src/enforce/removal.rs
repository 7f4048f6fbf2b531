//! Removes tags by compare-and-delete, and checks every entry of the answers (invariants 3 and 5).
//!
//! A tag is removed only by tag *and* digest, so that a tag that has moved to another image stays.
//! With `registry.untag = "tag"`, for registries without the compare, there is a moment between the
//! read and the delete: a tag that moves in it is found in the answer, reported as an over-reach
//! and put back.

use super::Target;
use super::actions::ImageAction;
use super::quota::Reservation;
use crate::aws::ErrorClass;
use crate::domain::names::Tag;
use crate::domain::reconcile::{AnsweredId, TagFailure, Untagged};
use crate::health::Health;
use crate::inspect::EcrCalls;
use crate::outcome::Failure;
use crate::registry::{Registry, UNTAG_BATCH};
use crate::telemetry::instruments::Instruments;

/// The purpose of removing a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To keep people from pulling the image.
    Quarantine,
    /// To delete the image with its last tag.
    Delete,
}

impl Purpose {
    fn done(self) -> ImageAction {
        match self {
            Self::Quarantine => ImageAction::UntagDone,
            Self::Delete => ImageAction::DeleteDone,
        }
    }

    fn superseded(self) -> ImageAction {
        match self {
            Self::Quarantine => ImageAction::UntagSuperseded,
            Self::Delete => ImageAction::DeleteSuperseded,
        }
    }

    fn failed(self) -> ImageAction {
        match self {
            Self::Quarantine => ImageAction::UntagFailed,
            Self::Delete => ImageAction::DeleteFailed,
        }
    }
}

/// Why removing ended before every tag was removed.
pub(super) enum Halt {
    Failure(Failure),
    Blocked(String),
    Overreach(Vec<AnsweredId>),
}

/// The result of removing tags.
#[derive(Default)]
pub(super) struct Removed {
    pub(super) done: Untagged,
    /// Tags of which it is not known whether they were removed.
    pub(super) uncertain: Vec<Tag>,
    pub(super) halt: Option<Halt>,
}

/// Removes tags of one image.
pub(super) struct Removal<'a, R> {
    pub(super) ecr: &'a EcrCalls<R>,
    pub(super) health: &'a Health,
    pub(super) instruments: &'a Instruments,
    pub(super) target: Target<'a>,
    pub(super) purpose: Purpose,
}

impl<R: Registry> Removal<'_, R> {
    /// Removes these tags, a hundred by each call, until all are removed or something ends the
    /// work.
    pub(super) async fn run(
        &self,
        tags: &[Tag],
        mut reservation: Option<Reservation<'_>>,
    ) -> Removed {
        let Target { request, violation, .. } = self.target;
        let digest = &violation.image.digest;
        let mut all = Removed::default();
        for batch in tags.chunks(UNTAG_BATCH) {
            // Checked at every call, because another message's over-reach stops this one too.
            if self.health.is_overreached() {
                all.halt = Some(Halt::Failure(Failure::Stopped));
                break;
            }
            if let Some(reservation) = &mut reservation {
                reservation.spend(batch.len());
            }
            // The hold was read a moment ago. Only if this call is refused and repeated after a
            // pause (`EcrCalls`), a hold that is granted in the pause comes too late for this
            // batch: the refused call is the probe that ends the pause, so it cannot be given up.
            // The second look of the restore gives the tags back then.
            let call = |registry| R::untag(registry, &request.repository, digest, batch);
            let now = match self.ecr.call(request, call).await {
                Ok(now) => now,
                Err(failure) => {
                    if let Some(reservation) = &mut reservation
                        && !may_have_removed(&failure)
                    {
                        reservation.give_back(batch.len());
                    }
                    all.uncertain.extend_from_slice(batch);
                    all.halt = Some(Halt::Failure(failure));
                    break;
                }
            };
            if !now.beyond.is_empty() {
                // This comes first, so that from here on this process removes nothing more.
                self.health.overreached();
            }
            let (now, unread) = match self.tags_if_doubtful(&now).await {
                Ok(Some(tags)) => (without_doubt(now, &tags), None),
                Ok(None) => (now, None),
                Err(failure) => {
                    all.uncertain.extend(doubtful(&now).cloned());
                    (now, Some(failure))
                }
            };
            if let Some(reservation) = &mut reservation {
                reservation.give_back(now.moved.len() + now.failed.len());
            }
            self.count(self.purpose.done(), now.gone.len() + now.absent.len());
            self.count(self.purpose.superseded(), now.moved.len());
            self.count(self.purpose.failed(), now.failed.len());
            all.halt = halt(&now).or_else(|| unread.map(Halt::Failure));
            all.done.absorb(now);
            if all.halt.is_some() {
                break;
            }
        }
        all
    }

    /// Asks the registry for the image's tags, if an answer leaves any of them in doubt.
    async fn tags_if_doubtful(&self, done: &Untagged) -> Result<Option<Vec<Tag>>, Failure> {
        if doubtful(done).next().is_none() {
            return Ok(None);
        }
        let Target { request, violation, .. } = self.target;
        let read = |registry| R::image(registry, &request.repository, &violation.image.digest);
        let image = self.ecr.call(request, read).await?;
        Ok(Some(image.map(|image| image.tags).unwrap_or_default()))
    }

    fn count(&self, action: ImageAction, count: usize) {
        action.count(self.instruments, count);
    }
}

/// Returns whether a call that failed like this may have removed the tags nevertheless.
fn may_have_removed(failure: &Failure) -> bool {
    let Failure::Transient(error) = failure else { return false };
    matches!(error.class, ErrorClass::Timeout | ErrorClass::Connection | ErrorClass::Unavailable)
}

/// Returns the tags of which an answer does not prove that they are still there: those that it
/// leaves out, and those that failed. The SDK repeats a call whose answer was lost, and why the
/// repeated call failed does not tell what the first one did.
fn doubtful(done: &Untagged) -> impl Iterator<Item = &Tag> {
    let failed = done.failed.iter().filter(|(_, failure)| is_doubtful(failure));
    failed.map(|(tag, _)| tag).chain(&done.unanswered)
}

fn is_doubtful(failure: &TagFailure) -> bool {
    match failure {
        TagFailure::Retry(_) | TagFailure::Refused(_) => true,
        // The registry has looked at the tag.
        TagFailure::Blocked(_) => false,
    }
}

/// Returns an answer without its doubts, because the image has only these tags now.
fn without_doubt(done: Untagged, now: &[Tag]) -> Untagged {
    let is_there = |(tag, failure): &(Tag, TagFailure)| !is_doubtful(failure) || now.contains(tag);
    let (mut failed, absent): (Vec<_>, Vec<_>) = done.failed.into_iter().partition(is_there);
    let absent = absent.into_iter().map(|(tag, _)| tag);
    let (left_out, gone): (Vec<_>, Vec<_>) =
        done.unanswered.into_iter().partition(|tag| now.contains(tag));
    let why = || TagFailure::Retry("the answer leaves the tag out".to_owned());
    failed.extend(left_out.into_iter().map(|tag| (tag, why())));
    Untagged {
        failed,
        absent: done.absent.into_iter().chain(absent).collect(),
        gone: done.gone.into_iter().chain(gone).collect(),
        unanswered: Vec::new(),
        ..done
    }
}

/// Returns the reason why the gravest part of an answer ends the removal.
fn halt(done: &Untagged) -> Option<Halt> {
    if !done.beyond.is_empty() {
        return Some(Halt::Overreach(done.beyond.clone()));
    }
    let rank = |failure: &TagFailure| match failure {
        TagFailure::Blocked(_) => 0,
        TagFailure::Refused(_) => 1,
        TagFailure::Retry(_) => 2,
    };
    let (tag, gravest) = done.failed.iter().min_by_key(|(_, failure)| rank(failure))?;
    Some(match gravest {
        TagFailure::Blocked(why) => Halt::Blocked(format!("tag {tag}: {why}")),
        TagFailure::Refused(why) => {
            Halt::Failure(Failure::TagsRefused(format!("tag {tag}: {why}")))
        }
        TagFailure::Retry(why) => Halt::Failure(Failure::Incomplete(format!("tag {tag}: {why}"))),
    })
}
