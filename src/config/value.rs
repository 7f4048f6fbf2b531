//! Parsers of single values. Each error names the key, the value and what would be right.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use config::Value;

use super::file::List;
use super::mistake::{Aspect, Gather, Mistake, Mistakes};
use super::suggest::closest;
use crate::domain::findings::Severity;
use crate::domain::globs::Globs;
use crate::domain::names::{AccountId, InvalidName, KNOWN_REGIONS, Region};
use crate::domain::registries::Registries;
use crate::domain::text::start;

/// The number of characters of a value that an error quotes.
const SHOWN: usize = 200;

/// Advice about a number in a list of texts, such as the id of an account.
pub(super) const QUOTES: &str = "write it in quotes, such as \"012345678901\": without quotes it is a \
                                 number, which has no leading zeros";

/// The longest glob in bytes. A repository's name has at most 256 characters, a tag 300.
const LONGEST_GLOB: usize = 1000;

/// Returns the value of a key that the defaults set.
pub(super) fn given<T>(key: &str, value: Option<T>) -> Result<T, Mistake> {
    value.ok_or_else(|| missing(key, "a value"))
}

pub(super) fn missing(key: &str, expected: &str) -> Mistake {
    Mistake::of(key, Aspect::Absence, format!("is missing; expected {expected}"))
}

/// Returns the error of a name that was given before.
pub(super) fn again(key: &str, name: &str, what: &str) -> Mistake {
    let problem = format!("is {:?}, a duplicate; name each {what} once", start(name, SHOWN));
    Mistake::value(key, problem)
}

pub(super) fn choice<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T, Mistake> {
    choices.iter().find(|(word, _)| *word == value).map(|&(_, choice)| choice).ok_or_else(|| {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let expected = match words.as_slice() {
            [others @ .., last] if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            words => words.join(""),
        };
        wrong(key, value, &expected).meant(closest(value, words))
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
) -> Result<usize, Mistake> {
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
) -> Result<Duration, Mistake> {
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
    meant: impl Fn(&str) -> Option<String>,
) -> Result<Option<BTreeSet<T>>, Mistake> {
    let Some(raw) = raw else { return Ok(None) };
    if raw.0.is_empty() {
        let problem = "is an empty list; leave it out for the default".to_owned();
        return Err(Mistake::value(key, problem));
    }
    let mut names = BTreeSet::new();
    for (at, name) in raw.0.into_iter().enumerate() {
        let meant = meant(&name);
        let wrong = |error: InvalidName| {
            // The item's own place, because lists of accounts are long.
            Mistake::value(&format!("{key}[{at}]"), error.to_string()).meant(meant.as_deref())
        };
        names.insert(parse(name).map_err(wrong)?);
    }
    Ok(Some(names))
}

/// Returns the severity of this name.
pub(super) fn severity(word: &str) -> Option<Severity> {
    Severity::ALL.into_iter().find(|known| known.as_key() == word)
}

/// Returns the severities of these names. `expected` says what else would be right.
pub(super) fn severities(
    key: &str,
    words: &[String],
    expected: &str,
) -> Result<BTreeSet<Severity>, Mistake> {
    words.iter().map(|word| severity(word)).collect::<Option<_>>().ok_or_else(|| {
        let unknown = words.iter().find(|word| severity(word).is_none());
        let known = Severity::ALL.map(Severity::as_key);
        let meant = unknown.and_then(|word| closest(word, known));
        let expected = format!("{expected} {}", known.join(", "));
        wrong(key, &words.join(", "), &expected).meant(meant)
    })
}

/// Returns the registries that these lists admit; a list that is left out admits all.
pub(super) fn registries(
    key: &str,
    accounts: Option<List>,
    regions: Option<List>,
) -> Result<Registries, Mistakes> {
    let mut all = Gather::default();
    let accounts =
        all.add(names(&format!("{key}.accounts"), accounts, AccountId::parse, meant_account));
    let regions = all.add(names(&format!("{key}.regions"), regions, Region::parse, |region| {
        closest(region, KNOWN_REGIONS).map(str::to_owned)
    }));
    all.finish(|| Some(Registries { accounts: accounts?, regions: regions? }))
}

/// Returns the account that somebody probably meant: spreadsheets drop leading zeros, and the AWS
/// console shows accounts with dashes.
fn meant_account(written: &str) -> Option<String> {
    let is_separator = |c: char| c == '-' || c == ' ';
    let digits: String = written.chars().filter(|c| !is_separator(*c)).take(13).collect();
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number with more zeros in front is more likely one that lost digits.
    (is_whole && (9..=12).contains(&digits.len())).then(|| format!("{digits:0>12}"))
}

pub(super) fn wrong(key: &str, value: &str, expected: &str) -> Mistake {
    let problem = format!("is {:?}; expected {expected}", start(value, SHOWN));
    Mistake::value(key, problem)
}

/// Returns the globs of a list that stands for everything if it is left out. An empty list is a
/// mistake, because somebody may have meant that it stands for nothing.
pub(super) fn globs_or_all(key: &str, patterns: Option<List>) -> Result<Globs, Mistake> {
    match patterns {
        None => Ok(Globs::default()),
        Some(List(patterns)) if patterns.is_empty() => {
            Err(Mistake::value(key, "is an empty list; leave it out for all"))
        }
        Some(patterns) => globs(key, patterns),
    }
}

pub(super) fn globs(key: &str, patterns: List) -> Result<Globs, Mistake> {
    if patterns.0.iter().any(String::is_empty) {
        return Err(Mistake::value(
            key,
            "holds nothing but blanks; expected globs such as release-*",
        ));
    }
    // The length is bounded because nested braces are parsed by recursion. No name that a glob can
    // match is as long.
    if let Some(long) = patterns.0.iter().find(|pattern| pattern.len() > LONGEST_GLOB) {
        let expected = format!("globs of at most {LONGEST_GLOB} bytes");
        return Err(wrong(key, long, &expected));
    }
    let problem = |error| format!("{error}; expected globs such as release-*");
    Globs::new(patterns.0).map_err(|error| Mistake::value(key, problem(error)))
}
