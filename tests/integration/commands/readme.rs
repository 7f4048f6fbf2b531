//! README.md keeps what it says: its commands run, its samples are what they print, and its
//! configuration can be used.

use std::collections::BTreeSet;
use std::fs;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::filled::Filled;
use super::support::{bare, run};
use super::terminal::at_terminal;
use crate::example_local;
use crate::process::{variables, within_deadline};

/// Each command of a code block, which a test runs.
const DEMO: &str = "cargo run --example local";
const PLAN: &str = "tagwarden plan --region eu-west-1 --html report.html";
/// The widest line, and the terminal of the samples.
const WIDTH: u16 = 100;
/// Stands for what a sample leaves out.
const LEFT_OUT: &str = "...";

fn readme() -> String {
    fs::read_to_string(format!("{}/README.md", env!("CARGO_MANIFEST_DIR"))).expect("a README")
}

/// The code blocks of a language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let blocks = text.split("```").skip(1).step_by(2);
    let of_it = |block: &str| Some(block.strip_prefix(language)?.strip_prefix('\n')?.to_owned());
    blocks.filter_map(of_it).collect()
}

/// The sample that follows a command.
fn sample_of(command: &str) -> String {
    let text = readme();
    let (_, rest) = text.split_once(&format!("```sh\n{command}\n```\n")).expect("the command");
    let (_, sample) = rest.split_once("```text\n").expect("a sample");
    sample.split("```").next().unwrap_or_default().to_owned()
}

/// The words of a line, without what differs from run to run: times, and the marks that only a
/// terminal shows.
fn words(line: &str) -> Vec<&str> {
    let mut words: Vec<_> = line.split_whitespace().collect();
    if words.last() == Some(&"ms") {
        words.truncate(words.len() - 2);
    }
    let is_age = |word: &str| {
        let (number, unit) =
            word.split_at(word.len() - word.chars().next_back().map_or(0, char::len_utf8));
        ["s", "m"].contains(&unit) && number.parse::<u32>().is_ok()
    };
    words.retain(|word| !["✓", "✗", "↻"].contains(word) && !is_age(word));
    words
}

/// Checks that every line of a sample was printed, in this order, and that the sample says where
/// it leaves out lines.
fn assert_was_printed(sample: &str, printed: &str) {
    let mut lines = printed.lines().filter(|line| !line.trim().is_empty());
    let mut skips = false;
    for line in sample.lines().filter(|line| !line.trim().is_empty()) {
        if line.trim() == LEFT_OUT {
            skips = true;
            continue;
        }
        let is_it = |other: &str| words(other) == words(line);
        let found = if skips { lines.any(is_it) } else { lines.next().is_some_and(is_it) };
        assert!(found, "{line:?} is not there in\n{printed}");
        skips = false;
    }
}

#[test]
fn two_minutes_are_enough_for_it() {
    let text = readme();
    let widest = text.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(WIDTH.into()), "{widest:?}");
    assert!(text.lines().count() <= 130 && text.len() <= 7_000, "{} bytes", text.len());
    let picture = blocks("mermaid").concat().split_whitespace().collect::<Vec<_>>().join(" ");
    let order = "receive --> inspect --> decide --> mark --> record --> untag[\"remove tags\"] \
                 untag --> notify --> settle";
    assert!(picture.contains(order), "{picture}");
}

#[tokio::test]
async fn every_command_is_one_that_is_run_here() {
    assert_eq!(blocks("sh"), [DEMO, PLAN].map(|command| format!("{command}\n")));
    let text = readme();
    // Code in a sentence, outside of blocks.
    let prose: String = text.split("```").step_by(2).collect();
    let commands = prose.split('`').skip(1).step_by(2);
    let commands: BTreeSet<_> =
        commands.filter_map(|code| code.strip_prefix("tagwarden ")).collect();
    assert!(commands.contains("restore"), "{commands:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tagwarden.toml").to_string_lossy().into_owned();
    let config = blocks("toml").concat();
    fs::write(&file, &config).expect("a file");
    for command in commands {
        let command = command.replace("tagwarden.toml", &file);
        let mut arguments: Vec<_> = command.split(' ').collect();
        // One word names a command, and the others are what somebody types.
        if arguments.len() == 1 {
            arguments.push("--help");
        }
        let config = if arguments.contains(&file.as_str()) { "" } else { &config };
        let shown = run(&arguments, &bare(config), "").await;
        assert_eq!(shown.code, 0, "{command}: {shown:?}");
    }
    for option in ["--serve", "--notice"] {
        assert!(prose.contains(&format!("`-- {option}`")), "{option}");
        let output = example_local::run(&["--help"], "").await;
        assert!(example_local::shown(&output).contains(option), "{option}");
    }
}

