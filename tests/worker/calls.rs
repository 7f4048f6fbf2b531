//! The largest number of calls that one message causes: the table in docs/performance.md.

use std::collections::BTreeMap;

use aws_sim::manifest::{self, Entry};
use aws_sim::{RepoKey, ScanResult, SimConfig};
use serde_json::json;

use super::support::{QUEUE, World, basic, critical, quarantine, settled};

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 1)])
}

/// This many images without a tag, as entries of an index.
fn children(world: &World, from: usize, count: usize) -> Vec<Entry> {
    let of = |at: usize| {
        let digest = world.sim.push_image(&world.repository, &[], &format!("child {at}"));
        world.sim.set_findings(&world.repository, &digest, clean());
        Entry::image(&digest)
    };
    (from..from + count).map(of).collect()
}

fn push(world: &World, tags: &[&str], entries: &[Entry]) -> String {
    world.sim.push_manifest(&world.repository, tags, &manifest::index_of(entries))
}

/// The ECR calls so far, by operation, without the one read of the pull-through cache rules.
fn calls(world: &World) -> BTreeMap<String, usize> {
    let mut calls = BTreeMap::new();
    for call in world.sim.calls().iter().filter(|call| call.service == aws_sim::Service::Ecr) {
        if call.operation != "DescribePullThroughCacheRules" {
            *calls.entry(call.operation.clone()).or_default() += 1;
        }
    }
    calls
}

fn these(calls: &[(&str, usize)]) -> BTreeMap<String, usize> {
    calls.iter().map(|(operation, count)| ((*operation).to_owned(), *count)).collect()
}

fn pushed(tag: &str) -> serde_json::Value {
    json!({"source": ["aws.ecr"], "detail": {"action-type": ["PUSH"], "image-tag": [tag]}})
}

#[tokio::test(start_paused = true)]
async fn index_of_three_thousand_entries_for_one_image_costs_as_much_as_one() {
    let world = World::new();
    let one = children(&world, 0, 1).remove(0);
    world.route(pushed("bomb"));
    push(&world, &["bomb"], &vec![one; 3_000]);

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete clean".to_owned(), 1)]);
    let expected = [("DescribeImages", 2), ("BatchGetImage", 1), ("DescribeImageScanFindings", 1)];
    assert_eq!(calls(&world), these(&expected));
}

