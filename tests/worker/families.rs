//! Every family of events leads to the same assessment, and an event that is not for us costs no
//! call to the registry.

use std::time::Duration;

use aws_sim::{Fault, Finding, ScanResult, SimConfig, manifest};
use serde_json::{Value, json};

use super::support::{QUEUE, World, critical, quarantine, settled};

fn findings() -> Value {
    json!({"detail-type": ["Inspector2 Finding"]})
}

fn actions() -> Value {
    json!({"detail-type": ["ECR Image Action"]})
}

fn once(word: &str) -> Vec<(String, u64)> {
    vec![(word.to_owned(), 1)]
}

#[tokio::test(start_paused = true)]
async fn active_finding_leads_to_an_inspection_and_to_quarantine() {
    // The second event alone would not exceed the limits.
    for severity in ["CRITICAL", "LOW"] {
        let world = World::new();
        let digest = world.image(&["1.0", "latest"], ScanResult::enhanced(&[("CRITICAL", 1)]));
        world.route(findings());
        let finding = Finding::new("CVE-2026-1000", severity);
        world.sim.emit_finding(&world.repository, &digest, &finding, "ACTIVE");

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{severity}");
        let notice = world.notice();
        assert_eq!(notice["tags"]["untagged"], json!(["1.0", "latest"]));
        assert_eq!(notice["findings"], json!({"critical": 1}), "what ECR shows");
        assert_eq!(notice["event"]["detail_type"], "Inspector2 Finding");
        assert_eq!(settled(&app), once("delete quarantined"));
    }
}

#[tokio::test(start_paused = true)]
async fn closed_or_suppressed_finding_is_ignored_without_a_call() {
    for status in ["CLOSED", "SUPPRESSED"] {
        let world = World::new();
        let digest = world.image(&["1.0"], ScanResult::enhanced(&[("CRITICAL", 1)]));
        world.route(findings());
        let finding = Finding::new("CVE-2026-1000", "CRITICAL");
        world.sim.emit_finding(&world.repository, &digest, &finding, status);

        let app = world.run_to_the_end().await;

        assert_eq!(world.story(), ["DeleteMessageBatch"], "{status}");
        assert_eq!(settled(&app), once("delete ignored"), "{status}");
        assert_eq!(world.tags(&digest), ["1.0"]);
    }
}

#[tokio::test(start_paused = true)]
async fn finding_in_an_unknown_state_is_looked_up() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("CRITICAL", 1)]));
    world.route(findings());
    let finding = Finding::new("CVE-2026-1000", "CRITICAL");
    world.sim.emit_finding(&world.repository, &digest, &finding, "SOMETHING_NEW");

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)], "ECR's own findings count");
    assert_eq!(settled(&app), once("delete quarantined"));
}

#[tokio::test(start_paused = true)]
async fn finding_that_ecr_does_not_show_yet_is_retried_until_it_appears() {
    let world = World::new();
    let shown = ScanResult::enhanced(&[("MEDIUM", 3)]);
    let digest = world.image(&["1.0"], shown.clone());
    world.route(findings());
    let late = Finding::new("CVE-2026-1000", "CRITICAL");
    world.sim.emit_finding(&world.repository, &digest, &late, "ACTIVE");

    world
        .run_while(async {
            world.sim.wait_for_calls("DescribeImageScanFindings", 2).await;
            assert!(world.changes().is_empty() && world.notices().is_empty());
            world.sim.set_findings(&world.repository, &digest, shown.with(late));
            world.done().await;
        })
        .await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["worst"][0]["id"], "CVE-2026-1000");
}

