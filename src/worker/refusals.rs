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

/// What a refusal looks like, seen together with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// One account or repository refuses us.
    OnlyThis,
    /// Five in a row, all of this repository, and no other has ever answered: it may be either.
    PerhapsEverything,
    /// Five in a row, of several repositories.
    Everything,
}

/// Counts refusals of the registry.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Run>);

impl Refusals {
    /// A call about this repository was refused.
    pub(super) fn refused(&self, repository: &Repository) -> Refused {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if run.refusals == 0 {
            run.only = Some(repository.clone());
        } else if run.only.as_ref() != Some(repository) {
            run.only = None;
        }
        run.refusals += 1;
        if run.refusals < IN_A_ROW {
            Refused::OnlyThis
        } else if run.only.is_none() {
            Refused::Everything
        } else if run.answered.iter().any(|other| other != repository) {
            Refused::OnlyThis
        } else {
            Refused::PerhapsEverything
        }
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
mod tests {
    use super::*;
    use crate::domain::image::{AccountId, Region, RepositoryName};

    fn repository(name: &str) -> Repository {
        Repository {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
            name: RepositoryName::parse(name).unwrap(),
        }
    }

    fn refused(refusals: &Refusals, name: &str, times: usize) -> Option<Refused> {
        (0..times).map(|_| refusals.refused(&repository(name))).last()
    }

    #[test]
    fn five_in_a_row_of_several_repositories_are_everything() {
        let refusals = Refusals::default();
        assert_eq!(refused(&refusals, "a", 3), Some(Refused::OnlyThis));
        assert_eq!(refused(&refusals, "b", 2), Some(Refused::Everything));
        assert_eq!(refused(&refusals, "a", 1), Some(Refused::Everything));
    }

    #[test]
    fn five_in_a_row_of_the_only_repository_known_may_be_everything() {
        let refusals = Refusals::default();
        assert_eq!(refused(&refusals, "a", 4), Some(Refused::OnlyThis));
        assert_eq!(refused(&refusals, "a", 1), Some(Refused::PerhapsEverything));
    }

    #[test]
    fn an_answer_between_starts_the_count_again() {
        let refusals = Refusals::default();
        refused(&refusals, "a", 4);
        refusals.answered(&repository("a"));
        assert_eq!(refused(&refusals, "a", 4), Some(Refused::OnlyThis));
        assert_eq!(refused(&refusals, "a", 1), Some(Refused::PerhapsEverything));
    }

    #[test]
    fn one_repository_that_refuses_is_not_everything_where_another_has_answered() {
        let refusals = Refusals::default();
        refusals.answered(&repository("good"));
        assert_eq!(refused(&refusals, "bad", 9), Some(Refused::OnlyThis));
        assert_eq!(refused(&refusals, "good", 1), Some(Refused::Everything));
    }
}
