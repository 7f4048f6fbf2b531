//! The effective configuration, key by key, with the source of each value (`tagwarden check`). It
//! is read from the layers before any check, so that a value that cannot be used can be looked at
//! too.

use std::fmt;

use serde_json::{Number, Value};

use super::file::{List, Listed};
use super::layers::Layers;
use super::schema::schema;
use super::variables::{Variables, name_of};
use super::{ConfigError, Sources};

/// The keys whose values are never shown, because they are secrets.
const SECRETS: [&str; 2] = ["aws.external_id", "restore.key"];

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The key's default.
    Default,
    /// The configuration file of this name, or the variable that holds its text.
    File(String),
    /// The environment variable of this name.
    Variable(String),
    /// The key has no value.
    Unset,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File(name) | Self::Variable(name) => name,
            Self::Unset => "not set",
        })
    }
}

/// One key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, with dots between levels.
    pub key: String,
    /// Its value as TOML would write it. It is empty if the key has none, and `(set)` in place of a
    /// secret.
    pub value: String,
    /// The source of the value.
    pub origin: Origin,
    /// The value that the file gives, if a variable replaces it.
    pub replaced: Option<String>,
}

/// Returns every key with its value, in the order of [`schema`]. Arrays of tables contribute only
/// the keys that are given.
///
/// [`Settings::load`](super::Settings::load) decides whether the values can be used. A value that
/// is wrong or missing is listed here all the same.
///
/// # Errors
/// Returns an error if a source cannot be read.
pub fn effective(sources: &Sources) -> Result<Vec<Entry>, ConfigError> {
    let layers = Layers::read(sources)?;
    let file = layers.file.map(|file| file.to_json());
    let file_name = layers.text.map(|text| text.name.clone()).unwrap_or_default();
    let mut walk = Walk { variables: layers.variables, file_name, entries: Vec::new() };
    let place = Place { given: Some(&layers.merged.to_json()), in_file: file.as_ref() };
    walk.section("", &schema(), place, true);
    Ok(walk.entries)
}

/// One place in the configuration: its value in all layers together, and in the file.
#[derive(Clone, Copy)]
struct Place<'a> {
    given: Option<&'a Value>,
    in_file: Option<&'a Value>,
}

impl<'a> Place<'a> {
    fn below(self, step: impl Fn(&'a Value) -> Option<&'a Value>) -> Self {
        Self { given: self.given.and_then(&step), in_file: self.in_file.and_then(&step) }
    }
}

struct Walk {
    variables: Variables,
    file_name: String,
    entries: Vec<Entry>,
}

impl Walk {
    /// Lists the keys of a section. If `all` is set, it includes the keys without a value.
    fn section(&mut self, section: &str, schema: &Value, place: Place<'_>, all: bool) {
        for (name, schema) in
            schema.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let dot = if section.is_empty() { "" } else { "." };
            let key = format!("{section}{dot}{name}");
            let place = place.below(|section| section.get(name));
            let tables = schema.get("items").filter(|items| items.get("properties").is_some());
            if schema.get("properties").is_some() {
                self.section(&key, schema, place, all);
            } else if let (Some(table), Some(Value::Array(given))) = (tables, place.given)
                && !given.is_empty()
            {
                for at in 0..given.len() {
                    let place = place.below(|tables| tables.get(at));
                    self.section(&format!("{key}[{at}]"), table, place, false);
                }
            } else if all || place.given.is_some() {
                self.key(key, schema, place);
            }
        }
    }

    fn key(&mut self, key: String, schema: &Value, place: Place<'_>) {
        let variable = name_of(&key).filter(|_| self.variables.sets(&key));
        let origin = match (place.given, variable) {
            (None, _) => Origin::Unset,
            (Some(_), Some(variable)) => Origin::Variable(variable),
            (Some(_), None) if place.in_file.is_some() => Origin::File(self.file_name.clone()),
            (Some(_), None) => Origin::Default,
        };
        let value = match place.given {
            Some(_) if SECRETS.contains(&key.as_str()) => "(set)".to_owned(),
            Some(value) => written(value, schema),
            None => String::new(),
        };
        let is_replaced = matches!(origin, Origin::Variable(_));
        let in_file = place.in_file.filter(|_| is_replaced && !SECRETS.contains(&key.as_str()));
        let replaced = in_file.map(|value| written(value, schema));
        self.entries.push(Entry { key, value, origin, replaced });
    }
}

/// Returns the value as TOML would write it. The value of a variable is text, and the schema says
/// how to read it.
fn written(value: &Value, schema: &Value) -> String {
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    let forms: Vec<_> = alternatives.map_or(vec![schema], |forms| forms.iter().collect());
    let takes =
        |kind: &str| forms.iter().any(|form| form.get("type").is_some_and(|one| one == kind));
    let is_word = |text: &str| {
        let words = forms.iter().filter_map(|form| form.get("enum")?.as_array()).flatten();
        words.into_iter().any(|word| word == text)
    };
    match value {
        Value::String(text) if takes("array") && !is_word(text) => {
            list(List::from(Listed::Text(text.clone())).0.into_iter().map(Value::from))
        }
        Value::String(text)
            if (takes("integer") || takes("number")) && text.parse::<Number>().is_ok()
                || takes("boolean") && text.parse::<bool>().is_ok() =>
        {
            text.clone()
        }
        Value::Array(items) => list(items.iter().cloned()),
        other => other.to_string(),
    }
}

fn list(items: impl Iterator<Item = Value>) -> String {
    format!("[{}]", items.map(|item| item.to_string()).collect::<Vec<_>>().join(", "))
}
