//! `tagwarden explain --live` predicts what the worker does, and changes nothing itself.

use std::path::Path;

use aws_sim::{FaultRule, Finding, ReplicationRule, ScanResult};
use serde_json::{Value, json};
use tagwarden::clock::Clock;

use super::support::{ACCOUNT, QUEUE, REGION, Shown, World, run, scanned};
use crate::process::{Variables, Worker};

const AMD: &str = "linux/amd64";

fn critical() -> ScanResult {
    ScanResult::basic(&[("CRITICAL", 1)])
}

async fn explain(world: &World, event: &Value) -> Shown {
    let shown = world.run(&["explain", "--live", "--format", "json"], &event.to_string()).await;
    assert_eq!(world.changes(), [] as [&str; 0]);
    shown
}

/// Explains an event, lets the worker process it, and compares both. Returns the explanation.
async fn explained_and_done(world: &World, event: &Value, verdict: &str) -> Value {
    let before = world.sim.repository_tags(&world.repository);
    let shown = explain(world, event).await;
    let explanation = shown.json();
    assert_eq!(explanation["verdict"], verdict, "{explanation:#}");
    assert_eq!(shown.code, if verdict == "untag" || verdict == "would_untag" { 3 } else { 0 });
    assert_eq!(world.sim.repository_tags(&world.repository), before);

    let mut expected = before;
    for image in explanation["images"].as_array().expect("images") {
        let digest = image["digest"].as_str().unwrap_or_default();
        if image["verdict"] == "untag" {
            for tag in image["untag"].as_array().expect("tags") {
                expected.remove(tag.as_str().expect("a tag"));
            }
            expected.insert(digest.replace("sha256:", "quarantine-"), digest.to_owned());
        }
    }
    world.sim.send(QUEUE, &event.to_string());
    let mut worker = Worker::start(&world.variables).await;
    let line = worker.logged("assessed", |_| true).await;
    worker.stopped().await;
    let words = [line["outcome"].as_str(), line["disposition"].as_str()];
    assert_eq!(world.sim.repository_tags(&world.repository), expected, "{verdict} {words:?}");
    let stays = !world.sim.queue(QUEUE).messages.is_empty();
    assert_eq!(stays, verdict == "wait", "{verdict} {words:?}");
    explanation
}

#[tokio::test]
async fn violating_image_is_explained_as_the_worker_acts() {
    let world = World::new().await;
    let digest = world.image(&["1.0", "latest"], critical());
    let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    let explanation = explained_and_done(&world, &event, "untag").await;
    assert_eq!(explanation["images"][0]["untag"], json!(["1.0", "latest"]));
    // The second time, nothing is left to do.
    let again = world.run(&["explain", "--live", "--format", "json"], &event.to_string()).await;
    assert_eq!((again.code, &again.json()["verdict"]), (0, &json!("already_quarantined")));
}

#[tokio::test]
async fn clean_or_missing_image_is_explained_as_the_worker_acts() {
    let counts = json!({"CRITICAL": 1});
    let world = World::new().await;
    let clean = world.image(&["1.0"], ScanResult::basic(&[("LOW", 3)]));
    explained_and_done(&world, &scanned(&clean, &["1.0"], &counts), "keep").await;
    let world = World::new().await;
    let gone = format!("sha256:{}", "9".repeat(64));
    explained_and_done(&world, &scanned(&gone, &["1.0"], &counts), "absent").await;
}

#[tokio::test]
async fn image_without_findings_is_explained_as_the_worker_acts() {
    for (scan, verdict) in [
        (ScanResult::status("PENDING"), "wait"),
        (ScanResult::status("IN_PROGRESS"), "wait"),
        (ScanResult::status("FAILED"), "unscanned"),
        (ScanResult::status("UNSUPPORTED_IMAGE"), "unscanned"),
        (ScanResult::status("SCAN_ELIGIBILITY_EXPIRED"), "unscanned"),
    ] {
        let world = World::new().await;
        let digest = world.image(&["1.0"], scan);
        let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
        explained_and_done(&world, &event, verdict).await;
    }
}

#[tokio::test]
async fn index_loses_its_tags_because_of_a_child() {
    let world = World::new().await;
    let child = world.image(&[], critical());
    let other = world.image(&[], ScanResult::basic(&[("LOW", 1)]));
    let children = [(child.as_str(), AMD), (other.as_str(), "linux/arm64")];
    let index = world.sim.push_index(&world.repository, &["1.0", "latest"], &children);
    let event = scanned(&child, &[], &json!({"CRITICAL": 1}));
    let shown = world.run(&["explain", "--live"], &event.to_string()).await;
    insta::assert_snapshot!(shown.text());
    let explanation = explained_and_done(&world, &event, "untag").await;
    let images = explanation["images"].as_array().expect("images");
    let of = |at: usize, key: &str| images[at][key].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        (of(0, "kind"), of(0, "digest"), of(0, "verdict")),
        ("index".to_owned(), index, "untag".to_owned())
    );
    assert_eq!(images[0]["cause"], json!({"digest": child, "platform": AMD}));
    assert_eq!((of(1, "digest"), of(1, "verdict")), (child, "nothing_to_untag".to_owned()));
}

