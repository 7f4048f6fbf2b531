//! The guides for operators can be followed: their commands are valid, and everything that they
//! query in the stack and the log exists. `tests/docs` looks at their links.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The pages with commands for operators.
const GUIDES: [&str; 6] = [
    "docs/appconfig.md",
    "docs/install.md",
    "docs/operations.md",
    "docs/organisation.md",
    "docs/runbook.md",
    "docs/telemetry.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The commands of the guides, one string for each code block.
fn commands() -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in GUIDES.map(text).concat().lines() {
        let content = line.trim_start();
        match (&mut open, content) {
            (None, "```bash") => open = Some((line.len() - content.len(), String::new())),
            (Some(_), "```") => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), _) => {
                block.push_str(line.get(*indent..).unwrap_or_default());
                block.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none() && blocks.len() > 30, "{} blocks", blocks.len());
    blocks
}

/// The CloudWatch Logs Insights queries of the guides.
fn queries() -> Vec<String> {
    let all = commands().concat();
    let asked = all.split("insights ").skip(1).filter_map(|rest| {
        let quote = rest.chars().next().filter(|first| ['\'', '"'].contains(first))?;
        Some(rest.get(1..)?.split(quote).next()?.to_owned())
    });
    let queries: Vec<_> = asked.collect();
    assert!(queries.len() > 15, "{queries:#?}");
    queries
}

/// Everything under src/, as one text.
fn sources() -> String {
    fn read(folder: &Path, all: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                read(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&fs::read_to_string(path).expect("text"));
            }
        }
    }
    let mut all = String::new();
    read(&root().join("src"), &mut all);
    all
}

/// The names that follow each of these marks, up to a character that no name contains.
fn names<'a>(text: &'a str, before: &str) -> BTreeSet<&'a str> {
    let end = |rest: &'a str| {
        let name = |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
        rest.split(|character| !name(character)).next().unwrap_or_default()
    };
    text.split(before).skip(1).map(end).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_file_of_deploy_that_the_guides_name_exists() {
    let guides = GUIDES.map(text).concat();
    let named = guides.split('`').filter(|word| word.starts_with("deploy/") && !word.contains(' '));
    let named: BTreeSet<_> = named.collect();
    assert!(named.len() > 4, "{named:?}");
    for file in named {
        assert!(root().join(file).exists(), "no file {file}");
    }
}

#[test]
fn every_command_is_valid_for_the_shell() {
    let folder = tempfile::tempdir().expect("a folder");
    for (number, block) in commands().iter().enumerate() {
        let path = folder.path().join(format!("{number}.sh"));
        fs::write(&path, block).expect("a file");
        let output = Command::new("bash").arg("-n").arg(&path).output().expect("bash");
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && problem.is_empty(), "{problem}{block}");
    }
}

#[test]
fn command_of_the_chat_action_is_not_too_long_in_any_region() {
    let all = commands().concat();
    let (_, command) = all.split_once("CommandText=").expect("a custom action");
    let command = command.split('"').next().expect("a command");
    let command = command.replace("\\$", "$").replace("$AWS_REGION", "ap-southeast-1");
    // Amazon Q Developer in chat applications API reference, CustomActionDefinition.
    assert!(command.chars().count() <= 100, "{command}");
    // The names of what the notice for a channel has.
    for variable in names(&command, "$") {
        let taken = format!("\"{variable}\": \"event.metadata.additionalContext.{variable}\"");
        assert!(all.contains(&taken), "{variable}");
    }
}

#[test]
fn page_for_everybody_fits_a_screen_and_is_linked() {
    const PAGE: &str = "why-did-my-tag-vanish.md";
    let page = text(&format!("docs/{PAGE}"));
    assert!(page.lines().count() <= 60);
    for (from, link) in [
        ("README.md", format!("](docs/{PAGE})")),
        ("docs/undo.md", format!("]({PAGE})")),
        ("docs/notices.md", format!("]({PAGE})")),
        ("docs/operations.md", format!("]({PAGE})")),
    ] {
        assert!(text(from).contains(&link), "{from} does not link to it");
    }
}

