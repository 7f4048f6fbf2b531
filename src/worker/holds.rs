//! What keeps a violating image's tags in place although they may go: too few others to run, and repositories that a
//! pull would fill again.

use super::assess::{Assessor, Job};
use super::observe::{Seen, Violation};
use super::outcome::Failure;
use super::pull_through::PulledThrough;
use crate::notify::Notifier;
use crate::registry::Registry;

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Adds to the plan why nothing may be untagged, if so.
    #[tracing::instrument(name = "decide", skip_all)]
    pub(super) async fn hold(
        &self,
        job: Job<'_>,
        violation: &mut Violation,
    ) -> Result<(), Failure> {
        let plan = &mut violation.plan;
        // Also the deletion of an image whose tags have gone is repeated.
        if plan.holds.is_empty() && (plan.delete || !plan.untag.is_empty()) {
            self.hold_by_replication(job, plan).await?;
        }
        if plan.untag.is_empty() {
            return Ok(());
        }
        match self.pull_through(job).await? {
            PulledThrough::No => {}
            PulledThrough::Unsaid => violation.plan.notes.push(
                "the registry has a pull-through cache rule of the prefix ROOT, and policy.pull_through does not \
                 name the repository: it is taken for one that no pull fills"
                    .to_owned(),
            ),
            PulledThrough::By(prefix) => violation.plan.holds.push(format!(
                "the repository is a pull-through cache ({prefix}): the next pull would bring the tags back"
            )),
        }
        let least = self.terms(job).keep_at_least;
        if violation.plan.holds.is_empty() && least > 0 {
            let others = self.others(job, violation, least).await?;
            if others < least {
                violation.plan.holds.push(format!(
                    "only {others} other tagged images without a known violation are left, and {least} must be \
                     (keep_at_least)"
                ));
            }
        }
        Ok(())
    }

    /// Whether pulls fill the repository from another registry.
    pub(super) async fn pull_through(&self, job: Job<'_>) -> Result<PulledThrough, Failure> {
        let (policy, repository) = (&self.context.policy, &job.event.repository);
        let pulled = self.pull_through.of(&self.registry, policy, repository).await;
        pulled.map_err(Failure::Transient)
    }

    /// Counts other tagged images without a known violation, no further than `enough`.
    async fn others(
        &self,
        job: Job<'_>,
        violation: &Violation,
        enough: usize,
    ) -> Result<usize, Failure> {
        let Some(listing) = self.listing(job).await? else { return Ok(0) };
        let repository = &job.event.repository;
        let mut found = 0;
        for digest in &listing.pullable {
            if found >= enough {
                break;
            }
            if *digest == violation.image.digest {
                continue;
            }
            // The listing can be old: only an image that still has a tag counts.
            let image = self.ecr(job, || self.registry.image(repository, digest)).await?;
            let Some(image) = image.filter(|image| image.is_pullable()) else { continue };
            let seen = match self.observe_other(job, image).await {
                // One that cannot be looked at is not known to be without a violation, and holds up nobody.
                Err(Failure::Rejected(_) | Failure::Refused(_)) => continue,
                seen => seen?,
            };
            found +=
                usize::from(!matches!(seen, Seen::Violation(_) | Seen::NotAnImage | Seen::Absent));
        }
        Ok(found)
    }
}