#[tokio::test]
async fn configuration_can_be_used_and_protects_what_it_says() {
    let [config] = blocks("toml").try_into().expect("one configuration");
    let lines = config.lines().filter(|line| !line.is_empty()).count();
    assert!((8..=10).contains(&lines), "{lines} lines");
    let shown = run(&["check"], &bare(&config), "").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    // It warns of the mode that everybody should begin with, and of nothing else.
    let ok = "ok: 0 rules, 0 exceptions, 1 warning\n\nwarning: policy.mode is audit: ";
    assert!(shown.stdout.starts_with(ok), "{shown:?}");
    // A worker starts with it: nothing is missing.
    assert!(!shown.stdout.contains("missing"), "{shown:?}");
}

#[tokio::test]
async fn sample_of_the_demo_is_what_it_prints() {
    let printed = example_local::shown(&example_local::run(&[], "").await);
    let (_, printed) = printed.split_once("\n\n").expect("a heading");
    let (tags, sum) = printed.split_once("\n\n").expect("a sum");
    let sample = sample_of(DEMO);
    assert!(sample.lines().count() >= 8, "{sample}");
    let sorted: BTreeSet<_> = tags.lines().map(words).collect();
    for line in sample.lines().filter(|line| line.trim() != LEFT_OUT) {
        let is_there =
            sorted.contains(&words(line)) || sum.lines().any(|sum| words(sum) == words(line));
        assert!(is_there, "{line:?} is not there in\n{printed}");
    }
}

#[tokio::test]
async fn sample_of_the_plan_is_what_it_prints_for_the_demo_in_audit_mode() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.toml").to_string_lossy().into_owned();
    fs::write(&file, "policy.mode = 'audit'\n").expect("a file");
    let mut demo = example_local::start(&["--serve", "--config", &file]);
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    let mut endpoint = None;
    let up = async {
        while let Some(line) = lines.next_line().await.expect("UTF-8") {
            let word =
                line.split_whitespace().find_map(|word| word.strip_prefix("AWS_ENDPOINT_URL="));
            endpoint = endpoint.take().or(word.map(str::to_owned));
            if line.starts_with("From here on:") {
                break;
            }
        }
    };
    within_deadline("the demo", up).await;
    let mut variables = variables(&endpoint.expect("an endpoint"), "eu-west-1", "", "");
    variables.retain(|name, _| !name.starts_with("TAGWARDEN") && name != "AWS_REGION");

    let page = folder.path().join("report.html").to_string_lossy().into_owned();
    let command = PLAN.replace("report.html", &page);
    let arguments: Vec<_> = command.split(' ').skip(1).collect();
    let shown = at_terminal(&arguments, &variables, WIDTH, "").await;
    assert_eq!(shown.code, 3, "{shown:?}");
    assert_was_printed(&sample_of(PLAN), &shown.stdout);
    assert!(fs::read_to_string(&page).expect("a page").starts_with("<!doctype html>"));
}

#[tokio::test]
async fn permissions_of_a_plan_are_those_that_it_uses() {
    let filled = Filled::new().await;
    assert_eq!(filled.plan(&[]).await.code, 3);
    let calls = filled.world.sim.calls().into_iter().map(|call| call.operation);
    // STS answers who calls without a permission.
    let calls = calls.filter(|operation| operation != "GetCallerIdentity");
    let used: BTreeSet<_> = calls.map(|operation| format!("ecr:{operation}")).collect();
    let text = readme();
    let named = |service: &str| -> BTreeSet<_> {
        let codes = text.split('`').filter(|code| code.starts_with(service));
        codes.map(str::to_owned).collect()
    };
    assert_eq!(named("ecr:"), used);
    let policy = filled.world.run(&["check", "--iam"], "").await;
    assert_eq!(named("inspector2:").len(), 2);
    for action in named("inspector2:") {
        assert!(policy.stdout.contains(&action), "{action}");
    }
}
