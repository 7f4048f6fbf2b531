//! The example that shows the whole pipeline on one machine, as a newcomer runs it.

mod visitor;

use std::path::PathBuf;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

/// The example's program. `cargo test` builds it, because its package is a default member of the
/// workspace; for `cargo test -p tagwarden` or `--test integration` alone, run
/// `cargo build --example local` first.
pub(crate) fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(std::path::Path::parent).unwrap();
    let program = profile.join("examples/local");
    assert!(program.exists(), "{} is missing: cargo build --example local", program.display());
    program
}

/// Starts the example.
pub(crate) fn start(arguments: &[&str]) -> Child {
    Command::new(program())
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Runs the example to its end with something on its standard input.
pub(crate) async fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = start(arguments);
    // A program that does not read its input may have ended already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    child.wait_with_output().await.unwrap()
}

/// The standard output of a successful run.
pub(crate) fn shown(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    assert_eq!(errors, "", "the log is shown only on request");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The cells of the table's rows, without the images' digests.
fn rows(text: &str) -> Vec<Vec<&str>> {
    let rows = text.lines().filter(|line| line.starts_with('│'));
    rows.map(|row| row.trim_matches('│').split('┆').map(str::trim).collect()).collect()
}

/// The table's row of a tag on its first image: before, after, why.
fn tag<'a>(text: &'a str, tag: &str) -> [&'a str; 3] {
    let row = rows(text).into_iter().find(|row| row.len() == 6 && row[2] == tag);
    let row = row.unwrap_or_else(|| panic!("no tag {tag} in {text}"));
    [row[3], row[4], row[5]]
}

/// The line about a tag in the short form: what became of it and why, without the time.
fn line<'a>(text: &'a str, image: &str) -> (&'a str, &'a str) {
    let is_about = |line: &&str| line.split_whitespace().nth(1) == Some(image);
    let line = text.lines().find(is_about).unwrap_or_else(|| panic!("no {image} in {text}"));
    let (word, why) = line.split_once(image).unwrap();
    let why = why.trim();
    (word.trim(), why.rsplit_once("  ").map_or(why, |(why, _)| why.trim()))
}

#[tokio::test]
async fn twenty_lines_of_plain_text_say_what_became_of_each_tag() {
    let text = shown(&run(&[], "").await);

    assert!(text.lines().count() <= 20, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.chars().all(|c| c == '\n' || c.is_ascii_graphic() || c == ' '), "{text}");
    assert_eq!(line(&text, "team/app:1.0.0"), ("kept", "2 medium, 5 low"));
    let named = "CVE-2026-1001 in openssl 3.0.0, 2 high";
    assert_eq!(line(&text, "team/app:1.1.0"), ("untagged", named));
    assert_eq!(line(&text, "team/app:stable"), ("untagged", "3 high"));
    assert_eq!(line(&text, "team/app:prod-eu"), ("kept", "its name is protected"));
    let moved = "somebody moved it to a fixed image";
    assert_eq!(line(&text, "team/app:edge"), ("moved", moved));
    assert_eq!(line(&text, "team/web:2.0.0"), ("untagged", "1 critical in linux/arm64"));
    let accepted = "an exception accepts CVE-2021-44228";
    assert_eq!(line(&text, "team/search:4.0.0"), ("kept", accepted));
    let sum = "13 tags: 4 kept, 8 untagged, 1 moved.  7 notices.  No image was deleted.";
    assert!(text.contains(sum), "{text}");
    for option in ["-- --notice", "--story", "-- --serve"] {
        assert!(text.contains(option), "{text}");
    }
}

/// The text with its broken lines joined again.
fn unfolded(text: &str) -> String {
    text.replace("\n            ", " ")
}

#[tokio::test]
async fn one_notice_is_shown_as_it_is_mailed() {
    let text = shown(&run(&["--notice"], "").await);

    let (head, body) = text.split_once("\n\n").unwrap();
    let head: Vec<_> = head.lines().filter_map(|line| line.split_once(": ")).collect();
    assert_eq!(head[0], ("From", "AWS Notifications <no-reply@sns.amazonaws.com>"));
    assert_eq!(head[1].0, "Subject");
    assert!(head[1].1.contains("team/app"), "{text}");
    for part in ["1.1.0", "CVE-2026-1001", "openssl 3.0.0", "3.0.2"] {
        assert!(body.contains(part), "{part} is missing: {text}");
    }
}

