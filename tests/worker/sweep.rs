//! Sweeps by the queue: whatever events there were, what is in the registry is looked at.

use std::time::Duration;

use aws_sim::{Fault, FaultRule, RepoKey, ScanResult};
use serde_json::{Value, json};

use super::support::{ACCOUNT, QUEUE, REGION, World, critical, quarantine};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a schedule sends.
fn sweep() -> Value {
    json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": {}})
}

/// The summaries of sweeps, and the notices about images.
fn told(world: &World) -> (Vec<Value>, Vec<Value>) {
    world.notices().into_iter().partition(|notice| notice["schema"] == "tagwarden.sweep/1")
}

/// The one summary.
fn summary(world: &World) -> Value {
    let (mut summaries, _) = told(world);
    assert_eq!(summaries.len(), 1, "{summaries:#?}");
    summaries.remove(0)
}

/// How many images stand where, without those that are none.
fn images(summary: &Value) -> Value {
    let mut images = summary["images"].clone();
    images.as_object_mut().unwrap().retain(|_, count| *count != 0);
    images
}

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 3)])
}

/// So many other repositories, each with a clean image.
fn others(world: &World, count: usize) {
    for number in 0..count {
        let repository = world.sim.create_repository(&format!("team/r{number}"));
        world.image_in(&repository, &["1.0"], clean());
    }
}

