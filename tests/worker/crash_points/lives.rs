//! The lives of a worker, each in a runtime of its own: all but the last end in a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, pending};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sim::{ApiCall, Call, Fault, FaultPlan, Service, Sim};
use futures_util::future::try_join_all;
use serde_json::Value;
use tagwarden::app::{App, RunError};
use tagwarden::shutdown::Shutdown;
use tokio::time::timeout;

use super::scenes::Scene;
use crate::restores::{HOLDER, send};
use crate::support::{ACCOUNT, QUEUE, REGION, World};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How the messages come again after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Redelivery {
    /// At once.
    Now,
    /// When their visibility timeouts have passed.
    Later,
    /// At once, and once more while the fresh process has them in hand: it holds two leases on each.
    Twice,
    /// At once, and once more while a fresh process works on them, to another fresh process.
    ToTwo,
    /// Each event is sent a second time at once, and its first message comes later.
    Doubled,
    /// At once, and each event is sent a second time when all is settled.
    AfterAll,
    /// At once, to a receive that the dead process left behind if there is one: later then.
    ToTheDead,
}

impl Redelivery {
    pub(super) const ALL: [Self; 7] = [
        Self::Now,
        Self::Later,
        Self::Twice,
        Self::ToTwo,
        Self::Doubled,
        Self::AfterAll,
        Self::ToTheDead,
    ];
}

/// The end of a process while one of its calls is in the service's hands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    /// Which of its calls, from 0.
    pub(super) call: usize,
    /// Whether the call has its effect.
    pub(super) kept: bool,
    /// How the messages come again.
    pub(super) then: Redelivery,
}

/// What is left when the last life has ended.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) calls: Vec<Call>,
    /// How many calls had been made at each crash.
    pub(super) crashes: Vec<usize>,
    /// How many calls the life after the last crash had.
    pub(super) last_life: usize,
    pub(super) tags: BTreeMap<String, String>,
    /// The images without what is attached to them.
    pub(super) images: BTreeSet<String>,
    /// The notices of each topic, and among them what sums up a sweep.
    pub(super) notices: Vec<Vec<Value>>,
    pub(super) summaries: Vec<Vec<Value>>,
    /// Tags that were there at the start and were not where they had been at some moment.
    pub(super) went: BTreeSet<String>,
    pub(super) dead_letters: usize,
    /// Images that went from a copy in another registry.
    pub(super) lost_copies: usize,
}

/// Runs a scene through these crashes and to its end.
pub(super) fn run(scene: &Scene, crashes: &[Crash]) -> Result<Record, String> {
    let world = on_a_runtime(async { (scene.set)() });
    let messages = world.sim.queue(QUEUE).messages;
    let sent: Vec<_> = messages.into_iter().map(|message| message.body).collect();
    let mut watch = Watch::of(&world);
    let mut ends = Vec::new();
    let mut then = None;
    for crash in crashes {
        Life::new(&world, &sent, then).to_the_crash(*crash, &mut watch)?;
        ends.push(world.sim.calls().len());
        then = Some(crash.then);
    }
    let last = Life::new(&world, &sent, then);
    let mut is_done = last.to_the_end(&mut watch)?;
    let last_life = world.sim.calls().len() - last.began;
    // An over-reach stops a process for good: people start the next.
    while !is_done {
        is_done = Life::new(&world, &sent, None).to_the_end(&mut watch)?;
    }
    let arn = |name: &&str| format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}");
    let is_summary = |notice: &Value| notice["schema"] == "tagwarden.sweep/1";
    let told = scene.topics.iter().map(|name| world.notices_of(&arn(name)));
    let (summaries, notices) =
        told.map(|told| told.into_iter().partition(|notice| is_summary(notice))).unzip();
    Ok(Record {
        calls: world.sim.calls(),
        crashes: ends,
        last_life,
        tags: world.sim.repository_tags(&world.repository),
        images: images(&world),
        notices,
        summaries,
        went: watch.went,
        dead_letters: world.dead_letters(),
        lost_copies: world.sim.images_lost_by_replication().len(),
    })
}

