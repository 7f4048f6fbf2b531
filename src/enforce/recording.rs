//! Writes records on images (invariant 18).
//!
//! A record is written once for a whole plan, after the mark and before the first tag is removed.
//! When a pass is repeated, the tags that an open record of the same removal names are not recorded
//! again, but only where a key tells our records from forged ones: without a key the record is
//! always put, which is one call, and gives the same bytes. Then the holds are read, because
//! somebody may have asked for one since the image was inspected.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::{info, warn};

use super::Target;
use super::actions::ImageAction;
use crate::aws::{AwsError, Operation};
use crate::domain::image_index::Child;
use crate::domain::names::{Tag, joined};
use crate::domain::record::{
    Closing, HoldInForce, KnownRecords, MANIFEST_TYPE, Quarantined, Record, RecordManifest,
    RecordedFinding, SubjectDescriptor,
};
use crate::inspect::{EcrCalls, HoldCheck, Holds, RecordStore, Request};
use crate::notify::{WayBack, notice_id};
use crate::outcome::Failure;
use crate::registry::{Manifest, Recording, Registry};
use crate::telemetry::instruments::Instruments;
use crate::telemetry::logs::AUDIT;

/// Writes a record on the image with this manifest. Writing the same record again is harmless.
///
/// # Errors
/// [`Failure`] if ECR cannot be asked or refuses. If the repository is full, that is no failure but
/// [`Recording::Full`].
pub(crate) async fn write_record<R: Registry>(
    ecr: &EcrCalls<R>,
    store: &RecordStore<R>,
    request: &Request,
    image: &Manifest,
    record: &Record,
) -> Result<Recording, Failure> {
    let repository = &request.repository;
    let subject = SubjectDescriptor {
        digest: image.digest.clone(),
        media_type: image.media_type.clone().unwrap_or_else(|| MANIFEST_TYPE.to_owned()),
        size: image.text.len(),
    };
    let manifest = RecordManifest::new(record, repository, &subject, store.keys());
    let put = |registry| R::record(registry, repository, &manifest);
    let recording = ecr.call(request, put).await?;
    if recording == Recording::Confirmed {
        info!(
            target: AUDIT,
            repository = %repository.name,
            digest = %image.digest,
            record = %manifest.digest,
            kind = <&str>::from(record.kind()),
            "recorded"
        );
    }
    Ok(recording)
}

/// What follows from recording a removal.
#[derive(Debug)]
pub(super) enum Recorded {
    /// The tags may be removed. This is known of the image's records.
    Done(KnownRecords),
    /// The tags may be removed once the team is notified of all their names, because the repository
    /// is full, for this reason of ECR's.
    Full(KnownRecords, String),
    /// The tags stay, because the image is held.
    Held(HoldInForce),
    /// The tags stay, because ECR rejects the record, for this reason.
    Rejected(String),
}

/// Records removals before they are made.
#[derive(Debug)]
pub(super) struct Recorder<R> {
    ecr: Arc<EcrCalls<R>>,
    records: Arc<RecordStore<R>>,
    holds: Arc<Holds<R>>,
    instruments: Arc<Instruments>,
}

impl<R: Registry> Recorder<R> {
    /// Creates a recorder of removals.
    #[must_use]
    pub(super) fn new(
        ecr: Arc<EcrCalls<R>>,
        records: Arc<RecordStore<R>>,
        holds: Arc<Holds<R>>,
        instruments: Arc<Instruments>,
    ) -> Self {
        Self { ecr, records, holds, instruments }
    }

    /// Returns how the tags can be given back that are removed from an image of which this is
    /// known.
    #[must_use]
    pub(super) fn way_back(&self, known: Option<&KnownRecords>) -> WayBack {
        let settings = self.records.settings();
        match known {
            _ if !settings.is_required => WayBack::RecordsOff,
            Some(known) if known.has_no_room => WayBack::NoRoom,
            // The worker would refuse the request.
            Some(known) if known.is_cut => WayBack::ByHand,
            _ => settings.way_back,
        }
    }

    /// Makes sure that a record names every tag of the violation's whole plan, and then reads
    /// whether the image is held.
    ///
    /// # Errors
    /// [`Failure`] if ECR cannot be asked or refuses the record.
    pub(super) async fn record(
        &self,
        target: Target<'_>,
        image: &Manifest,
    ) -> Result<Recorded, Failure> {
        if !self.records.settings().is_required {
            return Ok(Recorded::Done(KnownRecords::default()));
        }
        let Target { request, violation, .. } = target;
        let (plan, digest) = (&violation.plan, &violation.image.digest);
        let known = match &plan.records {
            Some(known) => known.clone(),
            None if plan.marked => self.holds.read(request, digest, &plan.untag).await?.known,
            None => KnownRecords::default(),
        };
        let all: BTreeSet<_> = plan.untag.iter().cloned().collect();
        let written = self.unrecorded(self.quarantined(target, all.clone(), &known), &known);
        let mut recording = self.put_tags(request, image, &written).await;
        let mut latest = known;
        if self.holds.count(request) && recording.is_ok() {
            let HoldCheck { known: mut now, hold } =
                self.holds.read(request, digest, &plan.untag).await?;
            if let Some(hold) = hold {
                return Ok(Recorded::Held(hold));
            }
            // The record of this pass may not be listed yet. A restore may have closed others since
            // they were read, and given their tags back.
            now.open.push(written);
            let closed = self.quarantined(target, all, &now);
            let closed = Quarantined { tags: now.unrecorded(&closed), ..closed };
            if matches!(recording, Ok(Recording::Confirmed)) {
                recording = self.put_tags(request, image, &closed).await;
            }
            latest = now;
        }
        let recording = match recording {
            Err(Failure::Rejected(error)) if is_for_good(&error) => {
                return Ok(Recorded::Rejected(format!("the record is refused: {error}")));
            }
            recording => recording?,
        };
        Ok(match recording {
            Recording::Confirmed => Recorded::Done(latest),
            Recording::Full(reason) => {
                Recorded::Full(KnownRecords { has_no_room: true, ..latest }, reason)
            }
        })
    }

