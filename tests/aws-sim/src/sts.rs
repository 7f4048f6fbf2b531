//! STS: `AssumeRole` and `GetCallerIdentity`. The access key that a role gives carries the role's account,
//! so that calls made with it act as that account.

use std::time::Duration;

use serde_json::json;

use crate::api::{ApiCall, ApiError, Input, Outcome, partition};
use crate::clock::iso_seconds;
use crate::world::World;

/// The access key of a caller that does not say otherwise.
pub(crate) const OWN_ACCESS_KEY: &str = "AKIASIM";
const ACCESS_KEY_PREFIX: &str = "ASIASIM0";
const ACCOUNT_LENGTH: usize = 12;

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
            "GetCallerIdentity" => Ok(json!({
                "Account": call.account,
                "Arn": format!("arn:{}:iam::{}:user/aws-sim", partition(&call.region), call.account),
                "UserId": "AIDASIM",
            })),
            _ => Err(ApiError::unknown_operation(call)),
        }
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
        Ok(json!({
            "AssumedRoleUser": {"Arn": assumed, "AssumedRoleId": format!("AROASIM:{session}")},
            "Credentials": {
                "AccessKeyId": role_key(account, &call.caller),
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