#[tokio::test]
async fn policy_of_a_file_decides_instead_of_the_examples_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tagwarden.toml");
    let policy = "[policy]\nmode = \"audit\"\nmax_findings = { critical = 1, high = 5 }\n";
    std::fs::write(&file, policy).unwrap();
    let text = shown(&run(&["--config", file.to_str().unwrap()], "").await);

    assert_eq!(line(&text, "team/app:1.2.0").0, "kept");
    assert!(text.contains("  to untag  team/app:1.3.0     2 critical"), "{text}");
    assert!(text.contains("  to untag  team/app:prod-eu"), "{text}");
}

#[tokio::test]
async fn every_step_is_told_on_request() {
    let text = shown(&run(&["--story"], "").await);

    assert_eq!(tag(&text, "1.0.0"), ["tagged", "tagged", "2 medium, 5 low"]);
    assert_eq!(tag(&text, "1.1.0"), ["tagged", "untagged", "1 critical, 2 high"]);
    assert_eq!(tag(&text, "1.2.0"), ["tagged", "untagged", "3 high"]);
    assert_eq!(tag(&text, "stable"), ["tagged", "untagged", "3 high"]);
    assert_eq!(tag(&text, "1.3.0"), ["tagged", "untagged", "2 critical"]);
    assert_eq!(tag(&text, "prod-eu"), ["tagged", "tagged", "its name is protected"]);
    assert_eq!(tag(&text, "1.4.0"), ["tagged", "untagged", "1 critical"]);
    let [before, after, why] = tag(&text, "edge");
    assert_eq!((before, why), ("tagged", "moved by somebody else"));
    assert!(after.starts_with("on "), "{after}");
    assert_eq!(tag(&text, "2.0.0"), ["tagged", "untagged", "1 critical in linux/arm64"]);
    assert_eq!(tag(&text, "hotfix"), ["tagged", "untagged", "1 critical, 2 high"]);
    assert_eq!(tag(&text, "3.0.0"), ["tagged", "untagged", "CVE-2021-44228 (critical)"]);
    let accepted = "CVE-2021-44228 (critical); accepted by an exception";
    assert_eq!(tag(&text, "4.0.0"), ["tagged", "tagged", accepted]);
    let kept = rows(&text).into_iter().filter(|row| row.last() == Some(&"keeps the image"));
    assert_eq!(kept.count(), 6, "every vulnerable image keeps its quarantine tag");

    let text = unfolded(&text);
    assert!(text.contains("leave   team/app:edge      it is on another image by now"), "{text}");
    assert!(text.contains("|   Quarantine tag: quarantine-"), "{text}");
    let decided = "decide  untag 2.0.0, because of linux/arm64, image ";
    assert!(text.contains(decided), "{text}");
    assert_eq!(text.matches(": CVE-2021-44228 (critical) in log4j-core").count(), 2, "{text}");
    assert_eq!(text.matches("about the worker's own mark (ignored)").count(), 6, "{text}");
    assert_eq!(text.matches("  record  quarantine on image ").count(), 7, "{text}");
    assert_eq!(text.matches("  tagwarden restore 111122223333").count(), 1, "{text}");
    assert_eq!(text.matches("  tell    \"team/").count(), 7, "{text}");
    assert_eq!(text.matches("|   Digest:").count(), 1, "one notice is shown whole: {text}");
}

#[tokio::test]
async fn events_on_standard_input_are_sent_unchanged() {
    let about = |tags: &str| {
        format!(
            r#"{{"source": "aws.ecr", "detail-type": "ECR Image Scan", "detail":
            {{"scan-status": "COMPLETE", "repository-name": "team/app", "image-tags": [{tags}]}}}}"#
        )
    };
    // One file has documents one after the other, the other has an array.
    let events = [about("\"1.3.0\""), format!("[{}, 17]", about("\"no-such-tag\""))].join("\n");
    let text = shown(&run(&["--story", "--events", "-"], &events).await);

    let of_events: Vec<_> = rows(&text).into_iter().filter(|row| row.len() == 4).collect();
    let became: Vec<_> = of_events.iter().skip(1).map(|row| (row[2], row[3])).collect();
    assert_eq!(
        became,
        [
            ("deleted", "quarantined"),
            ("deleted", "absent"),
            ("in scan-events-dlq", "malformed: the body is not a JSON object"),
        ]
    );
    assert_eq!(tag(&text, "1.3.0"), ["tagged", "untagged", "2 critical"]);
    assert_eq!(tag(&text, "prod-eu"), ["tagged", "tagged", "its name is protected"]);
    assert_eq!(tag(&text, "1.1.0"), ["tagged", "tagged", "1 critical, 2 high; not judged"]);
}

