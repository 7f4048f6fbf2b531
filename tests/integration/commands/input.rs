//! Valid and invalid input of `tagwarden explain`.

use std::fs;

use serde_json::json;

use super::support::{bare, fixture, run, scanned};

const EVENT: &str = "basic.complete.critical_high";

#[tokio::test]
async fn event_is_read_from_a_file_a_dash_or_standard_input() {
    let text = fs::read_to_string(fixture(EVENT)).expect("a fixture");
    let by_file = run(&["explain", &fixture(EVENT)], &bare(""), "").await;
    assert_eq!(by_file.code, 3);
    for arguments in [&["explain", "-"][..], &["explain"]] {
        let shown = run(arguments, &bare(""), &text).await;
        assert_eq!((shown.code, shown.stdout), (3, by_file.stdout.clone()), "{arguments:?}");
    }
}

#[tokio::test]
async fn malformed_event_is_refused_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let written = |name: &str, bytes: &[u8]| {
        fs::write(at(name), bytes).expect("a file");
        at(name)
    };
    let big = [&b"{\"source\": \""[..], &vec![b'x'; 1 << 20], b"\"}"].concat();
    let received = br#"{"Messages": [{"MessageId": "1", "Body": "{}"}]}"#;
    for (path, expected) in [
        (at("missing"), "cannot be read: No such file"),
        (at(""), "cannot be read: Is a directory"),
        (written("empty", b""), "is empty"),
        (written("blank", b" \n"), "is empty"),
        (written("text", b"hello"), "is no event for tagwarden: the body is not a JSON object"),
        (written("half", b"{\"source\": "), "is no event for tagwarden: source: EOF"),
        (written("latin1", b"{\"source\": \"\xe9\"}"), "is not UTF-8 text"),
        (written("big", &big), "exceeds 1 MiB"),
        (written("list", b"[]"), "the body is not a JSON object"),
        (written("object", b"{\"a\": 1}"), "missing field `source`"),
        (written("received", received), "it looks like the answer of `aws sqs receive-message`"),
        (fixture("sns_subscription_confirmation"), "is no event for tagwarden"),
    ] {
        let shown = run(&["explain", &path], &bare(""), "").await;
        let complaint = shown.complaint(2);
        assert!(complaint.contains(&path) && complaint.contains(expected), "{complaint}");
    }
    let shown = run(&["explain"], &bare(""), "").await;
    assert_eq!(shown.complaint(2), "standard input is empty");
}

#[tokio::test]
async fn unusable_configuration_is_refused_before_the_event_is_read() {
    for (config, expected) in [
        ("policy.modus = 'audit'", "policy.modus: no such key; did you mean `mode`?"),
        ("policy.mode = 'strict'", "policy.mode: is \"strict\""),
        ("policy.mode", "is not valid TOML"),
    ] {
        let shown = run(&["explain", &fixture(EVENT)], &bare(config), "").await;
        assert!(shown.complaint(2).contains(expected), "{shown:?}");
    }
}

/// The text contains no character that a terminal acts on, and none that changes the direction of
/// writing.
fn is_safe(text: &str) -> bool {
    let turns = |one| matches!(one, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text.contains(|one: char| (one.is_control() && one != '\n') || turns(one))
}

#[tokio::test]
async fn event_reaches_the_terminal_only_as_plain_text() {
    let digest = format!("sha256:{}", "1".repeat(64));
    let nasty = [
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "\u{9b}31m",
        "a\rb",
        "\u{202e}gpj.exe",
        "a\nverdict    keep",
    ];
    for text in nasty {
        let mut events = Vec::new();
        for pointer in ["/source", "/detail-type", "/id", "/time", "/account", "/region"] {
            let mut event = scanned(&digest, &["1"], &json!({"HIGH": 1}));
            *event.pointer_mut(pointer).expect("a member") = json!(text);
            events.push(event);
        }
        for member in [
            "repository-name",
            "image-digest",
            "image-tags",
            "finding-severity-counts",
            "scan-status",
        ] {
            let mut event = scanned(&digest, &["1"], &json!({"HIGH": 1}));
            event["detail"][member] = json!(text);
            events.push(event.clone());
            event["detail"][member] = json!([text]);
            events.push(event.clone());
            event["detail"][member] = json!({text: text});
            events.push(event);
        }
        let finding =
            fs::read_to_string(fixture("inspector2_finding.active.high")).expect("a fixture");
        let mut finding: serde_json::Value = serde_json::from_str(&finding).expect("JSON");
        finding["detail"]["title"] = json!(text);
        finding["detail"]["packageVulnerabilityDetails"]["vulnerabilityId"] = json!(text);
        events.push(finding);
        for event in events {
            for format in ["text", "json"] {
                let shown =
                    run(&["explain", "--format", format], &bare(""), event.to_string()).await;
                let all = format!("{}{}", shown.stdout, shown.stderr);
                assert!(is_safe(&all), "{all:?}");
                assert!(
                    all.lines().filter(|line| line.starts_with("verdict ")).count() <= 1,
                    "{all}"
                );
                if format == "json" && !shown.stdout.is_empty() {
                    shown.json();
                }
            }
        }
    }
}

#[tokio::test]
async fn hostile_file_name_is_shown_safely() {
    let shown = run(&["explain", "/nonexistent/\u{1b}[31m"], &bare(""), "").await;
    assert_eq!(
        shown.complaint(2),
        r"/nonexistent/\u001b[31m cannot be read: No such file or directory (os error 2)"
    );
}

#[tokio::test]
async fn help_explains_the_exit_codes() {
    for command in ["explain", "check", "plan", "apply", "restore"] {
        let shown = run(&[command, "--help"], &bare(""), "").await;
        assert!(shown.stdout.contains("Exit codes:"), "{}", shown.stdout);
    }
    insta::assert_snapshot!(run(&["help"], &bare(""), "").await.text());
}
