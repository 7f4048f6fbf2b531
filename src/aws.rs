//! Shared by the adapters for SQS, ECR and SNS: configuration per account and Region, timeouts,
//! classes of errors, and one place where every call is timed, counted, traced and paced.
//!
//! Each client has a retry quota of its own ([`Aws::retry_quota`]), because by default the SDK
//! shares one quota between all clients of a service and Region, so that an account that throttles
//! us would use up the retries of the others.
//!
//! Receives, deletes and extensions of leases are never repeated by the SDK. Whoever holds the
//! lease repeats them, so that no attempt begins after the lease has ended, and the polling loop
//! repeats receives.

mod attempts;
mod error;
mod identity;
mod operation;
mod pacing;
mod permission;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::{TimeoutConfig, TimeoutConfigBuilder};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryPartition;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::RequestId;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::clock::Clock;
use crate::domain::names::{Region, RegistryId};
use crate::telemetry::instruments::Instruments;
use crate::telemetry::traces;

pub(crate) use attempts::CountAttempts;
pub use error::{AwsError, ErrorClass};
pub(crate) use identity::Caller;
pub use operation::Operation;
pub(crate) use permission::{Permission, Tried};

use pacing::{LONGEST_WAIT, Line, Pacing, WaitedTooLong};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
const ATTEMPTS: u32 = 3;

/// The settings of `aws.*`.
#[derive(Clone, Debug, Default)]
pub struct AwsSettings {
    /// The ARN of the role to assume in another account, with `{account}` in place of the account.
    pub assume_role: Option<String>,
    /// The external id that is sent when the role is assumed.
    pub external_id: Option<String>,
}

/// The SDK's configuration with our timeouts, and the counting and pacing of calls.
#[derive(Clone, Debug)]
pub struct Aws {
    config: SdkConfig,
    settings: AwsSettings,
    instruments: Arc<Instruments>,
    pacing: Option<Arc<Pacing>>,
}

/// Declares the calls that are counted, each with every outcome.
pub fn declare(instruments: &Instruments) {
    for operation in Operation::ALL {
        let outcomes = std::iter::once("ok").chain(ErrorClass::ALL.map(ErrorClass::as_str));
        for outcome in outcomes {
            instruments.declare_call(operation.service(), operation.name(), outcome);
        }
        if operation.is_paced() {
            instruments.declare_paced(operation.name());
        }
    }
}

