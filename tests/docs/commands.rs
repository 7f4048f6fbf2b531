//! docs/cli.md has the help of every command, as the program prints it.

use std::process::{Command, Stdio};

use super::generated;

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