#[tokio::test]
async fn lines_that_are_not_json_are_sent_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events");
    let other = r#"{"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification"}"#;
    std::fs::write(&file, format!("{other}\n\nhello\n")).unwrap();
    let text = shown(&run(&["--story", "--events", file.to_str().unwrap()], "").await);

    assert!(text.contains("Event 1 of 2: EC2 Instance State-change Notification"), "{text}");
    assert!(text.contains("event 1: ignored"), "{text}");
    assert!(text.contains("Event 2 of 2: no event (hello)"), "{text}");
    assert!(text.contains("event 2: malformed: "), "{text}");
    assert!(text.contains("so it goes to scan-events-dlq"), "{text}");
}

#[tokio::test]
async fn images_that_events_name_are_made_and_judged() {
    let digest = |digit: &str| format!("sha256:{}", digit.repeat(64));
    let scan = |tag: &str, digit: &str, counts: &str| {
        format!(
            r#"{{"version": "0", "id": "{tag}", "source": "aws.ecr", "detail-type": "ECR Image Scan",
            "account": "444455556666", "region": "us-east-2", "detail": {{"scan-status": "COMPLETE",
            "repository-name": "acme/api", "image-digest": "{}", "image-tags": ["{tag}"]{counts}}}}}"#,
            digest(digit)
        )
    };
    let counts = r#", "finding-severity-counts": {"CRITICAL": 2, "LOW": 1}"#;
    let index = r#", "action-type": "PUSH", "image-tag": "multi", "result": "SUCCESS",
        "manifest-media-type": "application/vnd.oci.image.index.v1+json""#;
    let events = [
        scan("bad", "1", counts),
        scan("unknown", "2", ""),
        scan("multi", "3", index).replace("ECR Image Scan", "ECR Image Action"),
        r#"{"source": "aws.ecr", "detail-type": "ECR Image Scan", "detail": {"scan-status":
        "COMPLETE", "repository-name": "team/app", "image-tags": ["nameless"]}}"#
            .to_owned(),
    ];
    let text = shown(&run(&["--events", "-"], &format!("[{}]", events.join(","))).await);

    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for remark in [
        "event 1: acme/api:bad, image 111111111111, 2 critical, 1 low",
        "event 2: acme/api:unknown, image 222222222222, not scanned, because no",
        "event 3: no image, because 333333333333 is an index",
        "event 4: no image, because it names no digest",
    ] {
        assert!(text.contains(remark), "{remark}: {text}");
    }
    let row = |image: &str| {
        let line = text.lines().find(|line| !line.contains("event ") && line.contains(image));
        line.unwrap_or_else(|| panic!("no {image} in {text}"))
    };
    assert!(row(" 1 acme/api:bad ").starts_with("  untagged "), "{text}");
    assert!(row(" 1 acme/api:bad ").contains("  untagged bad"), "{text}");
    assert!(row(" 2 acme/api:unknown ").starts_with("  not done "), "{text}");
    assert!(row(" 4 team/app:nameless ").contains("  absent"), "{text}");
}

#[tokio::test]
async fn unreadable_and_empty_files_are_errors_of_one_line() {
    for (option, path, problem) in [
        ("--events", "no/such/file", "local: cannot read events from no/such/file: "),
        ("--events", "-", "local: no events in standard input"),
        ("--config", "no/such/file", "local: cannot read --config no/such/file: "),
    ] {
        let output = run(&[option, path], "").await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.starts_with(problem) && errors.lines().count() == 1, "{errors}");
        assert!(output.stdout.is_empty(), "nothing was started");
    }
}

#[tokio::test]
async fn wrong_configuration_and_arguments_start_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let wrong = directory.path().join("wrong.toml");
    std::fs::write(&wrong, "[policy]\nmod = \"audit\"\n").unwrap();
    for (arguments, code, problem) in [
        (["--config", wrong.to_str().unwrap()], 1, "policy.mod"),
        (["--notice", "--serve"], 2, "cannot be used with"),
        (["--notise", "--story"], 2, "--notice"),
    ] {
        let output = run(&arguments, "").await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{errors}");
        assert!(errors.contains(problem) && !errors.contains("panicked"), "{errors}");
        assert!(output.stdout.is_empty(), "nothing was started");
    }
}
