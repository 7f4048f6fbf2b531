//! Assessments that must not settle another message, and notices that must not replace another
//! notice.

use std::time::Duration;

use aws_sim::{Fault, FaultRule, Finding, ScanResult};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{World, basic, critical, enhanced, quarantine};

fn event(digest: &str, id: &str) -> Value {
    let mut event = basic(digest, &["1.0"], &json!({"CRITICAL": 1}));
    event["id"] = json!(id);
    event
}

/// Returns whether any notice names this tag as removed.
fn is_notified(world: &World, tag: &str) -> bool {
    world.notices().iter().any(|notice| {
        ["untagged", "claimed"]
            .into_iter()
            .any(|list| notice["tags"][list].as_array().unwrap().contains(&json!(tag)))
    })
}

#[tokio::test(start_paused = true)]
async fn message_without_a_notice_does_not_settle_by_work_found_done() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.send(&event(&digest, "a"));
    world.crash_at("Publish", Fault::Hang).await;
    world.sim.clear_faults();
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    sleep(Duration::from_secs(20)).await;
    world.send(&event(&digest, "b"));
    sleep(Duration::from_secs(5)).await;

    world.run_to_the_end().await;

    assert!(is_notified(&world, "1.0"), "{:?}", world.notices());
}

#[tokio::test(start_paused = true)]
async fn unnotified_tags_of_two_events_are_notified_by_each() {
    for action in ["quarantine", "delete"] {
        let world = World::new().set("POLICY__ACTION", action);
        let digest = world.image(&["1.0", "2.0"], critical());
        for tag in ["1.0", "2.0"] {
            let mut event = basic(&digest, &[tag], &json!({"CRITICAL": 1}));
            event["id"] = json!(tag);
            world.send(&event);
        }
        // Both are retried as often as one delivery allows.
        world.sim.set_faults(FaultRule::on("Publish").first(13).error("InternalError"));

        world.run_to_the_end().await;

        assert!(is_notified(&world, "1.0") && is_notified(&world, "2.0"), "{:?}", world.notices());
    }
}

#[tokio::test(start_paused = true)]
async fn topic_that_fails_during_a_burst_is_notified_later() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "2");
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("HIGH", 100)]));
    world.route(json!({"detail-type": ["Inspector2 Finding"]}));
    world.sim.emit_findings(&world.repository, &digest);
    sleep(Duration::from_secs(5)).await;
    world.sim.set_faults(FaultRule::on("Publish").first(12).error("InternalError"));

    world.run_to_the_end().await;

    assert!(is_notified(&world, "1.0"), "{:?}", world.notices());
}

#[tokio::test(start_paused = true)]
async fn end_of_patience_of_one_message_does_not_end_that_of_another() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("LOW", 1)]));
    let counts = json!({"CRITICAL": 1, "HIGH": 0, "MEDIUM": 0, "TOTAL": 1});
    world.send(&enhanced(&world.repository, &digest, &["1.0"], &counts));
    sleep(Duration::from_secs(1805)).await;
    let late = Finding::new("CVE-2026-1000", "CRITICAL");
    world.route(json!({"detail-type": ["Inspector2 Finding"]}));
    world.sim.emit_finding(&world.repository, &digest, &late, "ACTIVE");
    sleep(Duration::from_secs(5)).await;

    world
        .run_while(async {
            sleep(Duration::from_secs(10)).await;
            let shown = ScanResult::enhanced(&[("LOW", 1)]).with(late);
            world.sim.set_findings(&world.repository, &digest, shown);
            world.done().await;
        })
        .await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn last_part_of_a_large_image_is_notified_after_a_failed_notice() {
    let world = World::configured("limits.untags_per_hour = 1");
    let digest = world.image(&["1.0", "2.0"], critical());
    world.send(&basic(&digest, &["1.0", "2.0"], &json!({"CRITICAL": 1})));

    world
        .run_while(async {
            sleep(Duration::from_secs(1800)).await;
            world.sim.set_faults(FaultRule::on("Publish").error("InternalError"));
            world.sim.wait_for_calls("BatchDeleteImage", 2).await;
            world.sim.wait_until(|sim| sim.calls_of("Publish").len() >= 14).await;
            world.sim.clear_faults();
            world.done().await;
        })
        .await;

    assert!(is_notified(&world, "1.0") && is_notified(&world, "2.0"), "{:?}", world.notices());
}

#[tokio::test(start_paused = true)]
async fn another_tag_of_a_known_bad_image_is_notified_in_audit_mode() {
    let world = World::configured("policy.mode = \"audit\"");
    let digest = world.image(&["1.0"], critical());
    world.send(&event(&digest, "a"));

    world
        .run_while(async {
            world.done().await;
            world.sim.tag_image(&world.repository, "2.0", &digest);
            sleep(Duration::from_secs(120)).await;
            world.send(&event(&digest, "b"));
            world.done().await;
        })
        .await;

    let would: Vec<_> =
        world.notices().iter().map(|notice| notice["tags"]["would_untag"].clone()).collect();
    assert_eq!(would, [json!(["1.0"]), json!(["1.0", "2.0"])]);
}