impl Aws {
    /// Takes the configuration from the environment and sets the timeouts and retries on which the
    /// worker relies.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: AwsSettings, instruments: Arc<Instruments>) -> Self {
        let config = config
            .to_builder()
            .timeout_config(
                timeouts(CALL_TIMEOUT).operation_attempt_timeout(ATTEMPT_TIMEOUT).build(),
            )
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .build();
        Self { config, settings, instruments, pacing: None }
    }

    /// Returns the same configuration for one account and Region, whose APIs are paced once AWS
    /// throttles them there.
    #[must_use]
    pub fn paced(&self, registry_id: &RegistryId) -> Self {
        Self { pacing: Some(Arc::new(Pacing::new(registry_id))), ..self.clone() }
    }

    /// Returns a retry quota for one client alone. The SDK's default is one quota for all clients
    /// of a service and Region, which a single account that throttles us would use up.
    #[must_use]
    pub fn retry_quota() -> RetryPartition {
        RetryPartition::custom("tagwarden").build()
    }

    /// Returns the wall clock that signs requests.
    ///
    /// Returns `None` only if the SDK's configuration was built without a time source.
    #[must_use]
    pub fn clock_of(config: &SdkConfig) -> Option<Clock> {
        let source = config.time_source()?;
        Some(Clock::new(move || source.now()))
    }

    /// Returns the configuration for our own account and Region.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Returns the configuration for our own account in another Region.
    #[must_use]
    pub fn in_region(&self, region: &Region) -> SdkConfig {
        let region = aws_config::Region::new(region.as_str().to_owned());
        self.config.to_builder().region(region).build()
    }

    /// Returns the configuration for a receive that waits up to `wait`. The call may outlast the
    /// wait, and only the polling loop repeats a call that failed.
    #[must_use]
    pub fn for_receive(&self, wait: Duration) -> SdkConfig {
        self.once(wait.saturating_add(ATTEMPT_TIMEOUT))
    }

    /// Returns the configuration to extend and settle leases. The holder of a lease repeats the
    /// call as long as the lease lasts.
    #[must_use]
    pub fn for_settling(&self) -> SdkConfig {
        self.once(ATTEMPT_TIMEOUT)
    }

    /// Returns a configuration with which the SDK repeats nothing. The answers are small and the
    /// limit covers each of them as a whole, so protection against stalled streams would be work
    /// for nothing.
    fn once(&self, limit: Duration) -> SdkConfig {
        self.config
            .to_builder()
            .timeout_config(timeouts(limit).build())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .build()
    }

    /// Returns the configuration for the registry at `place`. With `aws.assume_role`, another
    /// account is reached by its role, else by the permissions that its repository policies grant
    /// us.
    pub async fn at(&self, place: &RegistryId, own: &RegistryId) -> SdkConfig {
        let config = self.in_region(&place.region);
        let role = match &self.settings.assume_role {
            Some(role) if place.account != own.account => role,
            _ => return config,
        };
        let mut provider =
            AssumeRoleProvider::builder(role.replace("{account}", place.account.as_str()))
                .session_name("tagwarden")
                .configure(&self.config);
        if let Some(id) = &self.settings.external_id {
            provider = provider.external_id(id);
        }
        let provider = SharedCredentialsProvider::new(provider.build().await);
        config.into_builder().credentials_provider(provider).build()
    }

    /// Waits for one call; counts, times and traces it, and sorts its error into a class. A paced
    /// call first waits for its turn.
    ///
    /// # Errors
    /// Returns the call's own error, or an error of the class `Throttled` if its turn does not come
    /// in time.
    pub async fn call<T, E>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let line = self.pacing.as_ref().and_then(|pacing| pacing.line(operation));
        if let Some(line) = line {
            self.turn(operation, line).await?;
        }
        let span = traces::call(operation.service(), operation.name());
        self.follow(&span, operation, line.cloned(), call).await
    }

    async fn turn(&self, operation: Operation, line: &Line) -> Result<(), AwsError> {
        if line.is_free() {
            return Ok(());
        }
        self.instruments.paced(operation.name());
        line.turn().await.map_err(|WaitedTooLong| AwsError {
            operation,
            class: ErrorClass::Throttled,
            code: None,
            message: format!(
                "not sent: AWS throttles it, and its turn did not come within {LONGEST_WAIT:?}"
            ),
            request_id: None,
        })
    }

    /// Does the same without pacing and in a span of the caller, which has the fields that describe
    /// a call.
    ///
    /// # Errors
    /// Returns the call's own error.
    pub async fn call_in<T, E>(
        &self,
        span: &Span,
        operation: Operation,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        self.follow(span, operation, None, call).await
    }

    async fn follow<T, E>(
        &self,
        span: &Span,
        operation: Operation,
        line: Option<Arc<Line>>,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let (service, name) = (operation.service(), operation.name());
        let started = Instant::now();
        let counted = attempts::counted(line, Box::pin(call));
        let (result, attempts) = counted.instrument(span.clone()).await;
        let result = result.map_err(|error| AwsError::from_sdk(operation, &error));
        let (outcome, request_id) = match &result {
            Ok(answer) => ("ok", answer.request_id()),
            Err(error) if error.says_done() => ("ok", error.request_id.as_deref()),
            Err(error) => {
                traces::failed(
                    span,
                    error.code.as_deref().unwrap_or(error.class.as_str()),
                    &error.message,
                );
                (error.class.as_str(), error.request_id.as_deref())
            }
        };
        span.record("aws.request_id", request_id);
        if attempts > 1 {
            span.record("http.request.resend_count", attempts - 1);
        }
        self.instruments.aws_call(service, name, outcome, started.elapsed());
        result
    }
}

fn timeouts(call: Duration) -> TimeoutConfigBuilder {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(call)
}
