//! How many findings are allowed.

use std::collections::BTreeMap;

use super::findings::{Severity, SeverityCounts};

/// How many findings of each severity are allowed. A severity without a limit is unlimited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits(BTreeMap<Severity, u64>);

impl Limits {
    /// Limits for exactly these severities.
    pub fn new(limits: impl IntoIterator<Item = (Severity, u64)>) -> Self {
        Self(limits.into_iter().collect())
    }

    /// The same limits with one set, or lifted by `None`.
    #[must_use]
    pub fn with(mut self, severity: Severity, limit: Option<u64>) -> Self {
        match limit {
            Some(limit) => self.0.insert(severity, limit),
            None => self.0.remove(&severity),
        };
        self
    }

    /// The severities that have a limit, worst first.
    pub fn severities(&self) -> impl Iterator<Item = Severity> + '_ {
        self.0.keys().copied()
    }

    /// The limit of a severity; `None`: unlimited.
    #[must_use]
    pub fn of(&self, severity: Severity) -> Option<u64> {
        self.0.get(&severity).copied()
    }

    /// The severities of which `counts` has more than allowed, with the count and the limit, worst first.
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
    /// No Critical and no High finding.
    fn default() -> Self {
        Self::new([(Severity::Critical, 0), (Severity::High, 0)])
    }
}
