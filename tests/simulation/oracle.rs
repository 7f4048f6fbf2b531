//! Judges a seed at every call, by the state of the simulated AWS and never by what the workers say
//! of themselves.
//!
//! The numbers are those of the invariants in docs/guarantees.md.

mod duties;
mod leases;
mod records;
mod sweeps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sim::{Call, CallOutcome, Moment, RepoKey, Sim};
use serde_json::Value;

use crate::events::Duty;
use crate::notices::Notices;
use crate::scene::{ACCOUNT, COPIES, Image, PROTECTED, Scene};
use leases::Leases;
use records::Recorded;
use sweeps::Sweeps;

/// Calls that change an image, or store the blob that a record names.
const CHANGES: [&str; 5] = [
    "PutImage",
    "BatchDeleteImage",
    "InitiateLayerUpload",
    "UploadLayerPart",
    "CompleteLayerUpload",
];

/// The longest time that work begun before a topic's refusal takes to end.
const BEGUN: Duration = Duration::from_secs(30);

/// The tags and images of a repository.
type Snapshot = (BTreeMap<String, String>, BTreeSet<String>);

/// The knowledge about a seed so far.
pub struct Oracle {
    scene: Arc<Scene>,
    duties: BTreeMap<String, Duty>,
    sent_at: BTreeMap<String, Duration>,
    leases: Leases,
    sweeps: Sweeps,
    notices: Notices,
    recorded: Recorded,
    before: Option<Snapshot>,
    draining: BTreeMap<String, Duration>,
    now: Duration,
    /// The time when somebody else last changed a repository.
    touched: BTreeMap<RepoKey, Duration>,
    /// The time when somebody else last put a tag on an image, by repository and tag.
    tagged: BTreeMap<(RepoKey, String), Duration>,
    /// Images that lost tags to a message without a digest, which came again after the worker had
    /// ended without a notice.
    gaps: BTreeSet<(RepoKey, String)>,
    /// Images that were removed from a replica and were judged.
    lost: usize,
    wrong: Vec<String>,
    pub counts: BTreeMap<&'static str, u64>,
}

/// Returns whether a tag is a mark of this image: the first one, or one of nine others.
fn is_mark(tag: &str, digest: &str) -> bool {
    marks(digest).any(|mark| mark == tag)
}

