//! The rules of the house, as docs/architecture.md draws them: imports run downwards, `domain` is pure, and AWS types
//! stay in their rooms.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms from the top; a room imports from lower floors only.
const FLOORS: [&[&str]; 10] = [
    &["main"],
    &["cli"],
    &["app"],
    &["explain", "check", "survey"],
    &["worker", "http"],
    &["event", "queue", "registry", "notify", "health", "shutdown"],
    &["aws"],
    &["telemetry"],
    &["config"],
    &["domain", "clock"],
];

/// The only files that may name an AWS type.
const AWS_ROOMS: [&str; 17] = [
    "src/queue/sqs.rs",
    "src/queue/sqs/permissions.rs",
    "src/registry/ecr/permissions.rs",
    "src/notify/sns/permissions.rs",
    "src/registry/ecr.rs",
    "src/registry/ecr/answers.rs",
    "src/registry/ecr/batches.rs",
    "src/registry/ecr/findings.rs",
    "src/registry/ecr/manifests.rs",
    "src/registry/ecr/replication.rs",
    "src/notify/sns.rs",
    "src/aws.rs",
    "src/aws/attempts.rs",
    "src/aws/error.rs",
    "src/app.rs",
    "src/app/live.rs",
    "src/app/sweep.rs",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every source file: its path from the package's root, and its text without comments.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    sources(&root.join("src"), &mut paths);
    paths.sort();
    let files = paths.iter().map(|path| {
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        let text = fs::read_to_string(path).expect("a readable file");
        // The target of a span names a room without importing it.
        let is_code =
            |line: &&str| !["//", "target: "].iter().any(|no| line.trim_start().starts_with(no));
        let code = text.lines().filter(is_code);
        (name, code.collect::<Vec<_>>().join("\n"))
    });
    files.collect()
}

fn room(file: &str) -> &str {
    let path = file.strip_prefix("src/").unwrap_or(file);
    path.split('/').next().unwrap_or(path).trim_end_matches(".rs")
}

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("{room} is on no floor: add it here and to docs/architecture.md"))
}

/// The rooms that a file names as `crate::room` or `tagwarden::room`, single or in braces.
fn imports(code: &str) -> BTreeSet<&str> {
    let mut rooms = BTreeSet::new();
    for root in ["crate::", "tagwarden::"] {
        for (at, _) in code.match_indices(root) {
            let rest = &code[at + root.len()..];
            let list = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let names = list.map_or(rest, |(list, _)| list);
            let until = if list.is_some() { usize::MAX } else { 1 };
            for name in names.split(',').take(until) {
                let name = name.trim_start().split(|c: char| !c.is_alphanumeric() && c != '_');
                rooms.extend(name.take(1).filter(|name| FLOORS.concat().contains(name)));
            }
        }
    }
    rooms
}

#[test]
fn imports_run_downwards_only() {
    for (file, code) in files() {
        let here = room(&file);
        if here == "lib" {
            continue;
        }
        for there in imports(&code).into_iter().filter(|there| *there != here) {
            assert!(floor(there) > floor(here), "{file} imports {there}, which is not below it");
        }
    }
}

#[test]
fn only_their_own_rooms_name_aws_types() {
    for (file, code) in files() {
        let named = ["aws_sdk_", "aws_config", "aws_smithy", "aws_types", "aws_credential_types"];
        for name in named {
            assert!(
                !code.contains(name) || AWS_ROOMS.contains(&file.as_str()),
                "{file} names {name}"
            );
        }
    }
}

#[test]
fn the_domain_is_pure() {
    for (file, code) in files().into_iter().filter(|(file, _)| room(file) == "domain") {
        for impure in [
            "async ",
            ".await",
            "tokio",
            "tracing",
            "SystemTime::now",
            "Instant",
            "std::fs",
            "std::env",
        ] {
            assert!(!code.contains(impure), "{file} uses {impure}");
        }
    }
}

#[test]
fn no_mock_is_in_the_program() {
    for (file, code) in files() {
        let code = code.to_lowercase();
        let tests = code.find("#[cfg(test)]").unwrap_or(code.len());
        assert!(!code[..tests].contains("mock"), "{file}");
        assert!(!code[..tests].contains("aws_sim"), "{file}");
    }
}
