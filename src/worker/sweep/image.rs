//! What follows from the look at one image of a sweep.

use std::time::SystemTime;

use tracing::warn;

use crate::aws::ErrorClass;
use crate::domain::coverage::Coverage;
use crate::domain::policy::Mode;
use crate::event::sweep::{self, Order};
use crate::notify::Notifier;
use crate::queue::{Outgoing, Queue};
use crate::registry::{Asked, Registry};
use crate::worker::assess::Job;
use crate::worker::message::Worker;
use crate::worker::survey::{Pace, Surveyed};

impl<Q: Queue, R: Registry, N: Notifier> Worker<Q, R, N> {
    /// The message by which an image whose tags have to go is acted on, or people are told by name of an index that is not
    /// known as a whole.
    pub(super) fn to_act_on(
        &self,
        job: Job<'_>,
        order: &Order,
        image: &Surveyed,
    ) -> Option<Outgoing> {
        let body = || sweep::image(order, &job.event.repository, &image.image.digest, &image.untag);
        let enforces = || self.assessor.terms(job).mode == Mode::Enforce;
        let acts = image.coverage == Coverage::Untag || (image.is_unresolved && enforces());
        acts.then(|| super::now(body()))
    }

    fn is_due(&self, last: Option<SystemTime>) -> bool {
        let Some(after) = self.sweeps.settings.rescan_after else { return false };
        last.is_none_or(|last| self.context().clock.since(last) >= after)
    }

    /// Asks for other scans where basic scanning looked long ago, or never. Their end comes as an event, so that nothing
    /// waits for it here; what cannot be begun, or not before the worker stops, is begun by the next sweep.
    pub(super) async fn rescan_all(&self, job: Job<'_>, images: &[Surveyed], pace: &Pace) {
        let rescans = async {
            for image in images {
                self.rescan(job, image, pace).await;
            }
        };
        tokio::select! {
            biased;
            () = self.context().shutdown.draining() => {}
            () = rescans => {}
        }
    }

    async fn rescan(&self, job: Job<'_>, image: &Surveyed, pace: &Pace) {
        // What violates the policy by what is known goes first: while it is scanned, nothing is known of it. And a scan is
        // a change, if a small one: audit mode makes none.
        if image.coverage.violates() || self.assessor.terms(job).mode == Mode::Audit {
            return;
        }
        let repository = &job.event.repository;
        let home = repository.home();
        for (digest, _) in image.basic.iter().filter(|(_, last)| self.is_due(*last)) {
            if self.sweeps.begins_no_scan(&home) {
                break;
            }
            pace.wait().await;
            match Box::pin(self.assessor.registry.start_scan(repository, digest)).await {
                Ok(Asked::Here) => {}
                Ok(Asked::NotHere) => {
                    let why = "its scanning is enhanced, or its quota is used up";
                    self.sweeps.set_begins_no_scan(home.clone(), why);
                }
                Err(error)
                    if matches!(error.class, ErrorClass::Refused | ErrorClass::Credentials) =>
                {
                    warn!(%error, "cannot ask for other scans");
                    self.sweeps.set_begins_no_scan(home.clone(), "it refuses to");
                }
                Err(error) => warn!(%digest, %error, "cannot ask for another scan"),
            }
        }
    }
}
