//! `policy.index = "all"`: an index loses its tags only when each of its images violates the
//! policy.

use aws_sim::ScanResult;
use serde_json::json;

use super::{AMD, ARM, child, clean, multi_arch, push_of, scanned, untagged};
use crate::support::{World, critical, quarantine, settled};

fn world() -> World {
    World::new().set("POLICY__INDEX", "all")
}

#[tokio::test(start_paused = true)]
async fn one_bad_child_of_two_is_not_enough() {
    for other in [clean(), ScanResult::status("PENDING"), ScanResult::status("FAILED")] {
        let world = world();
        let it = multi_arch(&world, &["1.0"], other.clone(), critical());
        world.send(&scanned(&it.arm));

        world.run_to_the_end().await;

        assert_eq!(world.tags(&it.index), ["1.0"], "{other:?}");
        assert!(world.changes().is_empty(), "{other:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn index_loses_its_tags_when_the_last_child_is_bad_in_either_order() {
    for amd_first in [true, false] {
        let world = world();
        let it = multi_arch(&world, &["1.0"], clean(), clean());
        let (first, last) = if amd_first { (&it.amd, &it.arm) } else { (&it.arm, &it.amd) };

        world
            .run_while(async {
                world.sim.set_findings(&world.repository, first, critical());
                world.send(&scanned(first));
                world.done().await;
                assert_eq!(world.tags(&it.index), ["1.0"]);
                world.sim.set_findings(&world.repository, last, critical());
                world.send(&scanned(last));
                world.done().await;
            })
            .await;

        assert_eq!(world.tags(&it.index), [quarantine(&it.index)]);
        assert_eq!(world.notice()["cause"]["digest"], json!(last));
    }
}

#[tokio::test(start_paused = true)]
async fn two_children_found_bad_at_once_are_enough_in_either_order() {
    let world = world();
    let it = multi_arch(&world, &["1.0"], critical(), critical());
    world.send(&scanned(&it.arm));
    world.send(&scanned(&it.amd));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&it.index), [quarantine(&it.index)]);
    assert_eq!(untagged(&world), ["1.0"]);
    assert_eq!(world.notices().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn clean_attestation_does_not_save_an_index() {
    let world = world();
    let amd = child(&world, "amd64", Some(critical()));
    let arm = child(&world, "arm64", Some(critical()));
    let attestation = child(&world, "attestation", Some(clean()));
    let children =
        [(amd.as_str(), AMD), (arm.as_str(), ARM), (attestation.as_str(), "unknown/unknown")];
    world.route(push_of("1.0"));
    let index = world.sim.push_index(&world.repository, &["1.0"], &children);

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&index), [quarantine(&index)]);
    assert_eq!(settled(&app), [("delete quarantined".to_owned(), 1)]);
}
