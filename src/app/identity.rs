//! The registry that a command is about if neither a queue nor a configuration file says it: the
//! account of the credentials, from STS, and the Region in which calls are made.

use crate::aws::{Aws, AwsError, Caller, Operation};
use crate::domain::names::{Region, RegistryId};

/// Returns the account of the credentials and the Region in which calls are made.
///
/// # Errors
/// The error of the call, such as missing or expired credentials.
pub(super) async fn caller(aws: &Aws) -> Result<RegistryId, AwsError> {
    Ok(caller_and_registry(aws).await?.1)
}

/// Returns also who calls.
///
/// # Errors
/// The error of the call, such as missing or expired credentials.
pub(super) async fn caller_and_registry(aws: &Aws) -> Result<(Caller, RegistryId), AwsError> {
    let region = aws.config().region().map(|region| region.as_ref().to_owned());
    let region = Region::parse(region.unwrap_or_default())
        .map_err(|error| AwsError::unexpected(Operation::GetCallerIdentity, error.to_string()))?;
    let caller = Caller::ask(aws).await?;
    let account = caller.account()?;
    Ok((caller, RegistryId { account, region }))
}
