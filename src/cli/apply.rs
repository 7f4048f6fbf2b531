//! The command `tagwarden apply`. It carries out a saved plan and nothing else.
//!
//! Everything that can be checked without a call that writes is checked first. Then a person at a
//! terminal types the account number, or `--yes` stands for it. Whatever else is given, nothing is
//! changed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;

use super::agreed::agreed;
use super::audit_log::AuditLog;
use super::bad_input::BadInput;
use super::plan::{policy_note, width};
use super::progress::{self, Acts, Progress};
use super::{
    BAD_INPUT, FAILED, Format, Screen, failed, live_failed, print, print_verdicts, quoted,
};
use crate::app;
use crate::app::live::LiveError;
use crate::app::sweep::Application;
use crate::clock::Clock;
use crate::config::{JudgingSettings, Sources};
use crate::domain::policy::Fingerprint;
use crate::domain::text::escaped;
use crate::enforce::LimitSettings;
use crate::sweep::{Document, Refusal, Removals};
use crate::table::count;

/// The largest plan that is read.
const MAX_BYTES: u64 = 1 << 30;

/// Without the key, records are not signed, and the worker refuses them.
const NO_KEY: &str =
    "  note    no restore.key here: what this removes can be given back only by hand
          (docs/undo.md)";

const HELP: &str = "\
Exit codes:
  0  every image is as the plan wants it
  1  something was not done, or the work was interrupted: run it again to go on
  2  the plan or the configuration cannot be used, or nobody agreed; nothing was
     changed

Examples:
  tagwarden plan --out plan.json
  tagwarden apply plan.json
  tagwarden apply plan.json --yes --audit-log audit.jsonl";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The plan, as `tagwarden plan --out` saved it
    #[arg(value_name = "FILE")]
    plan: PathBuf,
    /// Do not ask for the account number
    #[arg(long)]
    yes: bool,
    /// Append the record of every act to this file, as JSON lines; default: to standard error
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
    /// The form of what is printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// What the command line, the plan and the configuration ask for.
struct Order {
    settings: JudgingSettings,
    plan: Document,
    audit: Option<AuditLog>,
    /// Where the policy is from.
    source: String,
    now: SystemTime,
}

pub(super) async fn main(arguments: Arguments, sources: &Sources, screen: &Screen) -> ExitCode {
    let Order { settings, plan, audit, source, now } = match order(&arguments, sources) {
        Ok(order) => order,
        Err(problem) => return problem.report(screen),
    };
    let has_key = settings.restore.keys.is_some();
    let (limits, policy) = (settings.limits, Fingerprint::of(&settings.policy));
    let sdk = app::aws_from_environment().await;
    let application = match Box::pin(Application::prepare(settings, plan, &sdk)).await {
        Ok(application) => application,
        Err(LiveError::Refused(refusal)) => {
            return failed(BAD_INPUT, format_args!("{} {refusal}", arguments.plan.display()));
        }
        Err(error) => return live_failed(&error),
    };
    let mut signals = match app::Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return failed(FAILED, error),
    };
    if application.plan().removals().images > 0 {
        let source = format!("{source} (sha256 {policy})");
        let summary = summary(&arguments.plan, &application, &source, limits, now);
        eprintln!("{}", escaped(&summary, &['\n']));
        if !has_key {
            eprintln!("{NO_KEY}");
        }
        if !arguments.yes
            && let Err(problem) = agreed(application.own().account.as_str(), &mut signals).await
        {
            return failed(BAD_INPUT, format_args!("nothing was changed: {problem}"));
        }
    }
    let progress = Progress::of("images", screen);
    progress::log(&progress, audit.map_or(Acts::Shown, Acts::To), screen);
    let step = |step: crate::sweep::Advance| progress.step(&step);
    let applied = Box::pin(application.run(signals, &step)).await;
    progress.end();
    let applied = match applied {
        Ok(applied) => applied,
        Err(error) => return live_failed(&error),
    };
    let printed = match arguments.format {
        Format::Text => print_verdicts(&applied.text(width()), screen),
        Format::Json => print(&applied.json()),
    };
    if let Some(stop) = applied.stop() {
        return failed(FAILED, format_args!("stopped: {}", stop.advice()));
    }
    if applied.is_interrupted() {
        let again = format!("interrupted; to go on: {}", command(&arguments, sources));
        return failed(FAILED, again);
    }
    if printed == ExitCode::SUCCESS && !applied.is_whole() {
        return ExitCode::from(FAILED);
    }
    printed
}

