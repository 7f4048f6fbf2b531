//! Reads every source, and checks the settings.

use std::net::SocketAddr;

use super::content::check_end;
use super::error::Places;
use super::layers::Layers;
use super::mistake::{Gather, Mistake};
use super::schema::schema;
use super::source_text::SourceText;
use super::sources::WATCH;
use super::validate::{Purpose, check, listen};
use super::{ConfigError, FILE_VARIABLE, JudgingSettings, Settings, Sources, shape, variables};

impl JudgingSettings {
    /// Reads every source, and checks every key. The queue, the topics and the mode may be missing.
    ///
    /// # Errors
    /// Returns every mistake.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load(sources, Purpose::Reading)
    }

    /// Reads every source, and checks every key for a command that acts on images. The queue may be
    /// missing; a topic and a mode are needed.
    ///
    /// # Errors
    /// Returns every mistake.
    pub fn load_to_act(sources: &Sources) -> Result<Self, ConfigError> {
        load(sources, Purpose::Acting)
    }
}

impl Settings {
    /// Reads every source, and checks every key for a worker.
    ///
    /// # Errors
    /// Returns every mistake.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        load(sources, Purpose::Working)?.try_into()
    }
}

impl TryFrom<JudgingSettings> for Settings {
    type Error = ConfigError;

    /// Returns the settings of a worker.
    fn try_from(checked: JudgingSettings) -> Result<Self, ConfigError> {
        let JudgingSettings { watch, notify, policy, limits, sweep, untag_by, aws, .. } = checked;
        let JudgingSettings { queue, records, restore, listen, grace, log_format, .. } = checked;
        // The check has found a queue.
        let queue = queue.ok_or_else(|| {
            ConfigError::new(Mistake::general("there is no queue").into(), Places::default())
        })?;
        Ok(Self {
            watch,
            queue,
            notify,
            policy,
            limits,
            sweep,
            untag_by,
            records,
            restore,
            aws,
            listen,
            grace,
            log_format,
        })
    }
}

fn load(sources: &Sources, purpose: Purpose) -> Result<JudgingSettings, ConfigError> {
    check_layers(Layers::read(sources)?, sources, purpose)
}

/// Checks every key of these layers.
///
/// # Errors
/// Returns every mistake.
pub(super) fn check_layers(
    layers: Layers,
    sources: &Sources,
    purpose: Purpose,
) -> Result<JudgingSettings, ConfigError> {
    let mut all = Gather::default();
    all.add_all(layers.mistakes);
    // Only a file can give a key a wrong shape, and a variable must not hide that.
    let misshapen = layers.file.map_or_else(Vec::new, |file| shape::of(file.to_json()).mistakes);
    all.add_all(misshapen);
    let mut raw = shape::of(layers.merged.to_json()).raw;
    if layers.variables.forgets_mode() {
        raw.policy.forget_mode();
    }
    let checked = all.add(check(raw, purpose, sources.region().as_ref()));
    if checked.as_ref().is_some_and(|checked| checked.watch) {
        all.add(can_be_watched(sources, layers.text.as_deref()));
    }
    all.add(sources.one_kind_of_endpoint());
    all.finish(|| checked)
        .map_err(|mistakes| ConfigError::new(mistakes, Places::new(layers.text, layers.variables)))
}

/// Checks that there is a file to watch, and that its end is there.
fn can_be_watched(sources: &Sources, text: Option<&SourceText>) -> Result<(), Mistake> {
    match (sources.path(), text) {
        // Half a JSON document is none, and JSON has no comments.
        (Some(path), Some(_)) if path.extension().is_some_and(|it| it == "json") => Ok(()),
        (Some(_), Some(text)) => check_end(&text.text),
        _ => Err(Mistake::value(WATCH, "is true, and there is no configuration file to watch")
            .help(format!("name a file by --config or {FILE_VARIABLE}"))),
    }
}

/// Reads the places of all keys.
///
/// # Errors
/// Returns an error if a source cannot be read.
pub fn places(sources: &Sources) -> Result<Places, ConfigError> {
    let Layers { text, variables, .. } = Layers::read(sources)?;
    Ok(Places::new(text, variables))
}

/// Reads the address of health and metrics. A mistake in another key does not matter.
///
/// # Errors
/// Returns every mistake in the sources and in the address.
pub fn listen_address(sources: &Sources) -> Result<SocketAddr, ConfigError> {
    let layers = Layers::read(sources)?;
    let shaped = shape::of(layers.merged.to_json());
    let mut all = Gather::default();
    all.add_all(layers.mistakes);
    let address = all.add(listen(shaped.raw.http.listen));
    all.finish(|| address)
        .map_err(|mistakes| ConfigError::new(mistakes, Places::new(layers.text, layers.variables)))
}

/// Checks the names of the environment variables, for commands that read no other setting.
///
/// # Errors
/// Returns every variable that looks like ours and is read by nothing.
pub fn check_variables(sources: &Sources) -> Result<(), ConfigError> {
    variables::check(&sources.environment, &schema())
        .map_err(|mistakes| ConfigError::new(mistakes, Places::default()))
}
