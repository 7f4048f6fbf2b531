//! What follows from the look at one image of a sweep.

use std::time::SystemTime;

use crate::domain::coverage::Coverage;
use crate::domain::policy::Mode;
use crate::event::sweep::{self, Order};
use crate::notify::Notifier;
use crate::queue::{Outgoing, Queue};
use crate::registry::{Registry, Started};
use crate::worker::assess::Job;
use crate::worker::message::Worker;
use crate::worker::outcome::Failure;
use crate::worker::survey::Surveyed;

impl<Q: Queue, R: Registry, N: Notifier> Worker<Q, R, N> {
    /// Where the image stands when what follows is under way: one whose tags have to go becomes a message, and of others
    /// that basic scanning scanned long ago, or never, another scan is asked for.
    pub(super) async fn follow_up(
        &self,
        job: Job<'_>,
        order: &Order,
        image: &Surveyed,
        messages: &mut Vec<Outgoing>,
    ) -> Result<Coverage, Failure> {
        if image.coverage == Coverage::Untag {
            let of = &image.image.digest;
            let body = sweep::image(order, &job.event.repository, of, &image.untag);
            messages.push(super::now(body));
        }
        // What violates the policy by what is known goes first: while it is scanned, nothing is known of it. And a scan is
        // a change, if a small one: audit mode makes none.
        if image.coverage.violates() || self.assessor.terms(job).mode == Mode::Audit {
            return Ok(image.coverage);
        }
        self.rescan(job, image).await
    }

    fn is_due(&self, last: Option<SystemTime>) -> bool {
        let Some(after) = self.sweeps.settings.rescan_after else { return false };
        last.is_none_or(|last| self.context().clock.since(last) >= after)
    }

    /// Asks for the scans. Their end comes as an event, so that nothing waits for it here.
    async fn rescan(&self, job: Job<'_>, image: &Surveyed) -> Result<Coverage, Failure> {
        let repository = &job.event.repository;
        let home = repository.home();
        let mut stands = image.coverage;
        for (digest, _) in image.basic.iter().filter(|(_, last)| self.is_due(*last)) {
            if self.sweeps.begins_no_scan(&home) {
                break;
            }
            let registry = &self.assessor.registry;
            let started =
                self.assessor.ecr(job, || registry.start_scan(repository, digest)).await?;
            match started {
                Started::Begun if stands != Coverage::Clean => stands = Coverage::Scanning,
                Started::Unsupported if stands == Coverage::NeverScanned => {
                    stands = Coverage::Unsupported;
                }
                Started::NotHere => self.sweeps.set_begins_no_scan(home.clone()),
                Started::Begun | Started::Unsupported | Started::TooSoon | Started::Refused => {}
            }
        }
        Ok(stands)
    }
}
