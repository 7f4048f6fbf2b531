//! Reads the records of an image, and knows by which keys they count.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{EcrCalls, Request};
use crate::domain::names::Digest;
use crate::domain::record::{Artifact, History, RestoreKeys};
use crate::notify::WayBack;
use crate::outcome::Failure;
use crate::registry::{IMAGE_BATCH, Referrers, Registry};

/// How records are kept.
#[derive(Clone, Debug)]
pub(crate) struct RecordSettings {
    /// Whether a removal has to be recorded before it is made.
    pub is_required: bool,
    /// The keys that sign and verify records, if there are any.
    pub keys: Option<RestoreKeys>,
    /// The longest that an image may be held.
    pub max_hold: Duration,
    /// How removed tags that are recorded can be given back.
    pub way_back: WayBack,
}

/// The images whose artifacts are read at the same time. Strangers decide how many there are, up to
/// [`MAX_REFERRER_BYTES`](crate::registry::MAX_REFERRER_BYTES) for each image.
const READS_AT_ONCE: usize = 4;

/// The records on images.
#[derive(Debug)]
pub(crate) struct RecordStore<R> {
    ecr: Arc<EcrCalls<R>>,
    settings: RecordSettings,
    reads: Semaphore,
}

/// What the records of one image say.
#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    /// The records that were read.
    pub history: History,
    /// Whether the image has more artifacts than are read. Then no hold counts and no tag is given
    /// back, because pushing artifacts must not make an image immune.
    pub is_cut: bool,
}

impl<R: Registry> RecordStore<R> {
    #[must_use]
    pub(crate) fn new(ecr: Arc<EcrCalls<R>>, settings: RecordSettings) -> Self {
        Self { ecr, settings, reads: Semaphore::new(READS_AT_ONCE) }
    }

    #[must_use]
    pub(crate) fn settings(&self) -> &RecordSettings {
        &self.settings
    }

    /// Returns the keys that sign and verify records, if there are any.
    #[must_use]
    pub(crate) fn keys(&self) -> Option<&RestoreKeys> {
        self.settings.keys.as_ref()
    }

    /// Reads the records of an image of the request's repository. This takes one call for fifty
    /// artifacts, and one more for a hundred if a key counts only for what was pushed before some
    /// time.
    ///
    /// # Errors
    /// [`Failure`] if ECR cannot be asked.
    pub(crate) async fn read(
        &self,
        request: &Request,
        image: &Digest,
    ) -> Result<Remembered, Failure> {
        // The semaphore is never closed, so there is always a permit in the end.
        let _turn = self.reads.acquire().await;
        let repository = &request.repository;
        let read = |registry| R::referrers(registry, repository, image);
        let Referrers { mut artifacts, is_cut } = self.ecr.call(request, read).await?;
        if self.keys().is_some_and(RestoreKeys::need_push_times) {
            for batch in artifacts.chunks_mut(IMAGE_BATCH) {
                self.add_push_times(request, batch).await?;
            }
        }
        let history = History::read(repository, image, artifacts, self.keys());
        Ok(Remembered { history, is_cut })
    }

    async fn add_push_times(
        &self,
        request: &Request,
        artifacts: &mut [Artifact],
    ) -> Result<(), Failure> {
        let digests: Vec<_> = artifacts.iter().map(|artifact| artifact.digest.clone()).collect();
        let read = |registry| R::images(registry, &request.repository, &digests);
        let images = self.ecr.call(request, read).await?;
        for artifact in artifacts {
            let image = images.iter().find(|image| image.digest == artifact.digest);
            artifact.pushed_at = image.and_then(|image| image.pushed_at);
        }
        Ok(())
    }
}
