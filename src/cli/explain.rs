//! The command `tagwarden explain`. It needs neither a queue nor topics, so that a policy can be
//! tried on a laptop. An event can be judged without AWS; if no setting names the worker's own
//! account, the account of the event is assumed to be it, and a note says so.

mod image;

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::plan::policy_note;
use super::{
    BAD_INPUT, FAILED, Format, Screen, WOULD_UNTAG, failed, live_failed, misconfigured, print,
    print_verdicts,
};
use crate::app::{self, live};
use crate::clock::Clock;
use crate::config::{self, ConfigError, JudgingSettings, Sources};
use crate::domain::names::{AccountId, Region, RegistryId};
use crate::domain::policy::Fingerprint;
use crate::event::{self, ImageEvent, Kind, Parsed};
use crate::explain::{Explainer, Explanation, offline};
use crate::sweep::DEFAULTS;

/// The largest event that is read, SQS's own limit.
const MAX_BYTES: u64 = 1 << 20;

const HELP: &str = "\
Exit codes:
  0  no tag would be removed
  1  AWS could not be asked
  2  the image, the event or the configuration cannot be used
  3  tags would be removed, also if only audit mode prevents it

Examples:
  tagwarden explain team/app:1.2.3
  tagwarden explain team/app@sha256:...
  tagwarden explain event.json
  tagwarden --config policy.toml explain --live event.json
  aws sqs receive-message --queue-url URL --output text \\
    --query 'Messages[0].Body' | tagwarden explain";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The image, such as team/app:1.2.3; or a file with an event as SQS delivers it, in an SNS
    /// notification or not; - for standard input
    #[arg(value_name = "IMAGE|FILE", default_value = "-")]
    target: PathBuf,
    /// For an event: inspect the image in ECR as it is now, by calls that change nothing. An image
    /// is always inspected
    #[arg(long)]
    live: bool,
    /// The form of the explanation
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn main(arguments: Arguments, sources: &Sources, screen: &Screen) -> ExitCode {
    let loaded =
        JudgingSettings::load(sources).and_then(|settings| Ok((settings, limits(sources)?)));
    let (settings, limits) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => return misconfigured(&error, screen),
    };
    let file = match image::named(&arguments.target) {
        Ok(Some(named)) => {
            return image::main(&arguments, settings, sources, &limits, &named, screen).await;
        }
        Ok(None) => arguments.target.as_path(),
        Err(problem) => return failed(BAD_INPUT, problem),
    };
    let body = match read(file) {
        Ok(body) => body,
        Err(problem) => return failed(BAD_INPUT, problem),
    };
    let known = settings.own.clone();
    let Some(own) = known.clone().or_else(|| stand_in(sources)) else {
        return failed(FAILED, "no account can be assumed for the worker");
    };
    let parsed = match event::parse(&body, &own) {
        Ok(parsed) => parsed,
        Err(error) => {
            let name = name(file);
            let hint = hint(file, &body);
            return failed(
                BAD_INPUT,
                format_args!("{name} is no event for tagwarden: {error}{hint}"),
            );
        }
    };
    let source = match policy_source(sources, &settings) {
        Ok(source) => source,
        Err(error) => return misconfigured(&error, screen),
    };
    let mut explanation = match explained(&arguments, settings, &limits, known, own, &parsed).await
    {
        Ok(explanation) => explanation,
        Err(error) => return live_failed(&error),
    };
    explanation.judged_by(source);
    conclude(&explanation, arguments.format, screen)
}

/// Says by whose policy an explanation judges. The worker may have another.
fn policy_source(sources: &Sources, settings: &JudgingSettings) -> Result<String, ConfigError> {
    let note = policy_note(sources, &settings.policy, settings.mode)?;
    Ok(match note.source.as_str() {
        DEFAULTS => "the default policy; the worker's may differ".to_owned(),
        source => format!("{source} (sha256 {})", Fingerprint::short(&note.fingerprint)),
    })
}

/// Prints an explanation, and returns the exit code for it.
fn conclude(explanation: &Explanation, format: Format, screen: &Screen) -> ExitCode {
    let printed = match format {
        Format::Text => print_verdicts(&explanation.to_string(), screen),
        Format::Json => print(&explanation.json()),
    };
    if printed == ExitCode::SUCCESS && explanation.untags() {
        return ExitCode::from(WOULD_UNTAG);
    }
    printed
}

