//! The command `tagwarden check`. It needs neither a queue nor topics, so that a policy can be
//! checked where it is written.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{
    BAD_INPUT, FAILED, Format, Screen, failed, live_failed, misconfigured, print, print_coloured,
    quoted, unused_file,
};
use crate::app::{self, live};
use crate::check::render::Details;
use crate::check::{Lifecycle, Report, iam};
use crate::clock::Clock;
use crate::config::{self, FILE_VARIABLE, JudgingSettings, Sources, TEXT_VARIABLE};
use crate::queue::QueueSettings;

/// The bytes of a file that tell a plan from a configuration.
const START: u64 = 200;

const HELP: &str = "\
Exit codes:
  0  the configuration can be used, with or without warnings
  1  a permission is missing or could not be tried (--live)
  2  the configuration cannot be used

Examples:
  tagwarden check policy.toml
  tagwarden check --live
  tagwarden check --format json | jq '.policies[0].policy' > policy.json";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The configuration file; default: as for every other command
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Try the permissions with AWS, by calls that change nothing, and list the missing ones (exit
    /// code 1)
    #[arg(long)]
    live: bool,
    /// List every key, including those that have their default
    #[arg(long)]
    all: bool,
    /// Print the IAM policy that the configuration needs
    #[arg(long)]
    iam: bool,
    /// The form of the report; json holds everything
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn main(arguments: Arguments, mut sources: Sources, screen: &Screen) -> ExitCode {
    if let Some(file) = arguments.file {
        if sources.file.is_some() {
            return failed(BAD_INPUT, "FILE and --config are both given; give one of them");
        }
        let is_set = |name: &&str| sources.environment.contains_key(*name);
        if let Some(name) = [FILE_VARIABLE, TEXT_VARIABLE].iter().find(|name| is_set(name)) {
            let file = file.display();
            return failed(
                BAD_INPUT,
                format_args!("{file} is given, and {name} is set; to check {file}: unset {name}"),
            );
        }
        if is_plan(&file) {
            let (file, name) = (file.display(), quoted(&file));
            return failed(
                BAD_INPUT,
                format_args!(
                    "{file} is a plan, no configuration; to carry it out: tagwarden apply {name}"
                ),
            );
        }
        sources.file = Some(file);
    }
    unused_file(&sources);
    let loaded = JudgingSettings::load(&sources).and_then(|settings| {
        Ok((settings, config::effective(&sources)?, config::places(&sources)?))
    });
    let (settings, entries, places) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return misconfigured(&error, screen),
    };
    let mut place = iam::Place {
        own: settings.own.clone(),
        queue: settings.queue.as_ref().and_then(QueueSettings::name),
        ..iam::Place::default()
    };
    let (mut tried, mut lifecycle) = (Vec::new(), Lifecycle::default());
    if arguments.live {
        let sdk = app::aws_from_environment().await;
        let trial = match live::try_permissions(&settings, &sdk).await {
            Ok(trial) => trial,
            Err(error) => return live_failed(&error),
        };
        (place, tried, lifecycle) = (trial.place, trial.tried, trial.lifecycle);
    }
    let now = Clock::of_this_machine().now();
    let mut report = Report::new(&settings, entries, &places, &place, now);
    report.tried(tried);
    report.lifecycle(&lifecycle);
    let details =
        Details { all_keys: arguments.all, iam: arguments.iam, coloured: screen.colours_output() };
    let printed = match arguments.format {
        Format::Text => print_coloured(&report.render(&places, details)),
        Format::Json => print(&report.json()),
    };
    if printed == ExitCode::SUCCESS && !report.is_permitted() {
        return ExitCode::from(FAILED);
    }
    printed
}

/// Returns whether a file begins like a saved plan, whose first member says which form it has.
fn is_plan(file: &Path) -> bool {
    let mut start = Vec::new();
    let opened = std::fs::File::open(file);
    let read = opened.and_then(|opened| opened.take(START).read_to_end(&mut start));
    let start = String::from_utf8_lossy(&start);
    read.is_ok()
        && start.trim_start().starts_with('{')
        && start.contains("\"schema\"")
        && start.contains("\"tagwarden.plan/")
}
