//! Reads every source, and checks the settings.

use super::validate::{check, check_judging};
use super::{ConfigError, JudgingSettings, Settings, Sources, shape};

impl JudgingSettings {
    /// Reads every source, and checks the keys that judging needs.
    ///
    /// # Errors
    /// Returns the first mistake, which names its key.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let region = sources.region();
        shape::read(sources)
            .and_then(|raw| check_judging(raw, region.as_ref()))
            .map_err(ConfigError::in_one_line)
    }
}

impl Settings {
    /// Reads every source, and checks every key.
    ///
    /// # Errors
    /// Returns the first mistake, which names its key.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        shape::read(sources)
            .and_then(check)
            .and_then(|settings| sources.one_kind_of_endpoint().map(|()| settings))
            .map_err(ConfigError::in_one_line)
    }
}
