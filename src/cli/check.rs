//! The command `tagwarden check`.

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Args;

use super::{BAD_INPUT, FAILED, Format, failed, live_failed, print};
use crate::app::{self, live};
use crate::check::{Report, iam};
use crate::clock::Clock;
use crate::config::{self, Settings, Sources};

const HELP: &str = "\
Exit codes:
  0  the configuration can be used
  1  a permission is missing or could not be tried (--live)
  2  the configuration cannot be used

Examples:
  tagwarden --config policy.toml check
  tagwarden check --live
  tagwarden check --format json | jq '.policies[0].policy' > policy.json";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Try the permissions with AWS, by calls that change nothing, and list the missing ones (exit
    /// code 1)
    #[arg(long)]
    live: bool,
    /// The form of the report
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn main(arguments: &Arguments, sources: &Sources) -> ExitCode {
    let loaded = Settings::load(sources).and_then(|settings| {
        let entries = config::effective(sources)?;
        Ok((settings, entries))
    });
    let (settings, entries) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return failed(BAD_INPUT, error),
    };
    let mut place = iam::Place {
        own: settings.queue.registry_id(sources.region().as_ref()),
        queue: settings.queue.name(),
        ..iam::Place::default()
    };
    let mut tried = Vec::new();
    if arguments.live {
        let sdk = app::aws_from_environment().await;
        let trial = match live::try_permissions(&settings, &sdk).await {
            Ok(trial) => trial,
            Err(error) => return live_failed(&error),
        };
        (place, tried) = (trial.place, trial.tried);
    }
    let mut report = Report::new(&settings, entries, &place, Clock::of_this_machine().now());
    let unread: BTreeSet<_> = sources.unread_variables().collect();
    for name in unread {
        report.warn(format!(
            "the environment variable {name} is not read: the variable of a key is \
             TAGWARDEN__SECTION__KEY, with two underscores"
        ));
    }
    report.tried(tried);
    let printed = match arguments.format {
        Format::Text => print(&report.to_string()),
        Format::Json => print(&report.json()),
    };
    if printed == ExitCode::SUCCESS && !report.is_permitted() {
        return ExitCode::from(FAILED);
    }
    printed
}
