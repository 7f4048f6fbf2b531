//! The command `tagwarden sweep`. It checks the command line, the plan and the configuration, and
//! opens the plan's file, before it makes the first call.

mod progress;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use self::progress::Progress;
use super::{
    BAD_INPUT, FAILED, Format, Screen, WOULD_UNTAG, failed, live_failed, misconfigured, print,
};
use crate::app::{self, sweep};
use crate::config::{JudgingSettings, Settings, Sources};
use crate::domain::globs::Globs;
use crate::domain::policy::{Mode, Policy};
use crate::domain::text::escaped;
use crate::sweep::{Document, Scope};

const HELP: &str = "\
Exit codes:
  0  there are no tags to remove, or all are removed (--apply)
  1  something could not be inspected, or was not done (--apply)
  2  the command line, the plan or the configuration cannot be used
  3  tags would be removed

Examples:
  tagwarden --config policy.toml sweep
  tagwarden sweep --repository 'team/*' --plan plan.json
  tagwarden sweep --apply plan.json";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Inspect only these repositories of the policy; may be given more than once
    #[arg(long, value_name = "GLOB")]
    repository: Vec<String>,
    /// List all images, including the clean ones
    #[arg(long)]
    all: bool,
    /// Write the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// Remove the tags at once or, with a FILE, carry out this plan, and refuse images that have
    /// changed since
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    #[expect(clippy::option_option, reason = "not given, given without a file, and with one")]
    apply: Option<Option<PathBuf>>,
    /// The form of what is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn main(arguments: Arguments, sources: &Sources, screen: &Screen) -> ExitCode {
    if let Err(error) = JudgingSettings::load(sources) {
        return misconfigured(&error, screen);
    }
    let order = match order(&arguments, sources) {
        Ok(order) => order,
        Err(problem) => return failed(BAD_INPUT, problem),
    };
    let acts = order.acting.is_some();
    let signals = match app::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(FAILED, error),
    };
    let progress = Progress::new();
    progress::log(&progress);
    let sdk = app::aws_from_environment().await;
    let swept =
        Box::pin(sweep::sweep(order, &sdk, signals, &mut |step| progress.step(&step))).await;
    progress.end();
    let document = match swept {
        Ok(document) => document,
        Err(error) => return live_failed(&error),
    };
    let json = document.json();
    if let Some(file) = &arguments.plan
        && let Err(error) = std::fs::write(file, format!("{}\n", escaped(&json, &['\n'])))
    {
        return failed(FAILED, unwritable(file, &error));
    }
    let printed = match arguments.format {
        Format::Text => print(&document.to_string()),
        Format::Json => print(&json),
    };
    match printed {
        ExitCode::SUCCESS if !document.is_whole() => ExitCode::from(FAILED),
        ExitCode::SUCCESS if !acts && document.to_go() > 0 => ExitCode::from(WOULD_UNTAG),
        printed => printed,
    }
}

/// Returns the order that the command line, the plan and the configuration give together.
fn order(arguments: &Arguments, sources: &Sources) -> Result<sweep::Order, String> {
    let judging = JudgingSettings::load(sources).map_err(|error| error.to_string())?;
    let own = judging.own.clone().ok_or(
        "queue.url: is missing or names no account; it says in which account and \
         Region tagwarden runs",
    )?;
    let acting = match &arguments.apply {
        Some(_) => Some(Settings::load(sources).map_err(|error| error.to_string())?),
        None => None,
    };
    if acting.is_some() && is_audit(&judging.policy) {
        let problem = "policy.mode: is \"audit\", which changes nothing";
        return Err(format!("{problem}; --apply needs policy.mode = \"enforce\""));
    }
    let repositories = Globs::new(arguments.repository.iter().cloned())
        .map_err(|error| format!("--repository: {error}"))?;
    let plan = match &arguments.apply {
        Some(Some(_)) if !repositories.is_empty() || arguments.all => {
            return Err(
                "--apply FILE carries out a plan as it is, without --repository or --all".into()
            );
        }
        Some(Some(file)) => {
            let plan = read(file)?;
            if !plan.is_of(&own) {
                let problem = "was made for another account or Region than queue.url names";
                return Err(format!("{} {problem}", file.display()));
            }
            Some(plan)
        }
        Some(None) | None => None,
    };
    if let Some(file) = &arguments.plan {
        // The file is opened before the work, so that a wrong path does not lose an hour's result.
        let opened = OpenOptions::new().append(true).create(true).open(file);
        opened.map_err(|error| unwritable(file, &error))?;
    }
    let (all, acts) = (arguments.all, acting.is_some());
    let scope = Scope { plan, repositories, all, acts };
    Ok(sweep::Order { judging, own, acting, scope })
}

/// Returns whether neither the base policy nor any rule enforces.
fn is_audit(policy: &Policy) -> bool {
    let rules = policy.rules.as_slice().iter().map(|rule| &rule.terms);
    rules.chain([&policy.base]).all(|terms| terms.mode == Mode::Audit)
}

fn read(file: &Path) -> Result<Document, String> {
    let name = file.display();
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("{name} cannot be read: {error}"))?;
    Document::read(&text).map_err(|problem| format!("{name} is no plan: {problem}"))
}

fn unwritable(file: &Path, error: &std::io::Error) -> String {
    format!("{} cannot be written: {error}", file.display())
}
