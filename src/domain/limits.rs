//! The limits of a policy: how many findings of each severity an image may have.

use std::collections::BTreeMap;

use super::findings::{Severity, SeverityCounts};

/// The number of findings of each severity that an image may have. A severity without a limit is
/// unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(BTreeMap<Severity, u64>);

impl Limits {
    /// Creates limits for these severities. All others are unlimited.
    pub fn new(limits: impl IntoIterator<Item = (Severity, u64)>) -> Self {
        Self(limits.into_iter().collect())
    }

    /// Sets the limit of one severity; `None` makes it unlimited.
    #[must_use]
    pub fn with(mut self, severity: Severity, limit: Option<u64>) -> Self {
        match limit {
            Some(limit) => self.0.insert(severity, limit),
            None => self.0.remove(&severity),
        };
        self
    }

    /// Iterates over the severities that have a limit, worst first.
    pub fn severities(&self) -> impl Iterator<Item = Severity> + '_ {
        self.0.keys().copied()
    }

    /// Returns the limit of a severity, or `None` if it is unlimited.
    #[must_use]
    pub fn of(&self, severity: Severity) -> Option<u64> {
        self.0.get(&severity).copied()
    }

    /// Iterates over the severities whose count exceeds the limit, worst first, as severity, count
    /// and limit.
    pub fn exceeded<'a>(
        &'a self,
        counts: &'a SeverityCounts,
    ) -> impl Iterator<Item = (Severity, u64, u64)> + 'a {
        self.0
            .iter()
            .map(|(&severity, &limit)| (severity, counts.of(severity), limit))
            .filter(|&(_, count, limit)| count > limit)
    }
}

impl Default for Limits {
    /// Allows no Critical and no High finding, and any number of others.
    fn default() -> Self {
        Self::new([(Severity::Critical, 0), (Severity::High, 0)])
    }
}
