//! From the removal by the worker to the restore, and on.

use super::*;
use crate::support::basic;

/// Sends the scan event of an image anew.
fn scanned_again(world: &World, digest: &str, tags: &[&str], id: &str) {
    let mut event = basic(digest, tags, &json!({"CRITICAL": 1}));
    event["id"] = json!(id);
    world.send(&event);
}

#[tokio::test(start_paused = true)]
async fn worker_gives_back_what_it_removed_once_the_policy_is_corrected() {
    for mutability in ["MUTABLE", "IMMUTABLE"] {
        let world = world();
        world.sim.set_tag_mutability(&world.repository, mutability, &[]);
        let digest = world.violating(&["1.0", "latest"]);
        world.run_to_the_end().await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        let world = world.with_file("[policy.max_findings]\ncritical = 9\nhigh = 9\n");
        ask(&world, OPERATOR, &digest, &json!({}));
        world.run_to_the_end().await;
        assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)], "{mutability}");
        assert_eq!(world.notices()[1]["action"], "restored");
    }
}

#[tokio::test(start_paused = true)]
async fn held_image_keeps_its_tags_for_later_events_until_the_hold_ends() {
    let world = world();
    let digest = world.violating(&["1.0", "latest"]);
    world.run_to_the_end().await;
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    world.run_to_the_end().await;
    let all = ["1.0".to_owned(), "latest".to_owned(), quarantine(&digest)];
    assert_eq!(world.tags(&digest), all);

    scanned_again(&world, &digest, &["1.0", "latest"], "later");
    let app = world.run_to_the_end().await;
    assert_eq!(settled_as(&app), ["delete held"]);
    assert_eq!(world.tags(&digest), all);

    // Then it is judged like any other, and what is removed again can be given back again.
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    scanned_again(&world, &digest, &["1.0", "latest"], "after the hold");
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), all);
}

#[tokio::test(start_paused = true)]
async fn image_whose_hold_is_withdrawn_loses_its_tags_with_the_next_event() {
    let world = world();
    let digest = world.violating(&["1.0"]);
    world.run_to_the_end().await;
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    world.run_to_the_end().await;
    ask(&world, HOLDER, &digest, &json!({"withdraw": true}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    scanned_again(&world, &digest, &["1.0"], "later");
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn index_is_given_back_with_all_its_tags_when_its_image_is_within_the_policy() {
    let world = world();
    let child = world.image(&[], critical());
    let digest = world.sim.push_index(
        &world.repository,
        &["1.0", "latest"],
        &[(child.as_str(), "linux/amd64")],
    );
    world.send(&basic(&child, &[], &json!({"CRITICAL": 1})));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)], "the image in it violates the policy");
    let world = world.with_file("[policy.max_findings]\ncritical = 9\nhigh = 9\n");
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
}
