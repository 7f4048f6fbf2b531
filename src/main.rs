//! The `tagwarden` program: passes the arguments to the library and returns its exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tagwarden::cli::{self, Arguments};

// One thread is enough, because a task has a fraction of a core and waits for the network most of
// the time. A second thread would cost more than it gains; more tasks share more work.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    cli::main(Arguments::parse()).await
}
