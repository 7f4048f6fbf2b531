//! The whole state, and the one step: `apply`. Synchronous, without a clock or I/O of its own.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::api::{Answer, ApiCall, Reply, Service};
use crate::config::SimConfig;
use crate::ecr::{CacheRuleKey, Change, Replication, RepoKey, Repository};
use crate::events::{Rule, RuleKey};
use crate::ids::Ids;
use crate::sns::Topic;
use crate::sqs::{Queue, QueueKey};
use crate::sts::Identity;
use crate::tags::Tags;
use crate::trace::Trace;

/// What one look at a call comes to.
pub(crate) enum Step {
    /// The call is answered.
    Done(Answer),
    /// The call waits: look again when the world changes, and at this moment at the latest.
    Wait { until: SystemTime },
}

/// Something that is to happen at a moment.
#[derive(Debug)]
pub(crate) enum Scheduled {
    /// The scan of an image ends.
    ScanDone { repository: RepoKey, digest: String },
    /// What a receive handed out becomes visible again, though its visibility timeout has not passed.
    Redelivery { queue: QueueKey, handle: String },
    /// An event is put on the bus of an account and region.
    Event { account: String, region: String, event: Value },
    /// What happened to an image happens to its copy in another registry.
    Replicated(Change),
    /// What is attached to an image goes, if that is still gone.
    Cleanup { repository: RepoKey, subject: String },
}

/// The simulated AWS.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) config: SimConfig,
    pub(crate) now: SystemTime,
    pub(crate) ids: Ids,
    /// The order of messages where that is random. Apart from the identifiers, which are so the same in either order.
    pub(crate) order: Option<fastrand::Rng>,
    pub(crate) queues: BTreeMap<QueueKey, Queue>,
    pub(crate) topics: BTreeMap<String, Topic>,
    /// Who callers are, by access key, where a test or a role says so.
    pub(crate) identities: BTreeMap<String, Identity>,
    pub(crate) repositories: BTreeMap<RepoKey, Repository>,
    /// Digests that stand for those of manifests whose real bytes nobody has, by the digest of the stand-in.
    pub(crate) named_digests: BTreeMap<String, String>,
    /// Pull-through cache rules, and when they were made.
    pub(crate) cache_rules: BTreeMap<CacheRuleKey, SystemTime>,
    /// The texts of lifecycle policies, which expire nothing here.
    pub(crate) lifecycle_policies: BTreeMap<RepoKey, String>,
    pub(crate) replication: Replication,
    /// How long artifacts outlive the image that they are attached to.
    pub(crate) cleanup_after: Duration,
    pub(crate) rules: BTreeMap<RuleKey, Rule>,
    /// The tags of repositories, queues and rules, by ARN.
    pub(crate) resource_tags: BTreeMap<String, Tags>,
    /// Every event that was put on a bus, where that is recorded.
    pub(crate) events: Vec<Value>,
    pub(crate) trace: Trace,
    /// How many messages have moved to a dead-letter queue: also a call that goes on waiting can move some.
    pub(crate) redriven: usize,
    agenda: BTreeMap<(SystemTime, u64), Scheduled>,
    scheduled: u64,
}

impl World {
    pub(crate) fn new(config: SimConfig) -> Self {
        Self {
            now: config.epoch,
            ids: Ids::with_seed(config.seed),
            trace: Trace::new(config.record),
            replication: Replication::with_seed(config.seed),
            order: config.reorder.then(|| fastrand::Rng::with_seed(config.seed)),
            config,
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            identities: BTreeMap::new(),
            repositories: BTreeMap::new(),
            named_digests: BTreeMap::new(),
            cache_rules: BTreeMap::new(),
            cleanup_after: Duration::ZERO,
            lifecycle_policies: BTreeMap::new(),
            rules: BTreeMap::new(),
            resource_tags: BTreeMap::new(),
            events: Vec::new(),
            redriven: 0,
            agenda: BTreeMap::new(),
            scheduled: 0,
        }
    }

    /// Until when a call that arrived at a moment would wait if it were looked at now; nothing if it would be answered.
    pub(crate) fn wait(
        &mut self,
        now: SystemTime,
        arrived: SystemTime,
        call: &ApiCall,
    ) -> Option<SystemTime> {
        self.advance(now);
        let until = match call.service {
            Service::Sqs => self.receive_waits(call, arrived)?,
            Service::Ecr | Service::Sns | Service::Events | Service::Sts => return None,
        };
        Some(self.next_scheduled().map_or(until, |at| at.min(until)))
    }

    /// Does one look at a call that arrived at a moment, now being another.
    pub(crate) fn apply(&mut self, now: SystemTime, arrived: SystemTime, call: &ApiCall) -> Step {
        self.advance(now);
        let step = match call.service {
            Service::Sqs => match self.sqs(call, arrived) {
                Step::Wait { until } => {
                    Step::Wait { until: self.next_scheduled().map_or(until, |at| at.min(until)) }
                }
                done @ Step::Done(_) => done,
            },
            Service::Ecr => Step::Done(self.ecr(call).map(Reply::Tree)),
            Service::Sns => Step::Done(self.sns(call).map(Reply::Tree)),
            Service::Events => Step::Done(self.event_bridge(call).map(Reply::Tree)),
            Service::Sts => Step::Done(self.sts(call).map(Reply::Tree)),
        };
        // What is due at once, such as the end of an instant scan, happens before the answer.
        self.advance(now);
        step
    }

    /// Moves time on, doing what was scheduled on the way.
    pub(crate) fn advance(&mut self, now: SystemTime) {
        while let Some(entry) = self.agenda.first_entry()
            && entry.key().0 <= now
        {
            self.now = self.now.max(entry.key().0);
            match entry.remove() {
                Scheduled::ScanDone { repository, digest } => {
                    self.finish_scan(&repository, &digest)
                }
                Scheduled::Redelivery { queue, handle } => {
                    self.with_queue(&queue, |queue, now| queue.return_early(&handle, now));
                }
                Scheduled::Event { account, region, event } => {
                    self.deliver_event(&account, &region, event)
                }
                Scheduled::Replicated(change) => self.replicated(change),
                Scheduled::Cleanup { repository, subject } => self.clean_up(&repository, &subject),
            }
        }
        self.now = self.now.max(now);
    }

    pub(crate) fn schedule(&mut self, after: Duration, what: Scheduled) {
        self.agenda.insert((self.now + after, self.scheduled), what);
        self.scheduled += 1;
    }

    fn next_scheduled(&self) -> Option<SystemTime> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// When something next changes by itself: a scheduled act, or a message that becomes visible.
    pub(crate) fn next_change(&self) -> Option<SystemTime> {
        let visible =
            self.queues.values().filter_map(|queue| queue.messages.next_visible(self.now));
        visible.chain(self.next_scheduled()).min()
    }
}
