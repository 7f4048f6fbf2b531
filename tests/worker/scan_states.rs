//! The outcome of each scan state: findings cause changes, and no other state counts as clean or
//! bad.

use std::time::Duration;

use aws_sim::{FaultRule, ScanResult, Scanning};
use serde_json::{Value, json};

use super::support::{QUEUE, World, basic, critical, enhanced, in_repository, quarantine, settled};

/// The consequence of a scan state.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// ECR's list is complete and empty.
    Clean,
    /// The findings may still arrive, so the worker retries, and notifies after half an hour.
    Waits(&'static str),
    /// The team is notified at once.
    Told(&'static str),
}

/// Every scan state of ECR (API reference, ScanStatus), and one that it does not have yet, without
/// findings.
const STATES: [(&str, Then); 12] = [
    ("COMPLETE", Then::Clean),
    ("ACTIVE", Then::Waits("ECR shows fewer findings than the event")),
    ("PENDING", Then::Waits("ECR's scan is PENDING")),
    ("IN_PROGRESS", Then::Waits("ECR's scan is IN_PROGRESS")),
    ("FAILED", Then::Told("ECR's scan status is FAILED")),
    ("UNSUPPORTED_IMAGE", Then::Told("ECR's scan status is UNSUPPORTED_IMAGE")),
    ("SCAN_ELIGIBILITY_EXPIRED", Then::Told("ECR's scan status is SCAN_ELIGIBILITY_EXPIRED")),
    ("FINDINGS_UNAVAILABLE", Then::Told("ECR's scan status is FINDINGS_UNAVAILABLE")),
    ("LIMIT_EXCEEDED", Then::Told("ECR's scan status is LIMIT_EXCEEDED")),
    (
        "IMAGE_SIZE_EXCEEDED",
        Then::Told(
            "ECR's scan status is IMAGE_SIZE_EXCEEDED: the image is larger than its scanner takes",
        ),
    ),
    ("IMAGE_ARCHIVED", Then::Told("ECR's scan status is IMAGE_ARCHIVED")),
    ("SOMETHING_NEW", Then::Told("ECR's scan status is SOMETHING_NEW")),
];

fn claim(world: &World, digest: &str, scanning: Scanning) -> Value {
    let counts = json!({"CRITICAL": 1, "HIGH": 0, "MEDIUM": 0, "TOTAL": 1});
    match scanning {
        Scanning::Basic => basic(digest, &["1.0"], &json!({"CRITICAL": 1})),
        Scanning::Enhanced => enhanced(&world.repository, digest, &["1.0"], &counts),
    }
}

fn words(counts: &[(&str, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn every_state_without_findings_has_its_outcome_and_removes_no_tag() {
    for (status, then) in STATES {
        for scanning in [Scanning::Basic, Scanning::Enhanced] {
            let mut stories = Vec::new();
            for unscanned in ["tell", "ignore"] {
                let case = format!("{status} {scanning:?} {unscanned}");
                let world = World::new().set("POLICY__UNSCANNED", unscanned);
                let scan = ScanResult { scanning, ..ScanResult::status(status) };
                let digest = world.image(&["1.0"], scan);
                world.send(&claim(&world, &digest, scanning));

                let app = world.run_to_the_end().await;

                // Inspector can be ahead of ECR in any state.
                let then = match (status, scanning) {
                    ("COMPLETE", Scanning::Enhanced) => {
                        Then::Waits("ECR shows fewer findings than the event")
                    }
                    _ => then,
                };
                let (outcomes, looks, reason) = match then {
                    Then::Clean => (words(&[("delete clean", 1)]), 1, None),
                    // The queue permits four receives.
                    Then::Waits(reason) => {
                        (words(&[("delete unscanned", 1), ("retry pending", 3)]), 4, Some(reason))
                    }
                    Then::Told(reason) => (words(&[("delete unscanned", 1)]), 1, Some(reason)),
                };
                assert_eq!(settled(&app), outcomes, "{case}");
                assert_eq!(world.looks(&digest), looks, "{case}");
                let waited = world.sim.calls_of("DescribeImageScanFindings").pop().unwrap().at;
                let waits = matches!(then, Then::Waits(_));
                assert_eq!(waited >= Duration::from_secs(1800), waits, "{case}: {waited:?}");
                assert!(world.changes().is_empty(), "{case}");
                assert_eq!(world.tags(&digest), ["1.0"], "{case}");
                assert_eq!(world.dead_letters(), 0, "{case}");

                let notified: Vec<_> = world.notices();
                let reason = reason.filter(|_| unscanned == "tell");
                assert_eq!(notified.len(), usize::from(reason.is_some()), "{case}");
                if let (Some(notice), Some(reason)) = (notified.first(), reason) {
                    assert_eq!(notice["action"], "unscanned", "{case}");
                    assert_eq!(notice["reasons"], json!([reason]), "{case}");
                    assert_eq!(notice["tags"]["kept"], json!(["1.0"]), "{case}");
                }
                let mut story = world.story();
                story.retain(|call| call != "Publish");
                stories.push(story);
            }
            assert_eq!(stories[0], stories[1], "{status}: only the notice is left out");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn violations_are_notified_although_unscanned_images_are_not() {
    let world =
        World::new().set("POLICY__UNSCANNED", "ignore").set("POLICY__PROTECTED_TAGS", "prod");
    let bad = world.image(&["1.0"], critical());
    let kept = world.image(&["prod"], critical());
    world.send(&basic(&bad, &["1.0"], &json!({"CRITICAL": 1})));
    world.send(&basic(&kept, &["prod"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    let mut actions: Vec<_> =
        world.notices().iter().map(|notice| notice["action"].to_string()).collect();
    actions.sort();
    assert_eq!(actions, [r#""blocked""#, r#""quarantined""#]);
}

#[tokio::test(start_paused = true)]
async fn discontinued_scan_never_counts_as_clean_and_changes_nothing() {
    let expired = ScanResult::enhanced(&[]).with_status("SCAN_ELIGIBILITY_EXPIRED");
    let stale = ScanResult::enhanced(&[("CRITICAL", 1)]).with_status("SCAN_ELIGIBILITY_EXPIRED");
    for scan in [expired, stale] {
        for event in ["push", "no counts", "over the limit"] {
            let world = World::new();
            let digest = world.image(&["1.0"], scan.clone());
            let event = match event {
                "push" => world.sim.events().pop().unwrap(),
                "no counts" => enhanced(&world.repository, &digest, &["1.0"], &json!(null)),
                _ => claim(&world, &digest, Scanning::Enhanced),
            };
            world.send(&event);

            let app = world.run_to_the_end().await;

            assert_eq!(settled(&app), words(&[("delete unscanned", 1)]), "{event}");
            assert!(world.changes().is_empty(), "{event}");
            assert_eq!(world.notice()["action"], "unscanned", "{event}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn event_over_the_limit_waits_for_an_active_scan_that_shows_less() {
    let world = World::new().set("POLICY__MAX_FINDINGS__CRITICAL", "2");
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("CRITICAL", 1)]));
    let counts = json!({"CRITICAL": 5, "HIGH": 0, "MEDIUM": 0, "TOTAL": 5});
    world.send(&enhanced(&world.repository, &digest, &["1.0"], &counts));

    let app = world
        .run_while(async {
            for (looks, shown) in [(1, 2), (2, 5)] {
                world.sim.wait_for_calls("DescribeImageScanFindings", looks).await;
                assert!(world.changes().is_empty());
                let more = ScanResult::enhanced(&[("CRITICAL", shown)]);
                world.sim.set_findings(&world.repository, &digest, more);
            }
            world.done().await;
        })
        .await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["findings"]["critical"], 5);
    assert_eq!(settled(&app), words(&[("delete quarantined", 1), ("retry pending", 2)]));
}

#[tokio::test(start_paused = true)]
async fn archived_image_is_left_alone_and_notified_once() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "1");
    let digest = world.image(&["1.0"], critical());
    world.sim.archive_image(&world.repository, &digest);
    for id in ["first", "second"] {
        let mut event = claim(&world, &digest, Scanning::Basic);
        event["id"] = json!(id);
        world.send(&event);
    }

    let app = world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    let notice = world.notice();
    assert_eq!(notice["action"], "unscanned");
    assert_eq!(notice["event"]["id"], "first");
    assert!(notice["reasons"][0].as_str().unwrap().contains("archived"), "{notice:#?}");
    let all: u64 = settled(&app).iter().map(|(_, count)| count).sum();
    assert_eq!(all, 2, "{:?}", settled(&app));
}

#[tokio::test(start_paused = true)]
async fn image_being_restored_from_the_archive_is_waited_for() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.sim.archive_image(&world.repository, &digest);
    world.sim.set_image_status(&world.repository, &digest, "ACTIVATING");
    world.send(&claim(&world, &digest, Scanning::Basic));

    let app = world
        .run_while(async {
            let retried = |sim: &aws_sim::Sim| {
                sim.queue(QUEUE).messages.iter().any(|message| message.receive_count == 2)
            };
            world.sim.wait_until(retried).await;
            assert!(world.changes().is_empty() && world.notices().is_empty());
            world.sim.set_image_status(&world.repository, &digest, "ACTIVE");
            world.done().await;
        })
        .await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["action"], "quarantined");
    assert_eq!(settled(&app)[0], ("delete quarantined".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn temporarily_unreadable_scan_is_read_again() {
    for code in ["ThrottlingException", "ServerException"] {
        let world = World::new();
        let digest = world.image(&["1.0"], critical());
        world.send(&claim(&world, &digest, Scanning::Basic));
        let fault = FaultRule::on("DescribeImageScanFindings").first(4).error(code);
        world.sim.set_faults(fault);

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{code}");
        let outcomes = words(&[("delete quarantined", 1), ("retry transient", 1)]);
        assert_eq!(settled(&app), outcomes, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn unscanned_image_in_one_repository_does_not_affect_another() {
    let world = World::new();
    let other = world.sim.create_repository("team/other");
    let digest = world.image(&["1.0"], ScanResult::status("FAILED"));
    world.image_in(&other, &["1.0"], critical());
    let event = claim(&world, &digest, Scanning::Basic);
    world.send(&in_repository(event.clone(), "team/other"));
    world.send(&event);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0"]);
    assert_eq!(world.sim.tags(&other, &digest).unwrap(), [quarantine(&digest)]);
}
