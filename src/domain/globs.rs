//! Glob patterns, as the configuration writes them.

use std::collections::HashMap;

use globset::{Glob, GlobSet, GlobSetBuilder};

/// A list of glob patterns. `*` stands for any characters, `/` among them.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Globs {
    /// Compiles the patterns.
    ///
    /// # Errors
    /// The first pattern that is no glob, and why.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Result<Self, globset::Error> {
        let patterns: Vec<_> = patterns.into_iter().collect();
        let mut builder = GlobSetBuilder::new();
        for pattern in &patterns {
            builder.add(Glob::new(pattern)?);
        }
        Ok(Self { set: builder.build()?, patterns })
    }

    /// Whether there is no pattern at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The first pattern that matches.
    #[must_use]
    pub fn matching(&self, text: &str) -> Option<&str> {
        let first = self.set.matches(text).into_iter().min()?;
        self.patterns.get(first).map(String::as_str)
    }

    /// Whether any pattern matches, or there is none.
    #[must_use]
    pub fn admit(&self, text: &str) -> bool {
        self.is_empty() || self.set.is_match(text)
    }

    /// The patterns as they were written.
    #[must_use]
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

/// How many globs are compiled into one set. A set has a limit on its size, and this many of the
/// longest globs that a configuration may hold are well within it.
const SET: usize = 256;

/// Whose globs match a text, found without a look at each of them: rules and exceptions by the
/// thousand are asked for every image, and exceptions for every finding.
///
/// Owners are numbers that the caller gives, such as positions in a list.
#[derive(Clone, Debug, Default)]
pub(super) struct GlobIndex {
    exact: HashMap<String, Vec<usize>>,
    sets: Vec<(GlobSet, Vec<usize>)>,
}

impl GlobIndex {
    /// Takes the globs of each owner.
    pub(super) fn new<'a>(globs: impl IntoIterator<Item = (usize, &'a Globs)>) -> Self {
        let mut index = Self::default();
        let mut others = Vec::new();
        for (owner, globs) in globs {
            for pattern in globs.patterns() {
                if pattern.contains(['*', '?', '[', ']', '{', '}', '\\']) {
                    // Each was compiled when it was read.
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

    /// Compiles globs into one set, or into smaller ones if that is too large.
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

    /// The owners of the globs that match, in order, each once.
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
    fn an_index_names_every_owner_whose_globs_match() {
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
    fn the_first_matching_pattern_is_the_one_named() {
        let globs = globs(&["v*", "release-*", "v1*"]);
        assert_eq!(globs.matching("v1.0"), Some("v*"));
        assert_eq!(globs.matching("latest"), None);
    }

    #[test]
    fn a_star_crosses_slashes_and_no_pattern_admits_everything() {
        assert!(globs(&["team/*"]).admit("team/a/b"));
        assert!(!globs(&["team/*"]).admit("other"));
        assert!(globs(&[]).admit("other"));
        assert_eq!(globs(&[]).matching("other"), None);
    }
}
