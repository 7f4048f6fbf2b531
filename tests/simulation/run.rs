//! One seed from start to end.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sim::Sim;
use fastrand::Rng;
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::FuturesUnordered;
use tagwarden::app::{App, RunError};
use tagwarden::config::{Settings, Sources};
use tagwarden::shutdown::Shutdown;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::chaos::{Chaos, refusal};
use crate::events::{self, Planned};
use crate::oracle::Oracle;
use crate::scene::{DEAD_LETTERS, QUEUE, Scene};

/// The time after which no more faults strike.
const QUIET: Duration = Duration::from_secs(20 * 60);
/// Half an hour in which something is refused.
const REFUSAL: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(1_920));
/// The time after which a run counts as stuck.
const LATEST: Duration = Duration::from_secs(3 * 24 * 3600);

/// The result of a seed.
pub struct Report {
    pub seed: u64,
    pub settings: String,
    /// Every call, and every line of the log.
    pub trace: String,
    /// The faults that struck, in order.
    pub faults: Vec<String>,
    /// The violations.
    pub wrong: Vec<String>,
    pub counts: BTreeMap<&'static str, u64>,
}

enum Step {
    Send(Planned),
    /// The image gets its findings.
    Found(aws_sim::RepoKey, String),
    Start(usize),
    Terminate(usize),
    Kill(usize),
    /// From now on, the clocks of all tasks are this many seconds ahead of the clock of AWS.
    Clock(i64),
    Refuse,
    Quiet,
}

fn is_sweep(step: &Step) -> bool {
    let Step::Send(planned) = step else { return false };
    planned.body.contains("sweep-")
}

/// The log of all workers of a seed.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a seed in a runtime of its own, under paused time.
pub fn run(seed: u64) -> Report {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .without_time()
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(async { Seed::new(seed).play(log).await })
    })
}

struct Seed {
    sim: Sim,
    scene: Arc<Scene>,
    oracle: Arc<Mutex<Oracle>>,
    steps: Vec<(Duration, Step)>,
    /// The time from each burst of messages until the stop that follows it.
    bursts: Vec<Range<Duration>>,
    begun: Instant,
}

type Ended = (usize, Result<Result<(), RunError>, Aborted>);

struct Task {
    shutdown: Shutdown,
    kill: AbortHandle,
    terminated_at: Option<Instant>,
}

impl Seed {
    fn new(seed: u64) -> Self {
        fastrand::seed(seed);
        let mut rng = Rng::with_seed(seed);
        let (sim, scene) = Scene::new(seed, &mut rng);
        let scene = Arc::new(scene);
        let oracle = Arc::new(Mutex::new(Oracle::new(Arc::clone(&scene))));
        let mut steps: Vec<_> = events::plan(&scene, &mut rng)
            .into_iter()
            .map(|planned| (planned.at, Step::Send(planned)))
            .collect();
        for image in scene.images.values().filter(|image| !image.is_index) {
            if let Some(from) = image.bad_from.filter(|from| !from.is_zero()) {
                steps.push((from, Step::Found(image.repository.clone(), image.digest.clone())));
            }
        }
        let tasks = scene.settings.tasks;
        steps.extend((0..tasks).map(|task| (Duration::from_secs(task as u64), Step::Start(task))));
        if scene.settings.refused.is_some() {
            steps.push((REFUSAL.0, Step::Refuse));
            steps.push((REFUSAL.1, Step::Quiet));
        } else {
            steps.push((QUIET, Step::Quiet));
            for _ in 0..rng.usize(0..4) {
                let at = Duration::from_millis(rng.u64(..1_000_000));
                steps.push((at, Step::Clock(rng.i64(-1_200..1_200))));
            }
            // While sweeps request scans.
            if scene.settings.unscanned > 0 {
                let sweeps = steps.iter().filter(|(_, step)| is_sweep(step)).map(|(at, _)| *at);
                for at in sweeps.collect::<Vec<_>>() {
                    for _ in 0..rng.usize(1..4) {
                        let at = at + Duration::from_millis(rng.u64(1_000..60_000));
                        let task = rng.usize(..tasks);
                        let is_kill = rng.u8(..4) == 0;
                        let stop = if is_kill { Step::Kill(task) } else { Step::Terminate(task) };
                        steps.push((at, stop));
                    }
                }
            }
            for _ in 0..rng.usize(0..6) {
                let at = Duration::from_millis(rng.u64(5_000..1_000_000));
                let task = rng.usize(..tasks);
                let stop = if rng.bool() { Step::Kill(task) } else { Step::Terminate(task) };
                steps.push((at, stop));
            }
        }
        // A few calls before some of the stops, so that receives are in flight and messages wait
        // for their turn.
        let mut bursts = Vec::new();
        let stops = steps.iter().filter(|(_, step)| matches!(step, Step::Terminate(_)));
        for stop in stops.map(|(at, _)| *at).collect::<Vec<_>>() {
            if rng.bool() {
                let at = stop.saturating_sub(sim.config().latency.mul_f64(2.0 + 20.0 * rng.f64()));
                let burst = events::burst(&scene, &mut rng, at, bursts.len()).into_iter();
                steps.extend(burst.map(|planned| (planned.at, Step::Send(planned))));
                bursts.push(at..stop);
            }
        }
        steps.sort_by_key(|(at, _)| *at);
        Self { sim, scene, oracle, steps, bursts, begun: Instant::now() }
    }

