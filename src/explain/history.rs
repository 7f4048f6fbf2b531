//! The history of an image, by the records on it: what was removed, when and why, and what became
//! of it since. It answers "why did my tag vanish" from the registry alone.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::today::{IfGivenBack, Today};
use crate::aws::AwsError;
use crate::domain::image_reference::TagOrDigest;
use crate::domain::names::{Digest, RegistryId, Repository, Tag};
use crate::domain::record::{
    Closing, Hold, LONGEST_NAME, LONGEST_REASON, MAX_FINDINGS, Noted, Quarantined, RecordedFinding,
    Trust,
};
use crate::domain::text::start;
use crate::quarantined::{NamingTag, Reader, RecordedImage, clipped, command_name};
use crate::registry::Registry;

/// The most records of each kind that are shown, the newest.
const MAX_RECORDS: usize = 10;
/// The most tags of one record that are shown.
const MAX_TAGS: usize = 100;

/// What the registry remembers about an image or a tag that somebody names.
#[derive(Debug)]
pub(crate) struct Past {
    /// The image that is named or has the tag that is named, if there is one.
    pub named: Option<RecordedImage>,
    /// If a tag is named, the images whose records name it.
    pub naming: NamingTag,
    /// If a tag is named that is on no image, how the images are judged now from which it can be
    /// given back.
    pub today: Vec<Today>,
    /// Why not everything could be read.
    pub problem: Option<String>,
    /// The time of day.
    pub now: SystemTime,
    /// The longest that an image may be held.
    pub max_hold: Duration,
}

/// What the tag that was asked for refers to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TagNow {
    /// It is on no image and can be given back.
    Removed,
    /// It is on this image.
    OnImage,
    /// It is on another image.
    Moved,
    /// It was given back or had moved, and is on no image since.
    Gone,
}

/// The history of one image.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedHistory {
    pub(super) digest: String,
    /// The tag that was asked for, if the records name it.
    pub(super) tag: Option<String>,
    pub(super) tag_now: Option<TagNow>,
    /// The image that has the tag now.
    pub(super) tag_is_on: Option<String>,
    /// The tags that can be given back.
    pub(super) open: Vec<String>,
    /// Whether every one of them is on a record with a signature.
    pub(super) signed: bool,
    /// Records of removals, the newest first, those that name the tag before the others.
    pub(super) removals: Vec<ExplainedRemoval>,
    pub(super) outcomes: Vec<ExplainedOutcome>,
    pub(super) holds: Vec<ExplainedHold>,
    /// The number of records that are not shown.
    pub(super) more_records: usize,
    /// Whether the records are known to be ours.
    pub(super) verified: bool,
    /// The number of artifacts with the type of a record that count for nothing.
    pub(super) unverified_records: usize,
    pub(super) too_many_artifacts: bool,
    /// The name by which the image is pulled.
    pub(super) pull: String,
    /// The command that gives the tags back, without those options that only some need.
    pub(super) restore: Option<String>,
    /// What would become of the tags if they were given back now.
    pub(super) if_given_back: Option<IfGivenBack>,
    /// Whether a worker gives the tags back, as far as signatures and the number of artifacts say.
    #[serde(skip)]
    pub(super) is_for_worker: bool,
    /// The last day to which the image can be held from now on.
    #[serde(skip)]
    pub(super) until: String,
    #[serde(skip)]
    pub(super) name: String,
}

/// One removal of tags.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedRemoval {
    pub(super) at: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) more_tags: usize,
    pub(super) delete: bool,
    pub(super) rule: String,
    pub(super) reasons: Vec<String>,
    pub(super) findings: Vec<RecordedFinding>,
    pub(super) more_findings: u64,
    pub(super) cause: Option<String>,
    pub(super) platform: Option<String>,
    pub(super) event: String,
    pub(super) event_time: Option<String>,
    pub(super) notice: String,
    pub(super) policy: String,
}

/// What became of removed tags.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedOutcome {
    pub(super) at: Option<String>,
    pub(super) request: Option<String>,
    pub(super) sender: Option<String>,
    pub(super) restored: Vec<String>,
    pub(super) present: Vec<String>,
    pub(super) superseded: Vec<String>,
    pub(super) refused: Option<String>,
}

/// A hold, in force or not.
#[derive(Debug, Serialize)]
pub(super) struct ExplainedHold {
    pub(super) until: String,
    pub(super) owner: String,
    pub(super) reason: String,
    pub(super) request: String,
    pub(super) in_force: bool,
    pub(super) withdrawn: bool,
    pub(super) verified: bool,
}

