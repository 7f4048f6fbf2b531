//! Images in quarantine, with the records that a worker writes.

use std::collections::BTreeSet;
use std::time::{Duration, UNIX_EPOCH};

use aws_sim::{Finding, RepoKey, ScanResult, SimConfig};
use serde_json::Value;
use tagwarden::clock::Clock;
use tagwarden::domain::findings::{Severity, SeverityCounts};
use tagwarden::domain::names::{AccountId, Digest, Region, Repository, RepositoryName, Tag};
use tagwarden::domain::record::{
    Closing, Hold, MANIFEST_TYPE, Quarantined, Record, RecordManifest, RecordedFinding,
    RestoreKeys, SubjectDescriptor, Withdrawal, read_manifest, record_id,
};

use super::support::{ACCOUNT, REGION, World};

/// 2026-11-30T01:12:07Z, the night before.
pub(crate) const EPOCH: Duration = Duration::from_secs(1_796_001_127);
/// The key of the worker that signs.
pub(crate) const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// A world at [`EPOCH`].
pub(crate) async fn night() -> World {
    World::beginning("", SimConfig { epoch: UNIX_EPOCH + EPOCH, ..SimConfig::default() }).await
}

pub(crate) fn tags(tags: &[&str]) -> BTreeSet<Tag> {
    tags.iter().map(|tag| Tag::parse(*tag).expect("a tag")).collect()
}

pub(crate) fn mark(digest: &str) -> String {
    digest.replace("sha256:", "quarantine-")
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::parse(text).expect("a digest")
}

/// What a worker records of a removal of these tags.
pub(crate) fn removal(of: &[&str]) -> Quarantined {
    let mut counts = SeverityCounts::default();
    counts.add(Severity::Critical, 1);
    counts.add(Severity::High, 2);
    Quarantined {
        tags: tags(of),
        delete: false,
        rule: "base".to_owned(),
        reasons: vec!["critical 1 exceeds the limit of 0".to_owned()],
        counts,
        findings: vec![finding("CVE-2021-44228", "CRITICAL", "log4j-core")],
        cause: None,
        platform: None,
        event: "7bf7c1a2-0000-4000-8000-000000000000".to_owned(),
        event_time: Some("2026-11-30T01:11:58Z".to_owned()),
        notice: "9f4d8a36e1c25b70".to_owned(),
        policy: "1f2e".repeat(16),
        after_outcomes: 0,
    }
}

pub(crate) fn finding(id: &str, severity: &str, package: &str) -> RecordedFinding {
    RecordedFinding {
        id: id.to_owned(),
        severity: severity.to_owned(),
        package: Some(package.to_owned()),
        installed: Some("2.14.1".to_owned()),
        fixed: Some("2.17.1".to_owned()),
    }
}

pub(crate) fn hold(request: &str, days: u64) -> Record {
    let issued = Clock::of_this_machine().now();
    Record::Hold(Hold {
        until: issued + Duration::from_secs(days * 86_400),
        issued,
        reason: "prod down, SEC-99".to_owned(),
        owner: "me@example.com".to_owned(),
        request: request.to_owned(),
        sender: "AROAEXAMPLEID12345678:me".to_owned(),
    })
}

pub(crate) fn withdrawal(of: &str) -> Record {
    Record::Withdrawal(Withdrawal {
        withdraws: of.to_owned(),
        request: "later".to_owned(),
        sender: "AROAEXAMPLEID12345678:me".to_owned(),
    })
}

/// What a restore recorded of tags that these records had left open.
pub(crate) fn given_back(records: &[&str], of: &[&str]) -> Closing {
    Closing {
        request: Some("request-1".to_owned()),
        sender: Some("AROAEXAMPLEID12345678:me".to_owned()),
        closes: records.iter().map(|record| digest(record)).collect(),
        restored: tags(of),
        ..Closing::default()
    }
}

pub(crate) fn vulnerable() -> ScanResult {
    let finding = Finding::new("CVE-2021-44228", "CRITICAL").in_package("log4j-core", "2.14.1");
    ScanResult::enhanced(&[]).with(finding.fixed_in("2.17.1"))
}

impl World {
    /// Pushes an image, and removes these tags from it as a worker does, without a record.
    pub(crate) fn marked(&self, repository: &RepoKey, of: &[&str]) -> String {
        let digest = self.sim.push_image(repository, of, &format!("{repository} {of:?}"));
        self.mark(repository, &digest, of);
        digest
    }

    /// Marks an image and removes tags of it.
    pub(crate) fn mark(&self, repository: &RepoKey, digest: &str, of: &[&str]) {
        self.sim.set_findings(repository, digest, vulnerable());
        self.sim.tag_image(repository, &mark(digest), digest);
        of.iter().for_each(|tag| self.sim.untag_image(repository, tag));
    }

    /// Pushes an image, and removes these tags from it as a worker does. Returns the digest
    /// of the image and the id of the record.
    pub(crate) fn quarantined(&self, repository: &RepoKey, of: &[&str]) -> (String, String) {
        let digest = self.marked(repository, of);
        let record = self.record(repository, &digest, Record::Quarantine(Box::new(removal(of))));
        (digest, record)
    }

    /// Writes a record of an image. Returns the record's id.
    pub(crate) fn record(&self, repository: &RepoKey, image: &str, record: Record) -> String {
        let manifest = manifest(repository, image, &record, Some(KEY));
        self.sim.push_manifest(repository, &[], &manifest);
        record_id(&read_manifest(&manifest).expect("a record").annotations).to_string()
    }
}

/// The manifest of a record, signed by this key.
pub(crate) fn manifest(
    repository: &RepoKey,
    image: &str,
    record: &Record,
    key: Option<&str>,
) -> String {
    let key = key.map(|key| RestoreKeys::parse(key).expect("a key"));
    let subject = SubjectDescriptor {
        digest: digest(image),
        media_type: MANIFEST_TYPE.to_owned(),
        size: 1234,
    };
    RecordManifest::new(record, &place(repository), &subject, key.as_ref()).text
}

fn place(repository: &RepoKey) -> Repository {
    Repository {
        account: AccountId::parse(ACCOUNT).expect("an account"),
        region: Region::parse(REGION).expect("a Region"),
        name: RepositoryName::parse(repository.name.as_str()).expect("a name"),
    }
}

/// The images of a list: repository and removed tags.
pub(crate) fn listed(document: &Value) -> Vec<(&str, Vec<&str>)> {
    let images = document["images"].as_array().expect("images").iter();
    images
        .map(|image| {
            let removed = image["removed"].as_array().expect("tags").iter();
            let tags = removed.map(|removed| removed["tag"].as_str().expect("a tag"));
            (image["repository"].as_str().expect("a repository"), tags.collect())
        })
        .collect()
}

/// Lets a minute pass in the simulated AWS, whose times of pushes are whole seconds.
pub(crate) async fn a_minute_passes() {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
}

/// A text without the seconds of the times in the night's first hour, which depend on how fast the
/// test is.
pub(crate) fn settled(text: &str) -> String {
    let mut parts = text.split(" 01:");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match (part.get(..3), part.get(5..)) {
        (Some(minute), Some(rest)) if minute.ends_with(':') => text + " 01:" + minute + "--" + rest,
        _ => text + " 01:" + part,
    })
}
