//! The tags of resources, which have nothing to do with the tags of images: given when a resource is made, gone with it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::api::Input;
use crate::world::World;

/// The tags of one resource, key to value.
pub(crate) type Tags = BTreeMap<String, String>;

/// Reads a list of `{Key, Value}`.
pub(crate) fn of_list(list: &[Value]) -> Tags {
    let pair = |tag: &Value| Some((tag.text("Key")?.to_owned(), tag.text("Value")?.to_owned()));
    list.iter().filter_map(pair).collect()
}

/// Reads a map.
pub(crate) fn of_map(map: Option<&Value>) -> Tags {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

/// Writes a list of `{Key, Value}`.
pub(crate) fn to_list(tags: &Tags) -> Vec<Value> {
    tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

impl World {
    /// Gives a new resource its tags.
    pub(crate) fn tag_resource(&mut self, arn: String, tags: Tags) {
        if !tags.is_empty() {
            self.resource_tags.insert(arn, tags);
        }
    }

    /// The tags of a resource, by its ARN.
    pub(crate) fn tags_of_resource(&self, arn: &str) -> Tags {
        self.resource_tags.get(arn).cloned().unwrap_or_default()
    }
}
