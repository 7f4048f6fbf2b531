//! The virtual clock: a fixed epoch plus the tokio time that has passed since the simulation was made.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_smithy_async::time::TimeSource;
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use tokio::time::Instant;

/// Virtual time. Under a paused tokio runtime it moves only when tokio's time does. Clones show the same time.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    epoch: SystemTime,
    anchor: Arc<Mutex<Anchor>>,
}

/// A moment of virtual time and the moment of tokio's clock that it stands for.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    at: SystemTime,
    instant: Instant,
}

impl Clock {
    pub(crate) fn starting_at(epoch: SystemTime) -> Self {
        let anchor = Anchor { at: epoch, instant: Instant::now() };
        Self { epoch, anchor: Arc::new(Mutex::new(anchor)) }
    }

    fn anchor(&self) -> MutexGuard<'_, Anchor> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows `at` now: the clock of another tokio runtime has nothing to do with that of the one before.
    pub(crate) fn resume_at(&self, at: SystemTime) {
        *self.anchor() = Anchor { at, instant: Instant::now() };
    }

    /// How long the simulation has existed.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now().duration_since(self.epoch).unwrap_or_default()
    }

    /// The moment of tokio's clock at which the virtual clock shows `at`.
    pub(crate) fn instant_of(&self, at: SystemTime) -> Instant {
        let anchor = *self.anchor();
        anchor.instant + at.duration_since(anchor.at).unwrap_or_default()
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        let anchor = *self.anchor();
        anchor.at + anchor.instant.elapsed()
    }
}

/// The clock on the callers' side: the virtual clock, and how far it is ahead of it. Clones show the same time.
#[derive(Clone, Debug)]
pub(crate) struct CallersClock {
    clock: Clock,
    /// In seconds; negative is behind.
    ahead: Arc<AtomicI64>,
}

impl CallersClock {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, ahead: Arc::default() }
    }

    pub(crate) fn set_ahead(&self, seconds: i64) {
        self.ahead.store(seconds, Ordering::Relaxed);
    }
}

impl TimeSource for CallersClock {
    fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = self.clock.now();
        let shifted = if ahead < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        shifted.unwrap_or(now)
    }
}

fn since_unix(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `2026-01-02T03:04:05Z`, as in EventBridge's envelope.
pub(crate) fn iso_seconds(at: SystemTime) -> String {
    let seconds = i64::try_from(since_unix(at).as_secs()).unwrap_or(i64::MAX);
    DateTime::from_secs(seconds).fmt(Format::DateTime).unwrap_or_default()
}

/// `Fri, 02 Jan 2026 03:04:05 GMT`, as in the head of an answer.
pub(crate) fn http_date(at: SystemTime) -> String {
    let seconds = i64::try_from(since_unix(at).as_secs()).unwrap_or(i64::MAX);
    DateTime::from_secs(seconds).fmt(Format::HttpDate).unwrap_or_default()
}

/// `20260102T030405Z`, as in the head of a signed request.
pub(crate) fn basic_seconds(at: SystemTime) -> String {
    iso_seconds(at).replace(['-', ':'], "")
}

/// The moment that such a text says.
pub(crate) fn from_basic_seconds(text: &str) -> Option<SystemTime> {
    let part = |from, to| text.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(11, 13)?, part(13, 15)?);
    let iso = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    SystemTime::try_from(DateTime::from_str(&iso, Format::DateTime).ok()?).ok()
}

/// `2026-01-02T03:04:05.000Z`, as in SNS's envelope.
pub(crate) fn iso_millis(at: SystemTime) -> String {
    let whole = iso_seconds(at);
    let millis = since_unix(at).subsec_millis();
    format!("{}.{millis:03}Z", whole.trim_end_matches('Z'))
}

/// `Fri Jan 02 03:04:05.000 UTC 2026`, as in the details of Inspector's events, of seconds since the Unix epoch.
pub(crate) fn inspector_time(seconds: f64) -> String {
    let millis = DateTime::from_secs_f64(seconds).to_millis().unwrap_or_default();
    let whole = DateTime::from_secs(millis.div_euclid(1000));
    let http = whole.fmt(Format::HttpDate).unwrap_or_default();
    let parts: Vec<&str> = http.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        [weekday, day, month, year, time, _] => {
            format!("{weekday} {month} {day} {time}.{:03} UTC {year}", millis.rem_euclid(1000))
        }
        _ => http,
    }
}

/// Seconds since the Unix epoch with milliseconds, as AWS JSON writes a timestamp.
pub(crate) fn unix_seconds(at: SystemTime) -> f64 {
    let millis = since_unix(at).as_millis() as f64;
    millis / 1000.0
}

/// Milliseconds since the Unix epoch in decimal, as SQS writes a timestamp.
pub(crate) fn unix_millis(at: SystemTime) -> String {
    since_unix(at).as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_written_as_each_service_writes_them() {
        let at = UNIX_EPOCH + Duration::from_millis(1_767_323_045_007);
        assert_eq!(iso_seconds(at), "2026-01-02T03:04:05Z");
        assert_eq!(iso_millis(at), "2026-01-02T03:04:05.007Z");
        assert_eq!(unix_millis(at), "1767323045007");
        assert_eq!(http_date(at), "Fri, 02 Jan 2026 03:04:05 GMT");
        assert_eq!(basic_seconds(at), "20260102T030405Z");
        let whole = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        assert_eq!(from_basic_seconds("20260102T030405Z"), Some(whole));
        assert_eq!(from_basic_seconds("yesterday"), None);
        assert_eq!(inspector_time(1_725_468_938.411), "Wed Sep 04 16:55:38.411 UTC 2024");
        assert!((unix_seconds(at) - 1_767_323_045.007).abs() < 1e-6);
    }
}
