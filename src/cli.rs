//! The command line: parses the arguments, loads the configuration, and maps every result to an
//! exit code. Everything that is printed is escaped, because names and errors may contain
//! characters that control a terminal.

mod check;
mod explain;
mod sweep;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing::{error, warn};

use crate::config::{self, Settings, Sources};
use crate::domain::text::escaped;
use crate::telemetry::export::Export;
use crate::{app, http, telemetry};

/// The exit code of a worker that could not begin or did not end in order, and of a command that
/// failed.
const FAILED: u8 = 1;
/// The exit code for bad input: a configuration or an event that cannot be used. Clap uses the same
/// code for a wrong command line.
const BAD_INPUT: u8 = 2;
/// The exit code of `explain` and `sweep` if tags would be removed.
const WOULD_UNTAG: u8 = 3;

/// Removes tags from container images in Amazon ECR that have Critical or High findings.
#[derive(Debug, Parser)]
#[command(version, about)]
pub struct Arguments {
    /// Configuration file (TOML, YAML or JSON); see also TAGWARDEN_CONFIG and TAGWARDEN_CONFIG_TEXT
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work until SIGTERM or SIGINT
    Run,
    /// Print the effective configuration, warnings about it, and the IAM policy that it needs
    Check(check::Arguments),
    /// Judge one event and explain why, without changing anything
    Explain(explain::Arguments),
    /// Inspect every image that the policy covers, and list the tags to remove; with --apply,
    /// remove them
    Sweep(sweep::Arguments),
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Ask a running worker on this machine whether it is alive (the container's health check)
    Healthcheck,
}

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Runs the command that the arguments name.
pub async fn main(arguments: Arguments) -> ExitCode {
    let sources = Sources::from_process(arguments.config);
    match arguments.command {
        Command::Run => match Settings::load(&sources) {
            Ok(settings) => run(settings, &sources).await,
            Err(error) => failed(BAD_INPUT, error),
        },
        Command::Check(arguments) => check::main(&arguments, &sources).await,
        Command::Explain(arguments) => explain::main(arguments, &sources).await,
        Command::Sweep(arguments) => Box::pin(sweep::main(arguments, &sources)).await,
        Command::Schema => print(&format!("{:#}", config::schema())),
        Command::Healthcheck => match Settings::load(&sources) {
            Ok(settings) => match http::healthcheck(settings.listen).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(problem) => failed(FAILED, problem),
            },
            Err(error) => failed(BAD_INPUT, error),
        },
    }
}

fn failed(code: u8, why: impl std::fmt::Display) -> ExitCode {
    eprintln!("tagwarden: {}", escaped(&why.to_string(), &[]));
    ExitCode::from(code)
}

/// Reports that AWS could not be inspected. A missing Region is the caller's mistake, as for `run`.
fn live_failed(error: &app::live::LiveError) -> ExitCode {
    let code = match error {
        app::live::LiveError::Run(app::RunError::NoRegion) => BAD_INPUT,
        _ => FAILED,
    };
    failed(code, error)
}

/// Prints to standard output. A reader that has gone away, such as `head`, is not a failure.
fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{}", escaped(text.trim_end(), &['\n'])) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => failed(FAILED, error),
        _ => ExitCode::SUCCESS,
    }
}

async fn run(settings: Settings, sources: &Sources) -> ExitCode {
    let signals = match app::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(FAILED, error),
    };
    let export = match tokio::task::spawn_blocking(Export::from_environment).await {
        Ok(Ok(export)) => export,
        Ok(Err(error)) => return failed(BAD_INPUT, error),
        Err(error) => return failed(FAILED, error),
    };
    let _last_lines = match telemetry::logs::install(settings.log_format, export.tracer()) {
        Ok(last_lines) => last_lines,
        Err(error) => return failed(FAILED, format_args!("cannot set up logs: {error}")),
    };
    telemetry::logs::log_panics();
    for name in sources.unread_variables() {
        warn!(
            name,
            "environment variable is not read; the variable of a key is TAGWARDEN__SECTION__KEY"
        );
    }
    let sdk = app::aws_from_environment().await;
    // The future is boxed because the futures below are deep, and grow with every layer of the SDK.
    match Box::pin(app::run(settings, signals, &sdk, export)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "cannot go on");
            // This is for the person at a terminal, and for the reason that ECS shows for a stopped
            // task.
            let code = match error {
                app::RunError::NoRegion => BAD_INPUT,
                _ => FAILED,
            };
            failed(code, error)
        }
    }
}
