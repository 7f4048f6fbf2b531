//! A log router that does not read: the worker continues, exits in order, and says what was lost.

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::Child;

use crate::process::{Signal, send_signal, tagwarden, within_deadline};
use crate::world::{QUEUE, World, quarantine_tag};

/// More messages than the worker can keep log lines for.
const MESSAGES: usize = 4_000;

/// Starts a worker and reads its log until it is ready, but no further.
async fn worker(world: &World) -> (Child, Lines<BufReader<impl AsyncRead + use<>>>) {
    let mut child = tagwarden(&["run"], &world.variables).spawn().expect("the binary");
    let mut log = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let ready = async {
        let mut line = String::new();
        while !line.contains("\"ready\"") {
            line = log.next_line().await.expect("text").expect("a worker that becomes ready");
        }
    };
    within_deadline("a worker that is ready", ready).await;
    (child, log)
}

/// Sends irrelevant messages with long log lines, and waits until they are settled.
async fn fill(world: &World) {
    for number in 0..MESSAGES {
        let event = json!({
            "id": format!("{number:0120}"),
            "source": "s".repeat(120),
            "detail-type": "d".repeat(120),
            "detail": {},
        });
        world.sim.send(QUEUE, &event.to_string());
    }
    settled(world).await;
}

async fn settled(world: &World) {
    let done = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
    within_deadline("an empty queue", done).await;
}

#[tokio::test]
async fn unread_log_stops_no_work_and_loses_no_audit_record() {
    let world = World::new().await;
    let (mut child, mut log) = worker(&world).await;
    fill(&world).await;
    let digest = world.violation(&["v1"]);
    settled(&world).await;
    assert_eq!(world.tags(&digest), [quarantine_tag(&digest)]);
    send_signal(child.id().expect("a process that runs"), Signal::TERM);
    let mut lines: Vec<Value> = Vec::new();
    let rest = async {
        while let Some(line) = log.next_line().await.expect("text") {
            lines.push(serde_json::from_str(&line).expect("a line of JSON"));
        }
    };
    within_deadline("the rest of the log", rest).await;
    let code = within_deadline("the end", child.wait()).await.expect("a child").code();
    assert_eq!(code, Some(0));
    let with = |name: &str, text: &str| lines.iter().filter(|line| line[name] == text).count();
    let assessed = with("message", "assessed");
    let lost: u64 = lines.iter().filter_map(|line| line["lines"].as_u64()).sum();
    // A line about the stop may be lost too.
    let all = MESSAGES as u64 + 1..=MESSAGES as u64 + 4;
    assert!(all.contains(&(assessed as u64 + lost)), "{assessed} are there, {lost} lost");
    assert!(lost > 0, "{assessed} lines are not more than the worker keeps");
    let audit = lines.iter().filter(|line| line["target"] == "tagwarden::audit");
    let about: Vec<_> = audit.map(|line| &line["digest"]).collect();
    assert!(!about.is_empty() && about.iter().all(|of| **of == digest), "{about:?}");
}

#[tokio::test]
async fn worker_with_an_unread_log_exits() {
    let world = World::new().await;
    let (mut child, log) = worker(&world).await;
    fill(&world).await;
    send_signal(child.id().expect("a process that runs"), Signal::TERM);
    let code = within_deadline("the end", child.wait()).await.expect("a child").code();
    assert_eq!(code, Some(0));
    drop(log);
}
