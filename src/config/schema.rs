//! The JSON Schema of the configuration file. It is generated from the types in `raw`, whose doc
//! comments are its descriptions, and gets its defaults from `layers`.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::check::MOST_TASKS;
use super::layers::defaults;
use super::policy::MOST_KEPT;
use super::raw::RawSettings;
use crate::domain::findings::Severity;

/// Returns the JSON Schema (draft 2020-12) of the configuration file, with descriptions and
/// defaults, for editors.
///
/// It offers each key in its plainest form. The loader also accepts numbers in quotes, and text
/// with commas for a list.
#[must_use]
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .with_transform(RecursiveTransform(tidy));
    let mut schema = settings.into_generator().into_root_schema_for::<RawSettings>().to_value();
    if let Ok(defaults) = defaults().and_then(|defaults| defaults.to_json()) {
        fill_in(&mut schema, &defaults);
    }
    schema
}

/// Corrects what schemars generates: a key that may be left out may not be null, the value of
/// `Default` is not the key's default, and line breaks of the source do not belong in a
/// description.
fn tidy(schema: &mut Schema) {
    schema.remove("default");
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
}

/// Writes the defaults into the properties that they belong to.
fn fill_in(schema: &mut Value, default: &Value) {
    if let Some(section) = default.as_object() {
        for (key, default) in section {
            let properties = schema.get_mut("properties");
            if let Some(property) = properties.and_then(|properties| properties.get_mut(key)) {
                fill_in(property, default);
            }
        }
    } else if let Some(property) = schema.as_object_mut() {
        property.insert("default".to_owned(), default.clone());
    }
}

// Schemas of the keys whose values are read as any type, because the text of a variable must do
// too.

pub(super) fn in_flight(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 1024})
}

pub(super) fn calls_per_second(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 1000})
}

pub(super) fn keep_at_least(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 0, "maximum": MOST_KEPT})
}

pub(super) fn untags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "integer", "minimum": 1}, word(&["unlimited"])]})
}

pub(super) fn tasks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": MOST_TASKS})
}

pub(super) fn score(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "number", "minimum": 0, "maximum": 10}, word(&["none"])]})
}

pub(super) fn fixable_only(_: &mut SchemaGenerator) -> Schema {
    let severities = json!({"type": "array", "items": word(&Severity::ALL.map(Severity::as_key))});
    json_schema!({"anyOf": [word(&["none", "all"]), severities]})
}

pub(super) fn max_findings(_: &mut SchemaGenerator) -> Schema {
    let limit = |severity: Severity| {
        let limit = json!({
            "description": format!("{severity} findings that are allowed, or unlimited"),
            "anyOf": [{"type": "integer", "minimum": 0}, word(&["unlimited"])],
        });
        (severity.as_key().to_owned(), limit)
    };
    let limits: Map<_, _> = Severity::ALL.into_iter().map(limit).collect();
    json_schema!({"type": "object", "properties": limits, "additionalProperties": false})
}

fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}
