//! The simulated AWS as a process: it does what it is told by lines of JSON on its standard input.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_sim::{Fault, FaultRule, Finding, Record, ScanResult, ServerGuard, Sim, SimConfig};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader, stdin};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};

use crate::export;
use crate::mix::{self, Body, Mix, image_with, prepare, violating_image};

const QUEUE: &str = "tagwarden";
/// Repositories whose images the probes are.
const PROBED: usize = 100;
/// The number of the first probe's image, which no other image has.
const PROBES: usize = 1_000_000_000;
/// What a schedule sends.
const SWEEP: &str = r#"{"source": "tagwarden", "detail-type": "Sweep Registry", "detail": {}}"#;
/// Messages that wait in the queue while a flood lasts.
const BACKLOG: usize = 2_000;

/// Where the simulated AWS is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) endpoint: String,
    pub(crate) queue: String,
    pub(crate) topic: String,
    /// Where traces and metrics can be sent.
    pub(crate) collector: String,
}

/// What the conductor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// From now on every answer takes so many milliseconds more.
    Delay(u64),
    /// Lets messages come as fast as they are taken, until all are done with.
    Flood(Mix, usize),
    /// Pushes images that have to go, one after the other, while so many clean messages a second come besides.
    Probe(usize, u64),
    /// Fills so many repositories with so many clean images each, has them swept, and pushes so many images besides that
    /// have to go.
    Sweep(usize, usize, usize),
    /// Pushes so many images with so many findings each, and lets their scan events come.
    Findings { images: usize, findings: usize, is_excepted: bool },
    /// Has so many repositories swept, of so many images with so many findings each.
    SweepFindings { repositories: usize, images: usize, findings: usize },
}

/// What came of an order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Result {
    /// From the first message that was sent to the last that was done with.
    pub(crate) seconds: f64,
    pub(crate) messages: usize,
    /// Images and indexes whose tags had to go.
    pub(crate) violating: usize,
    /// Notices that were published.
    pub(crate) notices: usize,
    /// Calls that came meanwhile, by operation.
    pub(crate) calls: BTreeMap<String, usize>,
    /// From visible to untagged, in milliseconds, in ascending order.
    pub(crate) latencies: Vec<f64>,
}

/// Serves until standard input ends.
pub(crate) async fn main() {
    let config = SimConfig { record: Record::Counts, epoch: now(), ..SimConfig::default() };
    let sim = Sim::new(config);
    let (queue, _) = sim.create_queue_with_redrive(QUEUE, 10, &[]);
    let topic = sim.create_topic("team");
    let (server, collector) = (serve(&sim).await, export::collector().await);
    let place =
        Place { endpoint: server.endpoint(), queue, topic, collector: collector.endpoint() };
    let aws = Aws { sim, topic: place.topic.clone() };
    say(&place);
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await.expect("a standard input") {
        say(&aws.carry_out(serde_json::from_str(&line).expect("an order")).await);
    }
}

#[expect(clippy::disallowed_methods, reason = "callers sign by the real time")]
fn now() -> SystemTime {
    SystemTime::now()
}

async fn serve(sim: &Sim) -> ServerGuard {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    sim.serve(listener).await.expect("a listener")
}

fn say(what: &impl Serialize) {
    println!("{}", serde_json::to_string(what).expect("JSON"));
}

/// A scan with so many findings, each as large as Inspector's, of which one in ten is High.
fn large_scan(findings: usize) -> ScanResult {
    (0..findings).fold(ScanResult::enhanced(&[]), |scan, number| {
        let severity = if number % 10 == 0 { "HIGH" } else { "MEDIUM" };
        let finding = Finding::new(&format!("CVE-2026-{number:05}"), severity);
        scan.with(finding.and_package("libssl3", "3.0.11-1~deb12u2").in_full())
    })
}

struct Aws {
    sim: Sim,
    topic: String,
}

impl Aws {
    async fn carry_out(&self, order: Order) -> Result {
        match order {
            Order::Delay(millis) => {
                let delay = Duration::from_millis(millis);
                self.sim.set_faults(FaultRule::always().fault(Fault::DelayReply(delay)));
                Result::default()
            }
            Order::Flood(mix, messages) => self.flood(mix, messages).await,
            Order::Probe(images, load) => self.probe(images, load, None).await,
            Order::Sweep(repositories, images, probes) => {
                for repository in 0..repositories {
                    self.fill(repository, images);
                }
                let messages = repositories * images;
                let result = self.probe(probes, 0, Some(SWEEP)).await;
                Result { messages, ..result }
            }
            Order::Findings { images, findings, is_excepted } => {
                self.findings(images, findings, is_excepted).await
            }
            Order::SweepFindings { repositories, images, findings } => {
                self.sweep_findings(repositories, images, findings).await
            }
        }
    }

    async fn flood(&self, mix: Mix, count: usize) -> Result {
        let mut messages = prepare(&self.sim, mix, count);
        let (calls, notices) = (self.sim.call_counts(), self.notices());
        let mut unsent = count;
        let started = Instant::now();
        let mut ticks = interval(Duration::from_millis(1));
        loop {
            let waiting = self.sim.queue_length(QUEUE);
            for body in messages.bodies.by_ref().take(BACKLOG.saturating_sub(waiting)) {
                self.sim.send(QUEUE, &body.text());
                unsent -= 1;
            }
            if unsent == 0 && self.sim.queue_length(QUEUE) <= messages.poison {
                break;
            }
            ticks.tick().await;
        }
        Result {
            seconds: started.elapsed().as_secs_f64(),
            messages: count,
            violating: messages.violating,
            notices: self.notices() - notices,
            calls: self.calls_since(&calls),
            latencies: Vec::new(),
        }
    }

