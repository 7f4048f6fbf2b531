//! The one table that leads from an outcome or a failure to the disposition of the message.

use std::time::Duration;

use strum::VariantArray as _;

use super::{Attempt, Failure, FailureKind, Outcome, OutcomeKind};
use crate::backoff::Backoff;

/// The fate of a message after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// It is deleted.
    Delete,
    /// It becomes visible again after this long.
    Retry(Duration),
    /// It becomes visible again after this long, on its way to the dead-letter queue, because no
    /// retry will mend it.
    Redrive(Duration),
    /// It becomes visible at once, for another task.
    Release,
}

impl Disposition {
    /// Returns every word of [`Disposition::as_str`] with the reasons that lead to it, for the
    /// label sets of the metric.
    #[must_use]
    pub(crate) fn label_sets() -> Vec<(&'static str, &'static str)> {
        let outcomes = OutcomeKind::VARIANTS.iter().map(|kind| (DELETE, kind.as_str()));
        let failures = FailureKind::VARIANTS.iter().map(|kind| (rule(*kind).word(), kind.as_str()));
        let mut sets: Vec<_> = outcomes.chain(failures).collect();
        sets.dedup();
        sets
    }

    /// Returns how long the message stays invisible if it comes again.
    #[must_use]
    pub(crate) fn wait(self) -> Option<Duration> {
        match self {
            Self::Retry(wait) | Self::Redrive(wait) => Some(wait),
            Self::Delete | Self::Release => None,
        }
    }

    /// Returns the word of logs and metrics.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Delete => DELETE,
            Self::Retry(_) => RETRY,
            Self::Redrive(_) => REDRIVE,
            Self::Release => RELEASE,
        }
    }
}

const DELETE: &str = "delete";
const RETRY: &str = "retry";
const REDRIVE: &str = "redrive";
const RELEASE: &str = "release";

/// The longest pause between attempts while AWS cannot carry out a call.
const LONGEST_BACKOFF: Duration = Duration::from_secs(900);
/// The longest pause between attempts while an account or repository refuses us.
const LONGEST_REFUSAL: Duration = Duration::from_secs(7200);

/// The way in which a message continues after a kind of failure.
enum FailureRule {
    Retry(Backoff),
    /// A refusal. The wait before the last permitted receive is the longest, so that people have
    /// time to restore access.
    RetryRefused(Backoff),
    /// The failure names its delay itself.
    RetryWhenNamed,
    /// The quarantine tag has not arrived in a replica.
    RetryReplica(Backoff),
    Redrive(Backoff),
    Release,
}

impl FailureRule {
    fn word(&self) -> &'static str {
        match self {
            Self::Retry(_)
            | Self::RetryRefused(_)
            | Self::RetryWhenNamed
            | Self::RetryReplica(_) => RETRY,
            Self::Redrive(_) => REDRIVE,
            Self::Release => RELEASE,
        }
    }
}

const fn growing(first: u64, factor: u32, longest: Duration) -> Backoff {
    // Pauses are spread over half of their length, because a fault strikes many messages at once.
    Backoff::new(Duration::from_secs(first), factor, longest).spread(0.5)
}

/// Returns how a message continues after this kind of failure: the table.
fn rule(kind: FailureKind) -> FailureRule {
    match kind {
        FailureKind::Malformed => FailureRule::Redrive(growing(1, 2, LONGEST_BACKOFF)),
        FailureKind::Rejected => FailureRule::Redrive(growing(2, 3, LONGEST_BACKOFF)),
        FailureKind::Transient
        | FailureKind::Incomplete
        | FailureKind::NotTold
        | FailureKind::NotPutBack
        | FailureKind::Panicked => FailureRule::Retry(growing(2, 3, LONGEST_BACKOFF)),
        FailureKind::Refused
        | FailureKind::TagsRefused
        | FailureKind::TopicRefused
        | FailureKind::Stopped => FailureRule::RetryRefused(growing(60, 5, LONGEST_REFUSAL)),
        FailureKind::Pending | FailureKind::Limited | FailureKind::SecondLook => {
            FailureRule::RetryWhenNamed
        }
        FailureKind::Unreplicated => FailureRule::RetryReplica(growing(15, 2, LONGEST_BACKOFF)),
        FailureKind::Crowded => FailureRule::Retry(growing(30, 2, LONGEST_BACKOFF)),
        FailureKind::Abandoned => FailureRule::Release,
    }
}

