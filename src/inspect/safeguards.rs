//! Finds the reasons for leaving a violating image's tags in place although the policy would remove
//! them: somebody holds the image, too few other images are left to run, a pull would bring the
//! tags back, or ECR replicates the removals.

use std::sync::Arc;

use super::pull_through::PullThrough;
use super::{
    EcrCalls, HoldCheck, Holds, Inspection, Inspector, PulledThrough, Replicas, Request, Violation,
};
use crate::domain::policy::Replicated;
use crate::domain::replication::listed;
use crate::outcome::Failure;
use crate::registry::Registry;

/// Adds the reasons for which nothing may be removed to the plan of a violation.
#[derive(Debug)]
pub(crate) struct Safeguards<R> {
    ecr: Arc<EcrCalls<R>>,
    inspector: Arc<Inspector<R>>,
    replicas: Arc<Replicas<R>>,
    holds: Arc<Holds<R>>,
    pull_through: PullThrough,
}

impl<R: Registry> Safeguards<R> {
    #[must_use]
    pub(crate) fn new(
        ecr: Arc<EcrCalls<R>>,
        inspector: Arc<Inspector<R>>,
        replicas: Arc<Replicas<R>>,
        holds: Arc<Holds<R>>,
    ) -> Self {
        Self { ecr, inspector, replicas, holds, pull_through: PullThrough::default() }
    }

    /// Returns the violation with the blockers in its plan.
    ///
    /// # Errors
    /// [`Failure`] if ECR cannot be asked.
    #[tracing::instrument(name = "decide", skip_all)]
    pub(crate) async fn check(
        &self,
        request: &Request,
        mut violation: Violation,
    ) -> Result<Violation, Failure> {
        let settings = request.settings();
        let plan = &mut violation.plan;
        // An earlier delivery that marked the image may still have to delete it.
        let acts = !plan.untag.is_empty() || (plan.delete && request.attempt.is_repeated());
        // An image that never bore our mark is held by nobody, and is not read for a hold here.
        if plan.marked && acts && self.holds.count(request) {
            let digest = &violation.image.digest;
            let HoldCheck { known, hold } = self.holds.read(request, digest, &plan.untag).await?;
            plan.records = Some(known);
            if let Some(hold) = hold {
                plan.keep_for(hold);
                return Ok(violation);
            }
        }
        // This also concerns an image with no tags left to remove, because its deletion is
        // replicated too.
        if plan.blockers.is_empty() && (plan.delete || !plan.untag.is_empty()) {
            let replicas = self.replicas.of(request).await?;
            match settings.replicated {
                _ if replicas.is_empty() => {}
                Replicated::Follow => plan.replicas = replicas,
                Replicated::Block => plan.blockers.push(format!(
                    "ECR repeats removals in {}, which could delete the image there (replicated)",
                    listed(&replicas)
                )),
            }
        }
        if plan.untag.is_empty() {
            return Ok(violation);
        }
        match self.pulled_through(request).await? {
            PulledThrough::No => {}
            PulledThrough::Unsaid => plan.notes.push(
                "the registry has a pull-through cache rule of the prefix ROOT, and \
                 policy.pull_through does not name the repository; assuming that no pull fills it"
                    .to_owned(),
            ),
            PulledThrough::By(prefix) => plan.blockers.push(format!(
                "the repository is a pull-through cache ({prefix}): the next pull would bring the \
                 tags back"
            )),
        }
        let least = settings.keep_at_least;
        if plan.blockers.is_empty() && least > 0 {
            let others = self.count_others(request, &violation, least).await?;
            if others < least {
                violation.plan.blockers.push(format!(
                    "only {others} other tagged images without a known violation are left, and \
                     {least} must be (keep_at_least)"
                ));
            }
        }
        Ok(violation)
    }

    /// Returns whether pulls fill the repository from another registry.
    ///
    /// # Errors
    /// [`Failure`] if ECR cannot be asked.
    pub(crate) async fn pulled_through(&self, request: &Request) -> Result<PulledThrough, Failure> {
        let registry = self.ecr.unguarded();
        let pulled = self.pull_through.of(registry, &request.policy, &request.repository).await;
        pulled.map_err(Failure::Transient)
    }

    /// Counts other tagged images without a known violation, up to `enough`.
    async fn count_others(
        &self,
        request: &Request,
        violation: &Violation,
        enough: usize,
    ) -> Result<usize, Failure> {
        let Some(tagged) = self.inspector.evaluator().tagged_images(request).await? else {
            return Ok(0);
        };
        let mut found = 0;
        for digest in tagged.pullable() {
            if found >= enough {
                break;
            }
            if *digest == violation.image.digest {
                continue;
            }
            // The image is read again, because the listing can be old and only an image that still
            // has a tag counts.
            let image = self.inspector.evaluator().image(request, digest).await?;
            let Some(image) = image.filter(|image| image.is_pullable()) else { continue };
            let inspection = match self.inspector.inspect_other(request, image).await {
                // An image that cannot be inspected does not count, and does not stop the removal.
                Err(Failure::Rejected(_) | Failure::Refused(_)) => continue,
                inspection => inspection?,
            };
            found += usize::from(!matches!(
                inspection,
                Inspection::Violation(_) | Inspection::NotAnImage | Inspection::Absent
            ));
        }
        Ok(found)
    }
}
