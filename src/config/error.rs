//! Why the configuration cannot be used.

use std::path::PathBuf;

use crate::domain::text::{is_unseen, start};

/// A reason why the configuration cannot be used. Each message is one line.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A key has a value that cannot be used, or is missing.
    #[error("configuration key {key}: {problem}")]
    Key {
        /// The key, with dots between levels.
        key: String,
        /// The mistake, and what would be right.
        problem: String,
    },
    /// The configuration file cannot be read.
    #[error("configuration file {}: {problem}", path.display())]
    File {
        /// The file's path.
        path: PathBuf,
        /// The mistake.
        problem: String,
    },
    /// More than one configuration file was given.
    #[error("{first} and {second} are both set; give one configuration file only")]
    TwoFiles {
        /// One source of the file.
        first: &'static str,
        /// The other source.
        second: &'static str,
    },
    /// The configuration text cannot be read.
    #[error("configuration: {0}")]
    Text(String),
}

impl ConfigError {
    /// Returns the same error as one readable line, whatever the keys and values contain.
    pub(super) fn in_one_line(self) -> Self {
        let line = |text: &str| start(&text.replace(is_unseen, " "), 1000);
        match self {
            Self::Key { key, problem } => {
                // TOML writes a key without a name as two quotes.
                let key = if key.is_empty() { r#""""#.to_owned() } else { start(&line(&key), 200) };
                Self::Key { key, problem: line(&problem) }
            }
            Self::File { path, problem } => Self::File { path, problem: line(&problem) },
            Self::Text(problem) => Self::Text(line(&problem)),
            two @ Self::TwoFiles { .. } => two,
        }
    }
}
