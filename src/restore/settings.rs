//! The settings of restoring: the keys that sign records, and who may ask.

use std::fmt;
use std::time::Duration;

use crate::domain::record::RestoreKeys;

/// The settings of `restore.*`.
#[derive(Clone, Debug)]
pub struct RestoreSettings {
    /// The keys that sign and verify records. Without any, nothing is restored.
    pub keys: Option<RestoreKeys>,
    /// The roles and users who may ask to restore an image.
    pub senders: Vec<PrincipalId>,
    /// The roles and users who may also ask to hold an image.
    pub hold_senders: Vec<PrincipalId>,
    /// The longest time for which an image can be held.
    pub max_hold: Duration,
}

/// The unique id of an IAM role or user, such as `AROAEXAMPLEID12345678`. IAM never gives it again,
/// so a role that is deleted and made anew under its old name has another id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrincipalId(String);

/// The text is not the unique id of a role or user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPrincipal;

impl PrincipalId {
    /// The start of the ids of roles and of users (IAM user guide, "Unique identifiers").
    const PREFIXES: [&str; 2] = ["AROA", "AIDA"];
    /// The shortest and the longest id (IAM API reference, `RoleId` and `UserId`).
    const LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;

    /// Parses a unique id.
    ///
    /// # Errors
    /// Returns an error if the text does not have the shape of the id of a role or user.
    pub fn parse(text: &str) -> Result<Self, InvalidPrincipal> {
        let is_of_an_id = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        let is_id = Self::PREFIXES.into_iter().any(|prefix| text.starts_with(prefix))
            && Self::LENGTHS.contains(&text.len())
            && text.chars().all(is_of_an_id);
        is_id.then(|| Self(text.to_owned())).ok_or(InvalidPrincipal)
    }

    /// Returns the id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for InvalidPrincipal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the unique id of an IAM role (AROA...) or user (AIDA...)")
    }
}

impl std::error::Error for InvalidPrincipal {}
