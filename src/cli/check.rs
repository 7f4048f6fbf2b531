//! `tagwarden check`.

use std::process::ExitCode;

use clap::Args;

use super::{BAD_INPUT, FAILED, Format, failed, print};
use crate::app::{self, live};
use crate::check::{Report, iam};
use crate::clock::Clock;
use crate::config::{self, Settings, Sources};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Try the permissions at AWS, by calls that change nothing, and say which are missing (exit code 1)
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
        own: settings.queue.home(),
        queue: settings.queue.name(),
        ..iam::Place::default()
    };
    let mut tried = Vec::new();
    if arguments.live {
        let trial = match live::try_permissions(&settings, &app::aws_from_environment().await).await
        {
            Ok(trial) => trial,
            Err(error) => return failed(FAILED, error),
        };
        place.own = trial.own.or(place.own);
        (place.queue_key, place.topic_key) = (trial.queue_key, trial.topic_key);
        tried = trial.tried;
    }
    let mut report = Report::new(&settings, entries, &place, Clock::of_this_machine().now());
    for name in sources.unread_variables() {
        report.warn(format!(
            "environment variable {name} is not read; keys are set by TAGWARDEN__SECTION__KEY"
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
