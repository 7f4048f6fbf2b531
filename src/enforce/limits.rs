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
    /// Returns whether other settings permit more by the limit of this name. More tasks that share
    /// the limits is less for each.
    #[must_use]
    pub fn are_widened_by(&self, new: &Self, name: &str) -> bool {
        let most = |limit: Option<usize>| limit.unwrap_or(usize::MAX);
        match name {
            "untags_per_hour" => most(new.untags_per_hour) > most(self.untags_per_hour),
            "untags_per_hour_per_repository" => {
                most(new.untags_per_hour_per_repository) > most(self.untags_per_hour_per_repository)
            }
            "tasks" => new.tasks < self.tasks,
            // A limit of which nothing is known here is not known to be tighter.
            _ => true,
        }
    }

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
