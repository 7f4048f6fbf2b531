//! Configuration: turns the raw settings that people write into settings that have been checked.
//!
//! Settings come from three layers, and the later one wins: the defaults, one file, and environment
//! variables (`layers`). `file` gives the merged layers their types, `shape` turns serde's errors
//! into errors that name a key, and `validate` checks the values. `schema` describes the
//! file for editors, and `effective` lists every key with its value and its source.
//!
//! A key that is unknown, has the wrong type or contradicts another is an error that names the key.
//! Nothing is silently ignored, because a key that somebody set and nobody reads would leave images
//! unprotected.

mod bounds;
mod effective;
mod error;
mod file;
mod layers;
mod load;
mod schema;
mod schema_keys;
mod settings;
mod shape;
mod sources;
mod validate;
mod value;
mod yaml;

pub use self::effective::{Entry, Origin, effective};
pub use self::error::ConfigError;
pub use self::schema::schema;
pub use self::settings::{JudgingSettings, Settings};
use self::sources::KEY_PREFIX;
pub use self::sources::{FILE_VARIABLE, Sources, TEXT_VARIABLE};

#[cfg(test)]
mod tests;
