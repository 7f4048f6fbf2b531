//! The AWS query protocol: a flat form in, XML out.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::api::ApiError;

/// A form, with its dotted keys folded back into lists and maps.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) action: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) input: Value,
}

impl Form {
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut form = Self::default();
        let mut root = Node::default();
        for (key, value) in form_urlencoded::parse(body) {
            match key.as_ref() {
                "Action" => form.action = Some(value.into_owned()),
                "Version" => form.version = Some(value.into_owned()),
                path => root.insert(path, value.into_owned()),
            }
        }
        form.input = Value::Object(root.members());
        form
    }
}

/// The tree that dotted keys spell out, before it is known what is a list and what a map.
#[derive(Debug, Default)]
struct Node {
    value: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    fn insert(&mut self, path: &str, value: String) {
        let mut node = self;
        for part in path.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value);
    }

    fn members(self) -> Map<String, Value> {
        self.children.into_iter().map(|(key, node)| (key, node.fold())).collect()
    }

    /// `member.N` is a list; `entry.N.Name` with `entry.N.Value`, or in lower case, is a map.
    fn fold(mut self) -> Value {
        if let Some(value) = self.value {
            return Value::String(value);
        }
        if let Some(list) = self.children.remove("member") {
            let mut numbered: Vec<_> = list.children.into_iter().collect();
            numbered.sort_by_key(|(index, _)| index.parse::<u32>().unwrap_or(u32::MAX));
            return numbered.into_iter().map(|(_, node)| node.fold()).collect();
        }
        if let Some(map) = self.children.remove("entry") {
            return Value::Object(map.children.into_values().filter_map(Node::entry).collect());
        }
        Value::Object(self.members())
    }

    fn entry(mut self) -> Option<(String, Value)> {
        let key = self.children.remove("Name").or_else(|| self.children.remove("key"))?;
        let value = self.children.remove("Value").or_else(|| self.children.remove("value"))?;
        Some((key.value?, value.fold()))
    }
}

/// The XML of a success. A list is written as `member` elements; an object called `Attributes` is a map.
pub(crate) fn reply(operation: &str, reply: &Value, request_id: &str) -> String {
    let mut result = String::new();
    write_members(&mut result, reply);
    format!(
        "<{operation}Response><{operation}Result>{result}</{operation}Result>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{operation}Response>"
    )
}

/// The XML of an error.
pub(crate) fn error(error: &ApiError, request_id: &str) -> String {
    let side = if error.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse><Error><Type>{side}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(&error.code),
        escape(&error.message),
    )
}

fn write_members(out: &mut String, value: &Value) {
    for (key, member) in value.as_object().into_iter().flatten() {
        out.push_str(&format!("<{key}>"));
        match member {
            Value::Object(map) if key == "Attributes" => {
                for (name, value) in map {
                    let value = value.as_str().unwrap_or_default();
                    out.push_str(&format!(
                        "<entry><key>{}</key><value>{}</value></entry>",
                        escape(name),
                        escape(value)
                    ));
                }
            }
            Value::Array(items) => {
                for item in items {
                    out.push_str("<member>");
                    write_members(out, item);
                    out.push_str("</member>");
                }
            }
            Value::Object(_) => write_members(out, member),
            Value::String(text) => out.push_str(&escape(text)),
            Value::Null => {}
            other => out.push_str(&other.to_string()),
        }
        out.push_str(&format!("</{key}>"));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn dotted_keys_fold_into_maps_and_lists() {
        let form = Form::parse(
            b"Action=Publish&Version=2010-03-31&Message=a%26b\
              &MessageAttributes.entry.2.Name=z&MessageAttributes.entry.2.Value.DataType=String\
              &MessageAttributes.entry.1.Name=a&MessageAttributes.entry.1.Value.DataType=Number\
              &Tags.member.10=j&Tags.member.2=b",
        );
        assert_eq!(form.action.as_deref(), Some("Publish"));
        assert_eq!(
            form.input,
            json!({
                "Message": "a&b",
                "MessageAttributes": {"a": {"DataType": "Number"}, "z": {"DataType": "String"}},
                "Tags": ["b", "j"],
            })
        );
    }

    #[test]
    fn replies_are_escaped_xml() {
        let xml = reply("GetTopicAttributes", &json!({"Attributes": {"Policy": "<&>"}}), "r");
        assert!(xml.contains(
            "<Attributes><entry><key>Policy</key><value>&lt;&amp;&gt;</value></entry></Attributes>"
        ));
        assert!(error(&ApiError::new("NotFound", "no <topic>"), "r").contains("no &lt;topic&gt;"));
    }
}