#[tokio::test]
async fn index_keeps_its_tags_if_all_images_must_violate() {
    let world = World::with("policy.index = 'all'").await;
    let child = world.image(&["amd"], critical());
    let other = world.image(&[], ScanResult::basic(&[("LOW", 1)]));
    let children = [(child.as_str(), AMD), (other.as_str(), "linux/arm64")];
    world.sim.push_index(&world.repository, &["1.0"], &children);
    let event = scanned(&child, &["amd"], &json!({"CRITICAL": 1}));
    let explanation = explained_and_done(&world, &event, "untag").await;
    let index = &explanation["images"][0];
    assert_eq!((&index["kind"], &index["verdict"]), (&json!("index"), &json!("keep")));
    assert_eq!(explanation["images"][1]["digest"], child);
}

#[tokio::test]
async fn exception_for_the_digest_keeps_the_image() {
    let mut world = World::new().await;
    let digest = world.image(&["1.0"], critical());
    let config = format!(
        "[[policy.exceptions]]\ndigest = '{digest}'\nreason = 'looked at'\nowner = 'me'\nexpires = 2999-01-01"
    );
    world.variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), config);
    let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    let explanation = explained_and_done(&world, &event, "keep").await;
    let used = &explanation["images"][0]["exceptions"][0];
    assert_eq!((&used["owner"], &used["reason"]), (&json!("me"), &json!("looked at")));
}

#[tokio::test]
async fn image_in_use_or_last_of_its_repository_is_kept() {
    let used = ScanResult::enhanced(&[("CRITICAL", 1)]).in_use(2);
    for (config, scan, why) in [
        ("policy.in_use = 'block'", used, "it is in use in 2 places (in_use)"),
        ("policy.keep_at_least = 1", critical(), "only 0 other tagged images"),
        ("policy.protected_tags = ['1.*']", critical(), "tag 1.0 is protected by"),
    ] {
        let world = World::with(config).await;
        let digest = world.image(&["1.0"], scan);
        let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
        let explanation = explained_and_done(&world, &event, "blocked").await;
        let image = &explanation["images"][0];
        assert_eq!((&image["untag"], &image["kept"]), (&json!([]), &json!(["1.0"])), "{config}");
        assert!(
            image["kept_because"][0].as_str().is_some_and(|text| text.contains(why)),
            "{image}"
        );
    }
    let world = World::with("policy.keep_at_least = 1").await;
    let digest = world.image(&["1.0"], critical());
    world.image(&["0.9"], ScanResult::basic(&[]));
    let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    explained_and_done(&world, &event, "untag").await;
}

#[tokio::test]
async fn ambiguous_pull_through_cache_rule_is_named() {
    for (config, verdict) in
        [("", "untag"), ("policy.pull_through = ['library/*', 'team/*']", "blocked")]
    {
        let world = World::with(config).await;
        world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, "ROOT");
        let digest = world.image(&["1.0"], critical());
        let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
        let explanation = explained_and_done(&world, &event, verdict).await;
        let notes = explanation["notes"].to_string();
        assert_eq!(notes.contains("rule of the prefix ROOT"), verdict == "untag", "{notes}");
    }
}

#[tokio::test]
async fn replicated_removals_block_or_wait() {
    for (config, verdict) in [("", "blocked"), ("policy.replicated = 'follow'", "untag")] {
        let world = World::with(config).await;
        let rule = ReplicationRule::to(&[(ACCOUNT, "us-east-1")]).deletes(true);
        let at_once = std::time::Duration::ZERO;
        world.sim.set_replication(ACCOUNT, REGION, vec![rule], at_once..=at_once);
        let digest = world.image(&["1.0"], critical());
        let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
        let explanation = explained_and_done(&world, &event, verdict).await;
        let image = explanation["images"][0].to_string();
        let said = match verdict {
            "blocked" => "ECR repeats removals in 111122223333 us-east-1",
            _ => "in 111122223333 us-east-1, until it is there",
        };
        assert!(image.contains(said), "{image}");
    }
}

#[tokio::test]
async fn finding_counts_when_its_grace_has_passed() {
    let now = Clock::of_this_machine().now();
    let since =
        now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64() - 86_400.0;
    for (grace, verdict) in [("7d", "keep"), ("1h", "untag")] {
        let world = World::with(&format!("policy.grace = '{grace}'")).await;
        let finding = Finding::new("CVE-2026-0001", "CRITICAL").first_observed(since);
        let digest = world.image(&["1.0"], ScanResult::enhanced(&[]).with(finding));
        let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
        let explanation = explained_and_done(&world, &event, verdict).await;
        let aside = explanation["images"][0]["set_aside"].to_string();
        assert_eq!(aside.contains("(grace)"), verdict == "keep", "{aside}");
    }
}

