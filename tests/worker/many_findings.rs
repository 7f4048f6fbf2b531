//! An image with more findings than are read is neither clean nor immune.

use aws_sim::{Finding, ScanResult};
use serde_json::json;

use super::support::{World, quarantine, settled};

/// The number of findings that are read (`domain::findings::MAX_FINDINGS`).
const READ: usize = 50_000;

fn low(findings: usize) -> ScanResult {
    ScanResult::enhanced(&[("LOW", findings)])
}

/// An image with this scan, and the event of one of its findings.
fn found_in(scan: ScanResult) -> (World, String) {
    let world = World::new();
    world.route(json!({"source": ["aws.inspector2"]}));
    let digest = world.image(&["1.0"], scan);
    let finding = Finding::new("CVE-2026-1", "LOW");
    world.sim.emit_finding(&world.repository, &digest, &finding, "ACTIVE");
    (world, digest)
}

#[tokio::test(start_paused = true)]
async fn image_with_more_findings_than_are_read_is_notified_and_keeps_its_tags() {
    let (world, digest) = found_in(low(READ + 1));

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0"]);
    let notices = world.notices();
    assert_eq!(notices.len(), 1, "{notices:?}");
    let reason = notices[0]["reasons"][0].as_str().unwrap_or_default();
    assert!(reason.starts_with("too many findings"), "{reason}");
    assert_eq!(settled(&app), [("delete unscanned".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn unread_findings_count_by_the_summary_of_the_first_page() {
    let (world, digest) = found_in(low(READ).with(Finding::new("CVE-2026-9", "CRITICAL")));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn maximum_of_read_findings_is_judged_normally() {
    let (world, digest) = found_in(low(READ));

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0"]);
    assert_eq!(settled(&app), [("delete clean".to_owned(), 1)]);
}