    async fn play(mut self, log: Log) -> Report {
        let seed = self.scene.settings.seed;
        let oracle = Arc::clone(&self.oracle);
        self.sim.watch(move |sim, call, moment| oracle.lock().unwrap().see(sim, call, moment));
        if self.scene.settings.refused.is_none() {
            let bursts = self.bursts.iter();
            let bursts = bursts.map(|burst| self.begun + burst.start..self.begun + burst.end);
            let (scene, oracle) = (Arc::clone(&self.scene), Arc::clone(&self.oracle));
            let chaos = Chaos::new(seed, scene, oracle, bursts.collect());
            self.sim.set_faults(chaos);
        }
        let mut running = FuturesUnordered::new();
        let mut tasks: BTreeMap<usize, Task> = BTreeMap::new();
        let mut steps = std::mem::take(&mut self.steps).into_iter().peekable();
        let mut restarts: Vec<(Instant, usize)> = Vec::new();
        let end = self.begun + LATEST;
        loop {
            let planned = steps.peek().map(|(at, _)| self.begun + *at);
            let restart = restarts.iter().map(|(at, _)| *at).min();
            let next = planned.into_iter().chain(restart).min();
            let calm = planned.is_none();
            let empty = self.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
            tokio::select! {
                biased;
                () = async { sleep_until(next.unwrap_or(end)).await } => {
                    if Instant::now() >= end {
                        self.wrong("the queue does not become empty".to_owned());
                        break;
                    }
                }
                Some(ended) = running.next(), if !running.is_empty() => {
                    let (task, result): Ended = ended;
                    let ended = tasks.remove(&task);
                    self.task_ended(task, &result, ended.as_ref());
                    restarts.push((Instant::now() + Duration::from_secs(3), task));
                    continue;
                }
                () = empty, if calm && restart.is_none() => break,
            }
            let due = Instant::now();
            let mut starting: Vec<_> =
                restarts.extract_if(.., |(at, _)| *at <= due).map(|(_, task)| task).collect();
            while let Some((_, step)) = steps.next_if(|(at, _)| self.begun + *at <= due) {
                match step {
                    Step::Send(planned) => {
                        let id = self.sim.send(QUEUE, &planned.body);
                        self.oracle.lock().unwrap().sent(&self.sim, &id, planned.duty);
                    }
                    Step::Found(repository, digest) => {
                        if self.sim.tags(&repository, &digest).is_some() {
                            let scan =
                                self.scene.images[&(repository.clone(), digest.clone())].scan;
                            self.sim.set_findings(&repository, &digest, scan.result(true));
                        }
                    }
                    Step::Start(task) => starting.push(task),
                    Step::Terminate(task) => {
                        if let Some(running) = tasks.get_mut(&task) {
                            running.shutdown.drain();
                            running.terminated_at = Some(Instant::now());
                            self.oracle.lock().unwrap().draining(&key(task), self.sim.age());
                        }
                    }
                    Step::Kill(task) => {
                        if let Some(running) = tasks.get(&task) {
                            running.kill.abort();
                        }
                    }
                    Step::Refuse => {
                        if let Some(refused) = self.scene.settings.refused {
                            self.sim.set_faults(refusal(refused, self.scene.settings.seed));
                        }
                    }
                    Step::Clock(ahead) => self.sim.set_callers_clock(ahead),
                    Step::Quiet => self.sim.clear_faults(),
                }
            }
            for task in starting {
                let (future, started) = self.start(task);
                running.push(future);
                tasks.insert(task, started);
            }
        }
        tasks.values().for_each(|task| task.shutdown.drain());
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Ok(Some((task, result))) = timeout_at(deadline, running.next()).await {
            self.task_ended(task, &result, None);
            if !matches!(result, Ok(Ok(()))) {
                self.wrong(format!("{} does not end in order: {result:?}", key(task)));
            }
        }
        if !running.is_empty() {
            self.wrong("not every task ends".to_owned());
        }
        self.report(&log)
    }

