//! Errors of calls to AWS: a class that decides what becomes of the message, and what AWS says
//! about the error.
//!
//! The class follows the error code by one table (`codes`), and the HTTP status if the code is not
//! in the table. The message never contains the request, because AWS repeats it in answers about
//! signatures, session token included.

mod codes;

use std::error::Error;
use std::fmt;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_ecr::types::error::KmsException;
use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::RequestId as _;

use super::Operation;
use crate::domain::text::start;

/// Most characters of an error message that are kept.
const LONGEST_MESSAGE: usize = 1024;

/// Kind of failure of a call, which decides what becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// AWS throttles the call.
    Throttled,
    /// The service failed, or KMS failed for it.
    Unavailable,
    /// No answer came in time. The call may have taken effect.
    Timeout,
    /// There was no connection, or it broke. The call may have taken effect.
    Connection,
    /// The caller lacks permission, the queue or topic does not exist, or a KMS key cannot be used.
    Refused,
    /// Our own credentials are missing, expired or not accepted.
    Credentials,
    /// The service rejects the request itself, and would reject it again.
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

    /// Returns the word for metrics and logs.
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

    /// Returns whether the same call may well succeed later although nobody changes a permission.
    #[must_use]
    pub fn is_transient(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Timeout | Self::Connection)
    }

    /// Returns whether only people can mend the failure, by a permission or by credentials.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self, Self::Refused | Self::Credentials)
    }

    pub(super) fn of_code(code: &str, status: u16) -> Self {
        codes::class_of(code).unwrap_or(match status {
            500.. => Self::Unavailable,
            429 => Self::Throttled,
            403 => Self::Refused,
            _ => Self::Rejected,
        })
    }

    /// Returns the class of an error about a KMS key that ECR cannot use, from KMS's own error
    /// code. An unknown code is a refusal, because a refused message waits, while a failed one is
    /// retried until it ends in the dead-letter queue.
    fn of_kms(code: Option<&str>) -> Self {
        code.and_then(codes::class_of).filter(|class| class.is_transient()).unwrap_or(Self::Refused)
    }
}

/// A failed call to AWS.
#[derive(Clone, Debug)]
pub struct AwsError {
    /// Operation that failed.
    pub operation: Operation,
    /// Class of the failure.
    pub class: ErrorClass,
    /// AWS's error code, if AWS answered.
    pub code: Option<String>,
    /// Message of AWS or of the SDK.
    pub message: String,
    /// AWS's id of the request, which a support case needs.
    pub request_id: Option<String>,
}

impl AwsError {
    /// Creates the error for an answer that the API reference does not describe.
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

    /// Creates the error for one entry of a batch. AWS gives a code and a message, and says whether
    /// the sender is at fault.
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

    /// Returns whether AWS answered with this error code.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// Returns whether AWS only says that what was asked for is there already, which is no failure:
    /// a repeated PutImage meets the tag on the image, where it put it (API model of ECR,
    /// ImageAlreadyExistsException).
    pub(super) fn says_done(&self) -> bool {
        self.operation == Operation::PutImage && self.is("ImageAlreadyExistsException")
    }

    /// Returns whether every other call would fail in the same way, each after its own time.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        matches!(self.class, ErrorClass::Credentials | ErrorClass::Timeout | ErrorClass::Connection)
    }

    /// Returns advice for a person at a terminal, to be put behind the error's text.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self.class {
            ErrorClass::Credentials => {
                "; set the standard AWS credential variables or AWS_PROFILE, or log in again"
            }
            ErrorClass::Refused => "; `tagwarden check --iam` prints the IAM policy that is needed",
            ErrorClass::Timeout | ErrorClass::Connection => {
                "; check the network, AWS_REGION and AWS_ENDPOINT_URL"
            }
            ErrorClass::Throttled | ErrorClass::Unavailable => "; try again",
            ErrorClass::Rejected => "",
        }
    }

    /// Returns whether there is no such operation: an emulator answers so, as of the request's
    /// fault or of its own.
    #[must_use]
    pub fn lacks_operation(&self) -> bool {
        let words = ["Unknown", "NotImplemented", "Unsupported", "InvalidAction"];
        let names_it = |code: &str| words.iter().any(|word| code.contains(word));
        matches!(self.class, ErrorClass::Rejected | ErrorClass::Unavailable)
            && self.code.as_deref().is_some_and(names_it)
    }

    /// Returns whether the error means that the queue does not exist.
    #[must_use]
    pub fn is_missing_queue(&self) -> bool {
        self.is("QueueDoesNotExist") || self.is("AWS.SimpleQueueService.NonExistentQueue")
    }

    pub(super) fn from_sdk<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let class = match error {
            SdkError::ServiceError(service) => match kms_exception(service.err()) {
                Some(kms) => ErrorClass::of_kms(kms.kms_error()),
                None => {
                    let status = service.raw().status().as_u16();
                    ErrorClass::of_code(service.err().code().unwrap_or_default(), status)
                }
            },
            _ if credentials_error(error).is_some() => ErrorClass::Credentials,
            SdkError::TimeoutError(_) => ErrorClass::Timeout,
            SdkError::ConstructionFailure(_) => ErrorClass::Rejected,
            _ => ErrorClass::Connection,
        };
        let message = match error.as_service_error().and_then(ProvideErrorMetadata::message) {
            Some(message) => start(without_request(message), LONGEST_MESSAGE),
            None => credentials_error(error).map_or_else(|| on_one_line(error), missing),
        };
        let kms = error.as_service_error().and_then(|error| kms_exception(error));
        let message = match kms.and_then(KmsException::kms_error) {
            Some(kms) => format!("{message} (KMS: {})", start(kms, LONGEST_MESSAGE)),
            None => message,
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

/// Returns ECR's error about a KMS key that cannot be used, which contains KMS's answer, if it is
/// among the error and its causes.
fn kms_exception<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a KmsException> {
    let mut error = Some(error);
    while let Some(one) = error {
        if let Some(kms) = one.downcast_ref() {
            return Some(kms);
        }
        error = one.source();
    }
    None
}

/// Cuts the request off the message. If a signature does not match, AWS repeats the request as it
/// was signed, session token included.
fn without_request(message: &str) -> &str {
    message.split("The Canonical String").next().unwrap_or_default().trim_end()
}

/// Returns an error and its causes on one line, without the SDK's line breaks and debug output.
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

/// Returns the error of our own credentials, which the SDK wraps in many ways, if they could not be
/// loaded.
fn credentials_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        source = error.source();
    }
    None
}

