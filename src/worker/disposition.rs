//! The one table from what happened to what becomes of the message.

use std::time::Duration;

use super::outcome::{Failure, Outcome};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It is done with.
    Delete,
    /// It becomes visible again after this long.
    Retry(Duration),
    /// The same, on its way to the dead-letter queue: no retry will mend it.
    Redrive(Duration),
    /// It becomes visible at once, for another task.
    Release,
}

impl Disposition {
    /// Every word of [`Disposition::as_str`] with the reasons that lead to it, for the metric's label sets.
    #[must_use]
    pub fn label_sets() -> Vec<(&'static str, &'static str)> {
        let outcomes = Outcome::WORDS.iter().map(|outcome| ("delete", *outcome));
        let failures = Failure::WORDS.iter().map(|failure| {
            let disposition = match *failure {
                "malformed" | "rejected" => "redrive",
                "abandoned" => "release",
                _ => "retry",
            };
            (disposition, *failure)
        });
        outcomes.chain(failures).collect()
    }

    /// How long the message stays invisible, where it comes again.
    #[must_use]
    pub fn wait(self) -> Option<Duration> {
        match self {
            Self::Retry(wait) | Self::Redrive(wait) => Some(wait),
            Self::Delete | Self::Release => None,
        }
    }

    /// The word of logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "delete",
            Self::Retry(_) => "retry",
            Self::Redrive(_) => "redrive",
            Self::Release => "release",
        }
    }
}

/// Longest wait between two attempts at a message that AWS could not do.
const LONGEST_BACKOFF: Duration = Duration::from_secs(900);
/// Longest wait while an account or repository refuses us.
const LONGEST_REFUSAL: Duration = Duration::from_secs(7200);

/// The table. `receive_count` counts from 1; `jitter` is from 0 to 1 and spreads retries over half their delay.
#[must_use]
pub fn disposition(
    result: &Result<Outcome, Failure>,
    receive_count: u32,
    max_receive_count: Option<u32>,
    jitter: f64,
) -> Disposition {
    let failure = match result {
        Ok(_) => return Disposition::Delete,
        Err(failure) => failure,
    };
    let backoff = |first: u64, factor: u32, longest: Duration| {
        let growth = factor.saturating_pow(receive_count.saturating_sub(1));
        let delay = Duration::from_secs(first).saturating_mul(growth).min(longest);
        delay.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    };
    match failure {
        Failure::Malformed(_) => Disposition::Redrive(backoff(1, 2, LONGEST_BACKOFF)),
        Failure::Rejected(_) => Disposition::Redrive(backoff(2, 3, LONGEST_BACKOFF)),
        Failure::Transient(_)
        | Failure::Incomplete(_)
        | Failure::NotTold(_)
        | Failure::NotPutBack(_)
        | Failure::Panicked => Disposition::Retry(backoff(2, 3, LONGEST_BACKOFF)),
        Failure::Refused(_)
        | Failure::TagsRefused(_)
        | Failure::TopicRefused { .. }
        | Failure::Stopped => {
            // Before the last permitted receive, people get the longest time to give access back.
            let last = max_receive_count.is_some_and(|most| receive_count + 1 >= most);
            let first = if last { LONGEST_REFUSAL.as_secs() } else { 60 };
            Disposition::Retry(backoff(first, 5, LONGEST_REFUSAL))
        }
        Failure::Pending { again, .. } | Failure::Limited { again, .. } => {
            Disposition::Retry(*again)
        }
        Failure::Unreplicated { .. } => {
            let last = receive_count + 1 >= last_look_at_replicas(max_receive_count);
            let wait = backoff(15, 2, LONGEST_BACKOFF);
            Disposition::Retry(if last { LONGEST_BACKOFF } else { wait })
        }
        Failure::Crowded => Disposition::Retry(backoff(30, 2, LONGEST_BACKOFF)),
        Failure::Abandoned => Disposition::Release,
    }
}

/// Receives in which the quarantine tag is looked for in other registries at the most: about an hour.
const LOOKS_AT_REPLICAS: u32 = 10;

fn last_look_at_replicas(max_receive_count: Option<u32>) -> u32 {
    max_receive_count.unwrap_or(LOOKS_AT_REPLICAS).min(LOOKS_AT_REPLICAS)
}

/// Whether a quarantine tag that has not arrived in other registries is looked for again. How long the message has
/// waited says nothing: limits of the hour may have put it off.
#[must_use]
pub fn waits_for_replicas(receive_count: u32, max_receive_count: Option<u32>) -> bool {
    receive_count < last_look_at_replicas(max_receive_count)
}

/// How long findings are waited for after the event was sent, before the image is told as unscanned.
const PATIENCE: Duration = Duration::from_secs(1800);

