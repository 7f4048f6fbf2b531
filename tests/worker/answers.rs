//! The answer of AWS is read for each call and for each entry of a batch: a failed entry never
//! counts as done.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sim::{FaultRule, RepoKey, ScanResult};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{DEAD_LETTERS, QUEUE, World, basic, critical, enhanced, quarantine, settled};

/// The first call has no effect, and its answer names none of its entries.
fn silent(operation: &str) -> Vec<FaultRule> {
    let nothing_done = FaultRule::on(operation).once().fail_entries("InternalError");
    let nothing_said = FaultRule::on(operation).once().replace(|reply| {
        *reply = json!({"Successful": [], "Failed": []});
    });
    vec![nothing_done, nothing_said]
}

#[tokio::test(start_paused = true)]
async fn entry_missing_from_a_delete_answer_is_not_done() {
    let world = World::new();
    world.violating(&["1.0"]);
    world.sim.set_faults(silent("DeleteMessageBatch"));

    let app = world.run_to_the_end().await;

    // The first delivery was not settled, and the second found the work done.
    assert_eq!(settled(&app), [("delete already_quarantined".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn entry_missing_from_a_heartbeat_answer_is_not_extended() {
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
async fn message_waits_while_any_registry_call_is_refused() {
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
async fn unreadable_index_is_retried_and_not_skipped() {
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

#[tokio::test(start_paused = true)]
async fn mark_removed_after_inspection_is_restored_before_tags_are_removed() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let mark = quarantine(&digest);
    world.sim.tag_image(&world.repository, &mark, &digest);
    world.scanned(&digest);
    let (repository, taken) = (world.repository.clone(), mark.clone());
    world.sim.set_faults(FaultRule::on("BatchGetImage").once().act(move |sim| {
        sim.untag_image(&repository, &taken);
    }));

    world.run_to_the_end().await;

    assert_eq!(world.sim.tags(&world.repository, &digest), Some(vec![mark]));
}

#[tokio::test(start_paused = true)]
async fn no_message_is_received_while_messages_cannot_be_settled() {
    let denied = |operation| FaultRule::on(operation).error("AccessDeniedException");
    let cases = [
        vec![denied("ChangeMessageVisibilityBatch")],
        vec![denied("ChangeMessageVisibilityBatch"), denied("DeleteMessageBatch")],
    ];
    for faults in cases {
        let world = World::new();
        world.sim.send(QUEUE, "no event");
        world.sim.set_faults(faults);
        let app = world.app();
        let test = async {
            sleep(Duration::from_secs(6 * 3600)).await;
            assert!(app.health().ready().is_err());
            assert_eq!(world.sim.queue(QUEUE).messages.remove(0).receive_count, 1);
            world.sim.clear_faults();
            world.sim.wait_until(|sim| !sim.queue(DEAD_LETTERS).messages.is_empty()).await;
            assert_eq!(app.health().ready(), Ok(()));
        };
        world.work(&app, &Shutdown::default(), test).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_batch_delays_only_its_own_entries() {
    let world = World::new();
    world.sim.set_faults(FaultRule::on("DeleteMessageBatch").once().hang());
    let event = || world.send(&basic("", &["1.0"], &json!({})));
    let test = async {
        event();
        sleep(Duration::from_secs(1)).await;
        event();
        world.done().await;
    };

    world.run_while(test).await;

    let deletes = world.sim.calls_of("DeleteMessageBatch");
    assert!(deletes[1].at - deletes[0].at < Duration::from_secs(5), "{deletes:#?}");
}

/// The tags that notices name as removed.
fn named(world: &World) -> BTreeSet<String> {
    let lists = |notice: &Value| ["untagged", "claimed"].map(|list| notice["tags"][list].clone());
    let lists: Vec<_> = world.notices().iter().flat_map(lists).collect();
    let tags = lists.iter().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    tags.map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn tag_removed_unnoticed_after_the_first_notice_is_notified_too() {
    let world = World::new();
    world.violating(&["a", "b"]);
    world.sim.set_faults(vec![
        FaultRule::on("BatchDeleteImage")
            .once()
            .fail_entries_where("KmsError", |id| id["imageTag"] == "b"),
        FaultRule::on("BatchDeleteImage").skip(1).first(3).reset_after(),
    ]);

    world.run_to_the_end().await;

    assert_eq!(named(&world), ["a", "b"].map(str::to_owned).into());
}

#[tokio::test(start_paused = true)]
async fn other_findings_and_returning_tags_get_their_own_notice() {
    for (mode, scan) in [("audit", ScanResult::basic(&[("CRITICAL", 2)])), ("enforce", critical())]
    {
        let world = World::new().set("POLICY__MODE", mode);
        let digest = world.violating(&["1.0"]);
        let test = async {
            world.done().await;
            sleep(Duration::from_secs(300)).await;
            world.sim.tag_image(&world.repository, "1.0", &digest);
            world.sim.set_findings(&world.repository, &digest, scan);
            world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
            world.done().await;
        };

        world.run_while(test).await;

        assert_eq!(world.notices().len(), 2, "{mode}: {:#?}", world.notices());
    }
}

#[tokio::test(start_paused = true)]
async fn event_flood_about_many_accounts_sends_few_notices() {
    let world = World::new();
    for number in 0..150 {
        let elsewhere =
            RepoKey::new(&format!("{:012}", 700_000_000_000_u64 + number), "eu-west-1", "x");
        let digest = format!("sha256:{number:064x}");
        world.send(&enhanced(&elsewhere, &digest, &["1.0"], &json!({"CRITICAL": 1})));
    }

    world.run_to_the_end().await;

    assert_eq!(world.notices().len(), 100);
}