/// Returns what becomes of a message after this attempt. `jitter` is from 0 to 1 and spreads
/// retries over half of their delay.
#[must_use]
pub(crate) fn disposition(
    result: &Result<Outcome, Failure>,
    attempt: Attempt,
    jitter: f64,
) -> Disposition {
    let Err(failure) = result else { return Disposition::Delete };
    let after = |backoff: Backoff| backoff.pause(attempt.number, jitter);
    match rule(failure.into()) {
        FailureRule::Retry(backoff) => Disposition::Retry(after(backoff)),
        FailureRule::RetryRefused(_) if attempt.is_last_but_one() => Disposition::Retry(
            growing(LONGEST_REFUSAL.as_secs(), 1, LONGEST_REFUSAL).pause(1, jitter),
        ),
        FailureRule::RetryRefused(backoff) => Disposition::Retry(after(backoff)),
        FailureRule::RetryWhenNamed => Disposition::Retry(match failure {
            Failure::Pending { again, .. }
            | Failure::Limited { again, .. }
            | Failure::SecondLook { again } => *again,
            _ => LONGEST_BACKOFF,
        }),
        FailureRule::RetryReplica(backoff) => {
            let is_last = attempt.number + 1 >= last_look_at_replicas(attempt.most);
            Disposition::Retry(if is_last { LONGEST_BACKOFF } else { after(backoff) })
        }
        FailureRule::Redrive(backoff) => Disposition::Redrive(after(backoff)),
        FailureRule::Release => Disposition::Release,
    }
}

/// The most receives in which the quarantine tag is looked for in other registries, which take
/// about an hour.
const LOOKS_AT_REPLICAS: u32 = 10;

fn last_look_at_replicas(max_receive_count: Option<u32>) -> u32 {
    max_receive_count.unwrap_or(LOOKS_AT_REPLICAS).min(LOOKS_AT_REPLICAS)
}

/// Returns whether a quarantine tag that is missing in a replica is looked for again.
///
/// The receive count decides it and not the age of the message, because limits of the hour may have
/// put the message off.
#[must_use]
pub(crate) fn waits_for_replicas(attempt: Attempt) -> bool {
    attempt.number < last_look_at_replicas(attempt.most)
}

/// The time after the event was sent during which its findings are waited for. Then the image is
/// notified as unscanned.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The pauses between reads of findings that do not exist yet.
const FINDINGS: Backoff = Backoff::new(Duration::from_secs(15), 2, PATIENCE);