#[tokio::test(start_paused = true)]
async fn index_of_three_thousand_images_costs_five_hundred_inspections() {
    let world = World::new();
    world.route(pushed("bomb"));
    let index = push(&world, &["bomb"], &children(&world, 0, 3_000));

    world.run_to_the_end().await;

    // One for the index and five for its images.
    let expected =
        [("DescribeImages", 6), ("BatchGetImage", 1), ("DescribeImageScanFindings", 500)];
    assert_eq!(calls(&world), these(&expected));
    let notice = world.notice();
    assert_eq!((&notice["action"], &notice["image"]["digest"]), (&json!("blocked"), &json!(index)));
    let reason = notice["reasons"][0].as_str().unwrap();
    assert!(reason.contains("2500 of its entries exceed the limit of 500"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn five_hundred_manifests_on_four_levels_cost_one_inspection_each() {
    let world = World::new();
    let mut entries = children(&world, 0, 122);
    for level in 1..4 {
        let inner = push(&world, &[], &entries);
        entries = children(&world, level * 1_000, 124);
        entries.push(Entry::index(&inner));
    }
    world.route(pushed("1.0"));
    push(&world, &["1.0"], &entries);

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete clean".to_owned(), 1)], "497 images and 3 indexes");
    // One for the index, two for each level of more than a hundred; one manifest for each level.
    let expected =
        [("DescribeImages", 9), ("BatchGetImage", 4), ("DescribeImageScanFindings", 122 + 3 * 124)];
    assert_eq!(calls(&world), these(&expected));
}

#[tokio::test(start_paused = true)]
async fn index_with_only_missing_images_costs_few_calls() {
    let world = World::new();
    world.route(pushed("1.0"));
    let gone = (0..500).map(|at| Entry::image(&format!("sha256:{at:064x}")));
    push(&world, &["1.0"], &gone.collect::<Vec<_>>());

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete absent".to_owned(), 1)]);
    // Two for each hundred, with and without archived images, and then the manifests.
    assert_eq!(calls(&world), these(&[("DescribeImages", 1 + 2 * 5), ("BatchGetImage", 1 + 5)]));
}

/// A scan event without a digest.
fn by_tags(tags: &[String]) -> serde_json::Value {
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let mut event = basic("", &tags, &json!(null));
    event["detail"]["image-digest"] = json!(null);
    event
}

#[tokio::test(start_paused = true)]
async fn thousand_tags_take_ten_calls_and_twenty_thousand_are_refused() {
    let world = World::new();
    let tags: Vec<_> = (0..1_000).map(|at| format!("t{at:04}")).collect();
    let names: Vec<_> = tags.iter().map(String::as_str).collect();
    world.image(&names, clean());
    world.send(&by_tags(&tags));
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), [("delete clean".to_owned(), 1)]);
    assert_eq!(calls(&world), these(&[("DescribeImages", 11), ("DescribeImageScanFindings", 1)]));

    // A repeated tag is one tag.
    let before = calls(&world)["DescribeImages"];
    world.send(&by_tags(&vec![tags[0].clone(); 20_000]));
    world.run_to_the_end().await;
    assert_eq!(calls(&world)["DescribeImages"], before + 2);

    let world = World::new();
    let many: Vec<_> = (0..20_000).map(|at| format!("t{at:05}")).collect();
    world.send(&by_tags(&many));
    world.run_until(|sim| sim.queue(QUEUE).messages.is_empty()).await;
    assert_eq!(world.dead_letters(), 1);
    assert!(calls(&world).is_empty(), "{:?}", calls(&world));
}

#[tokio::test(start_paused = true)]
async fn thousand_tags_with_gaps_take_three_calls_a_hundred() {
    let world = World::new();
    let tags: Vec<_> = (0..1_000).map(|at| format!("t{at:04}")).collect();
    let there: Vec<_> = tags.iter().step_by(2).map(String::as_str).collect();
    let digest = world.image(&there, critical());
    world.send(&by_tags(&tags));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let calls = calls(&world);
    // Three DescribeImages for each hundred, one for the image, one for the listing.
    assert_eq!(calls["DescribeImages"], 3 * 10 + 2);
    // One for each hundred, one for the mark.
    assert_eq!(calls["BatchGetImage"], 10 + 1);
}

#[tokio::test(start_paused = true)]
async fn large_index_leaves_sweep_capacity_to_other_repositories() {
    // This many inspections in a second.
    let world = World::with(SimConfig::default()).set("SWEEP__CALLS_PER_SECOND", "20");
    let world = world.set("SWEEP__RESCAN_AFTER", "never");
    push(&world, &["large"], &children(&world, 0, 500));
    let others: Vec<RepoKey> = (0..40)
        .map(|number| {
            let repository = world.sim.create_repository(&format!("team/z{number:02}"));
            world.image_in(&repository, &["1.0"], clean());
            repository
        })
        .collect();
    world.send(&json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": {}}));
    let began = world.sim.age();

    world.run_to_the_end().await;

    let calls = world.sim.calls();
    let looks = calls.iter().filter(|call| call.operation == "DescribeImageScanFindings");
    let last_of = |name: &str| {
        let of = looks.clone().filter(|call| call.request["repositoryName"] == name);
        of.map(|call| call.at).max().unwrap()
    };
    let large = last_of("team/app") - began;
    let slowest = others.iter().map(|other| last_of(&other.name)).max().unwrap() - began;
    // The 500 inspections take 25 s alone. The other repositories are inspected between them.
    assert!(large.as_secs() >= 25, "{large:?}");
    assert!(slowest.as_secs() < 20, "{slowest:?}, beside {large:?}");
    let looked = looks.clone().count();
    assert_eq!(looked, 540, "one inspection for each image");
}
