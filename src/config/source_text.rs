//! The text of a configuration file, and the place of each key in it, for errors that show the
//! line.
//!
//! The config crate reads the values and forgets where they were. So the text is parsed a second
//! time, for the places alone: TOML by the parser that the config crate uses too, YAML and JSON by
//! the events of a YAML parser, because JSON is a part of YAML.
//!
//! A line that may hold a secret is never shown: none of a section that has one, unless it holds
//! only the section's other keys, and none that names a secret.

use std::fmt;
use std::ops::Range;

use config::FileFormat;
use toml::de::{DeTable, DeValue};

use super::mistake::Mistake;
use super::node::{Inner, Node};
use super::value::QUOTES;
use super::yaml;
use crate::domain::text::start;

/// The sections that have a secret, each with its keys that are none. Whoever mistypes the key of
/// the secret still has a secret there.
const SECRET_SECTIONS: [(&str, &[&str]); 2] =
    [("aws", &["assume_role"]), ("restore", &["senders", "hold_senders", "max_hold"])];

/// Returns the keys that are no secret, if the section has a secret.
fn public_keys(section: &str) -> Option<&'static [&'static str]> {
    SECRET_SECTIONS.into_iter().find(|(name, _)| *name == section).map(|(_, public)| public)
}

/// Returns whether the value of a key may be shown. A section that should be a table may hold the
/// secret itself.
pub(super) fn is_public(key: &str) -> bool {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let name = name.split('[').next().unwrap_or_default();
    public_keys(section).is_none_or(|public| public.contains(&name))
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Returns whether a text names a secret, however it is written.
fn names_a_secret(text: &str) -> bool {
    let text = plain(text);
    text == "key" || text.contains("externalid") || text.contains("restorekey")
}

/// Returns whether a text that cannot be parsed may hold a secret anywhere.
fn may_hold_a_secret(text: &str) -> bool {
    let text = plain(text);
    names_a_secret(&text) || (text.contains("restore") && text.contains("key"))
}

/// Returns the places of all values that may be a secret, with their keys.
fn secrets(node: &Node) -> Vec<Range<usize>> {
    let Inner::Table(table) = &node.inner else { return Vec::new() };
    let mut places = Vec::new();
    for (name, below) in table {
        if let (Some(public), Inner::Table(section)) = (public_keys(name), &below.inner) {
            let others = section.iter().filter(|(name, _)| !public.contains(&name.as_str()));
            places.extend(others.flat_map(|(_, below)| all_within(below)));
        } else if public_keys(name).is_some() || names_a_secret(name) {
            places.extend(all_within(below));
        } else {
            places.extend(secrets(below));
        }
    }
    places
}

/// Returns the places of a value and of all values within it.
fn all_within(node: &Node) -> Vec<Range<usize>> {
    let whole = node.key.start.min(node.value.start)..node.value.end.max(node.key.end);
    let within: Vec<_> = match &node.inner {
        Inner::Scalar => Vec::new(),
        Inner::Table(table) => table.values().flat_map(all_within).collect(),
        Inner::List(list) => list.iter().flat_map(all_within).collect(),
    };
    within.into_iter().chain([whole]).collect()
}

/// Returns the key of the list that an item such as `policy.accounts[3]` belongs to.
pub(super) fn list_of(key: &str) -> Option<&str> {
    key.strip_suffix(']')?.rsplit_once('[').map(|(list, _)| list)
}

/// A configuration file.
pub(super) struct SourceText {
    /// The file's path, or the name of the variable that holds the text.
    pub(super) name: String,
    /// The text.
    pub(super) text: String,
    /// Whether lines may be shown. The text of a variable may come from a secret.
    is_public: bool,
    /// The places that may hold a secret.
    secrets: Vec<Range<usize>>,
    root: Node,
}

/// Leaves out the text, which may hold a secret.
impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceText").field("name", &self.name).finish_non_exhaustive()
    }
}

impl SourceText {
    /// Parses a text for the places of its keys. If the text is not of this format, the document
    /// holds no places, and the mistake is returned too.
    pub(super) fn parse(
        name: String,
        text: String,
        format: FileFormat,
        is_public: bool,
    ) -> (Self, Option<Mistake>) {
        let root = match format {
            FileFormat::Toml => of_toml(&text),
            FileFormat::Json => json_syntax(&text).and_then(|()| yaml::places(&text)),
            _ => yaml::places(&text),
        };
        match root {
            Ok(root) => {
                let secrets = secrets(&root);
                (Self { name, text, is_public, secrets, root }, None)
            }
            Err(mistake) => {
                // The parser may have lost its way within a secret.
                let is_public = is_public && !may_hold_a_secret(&text);
                let root = Node::default();
                (Self { name, text, is_public, secrets: Vec::new(), root }, Some(mistake))
            }
        }
    }

