//! The `tagwarden` program: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use tagwarden::cli::{self, Arguments};

#[tokio::main]
async fn main() -> ExitCode {
    cli::main(Arguments::parse()).await
}
