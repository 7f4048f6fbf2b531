//! What the adapters share: configuration per account and Region, timeouts, classes of errors, and one
//! place where every call is timed and counted.

mod attempts;
mod operation;
mod permission;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::config::retry::RetryPartition;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::RequestId;
use tokio::time::Instant;
use tracing::{Instrument as _, Span};

use crate::clock::Clock;
use crate::config::AwsSettings;
use crate::domain::image::{Home, Region};
use crate::domain::text::start;
use crate::telemetry::instruments::Instruments;
use crate::telemetry::traces;

pub use attempts::CountAttempts;
pub use operation::Operation;
pub use permission::{Permission, Tried};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(25);
const ATTEMPTS: u32 = 3;
/// How much of what AWS says of an error is kept, in characters.
const LONGEST_MESSAGE: usize = 1024;

/// What kind of failure a call met. It decides what becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// Too many calls.
    Throttled,
    /// The service or its key management failed.
    Unavailable,
    /// No answer in time. The call may have taken effect.
    Timeout,
    /// No connection, or it was lost. The call may have taken effect.
    Connection,
    /// The caller is not allowed, or the queue or topic does not exist.
    Refused,
    /// Our own credentials are missing, expired or not accepted.
    Credentials,
    /// The service finds fault with the request itself; sent again it fails again.
    Rejected,
}

impl ErrorClass {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::Throttled,
        Self::Unavailable,
        Self::Timeout,
        Self::Connection,
        Self::Refused,
        Self::Credentials,
        Self::Rejected,
    ];

    /// The word of metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Refused => "refused",
            Self::Credentials => "credentials",
            Self::Rejected => "rejected",
        }
    }

    /// Whether nobody's permission is at stake and the same call may well succeed later.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Timeout | Self::Connection)
    }

    /// Whether somebody's permission is at stake.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Credentials)
    }

    fn of_code(code: &str, status: u16) -> Self {
        match code {
            "Throttling"
            | "ThrottlingException"
            | "ThrottledException"
            | "Throttled"
            | "TooManyRequestsException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "RequestLimitExceeded"
            | "OverLimit" => Self::Throttled,
            "AccessDenied"
            | "AccessDeniedException"
            | "AuthorizationError"
            | "AuthorizationErrorException"
            | "NotAuthorized"
            | "OptInRequired"
            | "UnauthorizedOperation"
            | "QueueDoesNotExist"
            | "AWS.SimpleQueueService.NonExistentQueue"
            | "NotFound"
            | "NotFoundException" => Self::Refused,
            "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException" => Self::Credentials,
            // The queue knows no such lease, whoever it blames for that.
            "ReceiptHandleIsInvalid"
            | "MessageNotInflight"
            | "AWS.SimpleQueueService.MessageNotInflight"
            | "InvalidParameterValue" => Self::Rejected,
            // A key that is disabled or throttled is mended outside of us, and often by itself.
            kms if kms.to_ascii_lowercase().starts_with("kms") => Self::Unavailable,
            _ if status >= 500 => Self::Unavailable,
            _ if status == 429 => Self::Throttled,
            _ if status == 403 => Self::Refused,
            _ => Self::Rejected,
        }
    }
}

/// A failed call to AWS.
#[derive(Clone, Debug)]
pub struct AwsError {
    /// Which call.
    pub operation: Operation,
    /// What kind of failure.
    pub class: ErrorClass,
    /// AWS's error code, where AWS answered.
    pub code: Option<String>,
    /// What AWS or the SDK says.
    pub message: String,
    /// AWS's id of the request, for a support case.
    pub request_id: Option<String>,
}

impl AwsError {
    /// An answer that the API does not describe.
    #[must_use]
    pub fn unexpected(operation: Operation, message: impl Into<String>) -> Self {
        Self {
            operation,
            class: ErrorClass::Rejected,
            code: None,
            message: message.into(),
            request_id: None,
        }
    }

    /// A failure of one entry of a batch: AWS gives a code and a message, and says whose fault it is.
    #[must_use]
    pub fn of_entry(operation: Operation, code: &str, message: &str, sender_fault: bool) -> Self {
        Self {
            operation,
            class: ErrorClass::of_code(code, if sender_fault { 400 } else { 500 }),
            code: Some(code.to_owned()),
            message: message.to_owned(),
            request_id: None,
        }
    }

    /// Whether AWS answered with this error code.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Whether it says that there is no such queue.
    #[must_use]
    pub fn is_missing_queue(&self) -> bool {
        self.is("QueueDoesNotExist") || self.is("AWS.SimpleQueueService.NonExistentQueue")
    }

    fn from_sdk<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let class = match error {
            SdkError::ServiceError(service) => {
                let status = service.raw().status().as_u16();
                ErrorClass::of_code(service.err().code().unwrap_or_default(), status)
            }
            _ if has_credentials_error(error) => ErrorClass::Credentials,
            SdkError::TimeoutError(_) => ErrorClass::Timeout,
            SdkError::ConstructionFailure(_) => ErrorClass::Rejected,
            _ => ErrorClass::Connection,
        };
        let message = match error.as_service_error().and_then(ProvideErrorMetadata::message) {
            Some(message) => start(without_request(message), LONGEST_MESSAGE),
            None => on_one_line(error),
        };
        Self {
            operation,
            class,
            code: error.as_service_error().and_then(|error| error.code()).map(str::to_owned),
            message,
            request_id: error.request_id().map(str::to_owned),
        }
    }
}

/// What AWS says of a signature goes on with the request as it was signed, session token included.
fn without_request(message: &str) -> &str {
    message.split("The Canonical String").next().unwrap_or_default().trim_end()
}