#[tokio::test(start_paused = true)]
async fn finding_that_ecr_never_shows_is_notified_after_half_an_hour() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("MEDIUM", 3)]));
    world.route(findings());
    let finding = Finding::new("CVE-2026-1000", "CRITICAL");
    world.sim.emit_finding(&world.repository, &digest, &finding, "ACTIVE");

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0"]);
    let notice = world.notice();
    assert_eq!(notice["action"], "unscanned");
    assert_eq!(notice["reasons"], json!(["ECR shows fewer findings than the event"]));
    let last = world.sim.calls_of("DescribeImageScanFindings").pop().unwrap();
    assert!(last.at >= Duration::from_secs(1800), "{:?}", last.at);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn fast_clock_of_a_new_task_ends_no_wait_for_a_finding() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("MEDIUM", 3)]));
    world.route(findings());
    let finding = Finding::new("CVE-2026-1000", "CRITICAL");
    world.sim.emit_finding(&world.repository, &digest, &finding, "ACTIVE");
    // Only a first receive shows the queue's clock, and the task that had it is gone.
    world.crash_at("DescribeImageScanFindings", Fault::Hang).await;
    world.sim.set_callers_clock(7200);

    world.run_to_the_end().await;

    assert_eq!(world.notice()["action"], "unscanned");
    let last = world.sim.calls_of("DescribeImageScanFindings").pop().unwrap();
    assert!(last.at >= Duration::from_secs(1800), "{:?}", last.at);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn finding_without_a_limit_is_settled_after_one_inspection() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[]));
    world.route(findings());
    let finding = Finding::new("CVE-2026-1000", "MEDIUM");
    world.sim.emit_finding(&world.repository, &digest, &finding, "ACTIVE");

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), once("delete clean"));
    assert_eq!(world.looks(&digest), 1);
    assert!(world.changes().is_empty() && world.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn new_tag_of_a_bad_image_is_removed_without_another_scan() {
    for scan in [critical(), ScanResult::enhanced(&[("HIGH", 1)])] {
        let world = World::new();
        let digest = world.image(&["1.0"], scan);
        world.route(actions());
        world.sim.tag_image(&world.repository, "2.0", &digest);

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        assert_eq!(world.notice()["tags"]["untagged"], json!(["1.0", "2.0"]));
        assert_eq!(world.notice()["event"]["detail_type"], "ECR Image Action");
        assert_eq!(settled(&app)[0].0, "delete ignored", "the DELETE events");
    }
}

#[tokio::test(start_paused = true)]
async fn push_during_a_scan_is_left_to_the_event_of_the_scan() {
    let unfinished = ["PENDING", "IN_PROGRESS"].map(|status| Some(ScanResult::status(status)));
    for scan in unfinished.into_iter().chain([None]) {
        let world = World::new();
        world.route(actions());
        let digest = world.sim.push_image(&world.repository, &["1.0"], "new");
        if let Some(scan) = scan.clone() {
            world.sim.set_findings(&world.repository, &digest, scan);
        }

        let app = world.run_to_the_end().await;

        assert_eq!(settled(&app), once("delete left_to_scan"), "{scan:?}");
        assert_eq!(world.looks(&digest), 1, "{scan:?}: settled at once");
        assert!(world.changes().is_empty() && world.notices().is_empty(), "{scan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn push_without_a_tag_is_about_its_digest() {
    // The tag existed before, so every tag of the image is removed.
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.route(actions());
    world.sim.push_image(&world.repository, &[], "1.0");
    assert_eq!(world.sim.events().pop().unwrap()["detail"]["image-tag"], "");
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);

    // The image was never tagged, so there is nothing to untag and nothing to notify.
    let world = World::new();
    let digest = world.image(&[], critical());
    world.route(actions());
    world.sim.push_image(&world.repository, &[], "");
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), once("delete nothing_to_untag"));
    assert!(world.changes().is_empty() && world.notices().is_empty());
    assert_eq!(world.tags(&digest), [""; 0]);

    // Without a digest, nothing says which image the event is about.
    let world = World::new();
    let mut event = world_event_of_a_push();
    event["detail"]["image-digest"] = json!("");
    event["detail"]["image-tag"] = json!("");
    world.send(&event);
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), once("delete ignored"));
}

fn world_event_of_a_push() -> Value {
    let world = World::new();
    world.image(&["1.0"], critical());
    world.sim.events().pop().unwrap()
}

#[tokio::test(start_paused = true)]
async fn own_quarantine_push_and_every_delete_are_ignored_without_a_call() {
    let world = World::new();
    let digest = world.image(&["1.0", "2.0"], critical());
    world.route(actions());
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.sim.untag_image(&world.repository, "1.0");

    let app = world.run_to_the_end().await;

    assert_eq!(world.sim.events().len(), 4);
    let calls = world.story();
    assert!(calls.iter().all(|call| call == "DeleteMessageBatch"), "{calls:?}");
    assert_eq!(settled(&app), [("delete ignored".to_owned(), 2)]);
    assert_eq!(world.tags(&digest), ["2.0".to_owned(), quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn bad_image_restored_from_the_archive_is_quarantined() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.route(actions());
    world.sim.archive_image(&world.repository, &digest);
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), once("delete ignored"));
    assert_eq!(world.story(), ["DeleteMessageBatch"]);

    world.sim.activate_image(&world.repository, &digest);
    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["tags"]["untagged"], json!(["1.0"]));
}

/// Images with an event of each family that is about one of them.
fn one_of_each_family(world: &World) -> Vec<(String, Value)> {
    let sim = &world.sim;
    let basic = world.image(&["basic"], critical());
    sim.emit_scan_event(&world.repository, &basic);
    let mut events = vec![(basic, sim.events().pop().unwrap())];
    let enhanced = world.image(&["enhanced"], ScanResult::enhanced(&[("CRITICAL", 1)]));
    sim.emit_scan_event(&world.repository, &enhanced);
    events.push((enhanced, sim.events().pop().unwrap()));
    let found = world.image(&["found"], ScanResult::enhanced(&[("HIGH", 1)]));
    sim.emit_findings(&world.repository, &found);
    events.push((found, sim.events().pop().unwrap()));
    let pushed = world.image(&["pushed"], critical());
    events.push((pushed, sim.events().pop().unwrap()));
    events
}

