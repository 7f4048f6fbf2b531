//! The sources of settings, layer on layer: defaults, one file, environment variables.
//!
//! The file is parsed before it is merged with the others, so that an error names it and
//! `effective` knows which values it gives. The TOML parser quotes the line that it cannot read.
//! The quotation is removed from every error, because the line may hold a secret.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use config::{Config, Environment, File, FileFormat, Source as _, Value, ValueKind};

use super::{ConfigError, FILE_VARIABLE, KEY_PREFIX, Sources, TEXT_VARIABLE, yaml};

/// The defaults. A key that is absent here is required, or has no value by default.
const DEFAULTS: &str = r#"
[queue]
max_in_flight = 32
visibility_timeout = "60s"
[notify]
format = "text"
[policy]
mode = "enforce"
action = "quarantine"
index = "any"
keep_at_least = 0
in_use = "untag"
replicated = "block"
fixable_only = "none"
min_score = "none"
exploit_only = false
grace = "none"
unscanned = "tell"
[policy.max_findings]
critical = 0
high = 0
medium = "unlimited"
low = "unlimited"
informational = "unlimited"
untriaged = "unlimited"
undefined = "unlimited"
[limits]
untags_per_hour = "unlimited"
untags_per_hour_per_repository = "unlimited"
tasks = 1
[sweep]
rescan_after = "24h"
calls_per_second = 20
[registry]
untag = "tag_and_digest"
[http]
listen = "0.0.0.0:8080"
[shutdown]
grace = "25s"
[telemetry]
log_format = "json"
"#;

/// The arrays of tables, which no variable can write.
const FILE_ONLY: [&str; 3] = ["notify.topics", "policy.exceptions", "policy.rules"];

/// The layers of all sources.
pub(super) struct Layers {
    /// The layer of the configuration file, with the name that errors and `check` use for it.
    pub(super) file: Option<(String, Layer)>,
    /// All layers merged.
    pub(super) merged: Layer,
}

/// The settings of one source, or of several merged ones.
#[derive(Clone)]
pub(super) struct Layer(pub(super) Config);

impl Layer {
    /// Returns the settings as JSON.
    pub(super) fn to_json(&self) -> Result<serde_json::Value, ConfigError> {
        let config = self.0.clone();
        config.try_deserialize().map_err(|error| ConfigError::Text(one_line(&error)))
    }
}

/// Returns the defaults as a layer.
pub(super) fn defaults() -> Result<Layer, ConfigError> {
    parse(DEFAULTS, FileFormat::Toml)
        .map(Layer)
        .map_err(|error| ConfigError::Text(one_line(&error)))
}

impl Layers {
    pub(super) fn read(sources: &Sources) -> Result<Self, ConfigError> {
        let file = configuration_file(sources)?;
        let mut builder = Config::builder().add_source(defaults()?.0);
        if let Some((_, Layer(file))) = &file {
            builder = builder.add_source(file.clone());
        }
        let merged = builder
            .add_source(variables(&sources.environment)?)
            .build()
            .map_err(|error| ConfigError::Text(one_line(&error)))?;
        Ok(Self { file, merged: Layer(merged) })
    }
}

/// Returns the configuration file that the sources name, if any, and its name. The file is parsed
/// before it is merged, so that an error can name it.
fn configuration_file(sources: &Sources) -> Result<Option<(String, Layer)>, ConfigError> {
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
        // Nothing of the text is quoted, because it may come from a secret.
        (None, Some(text)) => parse(text, FileFormat::Toml)
            .map(|config| Some((TEXT_VARIABLE.to_owned(), Layer(config))))
            .map_err(|error| match error {
                config::ConfigError::Message(problem) => {
                    ConfigError::Text(format!("{TEXT_VARIABLE}: {problem}"))
                }
                error => {
                    let line = line_of(&error).or_else(|| first_bad_line(text));
                    let line = line.map(|line| format!(" (line {line})")).unwrap_or_default();
                    ConfigError::Text(format!("{TEXT_VARIABLE} is not valid TOML{line}"))
                }
            }),
        (Some((_, path)), None) => match read_file(&path) {
            Ok(config) => Ok(Some((path.display().to_string(), Layer(config)))),
            Err(problem) => Err(ConfigError::File { path, problem: problem.to_string() }),
        },
    }
}

