//! Results of trying a permission by a call that cannot change anything.

use super::{AwsError, ErrorClass};

/// Result of trying a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The permission is granted.
    Granted,
    /// The permission is missing, with the error of AWS.
    Missing(String),
    /// The answer does not show whether the permission is granted, with the error of the call.
    Unknown(String),
}

/// A permission that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Action, as an IAM policy names it.
    pub action: &'static str,
    /// ARN or name of the resource on which it was tried.
    pub resource: String,
    /// Whether the permission is granted.
    pub permission: Permission,
}

impl Tried {
    /// Judges the permission by the result of a call. If AWS rejects the request itself, the
    /// permission was granted, because AWS checks it first.
    #[must_use]
    pub fn new<T>(action: &'static str, resource: &str, result: Result<T, AwsError>) -> Self {
        let permission = match result {
            Ok(_) => Permission::Granted,
            Err(error) => match error.class {
                // A service without this operation has not checked the permission either.
                _ if error
                    .code
                    .as_deref()
                    .is_some_and(|code| code.contains("UnknownOperation")) =>
                {
                    Permission::Unknown(error.to_string())
                }
                ErrorClass::Rejected => Permission::Granted,
                ErrorClass::Refused => Permission::Missing(error.to_string()),
                _ => Permission::Unknown(error.to_string()),
            },
        };
        Self { action, resource: resource.to_owned(), permission }
    }
}
