//! The command `tagwarden plan`. It needs neither a queue nor topics nor a configuration file: the
//! account is that of the credentials, and the policy is the default one unless there is a file.
//!
//! It checks the command line and the configuration, and that the files can be written, before it
//! makes the first call.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::bad_input::BadInput;
use super::out_file::OutFile;
use super::progress::{self, Acts, Progress};
use super::{
    BAD_INPUT, FAILED, Screen, WOULD_UNTAG, failed, live_failed, print, print_verdicts, quoted,
    selection, unused_file,
};
use crate::app::{self, sweep};
use crate::config::{self, ConfigError, JudgingSettings, Origin, Sources};
use crate::domain::limits::Limits;
use crate::domain::names::Region;
use crate::domain::policy::{Fingerprint, Mode, Policy};
use crate::domain::text::escaped;
use crate::sweep::{DEFAULTS, Document, PolicyNote, Selection, plan_page};

/// The width of a terminal that does not say how wide it is.
const USUAL_WIDTH: u16 = 80;
/// The variables that are named in the source of the policy.
const NAMED: usize = 2;

const HELP: &str = "\
Exit codes:
  0  there are no tags to remove
  1  something could not be inspected, or the work was interrupted
  2  the command line or the configuration cannot be used
  3  tags would be removed

Examples:
  tagwarden plan --region eu-west-1
  tagwarden plan --config policy.toml --repository 'team/*' --out plan.json
  tagwarden plan --html plan.html
  tagwarden plan --format csv > images.csv";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The only Region to inspect; default: the Regions of the policy, else that of AWS_REGION or
    /// of the profile
    #[arg(long, value_name = "REGION", value_parser = |text: &str| Region::parse(text))]
    region: Option<Region>,
    /// Inspect only these repositories of the policy; may be given more than once
    #[arg(long, value_name = "GLOB")]
    repository: Vec<String>,
    /// List all images, also the clean ones and those that no scan covers
    #[arg(long)]
    all: bool,
    /// Save the plan as this file, for `tagwarden apply`
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a page about the plan to this file, for a browser or for paper
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// The form of what is printed
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
}

/// The form of what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// For programs: the same as the saved plan.
    Json,
    /// For spreadsheets: one row an image.
    Csv,
}

/// What the command line and the configuration ask for.
struct Order {
    judging: JudgingSettings,
    selection: Selection,
    note: PolicyNote,
    out: Option<OutFile>,
    html: Option<OutFile>,
}

pub(super) async fn main(arguments: Arguments, sources: &Sources, screen: &Screen) -> ExitCode {
    let Order { judging, selection, note, out, html } = match order(&arguments, sources) {
        Ok(order) => order,
        Err(problem) => return problem.report(screen),
    };
    let signals = match app::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(FAILED, error),
    };
    let progress = Progress::of("repositories", screen);
    progress::log(&progress, Acts::Hidden, screen);
    let queue = judging.own.clone();
    let sdk = app::aws_in_region(arguments.region.as_ref()).await;
    let step = |step: crate::sweep::Advance| progress.step(&step);
    let made = Box::pin(sweep::plan(judging, selection, note, &sdk, signals, &step)).await;
    progress.end();
    let document = match made {
        Ok(document) => document,
        Err(error) => return live_failed(&error),
    };
    if let Some(queue) = queue.filter(|queue| queue.account.as_str() != document.account) {
        eprintln!(
            "note: queue.url names account {}, and the credentials are of account {}, whose images \
             these are",
            queue.account, document.account
        );
    }
    finish(&arguments, sources, screen, &document, Files { out, html })
}

/// The files that a plan is written to.
struct Files {
    out: Option<OutFile>,
    html: Option<OutFile>,
}

