//! One image in quarantine, as its records tell it.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use crate::domain::findings::SeverityCounts;
use crate::domain::image::{Image, ImageKind, StorageStatus};
use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::record::{
    Artifact, History, HoldInForce, LONGEST_NAME, LONGEST_REASON, MAX_FINDINGS, Noted, Quarantined,
    RecordedFinding, RestoreKeys, Trust,
};
use crate::domain::text::start;

/// The most former tags of one image that are kept. ECR allows an image a thousand tags (ECR
/// service quotas), so only a forged record names more.
const MAX_TAGS: usize = 1_000;

/// An image, with all its records.
#[derive(Clone, Debug)]
pub(crate) struct RecordedImage {
    /// The repository.
    pub repository: Repository,
    /// The image as the registry describes it now.
    pub image: Image,
    /// Its records. Each has the time of its push.
    pub history: History,
    /// The ids of those records that carry a signature, whether or not it holds.
    pub signed: BTreeSet<Digest>,
    /// Whether the image has more artifacts than are read. Then a worker gives no tag back.
    pub is_cut: bool,
}

/// Returns whether an image bears our mark: a quarantine tag with its own digest.
pub(super) fn is_marked(image: &Image) -> bool {
    image.tags.iter().any(|tag| tag.is_quarantine_of(&image.digest))
}

/// One image in quarantine: what a list keeps of it. It is bounded whatever the records say.
#[derive(Clone, Debug)]
pub(crate) struct QuarantinedImage {
    /// The repository.
    pub repository: Repository,
    /// The digest.
    pub digest: Digest,
    /// The kind of content.
    pub kind: ImageKind,
    /// The storage state. An archived image takes no tags until it is restored from the archive.
    pub storage: StorageStatus,
    /// The size in bytes, if the registry gives it. That of an index does not include its images.
    pub size: Option<u64>,
    /// When the image was pushed, if the registry gives it.
    pub pushed_at: Option<SystemTime>,
    /// The tags that the image has now, without its own quarantine tags.
    pub tags: Vec<Tag>,
    /// The tags that were removed and can be given back, by name. It is empty if the image was
    /// quarantined before there were records.
    pub removed: Vec<RemovedTag>,
    /// Whether it is in quarantine. Otherwise its tags were all given back, or it has tags and no
    /// records.
    pub is_in_quarantine: bool,
    /// What the newest record says, of the open ones if there are any. `None` means that the image
    /// was quarantined before there were records, or without them.
    pub facts: Option<Facts>,
    /// The hold that its records promise, if any.
    pub hold: Option<HoldInForce>,
    /// The number of artifacts with the type of a record that count for nothing.
    pub unverified: usize,
    /// Whether the image has more artifacts than are read. Then a worker gives no tag back.
    pub is_cut: bool,
    /// Whether the records are known to be ours.
    pub trust: Trust,
}

/// A tag that was removed, is open, and is absent from the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RemovedTag {
    /// The tag.
    pub tag: Tag,
    /// When the newest open record that names it was pushed, by the registry.
    pub since: Option<SystemTime>,
    /// Whether an open record that names it carries a signature, without which no worker gives the
    /// tag back.
    pub is_signed: bool,
}

/// What a record of a removal says.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// When the record was pushed, by the registry: when the tags were removed.
    pub since: Option<SystemTime>,
    /// The rule that judged.
    pub rule: String,
    /// Why the image violates the policy, in words.
    pub reasons: Vec<String>,
    /// The number of findings by severity.
    pub counts: SeverityCounts,
    /// The worst finding.
    pub worst: Option<RecordedFinding>,
    /// The ids of all findings that the record names, worst first.
    pub finding_ids: Vec<String>,
    /// The image that causes the violation, if this one is an index.
    pub cause: Option<Digest>,
    /// The platform of the cause.
    pub platform: Option<String>,
    /// The id of the event.
    pub event: String,
    /// The time of the event, as the event writes it.
    pub event_time: Option<String>,
    /// The id of the notice.
    pub notice: String,
    /// The fingerprint of the policy.
    pub policy: String,
}

impl RecordedImage {
    /// Reads the artifacts of an image. With keys, only records with a valid signature count.
    #[must_use]
    pub(super) fn new(
        repository: &Repository,
        image: Image,
        artifacts: Vec<Artifact>,
        is_cut: bool,
        keys: Option<&RestoreKeys>,
    ) -> Self {
        let signed = artifacts.iter().filter(|artifact| artifact.carries_signature());
        let signed = signed.map(Artifact::id).collect();
        let history = History::read(repository, &image.digest, artifacts, keys);
        Self { repository: repository.clone(), image, history, signed, is_cut }
    }

    /// Returns whether the image bears our mark.
    #[must_use]
    pub(crate) fn is_marked(&self) -> bool {
        is_marked(&self.image)
    }

    /// Returns whether any removal of tags was recorded.
    #[must_use]
    pub(crate) fn was_recorded(&self) -> bool {
        !self.history.quarantines().is_empty()
    }

    /// Returns whether a record of a removal names this tag, whatever became of it since.
    #[must_use]
    pub(crate) fn names(&self, tag: &Tag) -> bool {
        self.history.quarantines().iter().any(|noted| noted.record.tags.contains(tag))
    }

