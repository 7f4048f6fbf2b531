//! The load test: a simulated AWS in one process, a contender in another, each on a core of its own.
//!
//! `cargo bench --bench load` measures; docs/performance.md says what. Without `--bench`, as `cargo test` runs it,
//! everything is done once and small, and nothing is said of time.
#![expect(clippy::expect_used, reason = "a measurement that cannot go on has failed")]

mod aws;
mod bare;
mod conductor;
mod contender;
mod core;
mod export;
mod mix;
mod process;
mod report;

use std::path::PathBuf;

use clap::Parser;

/// The command line. What else test runners pass is let through.
#[derive(Debug, Parser)]
struct Arguments {
    /// What this process is to be; the conductor starts the others.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// Measure; cargo bench says so.
    #[arg(long, hide = true)]
    bench: bool,
    /// Writes the results here as JSON, which benches/plot draws
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measures the boto3 worker too; its packages are here (benches/contenders/README.md)
    #[arg(long, value_name = "DIR")]
    boto3: Option<PathBuf>,
    /// Measures the Node worker too; it and its packages are here (benches/contenders/README.md)
    #[arg(long, value_name = "DIR")]
    node: Option<PathBuf>,
    /// Takes every flood so many times, in turns, and reports the quietest of each
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: usize,
    /// Only what has one of these in its name
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    only: Vec<String>,
}

fn main() {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        match arguments.role.as_deref() {
            Some("aws") => aws::main().await,
            Some(loops) => bare::main(loops.parse().expect("a number of loops")).await,
            None => conductor::main(&arguments).await,
        }
    });
}
