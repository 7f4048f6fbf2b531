//! Indexes and children that are assessed at the same time, and again after a crash.

use std::time::Duration;

use aws_sim::{Fault, FaultRule, ScanResult};
use serde_json::json;
use tokio::time::sleep;

use super::{clean, multi_arch, named, push_of, scanned, untagged};
use crate::support::{World, basic, critical, quarantine, settled};

#[tokio::test(start_paused = true)]
async fn index_just_found_unfinished_loses_its_tags_when_a_child_is_bad() {
    for earlier in [ScanResult::status("IN_PROGRESS"), clean(), ScanResult::status("FAILED")] {
        // One after the other. Both were sent before any inspection.
        let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "1");
        world.route(push_of("1.0"));
        let it = multi_arch(&world, &["1.0"], clean(), earlier.clone());
        world.send(&scanned(&it.arm));
        sleep(Duration::from_secs(5)).await;
        // The first inspection of the child is for the index, the second for the child itself.
        let (repository, arm) = (world.repository.clone(), it.arm.clone());
        let digest = it.arm.clone();
        let found_bad = FaultRule::on("DescribeImageScanFindings")
            .matching(move |call| call.input["imageId"]["imageDigest"] == digest.as_str())
            .skip(1)
            .once()
            .act(move |sim| sim.set_findings(&repository, &arm, critical()));
        world.sim.set_faults(found_bad);

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&it.index), [quarantine(&it.index)], "{earlier:?}");
        let quarantined = ("delete quarantined".to_owned(), 1);
        assert!(settled(&app).contains(&quarantined), "{:?}", settled(&app));
    }
}

#[tokio::test(start_paused = true)]
async fn notice_of_an_index_does_not_list_the_tags_of_its_child() {
    let world = World::new();
    let it = multi_arch(&world, &["1.0"], critical(), clean());
    world.sim.tag_image(&world.repository, "1.0-amd64", &it.amd);
    world.send(&basic(&it.amd, &["1.0-amd64"], &json!({"CRITICAL": 1})));
    // The index is notified. The child's tag is removed but not notified.
    world.crash_at_call("Publish", 2, Fault::Hang).await;
    assert_eq!(untagged(&world), ["1.0", "1.0-amd64"]);

    world.run_to_the_end().await;

    let notices = world.notices();
    let notified: Vec<_> = notices
        .iter()
        .map(|notice| (&notice["image"]["digest"], &notice["tags"]["claimed"]))
        .collect();
    let index = (&json!(it.index), &json!([]));
    assert_eq!(notified, [index, index, (&json!(it.amd), &json!(["1.0-amd64"]))]);
    assert_eq!(notices[0]["id"], notices[1]["id"]);
    assert_eq!(untagged(&world), ["1.0", "1.0-amd64"], "no tag was removed twice");
}

#[tokio::test(start_paused = true)]
async fn index_deleted_during_the_work_does_not_block_its_child() {
    let world = World::new();
    let it = multi_arch(&world, &["1.0"], critical(), clean());
    world.sim.tag_image(&world.repository, "1.0-amd64", &it.amd);
    world.send(&basic(&it.amd, &["1.0-amd64"], &json!({"CRITICAL": 1})));
    let (repository, index) = (world.repository.clone(), it.index.clone());
    let digest = it.index.clone();
    let deletes = FaultRule::on("DescribeImages")
        .matching(move |call| call.input["imageIds"][0]["imageDigest"] == digest.as_str())
        .once()
        .act(move |sim| sim.delete_image(&repository, &index));
    world.sim.set_faults(deletes);

    world.run_to_the_end().await;

    assert_eq!(world.sim.tags(&world.repository, &it.index), None);
    assert_eq!(world.tags(&it.amd), [quarantine(&it.amd)]);
    assert_eq!(world.notice()["image"]["digest"], json!(it.amd));
    assert!(world.changes().iter().all(|call| !named(call).contains(&it.index)));
}
