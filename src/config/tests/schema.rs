use serde_json::{Value, json};

use super::*;
use crate::restore::PrincipalId;

/// Returns the mistakes that the schema finds in a value. It knows the keywords that the schema
/// uses, and panics at any other.
fn wrongs(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let number = || rule.as_f64().unwrap();
        let length = |text: &Value| text.as_str().map(|text| text.chars().count() as f64);
        let holds = match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "format" => true,
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "number" => value.is_number(),
                "integer" => value.is_i64() || value.is_u64(),
                other => panic!("type {other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|value| value >= number()),
            "maximum" => value.as_f64().is_none_or(|value| value <= number()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as f64 <= number()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as f64 >= number()),
            "minLength" => length(value).is_none_or(|length| length >= number()),
            "maxLength" => length(value).is_none_or(|length| length <= number()),
            "pattern" => value.as_str().is_none_or(|text| match rule.as_str().unwrap() {
                "^sha256:[0-9a-f]{64}$" => crate::domain::names::Digest::parse(text).is_ok(),
                "^(AROA|AIDA)[A-Z0-9]{12,124}$" => PrincipalId::parse(text).is_ok(),
                other => panic!("pattern {other}"),
            }),
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some()),
            "anyOf" => rule.as_array().unwrap().iter().any(|one| wrongs(one, value, at).is_empty()),
            "additionalProperties" => {
                assert_eq!(rule, false);
                let known = &schema["properties"];
                value
                    .as_object()
                    .is_none_or(|object| object.keys().all(|key| known.get(key).is_some()))
            }
            "properties" => {
                for (key, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = rule.get(key) {
                        found.extend(wrongs(schema, value, &format!("{at}.{key}")));
                    }
                }
                true
            }
            "items" => {
                for item in value.as_array().into_iter().flatten() {
                    found.extend(wrongs(rule, item, &format!("{at}[]")));
                }
                true
            }
            other => panic!("keyword {other}"),
        };
        if !holds {
            found.push(format!("{at}: {keyword} {rule}"));
        }
    }
    found
}

/// Visits every key with its schema. Keys in arrays of tables are below `[]`.
fn each<'a>(schema: &'a Value, key: &str, visit: &mut impl FnMut(&str, &'a Value)) {
    visit(key, schema);
    for (name, property) in
        schema.get("properties").and_then(Value::as_object).into_iter().flatten()
    {
        each(property, format!("{key}.{name}").trim_start_matches('.'), visit);
    }
    if let Some(items) = schema.get("items").filter(|items| items.get("properties").is_some()) {
        each(items, &format!("{key}[]"), visit);
    }
}

/// Returns the keys that have no keys below them, with their schemas.
pub(super) fn leaves(schema: &Value) -> Vec<(String, &Value)> {
    let mut leaves = Vec::new();
    each(schema, "", &mut |key, schema| {
        if schema.get("properties").is_none() {
            leaves.push((key.to_owned(), schema));
        }
    });
    leaves
}

