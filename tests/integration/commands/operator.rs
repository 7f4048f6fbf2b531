//! A registry with images in quarantine, as the worker leaves them, and somebody who answers
//! requests in the worker's place.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use aws_sim::{RepoKey, Sim, SimConfig};
use serde_json::Value;
use tagwarden::clock::Clock;
use tagwarden::domain::findings::{Severity, SeverityCounts};
use tagwarden::domain::names::{AccountId, Digest, Region, Repository, RepositoryName, Tag};
use tagwarden::domain::record::{
    Closing, Hold, MANIFEST_TYPE, Quarantined, Record, RecordManifest, RecordedFinding, Refusal,
    RestoreKeys, SubjectDescriptor, Withdrawal, record_id,
};

use super::support::{ACCOUNT, QUEUE, REGION, Shown, World};
use crate::process::within_deadline;
use crate::world::quarantine_tag;

/// The worker's key, which no command has.
const KEY: &str = "0123456789012345678901234567890123456789abc";
const HOUR: Duration = Duration::from_secs(3600);

/// A registry with images in quarantine.
pub(crate) struct Quarantine {
    pub(crate) world: World,
    pub(crate) keys: RestoreKeys,
}

/// What the worker answers.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// It gives every tag back.
    Restores,
    /// Every tag is there already.
    Finds,
    /// Every tag is on another image.
    LeavesAlone,
    /// It refuses.
    Refuses,
}

pub(crate) fn tags(names: &[&str]) -> BTreeSet<Tag> {
    names.iter().map(|name| Tag::parse(*name).expect("a tag")).collect()
}

impl Quarantine {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// Uses this configuration.
    pub(crate) async fn with(config: &str) -> Self {
        // Everything happened hours ago, as far as a test does not let time pass.
        let epoch = Clock::of_this_machine().now() - 8 * HOUR;
        let world = World::beginning(config, SimConfig { epoch, ..SimConfig::default() }).await;
        Self { world, keys: RestoreKeys::parse(KEY).expect("a key") }
    }

    /// Lets hours pass. The machine's clock is reached after eight.
    pub(crate) async fn hours_pass(&self, hours: u32) {
        tokio::time::pause();
        tokio::time::advance(hours * HOUR).await;
        tokio::time::resume();
    }

    /// The record of a removal of these tags by this rule.
    pub(crate) fn record(names: &[&str], rule: &str) -> Quarantined {
        let finding = RecordedFinding {
            id: format!("CVE-2026-{rule}"),
            severity: "CRITICAL".to_owned(),
            package: Some("openssl".to_owned()),
            installed: Some("3.0.0".to_owned()),
            fixed: Some("3.0.2".to_owned()),
        };
        Quarantined {
            tags: tags(names),
            delete: false,
            rule: rule.to_owned(),
            reasons: vec!["critical 1 > 0".to_owned()],
            counts: SeverityCounts::from_iter([(Severity::Critical, 1)]),
            findings: vec![finding],
            cause: None,
            platform: None,
            event: "7bf73129".to_owned(),
            event_time: Some("2026-11-30T01:12:00Z".to_owned()),
            notice: format!("notice-{rule}"),
            policy: "0".repeat(64),
            after_outcomes: 0,
        }
    }

    /// An image of `team/app` that has lost these tags by rule `base`.
    pub(crate) fn image(&self, names: &[&str]) -> String {
        self.image_by(names, "base")
    }

    /// An image of `team/app` that has lost these tags by this rule.
    pub(crate) fn image_by(&self, names: &[&str], rule: &str) -> String {
        let repository = self.world.repository.clone();
        let digest = self.marked(&repository, &format!("{names:?} {rule}"));
        self.attach(&repository, &digest, &Record::Quarantine(Self::record(names, rule).into()));
        digest
    }

    /// An image that bears our mark and has no record.
    pub(crate) fn marked(&self, repository: &RepoKey, content: &str) -> String {
        let sim = &self.world.sim;
        let digest = sim.push_image(repository, &["being-pushed"], content);
        sim.tag_image(repository, &quarantine_tag(&digest), &digest);
        sim.untag_image(repository, "being-pushed");
        digest
    }

    /// Attaches a record that the worker has signed.
    pub(crate) fn attach(&self, repository: &RepoKey, digest: &str, record: &Record) {
        attach(&self.world.sim, repository, digest, record, Some(&self.keys));
    }

    /// Runs the command.
    pub(crate) async fn restore(&self, arguments: &[&str]) -> Shown {
        self.world.run(&[&["restore"], arguments].concat(), "").await
    }

