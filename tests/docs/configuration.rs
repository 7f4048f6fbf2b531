//! docs/configuration.md has every key, and every configuration in the pages can be loaded.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::generated;
use super::pages::{files, split, text};

/// The arrays of tables, which no variable can set.
const FILE_ONLY: &str = "file only";

/// Runs the program without any variable, such as those of the machine's AWS profile.
fn tagwarden(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tagwarden"));
    program.env_clear().stdin(Stdio::null()).args(arguments).output().expect("the program")
}

fn schema() -> Value {
    let output = tagwarden(&["schema"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Returns the keys directly below a section or below an item of an array of tables.
fn properties(schema: &Value) -> Vec<(&str, &Value)> {
    let below = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    below.map(|(name, schema)| (name.as_str(), schema)).collect()
}

fn quoted(values: &Value) -> Vec<String> {
    let values = values.as_array().into_iter().flatten().filter_map(Value::as_str);
    values.map(|value| format!("`{value}`")).collect()
}

/// Returns the values that a key takes, in words.
fn values(schema: &Value) -> String {
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        return choices.iter().map(values).collect::<Vec<_>>().join(", or ");
    }
    if let Some(choices) = schema.get("enum") {
        return quoted(choices).join(" or ");
    }
    let bound = |name: &str| schema.get(name).map(Value::to_string);
    let range = |what: &str| match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => format!("{what}, {least} to {most}"),
        (Some(least), None) => format!("{what} from {least}"),
        _ => what.to_owned(),
    };
    match schema["type"].as_str().expect("a type") {
        "integer" => range("whole number"),
        "number" => range("number"),
        "boolean" => "`true` or `false`".to_owned(),
        "string" if schema["format"] == "date" => "date".to_owned(),
        "string" => "text".to_owned(),
        "array" if schema["items"].get("properties").is_some() => "tables".to_owned(),
        "array" => match schema["items"].get("enum") {
            Some(choices) => format!("list of {}", quoted(choices).join(", ")),
            None => "list of texts".to_owned(),
        },
        other => panic!("type {other}"),
    }
}

fn default(schema: &Value) -> String {
    match schema.get("default") {
        Some(Value::String(text)) => format!("`{text}`"),
        Some(value) => format!("`{value}`"),
        None => "none".to_owned(),
    }
}

/// Writes the rows of a key and of the keys below it.
fn rows(table: &mut String, key: &str, schema: &Value) {
    if schema.get("properties").is_some() {
        for (name, below) in properties(schema) {
            rows(table, &format!("{key}.{name}"), below);
        }
        return;
    }
    let meaning = schema["description"].as_str().expect("a description").replace('|', "\\|");
    let items = schema.get("items").filter(|items| items.get("properties").is_some());
    let variable = if items.is_some() || key.contains("[]") {
        FILE_ONLY.to_owned()
    } else {
        format!("`TAGWARDEN__{}`", key.to_uppercase().replace('.', "__"))
    };
    let (values, default) = (values(schema), default(schema));
    let _ = writeln!(table, "| `{key}` | {values} | {default} | {variable} | {meaning} |");
    for (name, below) in items.into_iter().flat_map(properties) {
        rows(table, &format!("{key}[].{name}"), below);
    }
}

/// Leaves out of the rules what they share with the policy, and returns the names of that.
fn take_shared_keys(schema: &mut Value) -> Vec<String> {
    let of_policy = schema["properties"]["policy"]["properties"].clone();
    let rules = &mut schema["properties"]["policy"]["properties"]["rules"]["items"]["properties"];
    let rules = rules.as_object_mut().expect("keys of rules");
    let is_own = |name: &str| ["accounts", "regions", "repositories"].contains(&name);
    let names = rules.keys().filter(|name| !is_own(name) && of_policy.get(name).is_some());
    let shared: Vec<_> = names.cloned().collect();
    rules.retain(|name, _| !shared.contains(name));
    shared
}

#[test]
fn page_of_the_configuration_lists_every_key() {
    let mut schema = schema();
    let shared = take_shared_keys(&mut schema);
    assert!(shared.len() > 10, "{shared:?}");
    let mut page = String::new();
    for (name, section) in properties(&schema) {
        let about = section["description"].as_str().expect("a description");
        let _ = write!(
            page,
            "### `{name}`\n\n{about}.\n\n| key | values | default | variable | meaning |\n|---|---|---|---|---|\n"
        );
        rows(&mut page, name, section);
        if name == "policy" {
            let shared: Vec<_> = shared.iter().map(|name| format!("`{name}`")).collect();
            let _ = writeln!(
                page,
                "| `policy.rules[].…` | as `policy.…` | as `policy.…` | {FILE_ONLY} | For its repositories, a rule also overrides {} |",
                shared.join(", ")
            );
        }
        page.push('\n');
    }
    generated::hold("docs/configuration.md", &[("keys".to_owned(), page)]);
}

/// Returns the configurations that a page shows, with the ending of their format: blocks of TOML
/// and YAML, and files that commands of the page write.
fn configurations(page: &str) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for block in split(page).1 {
        match block.language.as_str() {
            "toml" => found.push((".toml", block.text)),
            "yaml" => found.push((".yaml", block.text)),
            "bash" | "sh" => {
                let written = block.text.split(".toml <<'END'\n").skip(1);
                let texts = written.filter_map(|rest| rest.split("\nEND").next());
                found.extend(texts.map(|text| (".toml", format!("{text}\n"))));
            }
            _ => {}
        }
    }
    found
}

/// Fills in what docs/undo.md leaves to the reader.
fn filled(text: &str) -> String {
    let digest = format!("sha256:{}", "a".repeat(64));
    let text = text.replace("\"DIGEST\"", &format!("\"{digest}\""));
    let text = text.replace("\"REPOSITORY\"", "\"team/app\"");
    let fill = |line: &str| match line.split_once("\"\"") {
        Some((key, rest)) if rest.contains("FILL IN") => {
            let is_day = key.contains("expires");
            format!("{key}\"{}\"", if is_day { "2030-12-31" } else { "filled in" })
        }
        _ => line.to_owned(),
    };
    text.lines().map(|line| fill(line) + "\n").collect()
}

#[test]
fn every_configuration_in_the_pages_can_be_loaded() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut pages = files("docs", &[".md"]);
    pages.extend(["README.md".to_owned()]);
    let (mut count, mut sections) = (0, BTreeSet::new());
    for page in pages {
        for (ending, shown) in configurations(&text(&page)) {
            let path = folder.path().join(format!("shown{ending}"));
            fs::write(&path, filled(&shown)).expect("a file");
            let output = tagwarden(&["check", path.to_str().expect("UTF-8")]);
            let problem = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{page}:\n{shown}\n{problem}");
            count += 1;
            let heads = shown.lines().filter(|line| line.starts_with('['));
            sections.extend(heads.map(str::to_owned));
        }
    }
    assert!(count > 8, "{count}");
    let shown =
        ["[[notify.topics]]", "[[policy.exceptions]]", "[[policy.rules]]", "[limits]", "[restore]"];
    assert!(shown.iter().all(|section| sections.contains(*section)), "{sections:?}");
}
