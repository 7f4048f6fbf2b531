//! Whole workers on one queue, under random faults, signals and changes by other people, judged at
//! every call.
//!
//! Each seed is a separate run in virtual time with the real AWS SDK against the simulated AWS.
//! `TAGWARDEN_SEED=7` runs one seed and prints its course. `TAGWARDEN_SEEDS=100000` sets the number
//! of seeds of the ignored test.
//!
//! It is a program of its own, because the log of a seed is read, as in `tests/integration`, and a
//! worker of `tests/worker`, which has no subscriber, would silence call sites for it.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed"
)]
#![expect(unreachable_pub, reason = "modules of one test crate")]

mod chaos;
mod events;
mod notices;
mod oracle;
mod run;
mod scans;
mod scene;
mod seeds;

use std::collections::BTreeMap;
use std::sync::Mutex;

use run::{Report, run};
use seeds::run_on_every_core;

/// The number of seeds of an ordinary run.
const SEEDS: u64 = 200;

/// Runs these seeds on every core, prints their totals, and panics with the report of the failing
/// ones.
fn run_all(seeds: u64) {
    let failed = Mutex::new(Vec::new());
    let sums = Mutex::new(BTreeMap::<&'static str, u64>::new());
    run_on_every_core(seeds, |seed| {
        let report = run(seed);
        let mut sums = sums.lock().unwrap();
        for (what, count) in &report.counts {
            *sums.entry(what).or_default() += count;
        }
        if !report.wrong.is_empty() {
            failed.lock().unwrap().push(report);
        }
    });
    println!("{seeds} seeds: {:?}", sums.into_inner().unwrap());
    let failed = failed.into_inner().unwrap();
    for report in failed.iter().take(3) {
        println!("{}", shown(report));
    }
    let seeds: Vec<_> = failed.iter().map(|report| report.seed).collect();
    assert!(failed.is_empty(), "seeds {seeds:?}; TAGWARDEN_SEED=<seed> shows one of them in full");
}

/// A failing seed: its violations, and the faults before them.
fn shown(report: &Report) -> String {
    format!(
        "seed {}: {}\n{}\nfault plan:\n{}",
        report.seed,
        report.settings,
        report.wrong.join("\n"),
        report.faults.join("\n")
    )
}

#[test]
fn faults_cause_no_loss_no_duplicate_and_no_wrong_removal() {
    match std::env::var("TAGWARDEN_SEED").ok() {
        Some(seed) => {
            let report = run(seed.parse().expect("TAGWARDEN_SEED is a number"));
            println!("{}", report.trace);
            println!("{}", shown(&report));
            assert!(report.wrong.is_empty());
        }
        None => run_all(SEEDS),
    }
}

#[test]
#[ignore = "as many seeds as TAGWARDEN_SEEDS says"]
fn many_seeds_lose_nothing() {
    let seeds = std::env::var("TAGWARDEN_SEEDS").ok();
    run_all(seeds.map_or(10_000, |seeds| seeds.parse().expect("TAGWARDEN_SEEDS is a number")));
}

#[test]
fn same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3, 5, 8] {
        let (first, second) = (run(seed), run(seed));
        assert!(first.trace.len() > 10_000, "seed {seed}");
        let differ = first.trace.lines().zip(second.trace.lines()).find(|(one, two)| one != two);
        assert_eq!(differ, None, "seed {seed}");
        assert_eq!(first.trace.len(), second.trace.len(), "seed {seed}");
    }
}
