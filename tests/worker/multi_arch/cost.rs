//! The cost of finding the indexes that hold an image.

use serde_json::json;

use super::{AMD, ARM, child, clean, listings, named, scanned};
use crate::support::{World, critical, quarantine};

/// How often BatchGetImage asked for one of these digests, by the number of digests in the call.
fn reads_of(world: &World, digests: &[String]) -> Vec<usize> {
    let calls = world.sim.calls_of("BatchGetImage");
    let asked = calls.iter().map(named);
    asked
        .filter(|ids| digests.iter().any(|digest| ids.contains(digest)))
        .map(|ids| ids.len())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn manifest_of_an_index_is_read_once_for_any_number_of_events() {
    let world = World::new();
    let good = child(&world, "good", Some(clean()));
    let push =
        |tag: &str, platform| world.sim.push_index(&world.repository, &[tag], &[(&good, platform)]);
    let mut indexes = vec![push("1.0", AMD), push("1.1", ARM)];

    world
        .run_while(async {
            for number in 0..5 {
                world.send(&scanned(&child(&world, &format!("bad {number}"), Some(critical()))));
                world.done().await;
            }
            assert_eq!(listings(&world).len(), 5, "each event was sent after the listing before");
            assert_eq!(reads_of(&world, &indexes), [2], "both in one call");
            indexes.push(push("2.0", "linux/s390x"));
            world.send(&scanned(&child(&world, "last", Some(critical()))));
            world.done().await;
        })
        .await;

    assert_eq!(reads_of(&world, &indexes), [2, 1], "then only the new index");
    assert!(world.changes().is_empty(), "no index holds any of them");
}

#[tokio::test(start_paused = true)]
async fn burst_about_different_children_lists_the_repository_seldom() {
    let world = World::new();
    let pushed = (0..100).map(|number| {
        let bad = child(&world, &format!("bad {number}"), Some(critical()));
        let tag = format!("v{number}");
        let index = world.sim.push_index(&world.repository, &[&tag], &[(&bad, AMD)]);
        (bad, index)
    });
    let pushed: Vec<_> = pushed.collect();
    pushed.iter().for_each(|(bad, _)| drop(world.send(&scanned(bad))));

    world.run_to_the_end().await;

    for (_, index) in &pushed {
        assert_eq!(world.tags(index), [quarantine(index)]);
    }
    assert_eq!(world.notices().len(), 100);
    assert_eq!(world.dead_letters(), 0);
    let at: Vec<_> = listings(&world).iter().map(|call| call.at).collect();
    // The second listing began when all messages were in hand. It serves every message that the
    // first one did not serve.
    assert_eq!(at.len(), 2, "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn repository_of_ten_thousand_tagged_images_has_a_bounded_cost() {
    let world = World::new();
    let names = (0..5_000).map(|number| (format!("image-{number}"), format!("content {number}")));
    let images = world.sim.push_images(&world.repository, names);
    let bad = ["first", "second"].map(|name| child(&world, name, Some(critical())));
    let indexes = images.iter().enumerate().map(|(number, image)| {
        let other = bad.get(number).or_else(|| images.get(number - 1)).unwrap();
        let tag = format!("index-{number}");
        world.sim.push_index(&world.repository, &[&tag], &[(image, AMD), (other, ARM)])
    });
    let indexes: Vec<_> = indexes.collect();
    assert_eq!(world.sim.repository_tags(&world.repository).len(), 10_000);
    let figures = || {
        let batches = world.sim.calls_of("BatchGetImage");
        // One more call reads the manifest of the index that loses its tags.
        let of_many = batches.iter().filter(|call| named(call).len() > 1).count();
        let all = world.sim.calls_of("DescribeImages").len();
        [listings(&world).len(), of_many, all, batches.len()]
    };

    world
        .run_while(async {
            let mut before = [0; 4];
            // Pages of the listing and batches of indexes, then all DescribeImages and
            // BatchGetImage.
            let expected = [[10, 50, 12, 51], [10, 0, 12, 1]];
            for (number, expected) in expected.into_iter().enumerate() {
                world.send(&scanned(&bad[number]));
                world.done().await;
                let now = figures();
                let cost: Vec<_> = now.iter().zip(before).map(|(now, then)| now - then).collect();
                println!(
                    "event {}: {} pages, {} batches; in all {} DescribeImages, {} BatchGetImage",
                    number + 1,
                    cost[0],
                    cost[1],
                    cost[2],
                    cost[3]
                );
                assert_eq!(cost, expected);
                before = now;
            }
        })
        .await;

    for index in &indexes[..2] {
        assert_eq!(world.tags(index), [quarantine(index)]);
    }
    let left = world.sim.repository_tags(&world.repository);
    assert_eq!(left.keys().filter(|tag| tag.starts_with("index-")).count(), 4_998);
    let causes: Vec<_> =
        world.notices().iter().map(|notice| notice["cause"]["digest"].clone()).collect();
    assert_eq!(causes, bad.map(|digest| json!(digest)));
}