    /// Returns whether the image is held by now.
    ///
    /// # Errors
    /// [`Failure`] if ECR cannot be asked.
    pub(super) async fn hold(&self, target: Target<'_>) -> Result<Option<HoldInForce>, Failure> {
        let Target { request, violation, plan } = target;
        if !self.holds.count(request) {
            return Ok(None);
        }
        Ok(self.holds.read(request, &violation.image.digest, &plan.untag).await?.hold)
    }

    /// Records tags of the image that an over-reach took and that could not be put back, so that
    /// they can be listed and restored. If that fails, only the notice and the audit log name them.
    pub(super) async fn record_lost(&self, target: Target<'_>, image: &Manifest, lost: &[Tag]) {
        if lost.is_empty() || !self.records.settings().is_required {
            return;
        }
        let known = target.plan.records.clone().unwrap_or_default();
        let tags = lost.iter().cloned().collect();
        let record = self.quarantined(target, tags, &known);
        let problem = match self.put_tags(target.request, image, &record).await {
            Ok(Recording::Confirmed) => return,
            Ok(Recording::Full(reason)) => reason,
            Err(failure) => failure.to_string(),
        };
        warn!(
            repository = %target.repository().name,
            digest = %image.digest,
            tags = joined(lost),
            error = problem,
            "cannot record tags that an over-reach took"
        );
    }

    /// Returns the part of a record that has to be written. Without keys anybody can write a record
    /// that looks like ours, so nothing that is read keeps ours from being written.
    fn unrecorded(&self, record: Quarantined, known: &KnownRecords) -> Quarantined {
        match self.records.keys() {
            Some(_) => Quarantined { tags: known.unrecorded(&record), ..record },
            None => record,
        }
    }

    /// Puts a record, if it names tags.
    async fn put_tags(
        &self,
        request: &Request,
        image: &Manifest,
        record: &Quarantined,
    ) -> Result<Recording, Failure> {
        if record.tags.is_empty() {
            return Ok(Recording::Confirmed);
        }
        self.put(request, image, &Record::Quarantine(Box::new(record.clone()))).await
    }

    async fn put(
        &self,
        request: &Request,
        image: &Manifest,
        record: &Record,
    ) -> Result<Recording, Failure> {
        let written = write_record(&self.ecr, &self.records, request, image, record).await;
        let action = match &written {
            Ok(Recording::Confirmed) => Some(ImageAction::RecordDone),
            Ok(Recording::Full(_)) => Some(ImageAction::RecordFull),
            Err(Failure::Refused(_) | Failure::Rejected(_)) => Some(ImageAction::RecordRefused),
            Err(_) => None,
        };
        if let Some(action) = action {
            action.count(&self.instruments, 1);
        }
        written
    }

    fn quarantined(
        &self,
        Target { request, violation, .. }: Target<'_>,
        tags: BTreeSet<Tag>,
        known: &KnownRecords,
    ) -> Quarantined {
        let evaluation = &violation.evaluation;
        let cause = violation.cause.as_ref();
        let findings = evaluation.worst.iter().chain(&evaluation.next_worst);
        Quarantined {
            tags,
            delete: violation.plan.delete,
            rule: evaluation.rule.clone(),
            reasons: evaluation.reasons.clone(),
            counts: violation.counts.clone(),
            findings: findings.map(RecordedFinding::of).collect(),
            cause: cause.map(|child| child.digest.clone()),
            platform: cause.and_then(|Child { platform, .. }| platform.clone()),
            event: request.event_id.clone(),
            event_time: request.origin.time.clone(),
            notice: notice_id(&request.repository, &violation.image.digest, &request.event_id),
            policy: request.policy.fingerprint().as_str().to_owned(),
            after_outcomes: known.outcomes,
        }
    }

    /// Closes the tags that had moved to another image when they were to be removed. If that fails,
    /// they stay open, and a restore finds that they have moved.
    pub(super) async fn close_moved(&self, target: Target<'_>, image: &Manifest, moved: &[Tag]) {
        if !self.records.settings().is_required {
            return;
        }
        if let Err(failure) = self.try_to_close(target, image, moved).await {
            warn!(
                repository = %target.repository().name,
                digest = %image.digest,
                tags = joined(moved),
                error = %failure,
                "cannot record that tags have moved to another image"
            );
        }
    }

    async fn try_to_close(
        &self,
        Target { request, .. }: Target<'_>,
        image: &Manifest,
        moved: &[Tag],
    ) -> Result<(), Failure> {
        let moved: BTreeSet<_> = moved.iter().cloned().collect();
        let closes =
            self.records.read(request, &image.digest).await?.history.open_records_of(&moved);
        if closes.is_empty() {
            return Ok(());
        }
        let closing = Closing { closes, superseded: moved, ..Closing::default() };
        self.put(request, image, &Record::Outcome(closing)).await.map(drop)
    }
}

/// Returns whether ECR will take a record no better the next time. A put fails for a time while
/// another call uploads the blob, and an upload whose answer was lost cannot be continued, but the
/// next one begins anew. If the repository is gone, it is found so then.
fn is_for_good(error: &AwsError) -> bool {
    error.operation == Operation::PutImage
        && !["LayersNotFoundException", "RepositoryNotFoundException"]
            .iter()
            .any(|code| error.is(code))
}