    /// Runs the command while somebody answers this many requests in turn, in the worker's place.
    pub(crate) async fn answered(&self, arguments: &[&str], answers: &[Answer]) -> Shown {
        let (shown, ()) = tokio::join!(self.restore(arguments), self.answer(answers));
        shown
    }

    /// Answers requests in turn, in the worker's place.
    pub(crate) async fn answer(&self, answers: &[Answer]) {
        self.answer_from(self.requests().len(), answers).await;
    }

    /// Answers requests in turn, from the one at this position of the queue on.
    pub(crate) async fn answer_from(&self, begin: usize, answers: &[Answer]) {
        for (at, answer) in answers.iter().enumerate() {
            let arrived = self.world.sim.wait_until(|sim| sim.queue_length(QUEUE) > begin + at);
            within_deadline("a request", arrived).await;
            self.act(&self.requests()[begin + at], *answer);
        }
    }

    /// The details of the requests in the queue.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let messages = self.world.sim.queue(QUEUE).messages.into_iter();
        let messages = messages.map(|message| serde_json::from_str(&message.body).expect("JSON"));
        messages
            .map(|mut message: Value| {
                assert_eq!(message["source"], "tagwarden", "{message}");
                assert_eq!(message["detail-type"], "Restore Image", "{message}");
                message["detail"].take()
            })
            .collect()
    }

    fn act(&self, request: &Value, answer: Answer) {
        let sim = &self.world.sim;
        let text = |name: &str| request[name].as_str().map(str::to_owned);
        let (name, digest) = (text("repository").expect("a name"), text("digest").expect("one"));
        let repository = RepoKey { name, ..self.world.repository.clone() };
        let id = text("request").expect("an id");
        let records = sim.referrers(&repository, &digest);
        let mut removed = BTreeSet::new();
        let mut closes = BTreeSet::new();
        for record in &records {
            if let Ok(Record::Quarantine(read)) = Record::read(&record.annotations) {
                removed.extend(read.tags);
                closes.insert(record_id(&record.annotations));
            }
        }
        if let Some(only) = request["tags"].as_array() {
            let only: BTreeSet<_> = only.iter().filter_map(Value::as_str).collect();
            removed.retain(|tag| only.contains(tag.as_str()));
        }
        if request["withdraw"] == true {
            let withdraws = "the first".to_owned();
            let sender = "AROAOPERATOR".to_owned();
            let record = Withdrawal { withdraws, request: id, sender };
            self.attach(&repository, &digest, &Record::Withdrawal(record));
            return;
        }
        if let Some(until) = text("until") {
            let until = humantime::parse_rfc3339(&until).expect("a time");
            self.hold(&repository, &digest, until, &id);
        }
        let mut closing = Closing { request: Some(id), closes, ..Closing::default() };
        match answer {
            Answer::Restores => {
                removed.iter().for_each(|tag| sim.tag_image(&repository, tag.as_str(), &digest));
                closing.restored = removed;
            }
            Answer::Finds => closing.present = removed,
            Answer::LeavesAlone => closing.superseded = removed,
            Answer::Refuses => {
                closing.closes = BTreeSet::new();
                closing.refused = Some(Refusal("critical 1 > 0: it would be removed again".into()));
            }
        }
        self.attach(&repository, &digest, &Record::Outcome(closing));
    }

    /// Holds an image, as the worker does.
    pub(crate) fn hold(&self, of: &RepoKey, digest: &str, until: SystemTime, request: &str) {
        let record = Hold {
            until,
            issued: Clock::of_this_machine().now(),
            reason: "SEC-99".to_owned(),
            owner: "me@example.com".to_owned(),
            request: request.to_owned(),
            sender: "AROAOPERATOR".to_owned(),
        };
        self.attach(of, digest, &Record::Hold(record));
    }
}

/// Attaches a record.
pub(crate) fn attach(
    sim: &Sim,
    repository: &RepoKey,
    digest: &str,
    record: &Record,
    keys: Option<&RestoreKeys>,
) {
    let of = Repository {
        account: AccountId::parse(ACCOUNT).expect("an account"),
        region: Region::parse(REGION).expect("a Region"),
        name: RepositoryName::parse(repository.name.as_str()).expect("a name"),
    };
    let subject = SubjectDescriptor {
        digest: Digest::parse(digest).expect("a digest"),
        media_type: MANIFEST_TYPE.to_owned(),
        size: 2,
    };
    sim.push_manifest(repository, &[], &RecordManifest::new(record, &of, &subject, keys).text);
}
