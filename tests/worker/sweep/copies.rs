//! Steps that are delivered twice: in one task a copy ends at once, and no chain of slices forks.

use std::time::Duration;

use aws_sim::{Call, FaultRule, Sim};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;

use super::{clean, images, others, published, summary, sweep};
use crate::support::{ACCOUNT, QUEUE, REGION, World, critical, quarantine, settled};

/// This many images without a scan.
fn never_scanned(world: &World, count: usize) {
    let named = (0..count).map(|number| (format!("v{number}"), format!("never {number}")));
    world.sim.push_images(&world.repository, named);
}

/// The number of inspected slices.
fn slices(world: &World) -> usize {
    let calls = world.sim.calls_of("DescribeImages").into_iter();
    calls.filter(|call| call.request["maxResults"] == 100).count()
}

/// The bodies of the messages that a call has sent.
fn sent(call: &Call) -> Vec<Value> {
    let replies = call.reply.iter().flat_map(|reply| reply["Successful"].as_array()).flatten();
    let entries = call.request["Entries"].as_array().unwrap();
    let entry = |id: &Value| entries.iter().find(|entry| entry["Id"] == *id).unwrap();
    let body = |id: &Value| entry(id)["MessageBody"].as_str().unwrap().to_owned();
    replies.map(|sent| serde_json::from_str(&body(&sent["Id"])).unwrap()).collect()
}

/// The number of sent messages of this kind, without those that say that a summary was sent.
fn sent_of(world: &World, detail_type: &str) -> usize {
    let calls = world.sim.calls_of("SendMessageBatch");
    let of_it =
        |body: &Value| body["detail-type"] == detail_type && body["detail"]["told"].is_null();
    calls.iter().flat_map(sent).filter(of_it).count()
}

/// The number of messages about slices that wait in the queue.
fn waiting(world: &World) -> usize {
    let messages = world.sim.queue(QUEUE).messages.into_iter();
    messages.filter(|message| message.body.contains("Sweep Repository")).count()
}

/// A slice of the repository, in the form that a task sends.
fn slice() -> Value {
    let detail = json!({
        "sweep": "s", "account": ACCOUNT, "region": REGION, "repository": "team/app", "number": 0, "of": 1,
    });
    json!({
        "source": "tagwarden", "detail-type": "Sweep Repository", "time": "2026-01-01T00:00:00Z", "detail": detail,
    })
}

fn count(settled: &[(String, u64)], reason: &str) -> u64 {
    settled.iter().filter(|(what, _)| what.contains(reason)).map(|(_, count)| count).sum()
}

#[tokio::test(start_paused = true)]
async fn stop_during_scan_requests_forks_no_chain() {
    // One slice at a time.
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "4");
    never_scanned(&world, 500);
    world.send(&sweep());
    for stop in 1..=3 {
        let asked = 40 + world.sim.calls_of("StartImageScan").len();
        world.run_until(move |sim| sim.calls_of("StartImageScan").len() >= asked).await;
        assert_eq!((waiting(&world), slices(&world)), (1, stop), "after stop {stop}");
    }
    world.run_to_the_end().await;
    assert_eq!(slices(&world), 5);
    assert_eq!(summary(&world)["repositories"], json!({"covered": 1, "swept": 1}));
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn slice_that_loses_its_lease_during_scan_requests_is_done() {
    let world = World::new();
    never_scanned(&world, 150);
    world.sim.set_faults(vec![
        FaultRule::on("ChangeMessageVisibilityBatch").error("InternalFailure"),
        FaultRule::on("StartImageScan").delay(Duration::from_secs(3)),
    ]);
    world.send(&sweep());
    let app = world.run_to_the_end().await;
    assert_eq!(slices(&world), 2);
    assert_eq!(sent_of(&world, "Sweep Repository"), 2);
    assert_eq!(count(&settled(&app), "repeated"), 2, "{:?}", settled(&app));
    assert_eq!(images(&summary(&world)), json!({"never_scanned": 150}));
}

#[tokio::test(start_paused = true)]
async fn undeletable_steps_continue_the_sweep_once() {
    let world = World::new();
    others(&world, 3);
    for number in 0..250 {
        let scan = if number % 50 == 0 { critical() } else { clean() };
        world.image(&[&format!("v{number}")], scan);
    }
    world.sim.set_faults(FaultRule::on("DeleteMessageBatch").fail_entries("InternalError"));
    world.send(&sweep());
    let test = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        world.sim.clear_faults();
        world.done().await;
    };
    let app = world.run_while(test).await;
    assert!(count(&settled(&app), "repeated") > 0, "{:?}", settled(&app));
    assert_eq!(slices(&world), 3 + 3);
    assert_eq!(sent_of(&world, "Sweep Registry"), 1);
    assert_eq!(sent_of(&world, "Sweep Repository"), 4 + 2);
    assert_eq!(sent_of(&world, "Sweep Image"), 5);
    assert_eq!(images(&summary(&world)), json!({"untag": 5, "clean": 248}));
}