/// An error and its causes, without the SDK's line breaks and debug output.
fn on_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether our own credentials could not be had: the SDK wraps that in various ways.
fn has_credentials_error<E>(error: &SdkError<E, HttpResponse>) -> bool
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut source = error.source();
    while let Some(error) = source {
        if error.is::<CredentialsError>() {
            return true;
        }
        source = error.source();
    }
    false
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.operation.service(), self.operation.name())?;
        match &self.code {
            Some(code) => write!(f, "answered {code}: {}", self.message)?,
            None => write!(f, "failed ({}): {}", self.class.as_str(), self.message)?,
        }
        match &self.request_id {
            Some(id) => write!(f, " (request id {id})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for AwsError {}

/// The SDK's configuration with our timeouts, and the counting of calls.
#[derive(Clone, Debug)]
pub struct Aws {
    config: SdkConfig,
    settings: AwsSettings,
    instruments: Arc<Instruments>,
}

impl Aws {
    /// Takes the configuration that the environment gave and sets what the worker relies on.
    #[must_use]
    pub fn new(config: &SdkConfig, settings: AwsSettings, instruments: Arc<Instruments>) -> Self {
        let config = config
            .to_builder()
            .timeout_config(timeouts(ATTEMPT_TIMEOUT, CALL_TIMEOUT))
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .build();
        Self { config, settings, instruments }
    }

    /// A quota of retries for one client alone. The SDK's default is one for all clients of a service and Region, so
    /// that an account that throttles us would use up the retries of the others.
    #[must_use]
    pub fn retry_quota() -> RetryPartition {
        RetryPartition::custom("tagwarden").build()
    }

    /// The wall clock that requests are signed by.
    ///
    /// `None` only where the SDK's configuration was built without a time source.
    #[must_use]
    pub fn clock_of(config: &SdkConfig) -> Option<Clock> {
        let source = config.time_source()?;
        Some(Clock::new(move || source.now()))
    }

    /// Configuration for our own account and Region.
    #[must_use]
    pub fn config(&self) -> &SdkConfig {
        &self.config
    }

    /// Configuration for our own account in another Region.
    #[must_use]
    pub fn in_region(&self, region: &Region) -> SdkConfig {
        let region = aws_config::Region::new(region.as_str().to_owned());
        self.config.to_builder().region(region).build()
    }

    /// Configuration for a receive that waits up to `wait`: the call outlives the wait, and one that failed is repeated
    /// by the polling loop alone.
    #[must_use]
    pub fn for_receive(&self, wait: Duration) -> SdkConfig {
        self.once(wait.saturating_add(ATTEMPT_TIMEOUT))
    }

    /// Configuration for extending and settling leases: whoever holds the lease repeats the call, while there is a lease.
    #[must_use]
    pub fn for_settling(&self) -> SdkConfig {
        self.once(ATTEMPT_TIMEOUT)
    }

    /// Configuration for calls that are not repeated behind their caller's back.
    fn once(&self, limit: Duration) -> SdkConfig {
        self.config
            .to_builder()
            .timeout_config(timeouts(limit, limit))
            .retry_config(RetryConfig::disabled())
            .build()
    }

    /// Configuration for the registry at `place`: with `aws.assume_role`, another account than our own is
    /// reached by that account's role, else by what its repository policies let us do.
    pub async fn at(&self, place: &Home, own: &Home) -> SdkConfig {
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

    /// Waits for one call, counts, times and traces it, and sorts its error into a class.
    ///
    /// # Errors
    /// The call's own error.
    pub async fn call<T, E>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, AwsError>
    where
        T: RequestId,
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let span = traces::call(operation.service(), operation.name());
        self.call_in(&span, operation, call).await
    }

    /// The same in a span of the caller's, which has room for what there is to say of a call.
    ///
    /// # Errors
    /// The call's own error.
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
        let (service, name) = (operation.service(), operation.name());
        let started = Instant::now();
        let (result, attempts) = attempts::counted(Box::pin(call)).instrument(span.clone()).await;
        let result = result.map_err(|error| AwsError::from_sdk(operation, &error));
        let (outcome, request_id) = match &result {
            Ok(answer) => ("ok", answer.request_id()),
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

fn timeouts(attempt: Duration, call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(call)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_fall_into_the_class_that_decides_what_becomes_of_the_message() {
        for (code, status, class) in [
            ("ThrottlingException", 400, ErrorClass::Throttled),
            ("OverLimit", 400, ErrorClass::Throttled),
            ("AccessDeniedException", 400, ErrorClass::Refused),
            ("QueueDoesNotExist", 400, ErrorClass::Refused),
            ("NotFound", 404, ErrorClass::Refused),
            ("ExpiredTokenException", 400, ErrorClass::Credentials),
            ("UnrecognizedClientException", 400, ErrorClass::Credentials),
            ("ReceiptHandleIsInvalid", 500, ErrorClass::Rejected),
            ("KmsDisabled", 400, ErrorClass::Unavailable),
            ("KMSAccessDenied", 400, ErrorClass::Unavailable),
            ("ServerException", 500, ErrorClass::Unavailable),
            ("", 503, ErrorClass::Unavailable),
            ("", 429, ErrorClass::Throttled),
            ("", 403, ErrorClass::Refused),
            ("InvalidParameterException", 400, ErrorClass::Rejected),
            ("ImageNotFoundException", 400, ErrorClass::Rejected),
        ] {
            assert_eq!(ErrorClass::of_code(code, status), class, "{code} {status}");
        }
    }
}
