//! The work that is disturbed, and its result without a disturbance. The events of two images wait
//! in the queue: one image exceeds the limit and has two tags and a protected one, the other has no
//! findings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aws_sim::{Call, CallOutcome, Moment, QueueView, ScanResult, Sim};
use serde_json::Value;

use crate::process::within_deadline;
use crate::world::{DEAD_LETTERS, Gate, QUEUE, World, quarantine_tag};

/// A world with the two events, behind a gate.
pub(crate) struct Scenario {
    pub(crate) world: World,
    pub(crate) gate: Gate,
    violating: String,
    clean: String,
    /// The number of messages that each receive took out of the queue, whether or not its answer
    /// arrived.
    handed_out: Arc<Mutex<BTreeMap<usize, usize>>>,
}

/// The course of an undisturbed run.
pub(crate) struct Reference {
    /// The number of messages that the worker processed at once.
    pub(crate) max_in_flight: usize,
    /// Its calls up to the receive that finds the queue empty.
    pub(crate) calls: Vec<Call>,
    notice: Value,
}

impl Scenario {
    /// The run of a worker that processes this many messages at once. With one, its calls follow
    /// each other in the same order in every run.
    pub(crate) async fn new(max_in_flight: usize) -> Self {
        let world = World::new()
            .await
            .set("TAGWARDEN__POLICY__PROTECTED_TAGS", "release-*")
            .set("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", max_in_flight.to_string())
            .set("TAGWARDEN__SHUTDOWN__GRACE", "8s");
        let violating = world.violation(&["1.0", "latest", "release-7"]);
        let clean = world.sim.push_image(&world.repository, &["2.0"], "clean");
        world.sim.set_findings(&world.repository, &clean, ScanResult::basic(&[]));
        world.sim.emit_scan_event(&world.repository, &clean);
        let handed_out = Arc::new(Mutex::new(BTreeMap::new()));
        let seen = Arc::clone(&handed_out);
        world.sim.watch(move |_, call, moment| {
            let messages = call.reply.as_ref().and_then(|reply| reply["Messages"].as_array());
            if let (Moment::After, Some(messages)) = (moment, messages) {
                seen.lock().expect("nobody panics with it").insert(call.seq, messages.len());
            }
        });
        let gate = Gate::before(&world).await;
        let world = world.set("AWS_ENDPOINT_URL", &gate.endpoint);
        Self { world, gate, violating, clean, handed_out }
    }

    /// Lets a worker do its work undisturbed.
    pub(crate) async fn undisturbed(max_in_flight: usize) -> Reference {
        let scenario = Self::new(max_in_flight).await;
        let worker = scenario.world.worker().await;
        within_deadline("an idle worker", scenario.world.sim.wait_until(is_idle)).await;
        let reference = Reference {
            max_in_flight,
            calls: scenario.world.sim.calls(),
            notice: scenario.notices().remove(0),
        };
        drop(worker);
        scenario.assert_done();
        scenario.assert_ends_like(&reference);
        reference
    }

    /// Waits until this call, by its number in the order of arrival, is in the service's hands. If
    /// messages are processed in parallel, a run may finish with fewer calls than another.
    pub(crate) async fn in_hand(&self, call: usize) {
        let wait = self.world.sim.wait_until(|sim| sim.calls().len() > call || is_idle(sim));
        within_deadline("the call", wait).await;
    }

    /// The number of messages that a call handed out.
    pub(crate) fn handed_out(&self, call: usize) -> usize {
        let handed_out = self.handed_out.lock().expect("nobody panics with it");
        handed_out.get(&call).copied().unwrap_or_default()
    }

    /// Undisturbed receives without an answer: their caller did not wait for them.
    pub(crate) fn abandoned_receives(&self) -> usize {
        let receives = self.world.sim.calls_of("ReceiveMessage").into_iter();
        let abandoned = receives
            .filter(|call| call.outcome == CallOutcome::Unanswered && call.faults.is_empty());
        abandoned.count()
    }

    pub(crate) fn queue(&self) -> QueueView {
        self.world.sim.queue(QUEUE)
    }

    /// The messages that are not visible now.
    pub(crate) fn in_flight(&self) -> Vec<String> {
        let messages = self.queue().messages.into_iter();
        messages.filter(|message| message.in_flight).map(|message| message.id).collect()
    }

    /// The message of the image over the limit was deleted only after all its effects.
    pub(crate) fn assert_deleted_only_when_done(&self) {
        if !self.queue().messages.iter().any(|message| message.body.contains(&self.violating)) {
            self.assert_done();
        }
    }

    /// Lets another worker do the remaining work, after these messages have become visible again.
    pub(crate) async fn finish(&self, invisible: &[String]) {
        let sim = &self.world.sim;
        sim.clear_faults();
        if !self.queue().messages.is_empty() {
            self.world.receives_are_over().await;
            let _worker = self.world.worker().await;
            invisible.iter().for_each(|message| sim.make_visible(QUEUE, message));
            let done = sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
            within_deadline("an empty queue", done).await;
        }
    }

    /// The result equals that of an undisturbed run, except that the team may have been notified
    /// more than once.
    pub(crate) fn assert_ends_like(&self, reference: &Reference) {
        self.assert_done();
        assert_eq!(self.queue().messages, []);
        assert_eq!(self.world.sim.queue(DEAD_LETTERS).messages, []);
        assert_eq!(self.world.tags(&self.clean), ["2.0"]);
        for notice in self.notices() {
            assert_eq!(notice["id"], reference.notice["id"]);
            assert_eq!(notice["action"], reference.notice["action"]);
        }
    }

    /// The image has lost its tags except the protected one, and the team was notified of each.
    fn assert_done(&self) {
        let kept = [quarantine_tag(&self.violating), "release-7".to_owned()];
        assert_eq!(self.world.tags(&self.violating), kept);
        let notices = self.notices();
        let gone = notices.iter().flat_map(|notice| {
            let tags = ["untagged", "claimed"].map(|word| notice["tags"][word].as_array());
            tags.into_iter().flatten().flatten().filter_map(Value::as_str)
        });
        assert_eq!(
            gone.collect::<BTreeSet<_>>(),
            BTreeSet::from(["1.0", "latest"]),
            "{notices:#?}"
        );
    }

    fn notices(&self) -> Vec<Value> {
        let published = self.world.sim.notices(&self.world.topic);
        published
            .iter()
            .map(|notice| serde_json::from_str(&notice.message).expect("a notice"))
            .collect()
    }
}

/// Returns whether the worker has nothing left to do but wait for messages.
fn is_idle(sim: &Sim) -> bool {
    let calls = sim.calls();
    let mut open = calls.iter().filter(|call| call.outcome == CallOutcome::Unanswered);
    sim.queue(QUEUE).messages.is_empty()
        && open.next().is_some_and(|call| call.operation == "ReceiveMessage")
        && open.next().is_none()
}
