//! The limits on removals.

use std::num::NonZeroUsize;

/// The settings of `limits.*`: how many tags all tasks together may remove. `None` is no limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Tags per hour.
    pub untags_per_hour: Option<usize>,
    /// Tags per hour in one repository.
    pub untags_per_hour_per_repository: Option<usize>,
    /// The number of tasks that share the limits.
    pub tasks: NonZeroUsize,
}

impl LimitSettings {
    /// Returns the part of a limit that each task may use.
    #[must_use]
    pub fn share(&self, limit: usize) -> usize {
        limit / self.tasks
    }
}

impl Default for LimitSettings {
    /// Sets no limits.
    fn default() -> Self {
        Self {
            untags_per_hour: None,
            untags_per_hour_per_repository: None,
            tasks: NonZeroUsize::MIN,
        }
    }
}
