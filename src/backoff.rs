//! The one way in which pauses between tries grow: from a first one by a factor up to a longest.

use std::time::Duration;

use tokio::time::sleep;

use crate::shutdown::Shutdown;

/// A rule for the pauses between tries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    factor: u32,
    longest: Duration,
    spread: f64,
}

impl Backoff {
    /// Pauses that begin at `first` and grow by `factor` until they reach `longest`.
    #[must_use]
    pub(crate) const fn new(first: Duration, factor: u32, longest: Duration) -> Self {
        Self { first, factor, longest, spread: 0.0 }
    }

    /// Returns the same rule with pauses that are shortened at random by up to the part `spread`
    /// of themselves, because tasks that failed together must not try again together.
    #[must_use]
    pub(crate) const fn spread(self, spread: f64) -> Self {
        Self { spread, ..self }
    }

    /// Returns the pause after this many failed tries; `random` is between 0 and 1.
    ///
    /// The first pause follows the first failure, so 0 and 1 give the same.
    #[must_use]
    pub(crate) fn pause(&self, failures: u32, random: f64) -> Duration {
        let growth = self.factor.saturating_pow(failures.saturating_sub(1));
        let pause = self.first.saturating_mul(growth).min(self.longest);
        pause.mul_f64(1.0 - random.clamp(0.0, 1.0) * self.spread)
    }
}

/// Counts the failed tries of one call and pauses after each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retries {
    backoff: Backoff,
    failures: u32,
}

/// The worker is stopping, so there is no next try.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the worker is stopping")]
pub struct Stopping;

/// Pauses between the tries of a call that is refused: people need minutes to give access back.
const REFUSED: Backoff =
    Backoff::new(Duration::from_secs(1), 2, Duration::from_secs(30)).spread(0.25);

impl Retries {
    /// No try has failed so far.
    #[must_use]
    pub(crate) const fn new(backoff: Backoff) -> Self {
        Self { backoff, failures: 0 }
    }

    /// Tries of a call that is refused: from a second to half a minute apart.
    #[must_use]
    pub(crate) const fn of_refused_call() -> Self {
        Self::new(REFUSED)
    }

    /// Returns how many tries have failed in a row.
    #[must_use]
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failed try and returns the pause after it.
    pub(crate) fn failed(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.backoff.pause(self.failures, fastrand::f64())
    }

    /// Forgets the failures, because a try succeeded.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Counts a failed try and waits until the next one is due.
    ///
    /// # Errors
    /// [`Stopping`] if the worker begins to stop meanwhile.
    pub(crate) async fn wait(&mut self, shutdown: &Shutdown) -> Result<(), Stopping> {
        let pause = self.failed();
        tokio::select! {
            biased;
            () = shutdown.draining() => Err(Stopping),
            () = sleep(pause) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_by_the_factor_up_to_the_longest() {
        let second = Duration::from_secs(1);
        let backoff = Backoff::new(second, 3, 10 * second);
        let pauses: Vec<_> = (1..=5).map(|failures| backoff.pause(failures, 0.0)).collect();
        assert_eq!(pauses, [second, 3 * second, 9 * second, 10 * second, 10 * second]);
        assert_eq!(backoff.pause(u32::MAX, 1.0), 10 * second);
    }

    #[test]
    fn spread_shortens_a_pause_by_its_part_at_most() {
        let backoff = Backoff::new(Duration::from_secs(4), 2, Duration::MAX).spread(0.25);
        assert_eq!(backoff.pause(1, 0.0), Duration::from_secs(4));
        assert_eq!(backoff.pause(1, 1.0), Duration::from_secs(3));
        assert_eq!(backoff.pause(1, 7.0), Duration::from_secs(3), "random is clamped");
    }

    #[test]
    fn success_starts_the_count_again() {
        let mut retries =
            Retries::new(Backoff::new(Duration::from_secs(1), 2, Duration::from_secs(60)));
        let pauses: Vec<_> = (0..3).map(|_| retries.failed().as_secs()).collect();
        assert_eq!((pauses, retries.failures()), (vec![1, 2, 4], 3));
        retries.succeeded();
        assert_eq!(retries.failed(), Duration::from_secs(1));
    }
}
