//! Globs as patterns that IAM understands, which can be compared and give an example of a name that
//! they match. IAM has only `*` and `?`. Alternatives become several patterns, and a set of
//! characters becomes `?`. A pattern never matches less than its glob, so the IAM policy always
//! allows what the worker does.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

/// The number of alternatives that are kept apart in one glob. A glob with more is widened.
const MOST: usize = 64;

/// A piece of a glob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// This character.
    Char(char),
    /// Any one character of a set, such as this one.
    One(char),
    /// Any number of characters, also none.
    Any,
}

/// A glob without alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    /// Returns the pattern that matches everything.
    #[must_use]
    pub(super) fn everything() -> Self {
        Self(vec![Part::Any])
    }

    /// Returns the patterns that together match what this glob matches. For a set of characters
    /// they match more, because IAM has no sets.
    #[must_use]
    pub(super) fn all_of(glob: &str) -> Vec<Self> {
        sequence(&mut glob.chars().peekable(), false).into_iter().map(Self).collect()
    }

    /// Returns the pattern as IAM writes it: `*` for any characters, `?` for one.
    #[must_use]
    pub(super) fn in_iam(&self) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Char(one) => text.push(*one),
                Part::One(_) => text.push('?'),
                Part::Any if text.ends_with('*') => {}
                Part::Any => text.push('*'),
            }
        }
        text
    }

    /// Returns a text that it matches, with `any` in place of each `*`.
    #[must_use]
    pub(super) fn example(&self, any: &str) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Char(one) | Part::One(one) => text.push(*one),
                Part::Any => text.push_str(any),
            }
        }
        text
    }

    /// Returns the characters at its beginning that are certain: every text that it matches begins
    /// with them.
    fn prefix(&self) -> String {
        let characters = self.0.iter().map_while(|part| match part {
            Part::Char(one) => Some(*one),
            Part::One(_) | Part::Any => None,
        });
        characters.collect()
    }

    /// Returns whether it matches everything that the other matches. If that is not certain, it
    /// returns false.
    #[must_use]
    pub(super) fn covers(&self, other: &Self) -> bool {
        covers(&self.0, &other.0)
    }

    /// Returns whether no text can match both, because their beginnings or their ends differ. If
    /// that is not certain, it returns false.
    #[must_use]
    pub(super) fn is_apart_from(&self, other: &Self) -> bool {
        differ(self.0.iter(), other.0.iter()) || differ(self.0.iter().rev(), other.0.iter().rev())
    }
}

/// Patterns by the characters that they begin with, so that the patterns which may cover another
/// one are found without a look at all of them. A policy may have thousands of rules.
#[derive(Clone, Debug, Default)]
pub(super) struct PatternIndex<'a>(HashMap<String, Vec<(usize, &'a Pattern)>>);

impl PatternIndex<'_> {
    /// Returns the value of each pattern that covers this one.
    pub(super) fn covering(&self, narrow: &Pattern) -> impl Iterator<Item = usize> {
        // The prefix of a wide pattern is a prefix of the narrow pattern's prefix.
        let prefix = narrow.prefix();
        let ends = prefix.char_indices().map(|(at, _)| at).chain([prefix.len()]);
        let wide = ends.filter_map(|end| self.0.get(prefix.get(..end)?)).flatten();
        let wide = wide.filter(|(_, wide)| wide.covers(narrow)).map(|(of, _)| *of);
        wide.collect::<Vec<_>>().into_iter()
    }
}

impl<'a> Extend<(usize, &'a Pattern)> for PatternIndex<'a> {
    fn extend<T: IntoIterator<Item = (usize, &'a Pattern)>>(&mut self, patterns: T) {
        for (of, pattern) in patterns {
            self.0.entry(pattern.prefix()).or_default().push((of, pattern));
        }
    }
}

impl<'a> FromIterator<(usize, &'a Pattern)> for PatternIndex<'a> {
    fn from_iter<T: IntoIterator<Item = (usize, &'a Pattern)>>(patterns: T) -> Self {
        let mut index = Self::default();
        index.extend(patterns);
        index
    }
}

/// Returns whether `wide` matches everything that `narrow` matches. It computes one row of a table
/// for each part of `narrow`, because trying every length of every star takes exponential time.
/// Entry `n` of a row says whether the first `n` parts of `wide` cover what has been read of
/// `narrow`.
fn covers(wide: &[Part], narrow: &[Part]) -> bool {
    let mut row = vec![true];
    row.extend(wide.iter().scan(true, |all, part| {
        *all &= *part == Part::Any;
        Some(*all)
    }));
    for read in narrow {
        let mut covered = false;
        let pairs = row.iter().zip(row.iter().skip(1));
        let next = wide.iter().zip(pairs).map(|(part, (before, here))| {
            covered = match (part, read) {
                (Part::Any, _) => covered || *here,
                (Part::Char(one), Part::Char(other)) => one == other && *before,
                // Nothing is known about whether one set of characters contains another.
                _ => false,
            };
            covered
        });
        row = std::iter::once(false).chain(next).collect();
    }
    row.last().copied().unwrap_or(false)
}

fn differ<'a>(one: impl Iterator<Item = &'a Part>, other: impl Iterator<Item = &'a Part>) -> bool {
    for (one, other) in one.zip(other) {
        match (one, other) {
            (Part::Char(one), Part::Char(other)) if one != other => return true,
            (Part::Char(_), Part::Char(_)) => {}
            _ => return false,
        }
    }
    false
}

