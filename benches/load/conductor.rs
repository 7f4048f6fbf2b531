//! What is measured, one after the other.

mod findings;

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::Arguments;
use crate::aws::{self, Order, Place};
use crate::contender::{Contender, Running, binary_size};
use crate::core::Cores;
use crate::mix::Mix;
use crate::report::{Measurement, Report, percentile};

/// How much is done.
struct Scale {
    floods: usize,
    violating: usize,
    probes: usize,
    soak: usize,
    /// Repositories that are swept, and images of each.
    sweep: (usize, usize),
    /// Images, and findings of each.
    findings: &'static [(usize, usize)],
    /// Repositories that are swept, images of each, and findings of each.
    swept_findings: (usize, usize, usize),
    /// How long a worker is left alone after that.
    rest: Duration,
    idle: Duration,
    starts: usize,
    concurrency: &'static [usize],
}

const MEASURE: Scale = Scale {
    floods: 50_000,
    violating: 2_000,
    probes: 400,
    soak: 1_000_000,
    sweep: (200, 50),
    findings: &[(256, 3_000), (20, 10_000), (60, 8_000)],
    swept_findings: (8, 20, 3_000),
    rest: Duration::from_secs(90),
    idle: Duration::from_secs(60),
    starts: 9,
    concurrency: &[1, 2, 4, 8, 16, 32, 64, 128, 256],
};

/// Everything once, and nothing for long.
const TRY: Scale = Scale {
    floods: 300,
    violating: 20,
    probes: 5,
    soak: 1_000,
    sweep: (3, 7),
    findings: &[(3, 700)],
    swept_findings: (2, 2, 300),
    rest: Duration::ZERO,
    idle: Duration::ZERO,
    starts: 1,
    concurrency: &[8, 64],
};

/// Measures what the command line asks for, and says what came of it.
pub(crate) async fn main(arguments: &Arguments) {
    let cores = Cores::of_this_process();
    cores.stay_beside();
    let conductor = Conductor {
        scale: if arguments.bench { MEASURE } else { TRY },
        rounds: arguments.rounds,
        only: arguments.only.iter().filter(|word| !word.starts_with('-')).cloned().collect(),
        scripts: scripts(arguments),
        cores,
    };
    let report = LocalSet::new().run_until(conductor.measure()).await;
    if arguments.bench {
        println!("{report}");
    } else {
        println!("{} measurements tried", report.measurements.len());
    }
    if let Some(file) = &arguments.json {
        std::fs::write(file, report.json()).expect("a file that can be written");
    }
}

struct Conductor {
    scale: Scale,
    rounds: usize,
    only: Vec<String>,
    /// Programs of other languages that do the same job.
    scripts: Vec<(&'static str, Contender)>,
    cores: Cores,
}

fn scripts(arguments: &Arguments) -> Vec<(&'static str, Contender)> {
    let boto3 = arguments.boto3.as_ref().map(|packages| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/contenders/worker.py");
        let packages = packages.display().to_string();
        Contender::script(["python3", script], [("PYTHONPATH".to_owned(), packages)])
    });
    let node = arguments.node.as_ref().map(|folder| {
        let script = folder.join("worker.mjs").display().to_string();
        Contender::script(["node", &script], [("NODE_NO_WARNINGS".to_owned(), "1".to_owned())])
    });
    [("boto3 worker", boto3), ("Node worker", node)]
        .into_iter()
        .filter_map(|(name, contender)| Some((name, contender?)))
        .collect()
}

/// The simulated AWS as a child process.
struct Aws {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    place: Place,
}

impl Aws {
    async fn start() -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--role", "aws"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("a program that starts");
        let orders = child.stdin.take().expect("a pipe");
        let mut answers = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let place = answers.next_line().await.expect("text").expect("a line");
        let place = serde_json::from_str(&place).expect("a place");
        Self { _child: child, orders, answers, place }
    }

    async fn order(&mut self, order: &Order) -> aws::Result {
        let line = format!("{}\n", serde_json::to_string(order).expect("JSON"));
        self.orders.write_all(line.as_bytes()).await.expect("a process that listens");
        let answer = self.answers.next_line().await.expect("text").expect("an answer");
        serde_json::from_str(&answer).expect("a result")
    }
}

impl Conductor {
    async fn measure(self) -> Report {
        let mut report = Report::new(&self.cores, binary_size());
        for _ in 0..self.rounds {
            self.floods(&mut report).await;
        }
        self.latency(&mut report).await;
        self.concurrency(&mut report).await;
        self.tasks(&mut report).await;
        self.sweep(&mut report).await;
        self.findings(&mut report).await;
        self.soak(&mut report).await;
        self.life(&mut report).await;
        report
    }

