//! What AWS answers to a call, or for one entry of a batch, is read: nothing that failed counts as done.

use std::time::Duration;

use aws_sim::{FaultRule, ScanResult};
use serde_json::json;
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{QUEUE, World, critical, quarantine, settled};

/// The first call has no effect, and its answer names none of its entries.
fn silent(operation: &str) -> Vec<FaultRule> {
    let nothing_done = FaultRule::on(operation).once().fail_entries("InternalError");
    let nothing_said = FaultRule::on(operation).once().replace(|reply| {
        *reply = json!({"Successful": [], "Failed": []});
    });
    vec![nothing_done, nothing_said]
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_the_answer_leaves_out_is_not_done() {
    let world = World::new();
    world.violating(&["1.0"]);
    world.sim.set_faults(silent("DeleteMessageBatch"));

    let app = world.run_to_the_end().await;

    // The first delivery was not settled, and the second found the work done.
    assert_eq!(settled(&app), [("delete already_quarantined".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_the_answer_leaves_out_extends_nothing() {
    let world = World::new().set("QUEUE__VISIBILITY_TIMEOUT", "10s");
    let digest = world.violating(&["1.0"]);
    let slow = FaultRule::on("DescribeImages").once().delay(Duration::from_secs(9));
    let faults = [silent("ChangeMessageVisibilityBatch"), vec![slow]];
    world.sim.set_faults(faults.concat());

    let app = world.run_to_the_end().await;

    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains("tagwarden_leases_lost_total 1"), "{metrics}");
    assert_eq!(world.tags(&digest), [quarantine(&digest)], "the next delivery did it");
}

#[tokio::test(start_paused = true)]
async fn whatever_call_of_the_registry_is_refused_its_message_waits_until_it_is_not() {
    for operation in [
        "DescribeImages",
        "DescribeImageScanFindings",
        "BatchGetImage",
        "PutImage",
        "BatchDeleteImage",
    ] {
        let world = World::new();
        let digest = world.violating(&["1.0"]);
        let app = world.app();
        let test = async {
            world.sim.set_faults(FaultRule::on(operation).error("AccessDeniedException"));
            sleep(Duration::from_secs(3600)).await;
            assert_eq!(world.sim.queue(QUEUE).messages.len(), 1, "{operation}");
            assert!(world.tags(&digest).contains(&"1.0".to_owned()), "{operation}");
            assert!(world.notices().is_empty(), "{operation}");
            world.sim.clear_faults();
            world.done().await;
        };
        world.work(&app, &Shutdown::default(), test).await.unwrap();

        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{operation}");
        assert_eq!((world.dead_letters(), world.notices().len()), (0, 1), "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_that_cannot_be_read_for_now_is_not_passed_over() {
    let world = World::new();
    let child = world.image(&["child"], critical());
    let clean = world.image(&["clean"], ScanResult::basic(&[("LOW", 1)]));
    let children = [(child.as_str(), "linux/amd64"), (clean.as_str(), "linux/arm64")];
    let index = world.sim.push_index(&world.repository, &["app"], &children);
    world.scanned(&child);
    let unread = index.clone();
    world.sim.set_faults(
        FaultRule::on("BatchGetImage")
            .first(2)
            .fail_entries_where("KmsError", move |id| id["imageDigest"] == unread.as_str()),
    );

    world.run_to_the_end().await;

    assert_eq!(world.tags(&index), [quarantine(&index)]);
    assert_eq!(world.tags(&child), [quarantine(&child)]);
    assert_eq!(world.tags(&clean), ["clean"]);
}
