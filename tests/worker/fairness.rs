//! Messages do not wait for a poison message or a slow repository. In virtual time.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sim::{FaultRule, RepoKey, ScanResult, Service, Sim, SimConfig};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::support::{QUEUE, World, basic, critical, in_repository, quarantine, settled};

const POISON: usize = 100;
const GOOD: usize = 1_000;

/// Bodies that are no event, one after the other.
fn poison(number: usize) -> String {
    let valid = basic("sha256:00", &[], &Value::Null).to_string();
    match number % 8 {
        0 => format!("poison {number}"),
        1 => "[".repeat(50_000),
        2 => json!({"source": number, "detail-type": "ECR Image Scan"}).to_string(),
        3 => json!({"source": "aws.ecr", "detail-type": "ECR Image Scan", "detail": null})
            .to_string(),
        4 => valid,
        5 => valid.chars().take(valid.len() / 2).collect(),
        6 => "\u{0}\u{1b}[2J".repeat(number + 1),
        _ => json!({"Type": "Notification", "Message": "{\"Type\": \"Notification\"}"}).to_string(),
    }
}

/// A world whose calls take as long as AWS calls.
fn world() -> World {
    World::with(SimConfig { latency: Duration::from_millis(20), ..SimConfig::default() })
}

/// An image, and the message that requires an inspection of it.
struct Good {
    message: String,
    digest: String,
    violates: bool,
}

/// Every tenth violates the policy.
fn good(world: &World, repository: &RepoKey, number: usize) -> Good {
    let violates = number.is_multiple_of(10);
    let scan = if violates { critical() } else { ScanResult::basic(&[("LOW", 3)]) };
    let tag = number.to_string();
    let digest = world.image_in(repository, &[&tag], scan);
    let mut event = in_repository(basic(&digest, &[&tag], &Value::Null), &repository.name);
    event["id"] = json!(format!("{} {number}", repository.name));
    Good { message: world.send(&event), digest, violates }
}

/// Runs a worker until these messages are settled. Returns the time that this took.
async fn time_for(world: &World, good: &[Good]) -> Duration {
    let messages: BTreeSet<_> = good.iter().map(|good| good.message.as_str()).collect();
    let started = Instant::now();
    let left = |sim: &Sim| {
        sim.queue(QUEUE).messages.iter().any(|message| messages.contains(message.id.as_str()))
    };
    let mut took = Duration::ZERO;
    let done = async {
        world.sim.wait_until(|sim| !left(sim)).await;
        took = started.elapsed();
    };
    world.run_while(done).await;
    took
}

#[tokio::test(start_paused = true)]
async fn poison_delays_nobody_and_ends_in_the_dead_letter_queue() {
    let run = async |poisoned: bool| {
        let world = world();
        let mut images = Vec::new();
        for number in 0..GOOD {
            if poisoned && number.is_multiple_of(GOOD / POISON) {
                world.sim.send(QUEUE, &poison(number / (GOOD / POISON)));
            }
            images.push(good(&world, &world.repository, number));
        }
        let took = time_for(&world, &images).await;
        for image in images {
            let marked = world.tags(&image.digest) == [quarantine(&image.digest)];
            assert_eq!(marked, image.violates, "{}", image.digest);
        }
        (world, took)
    };
    let (_, alone) = run(false).await;
    let (world, mixed) = run(true).await;
    println!("{GOOD} good messages: {alone:?} alone, {mixed:?} among {POISON} poison ones");
    assert!(mixed <= alone.mul_f64(1.2), "{mixed:?} is not {alone:?}");

    let app = world.run_to_the_end().await;
    assert_eq!(world.dead_letters(), POISON);
    let settled = settled(&app);
    assert!(settled.iter().all(|(word, _)| word == "redrive malformed"), "{settled:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_repository_does_not_slow_the_others() {
    for (slow, max_in_flight, backlogs) in
        [(1, "32", vec![20, 500]), (3, "32", vec![20]), (1, "8", vec![20])]
    {
        for backlog in backlogs {
            let answering = others_behind(slow, backlog, max_in_flight, false).await;
            let hanging = others_behind(slow, backlog, max_in_flight, true).await;
            println!(
                "500 messages behind {backlog} of each of {slow} repositories, {max_in_flight} in flight: \
                 {answering:?} where these answer, {hanging:?} where they hang"
            );
            // In the second before they are known to be slow, they take at least half of the
            // permits, because more of one repository than can wait are received.
            let once = Duration::from_secs(1);
            let most = answering.mul_f64(1.2) + once;
            assert!(hanging <= most, "{hanging:?} is not {answering:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn backlog_of_one_repository_is_processed_with_any_number_of_permits() {
    let calls = [("0.02", Duration::from_millis(20)), ("3", Duration::from_secs(3))];
    for (seconds, latency) in calls {
        for permits in ["1", "2", "8"] {
            let world = World::with(SimConfig { latency, ..SimConfig::default() })
                .set("QUEUE__MAX_IN_FLIGHT", permits);
            let all: Vec<_> =
                (0..200).map(|number| good(&world, &world.repository, number)).collect();
            let took = time_for(&world, &all).await;
            println!(
                "200 messages of one repository, {permits} in flight, {seconds} s a call: {took:?}"
            );

            // One message for each slot at a time, with its calls.
            let turns = permits.parse::<u32>().unwrap().div_ceil(2);
            assert!(took < latency * 200 * 8 / turns, "{took:?}");
            assert_eq!(world.dead_letters(), 0);
        }
    }
}

/// The time that 500 messages of four repositories take behind a backlog of other repositories that
/// hang, or do not.
async fn others_behind(slow: usize, backlog: usize, max_in_flight: &str, hang: bool) -> Duration {
    let world = world().set("QUEUE__MAX_IN_FLIGHT", max_in_flight);
    let slow: Vec<_> =
        (0..slow).map(|at| world.sim.create_repository(&format!("slow/{at}"))).collect();
    for number in 0..backlog {
        slow.iter().for_each(|repository| drop(good(&world, repository, number)));
    }
    world.sim.set_faults(
        FaultRule::on_service(Service::Ecr)
            .matching(move |call| {
                let name = call.input["repositoryName"].as_str().unwrap_or_default();
                hang && name.starts_with("slow/")
            })
            .hang(),
    );
    let others = ["a", "b", "c", "d"].map(|name| world.sim.create_repository(name));
    let all = (0..125).flat_map(|number| others.iter().map(move |other| (other, number)));
    let all: Vec<_> = all.map(|(other, number)| good(&world, other, number)).collect();
    time_for(&world, &all).await
}
