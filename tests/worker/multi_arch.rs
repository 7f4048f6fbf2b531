//! Image indexes: findings are about the children, but people pull the index.

mod cost;
mod cut;
mod either_all;
mod hidden;
mod others;
mod races;

use std::collections::BTreeSet;

use aws_sim::{Call, Fault, ScanResult, manifest};
use serde_json::{Value, json};

use super::support::{World, basic, critical, enhanced, is_record, quarantine, settled};

const AMD: &str = "linux/amd64";
const ARM: &str = "linux/arm64";

/// An index of two children without tags of their own.
struct MultiArch {
    amd: String,
    arm: String,
    index: String,
}

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 3)])
}

/// An image without a tag. No event is sent.
fn child(world: &World, name: &str, scan: Option<ScanResult>) -> String {
    let digest = world.sim.push_image(&world.repository, &[], name);
    if let Some(scan) = scan {
        world.sim.set_findings(&world.repository, &digest, scan);
    }
    digest
}

fn multi_arch(world: &World, tags: &[&str], amd: ScanResult, arm: ScanResult) -> MultiArch {
    let name = tags.join(",");
    let amd = child(world, &format!("{name} {AMD}"), Some(amd));
    let arm = child(world, &format!("{name} {ARM}"), Some(arm));
    let index = world.sim.push_index(&world.repository, tags, &[(&amd, AMD), (&arm, ARM)]);
    MultiArch { amd, arm, index }
}

/// The scan event of an image without tags, with its own id.
fn scanned(digest: &str) -> Value {
    let mut event = basic(digest, &[], &json!({"CRITICAL": 1}));
    event["id"] = json!(format!("scan of {digest}"));
    event
}

/// Matches the event of a pushed tag.
fn push_of(tag: &str) -> Value {
    json!({"source": ["aws.ecr"], "detail": {"action-type": ["PUSH"], "image-tag": [tag]}})
}

/// The images that a call names.
fn named(call: &Call) -> BTreeSet<String> {
    let ids = call.request["imageIds"].as_array().cloned().unwrap_or_default();
    let one = [call.request["imageId"].clone(), call.request.clone()];
    let digest = |id: &Value| id["imageDigest"].as_str().map(str::to_owned);
    ids.iter().chain(&one).filter_map(digest).collect()
}

/// The images that were changed.
fn changed(world: &World) -> BTreeSet<String> {
    // A record changes nothing of its image.
    world.changes().iter().filter(|call| !is_record(call)).flat_map(named).collect()
}

fn only(digest: &str) -> BTreeSet<String> {
    BTreeSet::from([digest.to_owned()])
}

/// Every tag of every BatchDeleteImage.
fn untagged(world: &World) -> Vec<String> {
    let calls = world.sim.calls_of("BatchDeleteImage");
    let ids = calls.iter().flat_map(|call| call.request["imageIds"].as_array().unwrap());
    let mut tags: Vec<_> =
        ids.map(|id| id["imageTag"].as_str().unwrap_or("no tag").to_owned()).collect();
    tags.sort();
    tags
}

fn listings(world: &World) -> Vec<Call> {
    let calls = world.sim.calls_of("DescribeImages").into_iter();
    calls.filter(|call| call.request["filter"]["tagStatus"] == "TAGGED").collect()
}

