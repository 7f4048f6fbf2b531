//! The start of a seed: settings, repositories, images, and which of them are bad.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sim::manifest::{self, Entry};
use aws_sim::{ReplicationRule, RepoKey, Sim, SimConfig};
use fastrand::Rng;
use serde_json::json;

use crate::oracle::marks;
use crate::scans::Scan;

pub const ACCOUNT: &str = "111122223333";
pub const OTHER_ACCOUNT: &str = "444455556666";
pub const REGION: &str = "eu-west-1";
pub const QUEUE: &str = "tagwarden";
pub const DEAD_LETTERS: &str = "tagwarden-dlq";
/// Tags that the policy protects start with this.
pub const PROTECTED: &str = "release-";
/// Findings for which the policy makes an exception start with this.
pub const EXCEPTED: &str = "CVE-2020-";
/// The visibility timeout of a received message, in seconds. No other delay is likely to equal it.
pub const VISIBILITY: u64 = 47;

/// The registries that some repositories are replicated to, and in which removals are replicated.
pub const COPIES: [(&str, &str); 2] = [(ACCOUNT, "eu-central-1"), ("999900001111", "eu-west-3")];

/// Which repositories are replicated, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replication {
    pub prefix: &'static str,
    /// The most seconds that a change takes to reach a replica.
    pub takes: u64,
    /// Whether workers wait for the replicas, or leave such images alone.
    pub follows: bool,
}

/// The configuration of a seed's workers.
#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub audit: bool,
    pub delete: bool,
    pub tasks: usize,
    pub max_in_flight: usize,
    pub topics: usize,
    /// One kind of call is refused for half an hour, and no other fault strikes.
    pub refused: Option<Refused>,
    pub reorder: bool,
    /// Images without a scan in a separate repository, so that its sweep goes slice by slice.
    pub unscanned: usize,
    pub replication: Option<Replication>,
    /// Some images have hundreds of findings.
    pub many_findings: bool,
    /// The most findings that ECR gives in one answer.
    pub findings_page: usize,
    /// Records are signed, so that holds count and are read before every removal.
    pub signed: bool,
}

/// The subject of a refusing seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    Receive,
    Delete,
    Registry,
    Topic,
    Credentials,
    OneRepository,
    QueueKey,
    TopicKey,
    RegistryKey,
}

impl Settings {
    fn of(seed: u64, rng: &mut Rng) -> Self {
        const REFUSED: [Refused; 9] = [
            Refused::Receive,
            Refused::Delete,
            Refused::Registry,
            Refused::Topic,
            Refused::Credentials,
            Refused::OneRepository,
            Refused::QueueKey,
            Refused::TopicKey,
            Refused::RegistryKey,
        ];
        let audit = rng.u8(..100) < 12;
        Self {
            seed,
            audit,
            delete: !audit && rng.u8(..100) < 20,
            tasks: rng.usize(1..=3),
            max_in_flight: [1, 3, 8, 32][rng.usize(..4)],
            topics: rng.usize(1..=2),
            refused: seed.is_multiple_of(5).then(|| REFUSED[(seed / 5 % 9) as usize]),
            reorder: rng.bool(),
            unscanned: if rng.u8(..5) == 0 { rng.usize(101..320) } else { 0 },
            replication: rng.bool().then(|| Replication {
                prefix: ["team/", "team/app"][rng.usize(..2)],
                takes: [1, 10, 60][rng.usize(..3)],
                follows: rng.u8(..4) > 0,
            }),
            many_findings: rng.u8(..4) == 0,
            findings_page: [90, 250, 1_000][rng.usize(..3)],
            signed: rng.bool(),
        }
    }
}

/// An image or an index, as the seed made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub repository: RepoKey,
    pub digest: String,
    pub tags: Vec<String>,
    /// The age of the simulation from which on the image violates the policy.
    pub bad_from: Option<Duration>,
    /// The indexes that hold it, directly or through an index.
    pub holders: Vec<String>,
    pub is_index: bool,
    /// It holds more images than are inspected.
    pub is_cut: bool,
    pub scan: Scan,
}

