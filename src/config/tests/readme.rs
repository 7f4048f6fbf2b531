use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const README: &str = include_str!("../../../README.md");

/// The words of the README for a key without a default.
const WITHOUT: [&str; 5] = ["required", "all", "none", "any", "own account"];

fn section() -> &'static str {
    let (_, section) = README.split_once("\n## Configuration\n").unwrap();
    section.split("\n## ").next().unwrap()
}

/// Returns the keys of a cell: one, or several in braces.
fn keys(cell: &str) -> Vec<String> {
    match cell.split_once('{') {
        Some((section, names)) => {
            let names = names.trim_end_matches('}').split(',');
            names.map(|name| format!("{section}{name}")).collect()
        }
        None => vec![cell.to_owned()],
    }
}

/// Returns the default of a key from the cell of its row. The cell gives one default for all keys,
/// or pairs such as "high `0`" and "others `1`".
fn default_in<'a>(cell: &'a str, key: &str) -> &'a str {
    let name = key.rsplit('.').next().unwrap();
    let pairs: Vec<_> = cell.split(", ").filter_map(|pair| pair.split_once(" `")).collect();
    let named = pairs.iter().find(|(word, _)| *word == name);
    let pair = named.or_else(|| pairs.iter().find(|(word, _)| *word == "others"));
    pair.map_or(cell, |(_, default)| *default).trim_matches('`')
}

#[test]
fn the_table_in_the_readme_lists_every_key_with_its_variable_and_default() {
    let schema = schema();
    let leaves = super::schema::leaves(&schema);
    let mut listed = BTreeSet::new();
    for row in section().lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        let [_, cell, variable, default, meaning, _] = cells.as_slice() else { panic!("{row}") };
        assert!(!meaning.is_empty(), "{row}");
        let cell = cell.trim_matches('`');
        for key in keys(cell) {
            let found = leaves.iter().find(|(leaf, _)| *leaf == key);
            let Some((_, schema)) = found else { panic!("{key} is no key") };
            if schema.pointer("/items/properties").is_some() {
                assert_eq!((*variable, *default), ("file only", "none"), "{key}");
            } else {
                let default = default_in(default, &key);
                match schema.get("default") {
                    Some(Value::String(text)) => assert_eq!(default, text, "{key}"),
                    Some(value) => assert_eq!(default, value.to_string(), "{key}"),
                    None => assert!(WITHOUT.contains(&default), "{key}: {default}"),
                }
                // If a row has several keys, the variable of the first represents them all.
                let first = keys(cell).remove(0);
                let name = format!("`TAGWARDEN__{}`", first.to_uppercase().replace('.', "__"));
                assert!(variable.starts_with(&name), "{key}: {variable}");
            }
            assert!(listed.insert(key), "{row}");
        }
    }
    let known = leaves.iter().map(|(key, _)| key.split("[]").next().unwrap().to_owned());
    assert_eq!(listed, known.collect());
}

#[test]
fn every_example_in_the_readme_is_a_configuration() {
    let examples =
        section().split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut sections = BTreeSet::new();
    for example in examples {
        let settings = load(&[(TEXT_VARIABLE, example)]);
        settings.unwrap_or_else(|error| panic!("{error} in\n{example}"));
        sections.extend(example.lines().filter(|line| line.starts_with('[')));
    }
    let expected = ["[[notify.topics]]", "[[policy.exceptions]]", "[[policy.rules]]", "[limits]"];
    assert!(expected.iter().all(|section| sections.contains(section)), "{sections:?}");
}
