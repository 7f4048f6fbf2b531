use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

use super::*;
use crate::config::{JudgingSettings, Sources};
use crate::domain::evaluation::Subject;
use crate::domain::findings::Findings;
use crate::domain::names::{AccountId, Region, Repository, RepositoryName, Tag};
use crate::notify::NoticeFormat;
use crate::notify::render::{Audience, render};
use crate::notify::sample::{notice, tags};

/// Plays the registry for the AWS command line: `latest` is in use again.
const AWS: &str = r#"#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
*batch-get-image*imageDigest=*imageManifestMediaType*) echo "$TYPE_OF_ECR" ;;
*batch-get-image*imageDigest=*) printf '%s\n' "$MANIFEST_OF_ECR" ;;
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
const TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Returns the block of the page in this language.
fn block(language: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/undo.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, rest) = page.split_once(&format!("   ```{language}\n")).unwrap();
    let (block, _) = rest.split_once("   ```\n").unwrap();
    let lines = block.lines().map(|line| line.strip_prefix("   ").unwrap_or(line));
    lines.map(|line| format!("{line}\n")).collect()
}

/// Replaces one text of a page, which must be there.
fn filled(page: &str, sample: &str, value: &str) -> String {
    assert_eq!(page.matches(sample).count(), 1, "{sample} in {page}");
    page.replace(sample, value)
}

/// Returns the commands of the page with the values of the JSON notice, as a person copies them.
fn script(notice: &Notice) -> String {
    let body = render(notice, NoticeFormat::Json, Audience::default()).body;
    let document: Value = serde_json::from_str(&body).unwrap();
    let image = |key: &str| document["image"][key].as_str().unwrap().to_owned();
    let removed = ["untagged", "claimed"].map(|key| document["tags"][key].as_array().unwrap());
    let tags: Vec<_> = removed.into_iter().flatten().map(|tag| tag.as_str().unwrap()).collect();
    let page =
        filled(&block("sh"), "ACCOUNT=111122223333", &("ACCOUNT=".to_owned() + &image("account")));
    let page = filled(&page, "REGION=eu-west-1", &("REGION=".to_owned() + &image("region")));
    let page =
        filled(&page, "REPOSITORY=team/app", &("REPOSITORY=".to_owned() + &image("repository")));
    let page = filled(&page, "DIGEST=sha256:...", &("DIGEST=".to_owned() + &image("digest")));
    filled(&page, "give_back 1.2.3 latest", &("give_back ".to_owned() + &tags.join(" ")))
}

/// What the commands say, what they call, and the manifest that they put last.
#[derive(Debug)]
struct Ran {
    said: String,
    calls: Vec<String>,
    put: String,
    succeeded: bool,
}

/// Runs the commands in a shell, for an image with this manifest and media type.
fn run_with(commands: &str, manifest: &str, media_type: &str) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let aws = directory.path().join("aws");
    std::fs::write(&aws, AWS).unwrap();
    std::fs::set_permissions(&aws, std::fs::Permissions::from_mode(0o755)).unwrap();
    let calls = directory.path().join("calls");
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let shell = Command::new("sh")
        .args(["-u", "-c", commands])
        .env("PATH", path)
        .env("CALLS", &calls)
        .env("MANIFEST_OF_ECR", manifest)
        .env("TYPE_OF_ECR", media_type)
        .output()
        .unwrap();
    let said = [shell.stdout, shell.stderr].concat();
    let calls = std::fs::read_to_string(calls).unwrap();
    Ran {
        said: String::from_utf8(said).unwrap(),
        calls: calls.lines().map(str::to_owned).collect(),
        put: std::fs::read_to_string(directory.path().join("calls.manifest")).unwrap_or_default(),
        succeeded: shell.status.success(),
    }
}

fn run(commands: &str) -> Ran {
    run_with(commands, MANIFEST, TYPE)
}

#[test]
fn documented_commands_restore_the_tags_that_nobody_pushed_again() {
    let mut notice = notice();
    notice.tags.untagged = tags(&["1.2.3", "latest", "_x"]);
    notice.tags.claimed = tags(&["0--help", "1..2"]);
    for strict in ["", "set -e\n"] {
        let ran = run(&format!("{strict}{}", script(&notice)));
        let left = "latest is left alone: it is in use again, or cannot be read\n";
        assert_eq!(ran.said, format!("put\n{left}put\nput\nput\n"));
        assert!(ran.succeeded);
        let calls = ran.calls.iter();
        let put: Vec<_> = calls.filter(|call| call.starts_with("ecr put-image")).collect();
        assert_eq!(put.len(), 4, "{ran:#?}");
        for (call, tag) in put.into_iter().zip(["1.2.3", "_x", "0--help", "1..2"]) {
            let start = format!("ecr put-image --image-tag {tag} --image-manifest {{");
            assert_eq!(*call, start, "the manifest keeps its line ends");
        }
    }
}