/// Returns when to read again findings that do not exist yet: soon at first, then less often.
///
/// `age` is the age of the message. The last permitted receive waits for the rest of the patience,
/// so that the wait itself never leads to the dead-letter queue. Returns `None` if the patience is
/// used up.
#[must_use]
pub(crate) fn wait_for_findings(attempt: Attempt, age: Duration) -> Option<Duration> {
    let left = PATIENCE.saturating_sub(age);
    if left.is_zero() || attempt.is_last() {
        return None;
    }
    if attempt.is_last_but_one() {
        return Some(left);
    }
    Some(FINDINGS.pause(attempt.number, 0.0).min(left))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::{AwsError, Operation};

    fn error() -> AwsError {
        AwsError::unexpected(Operation::PutImage, "x")
    }

    fn attempt(number: u32, most: Option<u32>) -> Attempt {
        Attempt { number, most }
    }

    fn of(failure: Failure, receive_count: u32) -> Disposition {
        disposition(&Err(failure), attempt(receive_count, None), 0.0)
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
    fn every_outcome_deletes_the_message() {
        for outcome in [Outcome::Clean, Outcome::Quarantined, Outcome::Absent, Outcome::Blocked] {
            assert_eq!(disposition(&Ok(outcome), attempt(1, None), 0.0), Disposition::Delete);
        }
    }

    #[test]
    fn retry_delays_grow_with_the_receive_count_up_to_a_quarter_of_an_hour() {
        let delays = delays(&Failure::Transient(error()), 1..=8);
        assert_eq!(delays, seconds(&[2, 6, 18, 54, 162, 486, 900, 900]));
        assert_eq!(
            disposition(&Err(Failure::Panicked), attempt(1, None), 1.0),
            Disposition::Retry(Duration::from_secs(1))
        );
        assert!(matches!(of(Failure::NotTold(error()), u32::MAX), Disposition::Retry(_)));
    }

    #[test]
    fn refusals_wait_up_to_two_hours() {
        let delays = delays(&Failure::Refused(error()), 1..=5);
        assert_eq!(delays, seconds(&[60, 300, 1500, 7200, 7200]));
        let of = |count| disposition(&Err(Failure::Stopped), attempt(count, Some(3)), 0.0);
        assert_eq!(of(1), Disposition::Retry(Duration::from_secs(60)));
        assert_eq!(of(2), Disposition::Retry(LONGEST_REFUSAL), "the next receive is the last");
    }

    #[test]
    fn rejected_message_is_redriven_and_abandoned_one_is_released() {
        assert!(matches!(of(Failure::Rejected(error()), 1), Disposition::Redrive(_)));
        assert_eq!(of(Failure::Abandoned, 3), Disposition::Release);
    }

    #[test]
    fn wait_for_findings_ends_after_half_an_hour_and_before_the_dead_letter_queue() {
        let mut age = Duration::ZERO;
        let mut waits = Vec::new();
        for count in 1.. {
            match wait_for_findings(attempt(count, None), age) {
                Some(wait) => waits.push(wait),
                None => break,
            }
            age += waits[waits.len() - 1];
        }
        assert_eq!(waits, seconds(&[15, 30, 60, 120, 240, 480, 855]));
        assert_eq!(age, PATIENCE);

        let three =
            |count, age| wait_for_findings(attempt(count, Some(3)), Duration::from_secs(age));
        assert_eq!(three(1, 0), Some(Duration::from_secs(15)));
        assert_eq!(three(2, 15), Some(Duration::from_secs(1785)));
        assert_eq!(three(3, 20), None, "the last permitted receive notifies");
        assert_eq!(wait_for_findings(attempt(1, Some(1)), Duration::ZERO), None);
    }

    #[test]
    fn wait_for_replicas_ends_after_an_hour_and_before_the_dead_letter_queue() {
        let wait = |count, most| {
            let failure = Failure::Unreplicated { missing: String::new(), receives: count };
            disposition(&Err(failure), attempt(count, most), 0.0).wait().unwrap()
        };
        let looks: Vec<_> =
            (1..).take_while(|count| waits_for_replicas(attempt(*count, None))).collect();
        let waits: Vec<_> = looks.iter().map(|count| wait(*count, None)).collect();
        assert_eq!(waits, seconds(&[15, 30, 60, 120, 240, 480, 900, 900, 900]));
        for most in [1, 2, 4, 10] {
            assert!(
                !waits_for_replicas(attempt(most, Some(most))),
                "the last permitted receive notifies"
            );
        }
        assert!(!waits_for_replicas(attempt(10, Some(1_000))));
        assert_eq!(wait(2, Some(4)), Duration::from_secs(30));
        assert_eq!(wait(3, Some(4)), LONGEST_BACKOFF, "the next look is the last");
    }

    #[test]
    fn wait_is_named_for_messages_that_come_again() {
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
            Failure::SecondLook { again: Duration::ZERO },
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

    fn own() -> crate::domain::names::RegistryId {
        use crate::domain::names::{AccountId, Region, RegistryId};
        RegistryId {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
        }
    }
}
