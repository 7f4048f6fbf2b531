//! Paces the calls of one API to one account and Region, once AWS throttles them.
//!
//! **Why only then.** Quotas can be raised, most of ECR's are not published, and emulators have
//! none. So there is no rate that could be configured, and each API goes unpaced in an account and
//! Region until AWS throttles an attempt there. Attempts that the SDK repeats by itself count too,
//! and [`super::CountAttempts`] reports them. The queue and the topics are never paced. Each task
//! paces for itself.
//!
//! **How a pace begins.** The next call waits for a second, because the second whose quota is used
//! up would throttle every call in it. Then calls go evenly spaced and in the order in which they
//! came, at half of the rate of the last second. That is at least five calls a second for PutImage
//! (half of its default quota) and two for the others.
//!
//! **How the rate changes.** A second with a throttled attempt multiplies the rate by 0.7, down to
//! one call in two seconds. A quiet second multiplies it by 1.1, but only if a call had to wait in
//! it, because a rate that nobody uses proves nothing. A call that the SDK repeats waits for
//! nobody, so it takes the place of the next call.
//!
//! **How it ends.** The pace ends when its rate exceeds four times the first rate, or ten minutes
//! after the last throttled attempt, and not while other calls may be waiting, because all of them
//! would be sent at once.
//!
//! A call that has waited for 20 seconds fails as throttled without being sent, and its message
//! comes again later. [`Pacer`] is the pure state machine, which is given the time, and [`Line`] is
//! its shell with the clock and the waiting.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::Operation;
use crate::domain::names::RegistryId;

/// Longest time that a call waits for its turn. Then its message comes again later.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);

const SECOND: Duration = Duration::from_secs(1);
/// A pace ends this long after the last throttled attempt.
const QUIET: Duration = Duration::from_secs(600);
/// Factors of the rate: after a quiet second in which calls waited, and after a throttled attempt.
const RAISE: f64 = 1.1;
const CUT: f64 = 0.7;
/// A pace ends when its rate exceeds this many times its first rate.
const ENOUGH: f64 = 4.0;
/// Least rate in calls a second, however much of the quota other callers use up.
const LEAST: f64 = 0.5;

/// Number of attempts in the last second, estimated from two counters: one for this second of the
/// clock and one for the second before.
#[derive(Debug, Default)]
struct Sent {
    second: u64,
    now: u32,
    before: u32,
}

impl Sent {
    fn turn(&mut self, now: Duration) {
        let second = now.as_secs();
        if second != self.second {
            self.before = if second == self.second + 1 { self.now } else { 0 };
            (self.second, self.now) = (second, 0);
        }
    }

    fn add(&mut self, now: Duration) {
        self.turn(now);
        self.now = self.now.saturating_add(1);
    }

    fn per_second(&mut self, now: Duration) -> f64 {
        self.turn(now);
        let part = f64::from(now.subsec_nanos()) / 1e9;
        f64::from(self.now) + f64::from(self.before) * (1.0 - part)
    }
}

/// The pace of an API that AWS throttles.
#[derive(Debug)]
struct Pace {
    /// First and present rate, in calls a second.
    first: f64,
    rate: f64,
    /// Last place that was taken. The next is one spacing later.
    last: Duration,
    /// Last throttled attempt, and the last one that cut the rate.
    throttled: Duration,
    cut: Duration,
    /// Beginning of the present quiet second, and whether a call had to wait in it. A rate that
    /// nobody uses proves nothing.
    quiet: Duration,
    pressed: bool,
}

impl Pace {
    fn beginning(rate: f64, now: Duration) -> Self {
        // Let the second pass whose quota is used up, because AWS would throttle every call in it
        // at any rate.
        let from = now + SECOND;
        let last = from.saturating_sub(spacing(rate));
        Self { first: rate, rate, last, throttled: now, cut: now, quiet: from, pressed: false }
    }

    fn next(&self) -> Duration {
        self.last + spacing(self.rate)
    }

    fn pass(&mut self, now: Duration) {
        let seconds = now.saturating_sub(self.quiet).as_secs();
        if seconds > 0 {
            self.quiet += Duration::from_secs(seconds);
            if std::mem::take(&mut self.pressed) {
                self.rate *= RAISE;
            }
        }
    }

    /// Returns whether the pace ends with a call that may be sent now. It does not while others may
    /// wait, because all of them would be sent at once.
    fn is_over(&self, now: Duration) -> bool {
        let is_proven = self.rate > self.first * ENOUGH || now >= self.throttled + QUIET;
        is_proven && now >= self.next() + spacing(self.rate)
    }

    fn cut(&mut self, now: Duration) {
        (self.throttled, self.quiet, self.pressed) = (now, self.quiet.max(now), false);
        if now >= self.cut + SECOND {
            self.cut = now;
            self.rate = (self.rate * CUT).max(LEAST);
        }
    }
}

fn spacing(rate: f64) -> Duration {
    SECOND.div_f64(rate)
}

/// Decides when the calls of one API may be sent. The caller gives it the time since any instant.
#[derive(Debug)]
struct Pacer {
    /// Least rate with which a pace begins.
    from: f64,
    sent: Sent,
    pace: Option<Pace>,
}

