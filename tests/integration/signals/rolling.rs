//! A rolling replacement of tasks while messages arrive, as ECS does it when at least the desired
//! number must stay healthy: an old task gets SIGTERM when `/healthz` of a new one answers.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use aws_sim::{CallOutcome, FaultRule, Service};
use hyper::StatusCode;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::holders::Holders;
use crate::process::{Ended, Worker, within_deadline};
use crate::world::{DEAD_LETTERS, LOOPBACK, QUEUE, World, assert_in_order, lines, quarantine_tag};

/// The number of tasks that run at any time, and the number that are replaced.
const TASKS: usize = 2;
const REPLACEMENTS: usize = 8;
/// The number of messages on the queue or in hand while tasks are replaced.
const BACKLOG: usize = 12;

/// Keeps the queue at its length until all tasks are replaced. Returns the digests of all images.
async fn load(world: &World, replaced: &Cell<bool>) -> Vec<String> {
    let mut digests = Vec::new();
    while !replaced.get() {
        let tags = [format!("v{}", digests.len()), format!("latest-{}", digests.len())];
        digests.push(world.violation(&[&tags[0], &tags[1]]));
        world
            .sim
            .wait_until(|sim| replaced.get() || sim.queue(QUEUE).messages.len() < BACKLOG)
            .await;
    }
    digests
}

/// A task whose calls are recognized by its access key.
struct Task {
    key: String,
    worker: Worker,
}

impl Task {
    async fn start(world: &World, number: usize) -> Self {
        let key = format!("AKIATASK{number}");
        let mut variables = world.variables.clone();
        variables.insert("AWS_ACCESS_KEY_ID".to_owned(), key.clone());
        Self { key, worker: Worker::start(&variables).await }
    }

    /// Sends SIGTERM and waits for the end. The task holds no message then.
    async fn stopped(self, world: &World, holders: &Holders) -> Ended {
        let ended = self.worker.stopped().await;
        assert_in_order(&ended);
        let held = holders.stranded(&world.sim, QUEUE, &self.key);
        assert_eq!(held, [""; 0], "{} has not released them", self.key);
        ended
    }
}

/// Replaces the tasks, and stops the last one when no work is left. Returns how each of them ended.
async fn deployments(world: &World, holders: &Holders, replaced: &Cell<bool>) -> Vec<Ended> {
    let mut running = VecDeque::new();
    let mut ended = Vec::new();
    for number in 0..TASKS {
        running.push_back(Task::start(world, number).await);
    }
    for number in TASKS..TASKS + REPLACEMENTS {
        let new = Task::start(world, number).await;
        assert_eq!(new.worker.get("/healthz").await.0, StatusCode::OK);
        running.push_back(new);
        let old = running.pop_front().expect("a task that runs");
        ended.push(old.stopped(world, holders).await);
    }
    replaced.set(true);
    let done = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
    within_deadline("an empty queue", done).await;
    for last in running {
        ended.push(last.stopped(world, holders).await);
    }
    ended
}

#[tokio::test]
async fn rolling_replacement_loses_no_message_and_repeats_no_change() {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    // A stopping task releases the messages that it has not started, which costs each of them a
    // receive.
    let mut world = World::with_receives(address, 10);
    world.serve(listener).await;
    let slowly = FaultRule::on_service(Service::Ecr).delay(Duration::from_millis(20));
    world.sim.set_faults(slowly);
    let holders = Holders::of(&world.sim);
    let replaced = Cell::new(false);

    let (digests, ended) =
        tokio::join!(load(&world, &replaced), deployments(&world, &holders, &replaced));

    let in_hand = |ended: &&Ended| {
        lines(ended, "draining").iter().any(|line| line["in_flight"].as_u64() > Some(0))
    };
    let interrupted = ended.iter().filter(in_hand).count();
    println!("{} images, {interrupted} of {} tasks with work in hand", digests.len(), ended.len());
    assert!(interrupted >= REPLACEMENTS / 2, "{interrupted}");
    for digest in &digests {
        assert_eq!(world.tags(digest), [quarantine_tag(digest)]);
    }
    let notices = world.sim.notices(&world.topic);
    let notified: BTreeSet<_> = notices
        .iter()
        .map(|notice| serde_json::from_str::<Value>(&notice.message).expect("a notice"))
        .map(|notice| notice["image"]["digest"].to_string())
        .collect();
    assert_eq!((notices.len(), notified.len()), (digests.len(), digests.len()));
    let mut untagged = BTreeMap::<_, usize>::new();
    for call in world.sim.calls_of("BatchDeleteImage") {
        assert_eq!(call.outcome, CallOutcome::Ok);
        for id in call.request["imageIds"].as_array().expect("a list") {
            *untagged.entry(id["imageTag"].to_string()).or_default() += 1;
        }
    }
    assert_eq!(untagged.len(), 2 * digests.len());
    assert!(untagged.values().all(|times| *times == 1), "{untagged:?}");
    assert_eq!(world.sim.queue(DEAD_LETTERS).messages, []);
    assert_eq!(world.sim.queue(QUEUE).messages, []);
}
