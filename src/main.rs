//! The `tagwarden` program: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use tagwarden::cli::{self, Arguments};

// One thread: a task is given a fraction of a core, and more work is shared by more tasks.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::main(Arguments::parse()).await
}