/// Saves and prints the plan.
fn finish(
    arguments: &Arguments,
    sources: &Sources,
    screen: &Screen,
    document: &Document,
    Files { out, html }: Files,
) -> ExitCode {
    let is_saved = out.is_some() && document.complete;
    // The plan is what took the time, so it is saved first.
    if let Some(out) = out.filter(|_| document.complete)
        && let Err(problem) = out.write(&format!("{}\n", escaped(&document.json(), &['\n'])))
    {
        return failed(FAILED, problem);
    }
    if let Some(html) = html.filter(|_| document.complete)
        && let Err(problem) = html.write(&plan_page(document))
    {
        return failed(FAILED, problem);
    }
    let printed = match arguments.format {
        Form::Text => {
            let next = next_command(arguments, sources, document);
            print_verdicts(&format!("{}{next}", document.text(width())), screen)
        }
        Form::Json => print(&document.json()),
        Form::Csv => match document.csv() {
            Ok(csv) => print(&csv),
            Err(error) => failed(FAILED, error),
        },
    };
    if !document.complete {
        let has_files = arguments.out.is_some() || arguments.html.is_some();
        let saved = if has_files { "; no plan was saved" } else { "" };
        return failed(FAILED, format_args!("interrupted{saved}"));
    }
    if is_saved && arguments.format != Form::Text {
        let next = next_command(arguments, sources, document);
        eprintln!("{}", if next.is_empty() { "Saved." } else { next.trim() });
    }
    if document.is_whole() && document.totals.repositories == 0 && !arguments.repository.is_empty()
    {
        return failed(BAD_INPUT, "--repository matches no repository that the policy covers");
    }
    match printed {
        ExitCode::SUCCESS if !document.is_whole() => ExitCode::from(FAILED),
        ExitCode::SUCCESS if document.removals().images > 0 => ExitCode::from(WOULD_UNTAG),
        printed => printed,
    }
}

/// Says how to go on.
fn next_command(arguments: &Arguments, sources: &Sources, document: &Document) -> String {
    if !document.complete || document.removals().images == 0 {
        return String::new();
    }
    let config = sources.file.as_ref().map(|file| format!("--config {} ", quoted(file)));
    let apply = |file: &str| format!("tagwarden {}apply {file}", config.unwrap_or_default());
    let next = match &arguments.out {
        Some(out) => {
            let name = out.display();
            format!("\nSaved as {name}. To carry it out: {}", apply(&quoted(out)))
        }
        None => format!("\nSave with --out plan.json, then: {}", apply("plan.json")),
    };
    match document.policy.mode.as_str() {
        "enforce" => next,
        _ => format!("{next}\nThat needs policy.mode = \"enforce\"."),
    }
}

/// Returns what the command line and the configuration ask for.
fn order(arguments: &Arguments, sources: &Sources) -> Result<Order, BadInput> {
    let judging = JudgingSettings::load(sources)?;
    unused_file(sources);
    let repositories = selection::globs(&arguments.repository)?;
    let region = selection::in_policy(arguments.region.as_ref(), &judging)?;
    let note = policy_note(sources, &judging.policy, judging.mode)?;
    let out = arguments.out.as_deref().map(OutFile::prepare).transpose()?;
    let html = arguments.html.as_deref().map(OutFile::prepare).transpose()?;
    if let (Some(out), Some(html)) = (&out, &html)
        && out.is(html)
    {
        return Err("--out and --html name the same file".to_owned().into());
    }
    let selection = Selection { repositories, region, all: arguments.all };
    Ok(Order { judging, selection, note, out, html })
}

/// Describes the policy and where it is from.
///
/// # Errors
/// [`ConfigError`] if a source cannot be read.
pub(super) fn policy_note(
    sources: &Sources,
    policy: &Policy,
    mode: Option<Mode>,
) -> Result<PolicyNote, ConfigError> {
    let file = sources.file_name().unwrap_or_else(|| DEFAULTS.to_owned());
    let variables = config::effective(sources)?.into_iter().filter_map(|entry| {
        let is_of_policy = entry.key.starts_with("policy.") && entry.key != "policy.mode";
        match entry.origin {
            Origin::Variable(name) if is_of_policy => Some(name),
            _ => None,
        }
    });
    let variables: Vec<_> = variables.collect();
    let source = match variables.as_slice() {
        [] => file,
        some if some.len() <= NAMED => format!("{file} and {}", some.join(" and ")),
        some => format!("{file} and {} variables", some.len()),
    };
    Ok(PolicyNote {
        source,
        limits: in_words(&policy.base.limits),
        fingerprint: Fingerprint::of(policy).as_str().to_owned(),
        mode: mode.map(Mode::as_str).unwrap_or_default().to_owned(),
    })
}

fn in_words(limits: &Limits) -> String {
    let limited = limits.severities().filter_map(|severity| {
        let limit = limits.of(severity)?;
        Some(format!("{severity} {limit}"))
    });
    let limited: Vec<_> = limited.collect();
    if limited.is_empty() { "no limits".to_owned() } else { limited.join(", ") }
}

/// Returns the width of the terminal to which is printed. `None` means that a program reads it.
pub(super) fn width() -> Option<u16> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(&stdout);
    Some(size.map_or(USUAL_WIDTH, |(width, _)| width.0))
}
