//! The commands beside `run`, with the real binary, as a new user or an operator in an emergency
//! would try them.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "commands/check.rs"]
mod check;
#[path = "commands/explain.rs"]
mod explain;
#[path = "commands/iam.rs"]
mod iam;
#[path = "commands/input.rs"]
mod input;
#[path = "commands/live.rs"]
mod live;
#[path = "commands/permissions.rs"]
mod permissions;
#[expect(dead_code, reason = "other test crates use the rest")]
mod process;
#[path = "commands/schema.rs"]
mod schema;
#[path = "commands/support.rs"]
mod support;
#[path = "commands/sweep.rs"]
mod sweep;