/// The images, and what is attached to them but records of removals, whose names are compared
/// instead, and outcomes, which say what a crash left to do. Notifications, which have the time in
/// them, go by the name of what they are about.
fn images(world: &World) -> BTreeSet<String> {
    let images = world.sim.images(&world.repository);
    let records = images.iter().flat_map(|of| {
        let records = world.sim.referrers(&world.repository, of).into_iter();
        records.map(move |record| (of, record))
    });
    let names: BTreeMap<_, _> = records
        .filter_map(|(of, record)| match record.annotations.get("tagwarden.kind")?.as_str() {
            "outcome" | "quarantine" => Some((record.digest, None)),
            "notification" => Some((record.digest, Some(format!("notification about {of}")))),
            _ => None,
        })
        .collect();
    let named = images.iter().filter_map(|digest| match names.get(digest) {
        Some(name) => name.clone(),
        None => Some(digest.clone()),
    });
    named.collect()
}

fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().start_paused(true).build().unwrap().block_on(work)
}

/// Looks at the tags after every change.
struct Watch {
    start: BTreeMap<String, String>,
    went: BTreeSet<String>,
}

impl Watch {
    fn of(world: &World) -> Self {
        let start = world.sim.repository_tags(&world.repository);
        Self { start, went: BTreeSet::new() }
    }

    fn look(&mut self, world: &World) {
        let now = world.sim.repository_tags(&world.repository);
        let went = self.start.iter().filter(|(tag, digest)| now.get(*tag) != Some(*digest));
        self.went.extend(went.map(|(tag, _)| tag.clone()));
    }
}

/// Strikes one call, counted from 0.
struct StrikeOne {
    left: Option<usize>,
    fault: Fault,
    struck: Arc<AtomicBool>,
}

impl FaultPlan for StrikeOne {
    fn faults(&mut self, _: &ApiCall) -> Vec<Fault> {
        let now = self.left == Some(0);
        self.left = self.left.and_then(|left| left.checked_sub(1));
        self.struck.fetch_or(now, Ordering::Relaxed);
        Vec::from_iter(now.then(|| self.fault.clone()))
    }
}

/// One life, of one process or of two side by side.
struct Life<'a> {
    world: &'a World,
    sent: &'a [String],
    then: Option<Redelivery>,
    /// How many calls had been made before.
    began: usize,
}

impl<'a> Life<'a> {
    fn new(world: &'a World, sent: &'a [String], then: Option<Redelivery>) -> Self {
        Self { world, sent, then, began: world.sim.calls().len() }
    }

    fn to_the_crash(&self, crash: Crash, watch: &mut Watch) -> Result<(), String> {
        on_a_runtime(async {
            self.redeliver();
            let struck = Arc::new(AtomicBool::new(false));
            self.world.sim.set_faults(StrikeOne {
                left: Some(crash.call),
                fault: if crash.kept { Fault::HangAfter } else { Fault::Hang },
                struck: Arc::clone(&struck),
            });
            let at = self.began + crash.call;
            let in_the_services_hands = |sim: &Sim| {
                struck.load(Ordering::Relaxed) && (!crash.kept || sim.calls()[at].applied)
            };
            let (apps, shutdown) = (self.apps(), Shutdown::default());
            let work = work(&apps, &shutdown);
            let crashed = tokio::select! {
                biased;
                () = self.watch(watch) => Ok(()),
                ended = work => Err(format!("the worker ended by itself: {ended:?}")),
                () = self.meanwhile_and_on() => Ok(()),
                in_time = timeout(DAY, self.world.sim.wait_until(in_the_services_hands)) => {
                    in_time.map_err(|_| format!("call {} never came", crash.call))
                }
            };
            self.world.sim.clear_faults();
            watch.look(self.world);
            crashed
        })
    }

