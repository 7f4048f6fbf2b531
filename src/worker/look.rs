//! A look at what an event is about, without any act: what `tagwarden explain --live` shows.

use super::assess::{Assessor, Job};
use super::observe::Seen;
use super::outcome::Failure;
use crate::domain::plan::Kind;
use crate::domain::policy::OutOfReach;
use crate::notify::Notifier;
use crate::registry::Registry;

/// What a look at an event came to.
#[derive(Debug)]
pub enum Look {
    /// The policy does not cover the repository.
    OutOfReach(OutOfReach),
    /// The event's own counts show that no limit is exceeded: nothing was looked at.
    Cleared,
    /// What was seen of each image, and of the indexes that hold it.
    Seen(Vec<Seen>),
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Looks at everything that an assessment would look at, and changes nothing.
    ///
    /// # Errors
    /// Why it cannot be looked at.
    pub async fn look(&self, job: Job<'_>) -> Result<Look, Failure> {
        let repository = &job.event.repository;
        if let Err(why) = self.context.policy.reach(repository, &self.context.own) {
            return Ok(Look::OutOfReach(why));
        }
        if self.is_cleared(job.event) {
            return Ok(Look::Cleared);
        }
        let mut all = Vec::new();
        for digest in self.digests(job).await? {
            match self.observe(job, &digest).await? {
                Seen::Violation(violation) if violation.image.kind != Kind::Index => {
                    if let Some(listing) = self.listing(job).await? {
                        for holder in listing.holding(&digest) {
                            let seen = self.observe_holder(job, holder, &violation);
                            all.push(self.held(job, seen.await?).await?);
                        }
                    }
                    all.push(self.held(job, Seen::Violation(violation)).await?);
                }
                mut seen => {
                    drop(seen.take_sight());
                    all.push(self.held(job, seen).await?);
                }
            }
        }
        Ok(Look::Seen(all))
    }

    async fn held(&self, job: Job<'_>, seen: Seen) -> Result<Seen, Failure> {
        let Seen::Violation(mut violation) = seen else { return Ok(seen) };
        self.hold(job, &mut violation).await?;
        Ok(Seen::Violation(violation))
    }
}
