//! Tells a registry that refuses everything from one account or repository that refuses us.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::domain::image::Repository;

/// Refusals in a row, without any answer between, that look like everything being refused.
const IN_A_ROW: usize = 5;

#[derive(Debug, Default)]
struct Run {
    refusals: usize,
    /// The repository that all of the run came from; `None` once there were two.
    only: Option<Repository>,
    /// The last two repositories that answered.
    answered: VecDeque<Repository>,
}

/// Counts refusals of the registry.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Run>);

impl Refusals {
    /// A call about this repository was refused. Says whether everything seems to be: five in a row, unless all of
    /// them are about one repository while another has answered before.
    pub(super) fn refused(&self, repository: &Repository) -> bool {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if run.refusals == 0 {
            run.only = Some(repository.clone());
        } else if run.only.as_ref() != Some(repository) {
            run.only = None;
        }
        run.refusals += 1;
        let only_here = run.only.is_some() && run.answered.iter().any(|other| other != repository);
        run.refusals >= IN_A_ROW && !only_here
    }

    /// A call about this repository was answered.
    pub(super) fn answered(&self, repository: &Repository) {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        run.refusals = 0;
        if !run.answered.contains(repository) {
            run.answered.push_front(repository.clone());
            run.answered.truncate(2);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::image::{AccountId, Region, RepositoryName};

    pub(in crate::worker) fn repository(name: &str) -> Repository {
        Repository {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
            name: RepositoryName::parse(name).unwrap(),
        }
    }

    fn refused(refusals: &Refusals, name: &str, times: usize) -> Vec<bool> {
        (0..times).map(|_| refusals.refused(&repository(name))).collect()
    }

    #[test]
    fn five_in_a_row_are_everything() {
        let refusals = Refusals::default();
        assert_eq!(refused(&refusals, "a", 3), [false; 3]);
        assert_eq!(refused(&refusals, "b", 3), [false, true, true]);
    }

    #[test]
    fn an_answer_between_starts_the_count_again() {
        let refusals = Refusals::default();
        refused(&refusals, "a", 4);
        refusals.answered(&repository("a"));
        assert_eq!(refused(&refusals, "a", 5), [false, false, false, false, true]);
    }

    #[test]
    fn one_repository_that_refuses_is_not_everything_where_another_has_answered() {
        let refusals = Refusals::default();
        refusals.answered(&repository("good"));
        assert_eq!(refused(&refusals, "bad", 9), [false; 9]);
        assert_eq!(refused(&refusals, "good", 1), [true], "now the other refuses too");
    }
}
