//! Puts the quarantine tag on an image, which keeps the image when its other tags are removed
//! (invariant 4), because ECR deletes an image with its last tag.

use tracing::info;

use super::Target;
use crate::domain::names::Tag;
use crate::inspect::EcrCalls;
use crate::outcome::Failure;
use crate::registry::{Manifest, Markable, Registry, TOO_LARGE, Tagging};
use crate::telemetry::logs::AUDIT;

/// The result of marking an image.
pub(super) enum Marking {
    /// The image bears this mark.
    Done { manifest: Manifest, mark: Tag },
    /// The image cannot be marked, for this reason.
    Refused(String),
    /// The image is gone.
    Absent,
}

/// Makes sure that the image bears a quarantine tag of its own, without taking one off another
/// image.
///
/// ECR has no compare for PutImage: in a repository with mutable tags, a quarantine tag that
/// somebody puts on another image between the read and the PutImage is moved.
pub(super) async fn mark<R: Registry>(
    ecr: &EcrCalls<R>,
    target: Target<'_>,
) -> Result<Marking, Failure> {
    let Target { request, violation, plan } = target;
    let (repository, digest) = (&request.repository, &violation.image.digest);
    let read = |registry| R::markable(registry, repository, digest);
    let Markable { manifest, marks } = match ecr.call(request, read).await {
        Ok(Some(markable)) => markable,
        Ok(None) => return Ok(Marking::Absent),
        Err(Failure::Rejected(error)) if error.is(TOO_LARGE) => {
            return Ok(Marking::Refused(error.to_string()));
        }
        Err(failure) => return Err(failure),
    };
    if let Some(own) = marks.own() {
        return Ok(Marking::Done { mark: own.clone(), manifest });
    }
    for mark in marks.free() {
        let put = |registry| R::tag(registry, repository, &manifest, mark);
        match ecr.call(request, put).await? {
            Tagging::Confirmed => {
                if *mark != plan.quarantine {
                    info!(
                        target: AUDIT,
                        repository = %repository.name,
                        %digest,
                        quarantine = %mark,
                        "another image bears the first quarantine tag: marked by another"
                    );
                }
                return Ok(Marking::Done { mark: mark.clone(), manifest });
            }
            // Somebody has taken it since the read.
            Tagging::Taken(_) => {}
            Tagging::RefusedForGood(reason) => {
                return Ok(Marking::Refused(format!("the quarantine tag is refused: {reason}")));
            }
        }
    }
    Ok(Marking::Refused(format!(
        "every quarantine tag of the image, {0} and {0}.1 to {0}.9, is on another image: take one \
         of them off there",
        Tag::quarantine(digest)
    )))
}
