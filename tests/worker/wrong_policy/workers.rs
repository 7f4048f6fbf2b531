//! Two workers side by side, which are killed at calls that a seed draws and replaced at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aws_sim::{ApiCall, Fault, FaultPlan, Sim};
use fastrand::Rng;
use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tagwarden::shutdown::Shutdown;
use tokio::sync::mpsc;

use super::model::{ImageKey, Place, Registry};
use crate::support::{QUEUE, World};

/// The number of workers that run at any time.
const WORKERS: usize = 2;

/// Something that somebody else does, once.
pub(super) type Deed = Box<dyn FnOnce(&Registry) + Send>;

/// What goes wrong, and what others do meanwhile.
pub(super) struct Chaos {
    rng: Rng,
    registry: Registry,
    /// How many workers are still to be killed.
    kills: usize,
    /// The calls until the next one is.
    left: usize,
    struck: mpsc::UnboundedSender<String>,
    /// What is done just before the records of an image are read.
    pub(super) at_read: BTreeMap<ImageKey, Deed>,
    /// What is done just before a tag is put.
    pub(super) at_put: BTreeMap<Place, Deed>,
    /// What is done just before the outcome of an image's request is recorded.
    pub(super) at_outcome: BTreeMap<ImageKey, Deed>,
    /// The requests whose messages were delivered twice.
    doubled: Arc<Mutex<BTreeSet<String>>>,
}

impl FaultPlan for Chaos {
    fn faults(&mut self, call: &ApiCall) -> Vec<Fault> {
        let mut faults: Vec<_> = self.deed(call).into_iter().map(|deed| self.act(deed)).collect();
        if self.rng.u16(..300) == 0 {
            let pick = self.rng.usize(..1_000);
            let doubled = Arc::clone(&self.doubled);
            let again = move |registry: &Registry| {
                let mut ids = hidden(&registry.sim);
                if !ids.is_empty() {
                    let one = ids.swap_remove(pick % ids.len());
                    deliver_again(&registry.sim, &[one], &doubled);
                }
            };
            faults.push(self.act(Box::new(again)));
        }
        self.left = self.left.saturating_sub(1);
        if self.kills > 0 && self.left == 0 {
            self.kills -= 1;
            self.left = self.rng.usize(20..500);
            self.struck.send(call.caller.clone()).unwrap();
            faults.push(if self.rng.bool() { Fault::HangAfter } else { Fault::Hang });
        }
        faults
    }
}

impl Chaos {
    fn deed(&mut self, call: &ApiCall) -> Option<Deed> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let repository = || aws_sim::RepoKey {
            account: call.account.clone(),
            region: call.region.clone(),
            name: text(&call.input["repositoryName"]),
        };
        match call.operation.as_str() {
            "ListImageReferrers" => {
                let digest = text(&call.input["subjectId"]["imageDigest"]);
                self.at_read.remove(&(repository(), digest))
            }
            "PutImage" if call.input["imageTag"].is_null() => {
                let record: Value =
                    serde_json::from_str(&text(&call.input["imageManifest"])).ok()?;
                let is_outcome = record["annotations"]["tagwarden.kind"] == "outcome";
                let image = (repository(), text(&record["subject"]["digest"]));
                is_outcome.then(|| self.at_outcome.remove(&image)).flatten()
            }
            "PutImage" => self.at_put.remove(&(repository(), text(&call.input["imageTag"]))),
            _ => None,
        }
    }

    fn act(&self, deed: Deed) -> Fault {
        let (registry, deed) = (self.registry.clone(), Mutex::new(Some(deed)));
        Fault::Act(Arc::new(move |_| {
            if let Some(deed) = deed.lock().unwrap().take() {
                deed(&registry);
            }
        }))
    }
}

/// The messages that somebody has in hand, with their requests. Those that ask for a hold are left
/// out, because their second delivery has to come when the visibility timeout is over.
fn hidden(sim: &Sim) -> Vec<(String, String)> {
    let messages = sim.queue(QUEUE).messages.into_iter().filter(|message| message.in_flight);
    let read = messages.map(|message| {
        let body: Value = serde_json::from_str(&message.body).unwrap();
        (message.id, body["detail"].clone())
    });
    let plain = read.filter(|(_, detail)| detail["until"].is_null());
    plain.map(|(id, detail)| (id, detail["request"].as_str().unwrap_or_default().into())).collect()
}

fn deliver_again(sim: &Sim, messages: &[(String, String)], doubled: &Mutex<BTreeSet<String>>) {
    for (id, request) in messages {
        sim.make_visible(QUEUE, id);
        doubled.lock().unwrap().insert(request.clone());
    }
}

/// Runs workers until the queue is empty.
pub(super) struct Workers<'a> {
    world: &'a World,
    registry: &'a Registry,
    rng: Rng,
    /// How many were started, over all runs.
    started: usize,
    pub(super) killed: usize,
    /// The requests whose messages were delivered twice.
    pub(super) doubled: Arc<Mutex<BTreeSet<String>>>,
}

impl<'a> Workers<'a> {
    pub(super) fn new(world: &'a World, registry: &'a Registry, seed: u64, name: usize) -> Self {
        let rng = Rng::with_seed(seed ^ 0xBAD);
        Self { world, registry, rng, started: name, killed: 0, doubled: Arc::default() }
    }

    /// Runs them, kills some, and lets others act as `prepare` says.
    pub(super) async fn run(&mut self, kills: usize, prepare: impl FnOnce(&mut Chaos)) {
        let (struck, mut strikes) = mpsc::unbounded_channel();
        let mut chaos = Chaos {
            rng: Rng::with_seed(self.rng.u64(..)),
            registry: self.registry.clone(),
            kills,
            left: self.rng.usize(10..200),
            struck,
            at_read: BTreeMap::new(),
            at_put: BTreeMap::new(),
            at_outcome: BTreeMap::new(),
            doubled: Arc::clone(&self.doubled),
        };
        prepare(&mut chaos);
        let sim = &self.world.sim;
        sim.set_faults(chaos);
        let mut running = FuturesUnordered::new();
        let mut handles = BTreeMap::new();
        loop {
            while handles.len() < WORKERS {
                let name = format!("AKIATASK{}", self.started);
                self.started += 1;
                let app = self.world.app_as(&name);
                let shutdown = Shutdown::default();
                let stop = shutdown.clone();
                let (kill, registration) = AbortHandle::new_pair();
                let work = async move { app.work(&stop).await };
                let work = Abortable::new(work, registration);
                handles.insert(name.clone(), (kill, shutdown));
                running.push(async move { (name, work.await) });
            }
            tokio::select! {
                biased;
                Some(name) = strikes.recv() => {
                    // One that was killed by an earlier call has no other.
                    if let Some((kill, _)) = handles.get(&name) {
                        kill.abort();
                    }
                }
                Some((name, ended)) = running.next() => {
                    assert!(matches!(ended, Err(Aborted)), "{name} ended by itself: {ended:?}");
                    handles.remove(&name);
                    self.killed += 1;
                    let mut some = hidden(sim);
                    some.retain(|_| self.rng.u8(..10) == 0);
                    deliver_again(sim, &some, &self.doubled);
                }
                () = sim.wait_until(|sim| sim.queue_length(QUEUE) == 0) => break,
            }
        }
        sim.clear_faults();
        handles.values().for_each(|(_, shutdown)| shutdown.drain());
        while let Some((name, ended)) = running.next().await {
            assert!(matches!(ended, Ok(Ok(())) | Err(Aborted)), "{name}: {ended:?}");
        }
    }
}