impl Past {
    /// What is known if nothing is read.
    #[must_use]
    pub(crate) fn unread(now: SystemTime, max_hold: Duration) -> Self {
        let naming = NamingTag::default();
        Self { named: None, naming, today: Vec::new(), problem: None, now, max_hold }
    }

    /// Reads what the registry remembers about an image or a tag of this repository. A failure does
    /// not spoil the rest of an explanation.
    pub(crate) async fn read<R: Registry>(
        reader: &Reader<R>,
        repository: &Repository,
        image: &TagOrDigest,
        now: SystemTime,
    ) -> Self {
        let mut past = Self::unread(now, reader.max_hold());
        let read = async {
            let digest = match image {
                TagOrDigest::Digest(digest) => Some(digest.clone()),
                TagOrDigest::Tag(tag) => reader.resolve(repository, tag).await?,
            };
            if let Some(digest) = &digest {
                past.named = reader.image(repository, digest).await?;
            }
            match image {
                // No record names a quarantine tag.
                TagOrDigest::Tag(tag)
                    if digest.is_none_or(|digest| !tag.is_quarantine_of(&digest)) =>
                {
                    past.naming = reader.naming(repository, tag).await?;
                }
                TagOrDigest::Tag(_) | TagOrDigest::Digest(_) => {}
            }
            Ok::<_, AwsError>(())
        };
        if let Err(error) = read.await {
            past.problem = Some(format!("{error}{}", error.advice()));
        }
        past
    }

    /// Returns whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        let NamingTag { images, without_records, unread, .. } = &self.naming;
        self.named.is_none() && images.is_empty() && without_records.is_empty() && *unread == 0
    }

    /// Returns the images from which a tag was removed that can be given back.
    pub(crate) fn missing(&self, tag: &Tag) -> Vec<Digest> {
        let misses =
            |of: &&RecordedImage| of.removed_tags().iter().any(|removed| removed.tag == *tag);
        let naming = self.naming.images.iter().filter(misses);
        naming.map(|of| of.image.digest.clone()).collect()
    }

    /// Returns the histories to show: that of the image that is named, and those of the images
    /// whose records name the tag.
    pub(super) fn histories(
        &self,
        repository: &Repository,
        own: &RegistryId,
        image: &TagOrDigest,
    ) -> Vec<ExplainedHistory> {
        let tag = match image {
            TagOrDigest::Tag(tag) => Some(tag),
            TagOrDigest::Digest(_) => None,
        };
        let on = self.named.as_ref().map(|named| &named.image.digest);
        let is_named = |image: &&RecordedImage| Some(&image.image.digest) == on;
        let naming = self.naming.images.iter();
        let named = self.named.iter().filter(|named| !named.history.is_empty());
        let all = named.chain(naming.filter(|image| !is_named(image)));
        all.map(|of| {
            let tag = tag.filter(|tag| of.names(tag));
            ExplainedHistory::new(self, of, tag, on, &command_name(repository, own))
        })
        .collect()
    }
}

impl ExplainedHistory {
    /// Returns whether it is the history of this image.
    pub(super) fn is_of(&self, digest: &Digest) -> bool {
        self.digest == digest.as_str()
    }

