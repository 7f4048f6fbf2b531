//! Variables that widen what the configuration file says. A variable wins over the file, so that a
//! deployment can set it, and somebody who reads the file would not know that more images are
//! touched than it names.

use serde_json::Value;

use super::pattern::Pattern;
use crate::config::{Entry, Origin};
use crate::domain::text::start;

/// The number of characters of a value that is shown.
const SHOWN: usize = 200;

/// A variable that widens what the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Widening {
    /// The key that both set.
    pub key: String,
    /// Which variable wins over which value, and what that means.
    pub message: String,
}

/// The way in which a key widens when its value changes.
#[derive(Clone, Copy)]
enum Way {
    /// A list of globs whose names are covered.
    Covered,
    /// A list of globs whose names are left alone.
    LeftAlone,
    /// A list of names that are covered.
    Named,
    /// A number that is a limit.
    Limit,
    /// A word; the second is wider than the first.
    Words(&'static str, &'static str),
}

/// The keys that say how many images are touched, and what is done to them.
const KEYS: [(&str, Way, &str); 11] = [
    ("policy.mode", Way::Words("audit", "enforce"), "tags are removed"),
    ("policy.action", Way::Words("quarantine", "delete"), "images are deleted"),
    ("policy.in_use", Way::Words("block", "untag"), "images in use lose their tags"),
    ("policy.replicated", Way::Words("block", "follow"), "removals are repeated elsewhere"),
    ("policy.repositories.include", Way::Covered, "more repositories are covered"),
    ("policy.repositories.exclude", Way::LeftAlone, "fewer repositories are left alone"),
    ("policy.protected_tags", Way::LeftAlone, "fewer tags are protected"),
    ("policy.accounts", Way::Named, "more accounts are covered"),
    ("policy.regions", Way::Named, "more Regions are covered"),
    ("limits.untags_per_hour", Way::Limit, "more tags are removed in an hour"),
    ("limits.untags_per_hour_per_repository", Way::Limit, "more tags are removed in an hour"),
];

/// Returns the variables that widen what the file says.
#[must_use]
pub fn widening(entries: &[Entry]) -> Vec<Widening> {
    let of_key = |entry: &Entry| {
        let (Origin::Variable(variable), Some(file)) = (&entry.origin, &entry.replaced) else {
            return None;
        };
        let (key, way, what) = KEYS.into_iter().find(|(key, ..)| *key == entry.key)?;
        way.widens(file, &entry.value).then(|| Widening {
            key: key.to_owned(),
            message: format!(
                "{key} is {}, because {variable} replaces {} of the file: {what} than the file \
                 says; unset the variable, or give both the same value",
                start(&entry.value, SHOWN),
                start(file, SHOWN),
            ),
        })
    };
    entries.iter().filter_map(of_key).collect()
}

impl Way {
    /// Returns whether the second value is wider than the first.
    fn widens(self, file: &str, variable: &str) -> bool {
        match self {
            Self::Covered => !covers(&texts(file), &texts(variable)),
            Self::LeftAlone => !covers(&texts(variable), &texts(file)),
            Self::Named => texts(variable).iter().any(|name| !texts(file).contains(name)),
            Self::Limit => number(file) < number(variable),
            Self::Words(narrow, wide) => word(file) == narrow && word(variable) == wide,
        }
    }
}

/// Returns whether each pattern of the second list is covered by one of the first.
fn covers(wide: &[String], narrow: &[String]) -> bool {
    let all = |globs: &[String]| -> Vec<_> {
        globs.iter().flat_map(|glob| Pattern::all_of(glob)).collect()
    };
    let wide = all(wide);
    all(narrow).iter().all(|one| wide.iter().any(|other| other.covers(one)))
}

fn texts(value: &str) -> Vec<String> {
    let parsed = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    match parsed {
        Value::Array(items) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(one) => vec![one],
        _ => vec![value.to_owned()],
    }
}

/// Returns the limit. One that is no number does not limit.
fn number(value: &str) -> u64 {
    word(value).parse().unwrap_or(u64::MAX)
}

fn word(value: &str) -> &str {
    value.trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(key: &str, file: &str, variable: &str) -> bool {
        let entry = Entry {
            key: key.to_owned(),
            value: variable.to_owned(),
            origin: Origin::Variable("TAGWARDEN__X".to_owned()),
            replaced: Some(file.to_owned()),
        };
        let told = widening(&[entry]);
        assert!(told.iter().all(|one| one.key == key && one.message.contains("TAGWARDEN__X")));
        !told.is_empty()
    }

    #[test]
    fn variable_that_widens_the_file_is_told_and_one_that_narrows_it_is_not() {
        for (key, narrow, wide) in [
            ("policy.mode", "\"audit\"", "\"enforce\""),
            ("policy.action", "\"quarantine\"", "\"delete\""),
            ("policy.in_use", "\"block\"", "\"untag\""),
            ("policy.replicated", "\"block\"", "\"follow\""),
            ("policy.repositories.include", r#"["team/*"]"#, r#"["*"]"#),
            ("policy.repositories.include", r#"["team/*"]"#, r#"["team/*", "other"]"#),
            ("policy.repositories.exclude", r#"["team/*"]"#, r#"["team/a"]"#),
            ("policy.protected_tags", r#"["prod-*", "lts"]"#, r#"["prod-*"]"#),
            ("policy.accounts", r#"["111122223333"]"#, r#"["111122223333", "444455556666"]"#),
            ("policy.regions", r#"["eu-west-1"]"#, r#"["us-east-1"]"#),
            ("limits.untags_per_hour", "10", "100"),
            ("limits.untags_per_hour", "10", "\"unlimited\""),
        ] {
            assert!(told(key, narrow, wide), "{key}: {narrow} {wide}");
            assert!(key == "policy.regions" || !told(key, wide, narrow), "{key}: {wide} {narrow}");
            assert!(!told(key, narrow, narrow) && !told(key, wide, wide), "{key}");
        }
        assert!(!told("http.listen", "\"127.0.0.1:1\"", "\"0.0.0.0:1\""));
    }
}
