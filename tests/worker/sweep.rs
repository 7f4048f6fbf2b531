//! Sweeps through the queue: every image in the registry is inspected, whatever events there were.

mod copies;
mod forged;
mod rescans;
mod results;

use std::time::Duration;

use aws_sim::{FaultRule, RepoKey, ScanResult};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;

use super::support::{ACCOUNT, REGION, World, critical, quarantine};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The message of a schedule.
fn sweep() -> Value {
    json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": {}})
}

/// The summaries of sweeps, and the notices about images.
fn published(world: &World) -> (Vec<Value>, Vec<Value>) {
    world.notices().into_iter().partition(|notice| notice["schema"] == "tagwarden.sweep/1")
}

/// The one summary.
fn summary(world: &World) -> Value {
    let (mut summaries, _) = published(world);
    assert_eq!(summaries.len(), 1, "{summaries:#?}");
    summaries.remove(0)
}

/// The number of images in each state, without the zeros.
fn images(summary: &Value) -> Value {
    let mut images = summary["images"].clone();
    images.as_object_mut().unwrap().retain(|_, count| *count != 0);
    images
}

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 3)])
}

/// This many other repositories, each with a clean image.
fn others(world: &World, count: usize) {
    for number in 0..count {
        let repository = world.sim.create_repository(&format!("team/r{number}"));
        world.image_in(&repository, &["1.0"], clean());
    }
}

