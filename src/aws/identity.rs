//! Who calls AWS: the identity of the credentials, as IAM and SQS name it.

use aws_sdk_sts::Client;

use super::{Aws, AwsError, Operation};
use crate::domain::names::AccountId;

/// What STS says of the credentials.
#[derive(Debug)]
pub(crate) struct Caller {
    account: Option<String>,
    user_id: Option<String>,
}

impl Caller {
    /// Asks STS.
    ///
    /// # Errors
    /// The error of the call, such as missing or expired credentials. It needs no permission, and
    /// cannot be denied (STS API reference, GetCallerIdentity).
    pub(crate) async fn ask(aws: &Aws) -> Result<Self, AwsError> {
        let call = Client::new(aws.config()).get_caller_identity().send();
        let answer = aws.call(Operation::GetCallerIdentity, call).await?;
        Ok(Self { account: answer.account, user_id: answer.user_id })
    }

    /// Returns the account of the credentials.
    ///
    /// # Errors
    /// The answer has none.
    pub(crate) fn account(&self) -> Result<AccountId, AwsError> {
        AccountId::parse(self.account.as_deref().unwrap_or_default())
            .map_err(|error| AwsError::unexpected(Operation::GetCallerIdentity, error.to_string()))
    }

    /// Returns the unique id of the role or user, without the name of the session. SQS names
    /// senders in the same way (STS API reference, GetCallerIdentity, `UserId`).
    ///
    /// # Errors
    /// The answer has none.
    pub(crate) fn principal(&self) -> Result<String, AwsError> {
        let id = self.user_id.as_deref().and_then(|id| id.split(':').next());
        id.filter(|id| !id.is_empty()).map(str::to_owned).ok_or_else(|| {
            AwsError::unexpected(Operation::GetCallerIdentity, "the answer has no UserId")
        })
    }
}
