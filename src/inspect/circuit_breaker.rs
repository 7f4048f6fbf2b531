//! Decides whether the whole registry refuses us, or only one account, Region or repository.
//!
//! When everything is refused, polling pauses. When one repository, account or Region refuses while
//! others answer, only its messages wait, because a pause would stop all the others too. If no
//! other has answered before, nothing shows that others would, so everything seems to be refused.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::domain::names::{AccountId, Region, Repository};

/// After this many refusals in a row, with no answer between them, everything seems to be refused.
const IN_A_ROW: usize = 5;

/// The refusals since the last answer.
#[derive(Debug, Default)]
struct Run {
    refusals: usize,
    repositories: Source<Repository>,
    accounts: Source<AccountId>,
    regions: Source<Region>,
}

/// Whether the refusals of a run have one source, such as one repository.
#[derive(Debug)]
struct Source<T> {
    /// The only source of the run; `None` after a second one has refused.
    only: Option<T>,
    /// The last two sources that answered.
    answered: VecDeque<T>,
}

impl<T> Default for Source<T> {
    fn default() -> Self {
        Self { only: None, answered: VecDeque::new() }
    }
}

impl<T: Clone + PartialEq> Source<T> {
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

    /// Returns whether a single source refuses, while another has answered before.
    fn is_one_alone(&self) -> bool {
        self.only.as_ref().is_some_and(|only| self.answered.iter().any(|other| other != only))
    }
}

/// Counts the refusals of the registry since its last answer.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<Run>);

impl CircuitBreaker {
    /// Counts a refused call about this repository, and returns whether everything seems to be
    /// refused: five calls in a row, unless all of them are about one repository, one account or
    /// one Region while another has answered before.
    pub(super) fn refused(&self, repository: &Repository) -> bool {
        let mut run = self.0.lock();
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

    /// Notes that a call about this repository was answered.
    pub(super) fn answered(&self, repository: &Repository) {
        let mut run = self.0.lock();
        run.refusals = 0;
        run.repositories.answered(repository);
        run.accounts.answered(&repository.account);
        run.regions.answered(&repository.region);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::names::sample::repository;

    fn refused(breaker: &CircuitBreaker, name: &str, times: usize) -> Vec<bool> {
        (0..times).map(|_| breaker.refused(&repository(name))).collect()
    }

    #[test]
    fn five_refusals_in_a_row_open_the_breaker() {
        let breaker = CircuitBreaker::default();
        assert_eq!(refused(&breaker, "a", 3), [false; 3]);
        assert_eq!(refused(&breaker, "b", 3), [false, true, true]);
    }

    #[test]
    fn answer_starts_the_count_again() {
        let breaker = CircuitBreaker::default();
        refused(&breaker, "a", 4);
        breaker.answered(&repository("a"));
        assert_eq!(refused(&breaker, "a", 5), [false, false, false, false, true]);
    }

    #[test]
    fn one_refusing_repository_does_not_open_it_if_another_has_answered() {
        let breaker = CircuitBreaker::default();
        breaker.answered(&repository("good"));
        assert_eq!(refused(&breaker, "bad", 9), [false; 9]);
        assert_eq!(refused(&breaker, "good", 1), [true], "now the other refuses too");
    }

    fn elsewhere(account: &str, region: &str, name: &str) -> Repository {
        let (account, region) = (AccountId::parse(account), Region::parse(region));
        Repository { account: account.unwrap(), region: region.unwrap(), ..repository(name) }
    }

    #[test]
    fn one_refusing_account_or_region_does_not_open_it_if_another_has_answered() {
        let breaker = CircuitBreaker::default();
        breaker.answered(&repository("a"));
        for name in ["a", "b", "c", "d", "e", "f"] {
            for region in ["eu-west-1", "us-east-1"] {
                assert!(!breaker.refused(&elsewhere("444455556666", region, name)));
            }
        }
        breaker.answered(&repository("a"));
        for name in ["a", "b", "c", "d", "e", "f"] {
            for account in ["111122223333", "444455556666"] {
                assert!(!breaker.refused(&elsewhere(account, "ap-east-1", name)));
            }
        }
        assert!(breaker.refused(&repository("b")), "now it is neither one account nor one Region");
    }
}
