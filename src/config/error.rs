//! Shows mistakes and warnings with their place in the sources, as a compiler does.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::mistake::{Aspect, Mistake, Mistakes};
use super::source_text::{SourceText, list_of};
use super::variables::{self, Variables};
use crate::domain::text::escaped;

/// The largest number of mistakes that are shown one by one.
const MAX_SHOWN: usize = 40;
/// The widest line of an error, in columns.
const WIDTH: usize = 100;

/// The place of a mistake.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Location {
    /// Nowhere in particular.
    Unknown,
    /// The value of an environment variable.
    Variable(String),
    /// A part of the file, from one byte to another.
    Text(usize, usize),
}

/// The places of all keys.
#[derive(Debug, Default)]
pub struct Places {
    text: Option<Arc<SourceText>>,
    variables: Variables,
}

impl Places {
    pub(super) fn new(text: Option<Arc<SourceText>>, variables: Variables) -> Self {
        Self { text, variables }
    }

    /// Returns the place of a key's value: file, line and column, or the name of a variable.
    #[must_use]
    pub fn of(&self, key: &str) -> Option<String> {
        match (self.find(key, Aspect::Value), &self.text) {
            (Location::Text(at, _), Some(text)) => {
                let (line, column) = text.position(at);
                Some(format!("{}:{line}:{column}", text.name))
            }
            (Location::Variable(name), _) => Some(name),
            _ => None,
        }
    }

    /// Writes a warning about a key with its place.
    #[must_use]
    pub fn warning(&self, key: Option<&str>, text: &str, coloured: bool) -> String {
        let place = key.map_or(Location::Unknown, |key| self.find(key, Aspect::Value));
        let title = Level::WARNING.primary_title(escaped(text, &[]));
        renderer(coloured).render(&[self.group(Group::with_title(title), &place)])
    }

    fn find(&self, key: &str, aspect: Aspect) -> Location {
        // A variable gives a list as a whole.
        let whole = list_of(key).unwrap_or(key);
        if self.variables.sets(whole) {
            return variables::name_of(whole).map_or(Location::Unknown, Location::Variable);
        }
        let found = self.text.as_ref().and_then(|text| match aspect {
            Aspect::Name => text.name_of(key),
            Aspect::Value => text.value_of(key),
            Aspect::Absence => text.parent_of(key),
        });
        found.map_or(Location::Unknown, |Range { start, end }| Location::Text(start, end))
    }

    fn of_mistake(&self, mistake: &Mistake) -> Location {
        match (&mistake.at, &mistake.key) {
            (Some(at), _) => Location::Text(at.start, at.end),
            (None, Some((key, aspect))) => self.find(key, *aspect),
            (None, None) => Location::Unknown,
        }
    }

    /// Adds the place to a group.
    fn group<'a>(&'a self, group: Group<'a>, place: &Location) -> Group<'a> {
        match self.element(place) {
            Some(element) => group.element(element),
            None => group,
        }
    }

    fn element(&self, place: &Location) -> Option<Element<'_>> {
        let (start, end) = match place {
            Location::Text(start, end) => (*start, *end),
            Location::Variable(name) => {
                return Some(Origin::path(format!("environment variable {name}")).into());
            }
            Location::Unknown => return None,
        };
        let text = self.text.as_ref()?;
        let name = escaped(&text.name, &[]);
        if text.may_show(start) {
            let range = text.first_line_of(&(start..end));
            let line = Snippet::source(text.text.as_str()).path(name);
            return Some(line.annotation(AnnotationKind::Primary.span(range)).into());
        }
        let (line, column) = text.position(start);
        Some(Origin::path(name).line(line).char_column(column).into())
    }
}

fn renderer(coloured: bool) -> Renderer {
    let renderer = if coloured { Renderer::styled() } else { Renderer::plain() };
    renderer.decor_style(DecorStyle::Ascii).term_width(WIDTH)
}

/// Every mistake in the configuration.
///
/// [`Display`](fmt::Display) writes them as a compiler does: each with the file, the line and the
/// column, the line itself unless it may hold a secret, and what would be right.
#[derive(Debug)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
    places: Places,
}

impl ConfigError {
    pub(super) fn new(Mistakes(mistakes): Mistakes, places: Places) -> Self {
        let mut mistakes = without_repetitions(mistakes);
        mistakes.sort_by_key(|mistake| places.of_mistake(mistake));
        Self { mistakes, places }
    }

    /// Returns each mistake in one line, without its place.
    pub fn messages(&self) -> impl Iterator<Item = String> {
        self.mistakes.iter().map(ToString::to_string)
    }

    /// Writes the mistakes for people, in colour or not.
    #[must_use]
    pub fn render(&self, coloured: bool) -> String {
        let renderer = renderer(coloured);
        let shown = self.mistakes.iter().take(MAX_SHOWN);
        let mut blocks: Vec<_> =
            shown.map(|mistake| renderer.render(&[self.group(mistake)])).collect();
        let more = self.mistakes.len().saturating_sub(MAX_SHOWN);
        if more > 0 {
            blocks.push(format!("and {more} more"));
        }
        let count = self.mistakes.len();
        let mistakes = if count == 1 { "mistake" } else { "mistakes" };
        blocks.push(format!("{count} {mistakes}; nothing was started"));
        blocks.join("\n\n")
    }

    fn group<'a>(&'a self, mistake: &'a Mistake) -> Group<'a> {
        let title = escaped(&mistake.to_string(), &[]).into_owned();
        let group = Group::with_title(Level::ERROR.primary_title(title));
        let group = self.places.group(group, &self.places.of_mistake(mistake));
        match &mistake.help {
            Some(help) => group.element(Level::HELP.message(escaped(help, &[]))),
            None => group,
        }
    }
}

/// Removes the mistakes that follow from others: a key cannot be read if its variable is empty or
/// its section has the wrong shape, and it is not missing then.
fn without_repetitions(mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let causes: Vec<_> = mistakes.iter().filter_map(|one| one.key.clone()).collect();
    let follows = |mistake: &Mistake| {
        let Some((key, aspect)) = &mistake.key else { return false };
        causes.iter().any(|(cause, of)| match key.strip_prefix(cause.as_str()) {
            Some("") => *aspect == Aspect::Absence && *of == Aspect::Value,
            Some(rest) => *of == Aspect::Value && rest.starts_with('.'),
            None => false,
        })
    };
    mistakes.into_iter().filter(|mistake| !follows(mistake)).collect()
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigError {}
