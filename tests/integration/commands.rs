//! The commands beside `run`, by the real binary, as a new user and somebody at three in the
//! morning would try them.

mod check;
mod explain;
mod iam;
mod input;
mod live;
mod permissions;
mod schema;
pub(crate) mod support;
mod sweep;