/// When to look for findings again that were not there at this receive: soon at first, then less often. `age` is
/// the message's; the last permitted receive waits out what is left. `None`: no more waiting.
#[must_use]
pub fn wait_for_findings(
    receive_count: u32,
    max_receive_count: Option<u32>,
    age: Duration,
) -> Option<Duration> {
    let left = PATIENCE.saturating_sub(age);
    if left.is_zero() || max_receive_count.is_some_and(|most| receive_count >= most) {
        return None;
    }
    if max_receive_count.is_some_and(|most| receive_count + 1 >= most) {
        return Some(left);
    }
    let growth = 2_u32.saturating_pow(receive_count.saturating_sub(1));
    Some(Duration::from_secs(15).saturating_mul(growth).min(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{AwsError, Operation};

    fn error() -> AwsError {
        AwsError::unexpected(Operation::PutImage, "x")
    }

    fn of(failure: Failure, receive_count: u32) -> Disposition {
        disposition(&Err(failure), receive_count, None, 0.0)
    }

    fn seconds(list: &[u64]) -> Vec<Duration> {
        list.iter().copied().map(Duration::from_secs).collect()
    }

    fn delays(failure: &Failure, counts: std::ops::RangeInclusive<u32>) -> Vec<Duration> {
        counts
            .map(|count| match of(failure.clone(), count) {
                Disposition::Retry(delay) | Disposition::Redrive(delay) => delay,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn whatever_is_done_with_is_deleted() {
        for outcome in [Outcome::Clean, Outcome::Quarantined, Outcome::Absent, Outcome::Blocked] {
            assert_eq!(disposition(&Ok(outcome), 1, None, 0.0), Disposition::Delete);
        }
    }

    #[test]
    fn retries_grow_with_the_receive_count_and_end_at_a_quarter_of_an_hour() {
        let delays = delays(&Failure::Transient(error()), 1..=8);
        assert_eq!(delays, seconds(&[2, 6, 18, 54, 162, 486, 900, 900]));
        assert_eq!(
            disposition(&Err(Failure::Panicked), 1, None, 1.0),
            Disposition::Retry(Duration::from_secs(1))
        );
        assert!(matches!(of(Failure::NotTold(error()), u32::MAX), Disposition::Retry(_)));
    }

    #[test]
    fn refusals_wait_up_to_two_hours() {
        let delays = delays(&Failure::Refused(error()), 1..=5);
        assert_eq!(delays, seconds(&[60, 300, 1500, 7200, 7200]));
        let of = |count| disposition(&Err(Failure::Stopped), count, Some(3), 0.0);
        assert_eq!(of(1), Disposition::Retry(Duration::from_secs(60)));
        assert_eq!(of(2), Disposition::Retry(LONGEST_REFUSAL), "the next receive is the last");
    }

    #[test]
    fn what_no_retry_mends_goes_to_the_dead_letter_queue_and_what_we_drop_at_the_end_comes_back_at_once()
     {
        assert!(matches!(of(Failure::Rejected(error()), 1), Disposition::Redrive(_)));
        assert_eq!(of(Failure::Abandoned, 3), Disposition::Release);
    }

    #[test]
    fn findings_are_waited_for_up_to_half_an_hour_and_never_into_the_dead_letter_queue() {
        let mut age = Duration::ZERO;
        let mut waits = Vec::new();
        for count in 1.. {
            match wait_for_findings(count, None, age) {
                Some(wait) => waits.push(wait),
                None => break,
            }
            age += waits[waits.len() - 1];
        }
        assert_eq!(waits, seconds(&[15, 30, 60, 120, 240, 480, 855]));
        assert_eq!(age, PATIENCE);

        let three = |count, age| wait_for_findings(count, Some(3), Duration::from_secs(age));
        assert_eq!(three(1, 0), Some(Duration::from_secs(15)));
        assert_eq!(three(2, 15), Some(Duration::from_secs(1785)));
        assert_eq!(three(3, 20), None, "the last permitted receive tells");
        assert_eq!(wait_for_findings(1, Some(1), Duration::ZERO), None);
    }

    #[test]
    fn a_quarantine_tag_is_waited_for_about_an_hour_and_never_into_the_dead_letter_queue() {
        let wait = |count, most| {
            let failure = Failure::Unreplicated { missing: String::new(), receives: count };
            disposition(&Err(failure), count, most, 0.0).wait().unwrap()
        };
        let looks: Vec<_> = (1..).take_while(|count| waits_for_replicas(*count, None)).collect();
        let waits: Vec<_> = looks.iter().map(|count| wait(*count, None)).collect();
        assert_eq!(waits, seconds(&[15, 30, 60, 120, 240, 480, 900, 900, 900]));
        for most in [1, 2, 4, 10] {
            assert!(!waits_for_replicas(most, Some(most)), "the last permitted receive tells");
        }
        assert!(!waits_for_replicas(10, Some(1_000)));
        assert_eq!(wait(2, Some(4)), Duration::from_secs(30));
        assert_eq!(wait(3, Some(4)), LONGEST_BACKOFF, "the next look is the last");
    }

    #[test]
    fn what_comes_again_says_after_how_long() {
        let wait = Duration::from_secs(54);
        assert_eq!(Disposition::Retry(wait).wait(), Some(wait));
        assert_eq!(Disposition::Redrive(wait).wait(), Some(wait));
        assert_eq!(Disposition::Release.wait(), None);
        assert_eq!(Disposition::Delete.wait(), None);
    }

    #[test]
    fn every_label_set_is_listed() {
        let sets = Disposition::label_sets();
        let failures = [
            Failure::Malformed(crate::event::parse("", &own()).unwrap_err()),
            Failure::Transient(error()),
            Failure::Rejected(error()),
            Failure::Refused(error()),
            Failure::TagsRefused(String::new()),
            Failure::Pending { reason: String::new(), again: Duration::ZERO },
            Failure::Unreplicated { missing: String::new(), receives: 1 },
            Failure::Crowded,
            Failure::Incomplete(String::new()),
            Failure::NotTold(error()),
            Failure::Stopped,
            Failure::NotPutBack(String::new()),
            Failure::Panicked,
            Failure::Abandoned,
        ];
        for failure in failures {
            let set = (of(failure.clone(), 1).as_str(), failure.as_str());
            assert!(sets.contains(&set), "{set:?}");
        }
    }

    fn own() -> crate::domain::image::Home {
        use crate::domain::image::{AccountId, Home, Region};
        Home {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
        }
    }
}
