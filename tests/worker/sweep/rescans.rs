//! The scans that a sweep requests.

use aws_sim::FaultRule;
use serde_json::{Value, json};

use super::{DAY, clean, images, summary, sweep};
use crate::support::{World, critical, quarantine};

/// The images for which another scan was requested, in order.
fn scanned(world: &World) -> Vec<Value> {
    let calls = world.sim.calls_of("StartImageScan").into_iter();
    calls.map(|call| call.request["imageId"]["imageDigest"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn image_with_an_old_scan_is_scanned_again_and_its_event_is_processed() {
    let world = World::new();
    world.route(json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Scan"]}));
    let old = world.image(&["old"], clean());
    tokio::time::advance(2 * DAY).await;
    world.image(&["new"], clean());
    world.send(&sweep());
    let test = async {
        world.done().await;
        // A finding has become known since the scan.
        world.sim.set_findings(&world.repository, &old, critical());
        world.sim.emit_scan_event(&world.repository, &old);
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(scanned(&world), [json!(old)]);
    assert_eq!(world.tags(&old), [quarantine(&old)]);
}

#[tokio::test(start_paused = true)]
async fn violating_image_loses_its_tags_without_another_scan() {
    let world = World::new();
    let old = world.image(&["old"], critical());
    tokio::time::advance(2 * DAY).await;
    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(world.tags(&old), [quarantine(&old)]);
    assert_eq!(world.sim.calls_of("StartImageScan").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn registry_with_enhanced_scanning_is_asked_for_a_scan_once() {
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
async fn images_of_an_index_are_scanned_again_too() {
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
async fn registry_that_refuses_scans_delays_no_inspection_or_removal() {
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
