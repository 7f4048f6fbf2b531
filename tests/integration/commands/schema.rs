//! `tagwarden schema`. `tests/docs` compares docs/configuration.md with it.

use super::support::{bare, run};

#[tokio::test]
async fn schema_is_a_json_schema() {
    let shown = run(&["schema"], &bare(""), "").await;
    let schema = shown.json();
    assert_eq!(shown.code, 0);
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "tagwarden configuration");
}

#[tokio::test]
async fn schema_needs_no_configuration() {
    let shown = run(&["schema"], &bare("this is no TOML"), "").await;
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""));
}
