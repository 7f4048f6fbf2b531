//! Leases, batches, permits and the drain.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sim::{CallOutcome, Fault, FaultRule};
use serde_json::json;
use tagwarden::app::RunError;
use tagwarden::aws::Operation;
use tagwarden::shutdown::Shutdown;

use super::support::{QUEUE, REGION, World, basic, critical, enhanced, in_repository, quarantine};

fn violating(world: &World, tag: &str) -> String {
    let digest = world.image(&[tag], critical());
    world.send(&basic(&digest, &[tag], &json!({"CRITICAL": 1})));
    digest
}

#[tokio::test(start_paused = true)]
async fn slow_work_keeps_its_message_by_heartbeat() {
    let world = World::new();
    let digest = violating(&world, "1.0");
    let slow = ["DescribeImages", "DescribeImageScanFindings", "BatchGetImage", "PutImage"];
    let slow = slow.map(|call| FaultRule::on(call).delay(Duration::from_secs(9)));
    world.sim.set_faults(slow.to_vec());

    let world = world.set("QUEUE__VISIBILITY_TIMEOUT", "10s");
    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notices().len(), 1);
    assert!(world.sim.calls_of("ChangeMessageVisibilityBatch").len() >= 6);
    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains("tagwarden_leases_lost_total 0"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn lost_lease_stops_the_work_and_its_message_is_not_settled() {
    let world = World::new().set("QUEUE__VISIBILITY_TIMEOUT", "10s");
    let digest = violating(&world, "1.0");
    world.sim.set_faults(vec![
        FaultRule::on("ChangeMessageVisibilityBatch")
            .first(1)
            .fail_entries("ReceiptHandleIsInvalid"),
        FaultRule::on("DescribeImages").once().delay(Duration::from_secs(9)),
    ]);

    let app = world.run_to_the_end().await;

    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains("tagwarden_leases_lost_total 1"), "{metrics}");
    assert_eq!(world.tags(&digest), [quarantine(&digest)], "the next delivery did it");
    assert_eq!(world.sim.calls_of("BatchDeleteImage").len(), 1);
    assert_eq!(world.sim.calls_of("DeleteMessageBatch").len(), 1);
    for call in world.sim.calls_of("ChangeMessageVisibilityBatch") {
        assert_eq!(
            call.request["Entries"][0]["VisibilityTimeout"], 10,
            "only heartbeats: {call:#?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn hanging_heartbeat_loses_the_lease_before_others_see_the_message() {
    let world = World::new().set("QUEUE__VISIBILITY_TIMEOUT", "10s");
    let digest = violating(&world, "1.0");
    world.sim.set_faults(vec![
        FaultRule::on("ChangeMessageVisibilityBatch").first(3).hang(),
        FaultRule::on("PutImage").once().delay(Duration::from_millis(9500)),
    ]);

    world.run_to_the_end().await;

    let first_lease_ends = Duration::from_secs(10);
    let second = world.sim.calls_of("DescribeImages")[1].at;
    for call in world.sim.calls_of("BatchDeleteImage") {
        assert!(call.at < first_lease_ends || call.at > second, "{call:#?}");
    }
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn failed_entry_of_a_delete_batch_is_retried_alone() {
    let world = World::new();
    for _ in 0..3 {
        world.send(&basic("", &["1.0"], &json!({})));
    }
    world.sim.set_faults(vec![
        FaultRule::on("DeleteMessageBatch")
            .once()
            .fail_entries_where("InternalError", |entry| entry["Id"] == "0"),
    ]);

    let app = world.run_to_the_end().await;

    let deletes = world.sim.calls_of("DeleteMessageBatch");
    let sizes: Vec<_> =
        deletes.iter().map(|call| call.request["Entries"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [3, 1]);
    let metrics = app.instruments().render().unwrap();
    let received = "tagwarden_messages_received_total 3\n";
    assert!(metrics.contains(received), "under the same lease: {metrics}");
}

#[tokio::test(start_paused = true)]
async fn settlements_are_sent_in_batches_of_ten() {
    let world = World::new();
    for _ in 0..30 {
        world.send(&basic("", &["1.0"], &json!({})));
    }

    world.run_to_the_end().await;

    assert_eq!(world.sim.calls_of("DeleteMessageBatch").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn permits_bound_the_messages_received_and_processed() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "3");
    for number in 0..12 {
        violating(&world, &format!("v{number}"));
    }
    let slow = FaultRule::on("DescribeImages").delay(Duration::from_millis(900));
    let most = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&most);
    let watch = FaultRule::on("DescribeImages").act(move |sim| {
        let calls = sim.calls_of("DescribeImages").into_iter();
        let at_once = calls.filter(|call| call.outcome == CallOutcome::Unanswered).count();
        seen.fetch_max(at_once, Ordering::Relaxed);
    });
    world.sim.set_faults(vec![watch, slow]);

    world.run_to_the_end().await;

    assert_eq!(most.load(Ordering::Relaxed), 2, "one permit is left for other repositories");
    for call in world.sim.calls_of("ReceiveMessage") {
        assert!(call.request["MaxNumberOfMessages"].as_u64().unwrap() <= 3);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_repository_does_not_slow_the_others() {
    let world = World::new();
    let slow = world.sim.create_repository("team/slow");
    let digest = world.image_in(&slow, &["1.0"], critical());
    let event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    world.send(&in_repository(event, "team/slow"));
    let good: Vec<_> = (0..20).map(|number| violating(&world, &format!("v{number}"))).collect();
    world.sim.set_faults(vec![FaultRule::on("DescribeImages").repository("team/slow").hang()]);

    world
        .run_while(async {
            world.sim.wait_until(|sim| sim.queue(QUEUE).messages.len() == 1).await;
            assert_eq!(
                world.sim.calls_of("DescribeImages").len(),
                // One for each image, one for the slow image, and one listing of the repository.
                good.len() + 2,
                "none of them waited for its retry"
            );
            world.sim.clear_faults();
        })
        .await;

    for digest in good {
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    }
}

#[tokio::test(start_paused = true)]
async fn work_in_hand_finishes_after_the_stop_signal() {
    let world = World::new();
    let digest = violating(&world, "1.0");
    world.sim.set_faults(vec![FaultRule::on("PutImage").delay(Duration::from_secs(8))]);

    world.run_while(world.sim.wait_until(|sim| !sim.calls_of("BatchGetImage").is_empty())).await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert!(world.sim.queue(QUEUE).messages.is_empty());
}

#[tokio::test(start_paused = true)]
async fn unfinished_work_is_released_at_once_after_the_grace_period() {
    let world = World::new();
    violating(&world, "1.0");
    world.sim.set_faults(vec![FaultRule::on("PutImage").hang()]);

    world
        .run_while(
            world.sim.wait_until(|sim| sim.calls().iter().any(|call| call.operation == "PutImage")),
        )
        .await;

    let queue = world.sim.queue(QUEUE);
    assert_eq!((queue.visible, queue.in_flight), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn no_receive_starts_after_the_stop_signal_and_the_last_strands_nothing() {
    let world = World::new();
    let app = world.app();
    let shutdown = Shutdown::default();
    // The answer of this receive arrives half a second after the signal.
    world.sim.set_faults(vec![FaultRule::on("ReceiveMessage").delay(Duration::from_millis(500))]);
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    let test = world
        .sim
        .wait_until(|sim| sim.calls().iter().any(|call| call.operation == "ReceiveMessage"));

    world.work(&app, &shutdown, test).await.unwrap();

    assert_eq!(world.sim.calls_of("ReceiveMessage").len(), 1);
    assert_eq!(world.sim.queue(QUEUE).in_flight, 0);
    assert_eq!(app.health().ready(), Err("draining"));
}

#[tokio::test(start_paused = true)]
async fn hanging_queue_cannot_hold_the_process_beyond_its_grace_period() {
    let world = World::new();
    violating(&world, "1.0");
    world.sim.set_faults(vec![
        FaultRule::on("PutImage").hang(),
        FaultRule::on("ChangeMessageVisibilityBatch").hang(),
    ]);
    let app = world.app();
    let test =
        world.sim.wait_until(|sim| sim.calls().iter().any(|call| call.operation == "PutImage"));

    let ended = world.work(&app, &Shutdown::default(), test).await;

    assert!(matches!(ended, Err(RunError::GraceExceeded(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn unanswered_call_of_any_kind_times_out_and_is_retried() {
    let role = "arn:aws:iam::{account}:role/tagwarden";
    let operator = "AROAOPERATOR00000001";
    let operations = Operation::ALL.into_iter().map(Operation::name).chain(["AssumeRole"]);
    for operation in operations {
        for fault in [Fault::Hang, Fault::HangAfter] {
            let case = format!("{operation} {fault}");
            let world = World::new()
                .set("POLICY__ACCOUNTS", "444455556666")
                .set("AWS__ASSUME_ROLE", role)
                // With a key the records are read too.
                .set("RESTORE__KEY", &"k".repeat(43))
                .set("RESTORE__SENDERS", operator)
                .set("QUEUE__VISIBILITY_TIMEOUT", "40s");
            let repository = world.sim.create_repository_in("444455556666", REGION, "team/app");
            let digest = world.image_in(&repository, &["1.0"], critical());
            world.send(&enhanced(&repository, &digest, &["1.0"], &json!({"CRITICAL": 1})));
            if ["SendMessageBatch", "DescribeRepositories", "StartImageScan"].contains(&operation) {
                world.sim.push_image(&repository, &["never-scanned"], "never scanned");
                world.send(&json!({"source": "tagwarden", "detail-type": "Sweep Registry"}));
            }
            if operation == "GetCallerIdentity" {
                let image = json!({
                    "account": "444455556666",
                    "repository": "team/app",
                    "digest": digest,
                });
                let order = json!({
                    "source": "tagwarden",
                    "detail-type": "Restore Image",
                    "detail": image,
                });
                world.sim.send_message_as(QUEUE, &order.to_string(), operator);
            }
            // Every attempt of the first call, so that only a new call can succeed. The others take
            // long enough for a heartbeat to be due.
            let slow = ["DescribeImageScanFindings", "BatchGetImage", "PutImage"];
            let slow = slow.map(|call| FaultRule::on(call).delay(Duration::from_secs(9)));
            let never = FaultRule::on(operation).first(3).fault(fault);
            world.sim.set_faults([vec![never], slow.to_vec()].concat());

            world.run_to_the_end().await;

            let tags = world.sim.tags(&repository, &digest).unwrap();
            assert_eq!(tags, [quarantine(&digest)], "{case}");
            let struck =
                |call: &aws_sim::Call| call.faults.iter().any(|fault| fault.contains("hang"));
            assert!(world.sim.calls_of(operation).iter().any(struck), "{case} did not happen");
            assert!(!world.notices().is_empty(), "{case}");
            assert_eq!(world.dead_letters(), 0, "{case}");
        }
    }
}
