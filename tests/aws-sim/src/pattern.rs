//! The patterns of EventBridge rules, which SNS filter policies share.

use serde_json::{Map, Value};

use crate::wildcard::wildcard;

/// Whether a pattern is well-formed: objects down to lists of values and of operators that are simulated.
pub(crate) fn check(pattern: &Value) -> Result<(), String> {
    let members = pattern.as_object().ok_or("a pattern is a JSON object")?;
    if members.is_empty() {
        return Err("a pattern has at least one member".to_owned());
    }
    for (key, member) in members {
        match member {
            Value::Object(_) => check(member)?,
            Value::Array(items) if !items.is_empty() => items.iter().try_for_each(check_item)?,
            _ => return Err(format!("\"{key}\" must be an object or a non-empty array")),
        }
    }
    Ok(())
}

fn check_item(item: &Value) -> Result<(), String> {
    const OPERATORS: [&str; 7] =
        ["anything-but", "equals-ignore-case", "exists", "numeric", "prefix", "suffix", "wildcard"];
    match item {
        Value::Object(operator) => {
            match operator.keys().find(|name| !OPERATORS.contains(&name.as_str())) {
                Some(name) => Err(format!("the operator \"{name}\" is not known here")),
                None if operator.len() == 1 => Ok(()),
                None => Err("an operator stands alone".to_owned()),
            }
        }
        Value::Array(_) => Err("a list in a list".to_owned()),
        _ => Ok(()),
    }
}

/// Whether an event matches: every member of the pattern does.
pub(crate) fn matches(pattern: &Value, event: &Value) -> bool {
    let Some(members) = pattern.as_object() else {
        return false;
    };
    members.iter().all(|(key, member)| {
        let value = event.get(key);
        match member {
            Value::Object(_) => match value {
                Some(Value::Array(values)) => values.iter().any(|value| matches(member, value)),
                Some(value) => matches(member, value),
                None => matches(member, &Value::Null),
            },
            Value::Array(items) => items.iter().any(|item| matches_member(item, value)),
            _ => false,
        }
    })
}

/// One alternative against a member of the event. A list matches when one of its values does.
fn matches_member(item: &Value, value: Option<&Value>) -> bool {
    if let Some(wanted) = item.get("exists").and_then(Value::as_bool) {
        return wanted == value.is_some_and(|value| !value.is_object());
    }
    match value {
        None | Some(Value::Object(_)) => false,
        Some(Value::Array(values)) if item.get("anything-but").is_some() => {
            !values.is_empty() && values.iter().all(|value| matches_value(item, value))
        }
        Some(Value::Array(values)) => values.iter().any(|value| matches_value(item, value)),
        Some(value) => matches_value(item, value),
    }
}

fn matches_value(item: &Value, value: &Value) -> bool {
    let Some(operator) = item.as_object() else {
        return equal(item, value);
    };
    operator.iter().all(|(name, argument)| matches_operator(name, argument, value))
}

fn matches_operator(name: &str, argument: &Value, value: &Value) -> bool {
    let texts = argument.as_str().zip(value.as_str());
    match name {
        "prefix" => texts.is_some_and(|(prefix, text)| text.starts_with(prefix)),
        "suffix" => texts.is_some_and(|(suffix, text)| text.ends_with(suffix)),
        "equals-ignore-case" => {
            texts.is_some_and(|(wanted, text)| wanted.eq_ignore_ascii_case(text))
        }
        "wildcard" => texts.is_some_and(|(pattern, text)| wildcard(pattern, text)),
        "anything-but" => match argument {
            Value::Array(items) => !items.iter().any(|item| equal(item, value)),
            Value::Object(inner) => !any_operator(inner, value),
            literal => !equal(literal, value),
        },
        "numeric" => value.as_f64().is_some_and(|number| in_range(argument, number)),
        _ => false,
    }
}

/// The operators inside `anything-but` take one argument or a list of them.
fn any_operator(operators: &Map<String, Value>, value: &Value) -> bool {
    operators.iter().any(|(name, argument)| match argument {
        Value::Array(arguments) => {
            arguments.iter().any(|argument| matches_operator(name, argument, value))
        }
        argument => matches_operator(name, argument, value),
    })
}