#[test]
fn outputs_and_parameters_in_commands_exist_in_the_stack() {
    let worker = text("deploy/tagwarden.yaml");
    let templates = [&worker, &text("deploy/member.yaml"), &text("deploy/access.yaml")];
    let (_, outputs) = worker.split_once("\nOutputs:").expect("outputs");
    let all = commands().concat();
    for name in names(&all, "$(output ") {
        assert!(outputs.contains(&format!("\n  {name}:\n")), "no output {name}");
    }
    let overrides = all.split("--parameter-overrides").skip(1);
    let overrides: String = overrides.filter_map(|rest| rest.split("\n\n").next()).collect();
    let set = all.lines().filter_map(|line| line.split_once("deploy/stack.sh set "));
    let set: Vec<_> = set.map(|(_, rest)| rest).collect();
    assert!(set.len() > 3, "{set:?}");
    let overrides = format!("{overrides} {}", set.join(" "));
    let given = overrides.split_whitespace().filter_map(|word| word.split_once('='));
    let given: BTreeSet<_> =
        given.map(|(name, _)| name).filter(|name| !name.contains('$')).collect();
    assert!(given.len() > 10, "{given:?}");
    let in_text = GUIDES.map(text).concat();
    let spoken = in_text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once('='));
    let parameter = |name: &&str| {
        let upper = name.chars().next().is_some_and(char::is_uppercase);
        upper && name.chars().any(char::is_lowercase) && name.chars().all(char::is_alphanumeric)
    };
    for name in given.into_iter().chain(spoken.map(|(name, _)| name)).filter(parameter) {
        let line = format!("\n  {name}:\n    Type: ");
        let is_there = templates.iter().any(|template| template.contains(&line));
        assert!(is_there, "no parameter {name}");
    }
}

#[test]
fn fields_in_log_queries_exist_in_the_log() {
    const WORDS: [&str; 21] = [
        "fields",
        "filter",
        "sort",
        "stats",
        "limit",
        "by",
        "as",
        "in",
        "like",
        "and",
        "or",
        "asc",
        "desc",
        "count",
        "count_distinct",
        "max",
        "earliest",
        "bin",
        "ispresent",
        "5m",
        "timestamp",
    ];
    let sources = sources();
    let of_a_line = |name: &str| {
        ["level", "target", "message"].contains(&name)
            || [" = ", ",", " ="].iter().any(|after| {
                [" ", "%", "?", "("]
                    .iter()
                    .any(|before| sources.contains(&format!("{before}{name}{after}")))
            })
    };
    for query in queries() {
        // Each alternative of a pattern is a part of something that is logged.
        let mut parts = query.split(" like /");
        let mut rest = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (pattern, after) = part.split_once('/').expect("the end of a pattern");
            rest.push_str(after);
            for phrase in pattern.split('|') {
                assert!(sources.contains(phrase), "nothing is logged with {phrase:?}: {query}");
            }
        }
        let outside: String = rest.split(['"', '\'']).step_by(2).collect::<Vec<_>>().join(" ");
        let named: BTreeSet<_> = names(&outside, " as ");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        for word in outside.split(|c| !is_name(c)).filter(|word| !word.is_empty()) {
            let known =
                WORDS.contains(&word) || named.contains(word) || word.parse::<u32>().is_ok();
            assert!(known || of_a_line(word), "no field {word}: {query}");
        }
        // The commands after `stats` see only the columns of `stats`.
        let steps: Vec<_> = query.split(" | ").map(|step| step.split(' ').next()).collect();
        let first = |name| steps.iter().position(|step| *step == Some(name));
        assert!(first("stats") >= first("filter") || first("stats").is_none(), "{query}");
    }
}
