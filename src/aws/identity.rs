//! The identity of the worker's own credentials, as IAM and SQS name it.

use aws_sdk_sts::Client;

use super::{Aws, AwsError, Operation};

/// Returns the unique id of the role or user whose credentials these are, without the name of the
/// session. SQS names senders in the same way (STS API reference, GetCallerIdentity, `UserId`).
///
/// # Errors
/// The error of the call. It needs no permission, and cannot be denied (STS API reference).
pub(crate) async fn own_principal(aws: &Aws) -> Result<String, AwsError> {
    let operation = Operation::GetCallerIdentity;
    let answer =
        aws.call(operation, Client::new(aws.config()).get_caller_identity().send()).await?;
    let id = answer.user_id().and_then(|id| id.split(':').next()).filter(|id| !id.is_empty());
    id.map(str::to_owned)
        .ok_or_else(|| AwsError::unexpected(operation, "the answer has no UserId".to_owned()))
}
