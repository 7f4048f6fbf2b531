//! One assessment settles every message that it can settle, and no other.

use std::time::Duration;

use aws_sim::{Fault, FaultRule, Finding, ScanResult};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{QUEUE, World, basic, critical, enhanced, quarantine, settled};

/// Longer than the difference between the clocks of the queue and of the worker.
const A_WHILE: Duration = Duration::from_secs(5);

/// An event of an image without counts, so that the image has to be inspected. It claims nothing.
fn event(digest: &str, id: &str) -> Value {
    let mut event = basic(digest, &["1.0"], &json!(null));
    event["id"] = json!(id);
    event
}

fn send_three(world: &World, digest: &str) {
    for id in ["a", "b", "c"] {
        world.send(&event(digest, id));
    }
}

fn outcomes<const N: usize>(counts: [(&str, u64); N]) -> Vec<(String, u64)> {
    counts.map(|(word, count)| (word.to_owned(), count)).to_vec()
}

/// An image with 500 findings, and an event for each in the queue.
fn burst(world: &World) -> String {
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("HIGH", 500)]));
    world.route(json!({"detail-type": ["Inspector2 Finding"]}));
    world.sim.emit_findings(&world.repository, &digest);
    assert_eq!(world.sim.queue(QUEUE).messages.len(), 500);
    digest
}

#[tokio::test(start_paused = true)]
async fn five_hundred_queued_findings_of_one_image_cost_one_inspection() {
    let world = World::new();
    let digest = burst(&world);
    sleep(A_WHILE).await;

    let app = world.run_to_the_end().await;

    // Every message was certainly sent before the first assessment began.
    assert_eq!(world.looks(&digest), 1);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["findings"]["high"], 500);
    assert_eq!(settled(&app), outcomes([("delete joined", 499), ("delete quarantined", 1)]));
    let notified = world.sim.calls_of("Publish").pop().unwrap().seq;
    let deletes = world.sim.calls_of("DeleteMessageBatch");
    let entries = |call: &aws_sim::Call| call.request["Entries"].as_array().unwrap().len();
    assert_eq!(deletes.iter().map(entries).sum::<usize>(), 500);
    assert!(
        deletes.iter().all(|call| call.seq > notified),
        "no message before the notice that it depends on"
    );
}

#[tokio::test(start_paused = true)]
async fn five_hundred_arriving_findings_of_one_image_cost_a_dozen_inspections() {
    let world = World::new();
    let digest = burst(&world);

    let app = world.run_to_the_end().await;

    // By the queue's clock nothing is certain for two seconds. Until then an inspection settles the
    // messages that were received before it.
    assert!(world.looks(&digest) <= 12, "{}", world.looks(&digest));
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notices().len(), 1);
    let all: u64 = settled(&app).iter().map(|(_, count)| count).sum();
    assert_eq!(all, 500, "{:?}", settled(&app));
    let notified = world.sim.calls_of("Publish").pop().unwrap().seq;
    let deletes = world.sim.calls_of("DeleteMessageBatch");
    assert!(
        deletes.iter().all(|call| call.seq > notified),
        "no message before the notice that it depends on"
    );
}

#[tokio::test(start_paused = true)]
async fn message_sent_after_the_first_inspection_is_assessed_on_its_own() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::basic(&[]));
    world.send(&event(&digest, "first"));
    let slow = Fault::DelayReply(A_WHILE);
    world.sim.set_faults(FaultRule::on("DescribeImageScanFindings").once().fault(slow));

    let app = world
        .run_while(async {
            // The result of the first inspection is on its way.
            let looked = |sim: &aws_sim::Sim| {
                let looks = sim.calls_of("DescribeImageScanFindings");
                looks.iter().any(|call| call.applied)
            };
            world.sim.wait_until(looked).await;
            world.sim.set_findings(&world.repository, &digest, critical());
            world.send(&event(&digest, "second"));
            world.done().await;
        })
        .await;

    assert_eq!(world.looks(&digest), 2);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["event"]["id"], "second");
    assert_eq!(settled(&app), outcomes([("delete clean", 1), ("delete quarantined", 1)]));
}

