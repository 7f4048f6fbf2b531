//! Reads every source, and checks the settings.

use std::net::SocketAddr;

use super::error::Places;
use super::layers::Layers;
use super::mistake::{Gather, Mistake};
use super::schema::schema;
use super::validate::{Purpose, check, listen};
use super::{ConfigError, JudgingSettings, Settings, Sources, shape, variables};

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
        let checked = load(sources, Purpose::Working)?;
        let JudgingSettings { notify, policy, limits, sweep, untag_by, aws, .. } = checked;
        let JudgingSettings { queue, records, restore, listen, grace, log_format, .. } = checked;
        // The check has found a queue.
        let queue = queue.ok_or_else(|| {
            ConfigError::new(Mistake::general("there is no queue").into(), Places::default())
        })?;
        Ok(Self {
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
    let layers = Layers::read(sources)?;
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
    all.add(sources.one_kind_of_endpoint());
    all.finish(|| checked)
        .map_err(|mistakes| ConfigError::new(mistakes, Places::new(layers.text, layers.variables)))
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
