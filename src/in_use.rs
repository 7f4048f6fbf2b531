//! The policy in use: one version at a time, replaced as a whole.
//!
//! A watched configuration file may replace it while the worker works. So whoever judges an image
//! takes the current version once, at the beginning, and passes it on to the end: no image is
//! judged by parts of two policies.

use std::sync::Arc;

use tokio::sync::watch;

use crate::domain::policy::{Policy, PolicyVersion};

/// Holds the policy in use. Clones show the same policy.
#[derive(Clone, Debug)]
pub(crate) struct PolicyInUse(watch::Sender<Arc<PolicyVersion>>);

impl PolicyInUse {
    /// Begins to use this policy.
    #[must_use]
    pub(crate) fn new(policy: Policy) -> Self {
        Self(watch::Sender::new(Arc::new(PolicyVersion::new(policy))))
    }

    /// Returns the version in use now.
    #[must_use]
    pub(crate) fn current(&self) -> Arc<PolicyVersion> {
        Arc::clone(&self.0.borrow())
    }

    /// Uses this version from now on. Work that has begun keeps the version that it began with.
    pub(crate) fn replace(&self, version: PolicyVersion) {
        self.0.send_replace(Arc::new(version));
    }

    /// Returns what waits for the next version.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<PolicyVersion>> {
        self.0.subscribe()
    }
}