/// The marks of an image, in the order in which they are tried.
pub fn marks(digest: &str) -> impl Iterator<Item = String> {
    let first = digest.replace("sha256:", "quarantine-");
    (0..10).map(move |at| if at == 0 { first.clone() } else { format!("{first}.{at}") })
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// The repository of an ECR call.
fn repository(call: &Call) -> RepoKey {
    let account = call.request["registryId"].as_str().unwrap_or(ACCOUNT);
    RepoKey::new(account, &call.region, text(&call.request, "repositoryName"))
}

/// Returns whether a notice is the summary of a sweep.
fn is_summary(call: &Call) -> bool {
    text(&call.request, "Message").contains("tagwarden.sweep/1")
}

impl Oracle {
    pub fn new(scene: Arc<Scene>) -> Self {
        Self {
            notices: Notices::new(scene.topics.clone()),
            scene,
            duties: BTreeMap::new(),
            sent_at: BTreeMap::new(),
            leases: Leases::default(),
            sweeps: Sweeps::default(),
            recorded: Recorded::default(),
            before: None,
            draining: BTreeMap::new(),
            now: Duration::ZERO,
            touched: BTreeMap::new(),
            tagged: BTreeMap::new(),
            gaps: BTreeSet::new(),
            lost: 0,
            wrong: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    pub fn wrong(&mut self, what: String) {
        self.wrong.push(format!("{:>9.3} s  {what}", self.now.as_secs_f64()));
    }

    /// The violations.
    pub fn found(&self) -> Vec<String> {
        self.wrong.clone()
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A message was sent.
    pub fn sent(&mut self, sim: &Sim, id: &str, duty: Duty) {
        self.count("messages");
        self.sent_at.insert(id.to_owned(), sim.age());
        self.duties.insert(id.to_owned(), duty);
    }

    /// A worker sent messages to itself. Those about an image cause duties like any other.
    fn sent_by_a_worker(&mut self, sim: &Sim, call: &Call) {
        for (id, body) in sweeps::sent(call) {
            if body["detail-type"] != "Sweep Image" {
                self.count("steps of sweeps");
                continue;
            }
            self.count("images of sweeps");
            let detail = &body["detail"];
            let [account, region, name] = ["account", "region", "repository"];
            let repository =
                RepoKey::new(text(detail, account), text(detail, region), text(detail, name));
            match self.image(&repository, text(detail, "image_digest")).cloned() {
                Some(image) => self.sent(sim, &id, Duty::Assess(image)),
                None => self.wrong(format!("a sweep sends an image that nobody pushed: {detail}")),
            }
        }
    }

    /// Somebody else changed a repository.
    pub fn touched(&mut self, repository: &RepoKey, sim: &Sim) {
        self.count("changes by others");
        self.touched.insert(repository.clone(), sim.age());
    }

    /// Somebody else put a tag on an image, whose event is sent at the same time.
    pub fn tagged(&mut self, repository: &RepoKey, tag: &str, sim: &Sim) {
        self.touched(repository, sim);
        self.tagged.insert((repository.clone(), tag.to_owned()), sim.age());
    }

    pub fn started(&mut self, caller: &str) {
        self.draining.remove(caller);
        self.sweeps.started(caller);
        self.count("starts");
    }

    pub fn draining(&mut self, caller: &str, now: Duration) {
        self.draining.insert(caller.to_owned(), now);
        self.count("signals");
    }

    /// A worker has ended, and its knowledge is lost. A worker that was asked to stop leaves no
    /// receive behind, which would take messages that nobody gets. A killed one may.
    pub fn ended(&mut self, caller: &str, was_stopped: bool) {
        if self.leases.ended(caller) && was_stopped {
            self.wrong(format!("12: {caller} has left a receive behind"));
        }
        for of in self.notices.forget(caller) {
            if self.is_left_to_a_digestless(&of) {
                self.gaps.insert(of);
            }
        }
    }

    /// Invariant 15: the metrics contain nothing of a message.
    pub fn metrics(&mut self, text: &str) {
        let names = ["team/", "secret", "shared", "foreign", "sha256", "quarantine-", "v0.0"];
        if let Some(name) = names.iter().find(|name| text.contains(*name)) {
            self.wrong(format!("15: {name:?} in the metrics"));
        }
        if !text.contains("tagwarden_panics_total 0") {
            self.wrong("a worker's assessment panicked".to_owned());
        }
    }

    /// Returns whether somebody else has changed a repository recently. Replicas may then receive
    /// changes in an order that the worker does not control.
    fn is_troubled(&self, repository: &RepoKey) -> bool {
        let at = self.touched.get(repository);
        at.is_some_and(|at| self.now.saturating_sub(*at) < Duration::from_secs(600))
    }

    /// Invariant 4 in other registries: no image is removed from a replica while it is kept at
    /// home.
    fn copies(&mut self, sim: &Sim) {
        let lost = sim.images_lost_by_replication();
        for (copy, digest) in lost.iter().skip(self.lost) {
            let home = RepoKey::new(ACCOUNT, crate::scene::REGION, &copy.name);
            if self.is_troubled(&home) {
                self.count("lost in a copy by others");
            } else {
                self.wrong(format!("4: image {digest} was removed from its replica in {copy:?}"));
            }
        }
        self.lost = lost.len();
    }

    pub fn see(&mut self, sim: &Sim, call: &Call, moment: Moment) {
        self.now = sim.age();
        if self.scene.settings.replication.is_some() {
            self.copies(sim);
        }
        match (call.operation.as_str(), moment) {
            ("ReceiveMessage", Moment::Arrived) => {
                let since = self.draining.get(&call.caller).map(|at| self.now - *at);
                // Calls in flight at the signal may arrive a moment later.
                if since.is_some_and(|since| since > Duration::from_millis(100)) {
                    self.wrong(format!("12: {} receives after the stop signal", call.caller));
                }
                self.leases.received(call, moment, self.now);
            }
            ("ReceiveMessage", moment) => {
                let messages = call.reply.as_ref().and_then(|reply| reply["Messages"].as_array());
                let brings = messages.is_some_and(|messages| !messages.is_empty());
                if moment == Moment::After && brings && self.draining.contains_key(&call.caller) {
                    self.count("receives that bring messages after the signal");
                }
                self.leases.received(call, moment, self.now);
            }
            ("DeleteMessageBatch" | "ChangeMessageVisibilityBatch", _) => {
                let mut wrong = Vec::new();
                if moment == Moment::Arrived {
                    wrong.extend(self.sweeps.settle(sim, call, &self.leases.messages(call)));
                }
                wrong.extend(self.leases.changed(call, moment, self.now));
                wrong.into_iter().for_each(|what| self.wrong(what));
                if moment == Moment::After && call.operation == "DeleteMessageBatch" {
                    self.deleted(sim, call);
                }
            }
            ("SendMessageBatch", moment) => {
                let wrong = self.sweeps.send(call, moment);
                wrong.into_iter().for_each(|what| self.wrong(what));
                if moment == Moment::After {
                    self.sent_by_a_worker(sim, call);
                }
            }
            ("DescribeImageScanFindings", Moment::Arrived)
                if call.request.get("nextToken").is_some() =>
            {
                self.count("further pages of findings");
            }
            ("StartImageScan", Moment::Arrived) => {
                self.count("scans asked for");
                if self.scene.settings.audit {
                    self.wrong("8: StartImageScan in audit mode".to_owned());
                }
            }
            ("Publish", Moment::After) if call.outcome == CallOutcome::Ok && is_summary(call) => {
                self.count("summaries of sweeps");
                let wrong = self.sweeps.published(call);
                wrong.into_iter().for_each(|what| self.wrong(what));
            }
            ("Publish", Moment::After) if call.outcome == CallOutcome::Ok => {
                self.count("notices");
                if self.recorded.announced(text(&call.request, "Message")) {
                    self.count("notices in place of a record");
                }
                let notice = self.notices.published(&call.request);
                let (action, repository, digest) = notice;
                let done = ["quarantined", "deleted", "would_untag", "blocked"];
                let excused = action == "blocked" && self.is_uncertain(sim, &repository, &digest);
                let is_bad = self.is_bad(&repository, &digest);
                if self.notices.is_notified(&repository, &digest) {
                    self.gaps.remove(&(repository.clone(), digest.clone()));
                }
                if done.contains(&action.as_str()) && !is_bad && !excused {
                    self.wrong(format!("6: {action} is notified of {digest}, which is not bad"));
                }
            }
            // A refused summary causes no pause, because no tag was removed for it.
            ("Publish", Moment::Answered) if !is_summary(call) => {
                let refused = matches!(call.outcome, CallOutcome::Error(_));
                self.notices.answered(&call.caller, &call.request, refused, self.now);
            }
            (operation, moment) if CHANGES.contains(&operation) => self.change(sim, call, moment),
            _ => {}
        }
        if moment == Moment::Arrived && call.request.get("repositoryName").is_some() {
            let repository = repository(call);
            if self.scene.out_of_reach.contains(&repository) {
                self.wrong(format!("7: {} on {repository:?}", call.operation));
            }
        }
    }

    fn image(&self, repository: &RepoKey, digest: &str) -> Option<&Image> {
        self.scene.images.get(&(repository.clone(), digest.to_owned()))
    }

    fn is_bad(&self, repository: &RepoKey, digest: &str) -> bool {
        self.image(repository, digest).is_some_and(|image| image.is_bad_at(self.now))
    }

    /// Returns whether nobody can know an index completely: it holds more than is inspected, or an
    /// index in it is missing.
    fn is_uncertain(&self, sim: &Sim, repository: &RepoKey, digest: &str) -> bool {
        let is_gone = |inner: &Image| {
            inner.is_index
                && inner.repository == *repository
                && inner.holders.iter().any(|holder| holder == digest)
                && sim.tags(repository, &inner.digest).is_none()
        };
        self.image(repository, digest).is_some_and(|image| image.is_cut)
            || self.scene.images.values().any(is_gone)
    }

    /// A call that changes an image.
    fn change(&mut self, sim: &Sim, call: &Call, moment: Moment) {
        let repository = repository(call);
        let snapshot = || -> Snapshot {
            (sim.repository_tags(&repository), sim.images(&repository).into_iter().collect())
        };
        match moment {
            Moment::Arrived => {
                if self.scene.settings.audit {
                    self.wrong(format!("8: {} in audit mode", call.operation));
                }
                // Work that began before may end.
                let since = self.notices.refused_since(&call.caller).map(|at| self.now - at);
                if self.scene.settings.refused.is_some() && since > Some(BEGUN) {
                    let what = format!("{} by {}", call.operation, call.caller);
                    self.wrong(format!("11: {what}, although every topic refuses for {since:?}"));
                }
                if self.scene.is_blocked(&repository) {
                    self.wrong(format!("4: {} is replicated elsewhere", call.operation));
                }
                let leased = self.leases.held_by(&call.caller, self.now);
                let obliges = |id: &&str| match self.duties.get(*id) {
                    Some(Duty::Assess(image) | Duty::Resolve(image)) => {
                        image.repository == repository
                    }
                    _ => false,
                };
                if !leased.iter().any(|id| obliges(&id.as_str())) {
                    self.wrong(format!("9: {} by {} outside a lease", call.operation, call.caller));
                }
            }
            Moment::Before => {
                for id in call.request["imageIds"].as_array().into_iter().flatten() {
                    let (tag, digest) = (text(id, "imageTag"), text(id, "imageDigest"));
                    let is_there = sim.tags(&repository, digest).is_some();
                    let mut on =
                        marks(digest).filter_map(|mark| sim.tag_target(&repository, &mark));
                    if is_there && !is_mark(tag, digest) && !on.any(|on| on == digest) {
                        self.wrong(format!(
                            "4: {tag} of {digest} is about to be removed without a mark"
                        ));
                    }
                    let follows = self.scene.replication(&repository).is_some();
                    if follows && is_there && !self.is_troubled(&repository) {
                        self.marked_in_copies(sim, &repository, digest);
                    }
                }
                self.before = Some(snapshot());
            }
            Moment::After => {
                if call.operation == "PutImage" && self.recorded.put(sim, call, &repository) {
                    self.count("records");
                }
                if let Some(before) = self.before.take() {
                    self.changed(call, &repository, &before, &snapshot());
                }
            }
            Moment::Answered if call.operation == "BatchDeleteImage" => {
                let ids = call.reply.iter().flat_map(|reply| reply["imageIds"].as_array());
                for id in ids.flatten() {
                    let (tag, digest) = (text(id, "imageTag"), text(id, "imageDigest"));
                    if !is_mark(tag, digest) {
                        self.notices.knows(&call.caller, &repository, digest, tag);
                    }
                }
            }
            Moment::Answered => {}
        }
    }

    /// A tag or an image is about to be removed: each replica must have the mark.
    fn marked_in_copies(&mut self, sim: &Sim, repository: &RepoKey, digest: &str) {
        for (account, region) in COPIES {
            let copy = RepoKey::new(account, region, &repository.name);
            self.count("removals that are repeated");
            let target = |mark: String| sim.tag_target(&copy, &mark);
            if !marks(digest).any(|mark| target(mark).as_deref() == Some(digest)) {
                self.wrong(format!(
                    "4: a tag of {digest} is about to be removed without a mark in {copy:?}"
                ));
            }
        }
    }

    /// Compares what a call did to a repository with what it was allowed to do.
    fn changed(&mut self, call: &Call, repository: &RepoKey, before: &Snapshot, after: &Snapshot) {
        let asked = call.request["imageIds"].as_array().into_iter().flatten();
        let asked: BTreeSet<_> =
            asked.map(|id| (text(id, "imageTag"), text(id, "imageDigest"))).collect();
        for (tag, digest) in &before.0 {
            if after.0.get(tag) == Some(digest) {
                continue;
            }
            let what = format!("{tag} of {digest} in {}", repository.name);
            let is_mark = is_mark(tag, digest);
            if let Some(to) = after.0.get(tag).filter(|to| self::is_mark(tag, to)) {
                self.wrong(format!(
                    "4: the mark of an image was moved off another image: {what} to {to}"
                ));
            }
            if !asked.contains(&(tag.as_str(), digest.as_str())) {
                self.wrong(format!(
                    "3, 5: {what} was removed, but not requested by tag and digest"
                ));
            }
            if !self.is_bad(repository, digest) {
                self.wrong(format!("6: {what} was removed, but is not bad"));
            }
            if tag.starts_with(PROTECTED) {
                self.wrong(format!("7: {what} was removed, but is protected"));
            }
            if is_mark && !self.scene.settings.delete {
                self.wrong(format!("4: the mark {what} was removed"));
            }
            if is_mark && !self.notices.is_notified(repository, digest) {
                self.wrong(format!("5: {what} is deleted before the team is notified"));
            }
            if !is_mark && !self.recorded.names(repository, digest, tag) {
                self.wrong(format!("18: {what} was removed before its name was recorded"));
            }
            if !is_mark {
                self.count("tags untagged");
                self.notices.gone(&call.caller, repository, digest);
            }
        }
        for (tag, digest) in &after.0 {
            if before.0.get(tag) != Some(digest) && !is_mark(tag, digest) {
                self.wrong(format!("3: {tag} is put on {digest}"));
            }
        }
        for digest in before.1.difference(&after.1) {
            self.count("images deleted");
            if !self.scene.settings.delete {
                self.wrong(format!("4: image {digest} was removed"));
            }
        }
    }
}
