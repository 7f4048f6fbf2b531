//! `tagwarden schema`.

use std::fs;

use serde_json::Value;

use super::support::{bare, run};

/// The schema of the key at this path.
fn at<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(schema, |schema, part| schema.get("properties")?.get(part))
}

/// `a.{b,c}` as `a.b` and `a.c`.
fn each(key: &str) -> Vec<String> {
    match key.split_once('{').and_then(|(start, rest)| Some((start, rest.split_once('}')?))) {
        Some((start, (words, end))) => {
            words.split(',').map(|word| format!("{start}{word}{end}")).collect()
        }
        None => vec![key.to_owned()],
    }
}

#[tokio::test]
async fn schema_is_valid_json_and_has_every_key_of_the_readme() {
    let shown = run(&["schema"], &bare(""), "").await;
    let schema = shown.json();
    assert_eq!(shown.code, 0);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "tagwarden configuration");

    let readme = fs::read_to_string(format!("{}/README.md", env!("CARGO_MANIFEST_DIR")));
    let readme = readme.expect("a README");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let is_key = |key: &&str| key.contains('.') && !key.contains(' ') && !key.contains('/');
    let keys: Vec<_> = rows.map(|(key, _)| key).filter(is_key).flat_map(each).collect();
    assert!(keys.len() > 20, "{keys:?}");
    for key in keys {
        assert!(at(&schema, &key).is_some(), "{key}");
    }
}

#[tokio::test]
async fn schema_needs_no_configuration() {
    let shown = run(&["schema"], &bare("this is no TOML"), "").await;
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
}