    /// Returns the mistake of a key with a dot in its name. The config crate would take it for a
    /// path, and if the file gives the same key in its section too, chance would decide.
    pub(super) fn dotted_key(&self) -> Option<Mistake> {
        let Inner::Table(table) = &self.root.inner else { return None };
        let (name, node) = table.iter().find(|(name, _)| name.contains(['.', '[', ']']))?;
        let problem = format!("no such key as {:?}", start(name, 200));
        let help = match name.split_once('.') {
            Some((section, key)) => format!("write the section {section}, and {key} in it"),
            None => "write a list of tables".to_owned(),
        };
        Some(Mistake::general(problem).help(help).at(Some(node.key.clone())))
    }

    /// Returns the node of a key such as `policy.rules[0].name`.
    fn find(&self, key: &str) -> Option<&Node> {
        let mut node = &self.root;
        for part in key.split('.').filter(|part| !part.is_empty()) {
            let (name, at) = match part.split_once('[') {
                Some((name, at)) => (name, Some(at.trim_end_matches(']').parse().ok()?)),
                None => (part, None),
            };
            let Inner::Table(table) = &node.inner else { return None };
            node = table.get(name)?;
            if let Some(at) = at {
                let at: usize = at;
                let Inner::List(list) = &node.inner else { return None };
                node = list.get(at)?;
            }
        }
        Some(node)
    }

    /// Returns the place of a key's name.
    pub(super) fn name_of(&self, key: &str) -> Option<Range<usize>> {
        let node = self.find(key)?;
        Some(if node.key.is_empty() { node.shown() } else { node.key.clone() })
    }

    /// Returns the place of a key's value, or of the closest value around it.
    pub(super) fn value_of(&self, key: &str) -> Option<Range<usize>> {
        // A list may be written as one text.
        let list = || self.find(list_of(key)?);
        self.find(key).or_else(list).map(Node::shown).or_else(|| self.parent_of(key))
    }

    /// Returns the place of the table of a list that should hold a key.
    pub(super) fn parent_of(&self, key: &str) -> Option<Range<usize>> {
        let parents = key.match_indices('.').rev().filter_map(|(at, _)| key.get(..at));
        parents.filter(|parent| parent.ends_with(']')).find_map(|it| Some(self.find(it)?.shown()))
    }

    /// Returns whether the line of this place may be shown.
    pub(super) fn may_show(&self, at: usize) -> bool {
        let line = self.line_around(at);
        let is_secret = |place: &Range<usize>| place.start < line.end && line.start < place.end;
        let text = self.text.get(line.clone()).unwrap_or_default();
        self.is_public && !names_a_secret(text) && !self.secrets.iter().any(is_secret)
    }

    /// Returns the place of the line around a byte.
    fn line_around(&self, at: usize) -> Range<usize> {
        let at = self.text.floor_char_boundary(at);
        let (before, after) = self.text.split_at_checked(at).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        start..at + after.find('\n').unwrap_or(after.len())
    }

    /// Returns the part of a place that is on its first line.
    pub(super) fn first_line_of(&self, place: &Range<usize>) -> Range<usize> {
        let start = self.text.floor_char_boundary(place.start);
        let end = self.text.floor_char_boundary(place.end).max(start);
        let text = self.text.get(start..end).unwrap_or_default();
        start..start + text.lines().next().map_or(0, str::len)
    }

    /// Returns the line and the column of a place, both from 1.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let at = self.text.floor_char_boundary(at);
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
    }
}

/// Returns the error of text that is not JSON. The YAML parser, which finds the places, would
/// accept more.
fn json_syntax(text: &str) -> Result<(), Mistake> {
    let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(text) else { return Ok(()) };
    let before = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let at = before.map(str::len).sum::<usize>() + error.column().saturating_sub(1);
    let problem = error.to_string();
    let problem = problem.split(" at line ").next().unwrap_or_default();
    Err(Mistake::general(format!("is not valid JSON: {problem}")).at(Some(at..at + 1)))
}

fn of_toml(text: &str) -> Result<Node, Mistake> {
    let table = DeTable::parse(text).map_err(|error| {
        let mistake = Mistake::general(format!("is not valid TOML: {}", error.message()));
        let rest = error.span().and_then(|at| text.as_bytes().get(at.start..));
        let mistake = match rest {
            Some([b'0', next, ..]) if next.is_ascii_digit() => mistake.help(QUOTES),
            _ => mistake,
        };
        mistake.at(error.span())
    })?;
    Ok(Node { key: 0..0, value: table.span(), inner: of_table(table.get_ref()) })
}

fn of_table(table: &DeTable<'_>) -> Inner {
    let nodes = table.iter().map(|(key, value)| {
        let inner = of_value(value.get_ref());
        (key.get_ref().to_string(), Node { key: key.span(), value: value.span(), inner })
    });
    Inner::Table(nodes.collect())
}

fn of_value(value: &DeValue<'_>) -> Inner {
    match value {
        DeValue::Table(table) => of_table(table),
        DeValue::Array(items) => {
            let nodes = items.iter().map(|item| Node {
                key: 0..0,
                value: item.span(),
                inner: of_value(item.get_ref()),
            });
            Inner::List(nodes.collect())
        }
        _ => Inner::Scalar,
    }
}
