//! SIGTERM during a receive: the worker waits for the receive, so that no receive that it leaves
//! behind takes a message. A killed worker cannot wait, which costs the message a receive.

use aws_sim::{CallOutcome, FaultRule, Sim};

use crate::process::{Signal, Worker, within_deadline};
use crate::world::{DEAD_LETTERS, QUEUE, World, assert_in_order, quarantine_tag};

/// A world whose worker has three seconds for work after the signal.
async fn world() -> World {
    World::new().await.set("TAGWARDEN__SHUTDOWN__GRACE", "4s")
}

/// Waits until the last receive is in flight and asks to wait for this many seconds.
async fn receiving(world: &World, seconds: u64) {
    let is_under_way = |sim: &Sim| {
        sim.calls_of("ReceiveMessage").last().is_some_and(|call| {
            call.outcome == CallOutcome::Unanswered
                && call.request["WaitTimeSeconds"].as_u64() == Some(seconds)
        })
    };
    within_deadline("a receive", world.sim.wait_until(is_under_way)).await;
}

async fn asked_to_stop(worker: &mut Worker) {
    worker.signal(Signal::TERM);
    worker.logged("stopping: no new messages; work in hand goes on", |_| true).await;
}

/// Every receive was answered, and a message that is sent now stays where it is.
#[track_caller]
fn assert_nothing_is_left_behind(world: &World) {
    let receives = world.sim.calls_of("ReceiveMessage");
    assert!(receives.iter().all(|call| call.outcome != CallOutcome::Unanswered), "{receives:#?}");
    assert_eq!((world.sim.abandoned_polls(), world.sim.queue(QUEUE).in_flight), (0, 0));
}

#[tokio::test]
async fn stopped_idle_worker_waits_for_its_receive() {
    let world = world().await;
    let mut worker = world.worker().await;
    receiving(&world, 3).await;
    let before = world.sim.calls_of("ReceiveMessage").len();
    asked_to_stop(&mut worker).await;

    assert_in_order(&worker.ended().await);
    let receives = world.sim.calls_of("ReceiveMessage");
    assert_eq!((receives.len(), &receives[before - 1].outcome), (before, &CallOutcome::Ok));
    assert_nothing_is_left_behind(&world);
    world.violation(&["1.0"]);
    let queue = world.sim.queue(QUEUE);
    assert_eq!((queue.visible, queue.messages[0].receive_count), (1, 0));
}

#[tokio::test]
async fn message_that_arrives_while_an_idle_worker_stops_is_not_stranded() {
    let world = world().await;
    let mut worker = world.worker().await;
    receiving(&world, 3).await;
    asked_to_stop(&mut worker).await;
    let digest = world.violation(&["1.0"]);

    assert_in_order(&worker.ended().await);
    assert_nothing_is_left_behind(&world);
    world.assert_quarantined(&digest);
}

#[tokio::test]
async fn message_that_arrives_while_a_busy_worker_stops_is_not_stranded() {
    let world = world().await;
    world.sim.set_faults(FaultRule::on("PutImage").hang());
    let mut worker = world.worker().await;
    world.violation(&["1.0"]);
    world.called("PutImage").await;
    receiving(&world, 1).await;
    asked_to_stop(&mut worker).await;
    world.violation(&["2.0"]);

    assert_in_order(&worker.ended().await);
    assert_nothing_is_left_behind(&world);
    let messages = world.sim.queue(QUEUE).messages;
    assert_eq!(messages.len(), 2, "both are released: {messages:#?}");
    assert!(messages.iter().all(|message| message.receive_count <= 1), "{messages:#?}");
    let waits: Vec<_> = world
        .sim
        .calls_of("ReceiveMessage")
        .iter()
        .map(|call| call.request["WaitTimeSeconds"].clone())
        .collect();
    assert!(waits[1..].iter().all(|wait| *wait == 1), "{waits:?}");
}

#[tokio::test]
async fn message_received_by_a_killed_worker_is_delivered_again() {
    let world = World::new().await.set("TAGWARDEN__QUEUE__VISIBILITY_TIMEOUT", "6s");
    let worker = world.worker().await;
    receiving(&world, 2).await;
    worker.signal(Signal::KILL);
    assert_eq!(worker.ended().await.code, None);
    within_deadline("a receive without a caller", async {
        world.sim.wait_until(|sim| sim.abandoned_polls() == 1).await;
    })
    .await;
    let digest = world.violation(&["1.0"]);
    let taken = world.sim.wait_until(|sim| sim.queue(QUEUE).in_flight == 1);
    within_deadline("the receive of a message", taken).await;
    assert_eq!(world.sim.abandoned_polls(), 0);

    let worker = world.worker().await;
    let done = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
    within_deadline("an empty queue", done).await;
    assert_eq!(world.tags(&digest), [quarantine_tag(&digest)]);
    assert_eq!(world.sim.queue(DEAD_LETTERS).messages, []);
    assert_in_order(&worker.stopped().await);
}
