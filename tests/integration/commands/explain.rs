//! `tagwarden explain` without AWS: no credentials, no network, no queue.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use super::support::{Shown, bare, fixture, run, scanned};

const DIGEST: &str = "sha256:1212121212121212121212121212121212121212121212121212121212121212";

async fn explained(config: &str, event: &Value) -> Shown {
    run(&["explain"], &bare(config), event.to_string()).await
}

fn critical() -> Value {
    scanned(DIGEST, &["1.2.3", "stable"], &json!({"CRITICAL": 1, "HIGH": 2}))
}

#[tokio::test]
async fn every_fixture_gets_a_verdict_and_an_exit_code() {
    let folder = format!("{}/tests/fixtures", env!("CARGO_MANIFEST_DIR"));
    let files = fs::read_dir(folder).expect("fixtures").map(|entry| entry.expect("a file").path());
    let mut files: Vec<_> = files.collect();
    files.sort();
    let mut table = String::new();
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let path = fixture(&name);
        let shown = run(&["explain", &path], &bare(""), "").await;
        let words = match shown.code {
            2 => shown.complaint(2).replace(&path, "FILE"),
            _ => shown.stdout.lines().nth(1).expect("a line").to_owned(),
        };
        writeln!(table, "{name:<48} {} {words}", shown.code).expect("text");
    }
    insta::assert_snapshot!(table);
}

#[tokio::test]
async fn violation_is_explained_down_to_the_last_call() {
    let path = fixture("basic.complete.critical_high");
    insta::assert_snapshot!(run(&["explain", &path], &bare(""), "").await.text());
}

#[tokio::test]
async fn explanation_names_rules_exceptions_protected_tags_and_audit_mode() {
    let config = r#"
        [policy]
        protected_tags = ["sta*"]
        repositories = { include = ["team/*", "shared/*"], exclude = ["team/old"] }
        accounts = ["111122223333", "444455556666"]
        regions = ["eu-west-1"]
        [limits]
        untags_per_hour = 100
        [[policy.rules]]
        name = "the team's"
        repositories = ["team/*"]
        tags = ["1.*"]
        mode = "audit"
        max_findings = { high = 5 }
        [[policy.exceptions]]
        id = "CVE-2021-44228"
        reason = "not reachable"
        owner = "security@example.com"
        expires = "2999-12-31"
        [[notify.topics]]
        arn = "arn:aws:sns:eu-west-1:111122223333:team"
        repositories = ["team/*"]
        [[notify.topics]]
        arn = "arn:aws:sns:eu-west-1:111122223333:others"
        repositories = ["shared/*"]
    "#;
    insta::assert_snapshot!(explained(config, &critical()).await.text());
}

#[tokio::test]
async fn used_exception_is_named_with_its_place_and_owner() {
    let config = r#"
        [[policy.exceptions]]
        id = "CVE-*"
        reason = "the module is not loaded"
        owner = "security@example.com"
        expires = "2999-12-31"
    "#;
    let path = fixture("inspector2_finding.active.high");
    let shown = run(&["explain", &path], &bare(config), "").await;
    assert_eq!(shown.code, 0);
    let wanted = "exception  policy.exceptions[0], CVE-* until 2999-12-31 (security@example.com: the module is not loaded)";
    assert!(shown.stdout.contains(wanted), "{}", shown.stdout);
}

#[tokio::test]
async fn every_key_of_the_policy_has_its_own_line() {
    let schema = run(&["schema"], &bare(""), "").await.json();
    let below = |section: &str| {
        let keys = schema["properties"][section]["properties"].as_object().expect("keys");
        keys.keys().map(|key| format!("{section}.{key}")).collect::<BTreeSet<_>>()
    };
    let mut keys = below("policy");
    keys.extend(below("limits"));
    keys.remove("policy.repositories");
    keys.extend(["include", "exclude"].map(|key| format!("policy.repositories.{key}")));
    let shown = explained("", &critical()).await;
    for key in keys {
        let begins = format!("  {key} ");
        let lines = shown.stdout.lines().filter(|line| line.starts_with(&begins));
        assert_eq!(lines.count(), 1, "{key}:\n{}", shown.stdout);
    }
}

