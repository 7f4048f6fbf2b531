//! The command line: parses the arguments, loads the configuration, and maps every result to an
//! exit code. Everything that is printed is escaped, because names and errors may contain
//! characters that control a terminal.

mod agreed;
mod apply;
mod audit_log;
mod bad_input;
mod check;
mod explain;
mod init;
mod list;
mod out_file;
mod paint;
mod plan;
mod progress;
mod restore;
mod screen;
mod selection;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tracing::{error, warn};

use self::screen::Screen;
use crate::check::widening::{Widening, widening};
use crate::config::{self, ConfigError, Settings, Sources, WatchedFile};
use crate::domain::text::escaped;
use crate::telemetry::export::Export;
use crate::{app, http, telemetry};

/// The exit code of a worker that could not begin or did not end in order, and of a command that
/// failed.
const FAILED: u8 = 1;
/// The exit code for bad input: a configuration or an event that cannot be used. Clap uses the same
/// code for a wrong command line.
const BAD_INPUT: u8 = 2;
/// The log filter of `run` if RUST_LOG is not set. The events of the OpenTelemetry libraries are
/// off, because [`crate::telemetry::export`] logs once what they log for every batch.
const LOG_FILTER: &str = "info,opentelemetry=off";
/// The exit code of `explain` and `plan` if tags would be removed.
const WOULD_UNTAG: u8 = 3;

/// Removes tags from container images in Amazon ECR that have Critical or High findings.
#[derive(Debug, Parser)]
#[command(version = env!("TAGWARDEN_BUILD"), about)]
pub struct Arguments {
    /// Configuration file (TOML, YAML or JSON); see also TAGWARDEN_CONFIG and TAGWARDEN_CONFIG_TEXT
    #[arg(long, value_name = "PATH", global = true)]
    config: Option<PathBuf>,
    #[command(flatten)]
    screen: Screen,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work until SIGTERM or SIGINT
    Run {
        /// Use a changed configuration file without a restart, like the key `watch`
        #[arg(long)]
        watch: bool,
    },
    /// Check a configuration: every mistake with its line, warnings, and the IAM policy it needs
    Check(check::Arguments),
    /// Judge an image or an event and explain why, without changing anything
    Explain(explain::Arguments),
    /// Inspect every image that the policy covers and list the tags to remove, without changing
    /// anything
    Plan(plan::Arguments),
    /// Carry out a saved plan
    Apply(apply::Arguments),
    /// List what is in quarantine: former tags, since when and why, without changing anything
    List(list::Arguments),
    /// Ask the worker to give back the tags that images have lost, and to hold an image
    Restore(restore::Arguments),
    /// Write a configuration file to begin with
    Init(init::Arguments),
    /// Print the JSON Schema of the configuration file, for editors
    Schema,
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Ask a running worker on this machine whether it is alive (the container's health check)
    Healthcheck,
}

/// The form of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Reads the command line. If it is wrong, or asks for help, the process ends. Help fits the
/// terminal, also one that does not say how wide it is.
#[must_use]
pub fn arguments() -> Arguments {
    let mut command = Arguments::command();
    if let Some(width) = plan::width() {
        command = command.term_width(width.into());
    }
    Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Runs the command that the arguments name.
pub async fn main(arguments: Arguments) -> ExitCode {
    let (mut sources, screen) = (Sources::from_process(arguments.config), arguments.screen);
    match arguments.command {
        Command::Run { watch } => {
            if watch {
                sources.watch();
            }
            match Settings::load_watched(&sources) {
                Ok((settings, file)) => run(settings, file, &sources, &screen).await,
                Err(error) => misconfigured(&error, &screen),
            }
        }
        Command::Check(arguments) => check::main(arguments, sources, &screen).await,
        Command::Explain(arguments) => explain::main(arguments, &sources, &screen).await,
        Command::Plan(arguments) => Box::pin(plan::main(arguments, &sources, &screen)).await,
        Command::Apply(arguments) => Box::pin(apply::main(arguments, &sources, &screen)).await,
        Command::List(arguments) => Box::pin(list::main(arguments, &sources, &screen)).await,
        Command::Restore(arguments) => Box::pin(restore::main(arguments, &sources, &screen)).await,
        Command::Schema => match config::check_variables(&sources) {
            Ok(()) => print(&format!("{:#}", config::schema())),
            Err(error) => misconfigured(&error, &screen),
        },
        Command::Init(arguments) => init::main(arguments, &sources, &screen),
        Command::Completions { shell } => match config::check_variables(&sources) {
            Ok(()) => completions(shell),
            Err(error) => misconfigured(&error, &screen),
        },
        Command::Healthcheck => match config::listen_address(&sources) {
            Ok(address) => match http::healthcheck(address).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(problem) => failed(FAILED, problem),
            },
            Err(error) => misconfigured(&error, &screen),
        },
    }
}

fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tagwarden", &mut script);
    match io::stdout().write_all(&script) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(FAILED, error),
        _ => ExitCode::SUCCESS,
    }
}