#[tokio::test(start_paused = true)]
async fn events_through_sns_and_an_archive_lead_to_the_same_result() {
    for way in ["plain", "raw", "wrapped", "replay"] {
        let world = World::new();
        let events = one_of_each_family(&world);
        let topic = world.sim.create_topic("events");
        world.sim.subscribe_queue(&topic, QUEUE, way == "raw");
        let sns = aws_sdk_sns::Client::new(&world.sim.sdk_config());
        for (_, event) in &events {
            let mut event = event.clone();
            match way {
                "raw" | "wrapped" => {
                    let publish = sns.publish().topic_arn(&topic).message(event.to_string());
                    publish.send().await.unwrap();
                }
                "replay" => {
                    event["replay-name"] = json!("after-the-outage");
                    world.send(&event);
                }
                _ => drop(world.send(&event)),
            }
        }
        let first = world.sim.queue(QUEUE).messages.remove(0).body;
        assert_eq!(first.contains("TopicArn"), way == "wrapped", "{first}");

        let app = world.run_to_the_end().await;

        for (digest, event) in events {
            let kind = &event["detail-type"];
            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{way} {kind}");
            let notices = world.notices();
            let notified =
                notices.iter().find(|notice| notice["image"]["digest"] == digest).unwrap();
            assert_eq!(
                (&notified["event"]["id"], &notified["event"]["detail_type"]),
                (&event["id"], kind)
            );
        }
        assert_eq!(world.notices().len(), 4, "{way}");
        assert_eq!(settled(&app), [("delete quarantined".to_owned(), 4)], "{way}");
    }
}

/// Pushes images that are scanned on push and found bad, alone or in an index. Returns the digest
/// that its tags point to.
fn push(world: &World, as_index: bool) -> String {
    let bad = [("aws-sim.findings", "CRITICAL=1")];
    let image = manifest::annotated_image("bad", &bad);
    if !as_index {
        return world.sim.push_manifest(&world.repository, &["1.0", "latest"], &image);
    }
    let child = world.sim.push_manifest(&world.repository, &[], &image);
    world.sim.push_index(&world.repository, &["1.0", "latest"], &[(&child, "linux/amd64")])
}

#[tokio::test(start_paused = true)]
async fn events_of_the_worker_itself_cause_no_further_work() {
    let cases = [(0, "quarantine"), (30, "quarantine"), (0, "delete"), (30, "delete")];
    for (scan_time, action) in cases {
        for as_index in [false, true] {
            let case = format!("{action}, scanned in {scan_time} s, index: {as_index}");
            let scan_time = Duration::from_secs(scan_time);
            let config = SimConfig { scan_time, ..SimConfig::default() };
            let world = World::with(config).set("POLICY__ACTION", action);
            world.route(json!({"source": ["aws.ecr", "aws.inspector2"]}));
            world.sim.set_scan_on_push(&world.repository, true);
            let digest = push(&world, as_index);

            let app = world
                .run_until(|sim| {
                    sim.queue(QUEUE).messages.is_empty() && !sim.notices(&world.topic).is_empty()
                })
                .await;

            let deleted = action == "delete";
            let left = (!deleted).then(|| vec![quarantine(&digest)]);
            assert_eq!(world.sim.tags(&world.repository, &digest), left, "{case}");
            let taken = world.notice()["tags"]["untagged"].clone();
            assert_eq!(taken, json!(["1.0", "latest"]), "{case}");
            let changes: Vec<_> = world.changes().into_iter().map(|call| call.operation).collect();
            // The mark, the record, the tags and the image.
            let expected = ["PutImage", "PutImage", "BatchDeleteImage", "BatchDeleteImage"];
            assert_eq!(changes, expected[..3 + usize::from(deleted)], "{case}");
            // The events did return, and every one was settled.
            let events = world.sim.events();
            let own = |kind: &str| {
                events.iter().filter(|event| event["detail"]["action-type"] == kind).count()
            };
            assert_eq!(own("PUSH"), 4 + usize::from(as_index), "{case}");
            assert_eq!(own("DELETE"), 2 + usize::from(deleted), "{case}");
            let all: u64 = settled(&app).iter().map(|(_, count)| count).sum();
            assert_eq!(all, events.len() as u64, "{case}: {:?}", settled(&app));
        }
    }
}
