//! Tells a registry that refuses everything from one account, Region or repository that refuses us.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::domain::image::{AccountId, Region, Repository};

/// Refusals in a row, without any answer between, that look like everything being refused.
const IN_A_ROW: usize = 5;

#[derive(Debug, Default)]
struct Run {
    refusals: usize,
    repositories: Trail<Repository>,
    accounts: Trail<AccountId>,
    regions: Trail<Region>,
}

/// What the refusals of the run have in common, if anything.
#[derive(Debug)]
struct Trail<T> {
    /// What all of the run came from; `None` once there were two.
    only: Option<T>,
    /// The last two that answered.
    answered: VecDeque<T>,
}

impl<T> Default for Trail<T> {
    fn default() -> Self {
        Self { only: None, answered: VecDeque::new() }
    }
}

impl<T: Clone + PartialEq> Trail<T> {
    fn refused(&mut self, one: &T, is_first: bool) {
        if is_first {
            self.only = Some(one.clone());
        } else if self.only.as_ref() != Some(one) {
            self.only = None;
        }
    }

    fn answered(&mut self, one: &T) {
        if !self.answered.contains(one) {
            self.answered.push_front(one.clone());
            self.answered.truncate(2);
        }
    }

    /// Whether only one refuses, while another has answered before.
    fn is_one_alone(&self) -> bool {
        self.only.as_ref().is_some_and(|only| self.answered.iter().any(|other| other != only))
    }
}

/// Counts refusals of the registry.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Run>);

impl Refusals {
    /// A call about this repository was refused. Says whether everything seems to be: five in a row, unless all of
    /// them are about one repository, one account or one Region while another has answered before.
    pub(super) fn refused(&self, repository: &Repository) -> bool {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = run.refusals == 0;
        run.refusals += 1;
        run.repositories.refused(repository, is_first);
        run.accounts.refused(&repository.account, is_first);
        run.regions.refused(&repository.region, is_first);
        let only_here = run.repositories.is_one_alone()
            || run.accounts.is_one_alone()
            || run.regions.is_one_alone();
        run.refusals >= IN_A_ROW && !only_here
    }

    /// A call about this repository was answered.
    pub(super) fn answered(&self, repository: &Repository) {
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        run.refusals = 0;
        run.repositories.answered(repository);
        run.accounts.answered(&repository.account);
        run.regions.answered(&repository.region);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::domain::image::RepositoryName;

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
    fn elsewhere(account: &str, region: &str, name: &str) -> Repository {
        let (account, region) = (AccountId::parse(account), Region::parse(region));
        Repository { account: account.unwrap(), region: region.unwrap(), ..repository(name) }
    }

    #[test]
    fn one_account_or_region_that_refuses_is_not_everything_where_another_has_answered() {
        let refusals = Refusals::default();
        refusals.answered(&repository("a"));
        for name in ["a", "b", "c", "d", "e", "f"] {
            for region in ["eu-west-1", "us-east-1"] {
                assert!(!refusals.refused(&elsewhere("444455556666", region, name)));
            }
        }
        refusals.answered(&repository("a"));
        for name in ["a", "b", "c", "d", "e", "f"] {
            for account in ["111122223333", "444455556666"] {
                assert!(!refusals.refused(&elsewhere(account, "ap-east-1", name)));
            }
        }
        assert!(refusals.refused(&repository("b")), "now it is neither one account nor one Region");
    }
}
