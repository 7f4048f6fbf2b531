//! Settings as files and variables write them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat, Value};
use serde::Deserialize;

use super::{ConfigError, FILE_VARIABLE, KEY_PREFIX, Sources, TEXT_VARIABLE};

/// A key that is absent here is required, or has no value by default.
const DEFAULTS: &str = r#"
[queue]
max_in_flight = 32
visibility_timeout = "60s"
[notify]
format = "text"
[policy]
mode = "enforce"
action = "quarantine"
[registry]
untag = "tag_and_digest"
[http]
listen = "0.0.0.0:8080"
[shutdown]
grace = "25s"
[telemetry]
log_format = "json"
"#;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSettings {
    pub(super) queue: RawQueue,
    pub(super) notify: RawNotify,
    pub(super) policy: RawPolicy,
    pub(super) registry: RawRegistry,
    #[serde(default)]
    pub(super) aws: RawAws,
    pub(super) http: RawHttp,
    pub(super) shutdown: RawShutdown,
    pub(super) telemetry: RawTelemetry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQueue {
    pub(super) url: Option<String>,
    pub(super) max_in_flight: Value,
    pub(super) visibility_timeout: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNotify {
    pub(super) topic_arn: Option<String>,
    pub(super) format: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) mode: String,
    pub(super) action: String,
    #[serde(default)]
    pub(super) max_findings: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) protected_tags: List,
    #[serde(default)]
    pub(super) repositories: RawRepositories,
    pub(super) accounts: Option<List>,
    pub(super) regions: Option<List>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRepositories {
    #[serde(default)]
    pub(super) include: List,
    #[serde(default)]
    pub(super) exclude: List,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRegistry {
    pub(super) untag: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAws {
    pub(super) assume_role: Option<String>,
    pub(super) external_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttp {
    pub(super) listen: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShutdown {
    pub(super) grace: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTelemetry {
    pub(super) log_format: String,
}

impl RawSettings {
    pub(super) fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let mut builder = Config::builder().add_source(File::from_str(DEFAULTS, FileFormat::Toml));
        if let Some(file) = configuration_file(sources)? {
            builder = builder.add_source(file);
        }
        let config = builder
            .add_source(variables(&sources.environment)?)
            .build()
            .map_err(|error| ConfigError::Text(one_line(&error)))?;
        serde_path_to_error::deserialize(config).map_err(|error| {
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
                    format!("is {unexpected}{}; expected {expected}", at(origin)),
                ),
                other => (path, other.to_string()),
            };
            named_key(key, &one_line(&problem))
        })
    }
}

/// An unknown key is reported by serde at its parent; it is the key itself that a reader looks for.
fn named_key(parent: String, problem: &str) -> ConfigError {
    let unknown = problem
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split_once("`, "))
        .map(|(field, expected)| (field, expected.replace('`', "")));
    match unknown {
        Some((field, expected)) => {
            let key = if parent == field { parent } else { format!("{parent}.{field}") };
            ConfigError::Key { key, problem: format!("is unknown; {expected}") }
        }
        None => ConfigError::Key { key: parent, problem: problem.to_owned() },
    }
}

/// The one configuration file that the sources name, if any. Read on its own first, so that an error names it.
fn configuration_file(sources: &Sources) -> Result<Option<Config>, ConfigError> {
    let variable = |name| sources.environment.get(name).filter(|value| !value.is_empty());
    let path = match (&sources.file, variable(FILE_VARIABLE)) {
        (Some(_), Some(_)) => {
            return Err(ConfigError::TwoFiles { first: "--config", second: FILE_VARIABLE });
        }
        (Some(path), None) => Some(("--config", path.clone())),
        (None, Some(path)) => Some((FILE_VARIABLE, PathBuf::from(path))),
        (None, None) => None,
    };
    match (path, variable(TEXT_VARIABLE)) {
        (None, None) => Ok(None),
        (Some((first, _)), Some(_)) => Err(ConfigError::TwoFiles { first, second: TEXT_VARIABLE }),
        // The text may come from a secret, so nothing of it is quoted.
        (None, Some(text)) => parse(text, FileFormat::Toml)
            .map(Some)
            .map_err(|_| ConfigError::Text(format!("{TEXT_VARIABLE} is not valid TOML"))),
        (Some((_, path)), None) => {
            read_file(&path).map(Some).map_err(|problem| ConfigError::File { path, problem })
        }
    }
}

fn read_file(path: &Path) -> Result<Config, String> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("json") => FileFormat::Json,
        _ => return Err("its name must end in .toml, .yaml, .yml or .json".to_owned()),
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {error}"))?;
    parse(&text, format).map_err(|error| one_line(&error))
}

fn parse(text: &str, format: FileFormat) -> Result<Config, config::ConfigError> {
    Config::builder().add_source(File::from_str(text, format)).build()
}

/// Variables stay the strings that they are: a key that holds a number reads one out of its string, while
/// an account or an external id that looks like a number keeps its leading zeros.
fn variables(environment: &HashMap<String, String>) -> Result<Environment, ConfigError> {
    let ours: BTreeMap<_, _> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(KEY_PREFIX)?, value)))
        .collect();
    // A section that is also given a value would win or lose by the order of a hash map.
    for name in ours.keys() {
        let section = format!("{name}__");
        if ours.keys().any(|other| other.starts_with(&section)) {
            let key = name.to_lowercase().replace("__", ".");
            let problem = "is a section and cannot have a value; set its keys".to_owned();
            return Err(ConfigError::Key { key, problem });
        }
    }
    let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    Ok(Environment::default().separator("__").ignore_empty(true).source(Some(ours)))
}

/// A list: a sequence in a file, items with commas between them in a variable.
#[derive(Debug, Default, Deserialize)]
#[serde(from = "Listed")]
pub(super) struct List(pub(super) Vec<String>);

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a list of strings")]
enum Listed {
    Text(String),
    Items(Vec<String>),
}

impl From<Listed> for List {
    fn from(listed: Listed) -> Self {
        let items = match listed {
            Listed::Text(text) => text.split(',').map(str::to_owned).collect(),
            Listed::Items(items) => items,
        };
        Self(
            items
                .iter()
                .map(|item| item.trim().to_owned())
                .filter(|item| !item.is_empty())
                .collect(),
        )
    }
}

fn one_line(error: &impl ToString) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
