//! Glob patterns of the configuration, and an index that finds all patterns that match a text.

use std::collections::HashMap;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// A list of glob patterns. `*` matches any characters, including `/`.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Globs {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// Returns the error of the first pattern that is not a valid glob.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, globset::Error> {
        let patterns: Vec<_> = patterns.into_iter().collect();
        let mut builder = GlobSetBuilder::new();
        for pattern in &patterns {
            builder.add(Glob::new(pattern)?);
        }
        Ok(Self { set: builder.build()?, patterns })
    }

    /// Returns whether the list has no pattern.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Returns the first pattern that matches.
    #[must_use]
    pub fn matching(&self, text: &str) -> Option<&str> {
        let first = self.set.matches(text).into_iter().min()?;
        self.patterns.get(first).map(String::as_str)
    }

    /// Returns whether any pattern matches, or the list is empty. An empty list means "everything".
    #[must_use]
    pub fn admit(&self, text: &str) -> bool {
        self.is_empty() || self.set.is_match(text)
    }

    /// Returns the patterns as they were written.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

/// The most globs that are compiled into one set. The size of a set is limited, and this number of
/// the longest globs that a configuration may hold is well within the limit.
const SET: usize = 256;

/// Finds the owners of all globs that match a text, without trying each glob by itself. The policy
/// may have thousands of rules and exceptions, which are looked up for every image, and exceptions
/// even for every finding.
///
/// An owner is a number that the caller chooses, such as a position in a list.
#[derive(Clone, Debug, Default)]
pub(super) struct GlobIndex {
    exact: HashMap<String, Vec<usize>>,
    sets: Vec<(GlobSet, Vec<usize>)>,
}

impl GlobIndex {
    /// Builds the index from the globs of each owner.
    pub(super) fn new<'a>(globs: impl IntoIterator<Item = (usize, &'a Globs)>) -> Self {
        let mut index = Self::default();
        let mut others = Vec::new();
        for (owner, globs) in globs {
            for pattern in globs.patterns() {
                if pattern.contains(['*', '?', '[', ']', '{', '}', '\\']) {
                    // The pattern is valid, because `Globs::new` has compiled it.
                    others.extend(Glob::new(pattern).ok().map(|glob| (owner, glob)));
                } else {
                    index.exact.entry(pattern.clone()).or_default().push(owner);
                }
            }
        }
        for some in others.chunks(SET) {
            index.add(some);
        }
        index
    }

    /// Compiles globs into one set, or into smaller sets if one would be too large.
    fn add(&mut self, globs: &[(usize, Glob)]) {
        let mut builder = GlobSetBuilder::new();
        for (_, glob) in globs {
            builder.add(glob.clone());
        }
        match builder.build() {
            Ok(set) => self.sets.push((set, globs.iter().map(|(owner, _)| *owner).collect())),
            Err(_) if globs.len() > 1 => {
                let (some, others) = globs.split_at(globs.len() / 2);
                self.add(some);
                self.add(others);
            }
            Err(_) => {}
        }
    }

    /// Returns the owners of the globs that match, each once and in ascending order.
    pub(super) fn matching(&self, text: &str) -> Vec<usize> {
        let mut owners = self.exact.get(text).cloned().unwrap_or_default();
        for (set, of) in &self.sets {
            let matching = set.matches(text).into_iter();
            owners.extend(matching.filter_map(|at| of.get(at)));
        }
        owners.sort_unstable();
        owners.dedup();
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_finds_every_owner_whose_globs_match() {
        let lists = [globs(&["team/app"]), globs(&["team/*", "*/app"]), globs(&["other"])];
        let many: Vec<_> = (0..2 * SET).map(|at| globs(&[&format!("x{at}-[ab]*")])).collect();
        let index = GlobIndex::new(lists.iter().chain(&many).enumerate());
        assert_eq!(index.matching("team/app"), [0, 1]);
        assert_eq!(index.matching("other"), [2]);
        assert_eq!(index.matching("x300-b1"), [303]);
        assert_eq!(index.matching("x300-c1"), Vec::<usize>::new());
    }

    fn globs(patterns: &[&str]) -> Globs {
        Globs::new(patterns.iter().map(ToString::to_string)).unwrap()
    }

    #[test]
    fn matching_returns_the_first_pattern_that_matches() {
        let globs = globs(&["v*", "release-*", "v1*"]);
        assert_eq!(globs.matching("v1.0"), Some("v*"));
        assert_eq!(globs.matching("latest"), None);
    }

    #[test]
    fn star_matches_slashes_and_empty_list_admits_everything() {
        assert!(globs(&["team/*"]).admit("team/a/b"));
        assert!(!globs(&["team/*"]).admit("other"));
        assert!(globs(&[]).admit("other"));
        assert_eq!(globs(&[]).matching("other"), None);
    }
}
