//! Why a command does not begin: what it was given cannot be used.

use std::process::ExitCode;

use super::{BAD_INPUT, Screen, failed, misconfigured};
use crate::config::ConfigError;

/// Why a command does not begin.
#[derive(Debug)]
pub(super) enum BadInput {
    /// The configuration has mistakes.
    Configuration(Box<ConfigError>),
    /// Something else cannot be used.
    Other(String),
}

impl BadInput {
    /// Reports it, and returns the exit code.
    pub(super) fn report(self, screen: &Screen) -> ExitCode {
        match self {
            Self::Configuration(error) => misconfigured(&error, screen),
            Self::Other(problem) => failed(BAD_INPUT, problem),
        }
    }
}

impl From<ConfigError> for BadInput {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(Box::new(error))
    }
}

impl From<String> for BadInput {
    fn from(problem: String) -> Self {
        Self::Other(problem)
    }
}
