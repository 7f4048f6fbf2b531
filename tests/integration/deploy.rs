//! What is under deploy/, checked with the tools of its ecosystem: cfn-lint, checkov, botocore and
//! moto, which are installed from PyPI below `target/`; and held against what the worker does, asks
//! for and counts.

mod access;
mod agree;
mod alarms;
mod appconfig;
mod change;
mod checkov;
mod events;
mod frameworks;
mod guide;
mod organisation;
mod outputs;
mod pipeline;
mod role;
mod stacks;
mod staging;
mod steps;
mod sweep;
mod task;
mod tools;
