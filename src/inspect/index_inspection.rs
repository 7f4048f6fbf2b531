//! Judges an index by its images, level by level, within the bounds of [`Walk`].
//!
//! The bounds are four levels and 500 manifests, each counted once, because an index can be built
//! to cost thousands of calls. Images within them are judged first. If one violates the policy, the
//! index does too; under `index = "all"` it does only if every image violates. Only otherwise, an
//! index that is larger, deeper or not readable as a whole is [`Inspection::Unresolved`]: it is
//! never taken for clean, and the team is notified of it by name.
//!
//! ECR is asked what each child is, because the entry that names a child may hide what it is.

use std::collections::HashMap;
use std::slice::from_ref;
use std::time::SystemTime;

use super::{CallPace, Evaluator, Inspection, Request, ScanSnapshot, Violation};
use crate::domain::coverage::Coverage;
use crate::domain::evaluation::Evaluation;
use crate::domain::findings::{Scan, SeverityCounts};
use crate::domain::image::{Image, ImageKind};
use crate::domain::image_index::{Child, Entry, Role, Walk};
use crate::domain::names::Digest;
use crate::domain::plan::{Claimed, Decision, Plan};
use crate::domain::policy::{InUse, IndexRule, RuleSettings};
use crate::outcome::Failure;
use crate::registry::{IMAGE_BATCH, Registry};

/// An image that basic scanning scans, and the time of its last scan; `None` if there was none.
pub(crate) type BasicScan = (Digest, Option<SystemTime>);

/// The result of inspecting an index.
#[derive(Debug)]
pub(crate) struct InspectedIndex {
    /// The verdict on the index.
    pub inspection: Inspection,
    /// Those of its inspected images that basic scanning scans.
    pub basic: Vec<BasicScan>,
}

/// Inspects the images of one index and judges the index by them.
pub(super) struct IndexInspection<'a, R> {
    evaluator: &'a Evaluator<R>,
    request: &'a Request,
    image: Image,
    pace: Option<&'a CallPace>,
    known: Option<Digest>,
    basic: Vec<BasicScan>,
    tally: Tally,
}

impl<'a, R: Registry> IndexInspection<'a, R> {
    pub(super) fn new(evaluator: &'a Evaluator<R>, request: &'a Request, image: Image) -> Self {
        let (tally, basic) = Default::default();
        Self { evaluator, request, image, pace: None, known: None, basic, tally }
    }

