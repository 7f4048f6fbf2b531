//! The times that people type: how far back to look, and until when to hold.
//!
//! Everything is in UTC, as in notices and logs. The command prints how it has read a time, because
//! at three in the morning nobody wants to guess.

use std::time::{Duration, SystemTime};

/// The seconds of a day.
const DAY: u64 = 24 * 3600;

/// Reads the time of `--since`: a time (RFC 3339), a date, a time of today such as `01:00`, or an
/// age such as `8h`.
///
/// # Errors
/// Says why the text is none of them, or that the time is still to come.
pub(super) fn since(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let at = moment(text)
        .or_else(|| time_of_today(text, now))
        // There were no records before 1970, and no earlier time can be written.
        .or_else(|| Some(now.checked_sub(duration(text)?)?.max(SystemTime::UNIX_EPOCH)))
        .ok_or_else(|| {
            format!(
                "--since: {text:?} is not a time; write 2026-11-30T01:00:00Z, a date, a time of \
                 today in UTC such as 01:00, or an age such as 8h"
            )
        })?;
    if at > now {
        let read = written(at);
        return Err(format!(
            "--since: {text} is {read}, which is still to come; now is {}; all times are in UTC; \
             give an age such as 8h, or the date too, as in {}",
            written(now),
            written(at.checked_sub(Duration::from_secs(DAY)).unwrap_or(now).min(now))
        ));
    }
    Ok(at)
}

/// Reads the time of `--until`: a time (RFC 3339), a date, on which the hold ends at 00:00 UTC, or
/// a duration such as `3d`.
///
/// # Errors
/// Says why the text is none of them, or that the time has passed.
pub(super) fn until(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let later = || now.checked_add(duration(text)?).filter(|at| *at < last());
    let at = moment(text).or_else(later).ok_or_else(|| {
        format!(
            "--until: {text:?} is not a time; write a date such as 2026-12-07, a time such as \
             2026-12-07T08:00:00Z, or a duration such as 3d"
        )
    })?;
    if at <= now {
        let read = written(at);
        return Err(format!(
            "--until: {text} is {read}, which has passed; now is {}; give a later time, or a \
             duration such as 3d",
            written(now)
        ));
    }
    Ok(at)
}

/// Returns the end of the times that can be written, the year 10000.
fn last() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800)
}

/// Writes a time as a person reads it, in UTC.
pub(super) fn written(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn moment(text: &str) -> Option<SystemTime> {
    let date = || humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok();
    humantime::parse_rfc3339(text).ok().or_else(date)
}

fn time_of_today(text: &str, now: SystemTime) -> Option<SystemTime> {
    let full = match text.len() {
        4 => format!("0{text}:00"),
        5 => format!("{text}:00"),
        _ => text.to_owned(),
    };
    let of_day = humantime::parse_rfc3339(&format!("1970-01-01T{full}Z")).ok()?;
    let of_day = of_day.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let midnight = Duration::from_secs(seconds - seconds % DAY);
    SystemTime::UNIX_EPOCH.checked_add(midnight + of_day)
}

fn duration(text: &str) -> Option<Duration> {
    // Without a unit a number could be anything.
    humantime::parse_duration(text).ok().filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-30T09:30:15Z";

    fn now() -> SystemTime {
        humantime::parse_rfc3339(NOW).unwrap()
    }

    #[test]
    fn since_takes_a_time_a_date_a_time_of_today_and_an_age() {
        for (text, read) in [
            ("2026-11-29T23:00:00Z", "2026-11-29T23:00:00Z"),
            ("2026-11-30", "2026-11-30T00:00:00Z"),
            ("01:00", "2026-11-30T01:00:00Z"),
            ("1:05", "2026-11-30T01:05:00Z"),
            ("01:00:30", "2026-11-30T01:00:30Z"),
            ("8h", "2026-11-30T01:30:15Z"),
            ("2days", "2026-11-28T09:30:15Z"),
            ("500years", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(since(text, now()).map(written), Ok(read.to_owned()), "{text}");
        }
    }

    #[test]
    fn since_refuses_what_is_no_time_and_what_is_still_to_come() {
        for text in
            ["", " ", "yesterday", "8", "-8h", "25:00", "01:60", "2026-13-01", "0h", "1", "९:००"]
        {
            let error = since(text, now()).unwrap_err();
            assert!(error.starts_with("--since: ") && error.contains("is not a time"), "{error}");
        }
        for text in ["10:00", "2026-12-01", "2027-01-01T00:00:00Z"] {
            let error = since(text, now()).unwrap_err();
            assert!(error.contains("still to come; now is 2026-11-30T09:30:15Z"), "{error}");
        }
    }

    #[test]
    fn until_takes_a_date_a_time_and_a_duration() {
        for (text, read) in [
            ("2026-12-07", "2026-12-07T00:00:00Z"),
            ("2026-12-07T08:00:00Z", "2026-12-07T08:00:00Z"),
            ("3d", "2026-12-03T09:30:15Z"),
        ] {
            assert_eq!(until(text, now()).map(written), Ok(read.to_owned()), "{text}");
        }
    }

    #[test]
    fn until_refuses_what_is_no_time_and_what_has_passed() {
        for text in ["", "tomorrow", "3", "01:00", "0d", "9000years", "99999999999999999999d"] {
            let error = until(text, now()).unwrap_err();
            assert!(error.starts_with("--until: ") && error.contains("is not a time"), "{error}");
        }
        for text in ["2026-11-30", "2025-12-07", NOW] {
            let error = until(text, now()).unwrap_err();
            assert!(error.contains("which has passed; now is 2026-11-30T09:30:15Z"), "{error}");
        }
    }
}