#[test]
fn documented_commands_name_the_registry_and_the_image_in_every_call() {
    let mut notice = notice();
    notice.repository = Repository {
        account: AccountId::parse("444455556666").unwrap(),
        region: Region::parse("us-gov-west-1").unwrap(),
        name: RepositoryName::parse("a.b_c-d/e__f").unwrap(),
    };
    let ran = run(&script(&notice));
    let place = "--registry-id 444455556666 --region us-gov-west-1 --repository-name a.b_c-d/e__f";
    let begun = ran.calls.iter().filter(|call| call.starts_with("ecr ")).count();
    assert_eq!(ran.calls.iter().filter(|call| call.ends_with(place)).count(), begun, "{ran:#?}");
    let rest = ran.calls.iter().find(|call| call.starts_with("} ")).unwrap();
    let options = format!(
        "}} --image-digest {} --image-manifest-media-type {TYPE} --output text \
         --query image.imageId.imageTag {place}",
        notice.digest
    );
    assert_eq!(*rest, options);
    let read = format!("ecr batch-get-image --image-ids imageDigest={} ", notice.digest);
    assert_eq!(ran.calls.iter().filter(|call| call.starts_with(&read)).count(), 2, "{ran:#?}");
}

#[test]
fn manifest_is_put_byte_for_byte_with_any_ending() {
    for end in ["", "\n", "\n\n\n", "\r\n", " ", ".", "\n.", "\\n"] {
        let manifest = format!("{MANIFEST}{end}");
        assert_eq!(run_with(&script(&notice()), &manifest, TYPE).put, manifest, "{end:?}");
    }
}

#[test]
fn unreadable_tag_is_left_alone() {
    let mut notice = notice();
    notice.tags.untagged = tags(&["broken"]);
    let said = run(&script(&notice)).said;
    assert_eq!(said, "broken is left alone: it is in use again, or cannot be read\n");
}

#[test]
fn image_that_is_gone_is_not_put() {
    let ran = run_with(&script(&notice()), "None", "None");
    assert_eq!(ran.said, "the image is no longer in the repository\n");
    assert!(!ran.succeeded && ran.put.is_empty(), "{ran:#?}");
}

#[test]
fn a_hundred_tags_are_given_back_at_once() {
    let mut notice = notice();
    notice.tags.untagged = (0..100).map(|at| Tag::parse(format!("build-{at}")).unwrap()).collect();
    assert_eq!(run(&script(&notice)).said, "put\n".repeat(100));
}

#[test]
fn nothing_to_undo_without_removed_tags_mark_or_image() {
    assert!(Undo::of(&notice()).is_some());
    let mut nothing = notice();
    nothing.tags.untagged.clear();
    assert_eq!(Undo::of(&nothing), None);
    let deleted = Notice { action: NoticeAction::Deleted, ..notice() };
    assert_eq!(Undo::of(&deleted), None);
    let mut unmarked = notice();
    unmarked.tags.quarantine = None;
    assert_eq!(Undo::of(&unmarked), None);
}

/// Returns the policy that the worker reads from this configuration.
fn load(text: &str) -> Result<JudgingSettings, String> {
    let environment = HashMap::from([("TAGWARDEN_CONFIG_TEXT".to_owned(), text.to_owned())]);
    JudgingSettings::load(&Sources { file: None, environment }).map_err(|error| error.to_string())
}

#[test]
fn completed_exception_is_accepted_and_keeps_the_image() {
    let notice = notice();
    let mut text = Undo::of(&notice).unwrap().exception;
    let page = filled(&block("toml"), "DIGEST", notice.digest.as_str());
    let page = filled(&page, "REPOSITORY", notice.repository.name.as_str());
    assert_eq!(page.trim_end(), text, "the page and the JSON notice say the same");
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
        repository: &notice.repository,
        digests: &[&notice.digest],
        pushed_at: None,
        now: SystemTime::UNIX_EPOCH,
    };
    let evaluation = policy.judge(&subject, &Findings::new(notice.counts.clone(), list));
    assert!(!evaluation.violates(), "whatever the counts know of beyond the list");
}