impl Pacer {
    fn new(operation: Operation) -> Self {
        // Half of PutImage's default quota (ECR service quotas). Other quotas are not published.
        let from = if operation == Operation::PutImage { 5.0 } else { 2.0 };
        Self { from, sent: Sent::default(), pace: None }
    }

    /// Returns the rate of the pace in calls a second, if there is a pace.
    fn rate(&self) -> Option<f64> {
        self.pace.as_ref().map(|pace| pace.rate)
    }

    /// Lets a call be sent now if its API is not paced.
    fn start_unpaced(&mut self, now: Duration) -> bool {
        if self.pace.is_none() {
            self.sent.add(now);
        }
        self.pace.is_none()
    }

    /// Lets the next call be sent now, or returns the time at which to ask again.
    fn start(&mut self, now: Duration) -> Result<(), Duration> {
        if let Some(pace) = &mut self.pace {
            pace.pass(now);
            let next = pace.next();
            if now < next {
                pace.pressed = true;
                return Err(next);
            }
            if pace.is_over(now) {
                self.pace = None;
            } else {
                pace.last = now;
            }
        }
        self.sent.add(now);
        Ok(())
    }

    /// Notes that the SDK repeated a call. The attempt does not wait, so it takes the place of the
    /// next call.
    fn resent(&mut self, now: Duration) {
        self.sent.add(now);
        if let Some(pace) = &mut self.pace {
            pace.last = pace.next().max(now);
        }
    }

    /// Notes that AWS throttled an attempt.
    fn throttled(&mut self, now: Duration) {
        match &mut self.pace {
            Some(pace) => {
                pace.pass(now);
                pace.cut(now);
            }
            None => {
                let rate = (self.sent.per_second(now) / 2.0).max(self.from);
                self.pace = Some(Pace::beginning(rate, now));
            }
        }
    }
}

/// A call waited for its turn for [`LONGEST_WAIT`].
#[derive(Debug)]
pub(super) struct WaitedTooLong;

/// The calls of one API to one account and Region, which wait here for their turns.
#[derive(Debug)]
pub(super) struct Line {
    operation: Operation,
    registry_id: RegistryId,
    began: Instant,
    pacer: Mutex<Pacer>,
    /// Held by the next call. Tokio hands it on in the order in which the calls came.
    first: tokio::sync::Mutex<()>,
}

impl Line {
    fn new(operation: Operation, registry_id: RegistryId) -> Self {
        Self {
            operation,
            registry_id,
            began: Instant::now(),
            pacer: Mutex::new(Pacer::new(operation)),
            first: tokio::sync::Mutex::default(),
        }
    }

    /// Lets a call be sent at once if its API is not paced.
    pub(super) fn is_free(&self) -> bool {
        self.ask(Pacer::start_unpaced)
    }

    /// Waits for the turn of a call. A call whose caller gives up leaves the line.
    pub(super) async fn turn(&self) -> Result<(), WaitedTooLong> {
        let turn = async {
            let _first = self.first.lock().await;
            while let Err(at) = self.ask(Pacer::start) {
                sleep_until(self.began + at).await;
            }
        };
        timeout_at(Instant::now() + LONGEST_WAIT, turn).await.map_err(|_| WaitedTooLong)
    }

    /// Notes that the SDK repeated a call.
    pub(super) fn resent(&self) {
        self.ask(Pacer::resent);
    }

    /// Notes that AWS throttled an attempt.
    pub(super) fn throttled(&self) {
        self.ask(Pacer::throttled);
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Pacer, Duration) -> T) -> T {
        let mut pacer = self.pacer();
        let before = pacer.rate();
        // Read the time under the lock, so that it never goes back.
        let answer = question(&mut pacer, self.began.elapsed());
        let after = pacer.rate();
        drop(pacer);
        self.log_change(before, after);
        answer
    }

    /// Logs the begin and the end of a pace.
    fn log_change(&self, before: Option<f64>, after: Option<f64>) {
        let (operation, RegistryId { account, region }) =
            (self.operation.name(), &self.registry_id);
        match (before, after) {
            (None, Some(calls_per_second)) => warn!(
                operation,
                %account,
                %region,
                calls_per_second,
                "AWS throttles this operation: its calls are paced from now on"
            ),
            (Some(calls_per_second), None) => info!(
                operation,
                %account,
                %region,
                calls_per_second,
                "AWS no longer throttles this operation: its calls are no longer paced"
            ),
            _ => {}
        }
    }

    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        // A panic cannot leave numbers and times half changed, so a poisoned lock is still good.
        self.pacer.lock()
    }
}

/// The lines of one account and Region, one for each API that can be paced.
#[derive(Debug)]
pub(super) struct Pacing(Vec<(Operation, Arc<Line>)>);

impl Pacing {
    /// Creates the lines, none of which is paced yet.
    pub(super) fn new(registry_id: &RegistryId) -> Self {
        let paced = Operation::ALL.into_iter().filter(|operation| operation.is_paced());
        let line = |operation| (operation, Arc::new(Line::new(operation, registry_id.clone())));
        Self(paced.map(line).collect())
    }

    /// Returns the line of an operation, if it is one that can be paced.
    pub(super) fn line(&self, operation: Operation) -> Option<&Arc<Line>> {
        self.0.iter().find(|(of, _)| *of == operation).map(|(_, line)| line)
    }
}

#[cfg(test)]
mod tests;
