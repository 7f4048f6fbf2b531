//! What is under deploy/, checked with the tools of its ecosystem: cfn-lint, botocore and moto,
//! which are installed from PyPI below `target/`; and held against what the worker does, asks for
//! and counts.

mod agree;
mod alarms;
mod change;
mod events;
mod guide;
mod role;
mod stacks;
mod sweep;
mod task;
mod tools;
