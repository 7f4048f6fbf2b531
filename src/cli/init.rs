//! The command `tagwarden init`: writes a configuration file to begin with.
//!
//! It never overwrites a file, and what it writes has been checked. What nobody has said stays a
//! comment in the file, above all the mode, because nobody should remove tags by accepting a
//! default.

use std::fs::OpenOptions;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{BAD_INPUT, FAILED, Screen, failed, misconfigured, print, quoted};
use crate::config::{self, JudgingSettings, Sources, TEXT_VARIABLE};

/// The file beside the configuration that describes its keys to editors.
const SCHEMA: &str = "tagwarden.schema.json";

const HELP: &str = "\
Exit codes:
  0  the file is written
  1  it cannot be written
  2  it exists already, or what was given cannot be used

Examples:
  tagwarden init
  tagwarden init policy.toml --mode audit";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The file to write, in TOML
    #[arg(value_name = "FILE", default_value = "tagwarden.toml")]
    file: PathBuf,
    /// Whether tags are removed
    #[arg(long, value_enum)]
    mode: Option<ChosenMode>,
    /// The queue's URL
    #[arg(long, value_name = "URL")]
    queue_url: Option<String>,
    /// The ARN of the topic that notices are published to
    #[arg(long, value_name = "ARN")]
    topic_arn: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ChosenMode {
    /// Notify what would be done, and change nothing
    Audit,
    /// Remove tags
    Enforce,
}

pub(super) fn main(arguments: Arguments, sources: &Sources, screen: &Screen) -> ExitCode {
    if let Err(error) = config::check_variables(sources) {
        return misconfigured(&error, screen);
    }
    let given = [("--queue-url", &arguments.queue_url), ("--topic-arn", &arguments.topic_arn)];
    for (name, value) in given {
        if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
            let problem = "is empty, as a variable is that is not set; leave it out, or give it";
            return failed(BAD_INPUT, format_args!("{name}: {problem}"));
        }
    }
    let file = arguments.file.clone();
    if file.extension().is_none_or(|extension| extension != "toml") {
        let name = file.display();
        return failed(BAD_INPUT, format_args!("{name} must end in .toml, the format it is in"));
    }
    if file.exists() {
        let name = file.display();
        return failed(BAD_INPUT, format_args!("{name} exists already, and is left as it is"));
    }
    let answers = match completed(arguments) {
        Ok(answers) => answers,
        Err(error) => return failed(FAILED, error),
    };
    let text = written(&answers);
    let environment = [(TEXT_VARIABLE.to_owned(), text.clone())].into();
    if let Err(error) = JudgingSettings::load(&Sources { file: None, environment }) {
        let problems: Vec<_> = error.messages().collect();
        return failed(BAD_INPUT, problems.join("; "));
    }
    let schema = file.with_file_name(SCHEMA);
    let described = match create(&schema, &format!("{:#}\n", config::schema())) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return failed(FAILED, format_args!("{} cannot be written: {error}", schema.display()));
        }
        Err(_) => format!("kept       {}", schema.display()),
        Ok(()) => format!("wrote      {}, which describes the keys to editors", schema.display()),
    };
    if let Err(error) = create(&file, &text) {
        let code = match error.kind() {
            io::ErrorKind::AlreadyExists => BAD_INPUT,
            _ => FAILED,
        };
        return failed(code, format_args!("{} cannot be written: {error}", file.display()));
    }
    let name = quoted(&file);
    print(&format!(
        "wrote      {name}\n{described}\n\nNext:      tagwarden check {name}\n\
         Then:      tagwarden --config {name} plan    (reads only)"
    ))
}

/// Asks for what the command line leaves open, if somebody can answer.
fn completed(mut arguments: Arguments) -> io::Result<Arguments> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(arguments);
    }
    if arguments.mode.is_none() {
        let question = "Mode: audit changes nothing, enforce removes tags (Enter: decide later)";
        arguments.mode = loop {
            let answer = ask(question)?;
            match ChosenMode::from_str(&answer, true) {
                Ok(mode) => break Some(mode),
                Err(_) if answer.is_empty() => break None,
                Err(_) => eprintln!("Please type audit or enforce."),
            }
        };
    }
    let given = |answer: String| (!answer.is_empty()).then_some(answer);
    if arguments.queue_url.is_none() {
        arguments.queue_url = given(ask("URL of the queue (Enter: later)")?);
    }
    if arguments.topic_arn.is_none() {
        arguments.topic_arn = given(ask("ARN of the topic for notices (Enter: later)")?);
    }
    Ok(arguments)
}

/// Asks a question. The end of the input is an empty answer.
fn ask(question: &str) -> io::Result<String> {
    eprint!("{question}: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().to_owned())
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Returns the text of the file.
fn written(answers: &Arguments) -> String {
    let mode = answers.mode.map(|mode| match mode {
        ChosenMode::Audit => "audit",
        ChosenMode::Enforce => "enforce",
    });
    let mode = key("mode", mode, "audit");
    let url = "https://sqs.eu-west-1.amazonaws.com/111122223333/tagwarden";
    let url = key("url", answers.queue_url.as_deref(), url);
    let arn = "arn:aws:sns:eu-west-1:111122223333:tagwarden";
    let arn = key("topic_arn", answers.topic_arn.as_deref(), arn);
    format!(
        r##"#:schema ./{SCHEMA}

# The configuration of tagwarden. A key that is left out has its default; `tagwarden check --all`
# lists them. An environment variable can set every key but those of [[...]] tables: the mode of
# [policy] is TAGWARDEN__POLICY__MODE.

# `tagwarden run` needs a queue and a topic; `tagwarden plan` needs neither.
[queue]
{url}

[notify]
{arn}
# Whom readers of a notice can ask.
# contact = "#platform-security"

[policy]
# audit: notify what would be done, and change nothing. enforce: remove tags. There is no default.
{mode}

# Tags that are never removed. Globs; `*` matches everything.
# protected_tags = ["prod-*", "stable"]

# The number of findings that an image may have. "unlimited" lifts a limit.
[policy.max_findings]
critical = 0
high = 0

# The repositories that are covered. `*` also matches `/`.
# [policy.repositories]
# include = ["team/*"]
# exclude = ["team/legacy/*"]

# Other settings for some repositories. The first rule that matches counts.
# [[policy.rules]]
# name = "sandbox"
# repositories = ["sandbox/*"]
# mode = "audit"

# A finding that somebody has accepted for a time.
# [[policy.exceptions]]
# id = "CVE-2021-44228"
# reason = "not reachable: the class is not on the class path"
# owner = "team-security"
# expires = 2026-12-31

# Tags that may be removed in an hour. A wrong policy is noticed before it has removed everything.
[limits]
untags_per_hour = 100
"##
    )
}

/// Returns a key with its value, or a comment with an example.
fn key(name: &str, value: Option<&str>, example: &str) -> String {
    match value {
        // A JSON string is a TOML string too.
        Some(value) => format!("{name} = {}", serde_json::Value::from(value)),
        None => format!("# {name} = \"{example}\""),
    }
}
