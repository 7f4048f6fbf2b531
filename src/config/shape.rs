//! Reads raw settings from the layers, and describes values of the wrong shape by key, because
//! serde's own errors speak of Rust types and name only the parent of an unknown key.

use config::ValueKind;

use super::file::RawSettings;
use super::layers::{Layer, Layers, one_line};
use super::{ConfigError, Sources};

pub(super) fn read(sources: &Sources) -> Result<RawSettings, ConfigError> {
    of(Layers::read(sources)?.merged)
}

/// Reads the settings from all layers together.
pub(super) fn of(Layer(merged): Layer) -> Result<RawSettings, ConfigError> {
    // Serde would accept a list as the keys of a section, in their order.
    if let ValueKind::Table(sections) = &merged.cache.kind
        && let Some((key, _)) =
            sections.iter().find(|(_, section)| matches!(section.kind, ValueKind::Array(_)))
    {
        let problem = "is a list; expected a table".to_owned();
        return Err(ConfigError::Key { key: key.clone(), problem });
    }
    serde_path_to_error::deserialize(merged).map_err(|error| {
        let path = error.path().to_string();
        let at = |origin: Option<String>| {
            origin.map(|origin| format!(" in {origin}")).unwrap_or_default()
        };
        // The config crate often knows the key when the path does not.
        let (key, problem) = match error.into_inner() {
            config::ConfigError::At { error, key, origin } => {
                (key.unwrap_or(path), format!("{error}{}", at(origin)))
            }
            config::ConfigError::Type { key, unexpected, expected, origin } => (
                key.unwrap_or(path),
                format!("is {}{}; expected {expected}", kind(&unexpected.to_string()), at(origin)),
            ),
            other => (path, other.to_string()),
        };
        // The config crate leaves out the dot after an index.
        named_key(&key.replace(']', "].").replace("..", "."), &one_line(&problem))
    })
}

/// Returns the kind of a value in TOML's words instead of serde's.
fn kind(serde: &str) -> String {
    match serde {
        "sequence" | "a sequence" => "a list".to_owned(),
        "map" | "a map" => "a table".to_owned(),
        other => other.replace('`', ""),
    }
}

/// Returns the error with the key that a reader looks for: serde reports an unknown key at its
/// parent.
fn named_key(at: &str, problem: &str) -> ConfigError {
    let at = at.trim_end_matches('.');
    let unknown = problem.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, "));
    let misshapen =
        problem.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "));
    let (key, problem) = match (unknown, misshapen) {
        (Some((field, expected)), _) => {
            let key = if at == field { at.to_owned() } else { format!("{at}.{field}") };
            (key, format!("is unknown; {}", expected.replace('`', "")))
        }
        (None, Some(("map", "a sequence"))) => {
            let problem = format!("is one table; expected a list of them, in TOML [[{at}]]");
            (at.to_owned(), problem)
        }
        (None, Some((given, expected))) => {
            (at.to_owned(), format!("is {}; expected {}", kind(given), kind(expected)))
        }
        (None, None) => (at.to_owned(), problem.to_owned()),
    };
    ConfigError::Key { key, problem }
}