    async fn floods(&self, report: &mut Report) {
        let floods = self.scale.floods;
        for loops in [1, 2, 4] {
            let name = format!("bare SDK loop, {loops} at once, clean");
            self.flood(report, name, Contender::Bare(loops), Mix::Clean, floods).await;
        }
        let silent = Contender::worker_with("RUST_LOG", "off,tagwarden::app=info");
        let name = "worker, clean, no logs".to_owned();
        self.flood(report, name, silent, Mix::Clean, floods).await;
        let many = Contender::worker_with("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", 128);
        let name = "worker, clean, 128 in flight".to_owned();
        self.flood(report, name, many, Mix::Clean, floods).await;
        let export = Contender::worker_with("OTEL_EXPORTER_OTLP_ENDPOINT", "collector");
        for (mix, word) in [(Mix::Clean, "clean"), (Mix::Realistic, "mix")] {
            let name = format!("worker, {word}");
            self.flood(report, name, Contender::worker(), mix, floods).await;
            let name = format!("worker, {word}, traces");
            self.flood(report, name, export.clone(), mix, floods).await;
            for (name, script) in &self.scripts {
                let name = format!("{name}, {word}");
                self.flood(report, name, script.clone(), mix, floods / 5).await;
            }
        }
        let name = "worker, violating images alone".to_owned();
        let images = self.scale.violating;
        self.flood(report, name, Contender::worker(), Mix::Violating, images).await;
    }

    fn wants(&self, name: &str) -> bool {
        let wanted = self.only.is_empty() || self.only.iter().any(|word| name.contains(word));
        if wanted {
            eprintln!("{name} ...");
        }
        wanted
    }

