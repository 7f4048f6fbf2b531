//! Every parameter and output that the guides tell an operator to type exists.

use std::collections::BTreeSet;

use serde_json::Value;

use super::tools::{Tools, text};

/// The pages with commands for operators.
const GUIDES: [&str; 7] = [
    "docs/appconfig.md",
    "docs/install.md",
    "docs/operations.md",
    "docs/organisation.md",
    "docs/pipeline.md",
    "docs/runbook.md",
    "docs/telemetry.md",
];

/// The commands of the guides: the lines of their code blocks, with continued lines joined.
fn commands() -> Vec<String> {
    let guides = GUIDES.map(text).concat();
    let mut commands = Vec::new();
    for block in guides.split("```").skip(1).step_by(2) {
        commands.extend(block.replace("\\\n", " ").lines().map(str::to_owned));
    }
    commands
}

fn names(template: &Value, section: &str) -> BTreeSet<String> {
    template[section].as_object().expect("a section").keys().cloned().collect()
}

#[test]
fn every_parameter_and_output_of_the_guides_exists() {
    let Some(tools) = Tools::new() else { return };
    let [central, member, access, pipeline] = ["tagwarden", "member", "access", "pipeline"]
        .map(|name| tools.template(&format!("deploy/{name}.yaml")));
    let (mut parameters, mut outputs) = (0, 0);
    for command in commands() {
        if let Some((before, given)) = command.split_once("--parameter-overrides") {
            let of = |file: &str| before.contains(file);
            let template = if of("member.yaml") {
                &member
            } else if of("access.yaml") {
                &access
            } else if of("pipeline.yaml") {
                &pipeline
            } else {
                &central
            };
            let known = names(template, "Parameters");
            for (name, _) in given.split_whitespace().filter_map(|one| one.split_once('=')) {
                assert!(known.contains(name), "no parameter {name}: {command}");
                parameters += 1;
            }
        }
        let known = names(&central, "Outputs");
        for part in command.split("output ").skip(1) {
            let name: String = part.chars().take_while(char::is_ascii_alphanumeric).collect();
            if name.starts_with(|first: char| first.is_ascii_uppercase()) && name != "NAME" {
                assert!(known.contains(&name), "no output {name}: {command}");
                outputs += 1;
            }
        }
    }
    assert!(parameters > 10 && outputs > 5, "{parameters} {outputs}");
}
