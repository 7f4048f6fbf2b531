//! Reads an image and its findings from ECR, and evaluates them by the request's policy.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::yield_now;

use super::findings_memory::{Evictable, FindingsMemory};
use super::repository_index::{RepositoryIndex, TaggedImages};
use super::{EcrCalls, Inspection, Request, ScanSnapshot, Urgency, Violation};
use crate::clock::Clock;
use crate::domain::evaluation::Subject;
use crate::domain::image::Image;
use crate::domain::image_index::Index;
use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::plan::{Claimed, Deciding, Decision, Plan, Scanning};
use crate::domain::policy::{Policy, Reporting};
use crate::event::Claim;
use crate::outcome::Failure;
use crate::registry::{IMAGE_BATCH, Registry};
use crate::shutdown::Shutdown;
use crate::telemetry::instruments::Instruments;

/// The findings that are judged at a time, before heartbeats and health checks get a chance to run.
const FINDINGS_AT_ONCE: usize = 500;

/// Reads images from ECR and evaluates them by the policy of the request.
#[derive(Debug)]
pub(crate) struct Evaluator<R> {
    ecr: Arc<EcrCalls<R>>,
    clock: Clock,
    instruments: Arc<Instruments>,
    memory: FindingsMemory,
    repository_index: RepositoryIndex<R>,
}

impl<R: Registry> Evaluator<R> {
    /// Creates an evaluator.
    #[must_use]
    pub(crate) fn new(
        ecr: Arc<EcrCalls<R>>,
        clock: Clock,
        shutdown: Shutdown,
        instruments: Arc<Instruments>,
    ) -> Self {
        let repository_index = RepositoryIndex::new(Arc::clone(&ecr), clock.clone(), shutdown);
        let memory = FindingsMemory::default();
        Self { ecr, clock, instruments, memory, repository_index }
    }

    /// Returns the image that the request names, else those that its tags point to now, or did
    /// before this process removed them without notifying anybody, as far as `lost` knows.
    ///
    /// # Errors
    /// [`Failure`] if ECR cannot be asked.
    pub(crate) async fn digests(
        &self,
        request: &Request,
        lost: impl Fn(&Tag) -> Option<Digest>,
    ) -> Result<Vec<Digest>, Failure> {
        if let Some(digest) = &request.digest {
            return Ok(vec![digest.clone()]);
        }
        let mut digests = Vec::new();
        for tags in request.tags.chunks(IMAGE_BATCH) {
            let read = |registry| R::resolve_all(registry, &request.repository, tags);
            let mut found = self.ecr.call(request, read).await?;
            for tag in tags {
                if let Some(digest) = found.remove(tag).or_else(|| lost(tag))
                    && !digests.contains(&digest)
                {
                    digests.push(digest);
                }
            }
        }
        Ok(digests)
    }

    /// Judges a snapshot of an image, which may have been read for another message.
    pub(crate) async fn judge(
        &self,
        request: &Request,
        snapshot: Arc<ScanSnapshot>,
        claim: &Claim,
    ) -> Inspection {
        let image = snapshot.image().clone();
        match self.decide(request, &snapshot, &[&image.digest], claimed(claim)).await {
            Decision::Keep(evaluation) => Inspection::Clean(evaluation, Some(snapshot)),
            Decision::Wait(_) if *claim == Claim::Nothing => Inspection::LeftToScan(Some(snapshot)),
            Decision::Wait(_) if *claim == Claim::Failed => {
                Inspection::Unscanned(image, "the scan failed".to_owned())
            }
            Decision::Wait(reason) => Inspection::Wait(image, reason, Some(snapshot)),
            Decision::Unscanned(reason) => Inspection::Unscanned(image, reason),
            Decision::Violation(evaluation) => {
                let (counts, in_use) = (snapshot.counts(), snapshot.in_use());
                let plan = Plan::new(request.settings(), &image, in_use);
                let cause = None;
                let violation = Violation { image, cause, evaluation, counts, in_use, plan };
                Inspection::Violation(Box::new(violation))
            }
        }
    }

    /// Shares a snapshot until its memory is needed.
    #[must_use]
    pub(crate) fn share(&self, snapshot: Arc<ScanSnapshot>) -> Evictable<ScanSnapshot> {
        self.memory.share(snapshot)
    }

