//! Who calls AWS: the account of the credentials, from STS, for commands that need neither a queue
//! nor a configuration file to know it.
//!
//! GetCallerIdentity needs no permission, and cannot be denied (STS API reference).

use aws_sdk_sts::Client;

use crate::aws::{Aws, AwsError, Operation};
use crate::domain::names::{AccountId, Region, RegistryId};

/// Returns the account of the credentials and the Region in which calls are made.
///
/// # Errors
/// The error of the call, such as missing or expired credentials.
pub(super) async fn caller(aws: &Aws) -> Result<RegistryId, AwsError> {
    let operation = Operation::GetCallerIdentity;
    let region = aws.config().region().map(|region| region.as_ref().to_owned());
    let region = Region::parse(region.unwrap_or_default())
        .map_err(|error| AwsError::unexpected(operation, error.to_string()))?;
    let call = Client::new(aws.config()).get_caller_identity().send();
    let answer = aws.call(operation, call).await?;
    let account = AccountId::parse(answer.account().unwrap_or_default())
        .map_err(|error| AwsError::unexpected(operation, error.to_string()))?;
    Ok(RegistryId { account, region })
}
