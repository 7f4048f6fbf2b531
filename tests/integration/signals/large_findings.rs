//! Images with thousands of findings, in a process that may use no more memory than a small task.

use std::time::Duration;

use aws_sim::{Finding, Record, ScanResult, Sim, SimConfig};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use tokio::net::TcpListener;

use crate::process::Worker;
use crate::world::{DEAD_LETTERS, LOOPBACK, QUEUE, World, assert_in_order};

/// What the process may allocate, in bytes: little enough that findings without a budget exceed it.
const LIMIT: u64 = 96 << 20;
const IMAGES: usize = 48;
const FINDINGS: usize = 3_000;

/// Findings as large as Inspector writes them.
fn large() -> ScanResult {
    (0..FINDINGS).fold(ScanResult::enhanced(&[]), |scan, number| {
        scan.with(Finding::new(&format!("CVE-2026-{number:05}"), "HIGH").in_full())
    })
}

#[tokio::test]
async fn thousands_of_findings_in_many_images_fit_a_small_task() {
    if !cfg!(target_os = "linux") {
        println!("skipped: only Linux limits the data of a process");
        return;
    }
    let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
    // Without this, every finding would be recorded with the call that asks for it.
    let sim = Sim::new(SimConfig { record: Record::Counts, ..SimConfig::default() });
    let mut world = World::with_sim(listener.local_addr().expect("an address"), 3, sim);
    world.sim.put_rule("inspector", json!({"source": ["aws.inspector2"]}), QUEUE);
    world.serve(listener).await;
    let worker: Worker = world.worker().await;
    let id = Pid::from_raw(worker.id().try_into().expect("a process id")).expect("a process id");
    let limit = Rlimit { current: Some(LIMIT), maximum: getrlimit(Resource::Data).maximum };
    prlimit(Some(id), Resource::Data, limit).expect("a limit that can be set");
    let scan = large();
    // In repositories of their own, so that all permits are used at once.
    let images: Vec<_> = (0..IMAGES)
        .map(|number| {
            let repository = world.sim.create_repository(&format!("team/large-{number}"));
            let digest = world.sim.push_image(&repository, &["1.0"], &format!("v{number}"));
            world.sim.set_findings(&repository, &digest, scan.clone());
            world.sim.emit_scan_event(&repository, &digest);
            (repository, digest)
        })
        .collect();
    let done = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
    tokio::time::timeout(Duration::from_secs(300), done).await.expect("an empty queue");
    for (repository, digest) in &images {
        let tags = world.sim.tags(repository, digest).expect("an image that is there");
        assert_eq!(tags.len(), 1, "{digest} is quarantined");
    }
    assert_eq!(world.sim.queue(DEAD_LETTERS).messages, []);
    assert_in_order(&worker.stopped().await);
}
