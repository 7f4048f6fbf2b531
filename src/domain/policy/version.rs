//! One version of the policy, which never changes.

use std::ops::Deref;

use super::{Fingerprint, Policy};

/// A policy and its fingerprint. Whoever holds one judges by it to the end, also when another
/// version has come into use meanwhile.
#[derive(Debug)]
pub struct PolicyVersion {
    policy: Policy,
    fingerprint: Fingerprint,
}

impl PolicyVersion {
    /// Returns the version of this policy.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { fingerprint: Fingerprint::of(&policy), policy }
    }

    /// Returns the fingerprint of the policy.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// A version is read like the policy that it holds.
impl Deref for PolicyVersion {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        &self.policy
    }
}