/// Returns why there are no credentials. The SDK lists every place where it looked, and the last
/// cause is the one that somebody can mend, such as an expired session.
fn missing(error: &CredentialsError) -> String {
    if matches!(error, CredentialsError::CredentialsNotLoaded(_)) {
        return "no credentials were found".to_owned();
    }
    let mut last: &dyn Error = error;
    while let Some(source) = last.source() {
        last = source;
    }
    on_one_line(last).trim_end_matches('.').to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_or_else_status_decides_the_class() {
        for (code, status, class) in [
            ("ThrottlingException", 400, ErrorClass::Throttled),
            ("OverLimit", 400, ErrorClass::Throttled),
            ("AccessDeniedException", 400, ErrorClass::Refused),
            ("QueueDoesNotExist", 400, ErrorClass::Refused),
            ("NotFound", 404, ErrorClass::Refused),
            ("ExpiredTokenException", 400, ErrorClass::Credentials),
            ("UnrecognizedClientException", 400, ErrorClass::Credentials),
            ("ReceiptHandleIsInvalid", 500, ErrorClass::Rejected),
            ("KmsDisabled", 400, ErrorClass::Refused),
            ("KMSAccessDenied", 400, ErrorClass::Refused),
            ("KMSAccessDeniedException", 400, ErrorClass::Refused),
            ("KMS.AccessDeniedException", 400, ErrorClass::Refused),
            ("KMS.OptInRequired", 403, ErrorClass::Refused),
            ("KMSThrottling", 400, ErrorClass::Throttled),
            ("KMS.ThrottlingException", 400, ErrorClass::Throttled),
            ("KMSOfAnotherDay", 400, ErrorClass::Rejected),
            ("KMSOfAnotherDay", 500, ErrorClass::Unavailable),
            ("UpstreamUnavailable", 400, ErrorClass::Unavailable),
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

    #[test]
    fn unusable_kms_key_is_a_refusal_and_failing_kms_is_an_outage() {
        for (code, class) in [
            (Some("AccessDeniedException"), ErrorClass::Refused),
            (Some("DisabledException"), ErrorClass::Refused),
            (Some("NotFoundException"), ErrorClass::Refused),
            (Some("KMSInvalidStateException"), ErrorClass::Refused),
            (Some("ThrottlingException"), ErrorClass::Throttled),
            (Some("KMSInternalException"), ErrorClass::Unavailable),
            (Some("DependencyTimeoutException"), ErrorClass::Unavailable),
            (Some("KeyUnavailableException"), ErrorClass::Unavailable),
            // These are not our own credentials, whatever they are to ECR.
            (Some("ExpiredTokenException"), ErrorClass::Refused),
            (Some("another"), ErrorClass::Refused),
            (None, ErrorClass::Refused),
        ] {
            assert_eq!(ErrorClass::of_kms(code), class, "{code:?}");
        }
    }

    #[test]
    fn request_in_the_answer_is_cut_off() {
        let message = "The request signature we calculated does not match the signature you \
                       provided.\n\nThe Canonical String for this request should have been\n\
                       'POST\nx-amz-security-token:SECRET'";
        assert!(without_request(message).ends_with("you provided."));
    }
}
