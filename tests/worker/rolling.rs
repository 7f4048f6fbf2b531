//! A rolling replacement of tasks while messages arrive, as in a deployment: a new task is healthy
//! before an old one is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sim::{CallOutcome, SimConfig};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tagwarden::shutdown::Shutdown;
use tokio::time::{Instant, sleep, sleep_until};

use super::support::{QUEUE, World, basic, critical, quarantine};
use crate::holders::Holders;

const IMAGES: usize = 60;
/// The number of tasks that run at any time.
const TASKS: usize = 2;

/// Sends an event about another image from time to time.
async fn load(world: &World, seed: u64) -> Vec<String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut digests = Vec::new();
    for number in 0..IMAGES {
        let tags = [format!("v{number}"), format!("latest-{number}")];
        let tags = [tags[0].as_str(), tags[1].as_str()];
        let digest = world.image(&tags, critical());
        let mut event = basic(&digest, &tags, &json!({"CRITICAL": 1}));
        event["id"] = json!(digest);
        world.send(&event);
        digests.push(digest);
        sleep(Duration::from_millis(rng.u64(0..1_500))).await;
    }
    digests
}

/// Replaces tasks until `until` is drained. Returns the number of tasks.
async fn deployments(world: &World, seed: u64, until: &Shutdown) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let holders = Holders::of(&world.sim);
    let mut running = Vec::new();
    let mut ending = FuturesUnordered::new();
    let mut tasks = 0;
    let mut next = Instant::now();
    loop {
        if tasks < TASKS || Instant::now() >= next {
            let (name, app) =
                (format!("AKIATASK{tasks}"), world.app_as(&format!("AKIATASK{tasks}")));
            let shutdown = Shutdown::default();
            let health = Arc::clone(app.health());
            let stop = shutdown.clone();
            ending.push(async move { (name, app.work(&stop).await) });
            running.insert(0, shutdown);
            tasks += 1;
            // A target group checks /healthz, and the old task is stopped as soon as the new one
            // answers.
            assert_eq!(health.live(), Ok(()));
            if running.len() > TASKS {
                running.pop().unwrap().drain();
            }
            next = Instant::now() + Duration::from_millis(rng.u64(500..4_000));
        }
        tokio::select! {
            biased;
            Some((name, ended)) = ending.next() => {
                ended.unwrap();
                assert_eq!(holders.stranded(&world.sim, QUEUE, &name), [""; 0], "{name} has not released them");
            }
            () = until.draining() => break,
            () = sleep_until(next) => {}
        }
    }
    for shutdown in running {
        shutdown.drain();
    }
    while let Some((name, ended)) = ending.next().await {
        ended.unwrap();
        assert_eq!(
            holders.stranded(&world.sim, QUEUE, &name),
            [""; 0],
            "{name} has not released them"
        );
    }
    tasks
}

#[tokio::test(start_paused = true)]
async fn rolling_replacement_loses_no_message_and_repeats_no_change() {
    for seed in 0..6 {
        let latency = Duration::from_millis(10 + 40 * seed);
        let world = World::with(SimConfig { seed, latency, ..SimConfig::default() });
        let done = Shutdown::default();
        let work = async {
            let digests = load(&world, seed).await;
            world.done().await;
            done.drain();
            digests
        };
        let (digests, tasks) = tokio::join!(work, deployments(&world, seed, &done));

        assert!(tasks > 10, "{tasks}");
        for digest in &digests {
            assert_eq!(world.tags(digest), [quarantine(digest)], "seed {seed}");
        }
        let notified: Vec<_> =
            world.notices().iter().map(|notice| notice["image"]["digest"].to_string()).collect();
        assert_eq!(notified.len(), IMAGES, "one notice for each image, seed {seed}");
        assert_eq!(notified.iter().collect::<BTreeSet<_>>().len(), IMAGES, "seed {seed}");
        let mut untagged = BTreeMap::<_, usize>::new();
        for call in world.sim.calls_of("BatchDeleteImage") {
            assert_eq!(call.outcome, CallOutcome::Ok);
            for id in call.request["imageIds"].as_array().unwrap() {
                *untagged.entry(id["imageTag"].to_string()).or_default() += 1;
            }
        }
        assert_eq!(untagged.len(), 2 * IMAGES, "seed {seed}");
        assert!(untagged.values().all(|times| *times == 1), "seed {seed}: {untagged:?}");
        assert_eq!((world.dead_letters(), world.sim.queue(QUEUE).messages.len()), (0, 0));
    }
}
