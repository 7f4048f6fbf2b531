//! The memory and CPU time of a task. The reservation for the worker in `deploy/tagwarden.yaml`
//! depends on it.

use std::fs;

use tokio::net::TcpListener;

use crate::process::{Worker, within_deadline};
use crate::world::{LOOPBACK, QUEUE, World, assert_in_order};

/// Violating images, one message for each.
const IMAGES: usize = 1_000;
/// The reservation for the worker in the task definition, in kB.
const RESERVED: u64 = 128 * 1024;

/// A value of `/proc/PID/status`, in kB.
fn status(process: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process of Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let figure = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    figure.expect("a figure in kB")
}

/// The CPU time of a process, in ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("a process of Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("the name in parentheses");
    let user_and_system = fields.split(' ').skip(11).take(2);
    user_and_system.map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[tokio::test]
async fn burst_of_violations_stays_within_the_reserved_memory() {
    if !cfg!(target_os = "linux") {
        println!("skipped: only Linux shows the memory of a process");
        return;
    }
    let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
    let mut world = World::with_receives(listener.local_addr().expect("an address"), 10);
    world.serve(listener).await;
    let worker: Worker = world.worker().await;
    let process = worker.id();
    let (idle, began) = (status(process, "VmHWM"), ticks(process));
    for number in 0..IMAGES {
        world.violation(&[&format!("v{number}")]);
    }
    let done = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
    within_deadline("an empty queue", done).await;
    let (most, took) = (status(process, "VmHWM"), (ticks(process) - began) * 10);
    println!("{idle} kB at the start, {most} kB after {IMAGES} violations, {took} ms of CPU");
    assert!(most < RESERVED, "{most} kB");
    assert_in_order(&worker.stopped().await);
}