/// Returns `limits.*` as they are set. Explaining an event uses up none of them.
fn limits(sources: &Sources) -> Result<Vec<(String, String)>, ConfigError> {
    let entries = config::effective(sources)?.into_iter();
    let limits = entries.filter(|entry| entry.key.starts_with("limits."));
    Ok(limits.map(|entry| (entry.key, entry.value.replace('"', ""))).collect())
}

/// Returns a hint if the text is something that is easily mistaken for an event.
fn hint(file: &Path, body: &str) -> &'static str {
    let extension = file.extension().and_then(|extension| extension.to_str());
    if matches!(extension, Some("toml" | "yaml" | "yml")) {
        return "; this is a configuration: `tagwarden check FILE` checks it";
    }
    let members: Option<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_str(body).ok();
    let has = |name| members.as_ref().is_some_and(|members| members.contains_key(name));
    if has("Messages") || has("Body") {
        "; it looks like the answer of `aws sqs receive-message`: the event is the Body of one \
         message"
    } else if has("imageScanFindings") {
        "; it looks like the findings of an image: the event is the message that its scan has ended"
    } else {
        ""
    }
}

async fn explained(
    arguments: &Arguments,
    settings: JudgingSettings,
    limits: &[(String, String)],
    known: Option<RegistryId>,
    own: RegistryId,
    parsed: &Parsed,
) -> Result<Explanation, live::LiveError> {
    let (policy, topics) = (settings.policy.clone(), settings.notify.topics.clone());
    let assumed = known.is_none();
    // Without queue.url the worker's own account is not known. The event's account is the most
    // likely one.
    let own = match (known, parsed) {
        (Some(known), _) => known,
        (None, Parsed::Assess(event)) => {
            RegistryId { account: event.repository.account.clone(), ..own }
        }
        (None, Parsed::Ignored { .. } | Parsed::Sweep(_) | Parsed::Restore { .. }) => own,
    };
    let records = settings.records;
    let explainer = Explainer { policy: &policy, topics: &topics, own: &own, limits, records };
    let event = match parsed {
        Parsed::Assess(event) => event,
        Parsed::Sweep(order) => {
            let what = "a step of a sweep, not of a single image: the worker inspects all images \
                        that the step covers";
            return Ok(explainer.ignored(Kind::Sweep, &order.origin, what));
        }
        Parsed::Restore { origin, .. } => {
            let what = "a request to restore an image: whether the worker carries it out depends \
                        on who sent it and on the records of the image";
            return Ok(explainer.ignored(Kind::Restore, origin, what));
        }
        Parsed::Ignored { kind, origin, reason } => {
            return Ok(explainer.ignored(*kind, origin, reason));
        }
    };
    let mut explanation = if arguments.live {
        let sdk = app::aws_from_environment().await;
        let look = live::look(settings, &sdk, own.clone(), event).await?;
        explainer.live(event, &look)
    } else {
        offline(&explainer, event, &own, Clock::of_this_machine().now())
    };
    if assumed && policy.accounts.is_none() {
        explanation.note(assumption(event));
    }
    Ok(explanation)
}

fn assumption(event: &ImageEvent) -> String {
    format!(
        "queue.url is not set or names no account: {} is assumed to be the worker's own",
        event.repository.account
    )
}

/// Returns an account and a Region for the parts of a place that an event leaves out.
fn stand_in(sources: &Sources) -> Option<RegistryId> {
    let variable = |name| sources.environment.get(name).cloned();
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    Some(RegistryId {
        account: AccountId::parse("000000000000").ok()?,
        region: region
            .and_then(|region| Region::parse(region).ok())
            .or_else(|| Region::parse("us-east-1").ok())?,
    })
}

fn name(file: &Path) -> String {
    if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() }
}

fn read(file: &Path) -> Result<String, String> {
    let problem = |error: std::io::Error| format!("{} cannot be read: {error}", name(file));
    let mut bytes = Vec::new();
    let read = if file == Path::new("-") {
        if std::io::stdin().is_terminal() {
            eprintln!("tagwarden: reading an event from standard input; end it with Ctrl-D");
        }
        std::io::stdin().lock().take(MAX_BYTES + 1).read_to_end(&mut bytes)
    } else {
        let opened = std::fs::File::open(file).map_err(problem)?;
        opened.take(MAX_BYTES + 1).read_to_end(&mut bytes)
    };
    read.map_err(problem)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("{} exceeds 1 MiB, the most that SQS delivers", name(file)));
    }
    if bytes.trim_ascii().is_empty() {
        return Err(format!("{} is empty", name(file)));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(format!(
            "{} is UTF-16 text, as PowerShell writes it: save it as UTF-8",
            name(file)
        ));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", name(file)))
}
