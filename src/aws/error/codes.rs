//! Table of AWS's error codes, with the class and the source of each.

use super::ErrorClass;

use ErrorClass::{Credentials, Refused, Rejected, Throttled, Unavailable};

const COMMON: &str = "API references, \"Common Errors\"";
const SDKS: &str = "the SDKs' list of throttling codes (aws-runtime, THROTTLING_ERRORS)";
const SQS: &str = "API model of SQS, ReceiveMessage and its batches";
const SQS_KMS: &str = "API model of SQS, code of the query protocol; users' reports";
const SQS_SHAPE: &str = "API model of SQS, name of the shape";
const SNS: &str = "API model of SNS, Publish";
const SNS_SHAPE: &str = "API model of SNS, name of the shape";
const ECR: &str = "API model of ECR, errors";
const ECR_ENTRY: &str = "API model of ECR, ImageFailureCode";
const KMS: &str = "API reference of KMS, GenerateDataKey and Decrypt: ECR's kmsError";
const STS: &str = "API references of STS and IAM, signatures and tokens";
const REPORTS: &str = "users' reports";

/// Every code that says more than its HTTP status, with its class and its source.
///
/// A KMS key that refuses is a refusal, because only people can mend it. A KMS key that is
/// throttled, or KMS that fails, is an outage, because that ends by itself.
const CODES: [(&str, ErrorClass, &str); 79] = [
    ("Throttling", Throttled, SDKS),
    ("ThrottlingException", Throttled, SDKS),
    ("ThrottledException", Throttled, SDKS),
    ("TooManyRequestsException", Throttled, SDKS),
    ("RequestThrottled", Throttled, SDKS),
    ("RequestThrottledException", Throttled, SDKS),
    ("RequestLimitExceeded", Throttled, SDKS),
    ("Throttled", Throttled, SNS),
    ("OverLimit", Throttled, SQS),
    ("UpstreamTooManyRequests", Throttled, ECR_ENTRY),
    ("KMS.ThrottlingException", Throttled, SQS_KMS),
    ("KmsThrottled", Throttled, SQS_SHAPE),
    ("KMSThrottling", Throttled, SNS),
    ("KMSThrottlingException", Throttled, SNS_SHAPE),
    ("InternalError", Unavailable, SNS),
    ("InternalErrorException", Unavailable, SNS_SHAPE),
    ("InternalFailure", Unavailable, COMMON),
    ("ServiceUnavailable", Unavailable, COMMON),
    ("ServiceUnavailableException", Unavailable, COMMON),
    ("ServerException", Unavailable, ECR),
    ("UpstreamUnavailable", Unavailable, ECR_ENTRY),
    ("KMSInternalException", Unavailable, KMS),
    ("DependencyTimeoutException", Unavailable, KMS),
    ("KeyUnavailableException", Unavailable, KMS),
    ("AccessDenied", Refused, COMMON),
    ("AccessDeniedException", Refused, COMMON),
    ("NotAuthorized", Refused, COMMON),
    ("OptInRequired", Refused, COMMON),
    ("UnauthorizedOperation", Refused, REPORTS),
    ("AuthorizationError", Refused, SNS),
    ("AuthorizationErrorException", Refused, SNS_SHAPE),
    ("NotFound", Refused, SNS),
    ("NotFoundException", Refused, SNS_SHAPE),
    ("QueueDoesNotExist", Refused, SQS_SHAPE),
    ("AWS.SimpleQueueService.NonExistentQueue", Refused, SQS),
    ("UpstreamAccessDenied", Refused, ECR_ENTRY),
    ("KMS.AccessDeniedException", Refused, SQS_KMS),
    ("KMS.DisabledException", Refused, SQS_KMS),
    ("KMS.NotFoundException", Refused, SQS_KMS),
    ("KMS.InvalidStateException", Refused, SQS_KMS),
    ("KMS.InvalidKeyUsageException", Refused, SQS_KMS),
    ("KMS.OptInRequired", Refused, SQS_KMS),
    ("KmsAccessDenied", Refused, SQS_SHAPE),
    ("KmsDisabled", Refused, SQS_SHAPE),
    ("KmsNotFound", Refused, SQS_SHAPE),
    ("KmsInvalidState", Refused, SQS_SHAPE),
    ("KmsInvalidKeyUsage", Refused, SQS_SHAPE),
    ("KmsOptInRequired", Refused, SQS_SHAPE),
    ("KMSAccessDenied", Refused, SNS),
    ("KMSDisabled", Refused, SNS),
    ("KMSNotFound", Refused, SNS),
    ("KMSInvalidState", Refused, SNS),
    ("KMSOptInRequired", Refused, SNS),
    ("KMSInvalidKeyUsage", Refused, REPORTS),
    ("KMSAccessDeniedException", Refused, SNS_SHAPE),
    ("KMSDisabledException", Refused, SNS_SHAPE),
    ("KMSNotFoundException", Refused, SNS_SHAPE),
    ("KMSInvalidStateException", Refused, SNS_SHAPE),
    ("KMSInvalidKeyUsageException", Refused, REPORTS),
    // `ErrorClass::of_kms` looks at KMS's own code first, which ECR gives beside this one.
    ("KmsException", Refused, ECR),
    // ECR gives the reason in prose only. As a refusal, the message waits for people or for the end
    // of an outage, and is not lost either way.
    ("KmsError", Refused, ECR_ENTRY),
    ("DisabledException", Refused, KMS),
    ("InvalidKeyUsageException", Refused, KMS),
    ("InvalidGrantTokenException", Refused, KMS),
    ("ExpiredToken", Credentials, STS),
    ("ExpiredTokenException", Credentials, COMMON),
    ("IncompleteSignature", Credentials, COMMON),
    ("InvalidAccessKeyId", Credentials, REPORTS),
    ("InvalidClientTokenId", Credentials, COMMON),
    ("InvalidSignatureException", Credentials, STS),
    ("MissingAuthenticationToken", Credentials, COMMON),
    ("MissingAuthenticationTokenException", Credentials, COMMON),
    ("RequestExpired", Credentials, COMMON),
    ("SignatureDoesNotMatch", Credentials, STS),
    ("UnrecognizedClientException", Credentials, COMMON),
    // The queue does not know the lease, even if the code blames the caller or the status blames
    // the service.
    ("ReceiptHandleIsInvalid", Rejected, SQS),
    ("MessageNotInflight", Rejected, SQS_SHAPE),
    ("AWS.SimpleQueueService.MessageNotInflight", Rejected, SQS),
    ("InvalidParameterValue", Rejected, COMMON),
];

/// Returns the class of a code that says more than its HTTP status.
pub(super) fn class_of(code: &str) -> Option<ErrorClass> {
    CODES.iter().find(|(known, ..)| *known == code).map(|(_, class, _)| *class)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_one_class_and_a_source() {
        let codes: BTreeSet<_> = CODES.iter().map(|(code, ..)| code).collect();
        assert_eq!(codes.len(), CODES.len());
        assert!(CODES.iter().all(|(_, _, source)| !source.is_empty()));
    }
}