    /// Says whether all is done. It is not where an over-reach has stopped the process.
    fn to_the_end(&self, watch: &mut Watch) -> Result<bool, String> {
        on_a_runtime(async {
            self.redeliver();
            let (apps, shutdown) = (self.apps(), Shutdown::default());
            let mut work = pin!(work(&apps, &shutdown));
            let done = tokio::select! {
                biased;
                () = self.watch(watch) => Ok(true),
                ended = &mut work => Err(format!("the worker ended by itself: {ended:?}")),
                done = self.done(&apps) => done,
            }?;
            shutdown.drain();
            work.await.map_err(|error| format!("the worker did not drain: {error}"))?;
            watch.look(self.world);
            Ok(done)
        })
    }

    fn apps(&self) -> Vec<App> {
        match self.then {
            // Each takes one message at a time, so that what comes again comes to the other.
            Some(Redelivery::ToTwo) => {
                (0..2).map(|_| self.world.app_with("QUEUE__MAX_IN_FLIGHT", "1")).collect()
            }
            _ => vec![self.world.app()],
        }
    }

    /// What happens to the messages before anything else.
    fn redeliver(&self) {
        if self.then != Some(Redelivery::ToTheDead) {
            self.world.sim.end_abandoned_polls();
        }
        self.world.sim.resume();
        match self.then {
            None | Some(Redelivery::Later) => {}
            Some(Redelivery::Doubled) => self.send_again(),
            Some(_) => self.make_visible(),
        }
    }

    /// What happens to the messages while the process works.
    async fn meanwhile(&self) {
        let sim = &self.world.sim;
        match self.then {
            Some(Redelivery::Twice) => {
                sim.wait_until(|sim| is_empty(sim) || sim.queue(QUEUE).in_flight > 0).await;
                self.make_visible();
            }
            Some(Redelivery::ToTwo) => {
                sim.wait_until(|sim| is_empty(sim) || self.has_asked_the_registry()).await;
                self.make_visible();
            }
            Some(Redelivery::AfterAll) => {
                sim.wait_until(is_empty).await;
                self.send_again();
            }
            _ => {}
        }
    }

    async fn meanwhile_and_on(&self) {
        self.meanwhile().await;
        pending().await
    }

    async fn done(&self, apps: &[App]) -> Result<bool, String> {
        let mut settled = pin!(async {
            self.meanwhile().await;
            self.world.sim.wait_until(is_empty).await;
        });
        let patience = Duration::from_secs(600);
        for _ in 0..DAY.as_secs() / patience.as_secs() {
            if timeout(patience, &mut settled).await.is_ok() {
                return Ok(true);
            }
            if apps.iter().any(|app| app.health().is_overreached()) {
                return Ok(false);
            }
        }
        Err(format!("nothing was done for a day: {:?}", self.world.story()))
    }

    async fn watch(&self, watch: &mut Watch) {
        let look = |_: &Sim| {
            watch.look(self.world);
            false
        };
        self.world.sim.wait_until(look).await;
    }

    fn has_asked_the_registry(&self) -> bool {
        self.world.sim.calls()[self.began..].iter().any(|call| call.service == Service::Ecr)
    }

    fn make_visible(&self) {
        for message in self.world.sim.queue(QUEUE).messages {
            self.world.sim.make_visible(QUEUE, &message.id);
        }
    }

    fn send_again(&self) {
        for body in self.sent {
            match body.contains(r#""Restore Image""#) {
                true => send(self.world, HOLDER, body),
                false => self.world.sim.send(QUEUE, body),
            };
        }
    }
}

async fn work(apps: &[App], shutdown: &Shutdown) -> Result<(), RunError> {
    try_join_all(apps.iter().map(|app| app.work(shutdown))).await.map(drop)
}

fn is_empty(sim: &Sim) -> bool {
    sim.queue(QUEUE).messages.is_empty()
}
