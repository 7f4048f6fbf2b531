//! Glob patterns, as the configuration writes them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