#[tokio::test(start_paused = true)]
async fn marked_image_without_other_tags_is_not_notified_in_audit_mode() {
    let world = World::configured("policy.mode = \"audit\"");
    let digest = world.image(&["1.0"], critical());
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.sim.push_image(&world.repository, &["1.0"], "newer");
    let once = FaultRule::on("DescribeImages").first(3).error("ServerException");
    world.sim.set_faults(once);
    world.send(&event(&digest, "a"));

    world.run_to_the_end().await;

    assert!(world.notices().is_empty(), "{:?}", world.notices());
}

#[tokio::test(start_paused = true)]
async fn image_in_use_is_not_deleted_by_a_redelivery_either() {
    let world = World::configured("policy.in_use = \"block\"\npolicy.action = \"delete\"");
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[("CRITICAL", 1)]).in_use(3));
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.sim.push_image(&world.repository, &["1.0"], "newer");
    let once = FaultRule::on("DescribeImages").first(3).error("ServerException");
    world.sim.set_faults(once);
    world.send(&event(&digest, "a"));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn quarantined_child_still_leads_to_its_index() {
    let world = World::new();
    let child = world.image(&["1.0-amd64"], critical());
    let held = [(child.as_str(), "linux/amd64")];
    let index = world.sim.push_index(&world.repository, &["1.0"], &held);
    world.sim.tag_image(&world.repository, &quarantine(&child), &child);
    world.sim.untag_image(&world.repository, "1.0-amd64");
    world.send(&basic(&child, &[&quarantine(&child)], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&index), [quarantine(&index)]);
}

#[tokio::test(start_paused = true)]
async fn child_with_the_artifact_type_of_a_container_image_is_one() {
    let world = World::new();
    let child = world.image(&[], critical());
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": child,
            "size": 7,
            "artifactType": "application/vnd.oci.image.config.v1+json",
            "platform": {"os": "linux", "architecture": "amd64"},
        }],
    });
    let index = world.sim.push_manifest(&world.repository, &["1.0"], &index.to_string());
    world.send(&basic(&child, &[], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&index), [quarantine(&index)]);
}

#[tokio::test(start_paused = true)]
async fn mark_of_another_image_hides_nothing() {
    let world = World::new();
    let foreign = format!("quarantine-{}", "b".repeat(64));
    world.route(json!({"detail-type": ["ECR Image Action"], "detail": {"action-type": ["PUSH"]}}));
    let digest = world.image(&[], critical());
    world.sim.tag_image(&world.repository, &foreign, &digest);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn past_failed_scan_does_not_hide_current_findings() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let mut failed = basic(&digest, &["1.0"], &json!(null));
    failed["detail"]["scan-status"] = json!("FAILED");
    world.send(&failed);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

/// The finding in ECR at first, and the finding in the event.
async fn lags(shown: Finding, claimed: Finding, settings: &str) -> (World, String) {
    let world = World::configured(settings);
    world.route(json!({"detail-type": ["Inspector2 Finding"]}));
    let digest = world.image(&["1.0"], ScanResult::enhanced(&[]).with(shown));
    world.sim.emit_finding(&world.repository, &digest, &claimed, "ACTIVE");
    let app = world
        .run_while(async {
            sleep(Duration::from_secs(120)).await;
            assert_eq!(world.tags(&digest), ["1.0"], "an event alone is not enough to act on");
            let now = ScanResult::enhanced(&[]).with(claimed);
            world.sim.set_findings(&world.repository, &digest, now);
            world.done().await;
        })
        .await;
    let settled = crate::support::settled(&app);
    assert!(settled.iter().any(|(what, _)| what == "retry pending"), "{settled:?}");
    (world, digest)
}

#[tokio::test(start_paused = true)]
async fn finding_as_the_event_describes_it_is_retried_until_ecr_shows_it() {
    let of = |severity| Finding::new("CVE-2026-1000", severity);
    let in_package = |name| of("CRITICAL").in_package(name, "1.0");
    let excepted = "[[policy.exceptions]]\nid = 'CVE-2026-1000'\npackage = 'openssl'\n\
                    reason = 'r'\nowner = 'o'\nexpires = 2999-12-31";
    let cases = [
        (of("MEDIUM"), of("CRITICAL"), ""),
        (of("CRITICAL").with_status("CLOSED"), of("CRITICAL"), ""),
        (of("CRITICAL").with_status("SUPPRESSED"), of("CRITICAL"), ""),
        (of("HIGH"), of("HIGH").fixed_in("2.0"), "policy.fixable_only = ['high']"),
        (of("HIGH"), of("HIGH").exploited(), "policy.exploit_only = true"),
        (in_package("openssl"), in_package("zlib"), excepted),
    ];
    for (shown, claimed, settings) in cases {
        let what = format!("{shown:?}, and then {claimed:?}");
        let (world, digest) = lags(shown, claimed, settings).await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn finding_that_stays_closed_is_notified_when_patience_ends() {
    for status in ["CLOSED", "SUPPRESSED"] {
        let world = World::new();
        world.route(json!({"detail-type": ["Inspector2 Finding"]}));
        let finding = Finding::new("CVE-2026-1000", "CRITICAL").with_status(status);
        let digest = world.image(&["1.0"], ScanResult::enhanced(&[]).with(finding.clone()));
        world.sim.emit_finding(&world.repository, &digest, &finding, "ACTIVE");

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), ["1.0"], "{status}");
        let settled = crate::support::settled(&app);
        assert!(settled.contains(&("delete unscanned".to_owned(), 1)), "{status} {settled:?}");
    }
}