#[tokio::test]
async fn audit_mode_shows_what_enforcing_would_do() {
    let world = World::with("policy.mode = 'audit'").await;
    let digest = world.image(&["1.0"], critical());
    let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    explained_and_done(&world, &event, "would_untag").await;
}

#[tokio::test]
async fn ignored_and_out_of_scope_events_cause_no_lookup() {
    let world = World::with("policy.repositories.exclude = ['team/*']").await;
    let digest = world.image(&["1.0"], critical());
    let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    explain(&world, &event).await;
    let clean = World::new().await;
    assert_eq!(explain(&clean, &scanned(&digest, &["1.0"], &json!({"LOW": 1}))).await.code, 0);
    assert!(world.sim.calls().is_empty() && clean.sim.calls().is_empty());
}

#[tokio::test]
async fn refusal_ends_the_explanation_and_names_the_remedy() {
    for (code, remedy) in [
        ("AccessDeniedException", "`tagwarden check --iam` prints the IAM policy"),
        ("ExpiredTokenException", "log in again"),
    ] {
        let world = World::new().await;
        world.sim.set_faults(FaultRule::always().error(code));
        let event = scanned(&format!("sha256:{}", "1".repeat(64)), &[], &json!({"CRITICAL": 1}));
        let shown = world.run(&["explain", "--live"], &event.to_string()).await;
        let complaint = shown.complaint(1);
        assert!(complaint.contains(code) && complaint.contains(remedy), "{complaint}");
        assert_eq!(world.sim.calls().len(), 1);
    }
}

#[tokio::test]
async fn missing_region_or_credentials_are_reported() {
    let mut world = World::new().await;
    let event = scanned(&format!("sha256:{}", "1".repeat(64)), &[], &json!({"CRITICAL": 1}));
    let event = event.to_string();
    let region = world.variables.remove("AWS_REGION").expect("a Region");
    for command in [&["explain", "--live"][..], &["check", "--live"], &["plan"]] {
        let shown = world.run(command, &event).await;
        assert!(shown.complaint(2).contains("set AWS_REGION"), "{shown:?}");
    }
    world.variables.insert("AWS_REGION".to_owned(), region);
    world.variables.remove("AWS_ACCESS_KEY_ID");
    for command in [&["explain", "--live"][..], &["check", "--live"]] {
        let shown = world.run(command, &event).await;
        assert!(shown.complaint(1).contains("AWS_PROFILE"), "{shown:?}");
    }
    assert!(world.sim.calls().is_empty());
}

/// The environment of a user whose credentials come from this profile.
fn with_profile(world: &World, home: &Path, profile: &str) -> Variables {
    let config = home.join("config");
    std::fs::write(&config, format!("[profile team]\n{profile}\n")).expect("a file");
    let mut variables = world.variables.clone();
    variables.retain(|name, _| !name.starts_with("AWS_ACCESS") && !name.starts_with("AWS_SECRET"));
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    variables.extend([
        ("AWS_PROFILE".to_owned(), "team".to_owned()),
        ("AWS_CONFIG_FILE".to_owned(), text(&config)),
        ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), text(&home.join("none"))),
        ("HOME".to_owned(), text(home)),
    ]);
    variables
}

#[tokio::test]
async fn credentials_come_from_the_program_of_the_profile() {
    let world = World::new().await;
    let digest = world.image(&["1.0"], critical());
    let event = scanned(&digest, &["1.0"], &json!({"CRITICAL": 1})).to_string();
    let home = tempfile::tempdir().expect("a folder");
    let credentials = home.path().join("credentials.json");
    let said = json!({"Version": 1, "AccessKeyId": "AKIAPROCESS", "SecretAccessKey": "x"});
    std::fs::write(&credentials, said.to_string()).expect("a file");
    let profile = format!("credential_process = cat {}", credentials.display());
    let variables = with_profile(&world, home.path(), &profile);
    for arguments in [&["explain", "--live"][..], &["check", "--live"], &["plan"]] {
        let before = world.sim.calls().len();
        let shown = run(arguments, &variables, &event).await;
        let calls = world.sim.calls().split_off(before);
        assert!(!calls.is_empty(), "{shown:?}");
        assert!(calls.iter().all(|call| call.caller == "AKIAPROCESS"), "{calls:#?}");
    }
}

#[tokio::test]
async fn sso_profile_lacks_only_its_login() {
    let world = World::new().await;
    let home = tempfile::tempdir().expect("a folder");
    let profile = "sso_session = team\nsso_account_id = 111122223333\nsso_role_name = reader\n\
                   [sso-session team]\nsso_start_url = https://team.example/start\nsso_region = eu-west-1";
    let variables = with_profile(&world, home.path(), profile);
    let shown = run(&["check", "--live"], &variables, "").await;
    let said = shown.complaint(1);
    assert!(!said.contains("cargo feature"), "{said}");
    assert!(said.contains("SSO"), "{said}");
}