impl Image {
    pub fn is_bad_at(&self, at: Duration) -> bool {
        self.bad_from.is_some_and(|from| from <= at)
    }
}

/// The world of one seed.
#[derive(Clone, Debug)]
pub struct Scene {
    pub settings: Settings,
    pub repositories: Vec<RepoKey>,
    /// The repositories that are out of the policy's scope.
    pub out_of_reach: BTreeSet<RepoKey>,
    pub images: BTreeMap<(RepoKey, String), Image>,
    pub topics: Vec<String>,
    pub queue_url: String,
}

impl Scene {
    /// Creates the simulation and its content.
    pub fn new(seed: u64, rng: &mut Rng) -> (Sim, Self) {
        let settings = Settings::of(seed, rng);
        let sim = Sim::new(SimConfig {
            seed,
            reorder: settings.reorder,
            latency: Duration::from_millis(rng.u64(2..40)),
            findings_page: settings.findings_page,
            ..SimConfig::default()
        });
        let (queue_url, _) = sim.create_queue_with_redrive(QUEUE, 10, &[]);
        let topics = (0..settings.topics).map(|at| sim.create_topic(&format!("team-{at}")));
        let topics = topics.collect();
        if let Some(Replication { prefix, takes, .. }) = settings.replication {
            let rule = ReplicationRule::to(&COPIES).prefix(prefix).deletes(true);
            let takes = Duration::ZERO..=Duration::from_secs(takes);
            sim.set_replication(ACCOUNT, REGION, vec![rule], takes);
        }
        let mut scene = Self {
            settings,
            repositories: Vec::new(),
            out_of_reach: BTreeSet::new(),
            images: BTreeMap::new(),
            topics,
            queue_url,
        };
        let places = [
            (ACCOUNT, REGION, "team/app"),
            (ACCOUNT, REGION, "team/api"),
            (ACCOUNT, "us-east-1", "team/app"),
            (OTHER_ACCOUNT, REGION, "shared"),
            (ACCOUNT, REGION, "secret/keys"),
            ("777788889999", REGION, "foreign"),
        ];
        for (account, region, name) in places {
            let repository = sim.create_repository_in(account, region, name);
            if name == "secret/keys" || name == "foreign" {
                scene.out_of_reach.insert(repository.clone());
            }
            scene.fill(&sim, rng, &repository);
            scene.repositories.push(repository);
        }
        if scene.settings.unscanned > 0 {
            let repository = sim.create_repository("team/many");
            let named =
                (0..scene.settings.unscanned).map(|at| (format!("m{at}"), format!("many {at}")));
            sim.push_images(&repository, named);
        }
        (sim, scene)
    }

    fn fill(&mut self, sim: &Sim, rng: &mut Rng, repository: &RepoKey) {
        let mut untagged = Vec::new();
        for number in 0..rng.usize(3..7) {
            let tags = match rng.u8(..10) {
                0 => Vec::new(),
                1 => (0..rng.usize(100..130)).map(|at| format!("many-{number}-{at}")).collect(),
                _ => tags(rng, number),
            };
            let bad_from = (rng.u8(..100) < 55).then(|| match rng.u8(..4) {
                0 => Duration::from_secs(rng.u64(60..600)),
                _ => Duration::ZERO,
            });
            let content = format!("{repository:?} {number}");
            let names: Vec<_> = tags.iter().map(String::as_str).collect();
            let manifest = match rng.u8(..10) {
                // It claims to be something else, and has findings nevertheless.
                0 => manifest::artifact(&content, "application/vnd.cncf.helm.config.v1+json"),
                _ => manifest::image(&content),
            };
            let digest = sim.push_manifest(repository, &names, &manifest);
            let is_bad = bad_from == Some(Duration::ZERO);
            let is_large = self.settings.many_findings && rng.u8(..8) == 0;
            let scan = if is_large { Scan::large(rng) } else { Scan::default() };
            sim.set_findings(repository, &digest, scan.result(is_bad));
            if tags.is_empty() {
                untagged.push(digest.clone());
            }
            self.add(repository, &digest, tags, bad_from, false);
            if let Some(image) = self.images.get_mut(&(repository.clone(), digest)) {
                image.scan = scan;
            }
        }
        let children: Vec<_> =
            self.images.keys().filter(|(at, _)| at == repository).cloned().collect();
        if rng.u8(..3) == 0 {
            self.squat(sim, rng, repository, &children);
        }
        for number in 0..rng.usize(0..3) {
            let mut held: Vec<_> = children.iter().filter(|_| rng.u8(..3) == 0).cloned().collect();
            held.extend(untagged.pop().map(|digest| (repository.clone(), digest)));
            held.dedup();
            if !held.is_empty() {
                self.hold(sim, rng, repository, &held, number);
            }
        }
    }

