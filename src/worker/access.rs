//! Calls to the registry that are waited for where access is refused.

use std::future::Future;

use tracing::{info, warn};

use super::assess::{Assessor, Context, Job};
use super::outcome::Failure;
use super::probe::Probe;
use crate::aws::{AwsError, ErrorClass};
use crate::domain::image::Repository;
use crate::health::Pause;
use crate::notify::Notifier;
use crate::registry::Registry;

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Calls the registry about the job's repository. Where everything is refused, polling pauses and the call itself is
    /// the probe.
    pub(super) async fn ecr<T, F, Fut>(&self, job: Job<'_>, call: F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, AwsError>>,
    {
        self.ecr_about(job, &job.event.repository, call).await
    }

    /// The same about another repository, such as a copy in another registry: what refuses is that one.
    pub(super) async fn ecr_about<T, F, Fut>(
        &self,
        job: Job<'_>,
        repository: &Repository,
        call: F,
    ) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, AwsError>>,
    {
        let Context { own, health, shutdown, .. } = &self.context;
        let at_home = repository.account == own.account && repository.region == own.region;
        let overreached = health.is_overreached();
        let mut probe = Probe::default();
        loop {
            // The SDK's futures are large, and many of ours wait for one.
            let error = match Box::pin(call()).await {
                Ok(value) => {
                    self.registry_answered(repository);
                    return Ok(value);
                }
                Err(error) => error,
            };
            match error.class {
                ErrorClass::Refused | ErrorClass::Credentials if job.at_once => {
                    return Err(Failure::Refused(error));
                }
                ErrorClass::Credentials if at_home => {
                    self.set_paused(Pause::Credentials, true, Some(&error));
                }
                // Elsewhere it is the role in that account, or a Region that is not enabled.
                ErrorClass::Refused | ErrorClass::Credentials => {
                    if !self.refusals.refused(repository) || job.canary {
                        return Err(Failure::Refused(error));
                    }
                    self.set_paused(Pause::Registry, true, Some(&error));
                }
                ErrorClass::Rejected => {
                    self.registry_answered(repository);
                    return Err(Failure::Rejected(error));
                }
                _ => return Err(Failure::Transient(error)),
            }
            probe.wait(shutdown).await?;
            // An over-reach in the meantime stops this call too, unless it is what mends one.
            if health.is_overreached() && !overreached {
                return Err(Failure::Stopped);
            }
        }
    }

    fn registry_answered(&self, repository: &Repository) {
        self.refusals.answered(repository);
        self.set_paused(Pause::Registry, false, None);
        self.set_paused(Pause::Credentials, false, None);
    }

    pub(super) fn set_paused(&self, pause: Pause, on: bool, error: Option<&AwsError>) {
        if !self.context.health.set_paused(pause, on) {
            return;
        }
        match error {
            Some(error) => warn!(?pause, %error, "polling paused until the refused call succeeds"),
            None => info!(?pause, "polling goes on"),
        }
    }
}
