//! How fast the calls of one API are sent to one account and Region, once AWS throttles them.
//!
//! Quotas can be raised, most are not published, and emulators have none. So an API goes unpaced until AWS throttles it
//! there. From then on its calls are spaced evenly, in the order in which they came: a throttled attempt cuts the rate,
//! a quiet second in which calls had to wait raises it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use super::Operation;
use crate::domain::image::Home;

/// The longest that a call waits for its turn. Its message comes again later.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(20);

const SECOND: Duration = Duration::from_secs(1);
/// An API that was not throttled for so long is not paced any more.
const QUIET: Duration = Duration::from_secs(600);
/// What a quiet second makes of the rate, and what a throttled one does.
const RAISE: f64 = 1.1;
const CUT: f64 = 0.7;
/// How many times its first rate a pace must reach to end before that.
const ENOUGH: f64 = 4.0;
/// No API gets slower than this, in calls a second, however many other callers use up its quota.
const LEAST: f64 = 0.5;

/// How many attempts were sent in the last second, as two counters tell it.
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
    /// The rate that it began with, and the present one, in calls a second.
    first: f64,
    rate: f64,
    /// The last place that was taken. The next is one spacing later.
    last: Duration,
    /// The last throttled attempt, and the last one that cut the rate.
    throttled: Duration,
    cut: Duration,
    /// Since when a second is quiet, and whether a call had to wait in it: a rate that nobody uses proves nothing.
    quiet: Duration,
    pressed: bool,
}

impl Pace {
    fn beginning(rate: f64, now: Duration) -> Self {
        // The second whose quota is used up goes by first: every call within it would be throttled, at any rate.
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

    /// Whether it ends with a call that may be sent now. Not while others may wait: they would all be sent at once.
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

/// When the calls of one API may be sent. It is given the time, counted from whenever.
#[derive(Debug)]
struct Pacer {
    /// The least rate to begin with.
    from: f64,
    sent: Sent,
    pace: Option<Pace>,
}

impl Pacer {
    fn new(operation: Operation) -> Self {
        // Half of PutImage's default quota (ECR service quotas). The others' are not known.
        let from = if operation == Operation::PutImage { 5.0 } else { 2.0 };
        Self { from, sent: Sent::default(), pace: None }
    }

    /// The rate of its pace, if it has one, in calls a second.
    fn rate(&self) -> Option<f64> {
        self.pace.as_ref().map(|pace| pace.rate)
    }

    /// Lets a call of an unpaced API be sent now.
    fn start_unpaced(&mut self, now: Duration) -> bool {
        if self.pace.is_none() {
            self.sent.add(now);
        }
        self.pace.is_none()
    }

    /// Lets the call whose turn it is be sent now, or says when to ask again.
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

    /// The SDK sent a call again, which waits for nobody. It takes the place of the next.
    fn resent(&mut self, now: Duration) {
        self.sent.add(now);
        if let Some(pace) = &mut self.pace {
            pace.last = pace.next().max(now);
        }
    }

    /// AWS throttled an attempt.
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

/// A call waited for its turn as long as it may.
#[derive(Debug)]
pub(super) struct WaitedTooLong;

/// The calls of one API to one account and Region.
#[derive(Debug)]
pub(super) struct Line {
    operation: Operation,
    home: Home,
    began: Instant,
    pacer: Mutex<Pacer>,
    /// Whoever holds it is next. It goes to those who wait in the order in which they came.
    first: tokio::sync::Mutex<()>,
}

impl Line {
    fn new(operation: Operation, home: Home) -> Self {
        Self {
            operation,
            home,
            began: Instant::now(),
            pacer: Mutex::new(Pacer::new(operation)),
            first: tokio::sync::Mutex::default(),
        }
    }

    /// Lets a call be sent at once if its API is not paced.
    pub(super) fn is_free(&self) -> bool {
        self.ask(Pacer::start_unpaced)
    }

    /// Waits until it is a call's turn. A call that is given up leaves the line, and takes up no place.
    pub(super) async fn turn(&self) -> Result<(), WaitedTooLong> {
        let turn = async {
            let _first = self.first.lock().await;
            while let Err(at) = self.ask(Pacer::start) {
                sleep_until(self.began + at).await;
            }
        };
        timeout_at(Instant::now() + LONGEST_WAIT, turn).await.map_err(|_| WaitedTooLong)
    }

    /// The SDK sent a call again.
    pub(super) fn resent(&self) {
        self.ask(Pacer::resent);
    }

    /// AWS throttled an attempt.
    pub(super) fn throttled(&self) {
        self.ask(Pacer::throttled);
    }

    fn ask<T>(&self, question: impl FnOnce(&mut Pacer, Duration) -> T) -> T {
        let mut pacer = self.pacer();
        let before = pacer.rate();
        // Read under the lock, so that it never goes back.
        let answer = question(&mut pacer, self.began.elapsed());
        let after = pacer.rate();
        drop(pacer);
        self.say(before, after);
        answer
    }

    /// Logs that a pace begins or ends.
    fn say(&self, before: Option<f64>, after: Option<f64>) {
        let (operation, Home { account, region }) = (self.operation.name(), &self.home);
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
                "AWS does not throttle this operation any more: its calls are paced no longer"
            ),
            _ => {}
        }
    }

    fn pacer(&self) -> MutexGuard<'_, Pacer> {
        // Numbers and times: whole at every point where a panic could leave them.
        self.pacer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of one account and Region, one for each API that is paced.
#[derive(Debug)]
pub(super) struct Pacing(Vec<(Operation, Arc<Line>)>);

impl Pacing {
    /// Nothing is paced yet.
    pub(super) fn new(home: &Home) -> Self {
        let paced = Operation::ALL.into_iter().filter(|operation| operation.is_paced());
        let line = |operation| (operation, Arc::new(Line::new(operation, home.clone())));
        Self(paced.map(line).collect())
    }

    /// The line of an operation, where it is one that is paced.
    pub(super) fn line(&self, operation: Operation) -> Option<&Arc<Line>> {
        self.0.iter().find(|(of, _)| *of == operation).map(|(_, line)| line)
    }
}

#[cfg(test)]
mod tests;
