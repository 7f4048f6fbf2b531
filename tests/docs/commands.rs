//! docs/cli.md has the help of every command, as the program prints it, and every command in the
//! pages exists with its options.

use std::process::{Command, Stdio};

use super::generated;
use super::pages::{files, split, text};

/// Runs the program without a terminal and without any variable, so that help wraps at 100 columns.
fn help(command: Option<&str>) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tagwarden"));
    program.env_clear().stdin(Stdio::null());
    let output = program.args(command).arg("-h").output().expect("the program");
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Returns the text below a heading of a help, up to the next blank line.
fn section<'a>(help: &'a str, heading: &str) -> &'a str {
    let (_, rest) = help.split_once(&format!("\n{heading}:\n")).unwrap_or_default();
    rest.split("\n\n").next().unwrap_or_default()
}

/// Returns the entries of a section: each begins in a column that the lines below it do not use.
fn entries(section: &str) -> Vec<Vec<&str>> {
    let mut entries: Vec<Vec<&str>> = Vec::new();
    for line in section.lines() {
        let is_first = line.trim_start().starts_with('-') && line.find('-') < Some(8);
        match entries.last_mut() {
            Some(entry) if !is_first => entry.push(line),
            _ => entries.push(vec![line]),
        }
    }
    entries
}

/// Returns the long form of the option of an entry, such as `--config`.
fn option<'a>(entry: &[&'a str]) -> &'a str {
    let words = entry.first().copied().unwrap_or_default().split_whitespace();
    let mut long = words.filter(|word| word.starts_with("--"));
    long.next().unwrap_or_default().trim_end_matches(['.', ','])
}

/// Returns the help of a command without the options that every command has.
fn own(help: &str, common: &[&str]) -> String {
    let options = section(help, "Options");
    let kept = entries(options).into_iter().filter(|entry| !common.contains(&option(entry)));
    let kept: Vec<_> = kept.flatten().collect();
    let (old, new) = if kept.is_empty() {
        (format!("\nOptions:\n{options}"), String::new())
    } else {
        (options.to_owned(), kept.join("\n"))
    };
    help.replacen(&old, &new, 1)
}

#[test]
fn page_of_commands_has_the_help_of_every_command() {
    let top = help(None);
    let common: Vec<_> = entries(section(&top, "Options")).iter().map(|one| option(one)).collect();
    assert!(common.contains(&"--config") && common.contains(&"--help"), "{common:?}");
    let named = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let commands = section(&top, "Commands").lines().filter(named);
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 10, "{commands:?}");
    let fenced = |help: &str| format!("```text\n{}\n```", help.trim_end());
    let mut parts = vec![("tagwarden".to_owned(), fenced(&top))];
    for command in commands.into_iter().filter(|command| *command != "help") {
        let own = own(&help(Some(command)), &common);
        parts.push((command.to_owned(), fenced(&own)));
    }
    generated::hold("docs/cli.md", &parts);
}

/// Returns the words of every call of the program on a page, in blocks and in code spans, without
/// comments and without what a shell does with the result.
fn calls(page: &str) -> Vec<Vec<String>> {
    let (prose, blocks) = split(page);
    let prose: Vec<_> = prose.into_iter().map(|(_, line)| line).collect();
    let prose = prose.join("\n");
    let spans = prose.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "));
    let lines = blocks.iter().map(|block| block.text.replace("\\\n", " "));
    let lines: Vec<_> =
        lines.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    let call = |line: String| {
        let line = line.trim().trim_start_matches("$ ");
        let rest = line
            .strip_prefix("tagwarden ")
            .or_else(|| line.split_once("cargo run --release -- ").map(|(_, rest)| rest))
            .or_else(|| line.split_once("deploy/tagwarden.sh ").map(|(_, rest)| rest))?;
        let words = rest.split_whitespace().map(|word| word.trim_end_matches(['.', ',', ';']));
        let words = words.take_while(|word| !["|", ">", "#", "&&", ";"].contains(word));
        Some(words.map(str::to_owned).collect::<Vec<_>>())
    };
    spans.chain(lines).filter_map(call).filter(|words| !words.is_empty()).collect()
}

#[test]
fn every_command_in_the_pages_exists_with_its_options() {
    let top = help(None);
    let is_known = |command: &str| {
        section(&top, "Commands").lines().any(|line| line.starts_with(&format!("  {command} ")))
    };
    let mut pages = files("docs", &[".md"]);
    pages.push("README.md".to_owned());
    let mut count = 0;
    for page in pages {
        for words in calls(&text(&page)) {
            let mut rest = words.iter().map(String::as_str);
            let mut command = rest.next().unwrap_or_default();
            if command == "--config" {
                command = rest.nth(1).unwrap_or_default();
            }
            let is_placeholder = command.chars().all(|c| c.is_uppercase());
            if is_placeholder || command.starts_with('[') {
                continue;
            }
            assert!(is_known(command), "{page}: tagwarden {}", words.join(" "));
            let help = help(Some(command));
            let is_option = |word: &&str| word.starts_with('-') && *word != "-";
            for option in rest.filter(is_option).map(|word| word.split('=').next().unwrap_or(word))
            {
                let mut known = help.split(|c: char| c.is_whitespace() || c == ',');
                assert!(known.any(|word| word == option), "{page}: tagwarden {}", words.join(" "));
            }
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn every_deployment_in_the_pages_keeps_the_tags_of_its_stack() {
    let mut count = 0;
    for page in files("docs", &[".md"]) {
        let content = text(&page);
        for block in split(&content).1 {
            let commands = block.text.replace("\\\n", " ");
            for command in commands.lines().filter(|line| line.contains("cloudformation deploy ")) {
                // AWS removes the tags of a stack that `deploy` is not given again.
                assert!(command.contains(" --tags "), "{page}: {command}");
                count += 1;
            }
        }
    }
    assert!(count >= 3, "{count}");
}