    async fn start(&self, aws: &Aws, contender: &Contender) -> Running {
        let mut contender = contender.clone();
        if let Contender::Worker(variables) = &mut contender {
            for (name, value) in variables {
                if *name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
                    value.clone_from(&aws.place.collector);
                }
            }
        }
        Running::start(&contender, &aws.place, &self.cores).await
    }

    /// Throughput: messages come as fast as they are taken.
    async fn flood(
        &self,
        report: &mut Report,
        name: String,
        contender: Contender,
        mix: Mix,
        messages: usize,
    ) {
        if !self.wants(&name) {
            return;
        }
        let mut aws = Aws::start().await;
        let running = self.start(&aws, &contender).await;
        aws.order(&Order::Flood(Mix::Clean, 100)).await;
        let before = running.taken();
        let result = aws.order(&Order::Flood(mix, messages)).await;
        let after = running.taken();
        let (_, printed) = running.stop().await;
        assert_done_once(&result, &contender);
        report.add(Measurement::of_flood(name, &result, before, after, printed));
    }

    async fn latency(&self, report: &mut Report) {
        for (name, load) in [("latency, idle queue", 0), ("latency, 5,000 clean a second", 5_000)] {
            if !self.wants(name) {
                continue;
            }
            let mut aws = Aws::start().await;
            let running = self.start(&aws, &Contender::worker()).await;
            let result = aws.order(&Order::Probe(self.scale.probes, load)).await;
            running.stop().await;
            let mut measurement = Measurement::new(name);
            measurement.p50_ms = percentile(&result.latencies, 0.5);
            measurement.p99_ms = percentile(&result.latencies, 0.99);
            report.add(measurement);
        }
    }

    /// Against an AWS that takes 10 ms for every answer: throughput by max_in_flight, until the core is full.
    async fn concurrency(&self, report: &mut Report) {
        for in_flight in self.scale.concurrency {
            let name = format!("concurrency, {in_flight} in flight");
            if !self.wants(&name) {
                continue;
            }
            let mut aws = Aws::start().await;
            aws.order(&Order::Delay(10)).await;
            let contender = Contender::worker_with("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", in_flight);
            let running = self.start(&aws, &contender).await;
            let before = running.taken();
            let messages = (in_flight * self.scale.floods / 300).min(self.scale.floods);
            let result = aws.order(&Order::Flood(Mix::Realistic, messages.max(100))).await;
            let after = running.taken();
            // Less than one message in flight can bear, however few there are.
            let load = u64::try_from(5 * in_flight).unwrap_or(u64::MAX);
            let probe = aws.order(&Order::Probe(self.scale.probes.min(100), load)).await;
            running.stop().await;
            assert_done_once(&result, &contender);
            let mut measurement = Measurement::of_flood(name, &result, before, after, 0);
            measurement.in_flight = Some(*in_flight);
            measurement.p50_ms = percentile(&probe.latencies, 0.5);
            measurement.p99_ms = percentile(&probe.latencies, 0.99);
            report.add(measurement);
        }
    }

    /// Several workers on one queue, and one where AWS is far away or slow: what a task works off.
    async fn tasks(&self, report: &mut Report) {
        for (tasks, delay) in [(1, 10), (2, 10), (3, 10), (1, 100)] {
            let name = format!("workers on one queue, {tasks}, {delay} ms a call");
            if !self.wants(&name) {
                continue;
            }
            let mut aws = Aws::start().await;
            aws.order(&Order::Delay(delay)).await;
            let contender = Contender::worker();
            let mut workers = Vec::new();
            for _ in 0..tasks {
                workers.push(self.start(&aws, &contender).await);
            }
            let messages = (self.scale.floods / 10) * tasks;
            let result = aws.order(&Order::Flood(Mix::Realistic, messages)).await;
            for worker in workers {
                worker.stop().await;
            }
            assert_done_once(&result, &contender);
            let mut measurement = Measurement::new(&name);
            measurement.per_second = Some(result.messages as f64 / result.seconds);
            report.add(measurement);
        }
    }

    /// A sweep, and images that have to go while it lasts.
    async fn sweep(&self, report: &mut Report) {
        let (repositories, images) = self.scale.sweep;
        for calls in [1000, 100] {
            let name = format!(
                "sweep, {} images in {repositories} repositories, {calls} calls a second",
                repositories * images
            );
            if !self.wants(&name) {
                continue;
            }
            let mut aws = Aws::start().await;
            let setting = "TAGWARDEN__SWEEP__CALLS_PER_SECOND";
            let running = self.start(&aws, &Contender::worker_with(setting, calls)).await;
            let before = running.taken();
            let probes = self.scale.probes.min(100);
            let result = aws.order(&Order::Sweep(repositories, images, probes)).await;
            let after = running.taken();
            let (_, printed) = running.stop().await;
            let mut measurement = Measurement::of_flood(name, &result, before, after, printed);
            measurement.p50_ms = percentile(&result.latencies, 0.5);
            measurement.p99_ms = percentile(&result.latencies, 0.99);
            report.add(measurement);
        }
    }

    /// Whether memory stays where it is.
    async fn soak(&self, report: &mut Report) {
        if !self.wants("soak") {
            return;
        }
        let mut aws = Aws::start().await;
        let running = self.start(&aws, &Contender::worker()).await;
        for tenth in 1..=10 {
            aws.order(&Order::Flood(Mix::Clean, self.scale.soak / 10)).await;
            let mut measurement =
                Measurement::new(&format!("soak, {} messages", tenth * (self.scale.soak / 10)));
            let taken = running.taken();
            (measurement.resident, measurement.peak) = (Some(taken.resident), Some(taken.peak));
            report.add(measurement);
        }
        running.stop().await;
    }

    /// Start, idleness and end.
    async fn life(&self, report: &mut Report) {
        if !self.wants("life") {
            return;
        }
        let aws = Aws::start().await;
        // The default: how long an idle worker polls, and so takes to end, depends on it.
        let worker = Contender::worker_with("TAGWARDEN__SHUTDOWN__GRACE", "25s");
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        for _ in 0..self.scale.starts {
            let running = self.start(&aws, &worker).await;
            starts.push(running.until_ready * 1e3);
            stops.push(running.stop().await.0 * 1e3);
        }
        for (name, mut times) in
            [("life, start to ready", starts), ("life, SIGTERM to exit, idle", stops)]
        {
            times.sort_by(f64::total_cmp);
            let mut measurement = Measurement::new(name);
            measurement.p50_ms = percentile(&times, 0.5);
            measurement.p99_ms = percentile(&times, 0.99);
            report.add(measurement);
        }
        let running = self.start(&aws, &worker).await;
        // By then the threads that a start needs have gone, and their time with them.
        sleep(self.scale.idle / 4).await;
        let before = running.taken();
        sleep(self.scale.idle).await;
        let after = running.taken();
        let mut measurement = Measurement::new("life, idle");
        let seconds = self.scale.idle.as_secs_f64();
        measurement.core_percent =
            (seconds > 0.0).then(|| (after.cpu - before.cpu) / seconds * 100.0);
        (measurement.resident, measurement.peak) = (Some(after.resident), Some(after.peak));
        report.add(measurement);
    }
}

/// No image was acted on twice, and none was left out.
fn assert_done_once(result: &aws::Result, contender: &Contender) {
    if !matches!(contender, Contender::Worker(_)) {
        return;
    }
    let calls = |operation| result.calls.get(operation).copied().unwrap_or_default();
    // The mark and the record, and a record again where its repository had no empty blob yet.
    let puts = 2 * result.violating + calls("CompleteLayerUpload");
    assert_eq!(calls("PutImage"), puts, "{result:?}");
    assert_eq!(calls("BatchDeleteImage"), result.violating, "{result:?}");
    assert_eq!(result.notices, result.violating, "{result:?}");
}