#[tokio::test(start_paused = true)]
async fn registry_filled_before_the_worker_is_clean_after_one_sweep() {
    let world =
        World::new().set("POLICY__PROTECTED_TAGS", "prod-*").set("NOTIFY__CONTACT", "#security");
    let bad = world.image(&["1.0", "latest"], critical());
    let protected = world.image(&["prod-1"], critical());
    let good = world.image(&["2.0"], clean());
    let other = world.sim.create_repository("team/other");
    let elsewhere = world.image_in(&other, &["9"], critical());
    world.send(&sweep());

    world.run_to_the_end().await;

    assert_eq!(world.tags(&bad), [quarantine(&bad)]);
    assert_eq!(world.sim.tags(&other, &elsewhere).unwrap(), [quarantine(&elsewhere)]);
    assert_eq!(world.tags(&protected), ["prod-1"]);
    assert_eq!(world.tags(&good), ["2.0"]);
    let (_, notices) = published(&world);
    assert_eq!(notices.len(), 2, "{notices:#?}");
    assert!(notices.iter().all(|notice| notice["action"] == "quarantined"), "{notices:#?}");
    let summary = summary(&world);
    assert_eq!(images(&summary), json!({"untag": 2, "blocked": 1, "clean": 1}));
    assert_eq!(summary["repositories"], json!({"covered": 2, "swept": 2}));
    assert_eq!(summary["contact"], "#security");
    assert_eq!(summary["before"], Value::Null);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn second_sweep_changes_nothing_and_says_so() {
    let world = World::new();
    world.image(&["1.0"], critical());
    world.image(&["2.0"], clean());
    let test = async {
        for _ in 0..3 {
            world.send(&sweep());
            world.done().await;
        }
    };
    world.run_while(test).await;

    let (summaries, notices) = published(&world);
    assert_eq!(notices.len(), 1, "{notices:#?}");
    assert_eq!(summaries.len(), 3);
    assert_eq!(images(&summaries[0]), json!({"untag": 1, "clean": 1}));
    for summary in &summaries[1..] {
        assert_eq!(images(summary), json!({"quarantined": 1, "clean": 1}));
    }
    assert_eq!(summaries[2]["before"], summaries[2]["images"]);
    assert_eq!(world.changes().len(), 3, "one mark, one record, one removal");
}

#[tokio::test(start_paused = true)]
async fn schedule_without_its_own_input_sweeps_too() {
    for (source, detail) in [("aws.scheduler", json!("{}")), ("aws.events", json!({}))] {
        let world = World::new();
        let bad = world.image(&["1.0"], critical());
        world.send(&json!({
            "version": "0",
            "id": "00000000-0000-4000-8000-000000000009",
            "detail-type": "Scheduled Event",
            "source": source,
            "account": ACCOUNT,
            "time": "2026-01-02T03:04:05Z",
            "region": REGION,
            "resources": [],
            "detail": detail,
        }));
        world.run_to_the_end().await;
        assert_eq!(world.tags(&bad), [quarantine(&bad)], "{source}");
        assert_eq!(summary(&world)["sweep"], "00000000-0000-4000-8000-000000000009");
    }
}

#[tokio::test(start_paused = true)]
async fn own_message_may_contain_its_detail_as_text() {
    let world = World::new();
    let bad = world.image(&["1.0"], critical());
    let detail = json!({"sweep": "by hand"}).to_string();
    world.send(&json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": detail}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&bad), [quarantine(&bad)]);
    assert_eq!(summary(&world)["sweep"], "by hand");
}

#[tokio::test(start_paused = true)]
async fn repeated_sweep_notifies_each_image_once() {
    let world = World::new();
    let bad: Vec<_> =
        (0..5).map(|number| world.image(&[&format!("v{number}")], critical())).collect();
    let order = json!({"sweep": "s", "account": ACCOUNT, "region": REGION});
    for _ in 0..3 {
        let order = order.clone();
        world.send(
            &json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": order}),
        );
    }
    world.run_to_the_end().await;
    for digest in &bad {
        assert_eq!(world.tags(digest), [quarantine(digest)]);
    }
    let (summaries, notices) = published(&world);
    assert_eq!(notices.len(), bad.len(), "{notices:#?}");
    let ids: std::collections::BTreeSet<_> =
        summaries.iter().map(|summary| summary["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{summaries:#?}");
    assert_eq!(world.changes().len(), 3 * bad.len(), "a mark, a record and a removal each");
}

#[tokio::test(start_paused = true)]
async fn large_repository_is_swept_slice_by_slice() {
    let world = World::new();
    for number in 0..250 {
        let scan = if number % 50 == 0 { critical() } else { clean() };
        world.image(&[&format!("v{number}")], scan);
    }
    world.send(&sweep());
    let app = world.run_to_the_end().await;
    let slices = world.sim.calls_of("DescribeImages").into_iter();
    let slices = slices.filter(|call| call.request["maxResults"] == 100).count();
    assert_eq!(slices, 3);
    assert_eq!(images(&summary(&world)), json!({"untag": 5, "clean": 245}));
    let metrics = app.instruments().render().unwrap();
    for line in [
        "tagwarden_swept_images_total{coverage=\"clean\"} 245",
        "tagwarden_images{coverage=\"untag\"} 5",
    ] {
        assert!(metrics.contains(line), "{line}");
    }
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn sweep_in_audit_mode_counts_and_changes_nothing() {
    let world = World::new().set("POLICY__MODE", "audit");
    world.image(&["1.0"], critical());
    world.image(&["2.0"], clean());
    tokio::time::advance(2 * DAY).await;
    world.sim.push_image(&world.repository, &["never"], "never");
    world.send(&sweep());
    world.run_to_the_end().await;
    let expected = json!({"would_untag": 1, "clean": 1, "never_scanned": 1});
    assert_eq!(images(&summary(&world)), expected);
    assert_eq!(world.sim.calls_of("StartImageScan").len(), 0);
    assert_eq!(published(&world).1, Vec::<Value>::new());
    assert_eq!(world.changes().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn images_without_a_scan_are_counted_by_kind_and_never_as_clean() {
    let world = World::new().set("SWEEP__RESCAN_AFTER", "never");
    for (tag, status) in [
        ("failed", "FAILED"),
        ("unsupported", "UNSUPPORTED_IMAGE"),
        ("large", "IMAGE_SIZE_EXCEEDED"),
        ("expired", "SCAN_ELIGIBILITY_EXPIRED"),
        ("unavailable", "FINDINGS_UNAVAILABLE"),
        ("pending", "PENDING"),
    ] {
        world.image(&[tag], ScanResult::status(status));
    }
    world.sim.push_image(&world.repository, &["never"], "never");
    let archived = world.image(&["old"], critical());
    world.sim.archive_image(&world.repository, &archived);
    world.send(&sweep());
    world.run_to_the_end().await;
    let expected = json!({
        "scan_failed": 1, "unsupported": 1, "expired": 1, "unavailable": 1, "scanning": 1, "never_scanned": 1,
        "archived": 1, "size_exceeded": 1,
    });
    let summary = summary(&world);
    assert_eq!(images(&summary), expected);
    assert_eq!(summary["worst"][0]["not_covered"], 6);
    assert_eq!(published(&world).1, Vec::<Value>::new(), "the summary is the only notice");
}

#[tokio::test(start_paused = true)]
async fn every_account_and_region_of_the_policy_is_swept() {
    let world = World::new()
        .set("POLICY__ACCOUNTS", "111122223333,444455556666")
        .set("POLICY__REGIONS", "eu-west-1,us-east-1");
    let mut bad: Vec<(RepoKey, String)> = Vec::new();
    for account in [ACCOUNT, "444455556666"] {
        for region in ["eu-west-1", "us-east-1"] {
            let repository = world.sim.create_repository_in(account, region, "team/there");
            let digest = world.image_in(&repository, &["1.0"], critical());
            bad.push((repository, digest));
        }
    }
    world.send(&sweep());
    world.run_to_the_end().await;
    for (repository, digest) in &bad {
        assert_eq!(world.sim.tags(repository, digest).unwrap(), [quarantine(digest)]);
    }
    assert_eq!(published(&world).0.len(), 4, "a summary for each registry");
}

#[tokio::test(start_paused = true)]
async fn registry_that_refuses_stops_the_sweep_of_no_other() {
    let world = World::new()
        .set("POLICY__ACCOUNTS", "111122223333,444455556666")
        .set("POLICY__REGIONS", "eu-west-1,us-east-1");
    let mut bad: Vec<(RepoKey, String)> = Vec::new();
    for account in ["444455556666", ACCOUNT] {
        for region in ["eu-west-1", "us-east-1"] {
            let repository = world.sim.create_repository_in(account, region, "team/there");
            bad.push((repository.clone(), world.image_in(&repository, &["1.0"], critical())));
        }
    }
    let refused = FaultRule::always().account("444455556666").error("AccessDeniedException");
    world.sim.set_faults(refused);
    let app = world.app();
    let test = async {
        world.send(&sweep());
        let is_done = |(repository, digest): &(RepoKey, String)| {
            world.sim.tags(repository, digest).is_some_and(|tags| tags == [quarantine(digest)])
        };
        world.sim.wait_until(|_| bad[2..].iter().all(is_done)).await;
        assert!(!bad[..2].iter().any(is_done));
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn image_that_cannot_be_inspected_hides_no_other() {
    let world = World::new();
    let odd = world.image(&["odd"], critical());
    let bad = world.image(&["1.0"], critical());
    let digest = odd.clone();
    let fault = FaultRule::on("DescribeImageScanFindings")
        .matching(move |call| call.input["imageId"]["imageDigest"] == digest.as_str());
    world.sim.set_faults(fault.error("InvalidParameterException"));
    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(world.tags(&bad), [quarantine(&bad)]);
    assert_eq!(images(&summary(&world)), json!({"untag": 1, "failed": 1}));
}

#[tokio::test(start_paused = true)]
async fn live_events_are_processed_while_a_sweep_runs() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "4");
    for number in 0..300 {
        world.image(&[&format!("v{number}")], clean());
    }
    world.send(&sweep());
    let test = async {
        world.sim.wait_for_calls("DescribeImageScanFindings", 20).await;
        let began = tokio::time::Instant::now();
        let bad = world.violating(&["live"]);
        world
            .sim
            .wait_until(|sim| sim.tags(&world.repository, &bad).unwrap() == [quarantine(&bad)])
            .await;
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(images(&summary(&world))["clean"], 300);
}

#[tokio::test(start_paused = true)]
async fn index_is_judged_by_its_images_and_unscanned_ones_are_a_gap() {
    let world = World::new().set("SWEEP__RESCAN_AFTER", "never");
    let bad = world.image(&[], critical());
    let dark = world.sim.push_image(&world.repository, &[], "dark");
    let index = world.sim.push_index(&world.repository, &["bad"], &[(&bad, "linux/amd64")]);
    world.sim.push_index(&world.repository, &["dark"], &[(&dark, "linux/amd64")]);
    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(world.tags(&index), [quarantine(&index)]);
    assert_eq!(images(&summary(&world)), json!({"untag": 1, "index_only": 1}));
}

#[tokio::test(start_paused = true)]
async fn step_out_of_scope_changes_nothing() {
    let world = World::new().set("POLICY__REPOSITORIES__EXCLUDE", "team/secret");
    let secret = world.sim.create_repository("team/secret");
    world.image_in(&secret, &["1.0"], critical());
    let step = |detail_type: &str, detail: Value| json!({"source": "tagwarden", "detail-type": detail_type, "detail": detail});
    world.send(&step("Sweep Repository", json!({"repository": "team/secret", "of": 1})));
    world.send(&step("Sweep Registry", json!({"account": "999988887777"})));
    world.run_to_the_end().await;
    let calls = world.story();
    let of_ecr = ["DescribeRepositories", "DescribeImages", "StartImageScan", "PutImage"];
    assert!(!calls.iter().any(|call| of_ecr.contains(&call.as_str())), "{calls:?}");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn images_over_the_limits_do_not_pile_up_and_follow_in_later_sweeps() {
    let world = World::new().set("LIMITS__UNTAGS_PER_HOUR", "2");
    let bad: Vec<_> =
        (0..40).map(|number| world.image(&[&format!("v{number}")], critical())).collect();
    let left = || bad.iter().filter(|digest| world.tags(digest) != [quarantine(digest)]).count();
    let mut sweeps = 0;
    while left() > 0 {
        world.send(&sweep());
        world.run_to_the_end().await;
        assert_eq!(world.dead_letters(), 0);
        sweeps += 1;
        assert!(sweeps < 20, "{} are left", left());
    }
    assert!(sweeps > 1, "all messages waited for their hour in the queue");
}

#[tokio::test(start_paused = true)]
async fn repository_with_too_many_slices_is_reported() {
    let world = World::new();
    for number in 0..150 {
        world.image(&[&format!("v{number}")], clean());
    }
    let step = json!({"sweep": "s", "repository": "team/app", "of": 1, "slices": 2_000});
    world.send(&json!({"source": "tagwarden", "detail-type": "Sweep Repository", "detail": step}));
    world.run_to_the_end().await;
    let summary = summary(&world);
    assert_eq!(images(&summary), json!({"clean": 100}));
    assert_eq!(summary["cut"], json!(["team/app"]));
}