    /// Returns when the newest record of a removal that names this tag was pushed.
    #[must_use]
    pub(crate) fn removed_at(&self, tag: &Tag) -> Option<SystemTime> {
        let naming = self.history.quarantines().iter();
        naming
            .filter(|noted| noted.record.tags.contains(tag))
            .filter_map(|noted| noted.pushed_at)
            .max()
    }

    /// Returns the image as a list shows it. `None` means that it is not in quarantine: every
    /// removed tag was closed or is on the image, or it has no records and has tags.
    #[must_use]
    pub(crate) fn quarantined(
        &self,
        now: SystemTime,
        max_hold: Duration,
    ) -> Option<QuarantinedImage> {
        Some(self.listed(now, max_hold)).filter(|image| image.is_in_quarantine)
    }

    /// Returns the image as a list shows it, whether or not it is in quarantine.
    #[must_use]
    pub(crate) fn listed(&self, now: SystemTime, max_hold: Duration) -> QuarantinedImage {
        let Self { repository, image, history, is_cut, .. } = self;
        let removed = self.removed_tags();
        let open = self.newest_open();
        let was_recorded = !history.quarantines().is_empty();
        let is_in_quarantine = open.is_some() || (!was_recorded && !image.is_tagged());
        let own = |tag: &&Tag| !tag.is_quarantine_of(&image.digest);
        QuarantinedImage {
            repository: repository.clone(),
            digest: image.digest.clone(),
            kind: image.kind,
            storage: image.storage,
            size: image.size,
            pushed_at: image.pushed_at,
            tags: image.tags.iter().filter(own).cloned().collect(),
            removed,
            is_in_quarantine,
            facts: open.or(history.quarantines().last()).map(Facts::of),
            hold: self.hold(now, max_hold),
            unverified: history.unverified().len(),
            is_cut: *is_cut,
            trust: history.trust(),
        }
    }

    /// Returns the hold that is in force now if its record is ours.
    #[must_use]
    pub(crate) fn hold(&self, now: SystemTime, max_hold: Duration) -> Option<HoldInForce> {
        HoldInForce::of(&self.history, now, max_hold)
    }

    /// Returns the tags that were removed, are open, and are absent from the image, by name.
    #[must_use]
    pub(crate) fn removed_tags(&self) -> Vec<RemovedTag> {
        let has = self.image.tags.iter().collect::<BTreeSet<_>>();
        let open = self.history.open_tags().into_iter().filter(|open| !has.contains(open.tag));
        open.take(MAX_TAGS)
            .map(|open| RemovedTag {
                tag: open.tag.clone(),
                since: open.records.iter().filter_map(|noted| noted.pushed_at).max(),
                is_signed: open.records.iter().any(|noted| self.signed.contains(&noted.id)),
            })
            .collect()
    }

    /// Returns the newest record that names a tag which is open and absent from the image.
    fn newest_open(&self) -> Option<&Noted<Quarantined>> {
        let has = self.image.tags.iter().collect::<BTreeSet<_>>();
        let open = self.history.open_tags().into_iter().filter(|open| !has.contains(open.tag));
        open.flat_map(|open| open.records).max_by_key(|noted| (noted.pushed_at, &noted.id))
    }
}

impl QuarantinedImage {
    /// Returns when the newest of its tags were removed, as far as that is known.
    #[must_use]
    pub(crate) fn since(&self) -> Option<SystemTime> {
        self.facts.as_ref().and_then(|facts| facts.since)
    }

    /// Returns whether every removed tag is on a record with a signature, without which no worker
    /// gives it back.
    #[must_use]
    pub(crate) fn is_signed(&self) -> bool {
        !self.removed.is_empty() && self.removed.iter().all(|removed| removed.is_signed)
    }
}

impl Facts {
    /// Returns what a record says, in texts of bounded length.
    #[must_use]
    pub(crate) fn of(noted: &Noted<Quarantined>) -> Self {
        let Noted { record, pushed_at, .. } = noted;
        let name = |text: &String| start(text, LONGEST_NAME);
        let findings = || record.findings.iter().take(MAX_FINDINGS);
        Self {
            since: *pushed_at,
            rule: name(&record.rule),
            reasons: record
                .reasons
                .iter()
                .take(MAX_FINDINGS)
                .map(|reason| start(reason, LONGEST_REASON))
                .collect(),
            counts: record.counts.clone(),
            worst: findings().next().map(clipped),
            finding_ids: findings().map(|finding| name(&finding.id)).collect(),
            cause: record.cause.clone(),
            platform: record.platform.as_ref().map(name),
            event: name(&record.event),
            event_time: record.event_time.as_ref().map(name),
            notice: name(&record.notice),
            policy: name(&record.policy),
        }
    }
}

/// Returns a finding of a record in texts of bounded length.
#[must_use]
pub(crate) fn clipped(finding: &RecordedFinding) -> RecordedFinding {
    let name = |text: &String| start(text, LONGEST_NAME);
    RecordedFinding {
        id: name(&finding.id),
        severity: name(&finding.severity),
        package: finding.package.as_ref().map(name),
        installed: finding.installed.as_ref().map(name),
        fixed: finding.fixed.as_ref().map(name),
    }
}