    fn start(&self, task: usize) -> (impl Future<Output = Ended> + use<>, Task) {
        let environment = self.scene.environment().into_iter().collect();
        let sources = Sources { file: None, environment };
        let settings = Settings::load(&sources).unwrap();
        let app = App::new(settings, &self.sim.sdk_config_as(&key(task))).unwrap();
        self.oracle.lock().unwrap().started(&key(task));
        let shutdown = Shutdown::default();
        let (kill, registration) = AbortHandle::new_pair();
        let stop = shutdown.clone();
        let oracle = Arc::clone(&self.oracle);
        let work = async move {
            let result = app.work(&stop).await;
            oracle.lock().unwrap().metrics(&app.instruments().render().unwrap());
            result
        };
        let work = Abortable::new(work, registration);
        (async move { (task, work.await) }, Task { shutdown, kill, terminated_at: None })
    }

    fn task_ended(&self, task: usize, result: &Ended2, of: Option<&Task>) {
        let mut oracle = self.oracle.lock().unwrap();
        oracle.ended(&key(task), matches!(result, Ok(Ok(()) | Err(RunError::GraceExceeded(_)))));
        match result {
            Err(Aborted) | Ok(Err(RunError::Refused { .. })) => {}
            Ok(Ok(())) | Ok(Err(RunError::GraceExceeded(_))) => {
                let since = of.and_then(|task| task.terminated_at).map(|at| at.elapsed());
                if since.is_some_and(|since| since > Duration::from_secs(26)) {
                    oracle.wrong(format!("{} took {since:?} to stop", key(task)));
                }
                if of.is_some_and(|task| task.terminated_at.is_none()) {
                    oracle.wrong(format!("{} ended by itself: {result:?}", key(task)));
                }
            }
            Ok(Err(error)) => oracle.wrong(format!("{} ended: {error}", key(task))),
        }
    }

    fn wrong(&self, what: String) {
        self.oracle.lock().unwrap().wrong(what);
    }

    fn report(self, log: &Log) -> Report {
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let mut oracle = self.oracle.lock().unwrap();
        oracle.conclude(&self.sim, &log);
        let calls = self.sim.calls();
        let line = |call: &aws_sim::Call| serde_json::to_string(call).unwrap();
        let faults = calls.iter().filter(|call| !call.faults.is_empty());
        let faults = faults.map(|call| {
            let faults = call.faults.join(", ");
            format!(
                "{:>9.3} s  {} {}: {faults}",
                call.at.as_secs_f64(),
                call.caller,
                call.operation
            )
        });
        let faults: Vec<_> = faults.collect();
        let mut counts = oracle.counts.clone();
        counts.insert("calls", calls.len() as u64);
        counts.insert("faults", faults.len() as u64);
        counts.insert("dead letters", self.sim.queue(DEAD_LETTERS).messages.len() as u64);
        Report {
            seed: self.scene.settings.seed,
            settings: format!("{:?}", self.scene.settings),
            trace: calls.iter().map(line).collect::<Vec<_>>().join("\n") + "\n" + &log,
            faults,
            wrong: oracle.found(),
            counts,
        }
    }
}

type Ended2 = Result<Result<(), RunError>, Aborted>;

/// The access key of a task's calls.
pub fn key(task: usize) -> String {
    format!("AKIATASK{task}")
}