/// Why a configuration file cannot be read.
#[derive(Debug, thiserror::Error)]
enum FileProblem {
    #[error("its name must end in .toml, .yaml, .yml or .json")]
    Format,
    #[error("cannot be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("{}", without_the_text(.0))]
    Syntax(#[from] config::ConfigError),
}

fn read_file(path: &Path) -> Result<Config, FileProblem> {
    let format = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => FileFormat::Toml,
        Some("yaml" | "yml") => FileFormat::Yaml,
        Some("json") => FileFormat::Json,
        _ => return Err(FileProblem::Format),
    };
    Ok(parse(&std::fs::read_to_string(path)?, format)?)
}

/// Returns the error without the lines that the TOML parser quotes, because they may hold a secret.
fn without_the_text(error: &config::ConfigError) -> String {
    let text = error.to_string();
    let is_quoted = |line: &&str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
    };
    one_line(&text.lines().filter(|line| !is_quoted(line)).collect::<Vec<_>>().join(" "))
}

/// Parses a file. A key or section without a value counts as not given, such as a section in YAML
/// with everything below it commented out.
fn parse(text: &str, format: FileFormat) -> Result<Config, config::ConfigError> {
    if matches!(format, FileFormat::Yaml) {
        yaml::check(text).map_err(|error| config::ConfigError::Message(error.to_string()))?;
    }
    let file = File::from_str(text, format);
    if let Some(key) = file.collect()?.keys().find(|key| names_an_item(key)) {
        return Err(config::ConfigError::Message(format!("key {key} is unknown")));
    }
    let mut config = Config::builder().add_source(file).build()?;
    drop_nil(&mut config.cache);
    Ok(config)
}

/// Returns whether the config crate would take this key for the path of one item of a list. It
/// would then make room for all items before that one.
fn names_an_item(key: &str) -> bool {
    key.contains('[')
}

fn drop_nil(value: &mut Value) {
    match &mut value.kind {
        ValueKind::Table(table) => {
            table.retain(|_, value| !matches!(value.kind, ValueKind::Nil));
            table.values_mut().for_each(drop_nil);
        }
        ValueKind::Array(values) => values.iter_mut().for_each(drop_nil),
        _ => {}
    }
}

/// Returns the layer of the variables. Their values stay text: a key that holds a number parses it,
/// while an account or an external id that looks like a number keeps its leading zeros.
fn variables(environment: &HashMap<String, String>) -> Result<Environment, ConfigError> {
    let mut ours = BTreeMap::new();
    for name in environment.keys() {
        let Some(key) = key_of(name) else { continue };
        if let Some(list) = FILE_ONLY.into_iter().find(|list| is_within(&key, list)) {
            let problem =
                format!("is set by {name}; write it in a file, because variables cannot set it");
            return Err(ConfigError::Key { key: list.to_owned(), problem });
        }
        if names_an_item(&key) {
            let problem = format!("is unknown, and set by {name}");
            return Err(ConfigError::Key { key, problem });
        }
        if let Some(other) = ours.insert(key.clone(), name) {
            let (first, second) = (name.min(other), name.max(other));
            let problem = format!("is set by {first} and by {second}; set one of them");
            return Err(ConfigError::Key { key, problem });
        }
    }
    // If a section also had a value, the order of a hash map would decide which of them wins.
    for key in ours.keys() {
        if ours.keys().any(|other| other != key && is_within(other, key)) {
            let problem = "is a section and cannot have a value; set its keys".to_owned();
            return Err(ConfigError::Key { key: key.clone(), problem });
        }
    }
    let values = ours.into_iter().filter_map(|(key, name)| Some((key, environment.get(name)?)));
    let values = values.map(|(key, value)| (key, value.clone())).collect();
    Ok(Environment::default().ignore_empty(true).source(Some(values)))
}

/// Returns the key that a variable of this name sets.
pub(super) fn key_of(variable: &str) -> Option<String> {
    Some(variable.strip_prefix(KEY_PREFIX)?.to_lowercase().replace("__", "."))
}

fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Returns the line that an error of the TOML parser is about.
fn line_of(error: &config::ConfigError) -> Option<usize> {
    let text = error.to_string();
    let (_, rest) = text.split_once(" at line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Finds the line of an error whose place the parser does not give, such as a letter in a number.
fn first_bad_line(text: &str) -> Option<usize> {
    let ends = text.match_indices('\n').map(|(at, _)| at + 1).chain([text.len()]);
    let is_bad = |end: usize| {
        let error = text.get(..end).and_then(|start| parse(start, FileFormat::Toml).err());
        error.is_some_and(|error| line_of(&error).is_none())
    };
    ends.enumerate().find(|(_, end)| is_bad(*end)).map(|(at, _)| at + 1)
}

pub(super) fn one_line(error: &impl ToString) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
