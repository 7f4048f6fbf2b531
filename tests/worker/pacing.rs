//! The calls of an API that AWS throttles are paced, only in that account and Region. Nothing else
//! waits.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use aws_sim::{CallOutcome, FaultRule, RepoKey, Sim, SimConfig};
use serde_json::json;
use tagwarden::app::App;
use tokio::time::Instant;

use super::support::{ACCOUNT, REGION, World, critical, enhanced, quarantine};

const MEMBER: &str = "444455556666";
const SECOND: Duration = Duration::from_secs(1);

/// A quota of this many PutImage calls in any second. Throttled calls use none of it.
fn quota(per_second: usize) -> FaultRule {
    quota_of(FaultRule::on("PutImage"), per_second)
}

fn quota_of(calls: FaultRule, per_second: usize) -> FaultRule {
    let passed = Mutex::new(VecDeque::<Instant>::new());
    let exceeds = move |now: Instant| {
        let mut passed = passed.lock().unwrap();
        while passed.front().is_some_and(|at| now.duration_since(*at) >= SECOND) {
            passed.pop_front();
        }
        let exceeds = passed.len() >= per_second;
        if !exceeds {
            passed.push_back(now);
        }
        exceeds
    };
    calls.matching(move |_| exceeds(Instant::now())).error("ThrottlingException")
}

/// The number of PutImage attempts, and how many of them were throttled.
fn attempts(world: &World) -> (usize, usize) {
    let calls = world.sim.calls_of("PutImage");
    let throttled = CallOutcome::Error("ThrottlingException".to_owned());
    (calls.len(), calls.iter().filter(|call| call.outcome == throttled).count())
}

/// The number of paced calls, by operation, without the operations that were not paced.
fn paced(app: &App) -> Vec<(String, u64)> {
    let metrics = app.instruments().render().unwrap();
    let lines = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix("tagwarden_paced_calls_total{operation=\"")?;
        let (operation, count) = rest.split_once("\"} ")?;
        Some((operation.to_owned(), count.parse().unwrap()))
    });
    let all: Vec<_> = lines.collect();
    assert_eq!(all.len(), 13, "each exists from the start: {all:?}");
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}

fn seeded(seed: u64) -> World {
    World::with(SimConfig { seed, ..SimConfig::default() })
}

fn two_hundred(world: &World) -> Vec<String> {
    (0..200).map(|number| world.violating(&[&format!("v{number}")])).collect()
}

#[tokio::test(start_paused = true)]
async fn two_hundred_images_are_processed_at_the_rate_of_put_image() {
    for seed in 0..5 {
        let world = seeded(seed);
        world.sim.set_faults(quota(10));
        let digests = two_hundred(&world);
        let began = Instant::now();

        let app = world.run_to_the_end().await;

        for digest in &digests {
            assert_eq!(world.tags(digest), [quarantine(digest)]);
        }
        assert_eq!(world.dead_letters(), 0);
        let (all, throttled) = attempts(&world);
        assert!(throttled * 10 < all, "{throttled} of {all} attempts were throttled");
        // A mark and a record of each image.
        assert!(began.elapsed() < 80 * SECOND, "twice the time at ten in a second");
        let [(operation, count)] = &paced(&app)[..] else { panic!("{:?}", paced(&app)) };
        assert_eq!(operation, "PutImage");
        assert!(*count > 100, "{count}");
    }
}

#[tokio::test(start_paused = true)]
async fn unthrottled_work_does_not_wait() {
    let world = World::new();
    two_hundred(&world);
    let began = Instant::now();

    let app = world.run_to_the_end().await;

    assert_eq!(attempts(&world), (400, 0), "a mark and a record of each image");
    assert_eq!(paced(&app), []);
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn tenfold_quota_is_used() {
    let world = World::new();
    world.sim.set_faults(quota(100));
    two_hundred(&world);
    let began = Instant::now();

    world.run_to_the_end().await;

    let (all, throttled) = attempts(&world);
    assert!(throttled * 5 < all, "{throttled} of {all} attempts were throttled");
    assert!(began.elapsed() < 8 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn throttled_account_does_not_slow_the_others() {
    let world = World::new().set("POLICY__ACCOUNTS", &[ACCOUNT, MEMBER].join(","));
    let there = world.sim.create_repository_in(MEMBER, REGION, "team/app");
    world.sim.set_faults(quota_of(FaultRule::on("PutImage").account(MEMBER), 5));
    let theirs = (0..10).map(|number| {
        let tag = format!("v{number}");
        let digest = world.image_in(&there, &[&tag], critical());
        world.send(&enhanced(&there, &digest, &[&tag], &json!({"CRITICAL": 1, "HIGH": 2})));
        digest
    });
    let theirs: Vec<_> = theirs.collect();
    let done = |sim: &Sim, of: &RepoKey, digest: &String| {
        sim.tags(of, digest).unwrap() == [quarantine(digest)]
    };
    let test = async {
        world.sim.wait_until(|_| attempts(&world).1 > 0).await;
        let began = Instant::now();
        let ours = world.violating(&["ours"]);
        world.sim.wait_until(|sim| done(sim, &world.repository, &ours)).await;
        assert!(began.elapsed() < SECOND / 2, "{:?}", began.elapsed());
        assert!(!theirs.iter().all(|digest| done(&world.sim, &there, digest)));
        world.done().await;
    };

    world.run_while(test).await;

    assert!(theirs.iter().all(|digest| done(&world.sim, &there, digest)));
}

#[tokio::test(start_paused = true)]
async fn images_of_a_temporarily_blocked_account_are_finished_later() {
    let world = World::new();
    let began = Instant::now();
    let down = move || began.elapsed() < 45 * SECOND;
    let rule = FaultRule::on("PutImage").matching(move |_| down());
    world.sim.set_faults(rule.error("ThrottlingException"));
    let digests: Vec<_> = (0..40).map(|number| world.violating(&[&format!("v{number}")])).collect();
    world.run_to_the_end().await;

    assert_eq!(world.dead_letters(), 0);
    assert!(digests.iter().all(|digest| world.tags(digest) == [quarantine(digest)]));
}
