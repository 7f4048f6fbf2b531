//! Inspects what an event is about, as an assessment would, and changes nothing: the base of
//! `tagwarden explain --live`.

use std::sync::Arc;

use crate::domain::image::ImageKind;
use crate::domain::names::RegistryId;
use crate::domain::policy::OutOfScope;
use crate::inspect::{Inspection, Inspector, Request, Safeguards, is_cleared};
use crate::outcome::Failure;
use crate::registry::Registry;

/// What an event leads to.
#[derive(Debug)]
pub(crate) enum Live {
    /// The policy does not cover the repository.
    OutOfScope(OutOfScope),
    /// The event's own counts show that no limit is exceeded: nothing was inspected.
    Cleared,
    /// The inspections of each image, and of the indexes that hold it.
    Inspected(Vec<Inspection>),
}

/// Inspects everything that an assessment of the request would inspect, by a worker that lives in
/// the registry `own`.
///
/// # Errors
/// [`Failure`] if it cannot be inspected.
pub(crate) async fn inspect<R: Registry>(
    inspector: &Arc<Inspector<R>>,
    safeguards: &Safeguards<R>,
    own: &RegistryId,
    request: &Request,
) -> Result<Live, Failure> {
    if let Err(why) = request.policy.check_scope(&request.repository, own) {
        return Ok(Live::OutOfScope(why));
    }
    if is_cleared(&request.policy, &request.repository, &request.claim) {
        return Ok(Live::Cleared);
    }
    let mut all = Vec::new();
    for digest in inspector.evaluator().digests(request, |_| None).await? {
        match inspector.inspect(request, &digest).await? {
            Inspection::Violation(violation) if violation.image.kind != ImageKind::Index => {
                if let Some(tagged) = inspector.evaluator().tagged_images(request).await? {
                    for holder in tagged.holding(&digest) {
                        all.push(inspector.inspect_holder(request, holder, &violation).await?);
                    }
                }
                all.push(Inspection::Violation(violation));
            }
            inspection => all.push(inspection),
        }
    }
    let mut checked = Vec::new();
    for inspection in all {
        checked.push(match inspection {
            Inspection::Violation(violation) => {
                let violation = safeguards.check(request, *violation).await?;
                Inspection::Violation(Box::new(violation))
            }
            inspection => inspection,
        });
    }
    Ok(Live::Inspected(checked))
}
