//! STS: `AssumeRole` and `GetCallerIdentity`. The access key that a role gives carries the role's account,
//! so that calls made with it act as that account.

use std::time::Duration;

use serde_json::json;

use crate::api::{ApiCall, ApiError, Input, Outcome, partition};
use crate::clock::iso_seconds;
use crate::world::World;

const ACCESS_KEY_PREFIX: &str = "ASIASIM0";

/// The account that an access key from `AssumeRole` acts as.
pub(crate) fn account_of(access_key: &str) -> Option<&str> {
    access_key.strip_prefix(ACCESS_KEY_PREFIX)
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
            .filter(|(account, _)| account.len() == 12)
            .ok_or_else(|| invalid("RoleArn is not the ARN of a role"))?;
        let lifetime = call.input.int("DurationSeconds").unwrap_or(3600);
        let expires = self.now + Duration::from_secs(lifetime.unsigned_abs());
        let assumed =
            format!("arn:{}:sts::{account}:assumed-role/{name}/{session}", partition(&call.region));
        Ok(json!({
            "AssumedRoleUser": {"Arn": assumed, "AssumedRoleId": format!("AROASIM:{session}")},
            "Credentials": {
                "AccessKeyId": format!("{ACCESS_KEY_PREFIX}{account}"),
                "SecretAccessKey": self.ids.nonce(),
                "SessionToken": self.ids.uuid(),
                "Expiration": iso_seconds(expires),
            },
        }))
    }
}
