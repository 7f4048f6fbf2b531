//! Parsers of single values. Each error names the key, the value and what would be right.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::Value;

use super::ConfigError;
use super::file::List;
use crate::domain::globs::Globs;
use crate::domain::names::InvalidName;
use crate::domain::text::start;

/// The number of characters of a value that an error quotes.
const SHOWN: usize = 200;

/// The longest glob in bytes. A repository's name has at most 256 characters, a tag 300.
const LONGEST_GLOB: usize = 1000;

/// Returns the value of a key that the defaults set.
pub(super) fn given<T>(key: &str, value: Option<T>) -> Result<T, ConfigError> {
    value.ok_or_else(|| missing(key, "a value"))
}

pub(super) fn missing(key: &str, expected: &str) -> ConfigError {
    ConfigError::Key { key: key.to_owned(), problem: format!("is missing; expected {expected}") }
}

/// Returns the error of a name that was given before.
pub(super) fn again(key: &str, name: &str, what: &str) -> ConfigError {
    let problem = format!("is {:?}, a duplicate; name each {what} once", start(name, SHOWN));
    ConfigError::Key { key: key.to_owned(), problem }
}

pub(super) fn choice<T: Copy>(
    key: &str,
    value: &str,
    choices: &[(&str, T)],
) -> Result<T, ConfigError> {
    choices.iter().find(|(word, _)| *word == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let expected = match words.as_slice() {
            [others @ .., last] if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            words => words.join(""),
        };
        wrong(key, value, &expected)
    })
}

/// Returns the number that a value holds. A string counts too, because variables write numbers as
/// text.
pub(super) fn whole_number(value: &Value) -> Option<u64> {
    value.to_string().parse().ok()
}

pub(super) fn within(
    key: &str,
    value: &Value,
    range: RangeInclusive<usize>,
) -> Result<usize, ConfigError> {
    whole_number(value)
        .and_then(|number| usize::try_from(number).ok())
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let expected = format!("a whole number from {} to {}", range.start(), range.end());
            wrong(key, &value.to_string(), &expected)
        })
}

pub(super) fn duration(
    key: &str,
    value: &str,
    least: Duration,
    most: Duration,
) -> Result<Duration, ConfigError> {
    let expected = format!(
        "a duration with its unit from {} to {}",
        humantime::format_duration(least),
        humantime::format_duration(most)
    );
    humantime::parse_duration(value)
        .ok()
        .filter(|duration| (least..=most).contains(duration))
        .ok_or_else(|| wrong(key, value, &expected))
}

pub(super) fn names<T: Ord>(
    key: &str,
    raw: Option<List>,
    parse: impl Fn(String) -> Result<T, InvalidName>,
) -> Result<Option<BTreeSet<T>>, ConfigError> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.0.is_empty() {
        let problem = "is an empty list; leave it out for the default".to_owned();
        return Err(ConfigError::Key { key: key.to_owned(), problem });
    }
    let names = raw.0.into_iter().map(parse).collect::<Result<_, _>>();
    names
        .map(Some)
        .map_err(|error| ConfigError::Key { key: key.to_owned(), problem: error.to_string() })
}

pub(super) fn wrong(key: &str, value: &str, expected: &str) -> ConfigError {
    let problem = format!("is {:?}; expected {expected}", start(value, SHOWN));
    ConfigError::Key { key: key.to_owned(), problem }
}

pub(super) fn globs(key: &str, patterns: List) -> Result<Globs, ConfigError> {
    // The length is bounded because nested braces are parsed by recursion. No name that a glob can
    // match is as long.
    if let Some(long) = patterns.0.iter().find(|pattern| pattern.len() > LONGEST_GLOB) {
        let expected = format!("globs of at most {LONGEST_GLOB} bytes");
        return Err(wrong(key, long, &expected));
    }
    Globs::new(patterns.0).map_err(|error| ConfigError::Key {
        key: key.to_owned(),
        problem: format!("{error}; expected globs such as release-*"),
    })
}
