//! The commands beside `run`, by the real binary, as a new user and somebody at three in the
//! morning would try them.

mod apply;
mod check;
mod explain;
mod filled;
mod first_sight;
pub(crate) mod held;
mod history;
mod iam;
mod image;
mod init;
mod input;
mod list;
mod live;
mod nothing_by_mistake;
mod operator;
mod permissions;
mod plan;
mod quarantine;
mod readme;
mod restore;
mod schema;
pub(crate) mod support;
mod terminal;
mod wrong_policy;
