//! One layer of settings: the defaults, or what one source gives.

use config::{Config, File, FileFormat, Source as _, Value, ValueKind};
use serde_json::{Map, Number, Value as Json};

use super::mistake::Mistake;
use super::variables::names_an_item;

/// The defaults. A key that is absent here is required, or has no value by default.
pub(super) const DEFAULTS: &str = r#"
watch = false
[queue]
max_in_flight = 32
visibility_timeout = "60s"
[notify]
format = "text"
[policy]
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
records = "required"
[restore]
max_hold = "7d"
[http]
listen = "0.0.0.0:8080"
[shutdown]
grace = "25s"
[telemetry]
log_format = "json"
"#;

/// The settings of one source, or of several merged ones.
#[derive(Clone)]
pub(super) struct Layer(pub(super) Value);

impl Layer {
    /// Returns the settings as JSON. A number that JSON does not have becomes text.
    pub(super) fn to_json(&self) -> Json {
        to_json(&self.0.kind)
    }
}

fn to_json(kind: &ValueKind) -> Json {
    match kind {
        ValueKind::Nil => Json::Null,
        ValueKind::Boolean(value) => Json::Bool(*value),
        ValueKind::I64(number) => Json::from(*number),
        ValueKind::U64(number) => Json::from(*number),
        ValueKind::I128(number) => Json::String(number.to_string()),
        ValueKind::U128(number) => Json::String(number.to_string()),
        ValueKind::Float(number) => {
            Number::from_f64(*number).map_or_else(|| number.to_string().into(), Json::Number)
        }
        ValueKind::String(text) => Json::String(text.clone()),
        ValueKind::Table(table) => {
            let values = table.iter().map(|(key, value)| (key.clone(), to_json(&value.kind)));
            Json::Object(values.collect::<Map<_, _>>())
        }
        ValueKind::Array(items) => items.iter().map(|item| to_json(&item.kind)).collect(),
    }
}

/// Returns the defaults as a layer.
pub(super) fn defaults() -> Result<Layer, Mistake> {
    parse(DEFAULTS, FileFormat::Toml).map(|config| Layer(config.cache))
}

/// Parses a file. A key or section without a value counts as not given, such as a section in YAML
/// with everything below it commented out.
pub(super) fn parse(text: &str, format: FileFormat) -> Result<Config, Mistake> {
    let unreadable = |error: config::ConfigError| {
        // The config crate quotes the text, which may hold a secret.
        let text = error.to_string();
        let is_quoted = |line: &&str| {
            line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
        };
        let lines: Vec<_> = text.lines().filter(|line| !is_quoted(line)).collect();
        Mistake::general(one_line(&lines.join(" ")))
    };
    let file = File::from_str(text, format);
    if let Some(key) = file.collect().map_err(unreadable)?.keys().find(|key| names_an_item(key)) {
        return Err(Mistake::general(format!("key {key} is unknown")));
    }
    let mut config = Config::builder().add_source(file).build().map_err(unreadable)?;
    drop_nil(&mut config.cache);
    Ok(config)
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

pub(super) fn one_line(error: &impl ToString) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