#[tokio::test(start_paused = true)]
async fn copy_of_a_step_in_progress_waits_and_ends() {
    let world = World::new();
    for number in 0..120 {
        world.image(&[&format!("v{number}")], clean());
    }
    for _ in 0..3 {
        world.send(&slice());
    }
    let app = world.run_to_the_end().await;
    assert_eq!(slices(&world), 2);
    assert_eq!(count(&settled(&app), "repeated"), 2, "{:?}", settled(&app));
    assert_eq!(images(&summary(&world)), json!({"clean": 120}));
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn failed_slice_is_retried_and_its_copy_is_not_lost() {
    let world = World::new();
    world.image(&["1.0"], critical());
    world.sim.set_faults(FaultRule::on("DescribeImages").first(2).error("ServerException"));
    world.send(&slice());
    world.send(&slice());
    world.run_to_the_end().await;
    assert_eq!(images(&summary(&world)), json!({"untag": 1}));
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn second_delivery_of_a_slice_stays_until_the_first_has_continued() {
    let world = World::new();
    world.image(&["1.0"], clean());
    let id = world.send(&slice());
    world.sim.set_faults(FaultRule::on("DescribeImageScanFindings").hang());
    let (app, shutdown) = (world.app(), Shutdown::default());
    let test = async {
        let looks = |sim: &Sim| !sim.calls_of("DescribeImageScanFindings").is_empty();
        world.sim.wait_until(looks).await;
        world.sim.make_visible(QUEUE, &id);
        tokio::time::sleep(Duration::from_secs(10)).await;
    };
    // Then the task dies.
    tokio::select! {
        biased;
        ended = app.work(&shutdown) => panic!("the worker ended by itself: {ended:?}"),
        () = test => {}
    }
    world.sim.clear_faults();
    world.run_to_the_end().await;
    assert_eq!(images(&summary(&world)), json!({"clean": 1}));
}

#[tokio::test(start_paused = true)]
async fn each_task_processes_a_slice_at_most_once() {
    let world = World::new();
    for number in 0..450 {
        world.image(&[&format!("v{number}")], clean());
    }
    for _ in 0..6 {
        world.send(&slice());
    }
    let (one, other) = (world.app_as("AKIAONE"), world.app_as("AKIAOTHER"));
    let shutdown = Shutdown::default();
    tokio::select! {
        biased;
        ended = one.work(&shutdown) => panic!("{ended:?}"),
        ended = other.work(&shutdown) => panic!("{ended:?}"),
        () = world.done() => {}
    }
    assert!(slices(&world) <= 2 * 5, "{}", slices(&world));
    let (summaries, _) = published(&world);
    assert!(summaries.iter().all(|one| images(one) == json!({"clean": 450})), "{summaries:#?}");
}

#[tokio::test(start_paused = true)]
async fn sweeps_with_one_id_and_different_times_are_different_sweeps() {
    let world = World::new();
    world.image(&["1.0"], clean());
    let test = async {
        for _ in 0..2 {
            let mut order = sweep();
            order["detail"]["sweep"] = json!("nightly");
            world.send(&order);
            world.done().await;
        }
    };
    world.run_while(test).await;
    let (summaries, _) = published(&world);
    assert_eq!(summaries.len(), 2, "{summaries:#?}");
    assert_ne!(summaries[0]["id"], summaries[1]["id"]);
}

/// Returns whether an entry of a batch is about an image with this digest.
fn is_about(digest: &str) -> impl Fn(&Value) -> bool + Send + Sync + use<> {
    let digest = digest.to_owned();
    move |entry| entry["MessageBody"].as_str().unwrap().contains(&digest)
}

#[tokio::test(start_paused = true)]
async fn failed_entries_of_a_batch_are_sent_again_and_no_others() {
    let world = World::new();
    let bad: Vec<_> =
        (0..25).map(|number| world.image(&[&format!("v{number}")], critical())).collect();
    let failing = [is_about(&bad[3]), is_about(&bad[4])];
    let fault = FaultRule::on("SendMessageBatch")
        .first(5)
        .fail_entries_where("InternalError", move |entry| failing.iter().any(|one| one(entry)));
    world.sim.set_faults(fault);
    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(slices(&world), 1);
    assert_eq!(sent_of(&world, "Sweep Image"), 25, "none twice");
    assert_eq!(sent_of(&world, "Sweep Repository"), 1);
    for digest in &bad {
        assert_eq!(world.tags(digest), [quarantine(digest)]);
    }
}

#[tokio::test(start_paused = true)]
async fn image_message_that_fails_for_minutes_forks_no_chain_and_is_not_lost() {
    let world = World::new();
    let bad: Vec<_> =
        (0..25).map(|number| world.image(&[&format!("v{number}")], critical())).collect();
    for number in 0..100 {
        world.image(&[&format!("c{number}")], clean());
    }
    world.sim.set_faults(
        FaultRule::on("SendMessageBatch").fail_entries_where("InternalError", is_about(&bad[3])),
    );
    world.send(&sweep());
    let test = async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.run_while(test).await;
    for digest in &bad {
        assert_eq!(world.tags(digest), [quarantine(digest)]);
    }
    assert_eq!(sent_of(&world, "Sweep Repository"), 2, "the first slice and the second");
    assert_eq!(sent_of(&world, "Sweep Result"), 1);
    let (_, notices) = published(&world);
    assert_eq!(notices.len(), bad.len(), "each is notified once, although some were sent twice");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn permanently_rejected_entry_is_not_retried_and_ends_the_sending() {
    let world = World::new();
    others(&world, 24);
    let fault = FaultRule::on("SendMessageBatch").skip(2).once();
    world.sim.set_faults(fault.fail_entries_where("InvalidParameterValue", |_| true));
    world.send(&sweep());
    world.run_until(|sim| sim.calls_of("SendMessageBatch").len() >= 2 + 3).await;
    world.run_to_the_end().await;
    assert_eq!(summary(&world)["repositories"], json!({"covered": 25, "swept": 25}));
    assert_eq!(world.dead_letters(), 0);
}
