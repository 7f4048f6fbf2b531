//! The command `tagwarden list`: what is in quarantine, by the registry alone. It needs neither a
//! queue nor topics nor a configuration file, and changes nothing.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::bad_input::BadInput;
use super::plan::width;
use super::progress::{self, Acts, Progress};
use super::{BAD_INPUT, FAILED, Screen, failed, live_failed, print, selection, unused_file};
use crate::app::{self, quarantined};
use crate::config::{JudgingSettings, Sources};
use crate::domain::names::Region;
use crate::domain::text::escaped;
use crate::quarantined::{ListDocument, list_text};
use crate::sweep::{Advance, Selection};

const HELP: &str = "\
Exit codes:
  0  everything was read
  1  something could not be read, or the work was interrupted
  2  the command line or the configuration cannot be used

Examples:
  tagwarden list --region eu-west-1
  tagwarden list --repository 'team/*' --format csv > quarantine.csv
  tagwarden list --format json |
    jq '.images[] | select(.since > \"2026-11-30\")'";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The only Region to read; default: the Regions of the policy, else that of AWS_REGION or of
    /// the profile
    #[arg(long, value_name = "REGION", value_parser = |text: &str| Region::parse(text))]
    region: Option<Region>,
    /// Read only these repositories of the policy; may be given more than once
    #[arg(long, value_name = "GLOB")]
    repository: Vec<String>,
    /// List also images whose tags were all given back, such as those that are held
    #[arg(long)]
    all: bool,
    /// The form of what is printed
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For spreadsheets: one row an image.
    Csv,
}

pub(super) async fn main(arguments: Arguments, sources: &Sources, screen: &Screen) -> ExitCode {
    let (settings, selection) = match order(&arguments, sources) {
        Ok(order) => order,
        Err(problem) => return problem.report(screen),
    };
    let signals = match app::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(FAILED, error),
    };
    let progress = Progress::of("repositories", screen);
    progress::log(&progress, Acts::Hidden, screen);
    let sdk = app::aws_in_region(arguments.region.as_ref()).await;
    let step = |step: Advance| progress.step(&step);
    let listed = Box::pin(quarantined::list(settings, selection, &sdk, signals, &step)).await;
    progress.end();
    let quarantined::Listed { own, now, listing } = match listed {
        Ok(listed) => listed,
        Err(error) => return live_failed(&error),
    };
    if let Some(problem) = selection::mistyped(&listing.unmatched, &listing.covered) {
        if listing.repositories == 0 {
            return failed(BAD_INPUT, problem);
        }
        eprintln!("note: {}", escaped(&problem, &[]));
    }
    let document = ListDocument::new(own, now, arguments.repository.clone(), listing);
    let printed = match arguments.format {
        Form::Text => print(&list_text(&document, width())),
        Form::Json => print(&document.json()),
        Form::Csv => match document.csv() {
            Ok(csv) => print(&csv),
            Err(error) => failed(FAILED, error),
        },
    };
    let listing = document.listing();
    if listing.is_interrupted {
        return failed(FAILED, "interrupted");
    }
    match printed {
        ExitCode::SUCCESS if !listing.is_whole() => ExitCode::from(FAILED),
        printed => printed,
    }
}

/// Returns what the command line and the configuration ask for.
fn order(
    arguments: &Arguments,
    sources: &Sources,
) -> Result<(JudgingSettings, Selection), BadInput> {
    let settings = JudgingSettings::load(sources)?;
    unused_file(sources);
    let repositories = selection::globs(&arguments.repository)?;
    let region = selection::in_policy(arguments.region.as_ref(), &settings)?;
    Ok((settings, Selection { repositories, region, all: arguments.all }))
}