#[tokio::test(start_paused = true)]
async fn scan_of_a_bad_child_removes_the_tags_of_its_index() {
    type List = fn(&[(&str, &str)]) -> String;
    type Image = fn(&str) -> String;
    let forms: [(List, Image); 2] =
        [(manifest::index, manifest::image), (manifest::docker_list, manifest::docker_image)];
    for (list, image) in forms {
        for is_enhanced in [false, true] {
            let world = World::new();
            let push = |name| world.sim.push_manifest(&world.repository, &[], &image(name));
            let (amd, arm) = (push("amd64"), push("arm64"));
            let list = list(&[(&amd, AMD), (&arm, ARM)]);
            let index = world.sim.push_manifest(&world.repository, &["1.0", "latest"], &list);
            let counts = json!({"CRITICAL": 1, "HIGH": 0, "MEDIUM": 0, "TOTAL": 1});
            let (scan, event) = if is_enhanced {
                let scan = ScanResult::enhanced(&[("CRITICAL", 1)]);
                (scan, enhanced(&world.repository, &arm, &[], &counts))
            } else {
                (critical(), basic(&arm, &[], &counts))
            };
            world.sim.set_findings(&world.repository, &amd, clean());
            world.sim.set_findings(&world.repository, &arm, scan);
            world.send(&event);

            let app = world.run_to_the_end().await;

            assert_eq!(world.tags(&index), [quarantine(&index)]);
            assert_eq!(changed(&world), only(&index), "the children are not changed");
            assert_eq!((world.tags(&amd), world.tags(&arm)), (Vec::new(), Vec::new()));
            let notice = world.notice();
            assert_eq!(notice["action"], "quarantined");
            assert_eq!(notice["image"]["digest"], json!(index));
            assert_eq!(notice["tags"]["untagged"], json!(["1.0", "latest"]));
            assert_eq!(notice["tags"]["quarantine"], json!(quarantine(&index)));
            assert_eq!(notice["cause"], json!({"digest": arm, "platform": ARM}));
            assert_eq!(notice["findings"]["critical"], 1, "the findings of the child");
            assert_eq!(settled(&app), [("delete quarantined".to_owned(), 1)]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn index_pushed_after_the_scans_of_its_children_is_judged_by_them() {
    let world = World::new();
    let amd = child(&world, "amd64", Some(clean()));
    let arm = child(&world, "arm64", Some(critical()));
    world.route(json!({"detail-type": ["ECR Image Action"]}));
    let children = [(amd.as_str(), AMD), (arm.as_str(), ARM)];
    let index = world.sim.push_index(&world.repository, &["1.0"], &children);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&index), [quarantine(&index)]);
    assert_eq!(world.notice()["cause"], json!({"digest": arm, "platform": ARM}));
    assert!(listings(&world).is_empty(), "an index need not be searched for");
}

#[tokio::test(start_paused = true)]
async fn index_of_clean_children_keeps_its_tags_without_a_notice() {
    let world = World::new();
    world.route(push_of("1.0"));
    let it = multi_arch(&world, &["1.0"], clean(), clean());

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete clean".to_owned(), 1)]);
    assert_eq!((world.looks(&it.amd), world.looks(&it.arm)), (1, 1));
    assert!(world.changes().is_empty() && world.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn index_pushed_before_its_scans_end_waits_until_a_child_is_bad() {
    for status in [None, Some("PENDING"), Some("IN_PROGRESS")] {
        let world = World::new();
        let amd = child(&world, "amd64", Some(clean()));
        let arm = child(&world, "arm64", status.map(ScanResult::status));
        world.route(push_of("1.0"));
        let children = [(amd.as_str(), AMD), (arm.as_str(), ARM)];
        let index = world.sim.push_index(&world.repository, &["1.0"], &children);

        let app = world
            .run_while(async {
                world.done().await;
                assert!(world.changes().is_empty() && world.notices().is_empty(), "{status:?}");
                world.sim.set_findings(&world.repository, &arm, critical());
                world.send(&scanned(&arm));
                world.done().await;
            })
            .await;

        let outcomes = ["delete left_to_scan", "delete quarantined"];
        assert_eq!(settled(&app), outcomes.map(|outcome| (outcome.to_owned(), 1)));
        assert_eq!(world.tags(&index), [quarantine(&index)], "{status:?}");
        assert_eq!(world.notice()["cause"]["digest"], json!(arm));
    }
}

#[tokio::test(start_paused = true)]
async fn index_loses_its_tags_at_the_first_bad_child() {
    let others = ["PENDING", "FAILED", "SCAN_ELIGIBILITY_EXPIRED"].map(ScanResult::status);
    for other in others.into_iter().chain([clean(), critical()]) {
        let world = World::new();
        let it = multi_arch(&world, &["1.0"], other.clone(), critical());
        world.send(&scanned(&it.arm));

        world.run_to_the_end().await;

        assert_eq!(world.tags(&it.index), [quarantine(&it.index)], "{other:?}");
        assert_eq!(world.looks(&it.amd), 0, "{other:?}: one bad child is enough");
    }
}

#[tokio::test(start_paused = true)]
async fn scan_of_a_clean_child_changes_nothing_and_searches_no_index() {
    let world = World::new();
    let it = multi_arch(&world, &["1.0"], clean(), critical());
    // Without counts ECR is asked. The other child gets an event of its own.
    world.send(&basic(&it.amd, &[], &json!(null)));

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete clean".to_owned(), 1)]);
    assert_eq!(world.tags(&it.index), ["1.0"]);
    assert!(world.changes().is_empty() && world.notices().is_empty());
    assert!(listings(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn tagged_child_loses_its_tags_too_and_each_is_notified_once() {
    let world = World::new();
    let it = multi_arch(&world, &["1.0"], critical(), clean());
    world.sim.tag_image(&world.repository, "1.0-amd64", &it.amd);
    world.send(&basic(&it.amd, &["1.0-amd64"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&it.index), [quarantine(&it.index)]);
    assert_eq!(world.tags(&it.amd), [quarantine(&it.amd)]);
    assert_eq!(world.tags(&it.arm), [""; 0]);
    let notices = world.notices();
    let notified: Vec<_> = notices
        .iter()
        .map(|notice| (&notice["image"]["digest"], &notice["tags"]["untagged"], &notice["cause"]))
        .collect();
    let cause = json!({"digest": it.amd, "platform": AMD});
    let index = (&json!(it.index), &json!(["1.0"]), &cause);
    assert_eq!(notified, [index, (&json!(it.amd), &json!(["1.0-amd64"]), &json!(null))]);
    assert_ne!(notices[0]["id"], notices[1]["id"]);
}

#[tokio::test(start_paused = true)]
async fn every_index_of_the_child_loses_its_tags() {
    let world = World::new();
    let bad = child(&world, "bad", Some(critical()));
    let good = child(&world, "good", Some(clean()));
    let one = world.sim.push_index(&world.repository, &["1.0"], &[(&bad, AMD)]);
    let two = world.sim.push_index(&world.repository, &["2.0"], &[(&good, ARM), (&bad, AMD)]);
    let other = world.sim.push_index(&world.repository, &["3.0"], &[(&good, ARM)]);
    world.send(&scanned(&bad));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&one), [quarantine(&one)]);
    assert_eq!(world.tags(&two), [quarantine(&two)]);
    assert_eq!(world.tags(&other), ["3.0"]);
    let ids: BTreeSet<_> = world.notices().iter().map(|notice| notice["id"].to_string()).collect();
    assert_eq!((world.notices().len(), ids.len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn two_children_found_bad_at_once_cause_one_notice_and_one_removal() {
    let world = World::new();
    let it = multi_arch(&world, &["1.0", "latest"], critical(), critical());
    world.send(&scanned(&it.amd));
    world.send(&scanned(&it.arm));

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&it.index), [quarantine(&it.index)]);
    assert_eq!(untagged(&world), ["1.0", "latest"]);
    assert_eq!(world.sim.calls_of("PutImage").len(), 2, "the mark and the record");
    assert_eq!(world.notice()["image"]["digest"], json!(it.index));
    let count: u64 = settled(&app).iter().map(|(_, count)| count).sum();
    assert_eq!(count, 2, "{:?}", settled(&app));
}

#[tokio::test(start_paused = true)]
async fn index_untagged_before_a_crash_is_notified_with_the_same_id() {
    for fault in [Fault::Hang, Fault::HangAfter] {
        let world = World::new();
        let it = multi_arch(&world, &["1.0"], critical(), clean());
        world.send(&scanned(&it.amd));
        world.crash_at("Publish", fault.clone()).await;
        assert_eq!(world.tags(&it.index), [quarantine(&it.index)]);
        let before = world.notices();
        assert_eq!(before.len(), usize::from(matches!(fault, Fault::HangAfter)));

        world.run_to_the_end().await;

        let notice = world.notices().pop().unwrap();
        assert_eq!(world.notices().len(), before.len() + 1, "{fault:?}");
        assert_eq!(notice["action"], "quarantined");
        assert_eq!(notice["image"]["digest"], json!(it.index));
        assert_eq!(notice["cause"], json!({"digest": it.amd, "platform": AMD}));
        assert!(before.iter().all(|earlier| earlier["id"] == notice["id"]), "{fault:?}");
        assert_eq!(untagged(&world), ["1.0"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn delete_action_deletes_the_index_before_its_child() {
    let world = World::new().set("POLICY__ACTION", "delete");
    let it = multi_arch(&world, &["1.0"], critical(), clean());
    world.sim.tag_image(&world.repository, "1.0-amd64", &it.amd);
    world.send(&basic(&it.amd, &["1.0-amd64"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    let left = world.sim.images(&world.repository);
    assert_eq!(left, [it.arm], "the clean child stays");
    let notices = world.notices();
    let notified: Vec<_> =
        notices.iter().map(|notice| (&notice["action"], &notice["image"]["digest"])).collect();
    let deleted = json!("deleted");
    assert_eq!(notified, [(&deleted, &json!(it.index)), (&deleted, &json!(it.amd))]);
    let failed: Vec<_> = world
        .sim
        .calls_of("BatchDeleteImage")
        .into_iter()
        .filter(|call| call.reply.as_ref().unwrap()["failures"] != json!([]))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[tokio::test(start_paused = true)]
async fn child_is_deleted_after_a_crash_between_its_index_and_it() {
    let world = World::new().set("POLICY__ACTION", "delete");
    let it = multi_arch(&world, &["1.0"], critical(), clean());
    world.sim.tag_image(&world.repository, "1.0-amd64", &it.amd);
    world.send(&basic(&it.amd, &["1.0-amd64"], &json!({"CRITICAL": 1})));
    world.crash_at_call("BatchDeleteImage", 2, Fault::HangAfter).await;
    assert_eq!(world.sim.tags(&world.repository, &it.index), None);
    assert_eq!(world.tags(&it.amd), ["1.0-amd64"]);

    world.run_to_the_end().await;

    assert_eq!(world.sim.images(&world.repository), [it.arm]);
    assert_eq!(world.notices().len(), 2);
}