fn equal(wanted: &Value, value: &Value) -> bool {
    match (wanted.as_f64(), value.as_f64()) {
        (Some(wanted), Some(number)) => (wanted - number).abs() < f64::EPSILON,
        _ => wanted == value,
    }
}

/// `[">", 0, "<=", 5]`
fn in_range(conditions: &Value, number: f64) -> bool {
    let Some(conditions) = conditions.as_array() else {
        return false;
    };
    let (pairs, rest) = conditions.as_chunks::<2>();
    rest.is_empty()
        && pairs.iter().all(|[comparison, bound]| match (comparison.as_str(), bound.as_f64()) {
            (Some("="), Some(bound)) => (number - bound).abs() < f64::EPSILON,
            (Some("<"), Some(bound)) => number < bound,
            (Some("<="), Some(bound)) => number <= bound,
            (Some(">"), Some(bound)) => number > bound,
            (Some(">="), Some(bound)) => number >= bound,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event() -> Value {
        json!({
            "source": "aws.ecr",
            "detail": {"action-type": "PUSH", "image-tags": ["v1", "latest"], "count": 3, "image-tag": ""},
            "resources": [],
        })
    }

    #[test]
    fn every_member_must_match_and_one_alternative_of_each() {
        assert!(matches(&json!({"source": ["aws.inspector2", "aws.ecr"]}), &event()));
        assert!(matches(
            &json!({"source": ["aws.ecr"], "detail": {"action-type": ["PUSH"]}}),
            &event()
        ));
        assert!(!matches(
            &json!({"source": ["aws.ecr"], "detail": {"action-type": ["DELETE"]}}),
            &event()
        ));
        assert!(!matches(&json!({"absent": ["x"]}), &event()));
    }

    #[test]
    fn a_list_matches_when_one_of_its_values_does() {
        assert!(matches(&json!({"detail": {"image-tags": ["latest"]}}), &event()));
        assert!(!matches(&json!({"detail": {"image-tags": ["v2"]}}), &event()));
    }

    #[test]
    fn operators_match_as_in_eventbridge() {
        let detail = |condition: Value| matches(&json!({"detail": condition}), &event());
        assert!(
            detail(json!({"action-type": [{"prefix": "PU"}]}))
                && !detail(json!({"action-type": [{"prefix": "DE"}]}))
        );
        assert!(detail(json!({"action-type": [{"suffix": "SH"}]})));
        assert!(detail(json!({"action-type": [{"wildcard": "P*H"}]})));
        assert!(detail(json!({"action-type": [{"equals-ignore-case": "push"}]})));
        assert!(
            detail(json!({"action-type": [{"exists": true}]}))
                && !detail(json!({"gone": [{"exists": true}]}))
        );
        assert!(
            detail(json!({"gone": [{"exists": false}]}))
                && detail(json!({"gone": {"deeper": [{"exists": false}]}}))
        );
        assert!(detail(json!({"action-type": [{"anything-but": ["DELETE"]}]})));
        assert!(!detail(json!({"action-type": [{"anything-but": "PUSH"}]})));
        assert!(!detail(json!({"action-type": [{"anything-but": {"prefix": "PU"}}]})));
        assert!(detail(json!({"count": [{"numeric": [">", 0, "<=", 3]}]})));
        assert!(!detail(json!({"count": [{"numeric": [">", 3]}]})));
        assert!(detail(json!({"image-tag": [""]})));
    }

    #[test]
    fn malformed_patterns_are_named() {
        assert!(
            check(&json!({"source": ["aws.ecr"], "detail": {"x": [{"exists": true}]}})).is_ok()
        );
        assert!(check(&json!({"source": "aws.ecr"})).is_err());
        assert!(check(&json!({"source": []})).is_err());
        assert!(check(&json!({"source": [{"cidr": "10.0.0.0/8"}]})).is_err());
        assert!(check(&json!({})).is_err());
    }
}
