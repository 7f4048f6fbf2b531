//! Reads one image from ECR and judges it. It changes nothing.
//!
//! The worker acts on what ECR shows, never on the word of an event (invariant 6): an event's claim
//! only makes the worker look, and wait until ECR shows as much.

use std::sync::Arc;

use super::index_inspection::{IndexInspection, InspectedIndex};
use super::repository_index::Holder;
use super::{CallPace, Evaluator, Inspection, Request, Violation};
use crate::domain::image::{Image, ImageKind, StorageStatus};
use crate::domain::names::Digest;
use crate::event::Claim;
use crate::outcome::Failure;
use crate::registry::Registry;

/// Inspects images: decides which reads are needed, and how to judge their answers.
#[derive(Debug)]
pub(crate) struct Inspector<R> {
    evaluator: Arc<Evaluator<R>>,
}

impl<R: Registry> Inspector<R> {
    /// Creates an inspector that rests on this evaluator.
    #[must_use]
    pub(crate) fn new(evaluator: Arc<Evaluator<R>>) -> Self {
        Self { evaluator }
    }

    /// Returns the evaluator, for callers that need a single step of an inspection.
    #[must_use]
    pub(crate) fn evaluator(&self) -> &Evaluator<R> {
        &self.evaluator
    }

    /// Inspects the image with this digest.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read.
    #[tracing::instrument(name = "observe", skip_all, fields(%digest))]
    pub(crate) async fn inspect(
        &self,
        request: &Request,
        digest: &Digest,
    ) -> Result<Inspection, Failure> {
        match self.evaluator.image(request, digest).await? {
            Some(image) => self.inspect_read(request, image).await,
            None => Ok(Inspection::Absent),
        }
    }

    /// Inspects an image that was read before.
    ///
    /// # Errors
    /// [`Failure`] if its findings cannot be read.
    pub(crate) async fn inspect_read(
        &self,
        request: &Request,
        image: Image,
    ) -> Result<Inspection, Failure> {
        let claim = &request.claim;
        let inspection = match (image.kind, image.storage) {
            (ImageKind::Artifact, StorageStatus::Archived | StorageStatus::Activating) => {
                return Ok(Inspection::NotAnImage);
            }
            (ImageKind::Artifact, StorageStatus::Active) if !claims_findings(claim) => {
                let Some(snapshot) = self.evaluator.snapshot(request, &image).await? else {
                    return Ok(Inspection::Absent);
                };
                // A manifest that calls itself an artifact is taken for an image if ECR shows
                // findings of it, because its own word must not hide an image.
                if !snapshot.shows_findings() {
                    return Ok(Inspection::NotAnImage);
                }
                self.evaluator.judge(request, Arc::new(snapshot), claim).await
            }
            (_, StorageStatus::Archived) => {
                let reason = "the image is archived: nobody can pull it, and it is not scanned";
                Inspection::Unscanned(image, reason.to_owned())
            }
            (_, StorageStatus::Activating) => {
                let reason = "the image is being restored from the archive";
                Inspection::Wait(image, reason.to_owned(), None)
            }
            (ImageKind::Index, StorageStatus::Active) => {
                return self.inspect_named_index(request, image).await;
            }
            (ImageKind::Image | ImageKind::Artifact, StorageStatus::Active) => {
                self.inspect_image(request, image, claim).await?
            }
        };
        Ok(match inspection {
            // Signatures and the like are stored like images, and no scanner can scan them.
            Inspection::Unscanned(image, _) if image.is_referrer() => Inspection::NotAnImage,
            Inspection::Unscanned(image, _) if !self.is_pulled(request, &image).await? => {
                Inspection::Unpulled
            }
            inspection => inspection,
        })
    }

    /// Inspects an index that the event names.
    async fn inspect_named_index(
        &self,
        request: &Request,
        image: Image,
    ) -> Result<Inspection, Failure> {
        let claims = matches!(request.claim, Claim::Complete { .. } | Claim::Active(_));
        Ok(match self.inspect_index(request, image.clone()).await? {
            // It is the list of an image's artifacts, under a tag of its own.
            Inspection::Unscanned(image, _) if image.is_referrer() => Inspection::NotAnImage,
            // The event claims findings of the index itself, so the events of its images are not
            // enough.
            Inspection::LeftToScan(_) if claims => {
                let reason = "ECR has not scanned every image of the index";
                Inspection::Wait(image, reason.to_owned(), None)
            }
            inspection => inspection,
        })
    }

    /// Inspects an image that the event is not about.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read.
    pub(crate) async fn inspect_other(
        &self,
        request: &Request,
        image: Image,
    ) -> Result<Inspection, Failure> {
        match image.kind {
            ImageKind::Index => self.inspect_index(request, image).await,
            ImageKind::Image | ImageKind::Artifact => {
                self.inspect_image(request, image, &Claim::Nothing).await
            }
        }
    }

    /// Inspects an index that holds an image that violates the policy.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read.
    #[tracing::instrument(name = "observe", skip_all, fields(digest = %holder.digest()))]
    pub(crate) async fn inspect_holder(
        &self,
        request: &Request,
        holder: Holder<'_>,
        cause: &Violation,
    ) -> Result<Inspection, Failure> {
        let image = self.evaluator.image(request, holder.digest()).await?;
        match image.filter(|image| image.storage == StorageStatus::Active) {
            Some(image) => {
                let index = IndexInspection::new(&self.evaluator, request, image);
                let index = index.caused_by(holder.child(), cause);
                Ok(Box::pin(index.run()).await?.inspection)
            }
            None => Ok(Inspection::Absent),
        }
    }

    /// Inspects an index at this pace. Each call waits for the pace, so that a large index leaves
    /// room for others.
    ///
    /// # Errors
    /// [`Failure`] if it cannot be read.
    pub(crate) async fn inspect_index_at(
        &self,
        pace: &CallPace,
        request: &Request,
        image: Image,
    ) -> Result<InspectedIndex, Failure> {
        Box::pin(IndexInspection::new(&self.evaluator, request, image).at(pace).run()).await
    }

    async fn inspect_index(&self, request: &Request, image: Image) -> Result<Inspection, Failure> {
        Ok(Box::pin(IndexInspection::new(&self.evaluator, request, image).run()).await?.inspection)
    }

    async fn inspect_image(
        &self,
        request: &Request,
        image: Image,
        claim: &Claim,
    ) -> Result<Inspection, Failure> {
        let Some(snapshot) = self.evaluator.snapshot(request, &image).await? else {
            return Ok(Inspection::Absent);
        };
        Ok(self.evaluator.judge(request, Arc::new(snapshot), claim).await)
    }

    /// Returns whether people can pull the image by a tag, its own or that of an index.
    async fn is_pulled(&self, request: &Request, image: &Image) -> Result<bool, Failure> {
        if image.is_tagged() {
            return Ok(true);
        }
        let tagged = self.evaluator.tagged_images(request).await?;
        Ok(tagged.is_some_and(|tagged| tagged.is_run(&image.digest)))
    }
}

/// Returns whether an event says that there are findings.
fn claims_findings(claim: &Claim) -> bool {
    match claim {
        Claim::Complete { counts, .. } => {
            counts.as_ref().is_some_and(|counts| counts.worst().is_some())
        }
        Claim::Active(_) => true,
        Claim::Failed | Claim::Nothing => false,
    }
}