    async fn findings(&self, images: usize, findings: usize, is_excepted: bool) -> Result {
        let scan = large_scan(findings);
        let events: Vec<_> = (0..images)
            .map(|number| {
                let repository = self.sim.create_repository(&mix::repository(number));
                image_with(&self.sim, &repository, number, &scan)
            })
            .collect();
        let violating = if is_excepted { 0 } else { images };
        let send = || events.iter().for_each(|event| drop(self.sim.send(QUEUE, event)));
        let done = |sim: &Sim| sim.queue_length(QUEUE) == 0;
        self.until(images, violating, send, done).await
    }

    async fn sweep_findings(&self, repositories: usize, images: usize, findings: usize) -> Result {
        let scan = large_scan(findings);
        for repository in 0..repositories {
            let repository = self.sim.create_repository(&format!("swept/r{repository}"));
            let tags: Vec<_> = (0..images).map(|number| format!("v{number}")).collect();
            let pushed = tags.iter().map(|tag| (tag, format!("{} {tag}", repository.name)));
            for digest in self.sim.push_images(&repository, pushed) {
                self.sim.set_findings(&repository, &digest, scan.clone());
            }
        }
        let all = repositories * images;
        let told = self.notices() + all + 1;
        let send = || drop(self.sim.send(QUEUE, SWEEP));
        self.until(all, all, send, |sim| sim.notices(&self.topic).len() >= told).await
    }

    /// Sends messages and waits until they are done with.
    async fn until(
        &self,
        messages: usize,
        violating: usize,
        send: impl FnOnce(),
        done: impl Fn(&Sim) -> bool,
    ) -> Result {
        let (calls, notices) = (self.sim.call_counts(), self.notices());
        let started = Instant::now();
        send();
        self.sim.wait_until(done).await;
        Result {
            seconds: started.elapsed().as_secs_f64(),
            messages,
            violating,
            notices: self.notices() - notices,
            calls: self.calls_since(&calls),
            latencies: Vec::new(),
        }
    }

    fn fill(&self, repository: usize, images: usize) {
        let repository = self.sim.create_repository(&format!("swept/r{repository}"));
        let tags: Vec<_> = (0..images).map(|number| format!("v{number}")).collect();
        let images = tags.iter().map(|tag| (tag, format!("{} {tag}", repository.name)));
        for digest in self.sim.push_images(&repository, images) {
            let clean = ScanResult::basic(&[("MEDIUM", 9), ("LOW", 4)]);
            self.sim.set_findings(&repository, &digest, clean);
        }
    }

    async fn probe(&self, images: usize, load: u64, first: Option<&str>) -> Result {
        let repositories: Vec<_> = (0..PROBED)
            .map(|number| self.sim.create_repository(&mix::repository(number)))
            .collect();
        // Poison of a flood before.
        let left = self.sim.queue_length(QUEUE);
        let (calls, notices) = (self.sim.call_counts(), self.notices());
        let mut latencies = Vec::new();
        let started = Instant::now();
        if let Some(first) = first {
            self.sim.send(QUEUE, first);
        }
        let feed = async {
            let mut ticks = interval(Duration::from_millis(10));
            for number in 0.. {
                ticks.tick().await;
                for extra in 0..load / 100 {
                    let number = number * 1_000_000 + usize::try_from(extra).unwrap_or_default();
                    self.sim.send(QUEUE, &Body::Clean(number).text());
                }
            }
        };
        let probes = async {
            // Often enough to be done soon, and far enough apart for the worker to rest in between.
            let mut ticks = interval(Duration::from_millis(25));
            for (number, repository) in repositories.iter().cycle().enumerate().take(images) {
                ticks.tick().await;
                let (digest, event) = violating_image(&self.sim, repository, PROBES + number);
                let sent = Instant::now();
                self.sim.send(QUEUE, &event);
                let untagged =
                    |sim: &Sim| sim.tags(repository, &digest).is_some_and(|tags| tags.len() == 1);
                self.sim.wait_until(untagged).await;
                latencies.push(sent.elapsed().as_secs_f64() * 1e3);
            }
        };
        tokio::select! {
            () = feed => {}
            () = probes => {}
        }
        match first {
            // The images' own, and the summary; what a sweep says to itself goes on for a while.
            Some(_) => {
                let told = notices + images + 1;
                self.sim.wait_until(|sim| sim.notices(&self.topic).len() >= told).await;
            }
            None => self.sim.wait_until(|sim| sim.queue_length(QUEUE) <= left).await,
        }
        latencies.sort_by(f64::total_cmp);
        Result {
            seconds: started.elapsed().as_secs_f64(),
            messages: images,
            violating: images,
            calls: self.calls_since(&calls),
            latencies,
            ..Result::default()
        }
    }

    fn notices(&self) -> usize {
        self.sim.notices(&self.topic).len()
    }

    fn calls_since(&self, before: &BTreeMap<String, usize>) -> BTreeMap<String, usize> {
        let mut calls = self.sim.call_counts();
        for (operation, count) in &mut calls {
            *count -= before.get(operation).copied().unwrap_or_default();
        }
        calls.retain(|_, count| *count > 0);
        calls
    }
}