    /// Waits for this pace before each call.
    pub(super) fn at(self, pace: &'a CallPace) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// Begins with an image in the index that is known to violate the policy, because then the
    /// others often need no inspection.
    ///
    /// If an exception names the index, the image is inspected with the others instead, because
    /// then it may not violate the policy as a part of the index.
    pub(super) fn caused_by(mut self, child: &Child, violation: &Violation) -> Self {
        if self.request.policy.exceptions.name(&self.image.digest) {
            return self;
        }
        let Violation { evaluation, counts, in_use, .. } = violation;
        self.known = Some(child.digest.clone());
        self.tally.is_of_images = true;
        self.tally.in_use = *in_use;
        self.tally.worst = Some((child.clone(), evaluation.clone(), counts.clone()));
        self
    }

    /// Inspects the images, level by level, and attestations and artifacts last.
    pub(super) async fn run(mut self) -> Result<InspectedIndex, Failure> {
        if self.is_settled() {
            return Ok(self.verdict());
        }
        let root = self.evaluator.indexes(self.request, from_ref(&self.image.digest)).await?.pop();
        let Some(root) = root else {
            return Ok(InspectedIndex { inspection: Inspection::Absent, basic: self.basic });
        };
        let mut walk = Walk::of(root.digest());
        let mut level = vec![root];
        let mut attachments = Vec::new();
        while !level.is_empty() {
            let mut inner = Vec::new();
            for entries in walk.enter(&level).chunks(IMAGE_BATCH) {
                let mut images = self.images(entries).await?;
                for entry in entries {
                    match images.remove(&entry.child.digest) {
                        Some(image) if is_index(entry, &image) => inner.push(image.digest),
                        Some(image) if is_attachment(entry, &image) => {
                            attachments.push((entry.child.clone(), image));
                        }
                        Some(image) => self.inspect(&entry.child, &image).await?,
                        None if entry.role == Role::Index => {
                            walk.unread(from_ref(&entry.child.digest));
                        }
                        // An image that does not exist cannot be pulled.
                        None => self.tally.is_of_images = true,
                    }
                    if self.is_settled() {
                        return Ok(self.verdict());
                    }
                }
            }
            let inner = walk.descend(inner);
            level = Vec::new();
            for digests in inner.chunks(IMAGE_BATCH) {
                self.wait().await;
                level.extend(self.evaluator.indexes(self.request, digests).await?);
            }
            let is_unread = |digest: &&Digest| level.iter().all(|index| index.digest() != *digest);
            let unread: Vec<_> = inner.iter().filter(is_unread).cloned().collect();
            walk.unread(&unread);
        }
        for (child, image) in &attachments {
            if self.is_settled() {
                break;
            }
            self.inspect_attachment(child, image).await?;
        }
        self.tally.gap = walk.gap();
        Ok(self.verdict())
    }

    async fn wait(&self) {
        if let Some(pace) = self.pace {
            pace.wait().await;
        }
    }

    /// Reads those images that exist of these entries, and returns them by digest.
    async fn images(&self, entries: &[Entry]) -> Result<HashMap<Digest, Image>, Failure> {
        self.wait().await;
        let digests: Vec<_> = entries.iter().map(|entry| entry.child.digest.clone()).collect();
        self.evaluator.images(self.request, &digests).await
    }

    async fn inspect(&mut self, child: &Child, image: &Image) -> Result<(), Failure> {
        self.tally.is_of_images = true;
        if self.known.as_ref() == Some(&image.digest) {
            return Ok(());
        }
        self.wait().await;
        if let Some(snapshot) = self.evaluator.snapshot(self.request, image).await? {
            self.basic.extend(basic_scan(&snapshot));
            self.judge(child, snapshot).await;
        }
        Ok(())
    }

    /// Inspects an attestation or artifact. If ECR shows no findings of it, it does not count. If
    /// ECR does, it is judged like an image, except that a clean one does not clear an index under
    /// `index = "all"`.
    async fn inspect_attachment(&mut self, child: &Child, image: &Image) -> Result<(), Failure> {
        if self.known.as_ref() == Some(&image.digest) {
            return Ok(());
        }
        self.wait().await;
        let snapshot = self.evaluator.snapshot(self.request, image).await?;
        let Some(snapshot) = snapshot.filter(ScanSnapshot::shows_findings) else {
            return Ok(());
        };
        let both = [&child.digest, &self.image.digest];
        match self.evaluator.decide(self.request, &snapshot, &both, Claimed::Nothing).await {
            Decision::Violation(_) => self.judge(child, snapshot).await,
            Decision::Keep(evaluation) => {
                self.tally.attachment = self.tally.attachment.take().or(Some(evaluation));
            }
            Decision::Unscanned(reason) => {
                self.tally.unscanned = self.tally.unscanned.take().or(Some(reason));
            }
            Decision::Wait(_) => {}
        }
        Ok(())
    }

    async fn judge(&mut self, child: &Child, snapshot: ScanSnapshot) {
        let both = [&child.digest, &self.image.digest];
        let decision =
            self.evaluator.decide(self.request, &snapshot, &both, Claimed::Nothing).await;
        let tally = &mut self.tally;
        tally.is_of_images = true;
        tally.in_use = tally.in_use.max(snapshot.in_use());
        match decision {
            Decision::Keep(evaluation) => tally.clean = tally.clean.take().or(Some(evaluation)),
            Decision::Wait(_) => tally.unfinished = true,
            Decision::Unscanned(reason) => {
                let of = child.platform.as_deref().unwrap_or("no platform");
                let reason = format!("{reason}: {} ({of})", child.digest);
                tally.unscanned = tally.unscanned.take().or(Some(reason));
            }
            Decision::Violation(evaluation) => {
                let counts = snapshot.counts();
                tally.worst = tally.worst.take().or(Some((child.clone(), evaluation, counts)));
            }
        }
    }

    /// Returns whether no other image can change the verdict.
    fn is_settled(&self) -> bool {
        let settings = self.request.settings();
        settings.index == IndexRule::Any
            && settings.in_use == InUse::Untag
            && self.tally.worst.is_some()
    }

    fn verdict(self) -> InspectedIndex {
        let settings = self.request.settings();
        InspectedIndex { inspection: self.tally.verdict(settings, self.image), basic: self.basic }
    }
}

/// Returns the image and its last scan if basic scanning scans it, else `None`. Enhanced scanning
/// is left out, because it scans again by itself.
#[must_use]
pub(crate) fn basic_scan(snapshot: &ScanSnapshot) -> Option<BasicScan> {
    let last = match snapshot.scan() {
        Scan::Complete(findings) => findings.completed_at,
        scan if Coverage::of_gap(scan) == Some(Coverage::NeverScanned) => None,
        _ => return None,
    };
    Some((snapshot.digest().clone(), last))
}

/// Returns whether ECR says that the image is an index, or the entry does and ECR says nothing.
fn is_index(entry: &Entry, image: &Image) -> bool {
    image.kind == ImageKind::Index || (image.media_type.is_none() && entry.role == Role::Index)
}

fn is_attachment(entry: &Entry, image: &Image) -> bool {
    image.kind == ImageKind::Artifact || entry.role == Role::Attestation
}

/// The verdicts on the images of an index so far.
#[derive(Default)]
struct Tally {
    worst: Option<(Child, Evaluation, SeverityCounts)>,
    clean: Option<Evaluation>,
    /// An attestation or artifact that is clean.
    attachment: Option<Evaluation>,
    unscanned: Option<String>,
    unfinished: bool,
    in_use: u64,
    /// Whether the index lists any image, whether or not the image is there.
    is_of_images: bool,
    /// Why the index is not known as a whole, if it is not.
    gap: Option<String>,
}

impl Tally {
    fn verdict(self, settings: &RuleSettings, image: Image) -> Inspection {
        let Self { worst, clean, attachment, unscanned, unfinished, in_use, is_of_images, gap } =
            self;
        let violates = match settings.index {
            IndexRule::Any => true,
            IndexRule::All => {
                clean.is_none() && unscanned.is_none() && !unfinished && gap.is_none()
            }
        };
        match (worst, clean, unscanned, gap) {
            (Some((cause, evaluation, counts)), ..) if violates => {
                let plan = Plan::new(settings, &image, in_use);
                let cause = Some(cause);
                let violation = Violation { image, cause, evaluation, counts, in_use, plan };
                Inspection::Violation(Box::new(violation))
            }
            // Images that were not inspected are never taken for clean.
            (.., Some(gap)) => Inspection::Unresolved(image, gap),
            // By the rule "all", one clean image clears the index.
            (Some(_), Some(evaluation), ..) => Inspection::Clean(evaluation, None),
            // Each child's own scan event leads back here.
            _ if unfinished => Inspection::LeftToScan(None),
            (_, _, Some(reason), None) => Inspection::Unscanned(image, reason),
            (_, Some(evaluation), None, None) => Inspection::Clean(evaluation, None),
            (_, None, None, None) => match attachment {
                Some(evaluation) => Inspection::Clean(evaluation, None),
                None if is_of_images => Inspection::Absent,
                None => Inspection::NotAnImage,
            },
        }
    }
}
