//! The rules of the house, as docs/architecture.md draws them: imports run downwards, the files of
//! one room form no cycle, `domain` and `event` are pure, and AWS types stay in their rooms.
//!
//! The sources are parsed, so that comments and strings cannot pass for imports.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

#[path = "architecture/sources.rs"]
mod sources;

use sources::{Source, circles, sources, texts};

/// Rooms from the top. A room imports only from lower floors.
const FLOORS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["app"],
    &["check"],
    &["config"],
    &["worker", "explain", "ask"],
    &["quarantined"],
    &["sweep", "restore"],
    &["assess"],
    &["enforce"],
    &["inspect"],
    &["outcome"],
    &["notify", "queue", "registry", "http"],
    &["health", "in_use"],
    &["aws", "backoff", "bounded"],
    &["telemetry", "shutdown"],
    &["clock", "event", "table"],
    &["domain"],
];

/// The only files that may name an AWS type.
const AWS_FILES: &[&str] = &[
    "queue/sqs.rs",
    "queue/sqs/permissions.rs",
    "registry/ecr.rs",
    "registry/ecr/answers.rs",
    "registry/ecr/batches.rs",
    "registry/ecr/clients.rs",
    "registry/ecr/deletes.rs",
    "registry/ecr/findings.rs",
    "registry/ecr/lifecycle.rs",
    "registry/ecr/manifests.rs",
    "registry/ecr/permissions.rs",
    "registry/ecr/records.rs",
    "registry/ecr/replication.rs",
    "notify/sns.rs",
    "notify/sns/permissions.rs",
    "aws.rs",
    "aws/attempts.rs",
    "aws/error.rs",
    "aws/identity.rs",
    "app.rs",
    "app/live.rs",
    "app/restore.rs",
    "app/quarantined.rs",
    "app/sweep.rs",
    "app/wiring.rs",
];

/// The files of a room that other rooms name themselves, and why. All others are behind the facade
/// of their room, which re-exports what others may use.
const OPEN_FILES: &[(&str, &str)] = &[
    ("app::", "the commands name the one that they run"),
    ("check::", "each page of the report is a part of its own"),
    ("domain::", "every file is one subject, which its name says"),
    ("event::restore", "the requests to restore an image, which no other event needs"),
    ("event::sweep", "the messages of sweeps, which no other event needs"),
    ("explain::live", "it is the only part that calls AWS"),
    ("notify::render", "the summary of a sweep is sent in the same forms as a notice"),
    ("telemetry::", "metrics, logs, traces and their export have nothing in common"),
];

/// Crates and modules of the standard library that pure code must not touch.
const IMPURE: [&str; 9] = [
    "tokio",
    "tracing",
    "opentelemetry",
    "std::fs",
    "std::env",
    "std::net",
    "std::process",
    "std::time::Instant",
    "fastrand",
];

/// The most columns of a line, as rustfmt has it for code. It leaves comments as they are.
const WIDTH: usize = 100;

/// The largest share of `src` that one room may have, in per cent of its lines.
const LARGEST_ROOM: usize = 16;

fn floor(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or_else(|| panic!("{room} is on no floor: add it here and to docs/architecture.md"))
}

#[test]
fn imports_run_downwards_only() {
    for source in sources().iter().filter(|source| source.room() != "lib") {
        for room in source.rooms().filter(|room| *room != source.room()) {
            let file = &source.file;
            assert!(floor(room) > floor(source.room()), "{file} imports {room}, not below it");
        }
    }
}

#[test]
fn rooms_are_entered_by_their_facades() {
    let sources = sources();
    for source in sources.iter().filter(|source| source.room() != "lib") {
        for inner in source.past_facades(&sources) {
            let is_open = OPEN_FILES.iter().any(|(open, _)| match open.strip_suffix("::") {
                Some(room) => inner.split("::").next() == Some(room),
                None => inner == *open,
            });
            let file = &source.file;
            assert!(is_open, "{file} imports {inner}: re-export it from the room's facade instead");
        }
    }
}

#[test]
fn files_of_one_room_do_not_form_a_cycle() {
    let circles = circles(&sources());
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn only_their_own_files_name_aws_types() {
    for source in sources() {
        let named = ["aws_sdk_", "aws_config", "aws_smithy", "aws_types", "aws_credential_types"];
        let names = |path: &&String| named.iter().any(|prefix| path.starts_with(prefix));
        let aws = source.paths.iter().find(names);
        let may = AWS_FILES.contains(&source.file.as_str());
        assert!(aws.is_none() || may, "{} names {}", source.file, aws.expect("a path"));
    }
}

#[test]
fn domain_and_event_are_pure() {
    for source in sources() {
        if !["domain", "event"].contains(&source.room()) {
            continue;
        }
        let file = &source.file;
        assert!(!source.is_async, "{file} has async code");
        for path in &source.paths {
            let impure = IMPURE.iter().find(|impure| path.starts_with(**impure));
            assert!(impure.is_none(), "{file} uses {path}");
            assert!(!path.ends_with("SystemTime::now"), "{file} reads the clock");
        }
        let rooms: Vec<_> = source.rooms().filter(|room| *room != source.room()).collect();
        assert!(rooms.iter().all(|room| *room == "domain"), "{file} imports {rooms:?}");
    }
}

#[test]
fn the_program_contains_no_mock() {
    for Source { file, paths, .. } in sources() {
        let mock = paths.iter().find(|path| path.to_lowercase().contains("mock"));
        assert!(mock.is_none(), "{file}: {mock:?}");
        assert!(!paths.iter().any(|path| path.starts_with("aws_sim")), "{file}");
    }
}

#[test]
fn no_room_exceeds_its_share_of_the_code() {
    let sources = sources();
    let all: usize = sources.iter().map(|source| source.lines).sum();
    for room in FLOORS.concat() {
        let lines: usize =
            sources.iter().filter(|source| source.room() == room).map(|source| source.lines).sum();
        let share = lines * 100 / all;
        assert!(share <= LARGEST_ROOM, "{room} has {share} % of the lines of src");
    }
}

#[test]
fn no_comment_is_wider_than_code() {
    let mut wide = Vec::new();
    for (file, text) in texts() {
        // What begins with a string instead may have no place to break it.
        let comments =
            text.lines().zip(1..).filter(|(line, _)| line.trim_start().starts_with("//"));
        for (line, at) in comments {
            let columns = line.chars().count();
            if columns > WIDTH {
                wide.push(format!("src/{file}:{at}: {columns} columns"));
            }
        }
    }
    assert!(wide.is_empty(), "{wide:#?}");
}

#[test]
fn each_type_has_its_methods_in_at_most_two_files() {
    let mut files = std::collections::BTreeMap::<_, Vec<_>>::new();
    for source in sources() {
        for name in source.impls {
            files
                .entry((source.file.split('/').next().map(str::to_owned), name))
                .or_default()
                .push(source.file.clone());
        }
    }
    for ((_, name), files) in files {
        assert!(files.len() <= 2, "{name} has methods in {files:?}");
    }
}
