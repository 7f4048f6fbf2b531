//! One mistake in the configuration, and how several are gathered, so that people can mend all of
//! them at once.

use std::fmt;

use super::suggest::did_you_mean;
use crate::domain::text::{is_unseen, start};

/// The part of a key that a mistake is about. It decides which place of a file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aspect {
    /// The key itself, such as one that does not exist.
    Name,
    /// The key's value.
    Value,
    /// The key is missing.
    Absence,
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The key, with dots between levels. `None` if the mistake is not about a single key.
    pub(super) key: Option<(String, Aspect)>,
    /// What is wrong, and what would be right.
    pub(super) problem: String,
    /// Further advice.
    pub(super) help: Option<String>,
    /// The place in the file, in bytes, if it is known before any key is.
    pub(super) at: Option<std::ops::Range<usize>>,
}

impl Mistake {
    /// A mistake about a key.
    pub(super) fn of(key: &str, aspect: Aspect, problem: impl Into<String>) -> Self {
        let key = Some((key.to_owned(), aspect));
        Self { key, ..Self::general(problem) }
    }

    /// A mistake about the value of a key.
    pub(super) fn value(key: &str, problem: impl Into<String>) -> Self {
        Self::of(key, Aspect::Value, problem)
    }

    /// A mistake that is not about a single key.
    pub(super) fn general(problem: impl Into<String>) -> Self {
        Self { key: None, problem: problem.into(), help: None, at: None }
    }

    /// Adds the word that was probably meant.
    pub(super) fn meant(mut self, word: Option<&str>) -> Self {
        self.problem.push_str(&did_you_mean(word));
        self
    }

    /// Adds advice.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds the place in the file.
    pub(super) fn at(self, at: Option<std::ops::Range<usize>>) -> Self {
        Self { at, ..self }
    }
}

/// Writes the mistake as one line, whatever the keys and values contain.
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |text: &str, most: usize| start(&text.replace(is_unseen, " "), most);
        match &self.key {
            // TOML writes a key without a name as two quotes.
            Some((key, _)) if key.is_empty() => f.write_str("\"\": ")?,
            Some((key, _)) => write!(f, "{}: ", line(key, 200))?,
            None => {}
        }
        f.write_str(&line(&self.problem, 1000))
    }
}

/// Gathers the results of checks, so that one mistake does not hide the next.
///
/// Each check is added. If no check failed, `finish` builds the whole from the parts; every part
/// is there then.
#[derive(Debug, Default)]
pub(super) struct Gather(Vec<Mistake>);

impl Gather {
    /// Adds the result of a check. Returns its value unless the check failed.
    pub(super) fn add<T>(&mut self, result: Result<T, impl Into<Mistakes>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(mistakes) => {
                self.0.extend(mistakes.into().0);
                None
            }
        }
    }

    /// Adds mistakes that were found before.
    pub(super) fn add_all(&mut self, mistakes: Vec<Mistake>) {
        self.0.extend(mistakes);
    }

    /// Builds the whole unless a check failed.
    ///
    /// # Errors
    /// Every mistake that was added.
    pub(super) fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Mistakes> {
        match (self.0.is_empty(), build()) {
            (true, Some(whole)) => Ok(whole),
            _ => Err(Mistakes(self.0)),
        }
    }
}

/// At least one mistake.
#[derive(Debug)]
pub(super) struct Mistakes(pub(super) Vec<Mistake>);

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}