/// Returns the command that carries out the same plan.
fn command(arguments: &Arguments, sources: &Sources) -> String {
    let config = sources.file.as_ref().map(|file| format!("--config {} ", quoted(file)));
    let audit = arguments.audit_log.as_ref().map(|file| format!(" --audit-log {}", quoted(file)));
    let (config, audit) = (config.unwrap_or_default(), audit.unwrap_or_default());
    format!("tagwarden {config}apply {}{audit}", quoted(&arguments.plan))
}

/// Reads the plan and the configuration, and checks all that needs no call.
fn order(arguments: &Arguments, sources: &Sources) -> Result<Order, BadInput> {
    let settings = JudgingSettings::load_to_act(sources)?;
    let plan = read(&arguments.plan)?;
    if settings.policy.only_audits() {
        let problem = "policy.mode: is \"audit\", which changes nothing";
        return Err(format!("{problem}; apply needs policy.mode = \"enforce\"").into());
    }
    let note = policy_note(sources, &settings.policy, Some(settings.policy.base.mode))?;
    let now = Clock::of_this_machine().now();
    Refusal::check(&plan, &Fingerprint::of(&settings.policy), &note.source, now)
        .map_err(|refusal| format!("{} {refusal}", arguments.plan.display()))?;
    let audit = arguments.audit_log.as_deref().map(AuditLog::open).transpose()?;
    Ok(Order { settings, plan, audit, source: note.source, now })
}

fn read(file: &Path) -> Result<Document, String> {
    use std::io::Read as _;
    let name = file.display();
    let unreadable = |error: std::io::Error| format!("{name} cannot be read: {error}");
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(unreadable)?;
    opened.take(MAX_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    if text.trim().is_empty() {
        return Err(format!("{name} is empty: it is no plan"));
    }
    Document::read(&text).map_err(|problem| {
        format!("{name} is no plan: {problem}; `tagwarden plan --out FILE` saves one")
    })
}

/// Says what will be done.
fn summary(
    file: &Path,
    application: &Application,
    source: &str,
    limits: LimitSettings,
    now: SystemTime,
) -> String {
    let (plan, own) = (application.plan(), application.own());
    let Removals { images, tags, repositories } = plan.removals();
    let images = count(images, "image", "images");
    let tags = count(tags, "tag", "tags");
    let repositories = count(repositories, "repository", "repositories");
    let mut lines =
        vec![format!("{images}, {tags}, {repositories} in {} {}", own.account, own.region)];
    let others = plan.places_of_removals();
    if others
        .iter()
        .any(|[account, region]| *account != own.account.as_str() || *region != own.region.as_str())
    {
        let others: Vec<_> = others.iter().map(|place| place.join(" ")).collect();
        lines.push(format!("  places  {}", others.join(", ")));
    }
    let deleted = plan.deletions();
    if deleted > 0 {
        let images = count(deleted, "image itself is", "images themselves are");
        lines.push(format!("  DELETE  {images} deleted (policy.action)"));
    }
    let made = humantime::parse_rfc3339(&plan.made_at).unwrap_or(now);
    let age = Duration::from_secs(now.duration_since(made).unwrap_or_default().as_secs());
    let age = humantime::format_duration(age);
    lines.push(format!("  plan    {}, made {age} ago", file.display()));
    lines.push(format!("  policy  {source}"));
    lines.push(format!("  limits  {}", in_words(limits)));
    if let Some(account) = application.other_account() {
        lines.push(format!("  note    queue.url names account {account}, which is another one"));
    }
    lines.join("\n")
}

fn in_words(limits: LimitSettings) -> String {
    let LimitSettings { untags_per_hour, untags_per_hour_per_repository, .. } = limits;
    let all = untags_per_hour.map(|most| format!("{} tags an hour", limits.share(most)));
    let each = untags_per_hour_per_repository
        .map(|most| format!("{} tags an hour in one repository", limits.share(most)));
    let limits: Vec<_> = all.into_iter().chain(each).collect();
    if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }
}
