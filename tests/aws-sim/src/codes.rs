//! The error codes that each service has for the failures that any call can meet, and their HTTP statuses.

use crate::api::Service;

impl Service {
    /// Every simulated service.
    pub const ALL: [Self; 5] = [Self::Sqs, Self::Ecr, Self::Sns, Self::Events, Self::Sts];

    /// The codes of a service that is called too often.
    pub fn throttling_codes(self) -> &'static [&'static str] {
        match self {
            Self::Sqs => &["ThrottlingException", "RequestThrottled", "OverLimit"],
            Self::Ecr | Self::Events => &["ThrottlingException"],
            Self::Sns => &["Throttled", "ThrottledException", "Throttling", "ThrottlingException"],
            Self::Sts => &["Throttling"],
        }
    }

    /// The codes of a service that fails.
    pub fn server_error_codes(self) -> &'static [&'static str] {
        match self {
            Self::Sqs | Self::Sts => &["InternalFailure", "ServiceUnavailable"],
            Self::Ecr => &["ServerException", "InternalFailure", "ServiceUnavailable"],
            Self::Sns => &["InternalError", "InternalFailure", "ServiceUnavailable"],
            Self::Events => &["InternalException", "InternalFailure", "ServiceUnavailable"],
        }
    }

    /// The codes for credentials that were valid once.
    pub fn expired_credentials_codes(self) -> &'static [&'static str] {
        match self {
            Self::Sqs | Self::Ecr | Self::Events => &["ExpiredTokenException"],
            Self::Sns | Self::Sts => &["ExpiredToken"],
        }
    }

    /// The code for a caller who is not allowed to make this call.
    pub fn access_denied_code(self) -> &'static str {
        match self {
            Self::Sqs | Self::Ecr | Self::Events => "AccessDeniedException",
            Self::Sns => "AuthorizationError",
            Self::Sts => "AccessDenied",
        }
    }

    /// The codes of a service that may not use the key it needs, by the names of its model; none where it needs no key.
    /// What KMS says follows ECR's one code after a space: see [`Fault::error`](crate::Fault::error).
    pub fn key_refusal_codes(self) -> &'static [&'static str] {
        match self {
            Self::Sqs => &[
                "KmsAccessDenied",
                "KmsDisabled",
                "KmsNotFound",
                "KmsInvalidState",
                "KmsInvalidKeyUsage",
                "KmsOptInRequired",
            ],
            Self::Sns => &[
                "KMSAccessDenied",
                "KMSDisabled",
                "KMSNotFound",
                "KMSInvalidState",
                "KMSOptInRequired",
            ],
            Self::Ecr => &[
                "KmsException AccessDeniedException",
                "KmsException DisabledException",
                "KmsException NotFoundException",
                "KmsException KMSInvalidStateException",
                "KmsException",
            ],
            Self::Events | Self::Sts => &[],
        }
    }

    /// The codes of a service whose key is throttled or fails.
    pub fn key_outage_codes(self) -> &'static [&'static str] {
        match self {
            Self::Sqs => &["KmsThrottled"],
            Self::Sns => &["KMSThrottling"],
            Self::Ecr => &[
                "KmsException ThrottlingException",
                "KmsException KMSInternalException",
                "KmsException DependencyTimeoutException",
            ],
            Self::Events | Self::Sts => &[],
        }
    }
}

/// The HTTP status that comes with an error code: 400 for one that is not known.
pub(crate) fn status_of(code: &str) -> u16 {
    match code {
        "AccessDenied"
        | "AuthorizationError"
        | "ExpiredToken"
        | "InvalidClientTokenId"
        | "KMSOptInRequired"
        | "KmsOptInRequired"
        | "OverLimit"
        | "RequestThrottled"
        | "SignatureDoesNotMatch" => 403,
        "Throttled" | "ThrottledException" => 429,
        "InternalError"
        | "InternalException"
        | "InternalFailure"
        | "InternalServerError"
        | "ServerException" => 500,
        "ServiceUnavailable" | "ServiceUnavailableException" => 503,
        _ => 400,
    }
}
