//! STS: `AssumeRole` and `GetCallerIdentity`. The access key that a role gives carries the role's account,
//! so that calls made with it act as that account.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{ApiCall, ApiError, Input, Outcome, partition};
use crate::clock::iso_seconds;
use crate::ids::sha256;
use crate::world::World;

/// The access key of a caller that does not say otherwise.
pub(crate) const OWN_ACCESS_KEY: &str = "AKIASIM";
const ACCESS_KEY_PREFIX: &str = "ASIASIM0";
const ACCOUNT_LENGTH: usize = 12;
/// How many characters follow the first four of a unique id.
const ID_LENGTH: usize = 17;

/// Who somebody is: the unique id, and the name of the role where it is one.
#[derive(Debug)]
pub(crate) struct Identity {
    user_id: String,
    role: String,
}

impl Identity {
    /// A user, or the session of a role whose name nobody has said.
    pub(crate) fn of(user_id: &str) -> Self {
        Self { user_id: user_id.to_owned(), role: "aws-sim".to_owned() }
    }
}

/// An id that is the same for the same thing: `AIDA` for a user, `AROA` for a role.
fn unique_id(prefix: &str, of: &str) -> String {
    let digest = sha256(of.as_bytes()).to_ascii_uppercase();
    let digits = digest.strip_prefix("SHA256:").unwrap_or_default();
    format!("{prefix}{}", digits.get(..ID_LENGTH).unwrap_or_default())
}

/// The unique id of a role, by its ARN.
pub(crate) fn role_id(role_arn: &str) -> String {
    unique_id("AROA", role_arn)
}

/// The account that an access key from `AssumeRole` acts as.
pub(crate) fn account_of(access_key: &str) -> Option<&str> {
    access_key.strip_prefix(ACCESS_KEY_PREFIX)?.get(..ACCOUNT_LENGTH)
}

/// The access key of a role. It ends in that of the caller who assumed it, where callers are told apart.
fn role_key(account: &str, caller: &str) -> String {
    let assumed =
        caller.strip_prefix(ACCESS_KEY_PREFIX).and_then(|rest| rest.get(ACCOUNT_LENGTH..));
    let caller = if caller == OWN_ACCESS_KEY { "" } else { assumed.unwrap_or(caller) };
    format!("{ACCESS_KEY_PREFIX}{account}{caller}")
}

impl World {
    pub(crate) fn sts(&mut self, call: &ApiCall) -> Outcome {
        match call.operation.as_str() {
            "AssumeRole" => self.assume_role(call),
            "GetCallerIdentity" => Ok(self.caller_identity(call)),
            _ => Err(ApiError::unknown_operation(call)),
        }
    }

    /// The unique id of a caller: STS calls it `UserId` and SQS `SenderId`.
    pub(crate) fn user_id(&self, access_key: &str) -> String {
        let known = self.identities.get(access_key);
        known.map_or_else(|| unique_id("AIDA", access_key), |identity| identity.user_id.clone())
    }

    fn caller_identity(&self, call: &ApiCall) -> Value {
        let user_id = self.user_id(&call.caller);
        let role = self.identities.get(&call.caller).map(|identity| identity.role.as_str());
        let (partition, account) = (partition(&call.region), &call.account);
        let arn = match (user_id.split_once(':'), role) {
            (Some((_, session)), Some(role)) => {
                format!("arn:{partition}:sts::{account}:assumed-role/{role}/{session}")
            }
            _ => format!("arn:{partition}:iam::{account}:user/aws-sim"),
        };
        json!({"Account": account, "Arn": arn, "UserId": user_id})
    }

    fn assume_role(&mut self, call: &ApiCall) -> Outcome {
        let invalid = |message: &str| ApiError::new("ValidationError", message);
        let role = call.input.text("RoleArn").ok_or_else(|| invalid("RoleArn is required"))?;
        let session = call
            .input
            .text("RoleSessionName")
            .ok_or_else(|| invalid("RoleSessionName is required"))?;
        let (account, name) = role
            .split_once(":iam::")
            .and_then(|(_, rest)| rest.split_once(":role/"))
            .filter(|(account, _)| account.len() == ACCOUNT_LENGTH)
            .ok_or_else(|| invalid("RoleArn is not the ARN of a role"))?;
        let lifetime = call.input.int("DurationSeconds").unwrap_or(3600);
        let expires = self.now + Duration::from_secs(lifetime.unsigned_abs());
        let assumed =
            format!("arn:{}:sts::{account}:assumed-role/{name}/{session}", partition(&call.region));
        let (user_id, key) =
            (format!("{}:{session}", role_id(role)), role_key(account, &call.caller));
        let identity = Identity { user_id: user_id.clone(), role: name.to_owned() };
        self.identities.insert(key.clone(), identity);
        Ok(json!({
            "AssumedRoleUser": {"Arn": assumed, "AssumedRoleId": user_id},
            "Credentials": {
                "AccessKeyId": key,
                "SecretAccessKey": self.ids.nonce(),
                "SessionToken": self.ids.uuid(),
                "Expiration": iso_seconds(expires),
            },
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_role_carries_its_account_and_who_assumed_it() {
        let role = role_key("444455556666", "AKIAONE");
        assert_eq!(role, "ASIASIM0444455556666AKIAONE");
        assert_eq!(account_of(&role), Some("444455556666"));
        assert_eq!(role_key("777788889999", &role), "ASIASIM0777788889999AKIAONE");
        assert_eq!(role_key("444455556666", OWN_ACCESS_KEY), "ASIASIM0444455556666");
        assert_eq!(account_of("AKIAONE"), None);
    }
}
