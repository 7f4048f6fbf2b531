//! Puts back what the registry removed beyond the request (invariant 5).
//!
//! An over-reach is found because every entry of an answer is compared with the request. It stops
//! all removals of the process until a restart. An over-reach whose answer is lost is not seen.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::Target;
use crate::domain::names::{Digest, Tag, joined};
use crate::domain::reconcile::AnsweredId;
use crate::inspect::EcrCalls;
use crate::outcome::Failure;
use crate::registry::{Manifest, Registry, Tagging};
use crate::telemetry::logs::AUDIT;

/// The most attempts to put something back.
const ATTEMPTS: u32 = 6;

/// Puts back what an over-reach removed.
pub(super) struct PutBack<'a, R> {
    ecr: &'a EcrCalls<R>,
    target: Target<'a>,
    manifest: &'a Manifest,
}

/// What could not be put back.
#[derive(Debug, Default)]
pub(super) struct StillLost {
    /// The tags of the image that was judged, without its quarantine tags.
    pub(super) own: Vec<Tag>,
    /// Everything, in words.
    pub(super) described: Vec<String>,
}

/// Why a tag could not be put back.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{tag}: {failure}")]
    Failed {
        tag: Tag,
        #[source]
        failure: Failure,
    },
    #[error("{tag}: {reason}")]
    Refused { tag: Tag, reason: String },
    #[error("{tag}: image {digest} is gone")]
    ImageGone { tag: Tag, digest: Digest },
}

impl<'a, R: Registry> PutBack<'a, R> {
    pub(super) fn new(ecr: &'a EcrCalls<R>, target: Target<'a>, manifest: &'a Manifest) -> Self {
        Self { ecr, target, manifest }
    }

    /// Logs the over-reach and puts back what was removed, in several attempts if necessary.
    /// Returns what is still lost.
    pub(super) async fn run(&self, beyond: &[AnsweredId]) -> StillLost {
        let Target { request, violation, plan } = self.target;
        let (repository, digest) = (&request.repository, &violation.image.digest);
        error!(
            target: AUDIT,
            message_id = request.message_id.as_deref(),
            repository = %repository.name,
            %digest,
            asked = joined(&plan.untag),
            beyond = described(beyond),
            // The line has all that people need to put the image back by hand, if this process dies
            // before it does.
            manifest = self.manifest.text,
            "over-reach: the registry removed more than was asked for; putting it back; removing \
             tags is stopped until a restart"
        );
        let mut lost = self.attempt(beyond).await;
        for attempt in 1..ATTEMPTS {
            if lost.is_empty() {
                break;
            }
            warn!(
                repository = %repository.name,
                lost = in_words(&lost).join("; "),
                attempt,
                "putting back again"
            );
            sleep(Duration::from_secs(1) * attempt).await;
            lost = self.attempt(beyond).await;
        }
        let own = lost.iter().filter_map(|lost| self.own_tag(lost, beyond)).collect();
        let lost = in_words(&lost);
        if !lost.is_empty() {
            error!(
                target: AUDIT,
                repository = %repository.name,
                %digest,
                lost = lost.join("; "),
                "over-reach: could not put back; use the manifest logged before with `aws ecr \
                 put-image`"
            );
        }
        StillLost { own, described: lost }
    }

    /// Returns the tag that is lost, if an answer says that it was taken from the image itself.
    fn own_tag(&self, lost: &Lost, beyond: &[AnsweredId]) -> Option<Tag> {
        let (Lost::Failed { tag, .. } | Lost::Refused { tag, .. } | Lost::ImageGone { tag, .. }) =
            lost;
        let digest = &self.manifest.digest;
        let is_own = beyond.iter().any(|id| {
            id.tag.as_deref() == Some(tag.as_str())
                && id.digest.as_deref().is_none_or(|of| of == digest.as_str())
        });
        (is_own && !tag.is_quarantine_of(digest)).then(|| tag.clone())
    }

    /// Puts the image back under its quarantine tag, and kept tags that are absent.
    async fn attempt(&self, beyond: &[AnsweredId]) -> Vec<Lost> {
        let mut lost = Vec::new();
        lost.extend(self.put(self.manifest, &self.target.plan.quarantine).await.err());
        for id in beyond {
            let Some(tag) = id.tag.as_deref().and_then(|tag| Tag::parse(tag).ok()) else {
                continue;
            };
            let result = match id.digest.as_deref().map(Digest::parse) {
                Some(Ok(other)) if other != self.manifest.digest => {
                    self.put_back_other(&other, &tag).await
                }
                _ if self.target.plan.kept.contains(&tag) => {
                    self.put_if_absent(self.manifest, &tag).await
                }
                _ => Ok(()),
            };
            lost.extend(result.err());
        }
        lost
    }

    /// Puts back a tag that moved to another image between the last read and a delete by the tag
    /// alone.
    async fn put_back_other(&self, digest: &Digest, tag: &Tag) -> Result<(), Lost> {
        let Target { request, .. } = self.target;
        let read = |registry| R::manifest(registry, &request.repository, digest);
        let failed = |failure| Lost::Failed { tag: tag.clone(), failure };
        match self.ecr.call(request, read).await.map_err(failed)? {
            Some(manifest) => self.put_if_absent(&manifest, tag).await,
            None => Err(Lost::ImageGone { tag: tag.clone(), digest: digest.clone() }),
        }
    }

    async fn put_if_absent(&self, manifest: &Manifest, tag: &Tag) -> Result<(), Lost> {
        let Target { request, .. } = self.target;
        let read = |registry| R::resolve(registry, &request.repository, tag);
        let failed = |failure| Lost::Failed { tag: tag.clone(), failure };
        match self.ecr.call(request, read).await.map_err(failed)? {
            Some(_) => Ok(()),
            None => self.put(manifest, tag).await,
        }
    }

    async fn put(&self, manifest: &Manifest, tag: &Tag) -> Result<(), Lost> {
        let Target { request, .. } = self.target;
        let put = |registry| R::tag(registry, &request.repository, manifest, tag);
        match self.ecr.call(request, put).await {
            Ok(Tagging::Confirmed) => {
                info!(target: AUDIT, digest = %manifest.digest, %tag, "put back");
                Ok(())
            }
            Ok(Tagging::Taken(reason) | Tagging::RefusedForGood(reason)) => {
                Err(Lost::Refused { tag: tag.clone(), reason })
            }
            Err(failure) => Err(Lost::Failed { tag: tag.clone(), failure }),
        }
    }
}

fn in_words(lost: &[Lost]) -> Vec<String> {
    lost.iter().map(ToString::to_string).collect()
}

/// Returns in words what an answer names beyond the request.
pub(super) fn described(ids: &[AnsweredId]) -> String {
    let id = |id: &AnsweredId| match (&id.tag, &id.digest) {
        (Some(tag), Some(digest)) => format!("{tag} of {digest}"),
        (Some(tag), None) => tag.clone(),
        (None, Some(digest)) => format!("image {digest}"),
        (None, None) => "an id without tag or digest".to_owned(),
    };
    ids.iter().map(id).collect::<Vec<_>>().join(", ")
}