#[tokio::test(start_paused = true)]
async fn fast_clock_makes_no_message_look_older_than_it_is() {
    for ahead in [-600, 200, 600] {
        let world = World::new();
        let digest = world.image(&["1.0"], ScanResult::basic(&[]));
        world.sim.set_callers_clock(ahead);
        world.send(&event(&digest, "first"));
        world
            .run_while(async {
                world.done().await;
                sleep(A_WHILE).await;
                world.sim.set_findings(&world.repository, &digest, critical());
                world.send(&event(&digest, "second"));
                world.done().await;
            })
            .await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn message_sent_after_the_result_is_assessed_on_its_own() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::basic(&[]));

    world
        .run_while(async {
            world.send(&event(&digest, "first"));
            world.done().await;
            world.sim.set_findings(&world.repository, &digest, critical());
            world.send(&event(&digest, "second"));
            world.done().await;
        })
        .await;

    assert_eq!(world.looks(&digest), 2);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn push_left_to_the_scan_does_not_settle_the_event_of_the_scan() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "10");
    let digest = world.image(&["1.0"], ScanResult::status("IN_PROGRESS"));
    let push = world.sim.events().pop().unwrap();
    world.send(&push);
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    sleep(A_WHILE).await;

    let app = world
        .run_while(async {
            // One inspection, which each message judges by its own event.
            world.sim.wait_for_calls("DescribeImageScanFindings", 1).await;
            sleep(Duration::from_secs(1)).await;
            world.sim.set_findings(&world.repository, &digest, critical());
            world.done().await;
        })
        .await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let expected = [("delete left_to_scan", 1), ("delete quarantined", 1), ("retry pending", 1)];
    assert_eq!(settled(&app), outcomes(expected));
}

#[tokio::test(start_paused = true)]
async fn clean_result_does_not_settle_a_message_that_claims_more() {
    let counts = json!({"CRITICAL": 1, "HIGH": 0, "MEDIUM": 0, "TOTAL": 1});
    for claims_more in ["counts", "finding"] {
        let world = World::new();
        let digest = world.image(&["1.0"], ScanResult::enhanced(&[("LOW", 1)]));
        // The event has no counts, so ECR is asked, and the image is clean.
        world.send(&enhanced(&world.repository, &digest, &["1.0"], &json!(null)));
        let late = Finding::new("CVE-2026-1000", "CRITICAL");
        if claims_more == "counts" {
            world.send(&enhanced(&world.repository, &digest, &["1.0"], &counts));
        } else {
            world.route(json!({"detail-type": ["Inspector2 Finding"]}));
            world.sim.emit_finding(&world.repository, &digest, &late, "ACTIVE");
        }
        sleep(A_WHILE).await;

        let app = world
            .run_while(async {
                // One inspection, which each message judges by its own event.
                world.sim.wait_for_calls("DescribeImageScanFindings", 1).await;
                sleep(Duration::from_secs(1)).await;
                let shown = ScanResult::enhanced(&[("LOW", 1)]).with(late);
                world.sim.set_findings(&world.repository, &digest, shown);
                world.done().await;
            })
            .await;

        let expected = [("delete clean", 1), ("delete quarantined", 1), ("retry pending", 1)];
        assert_eq!(settled(&app), outcomes(expected), "{claims_more}");
        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{claims_more}");
    }
}

#[tokio::test(start_paused = true)]
async fn clean_result_settles_every_message_that_claims_only_allowed_findings() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("LOW", 1)]));
    world.route(json!({"detail-type": ["Inspector2 Finding"]}));
    for number in 0..20 {
        let finding = Finding::new(&format!("CVE-2026-{number}"), "MEDIUM");
        world.sim.emit_finding(&world.repository, &digest, &finding, "ACTIVE");
    }
    sleep(A_WHILE).await;

    let app = world.run_to_the_end().await;

    assert_eq!(world.looks(&digest), 1);
    assert_eq!(settled(&app), outcomes([("delete clean", 1), ("delete joined", 19)]));
}