/// The images of which another scan was asked for, in order.
fn scanned(world: &World) -> Vec<Value> {
    let calls = world.sim.calls_of("StartImageScan").into_iter();
    calls.map(|call| call.request["imageId"]["imageDigest"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_registry_filled_before_the_worker_came_is_clean_after_one_sweep() {
    let world = World::new().set("POLICY__PROTECTED_TAGS", "prod-*");
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
    let (_, notices) = told(&world);
    assert_eq!(notices.len(), 2, "{notices:#?}");
    assert!(notices.iter().all(|notice| notice["action"] == "quarantined"), "{notices:#?}");
    let summary = summary(&world);
    assert_eq!(images(&summary), json!({"untag": 2, "blocked": 1, "clean": 1}));
    assert_eq!(summary["repositories"], json!({"covered": 2, "swept": 2}));
    assert_eq!(summary["before"], Value::Null);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_second_sweep_changes_nothing_and_says_so() {
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

    let (summaries, notices) = told(&world);
    assert_eq!(notices.len(), 1, "{notices:#?}");
    assert_eq!(summaries.len(), 3);
    assert_eq!(images(&summaries[0]), json!({"untag": 1, "clean": 1}));
    for summary in &summaries[1..] {
        assert_eq!(images(summary), json!({"quarantined": 1, "clean": 1}));
    }
    assert_eq!(summaries[2]["before"], summaries[2]["images"]);
    assert_eq!(world.changes().len(), 2, "one mark, one untag");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_without_an_input_of_its_own_sweeps_too() {
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
async fn our_own_message_may_bear_its_detail_as_a_text() {
    let world = World::new();
    let bad = world.image(&["1.0"], critical());
    let detail = json!({"sweep": "by hand"}).to_string();
    world.send(&json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": detail}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&bad), [quarantine(&bad)]);
    assert_eq!(summary(&world)["sweep"], "by hand");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_comes_twice_tells_of_each_image_once() {
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
    let (summaries, notices) = told(&world);
    assert_eq!(notices.len(), bad.len(), "{notices:#?}");
    let ids: std::collections::BTreeSet<_> =
        summaries.iter().map(|summary| summary["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "{summaries:#?}");
    assert_eq!(world.changes().len(), 2 * bad.len());
}

#[tokio::test(start_paused = true)]
async fn a_large_repository_is_looked_at_slice_by_slice() {
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
async fn in_audit_mode_a_sweep_counts_and_does_nothing() {
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
    assert_eq!(told(&world).1, Vec::<Value>::new());
    assert_eq!(world.changes().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_no_scan_covers_is_counted_by_kind_and_never_taken_for_clean() {
    let world = World::new().set("SWEEP__RESCAN_AFTER", "never");
    for (tag, status) in [
        ("failed", "FAILED"),
        ("unsupported", "UNSUPPORTED_IMAGE"),
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
        "archived": 1,
    });
    let summary = summary(&world);
    assert_eq!(images(&summary), expected);
    assert_eq!(summary["worst"][0]["not_covered"], 5);
    assert_eq!(told(&world).1, Vec::<Value>::new(), "the summary says it all");
}

#[tokio::test(start_paused = true)]
async fn an_image_whose_scan_is_old_is_scanned_again_and_its_event_leads_on() {
    let world = World::new();
    world.route(json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Scan"]}));
    let old = world.image(&["old"], clean());
    tokio::time::advance(2 * DAY).await;
    world.image(&["new"], clean());
    world.send(&sweep());
    let test = async {
        world.done().await;
        // Since then a finding has become known.
        world.sim.set_findings(&world.repository, &old, critical());
        world.sim.emit_scan_event(&world.repository, &old);
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(scanned(&world), [json!(old)]);
    assert_eq!(world.tags(&old), [quarantine(&old)]);
}

#[tokio::test(start_paused = true)]
async fn what_violates_the_policy_goes_before_anybody_asks_for_another_scan() {
    let world = World::new();
    let old = world.image(&["old"], critical());
    tokio::time::advance(2 * DAY).await;
    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(world.tags(&old), [quarantine(&old)]);
    assert_eq!(world.sim.calls_of("StartImageScan").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_registry_with_enhanced_scanning_is_asked_for_a_scan_once() {
    let world = World::new();
    for tag in ["1", "2", "3"] {
        world.sim.push_image(&world.repository, &[tag], tag);
    }
    world.sim.set_faults(FaultRule::on("StartImageScan").error("ValidationException"));
    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(world.sim.calls_of("StartImageScan").len(), 1);
    assert_eq!(images(&summary(&world)), json!({"never_scanned": 3}));
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
    assert_eq!(told(&world).0.len(), 4, "a summary for each registry");
}

#[tokio::test(start_paused = true)]
async fn one_image_that_cannot_be_looked_at_hides_no_other() {
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
async fn a_sweep_that_is_killed_at_any_of_its_calls_converges() {
    let world = World::new();
    let fill = |world: &World| {
        let bad = world.image(&["1.0"], critical());
        world.image(&["2.0"], clean());
        let other = world.sim.create_repository("team/other");
        world.image_in(&other, &["3.0"], clean());
        bad
    };
    fill(&world);
    world.send(&sweep());
    world.run_to_the_end().await;
    let calls = world.sim.calls();
    let mut operations: Vec<_> = calls.iter().map(|call| call.operation.clone()).collect();
    operations.sort();
    operations.dedup();
    for operation in operations {
        let count = calls.iter().filter(|call| call.operation == operation).count();
        for number in 1..=count.min(6) {
            for fault in [Fault::Hang, Fault::HangAfter] {
                let world = World::new();
                let bad = fill(&world);
                world.send(&sweep());
                world.crash_at_call(&operation, number, fault).await;
                world.run_to_the_end().await;
                let what = format!("{operation} {number}");
                assert_eq!(world.tags(&bad), [quarantine(&bad)], "{what}");
                assert_eq!(world.dead_letters(), 0, "{what}");
                let (summaries, notices) = told(&world);
                assert!(!notices.is_empty(), "{what}");
                let whole = json!({"covered": 2, "swept": 2});
                assert!(
                    summaries.iter().any(|one| one["repositories"] == whole),
                    "{what}: {summaries:#?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn results_that_come_to_different_tasks_are_told_together() {
    let world = World::new();
    others(&world, 6);
    world.send(&sweep());
    let (one, other) = (world.app_as("AKIAONE"), world.app_as("AKIAOTHER"));
    let shutdown = tagwarden::shutdown::Shutdown::default();
    let both = async {
        tokio::select! {
            biased;
            ended = one.work(&shutdown) => panic!("{ended:?}"),
            ended = other.work(&shutdown) => panic!("{ended:?}"),
            () = world.done() => {}
        }
    };
    both.await;
    let (summaries, _) = told(&world);
    let whole = json!({"covered": 7, "swept": 7});
    assert!(summaries.iter().any(|one| one["repositories"] == whole), "{summaries:#?}");
    assert_eq!(world.sim.queue(QUEUE).messages, []);
}

#[tokio::test(start_paused = true)]
async fn live_events_go_on_while_a_sweep_runs() {
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

/// A world of this many other repositories beside one whose images nobody may list.
fn with_one_refused(count: usize) -> World {
    let world = World::new();
    others(&world, count);
    let refused = FaultRule::on("DescribeImages").repository("team/app");
    world.sim.set_faults(refused.error("AccessDeniedException"));
    world
}

#[tokio::test(start_paused = true)]
async fn results_outlive_the_wait_for_a_repository_that_refuses_for_an_hour() {
    let world = with_one_refused(5);
    world.send(&sweep());
    let test = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.run_while(test).await;
    let summary = summary(&world);
    assert_eq!(summary["repositories"], json!({"covered": 6, "swept": 6}));
    assert_eq!(images(&summary), json!({"clean": 5}));
    assert_eq!(world.dead_letters(), 0, "no result was used up by waiting");
}

#[tokio::test(start_paused = true)]
async fn the_same_with_a_new_task_every_few_minutes() {
    let world = with_one_refused(5);
    world.send(&sweep());
    for _ in 0..12 {
        let five_minutes = tokio::time::sleep(Duration::from_secs(300));
        world.run_while(five_minutes).await;
    }
    world.sim.clear_faults();
    world.run_to_the_end().await;
    let (summaries, _) = told(&world);
    let whole = json!({"covered": 6, "swept": 6});
    assert!(summaries.iter().any(|one| one["repositories"] == whole), "{summaries:#?}");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_for_hours_is_told_as_missing() {
    let world = with_one_refused(3);
    world.send(&sweep());
    world.run_to_the_end().await;
    let (summaries, _) = told(&world);
    let missing = json!({"covered": 4, "swept": 3});
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0]["repositories"], missing);
    assert_eq!(world.dead_letters(), 1, "the slice that was refused to the end");
}

#[tokio::test(start_paused = true)]
async fn the_images_of_an_index_are_scanned_again_too() {
    let world = World::new();
    let old = world.image(&[], clean());
    let never = world.sim.push_image(&world.repository, &[], "never");
    world.sim.push_index(
        &world.repository,
        &["multi"],
        &[(&old, "linux/amd64"), (&never, "linux/arm64")],
    );
    tokio::time::advance(2 * DAY).await;
    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(scanned(&world), [json!(old), json!(never)]);
    assert_eq!(images(&summary(&world)), json!({"index_only": 1}));
}

#[tokio::test(start_paused = true)]
async fn an_index_goes_by_its_images_and_one_of_unscanned_images_is_a_gap() {
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
async fn a_step_outside_the_policys_reach_touches_nothing() {
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
async fn a_registry_that_refuses_scans_keeps_nobody_from_being_looked_at_or_acted_on() {
    for code in ["AccessDeniedException", "InvalidParameterException", "ServerException"] {
        let world = World::new();
        let bad = world.image(&["bad"], critical());
        for number in 0..120 {
            world.sim.push_image(&world.repository, &[&format!("v{number}")], &format!("{number}"));
        }
        world.sim.set_faults(FaultRule::on("StartImageScan").error(code));
        world.send(&sweep());
        world.run_to_the_end().await;
        assert_eq!(world.tags(&bad), [quarantine(&bad)], "{code}");
        assert_eq!(images(&summary(&world)), json!({"untag": 1, "never_scanned": 120}), "{code}");
        assert_eq!(world.dead_letters(), 0, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_fails_keeps_no_other_from_its_one_summary_and_uses_up_no_result() {
    let world =
        World::new().with_topics(&[("good", "format = 'json'"), ("bad", "format = 'json'")]);
    others(&world, 4);
    let arns: Vec<_> = ["good", "bad"]
        .map(|name| format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}"))
        .into_iter()
        .collect();
    let bad = arns[1].clone();
    let refused =
        FaultRule::on("Publish").matching(move |call| call.input["TopicArn"] == bad.as_str());
    world.sim.set_faults(refused.error("AuthorizationErrorException"));
    world.send(&sweep());
    let test = async {
        tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.run_while(test).await;
    for arn in &arns {
        let told = world.notices_of(arn);
        assert_eq!(told.len(), 1, "{arn} {told:#?}");
        assert_eq!(told[0]["repositories"], json!({"covered": 5, "swept": 5}));
    }
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_summary_is_told_although_the_task_that_told_it_ends_and_others_come() {
    let world = World::new();
    others(&world, 8);
    world.send(&sweep());
    world.run_until(|sim| !sim.calls_of("Publish").is_empty()).await;
    world.run_to_the_end().await;
    let summary = summary(&world);
    assert_eq!(summary["repositories"], json!({"covered": 9, "swept": 9}));
}

#[tokio::test(start_paused = true)]
async fn a_sweep_that_began_long_ago_is_told_whole() {
    let world = World::new();
    others(&world, 5);
    world.send(&sweep());
    // Nobody was there for a day.
    tokio::time::advance(DAY).await;
    world.run_to_the_end().await;
    assert_eq!(summary(&world)["repositories"], json!({"covered": 6, "swept": 6}));
}

#[tokio::test(start_paused = true)]
async fn what_is_over_the_limits_does_not_pile_up_and_goes_in_later_sweeps() {
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
    assert!(sweeps > 1, "all waited for their hour in the queue");
}

#[tokio::test(start_paused = true)]
async fn a_time_that_lies_ahead_keeps_no_result_for_ever() {
    for time in ["2999-01-01T00:00:00Z", "yesterday"] {
        let world = with_one_refused(2);
        let mut order = sweep();
        order["time"] = json!(time);
        world.send(&order);
        world.run_to_the_end().await;
        assert_eq!(told(&world).0.len(), 1, "{time}");
    }
}