    fn new(
        past: &Past,
        of: &RecordedImage,
        tag: Option<&Tag>,
        on: Option<&Digest>,
        name: &str,
    ) -> Self {
        let RecordedImage { repository, image, history, is_cut, .. } = of;
        let open = of.removed_tags();
        let is_open = |tag: &Tag| open.iter().any(|removed| removed.tag == *tag);
        let tag_now = tag.map(|tag| match on {
            Some(on) if *on == image.digest => TagNow::OnImage,
            Some(_) => TagNow::Moved,
            None if is_open(tag) => TagNow::Removed,
            None => TagNow::Gone,
        });
        let is_moved = tag_now == Some(TagNow::Moved);
        let mut removals: Vec<_> = history.quarantines().iter().collect();
        // The newest first; those that name the tag before all others.
        removals.reverse();
        removals.sort_by_key(|noted| tag.is_some_and(|tag| !noted.record.tags.contains(tag)));
        let in_force = history.hold(past.now, past.max_hold).map(|noted| &noted.id);
        let verified = history.trust() == Trust::Verified;
        let shown = |all: usize| all.saturating_sub(MAX_RECORDS);
        let until = past.now + past.max_hold;
        let mut asked = open.iter().filter(|one| tag.is_none_or(|tag| one.tag == *tag));
        let is_for_worker = !*is_cut && asked.any(|removed| removed.is_signed);
        let restore = match (tag, tag_now) {
            (Some(tag), Some(TagNow::Removed)) => Some(format!("{name}:{tag}")),
            (Some(_), _) => None,
            (None, _) if open.is_empty() => None,
            (None, _) => Some(format!("{name}@{}", image.digest)),
        };
        Self {
            digest: image.digest.to_string(),
            tag: tag.map(ToString::to_string),
            tag_now,
            tag_is_on: on.filter(|_| is_moved).map(ToString::to_string),
            signed: !open.is_empty() && open.iter().all(|removed| removed.is_signed),
            open: open.iter().map(|removed| removed.tag.to_string()).collect(),
            more_records: shown(removals.len())
                + shown(history.outcomes().len())
                + shown(history.holds().len()),
            removals: removals.into_iter().take(MAX_RECORDS).map(ExplainedRemoval::new).collect(),
            outcomes: history
                .outcomes()
                .iter()
                .rev()
                .take(MAX_RECORDS)
                .map(ExplainedOutcome::new)
                .collect(),
            holds: history
                .holds()
                .iter()
                .rev()
                .take(MAX_RECORDS)
                .map(|noted| ExplainedHold {
                    in_force: in_force == Some(&noted.id),
                    withdrawn: history.is_withdrawn(&noted.record.request),
                    ..ExplainedHold::new(&noted.record, verified)
                })
                .collect(),
            verified,
            unverified_records: history.unverified().len(),
            too_many_artifacts: *is_cut,
            pull: repository.pull_name(&image.digest),
            restore: restore.map(|image| format!("tagwarden restore {image}")),
            if_given_back: None,
            is_for_worker,
            until: time(until).chars().take("2030-12-31".len()).collect(),
            name: name.to_owned(),
        }
    }
}

impl ExplainedRemoval {
    fn new(noted: &Noted<Quarantined>) -> Self {
        let Noted { record, pushed_at, .. } = noted;
        let name = |text: &String| start(text, LONGEST_NAME);
        let counted: u64 = record.counts.iter().map(|(_, count)| count).sum();
        let findings: Vec<_> = record.findings.iter().take(MAX_FINDINGS).map(clipped).collect();
        let tags = record.tags.iter().take(MAX_TAGS).map(ToString::to_string);
        let reasons = record.reasons.iter().take(MAX_FINDINGS);
        Self {
            at: pushed_at.map(time),
            tags: tags.collect(),
            more_tags: record.tags.len().saturating_sub(MAX_TAGS),
            delete: record.delete,
            rule: name(&record.rule),
            reasons: reasons.map(|reason| start(reason, LONGEST_REASON)).collect(),
            more_findings: counted.saturating_sub(findings.len() as u64),
            findings,
            cause: record.cause.as_ref().map(ToString::to_string),
            platform: record.platform.as_ref().map(name),
            event: name(&record.event),
            event_time: record.event_time.as_ref().map(name),
            notice: name(&record.notice),
            policy: name(&record.policy),
        }
    }
}

impl ExplainedOutcome {
    fn new(noted: &Noted<Closing>) -> Self {
        let Noted { record, pushed_at, .. } = noted;
        let name = |text: &String| start(text, LONGEST_NAME);
        let tags = |of: &std::collections::BTreeSet<Tag>| {
            of.iter().take(MAX_TAGS).map(ToString::to_string).collect()
        };
        Self {
            at: pushed_at.map(time),
            request: record.request.as_ref().map(name),
            sender: record.sender.as_ref().map(name),
            restored: tags(&record.restored),
            present: tags(&record.present),
            superseded: tags(&record.superseded),
            refused: record.refused.as_ref().map(|why| start(&why.0, LONGEST_REASON)),
        }
    }
}

impl ExplainedHold {
    fn new(hold: &Hold, verified: bool) -> Self {
        Self {
            until: time(hold.until),
            owner: start(&hold.owner, LONGEST_NAME),
            reason: start(&hold.reason, LONGEST_REASON),
            request: start(&hold.request, LONGEST_NAME),
            in_force: false,
            withdrawn: false,
            verified,
        }
    }
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string().replacen('T', " ", 1)
}
