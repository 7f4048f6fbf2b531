//! Schemas of the keys whose values are read as any type, because the text of a variable must do
//! too.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::bounds::{MAX_KEPT, MAX_TASKS};
use crate::domain::findings::Severity;

pub(super) fn in_flight(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 1024})
}

pub(super) fn calls_per_second(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": 1000})
}

pub(super) fn keep_at_least(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 0, "maximum": MAX_KEPT})
}

pub(super) fn untags(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "integer", "minimum": 1}, word(&["unlimited"])]})
}

pub(super) fn tasks(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "minimum": 1, "maximum": MAX_TASKS})
}

pub(super) fn score(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"anyOf": [{"type": "number", "minimum": 0, "maximum": 10}, word(&["none"])]})
}

pub(super) fn fixable_only(_: &mut SchemaGenerator) -> Schema {
    let severities = json!({"type": "array", "items": word(&Severity::ALL.map(Severity::as_key))});
    json_schema!({"anyOf": [word(&["none", "all"]), severities]})
}

pub(super) fn severities(_: &mut SchemaGenerator) -> Schema {
    let one = word(&Severity::ALL.map(Severity::as_key));
    json_schema!({"type": "array", "items": one, "minItems": 1})
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

/// Returns the schema of one item of a list of roles and users.
pub(super) fn principal_id() -> Value {
    json!({"type": "string", "pattern": "^(AROA|AIDA)[A-Z0-9]{12,124}$"})
}

fn word(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}
