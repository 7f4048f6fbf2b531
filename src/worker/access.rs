//! Calls that are waited for where access is refused: to the registry, and to whoever tells the team.

use std::future::Future;

use tracing::{info, warn};

use super::assess::{Assessor, Context, Job};
use super::disposition::Failure;
use super::probe::Probe;
use crate::aws::{AwsError, ErrorClass};
use crate::domain::image::Repository;
use crate::health::Pause;
use crate::notify::render::render;
use crate::notify::{Notice, Notifier};
use crate::registry::Registry;

/// How often a notice of tags that went is tried before its lease is given up.
const TELL_ATTEMPTS: u32 = 4;

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Tells the team. Where the topic refuses us, polling pauses and the notice itself is the probe. A notice of tags
    /// that went is tried several times before the lease is given up: by the next delivery they are only claimed.
    pub(super) async fn tell(&self, notice: Notice) -> Result<(), Failure> {
        if self.told.is_old_news(&notice) {
            return Ok(());
        }
        let rendered = render(&notice, self.context.format);
        let mut attempts = if notice.tags.untagged.is_empty() { 1 } else { TELL_ATTEMPTS };
        let mut probe = Probe::default();
        loop {
            let result = self.notifier.publish(&rendered).await;
            self.context.instruments.notice(result.is_ok());
            match result {
                Ok(()) => {
                    self.set_paused(Pause::Topic, false, None);
                    self.told.remember(&notice);
                    return Ok(());
                }
                Err(error) if is_refusal(&error) => {
                    self.set_paused(Pause::Topic, true, Some(&error));
                }
                Err(error) => {
                    attempts -= 1;
                    if attempts == 0 || !error.class.is_transient() {
                        return Err(Failure::NotTold(error));
                    }
                    warn!(notice = notice.id, %error, "cannot tell yet");
                }
            }
            probe.wait(&self.context.shutdown).await?;
        }
    }

    /// Calls the registry about the job's repository. Where everything is refused, polling pauses and the call itself is
    /// the probe.
    pub(super) async fn ecr<T, F, Fut>(&self, job: Job<'_>, call: F) -> Result<T, Failure>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<T, AwsError>>,
    {
        let Context { own, health, shutdown, .. } = &self.context;
        let repository = &job.event.repository;
        let at_home = repository.account == own.account && repository.region == own.region;
        let overreached = health.is_overreached();
        let mut probe = Probe::default();
        loop {
            let error = match call().await {
                Ok(value) => {
                    self.registry_answered(repository);
                    return Ok(value);
                }
                Err(error) => error,
            };
            match error.class {
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

    fn set_paused(&self, pause: Pause, on: bool, error: Option<&AwsError>) {
        if !self.context.health.set_paused(pause, on) {
            return;
        }
        match error {
            Some(error) => warn!(?pause, %error, "polling paused until the refused call succeeds"),
            None => info!(?pause, "polling goes on"),
        }
    }
}

fn is_refusal(error: &AwsError) -> bool {
    matches!(error.class, ErrorClass::Refused | ErrorClass::Credentials)
}