#[tokio::test]
async fn json_output_says_the_same_as_the_text() {
    let event = critical().to_string();
    let shown = run(&["explain", "--format", "json"], &bare(""), &event).await;
    let explanation = shown.json();
    assert_eq!(shown.code, 3);
    assert_eq!(explanation["schema"], "tagwarden.explain/1");
    assert_eq!(explanation["verdict"], "untag");
    assert_eq!(explanation["images"][0]["digest"], DIGEST);
    assert_eq!(explanation["images"][0]["untag"], json!(["1.2.3", "stable"]));
    let keys = explanation["policy"].as_array().expect("keys");
    assert!(keys.iter().any(|key| key["key"] == "policy.mode" && key["value"] == "enforce"));

    let other = fixture("other.ecr_replication_action");
    let ignored = run(&["explain", "--format", "json", &other], &bare(""), "").await;
    assert_eq!(ignored.json()["verdict"], "ignored");
}

#[tokio::test]
async fn sns_notification_is_unwrapped() {
    let wrapped = json!({
        "Type": "Notification",
        "MessageId": "1",
        "TopicArn": "arn:aws:sns:eu-west-1:111122223333:scans",
        "Message": critical().to_string(),
        "Timestamp": "2026-11-22T03:00:00Z",
    });
    let (bare, wrapped) = (explained("", &critical()).await, explained("", &wrapped).await);
    assert_eq!((bare.code, bare.stdout), (wrapped.code, wrapped.stdout));
}

#[tokio::test]
async fn image_out_of_scope_is_left_alone_and_the_key_is_named() {
    for (config, key) in [
        ("policy.repositories.exclude = ['team/*']", "policy.repositories"),
        ("policy.accounts = ['444455556666']", "policy.accounts"),
        ("policy.regions = ['us-east-1']", "policy.regions"),
        ("queue.url = 'https://sqs.eu-west-1.amazonaws.com/444455556666/q'", "policy.accounts"),
    ] {
        let shown = explained(config, &critical()).await;
        assert_eq!(shown.code, 0);
        assert!(shown.stdout.contains("\nverdict    out of scope"), "{}", shown.stdout);
        assert!(shown.stdout.contains(key), "{}", shown.stdout);
    }
}

#[tokio::test]
async fn missing_recipients_are_reported() {
    let config = r#"
        [[notify.topics]]
        arn = "arn:aws:sns:eu-west-1:111122223333:audits"
        actions = ["would_untag"]
    "#;
    let shown = explained(config, &critical()).await;
    assert!(shown.stdout.contains("nobody is notified"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("sns Publish"), "{}", shown.stdout);
}

#[tokio::test]
async fn explanation_names_the_open_questions_of_the_event() {
    for (name, config, open) in [
        ("ecr_image_action.push.tag", "", "the event says nothing about findings"),
        ("inspector2_scan.child_no_tags", "", "an index that contains it would lose its tags"),
        ("basic.complete.counts_key_missing", "", "the event has no counts"),
        ("inspector2_scan.zero", "policy.max_findings.low = 0", "the event does not count low"),
        (
            "inspector2_finding.active.high",
            "policy.max_findings.high = 3",
            "this finding alone exceeds no limit",
        ),
    ] {
        let shown = run(&["explain", &fixture(name)], &bare(config), "").await;
        assert_eq!(shown.code, 0, "{name}");
        assert!(shown.stdout.contains("\nverdict    unknown"), "{name}: {}", shown.stdout);
        assert!(shown.stdout.contains(open), "{name}: {}", shown.stdout);
    }
}

#[tokio::test]
async fn event_without_a_digest_is_explained_by_its_tags() {
    let mut event = critical();
    event["detail"].as_object_mut().expect("an object").remove("image-digest");
    let config = "policy.protected_tags = ['stable']\npolicy.action = 'delete'";
    let shown = explained(config, &event).await.stdout;
    for line in ["  untag      1.2.3\n", "  keep       stable\n", "9. sns Publish quarantined\n"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let shown = explained("policy.action = 'delete'", &event).await.stdout;
    assert!(shown.contains("sns Publish deleted"), "{shown}");
    assert_eq!(explained("policy.protected_tags = ['*']", &event).await.code, 0);
}
