//! The files under deploy/, checked with the tools of their ecosystem (cfn-lint, botocore and moto,
//! installed from PyPI below `target/`), and compared with what the worker does, asks for and
//! counts.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

#[path = "deploy/alarms.rs"]
mod alarms;
#[path = "deploy/events.rs"]
mod events;
#[path = "deploy/guide.rs"]
mod guide;
#[expect(dead_code, reason = "other test crates use the rest")]
mod process;
#[path = "process/python.rs"]
mod python;
#[path = "deploy/role.rs"]
mod role;
#[path = "deploy/stacks.rs"]
mod stacks;
#[path = "deploy/sweep.rs"]
mod sweep;
#[path = "deploy/task.rs"]
mod task;
#[path = "deploy/tools.rs"]
mod tools;
