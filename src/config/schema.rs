//! The JSON Schema of the configuration file. It is generated from the types in `file`, whose doc
//! comments are its descriptions, and gets its defaults from `layer`.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::file::RawSettings;
use super::layer::defaults;

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
    if let Ok(defaults) = defaults() {
        fill_in(&mut schema, &defaults.to_json());
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
