//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::{error, warn};

use crate::config::{Settings, Sources};
use crate::{app, http, telemetry};

/// Exit code of a worker that could not begin or did not end in order.
const FAILED: u8 = 1;
/// Exit code of a configuration that cannot be used; clap uses the same for a wrong command line.
const BAD_CONFIGURATION: u8 = 2;

/// Takes the tags off container images in Amazon ECR that have Critical or High findings.
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
    /// Ask a running worker on this machine whether it is alive (the container's health check)
    Healthcheck,
}

/// Does what the command line says.
pub async fn main(arguments: Arguments) -> ExitCode {
    let sources = Sources::from_process(arguments.config);
    let settings = match Settings::load(&sources) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("tagwarden: {error}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    match arguments.command {
        Command::Run => run(settings, &sources).await,
        Command::Healthcheck => match http::healthcheck(settings.listen).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("tagwarden: {problem}");
                ExitCode::from(FAILED)
            }
        },
    }
}

async fn run(settings: Settings, sources: &Sources) -> ExitCode {
    if let Err(error) = telemetry::logs::install(settings.log_format) {
        eprintln!("tagwarden: cannot set up logs: {error}");
        return ExitCode::from(FAILED);
    }
    telemetry::logs::log_panics();
    for name in sources.unread_variables() {
        warn!(name, "environment variable is not read; keys are set by TAGWARDEN__SECTION__KEY");
    }
    match app::run(settings, &app::aws_from_environment().await).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!(%error, "cannot go on");
            // For the person at a terminal, and for the reason that ECS shows of a task that stopped.
            eprintln!("tagwarden: {error}");
            match error {
                app::RunError::NoRegion => ExitCode::from(BAD_CONFIGURATION),
                _ => ExitCode::from(FAILED),
            }
        }
    }
}