#[tokio::test(start_paused = true)]
async fn failed_scan_does_not_settle_a_message_that_requires_an_inspection() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let mut failed = event(&digest, "failed");
    failed["detail"]["scan-status"] = json!("FAILED");
    world.send(&failed);
    world.send(&event(&digest, "complete"));
    sleep(A_WHILE).await;

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn failure_is_shared_by_waiting_messages_but_not_by_their_retries() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    send_three(&world, &digest);
    sleep(A_WHILE).await;
    // As often as the SDK tries by itself.
    world.sim.set_faults(FaultRule::on("DescribeImages").first(3).error("ServerException"));

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notices().len(), 1);
    let retried = settled(&app).into_iter().find(|(word, _)| word == "retry transient");
    assert_eq!(retried, Some(("retry transient".to_owned(), 3)), "none was retried alone");
    let receives: Vec<_> = world
        .sim
        .calls_of("DescribeImages")
        .iter()
        .filter(|call| call.reply.is_none())
        .map(|call| call.seq)
        .collect();
    assert_eq!(receives.len(), 3, "the three attempts of one assessment");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn panic_of_an_assessment_strands_no_waiting_message() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    send_three(&world, &digest);
    sleep(A_WHILE).await;
    let panics = FaultRule::on("DescribeImageScanFindings").once().replace(|_| panic!("planted"));
    world.sim.set_faults(panics);

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains("tagwarden_panics_total 1"), "{metrics}");
    // The message whose assessment panicked is delivered again and notified again, because nobody
    // knows how far the work came.
    assert_eq!(world.notices().len(), 2);
    let expected = [
        ("delete already_quarantined", 1),
        ("delete joined", 1),
        ("delete quarantined", 1),
        ("retry panicked", 1),
    ];
    assert_eq!(settled(&app), outcomes(expected));
}

#[tokio::test(start_paused = true)]
async fn lease_lost_in_an_assessment_strands_no_waiting_message() {
    let world = World::new().set("QUEUE__VISIBILITY_TIMEOUT", "10s");
    let digest = world.image(&["1.0"], critical());
    send_three(&world, &digest);
    sleep(A_WHILE).await;
    // The first message to be extended is the first that was received: the leading one.
    world.sim.set_faults(vec![
        FaultRule::on("DescribeImages").once().fault(Fault::DelayReply(Duration::from_secs(9))),
        FaultRule::on("ChangeMessageVisibilityBatch")
            .once()
            .fail_entries_where("ReceiptHandleIsInvalid", |entry| entry["Id"] == "0"),
    ]);

    let app = world.run_to_the_end().await;

    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains("tagwarden_leases_lost_total 1"), "{metrics}");
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(
        world.notices().len(),
        2,
        "the message with the lost lease is delivered and notified again"
    );
    let expected =
        [("delete already_quarantined", 1), ("delete joined", 1), ("delete quarantined", 1)];
    assert_eq!(settled(&app), outcomes(expected));
}

#[tokio::test(start_paused = true)]
async fn stopping_worker_releases_the_leading_and_the_waiting_messages() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    send_three(&world, &digest);
    world.sim.set_faults(FaultRule::on("DescribeImages").hang());
    let app = world.app();
    let shutdown = Shutdown::default();
    let received = world.sim.wait_until(|sim| !sim.calls_of("DescribeImages").is_empty());
    world.work(&app, &shutdown, received).await.unwrap();
    let queue = world.sim.queue(QUEUE);
    assert_eq!((queue.visible, queue.in_flight), (3, 0));
    world.sim.clear_faults();

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notices().len(), 1);
}