fn full() -> Value {
    let terms = json!({
        "mode": "audit", "action": "delete", "protected_tags": ["prod-*"], "index": "all",
        "max_findings": {
            "critical": 0, "high": 1, "medium": "unlimited", "low": 100,
            "informational": "unlimited", "untriaged": 3, "undefined": 4,
        },
        "keep_at_least": 5, "in_use": "block", "replicated": "follow",
        "fixable_only": ["high", "medium"], "min_score": 7.5,
        "exploit_only": true, "grace": "7d", "unscanned": "ignore",
    });
    let mut policy = terms.clone();
    let mut rule = terms;
    rule["name"] = json!("legacy");
    rule["repositories"] = json!(["legacy/*"]);
    rule["tags"] = json!(["pr-*"]);
    rule["accounts"] = json!(["111122223333"]);
    rule["regions"] = json!(["eu-west-1"]);
    policy["repositories"] = json!({
        "include": ["team/*"],
        "exclude": ["team/x"],
        "own_images": ["arn:aws:ecr:eu-west-1:111122223333:repository/tagwarden"],
    });
    policy["pull_through"] = json!(["library/*"]);
    policy["accounts"] = json!(["111122223333"]);
    policy["regions"] = json!(["eu-west-1"]);
    policy["rules"] =
        json!([rule, {"repositories": ["*"], "fixable_only": "all", "min_score": "none"}]);
    policy["exceptions"] = json!([{
        "id": "CVE-2021-44228", "digest": format!("sha256:{}", "a".repeat(64)), "package": "log4j*",
        "repositories": ["team/*"], "accounts": ["111122223333"], "regions": ["eu-west-1"],
        "reason": "not reachable", "owner": "security",
        "expires": "2026-12-31",
    }]);
    json!({
        "watch": true,
        "queue": {"url": QUEUE, "max_in_flight": 8, "visibility_timeout": "2m"},
        "notify": {
            "topic_arn": TOPIC, "format": "json", "contact": "#security, or security@example.com",
            "topics": [{
                "arn": format!("{TOPIC}-chat"), "format": "chat", "repositories": ["team/*"],
                "accounts": ["111122223333"], "regions": ["eu-west-1"],
                "severities": ["critical", "high"],
                "actions": [
                    "quarantined", "deleted", "would_untag", "blocked", "unscanned", "failed",
                    "restored", "refused",
                ],
            }],
        },
        "policy": policy,
        "limits": {
            "untags_per_hour": 100, "untags_per_hour_per_repository": "unlimited", "tasks": 4,
        },
        "sweep": {"rescan_after": "never", "calls_per_second": 100},
        "registry": {"untag": "tag", "records": "off"},
        "restore": {
            "key": KEY, "senders": [ROLE], "hold_senders": [ROLE, USER], "max_hold": "3d",
        },
        "aws": {"assume_role": "arn:aws:iam::{account}:role/tagwarden", "external_id": "x"},
        "http": {"listen": "127.0.0.1:8080"},
        "shutdown": {"grace": "30s"},
        "telemetry": {"log_format": "pretty"},
    })
}

#[test]
fn a_document_with_every_key_is_valid_and_is_loaded() {
    let document = full();
    assert_eq!(wrongs(&schema(), &document, ""), [""; 0]);
    load_file(".json", &document.to_string()).unwrap();
    let schema = schema();
    for (key, _) in leaves(&schema) {
        let pointer = format!("/{}", key.replace("[]", ".0").replace('.', "/"));
        assert!(document.pointer(&pointer).is_some(), "the document lacks {key}");
    }
}