    /// Reads an image. Returns `None` if it is gone.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read.
    pub(crate) async fn image(
        &self,
        request: &Request,
        digest: &Digest,
    ) -> Result<Option<Image>, Failure> {
        let read = |registry| R::image(registry, &request.repository, digest);
        self.ecr.call(request, read).await
    }

    /// Reads those images with these digests that exist, and returns them by digest.
    pub(super) async fn images(
        &self,
        request: &Request,
        digests: &[Digest],
    ) -> Result<HashMap<Digest, Image>, Failure> {
        let read = |registry| R::images(registry, &request.repository, digests);
        let images = self.ecr.call(request, read).await?;
        Ok(images.into_iter().map(|image| (image.digest.clone(), image)).collect())
    }

    /// Reads those indexes with these digests that exist.
    pub(super) async fn indexes(
        &self,
        request: &Request,
        digests: &[Digest],
    ) -> Result<Vec<Arc<Index>>, Failure> {
        self.repository_index.indexes(request, digests).await
    }

    /// Returns the repository's tagged images as they were at some time after the request's message
    /// was sent; `None` if there is no such repository.
    ///
    /// # Errors
    /// [`Failure`] if they cannot be listed.
    pub(crate) async fn tagged_images(
        &self,
        request: &Request,
    ) -> Result<Option<Arc<TaggedImages>>, Failure> {
        self.repository_index.tagged_images(request).await
    }

    /// Reads the scan of the image. Returns `None` if the image is gone.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read.
    pub(crate) async fn snapshot(
        &self,
        request: &Request,
        image: &Image,
    ) -> Result<Option<ScanSnapshot>, Failure> {
        let repository = &request.repository;
        let page = |token: Option<String>, most| async move {
            let token = token.as_deref();
            let read = |registry| R::scan_page(registry, repository, &image.digest, token, most);
            self.ecr.call(request, read).await
        };
        let read = self.memory.read(request.urgency == Urgency::Probe, page).await?;
        Ok(read.map(|(scan, room)| ScanSnapshot::new(image.clone(), scan, room)))
    }

    /// Decides about an image by its findings, one part of them at a time.
    #[tracing::instrument(name = "decide", skip_all)]
    pub(super) async fn decide(
        &self,
        request: &Request,
        snapshot: &ScanSnapshot,
        digests: &[&Digest],
        claimed: Claimed<'_>,
    ) -> Decision {
        let subject = Subject {
            repository: &request.repository,
            digests,
            pushed_at: snapshot.image().pushed_at,
            now: self.clock.now(),
        };
        let mut deciding = Deciding::new(&request.policy, subject, snapshot.scan(), claimed);
        let decision = loop {
            match deciding.step(FINDINGS_AT_ONCE) {
                Some(decision) => break decision,
                None => yield_now().await,
            }
        };
        if let Decision::Keep(evaluation) | Decision::Violation(evaluation) = &decision {
            for &at in &evaluation.exceptions {
                if let Some(exception) = request.policy.exceptions.get(at) {
                    self.instruments.exception_matched(at, exception);
                }
            }
        }
        decision
    }
}

/// Returns whether the event's own counts show that no limit of the policy is exceeded, so that no
/// call to ECR is needed.
#[must_use]
pub(crate) fn is_cleared(policy: &Policy, repository: &Repository, claim: &Claim) -> bool {
    match claim {
        Claim::Complete { counts: Some(counts), reporting } => {
            policy.terms(repository).1.clear(counts, *reporting)
        }
        _ => false,
    }
}

/// Returns the part of an event's claim that a decision needs.
#[must_use]
pub(super) fn claimed(claim: &Claim) -> Claimed<'_> {
    match claim {
        Claim::Complete { counts: Some(counts), reporting } => Claimed::Counts(
            counts,
            match reporting {
                Reporting::AbsentIsZero => Scanning::Basic,
                Reporting::AbsentIsUnknown => Scanning::Enhanced,
            },
        ),
        Claim::Active(finding) => Claimed::Finding(finding),
        Claim::Complete { counts: None, .. } | Claim::Failed | Claim::Nothing => Claimed::Nothing,
    }
}
