//! Makes every call to the registry that a request leads to.
//!
//! When everything is refused ([`CircuitBreaker`]), polling pauses, and the refused call itself is
//! the probe: it is repeated here until it succeeds, under the heartbeat of its message. So
//! recovery needs no restart, refusals lose no message (invariant 11), and the rest of the code
//! sees only a value or a [`Failure`].

use std::future::Future;
use std::sync::Arc;

use super::circuit_breaker::CircuitBreaker;
use super::{Request, Urgency};
use crate::aws::{AwsError, ErrorClass};
use crate::backoff::Retries;
use crate::domain::names::{RegistryId, Repository};
use crate::health::{Health, Pause};
use crate::outcome::Failure;
use crate::shutdown::Shutdown;

/// A registry behind the circuit breaker.
#[derive(Debug)]
pub(crate) struct EcrCalls<R> {
    registry: R,
    own: RegistryId,
    breaker: CircuitBreaker,
    health: Arc<Health>,
    shutdown: Shutdown,
}

impl<R> EcrCalls<R> {
    /// Creates the calls to `registry` by a worker in the account and Region `own`.
    #[must_use]
    pub(crate) fn new(
        registry: R,
        own: RegistryId,
        health: Arc<Health>,
        shutdown: Shutdown,
    ) -> Self {
        Self { registry, own, breaker: CircuitBreaker::default(), health, shutdown }
    }

    /// Returns the registry itself, for calls that are not repeated if they are refused.
    #[must_use]
    pub(crate) fn unguarded(&self) -> &R {
        &self.registry
    }

    /// Calls the registry about the request's repository.
    ///
    /// # Errors
    /// [`Failure`] of a call that is not repeated any longer.
    pub(crate) async fn call<'a, T, F, Fut>(
        &'a self,
        request: &Request,
        call: F,
    ) -> Result<T, Failure>
    where
        F: Fn(&'a R) -> Fut,
        Fut: Future<Output = Result<T, AwsError>>,
    {
        self.call_about(request, &request.repository, call).await
    }

    /// Calls the registry about another repository, such as a copy in another registry. A refusal
    /// concerns that repository.
    ///
    /// # Errors
    /// [`Failure`] of a call that is not repeated any longer.
    pub(crate) async fn call_about<'a, T, F, Fut>(
        &'a self,
        request: &Request,
        repository: &Repository,
        call: F,
    ) -> Result<T, Failure>
    where
        F: Fn(&'a R) -> Fut,
        Fut: Future<Output = Result<T, AwsError>>,
    {
        let is_own = repository.account == self.own.account && repository.region == self.own.region;
        let was_overreached = self.health.is_overreached();
        let mut retries = Retries::of_refused_call();
        loop {
            // Boxed, because the SDK's futures are large and many of ours wait for one.
            let error = match Box::pin(call(&self.registry)).await {
                Ok(value) => {
                    self.answered(repository);
                    return Ok(value);
                }
                Err(error) => error,
            };
            match error.class {
                ErrorClass::Refused | ErrorClass::Credentials
                    if request.urgency == Urgency::Immediate =>
                {
                    return Err(Failure::Refused(error));
                }
                ErrorClass::Credentials if is_own => {
                    self.health.pause(Pause::Credentials, &error);
                }
                // In another account or Region, credentials fail because of the role there, or
                // because the Region is not enabled. That is a refusal of that account or Region.
                ErrorClass::Refused | ErrorClass::Credentials => {
                    let is_everything = self.breaker.refused(repository);
                    if !is_everything || request.urgency == Urgency::Probe {
                        return Err(Failure::Refused(error));
                    }
                    self.health.pause(Pause::Registry, &error);
                }
                ErrorClass::Rejected => {
                    self.answered(repository);
                    return Err(Failure::Rejected(error));
                }
                _ => return Err(Failure::Transient(error)),
            }
            retries.wait(&self.shutdown).await?;
            // An over-reach in the meantime stops this call too, unless the call mends one.
            if self.health.is_overreached() && !was_overreached {
                return Err(Failure::Stopped);
            }
        }
    }

    fn answered(&self, repository: &Repository) {
        self.breaker.answered(repository);
        self.health.resume(Pause::Registry);
        self.health.resume(Pause::Credentials);
    }
}