/// Says that a configuration file in this folder is not used, because nobody names it.
fn unused_file(sources: &Sources) {
    const USUAL: &str = "tagwarden.toml";
    if sources.file_name().is_none() && Path::new(USUAL).exists() {
        eprintln!("note: ./{USUAL} is not used; to use it, give --config {USUAL}");
    }
}

/// Returns a path as a shell reads it back.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:,=@+%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn failed(code: u8, why: impl std::fmt::Display) -> ExitCode {
    eprintln!("error: {}", escaped(&why.to_string(), &[]));
    ExitCode::from(code)
}

/// Reports every mistake in the configuration.
fn misconfigured(error: &ConfigError, screen: &Screen) -> ExitCode {
    eprintln!("{}", error.render(screen.colours_errors()));
    ExitCode::from(BAD_INPUT)
}

/// Reports that AWS could not be inspected. A missing Region is the caller's mistake, as for `run`.
fn live_failed(error: &app::live::LiveError) -> ExitCode {
    let code = match error {
        app::live::LiveError::Run(app::RunError::NoRegion) | app::live::LiveError::NotChosen(_) => {
            BAD_INPUT
        }
        _ => FAILED,
    };
    failed(code, error)
}

/// Prints a text to standard output. A reader that has gone away, such as `head`, is not a failure.
fn print(text: &str) -> ExitCode {
    print_coloured(&escaped(text, &['\n']))
}

/// Prints a text like [`print()`], with its verdicts in colour if standard output has colours.
fn print_verdicts(text: &str, screen: &Screen) -> ExitCode {
    let text = escaped(text, &['\n']);
    if screen.colours_output() {
        print_coloured(&paint::verdicts(&text))
    } else {
        print_coloured(&text)
    }
}

/// Prints a text of which every part from outside is escaped already.
fn print_coloured(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(FAILED, error),
        _ => ExitCode::SUCCESS,
    }
}

async fn run(
    settings: Settings,
    file: Option<WatchedFile>,
    sources: &Sources,
    screen: &Screen,
) -> ExitCode {
    let signals = match app::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(FAILED, error),
    };
    let export = match tokio::task::spawn_blocking(Export::from_environment).await {
        Ok(Ok(export)) => export,
        Ok(Err(error)) => return failed(BAD_INPUT, error),
        Err(error) => return failed(FAILED, error),
    };
    let _last_lines = match telemetry::logs::install(
        settings.log_format,
        screen.filter(LOG_FILTER),
        export.tracer(),
    ) {
        Ok(last_lines) => last_lines,
        Err(error) => return failed(FAILED, format_args!("cannot set up logs: {error}")),
    };
    telemetry::logs::log_panics();
    // The sources have been read just before.
    for Widening { key, message } in widening(&config::effective(sources).unwrap_or_default()) {
        warn!(key, why = message, "a variable widens what the configuration file says");
    }
    let sdk = app::aws_from_environment().await;
    // The future is boxed because the futures below are deep, and grow with every layer of the SDK.
    match Box::pin(app::run(settings, file, signals, &sdk, export)).await {
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