    /// An index of these images, some of them in an inner index. Each entry has one of the forms
    /// that occur.
    fn hold(
        &mut self,
        sim: &Sim,
        rng: &mut Rng,
        repository: &RepoKey,
        held: &[(RepoKey, String)],
        number: usize,
    ) {
        // Most are small, some need several calls, and a few exceed what is inspected.
        let more = match rng.u8(..60) {
            0 => 510,
            1..=4 => 110,
            _ => 0,
        };
        let inner = if more < 500 && rng.u8(..3) == 0 { rng.usize(1..=held.len()) } else { 0 };
        let (inner, outer) = held.split_at(inner);
        let mut all = outer.to_vec();
        let mut entries: Vec<_> = outer.iter().flat_map(|(_, child)| entered(rng, child)).collect();
        if !inner.is_empty() {
            let mut nested: Vec<_> =
                inner.iter().flat_map(|(_, child)| entered(rng, child)).collect();
            let mut inside = inner.to_vec();
            for _ in 0..rng.usize(1..=3) {
                let digest = sim.push_manifest(repository, &[], &manifest::index_of(&nested));
                nested = vec![Entry::index(&digest)];
                self.held_by(repository, &digest, &inside, Vec::new(), false);
                inside.push((repository.clone(), digest));
            }
            entries.extend(nested);
            all.extend(inside);
        }
        entries.extend((0..more).map(|at| {
            let digest = sim.push_image(repository, &[], &format!("{repository:?} more {at}"));
            sim.set_findings(repository, &digest, Scan::default().result(false));
            Entry::image(&digest)
        }));
        let tags = tags(rng, 100 + number);
        let names: Vec<_> = tags.iter().map(String::as_str).collect();
        let digest = sim.push_manifest(repository, &names, &manifest::index_of(&entries));
        self.held_by(repository, &digest, &all, tags, more > 500);
    }

    fn held_by(
        &mut self,
        repository: &RepoKey,
        digest: &str,
        held: &[(RepoKey, String)],
        tags: Vec<String>,
        is_cut: bool,
    ) {
        if self.images.contains_key(&(repository.clone(), digest.to_owned())) {
            return;
        }
        let bad_from = held.iter().filter_map(|child| self.images[child].bad_from).min();
        for child in held {
            if let Some(image) = self.images.get_mut(child) {
                image.holders.push(digest.to_owned());
            }
        }
        self.add(repository, digest, tags, bad_from, true);
        if let Some(image) = self.images.get_mut(&(repository.clone(), digest.to_owned())) {
            image.is_cut = is_cut;
        }
    }

    /// Somebody has put the first marks of one image on another one.
    fn squat(
        &mut self,
        sim: &Sim,
        rng: &mut Rng,
        repository: &RepoKey,
        images: &[(RepoKey, String)],
    ) {
        let (_, of) = &images[rng.usize(..images.len())];
        let on = &images[rng.usize(..images.len())];
        let image = self.images.get_mut(on).filter(|image| !image.tags.is_empty());
        let Some(image) = image.filter(|image| image.digest != *of) else { return };
        for mark in marks(of).take(rng.usize(1..4)) {
            sim.tag_image(repository, &mark, &image.digest);
            image.tags.push(mark);
        }
    }

