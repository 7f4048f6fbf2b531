//! From layers to raw settings, and what is said of values of the wrong shape.

use config::ValueKind;

use super::layers::{Layer, Layers, one_line};
use super::raw::RawSettings;
use super::{ConfigError, Sources};

impl RawSettings {
    pub(super) fn read(sources: &Sources) -> Result<Self, ConfigError> {
        Self::of(Layers::read(sources)?.merged)
    }

    /// Reads the settings out of all layers together.
    pub(super) fn of(Layer(merged): Layer) -> Result<Self, ConfigError> {
        // Serde would take a list for the keys of the section in their order.
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
            // The config crate often knows the key where the path does not.
            let (key, problem) = match error.into_inner() {
                config::ConfigError::At { error, key, origin } => {
                    (key.unwrap_or(path), format!("{error}{}", at(origin)))
                }
                config::ConfigError::Type { key, unexpected, expected, origin } => (
                    key.unwrap_or(path),
                    format!(
                        "is {}{}; expected {expected}",
                        kind(&unexpected.to_string()),
                        at(origin)
                    ),
                ),
                other => (path, other.to_string()),
            };
            // The config crate leaves this dot out.
            named_key(&key.replace(']', "].").replace("..", "."), &one_line(&problem))
        })
    }
}

/// Serde's words for the kinds of values, in TOML's.
fn kind(serde: &str) -> String {
    match serde {
        "sequence" | "a sequence" => "a list".to_owned(),
        "map" | "a map" => "a table".to_owned(),
        other => other.replace('`', ""),
    }
}

/// An unknown key is reported by serde at its parent; it is the key itself that a reader looks for.
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
