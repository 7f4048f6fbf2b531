//! Configuration: turns the raw settings that people write into settings that have been checked.
//!
//! Settings come from three layers, and the later one wins: the defaults, one file, and environment
//! variables (`layers`, `variables`). `shape` compares the merged layers with the schema and gives
//! them the types of `file`, and `validate` checks the values. `schema` describes the file for
//! editors, and `effective` lists every key with its value and its source. `watched` compares a
//! changed file with the one in use.
//!
//! A key that is unknown, has the wrong type or contradicts another is a `mistake`. All mistakes
//! are gathered, `source_text` finds their places in the file, and `error` shows them together.
//! Nothing is silently ignored, because a key that somebody set and nobody reads would leave images
//! unprotected.

mod bounds;
mod content;
mod effective;
mod error;
mod file;
mod layer;
mod layers;
mod load;
mod mistake;
mod node;
mod schema;
mod schema_keys;
mod settings;
mod shape;
mod source_text;
mod sources;
mod suggest;
mod validate;
mod value;
mod variables;
mod watched;
mod yaml;

pub use self::content::{Content, ContentId};
pub use self::effective::{Entry, Origin, effective};
pub use self::error::{ConfigError, Places};
pub use self::load::{check_variables, listen_address, places};
pub use self::schema::schema;
pub use self::settings::{JudgingSettings, Settings};
pub use self::sources::{FILE_VARIABLE, Sources, TEXT_VARIABLE};
pub(crate) use self::suggest::{closest, did_you_mean};
pub use self::watched::{Change, WatchedFile};

#[cfg(test)]
mod tests;
