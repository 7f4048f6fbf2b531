//! `tagwarden explain`.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::{BAD_INPUT, FAILED, Format, WOULD_UNTAG, failed, print};
use crate::app::{self, live};
use crate::clock::Clock;
use crate::config::{JudgingSettings, Sources};
use crate::domain::image::{AccountId, Home, Region};
use crate::event::{self, ImageEvent, Parsed};
use crate::explain::{Explainer, Explanation, offline};

/// The most that is read of an event: SQS's own limit.
const MOST_BYTES: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The event as SQS delivers it, or - for standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Look at the image in ECR as it is now; changes nothing
    #[arg(long)]
    live: bool,
    /// The form of the explanation
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

pub(super) async fn main(arguments: Arguments, sources: &Sources) -> ExitCode {
    let settings = match JudgingSettings::load(sources) {
        Ok(settings) => settings,
        Err(error) => return failed(BAD_INPUT, error),
    };
    let body = match read(&arguments.file) {
        Ok(body) => body,
        Err(problem) => return failed(BAD_INPUT, problem),
    };
    let known = settings.own.clone();
    let own = known.clone().or_else(|| stand_in(sources));
    let Some(own) = own else {
        return failed(FAILED, "no stand-in for the worker's own account");
    };
    let parsed = match event::parse(&body, &own) {
        Ok(parsed) => parsed,
        Err(error) => {
            return failed(
                BAD_INPUT,
                format_args!(
                    "{} is no event that SQS would deliver: {error}",
                    name(&arguments.file)
                ),
            );
        }
    };
    let explanation = match explained(&arguments, settings, known, own, &parsed).await {
        Ok(explanation) => explanation,
        Err(error) => return failed(FAILED, error),
    };
    let printed = match arguments.format {
        Format::Text => print(&explanation.to_string()),
        Format::Json => print(&explanation.json()),
    };
    if printed == ExitCode::SUCCESS && explanation.untags() {
        return ExitCode::from(WOULD_UNTAG);
    }
    printed
}

async fn explained(
    arguments: &Arguments,
    settings: JudgingSettings,
    known: Option<Home>,
    own: Home,
    parsed: &Parsed,
) -> Result<Explanation, live::LookError> {
    let (policy, topics) = (settings.policy.clone(), settings.topics.clone());
    let explainer = Explainer { policy: &policy, topics: &topics };
    let event = match parsed {
        Parsed::Assess(event) => event,
        Parsed::Ignored { kind, origin, reason } => {
            return Ok(explainer.ignored(*kind, origin, reason));
        }
    };
    let assumed = known.is_none();
    // Without queue.url the worker's own account is not known; the event's is the likeliest.
    let own = known.unwrap_or(Home { account: event.repository.account.clone(), ..own });
    let mut explanation = if arguments.live {
        let sdk = app::aws_from_environment().await;
        let look = live::look(settings, &sdk, own, event).await?;
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
        "queue.url is not set: account {} is taken for the worker's own",
        event.repository.account
    )
}

/// For the parts of a place that an event leaves out.
fn stand_in(sources: &Sources) -> Option<Home> {
    let variable = |name| sources.environment.get(name).cloned();
    let region = variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    Some(Home {
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
        std::io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)
    } else {
        let opened = std::fs::File::open(file).map_err(problem)?;
        opened.take(MOST_BYTES + 1).read_to_end(&mut bytes)
    };
    read.map_err(problem)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("{} is over 1 MiB, more than SQS delivers", name(file)));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", name(file)))
}
