use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::SystemTime;

use super::*;
use crate::config::{JudgingSettings, Sources};
use crate::domain::evaluation::Subject;
use crate::domain::findings::Findings;
use crate::notify::sample::{notice, tags};

/// Plays the registry for the AWS command line: `latest` is in use again.
const AWS: &str = r#"#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
*batch-get-image*imageTag=quarantine-*) printf '%s\n' "$MANIFEST_OF_ECR" ;;
*batch-get-image*imageTag=latest*) echo None ;;
*batch-get-image*imageTag=broken*) exit 254 ;;
*batch-get-image*) echo ImageNotFound ;;
*put-image*)
  while [ "$1" != --image-manifest ]; do shift; done
  printf %s "$2" >"$CALLS.manifest"
  echo put
  ;;
esac
"#;

const MANIFEST: &str = "{\n   \"schemaVersion\": 2\n}";

/// Runs the command in a shell; returns its output and the calls that it makes.
fn run(command: &str) -> (String, Vec<String>) {
    let (said, calls, _) = run_with(command, MANIFEST);
    (said, calls)
}

/// Does the same for an image with this manifest; returns also the manifest that was put last.
fn run_with(command: &str, manifest: &str) -> (String, Vec<String>, String) {
    let directory = tempfile::tempdir().unwrap();
    let aws = directory.path().join("aws");
    std::fs::write(&aws, AWS).unwrap();
    std::fs::set_permissions(&aws, std::fs::Permissions::from_mode(0o755)).unwrap();
    let calls = directory.path().join("calls");
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let shell = Command::new("sh")
        .args(["-e", "-u", "-c", command])
        .env("PATH", path)
        .env("CALLS", &calls)
        .env("MANIFEST_OF_ECR", manifest)
        .output()
        .unwrap();
    let said = [shell.stdout, shell.stderr].concat();
    let put = std::fs::read_to_string(directory.path().join("calls.manifest")).unwrap_or_default();
    let calls = std::fs::read_to_string(calls).unwrap();
    (String::from_utf8(said).unwrap(), calls.lines().map(str::to_owned).collect(), put)
}

fn undo(notice: &Notice) -> Undo {
    Undo::of(notice, usize::MAX).unwrap()
}

#[test]
fn shell_restores_the_tags_that_nobody_pushed_again() {
    let mut notice = notice();
    notice.tags.untagged = tags(&["1.2.3", "latest", "_x"]);
    let (said, calls) = run(&undo(&notice).command);
    assert_eq!(said, "put\nlatest is left alone: it is in use again, or cannot be read\nput\n");
    let put: Vec<_> = calls.iter().filter(|call| call.starts_with("ecr put-image")).collect();
    assert_eq!(put.len(), 2, "{calls:#?}");
    for (call, tag) in put.into_iter().zip(["1.2.3", "_x"]) {
        let start = format!("ecr put-image --image-tag {tag} --image-manifest {{");
        assert_eq!(*call, start, "the manifest keeps its line ends");
    }
    let rest = calls.iter().filter(|call| call.starts_with("} ")).collect::<Vec<_>>();
    assert_eq!(
        *rest[0],
        format!(
            "}} --image-digest {} \
             --image-manifest-media-type application/vnd.oci.image.manifest.v1+json \
             --query image.imageId.imageTag --output text \
             --registry-id 111122223333 --region eu-west-1 --repository-name team/app",
            notice.digest
        )
    );
}

#[test]
fn manifest_is_put_byte_for_byte_with_any_ending() {
    for end in ["", "\n", "\n\n\n", "\r\n", " ", ".", "\n.", "\\n"] {
        let manifest = format!("{MANIFEST}{end}");
        let (_, _, put) = run_with(&undo(&notice()).command, &manifest);
        assert_eq!(put, manifest, "{end:?}");
    }
}

#[test]
fn unreadable_tag_is_left_alone() {
    let mut notice = notice();
    notice.tags.untagged = tags(&["broken"]);
    // Without -e, like the shell of a person.
    let (said, _) = run(&format!("set +e\n{}", undo(&notice).command));
    assert_eq!(said, "broken is left alone: it is in use again, or cannot be read\n");
}

#[test]
fn command_is_valid_syntax_with_short_lines_for_any_number_of_tags() {
    let mut notice = notice();
    for media_type in [None, Some("a/b; reboot"), Some("application/vnd.oci.image.index.v1+json")] {
        notice.media_type = media_type.map(str::to_owned);
        for count in [1, 40, 1000] {
            notice.tags.untagged =
                (0..count).map(|at| Tag::parse(format!("build-{at}")).unwrap()).collect();
            let command = undo(&notice).command;
            assert!(!command.contains("reboot"));
            assert!(!command.contains(['&', '<', '>', '`']), "chat would have to escape it");
            assert!(command.lines().all(|line| line.len() <= 140), "{command}");
            let shell = Command::new("sh").args(["-n", "-c", &command]).output().unwrap();
            assert!(shell.status.success(), "{shell:?}");
        }
    }
}

#[test]
fn tags_left_out_of_the_command_are_counted() {
    let mut notice = notice();
    notice.tags.claimed = tags(&["1.2.2"]);
    let undo = Undo::of(&notice, 1).unwrap();
    assert_eq!(undo.left_out, 2);
    assert!(!undo.command.contains("latest"));
}

#[test]
fn nothing_to_undo_without_removed_tags_mark_or_image() {
    let mut nothing = notice();
    nothing.tags.untagged.clear();
    assert_eq!(Undo::of(&nothing, 10), None);
    let deleted = Notice { action: NoticeAction::Deleted, ..notice() };
    assert_eq!(Undo::of(&deleted, 10), None);
    let mut unmarked = notice();
    unmarked.tags.quarantine = None;
    assert_eq!(Undo::of(&unmarked, 10), None);
}

/// Returns the policy that the worker reads from this configuration.
fn load(text: &str) -> Result<JudgingSettings, String> {
    let environment = HashMap::from([("TAGWARDEN_CONFIG_TEXT".to_owned(), text.to_owned())]);
    JudgingSettings::load(&Sources { file: None, environment }).map_err(|error| error.to_string())
}

#[test]
fn completed_exception_is_accepted_and_keeps_the_image() {
    let notice = notice();
    let mut text = undo(&notice).exception;
    for (key, value) in [("reason", "not reachable"), ("owner", "team"), ("expires", "2030-12-31")]
    {
        let error = load(&text).unwrap_err();
        assert!(error.contains(&format!("policy.exceptions[0].{key}")), "{error}");
        let blank = format!("{key} = \"\"");
        assert!(text.contains(&blank), "{text}");
        text = text.replace(&blank, &format!("{key} = \"{value}\""));
    }
    let policy = load(&text).unwrap().policy;
    let list = notice.evaluation.unwrap().worst;
    let subject = Subject {
        repository: &notice.repository.name,
        digests: &[&notice.digest],
        pushed_at: None,
        now: SystemTime::UNIX_EPOCH,
    };
    let evaluation = policy.judge(&subject, &Findings::new(notice.counts.clone(), list));
    assert!(!evaluation.violates(), "whatever the counts know of beyond the list");
}