#[test]
fn schema_and_loader_refuse_the_same_documents() {
    let wrong: &[(&str, Value)] = &[
        ("/nosuch", json!({})),
        ("/sweep/calls_per_second", json!(0)),
        ("/sweep/calls_per_second", json!(1001)),
        ("/queue/urls", json!("x")),
        ("/queue/max_in_flight", json!(0)),
        ("/queue/max_in_flight", json!(1025)),
        ("/notify/format", json!("html")),
        ("/notify/topics/0", json!({"format": "json"})),
        ("/notify/topics/0/actions", json!(["untagged"])),
        ("/notify/topics/0/topic", json!("x")),
        ("/policy/mode", json!("off")),
        ("/policy/accounts", json!([])),
        ("/policy/regions", json!([])),
        ("/policy/max_findings/severe", json!(1)),
        ("/policy/max_findings/high", json!(-1)),
        ("/policy/max_findings/high", json!(1.5)),
        ("/policy/max_findings/high", json!("none")),
        ("/policy/keep_at_least", json!(50)),
        ("/policy/fixable_only", json!(["severe"])),
        ("/policy/fixable_only", json!("some")),
        ("/policy/min_score", json!(10.1)),
        ("/policy/min_score", json!("high")),
        ("/policy/exploit_only", json!("yes")),
        ("/policy/repositories/only", json!([])),
        ("/policy/rules/0/repositories", json!([])),
        ("/policy/rules/1", json!({"mode": "audit"})),
        ("/policy/rules/0/exceptions", json!([])),
        ("/policy/rules/0/in_use", json!("keep")),
        ("/policy/replicated", json!("ignore")),
        ("/policy/exceptions/0", json!({"reason": "a", "owner": "b", "expires": "2026-12-31"})),
        ("/policy/exceptions/0", json!({"id": "a", "owner": "b", "expires": "2026-12-31"})),
        ("/policy/exceptions/0", json!({"id": "a", "reason": "b", "expires": "2026-12-31"})),
        ("/policy/exceptions/0", json!({"id": "a", "reason": "b", "owner": "c"})),
        ("/policy/exceptions/0/digest", json!("latest")),
        ("/policy/exceptions/0/owner", json!("")),
        ("/limits/untags_per_hour", json!(0)),
        ("/limits/tasks", json!(0)),
        ("/limits/tasks", json!(1001)),
        ("/registry/untag", json!("digest")),
        ("/registry/records", json!("optional")),
        ("/restore/keys", json!(KEY)),
        ("/restore/senders", json!([ROLE.to_lowercase()])),
        ("/restore/senders", json!(["AROASHORT"])),
        ("/restore/hold_senders", json!(["ASIAEXAMPLEID12345678"])),
        ("/restore/hold_senders", json!(many_roles(101))),
    ];
    for (pointer, value) in wrong {
        let mut document = full();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        match document.pointer_mut(parent).unwrap() {
            Value::Array(items) => items[key.parse::<usize>().unwrap()] = value.clone(),
            parent => parent[key] = value.clone(),
        }
        assert_eq!(wrongs(&schema(), &document, "").len(), 1, "{pointer} {value}");
        let error = load_file(".json", &document.to_string()).unwrap_err();
        let key = pointer.rsplit('/').find(|part| part.parse::<usize>().is_err()).unwrap();
        assert!(one_line(&error).contains(key), "{error}");
    }
}

#[test]
fn every_key_is_described_and_closed_and_never_null() {
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    each(&schema, "", &mut |key, schema| {
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(!description.is_empty(), "{key} is not described");
        assert!(!description.contains('\n'), "{key}: {description:?}");
        if schema["type"] == "object" {
            assert_eq!(schema["additionalProperties"], false, "{key}");
        }
        let taken = schema.get("anyOf").or(schema.get("type")).unwrap_or(&Value::Null);
        assert!(!taken.is_null() && !taken.to_string().contains("null"), "{key}: {taken}");
        assert_ne!(schema.get("default"), Some(&Value::Null), "{key}");
    });
    let required = |pointer: &str| schema.pointer(pointer).unwrap()["required"].clone();
    assert_eq!(required("/properties/notify/properties/topics/items"), json!(["arn"]));
    assert_eq!(required("/properties/policy/properties/rules/items"), json!(["repositories"]));
    let exceptions = "/properties/policy/properties/exceptions/items";
    assert_eq!(required(exceptions), json!(["reason", "owner", "expires"]));
    assert!(schema.get("required").is_none(), "variables can give what the file does not");
}

#[test]
fn every_default_is_in_the_schema_and_valid_by_it() {
    let defaults = layer::defaults().unwrap().to_json();
    assert_eq!(wrongs(&schema(), &defaults, ""), [""; 0]);
    let mut count = 0;
    let whole = schema();
    for (key, schema) in leaves(&whole) {
        let pointer = format!("/{}", key.replace('.', "/"));
        assert_eq!(schema.get("default"), defaults.pointer(&pointer), "{key}");
        count += usize::from(schema.get("default").is_some());
    }
    fn values(value: &Value) -> usize {
        value.as_object().map_or(1, |table| table.values().map(values).sum())
    }
    assert_eq!(count, values(&defaults));
}