/// Reads up to the end of the glob or, if nested, of the alternative.
fn sequence(glob: &mut Peekable<Chars<'_>>, nested: bool) -> Vec<Vec<Part>> {
    let mut all = vec![Vec::new()];
    while let Some(&next) = glob.peek() {
        if nested && (next == ',' || next == '}') {
            break;
        }
        glob.next();
        match next {
            '*' => star(glob, &mut all),
            '?' => push(&mut all, Part::One('x')),
            '[' => push(&mut all, Part::One(member(glob))),
            '{' => {
                let mut either = sequence(glob, true);
                while glob.next() == Some(',') {
                    either.extend(sequence(glob, true));
                }
                cross(&mut all, &either);
            }
            '\\' => push(&mut all, Part::Char(glob.next().unwrap_or('\\'))),
            one => push(&mut all, Part::Char(one)),
        }
    }
    all
}

fn push(all: &mut [Vec<Part>], part: Part) {
    all.iter_mut().for_each(|one| one.push(part));
}

fn cross(all: &mut Vec<Vec<Part>>, either: &[Vec<Part>]) {
    if all.len() * either.len() > MOST {
        return push(all, Part::Any);
    }
    let both = |one: &Vec<Part>| {
        either.iter().map(|other| [one.as_slice(), other].concat()).collect::<Vec<_>>()
    };
    *all = all.iter().flat_map(both).collect();
}

/// Reads one star or several. A `**/` at the beginning of a name or of a part of it also matches no
/// part at all.
fn star(glob: &mut Peekable<Chars<'_>>, all: &mut Vec<Vec<Part>>) {
    let mut stars = 1;
    while glob.next_if_eq(&'*').is_some() {
        stars += 1;
    }
    let begins = |one: &Vec<Part>| matches!(one.last(), None | Some(Part::Char('/')));
    if stars == 2 && all.iter().all(begins) && glob.next_if_eq(&'/').is_some() {
        cross(all, &[Vec::new(), vec![Part::Any, Part::Char('/')]]);
    } else {
        push(all, Part::Any);
    }
}

/// Reads a set of characters up to its end, and returns one of the characters that it contains.
fn member(glob: &mut Peekable<Chars<'_>>) -> char {
    let not = glob.next_if(|one| *one == '!' || *one == '^').is_some();
    let mut set = Vec::new();
    // A bracket at the beginning is a member of the set.
    set.extend(glob.next());
    set.extend(glob.by_ref().take_while(|one| *one != ']'));
    let ranges: Vec<_> = set.windows(3).filter(|three| three.get(1) == Some(&'-')).collect();
    let holds = |one: char| {
        let within =
            |three: &&[char]| matches!(three, [from, _, to] if (*from..=*to).contains(&one));
        set.contains(&one) || ranges.iter().any(within)
    };
    let mut letters = ('a'..='z').chain('0'..='9');
    letters.find(|one| holds(*one) != not).unwrap_or('x')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::globs::Globs;

    fn one(glob: &str) -> Pattern {
        Pattern::all_of(glob).remove(0)
    }

    #[test]
    fn globs_become_the_nearest_patterns_of_iam() {
        for (glob, iam) in [
            ("team/*", &["team/*"][..]),
            ("team/**", &["team/*"]),
            ("**/app", &["app", "*/app"]),
            ("a/**/b", &["a/b", "a/*/b"]),
            ("{team,shared}/*", &["team/*", "shared/*"]),
            ("{a,{b,c}d}-x", &["a-x", "bd-x", "cd-x"]),
            ("app-[0-9]", &["app-?"]),
            ("app-[!]x]?", &["app-??"]),
            (r"a\b", &["ab"]),
            ("***", &["*"]),
        ] {
            let patterns: Vec<_> = Pattern::all_of(glob).iter().map(Pattern::in_iam).collect();
            assert_eq!(patterns, iam, "{glob}");
        }
    }

    #[test]
    fn too_many_alternatives_are_widened() {
        let patterns = Pattern::all_of(&"{a,b}".repeat(20));
        assert!(patterns.len() <= MOST, "{}", patterns.len());
        assert!(patterns.iter().all(|pattern| pattern.in_iam().ends_with('*')));
    }

    #[test]
    fn every_example_is_matched_by_its_glob() {
        for glob in [
            "*",
            "team/*",
            "**/app",
            "a/**/b",
            "{team,shared}/[a-f]?",
            "x[!a-y]",
            "[0-9]*",
            "[]a]b",
        ] {
            let globs = Globs::new([glob.to_owned()]).unwrap();
            for pattern in Pattern::all_of(glob) {
                let example = pattern.example("check");
                assert!(globs.admit(&example), "{glob} {example}");
            }
        }
    }

    #[test]
    fn a_pattern_covers_another_only_if_that_is_certain() {
        for (wide, narrow) in [("*", "team/?"), ("team/*", "team/a*b"), ("a", "a"), ("*b", "*ab")] {
            assert!(one(wide).covers(&one(narrow)), "{wide} {narrow}");
        }
        for (wide, narrow) in [("team/?", "team/*"), ("[ab]", "[cd]"), ("a*", "*"), ("a", "b")] {
            assert!(!one(wide).covers(&one(narrow)), "{wide} {narrow}");
        }
    }

    #[test]
    fn many_stars_are_compared_quickly() {
        let (wide, narrow) = ("*a".repeat(200) + "*b", "a*".repeat(400));
        assert!(!one(&wide).covers(&one(&narrow)));
        assert!(one(&"*a".repeat(200)).covers(&one(&"*a".repeat(400))));
    }

    #[test]
    fn patterns_with_different_beginnings_or_ends_are_apart() {
        assert!(one("team/*").is_apart_from(&one("legacy/*")));
        assert!(one("*-prod").is_apart_from(&one("*-test")));
        assert!(!one("*-prod").is_apart_from(&one("team/*")));
    }
}
