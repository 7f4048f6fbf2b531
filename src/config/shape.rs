//! Compares the merged settings with the schema, and gives them their types.
//!
//! Serde would stop at the first key that it does not know. So the schema decides about names and
//! shapes first, and leaves out what does not fit; then serde reads the rest.

use serde_json::{Map, Value};

use super::file::RawSettings;
use super::mistake::{Aspect, Mistake};
use super::schema::schema;
use super::source_text::is_public;
use super::suggest::closest;
use super::value::QUOTES;

/// The settings that fit, and the mistakes in the others.
pub(super) struct Shaped {
    pub(super) raw: RawSettings,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads the settings from all layers together.
pub(super) fn of(merged: Value) -> Shaped {
    let whole = schema();
    let mut fitting = Fitting { whole: &whole, mistakes: Vec::new() };
    let fits = match merged {
        Value::Object(table) => fitting.table("", table, &whole),
        _ => Map::new(),
    };
    let mut mistakes = fitting.mistakes;
    let raw = serde_path_to_error::deserialize(Value::Object(fits)).unwrap_or_else(|error| {
        // The schema is made of the same types, so this is not expected to happen.
        mistakes.push(Mistake::value(&error.path().to_string(), error.inner().to_string()));
        RawSettings::default()
    });
    Shaped { raw, mistakes }
}

struct Fitting<'a> {
    whole: &'a Value,
    mistakes: Vec<Mistake>,
}

impl Fitting<'_> {
    fn table(
        &mut self,
        section: &str,
        table: Map<String, Value>,
        schema: &Value,
    ) -> Map<String, Value> {
        let none = Map::new();
        let known = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let mut fits = Map::new();
        for (name, value) in table {
            let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            match known.get(&name) {
                Some(schema) => {
                    if let Some(value) = self.value(&key, value, schema) {
                        fits.insert(name, value);
                    }
                }
                None => self.mistakes.push(self.unknown(section, &key, &name, known)),
            }
        }
        fits
    }

    fn unknown(&self, section: &str, key: &str, name: &str, known: &Map<String, Value>) -> Mistake {
        // The key may be right, and the section above it wrong or missing.
        let elsewhere = section_of(self.whole, name).map(|of| format!("{of}.{name}"));
        let here = || closest(name, known.keys().map(String::as_str)).map(str::to_owned);
        let meant = elsewhere.or_else(here);
        let mistake = Mistake::of(key, Aspect::Name, "no such key").meant(meant.as_deref());
        if meant.is_some() {
            return mistake;
        }
        let names: Vec<_> = known.keys().map(String::as_str).collect();
        let place = if section.is_empty() { "the sections are" } else { "the keys here are" };
        mistake.help(format!("{place} {}", names.join(", ")))
    }

    /// Returns the value if it has the shape that the schema says, or the shape's text form.
    fn value(&mut self, key: &str, value: Value, schema: &Value) -> Option<Value> {
        let item = schema.get("items");
        if schema.get("properties").is_some() {
            return match value {
                Value::Object(table) => Some(Value::Object(self.table(key, table, schema))),
                other => self.misshapen(key, &other, "a table of keys"),
            };
        }
        if let Some(item) = item.filter(|item| item.get("properties").is_some()) {
            return match value {
                Value::Array(tables) => Some(self.tables(key, tables, item)),
                other => {
                    self.misshapen(key, &other, &format!("a list of tables, in TOML [[{key}]]"))
                }
            };
        }
        let takes = |kind: &str| {
            let forms = schema.get("anyOf").and_then(Value::as_array).map(Vec::as_slice);
            let forms = forms.unwrap_or(std::slice::from_ref(schema));
            forms.iter().any(|form| form.get("type").is_some_and(|one| one == kind))
        };
        let example = "a list of strings such as [\"a\", \"b\"]";
        match value {
            Value::Array(items) if takes("array") && items.iter().all(Value::is_string) => {
                Some(Value::Array(items))
            }
            Value::Array(items) if takes("array") => {
                let other = items.iter().find(|item| !item.is_string()).unwrap_or(&Value::Null);
                let problem = format!("holds {}; expected {example}", kind(other));
                let mistake = Mistake::value(key, problem);
                self.mistakes.push(match other {
                    Value::Number(_) => mistake.help(QUOTES),
                    _ => mistake,
                });
                None
            }
            // A variable writes a list as text with commas, and every other value as text.
            Value::String(text) => Some(Value::String(text)),
            value @ (Value::Number(_) | Value::Bool(_)) => {
                if !takes("string") && takes("array") {
                    return self.misshapen(key, &value, example);
                }
                let only_text = !takes("integer") && !takes("number") && !takes("boolean");
                Some(if only_text { Value::String(value.to_string()) } else { value })
            }
            other => {
                let expected = if takes("array") { example } else { "a single value" };
                self.misshapen(key, &other, expected)
            }
        }
    }

    fn tables(&mut self, key: &str, tables: Vec<Value>, schema: &Value) -> Value {
        let fits = tables.into_iter().enumerate().map(|(at, value)| {
            let key = format!("{key}[{at}]");
            match value {
                Value::Object(table) => Value::Object(self.table(&key, table, schema)),
                other => {
                    self.misshapen(&key, &other, "a table of keys");
                    // The next tables keep their positions.
                    Value::Object(Map::new())
                }
            }
        });
        fits.collect()
    }

    fn misshapen(&mut self, key: &str, value: &Value, expected: &str) -> Option<Value> {
        let kind = if is_public(key) { kind(value) } else { hidden(value).to_owned() };
        let problem = format!("is {kind}; expected {expected}");
        self.mistakes.push(Mistake::value(key, problem));
        None
    }
}

/// Returns the first section that has a key of this name.
fn section_of(schema: &Value, name: &str) -> Option<String> {
    let sections = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    sections.filter(|(_, below)| below.get("properties").is_some()).find_map(|(section, below)| {
        if below.get("properties")?.get(name).is_some() {
            return Some(section.clone());
        }
        section_of(below, name).map(|deeper| format!("{section}.{deeper}"))
    })
}

/// Returns the kind of a value, in words that hold for TOML, YAML and JSON.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(number) => format!("{number}"),
        Value::String(text) => format!("{:?}", crate::domain::text::start(text, 200)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a table".to_owned(),
    }
}

/// Returns the kind of a value that may be a secret, without the value.
fn hidden(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) | Value::Number(_) | Value::String(_) => "a single value",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
