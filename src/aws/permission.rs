//! Permissions that are tried by calls which can change nothing.

use super::{AwsError, ErrorClass};

/// What trying a permission came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// It is there.
    Granted,
    /// It is missing; what AWS says.
    Missing(String),
    /// The call did not come to an answer that tells.
    Unknown(String),
}

/// A permission that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The action, as a policy names it.
    pub action: &'static str,
    /// The ARN or the name of what it was tried on.
    pub resource: String,
    /// What came of it.
    pub permission: Permission,
}

impl Tried {
    /// What the result of a call says about the permission. A call that AWS finds fault with was permitted.
    #[must_use]
    pub fn new<T>(action: &'static str, resource: &str, result: Result<T, AwsError>) -> Self {
        let permission = match result {
            Ok(_) => Permission::Granted,
            Err(error) => match error.class {
                // What has no such operation has not looked at the permission either.
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