    fn add(
        &mut self,
        repository: &RepoKey,
        digest: &str,
        tags: Vec<String>,
        bad_from: Option<Duration>,
        is_index: bool,
    ) {
        let image = Image {
            repository: repository.clone(),
            digest: digest.to_owned(),
            tags,
            bad_from,
            holders: Vec::new(),
            is_index,
            is_cut: false,
            scan: Scan::default(),
        };
        self.images.insert((repository.clone(), digest.to_owned()), image);
    }

    /// The replication of a repository, if any.
    pub fn replication(&self, repository: &RepoKey) -> Option<Replication> {
        let home = repository.account == ACCOUNT && repository.region == REGION;
        let replication = self.settings.replication.filter(|_| home);
        replication.filter(|one| repository.name.starts_with(one.prefix))
    }

    /// Returns whether nothing may be removed in a repository because removals are replicated.
    pub fn is_blocked(&self, repository: &RepoKey) -> bool {
        self.replication(repository).is_some_and(|one| !one.follows)
    }

    /// The environment of a worker.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = &self.settings;
        let mut text: String = self
            .topics
            .iter()
            .map(|arn| format!("[[notify.topics]]\narn = {arn:?}\nformat = \"json\"\n"))
            .collect();
        if settings.many_findings {
            text.push_str(&format!(
                "[[policy.exceptions]]\nid = \"{EXCEPTED}*\"\nreason = \"accepted\"\nowner = \"us\"\nexpires = 2099-12-31\n"
            ));
        }
        [
            ("TAGWARDEN__QUEUE__URL", self.queue_url.clone()),
            ("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", settings.max_in_flight.to_string()),
            ("TAGWARDEN__QUEUE__VISIBILITY_TIMEOUT", format!("{VISIBILITY}s")),
            (
                "TAGWARDEN__POLICY__MODE",
                if settings.audit { "audit" } else { "enforce" }.to_owned(),
            ),
            (
                "TAGWARDEN__POLICY__ACTION",
                if settings.delete { "delete" } else { "quarantine" }.to_owned(),
            ),
            ("TAGWARDEN__POLICY__PROTECTED_TAGS", format!("{PROTECTED}*")),
            ("TAGWARDEN__POLICY__REPOSITORIES__EXCLUDE", "secret/*".to_owned()),
            ("TAGWARDEN__POLICY__ACCOUNTS", format!("{ACCOUNT},{OTHER_ACCOUNT}")),
            (
                "TAGWARDEN__POLICY__REPLICATED",
                match settings.replication {
                    Some(Replication { follows: true, .. }) => "follow".to_owned(),
                    _ => "block".to_owned(),
                },
            ),
            (
                "TAGWARDEN__RESTORE__KEY",
                if settings.signed { "k".repeat(43) } else { String::new() },
            ),
            ("TAGWARDEN_CONFIG_TEXT", text),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        // A variable that is set to nothing is a mistake.
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }
}

/// The entries by which an index holds an image. They hide nothing, and a repeated entry counts
/// once.
fn entered(rng: &mut Rng, digest: &str) -> Vec<Entry> {
    let entry = Entry::image(digest);
    match rng.u8(..8) {
        0 => vec![entry.with("artifactType", json!("application/spdx+json"))],
        1 => vec![entry.with("platform", json!({"os": "unknown", "architecture": "unknown"}))],
        2 => vec![entry.with("platform", json!({}))],
        3 => vec![Entry::attestation(digest)],
        4 => vec![entry; rng.usize(2..300)],
        _ => vec![entry.with("platform", json!({"os": "linux", "architecture": digest}))],
    }
}

fn tags(rng: &mut Rng, number: usize) -> Vec<String> {
    let mut tags: Vec<_> = (0..rng.usize(1..4)).map(|at| format!("v{number}.{at}")).collect();
    if rng.u8(..4) == 0 {
        tags.push(format!("{PROTECTED}{number}"));
    }
    tags
}
