//! Telling the team: what a notice says, in which form, and how it is sent.

pub mod render;
#[cfg(test)]
pub(crate) mod sample;
pub mod sns;
pub mod summary;
mod undo;

use std::future::Future;

use sha2::{Digest as _, Sha256};

use crate::aws::AwsError;
use crate::domain::findings::SeverityCounts;
use crate::domain::image::{Digest, Repository, Tag};
use crate::domain::index::Child;
use crate::domain::judgement::Judgement;
use crate::domain::notice::NoticeAction;
use crate::domain::origin::Origin;
use crate::domain::policy::Mode;
use render::Rendered;

/// Tags by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoticeTags {
    /// Untagged by this pass.
    pub untagged: Vec<Tag>,
    /// Named by the event and gone when this pass began: most likely untagged by a pass that could not tell.
    pub claimed: Vec<Tag>,
    /// Still on the image.
    pub kept: Vec<Tag>,
    /// Would have been untagged but for audit mode.
    pub would_untag: Vec<Tag>,
    /// The quarantine tag that keeps the image.
    pub quarantine: Option<Tag>,
}

/// Everything that a notice says, in no form yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The same at every telling of the same thing.
    pub id: String,
    /// What it is about.
    pub action: NoticeAction,
    /// The policy's mode.
    pub mode: Mode,
    /// Where the image is.
    pub repository: Repository,
    /// The image whose tags went, or were to go.
    pub digest: Digest,
    /// The media type of its manifest, where the registry tells it.
    pub media_type: Option<String>,
    /// The child that is to blame, where the image is an index.
    pub cause: Option<Child>,
    /// Its tags.
    pub tags: NoticeTags,
    /// Number of findings by severity.
    pub counts: SeverityCounts,
    /// Why, in words: the limits that are exceeded first.
    pub reasons: Vec<String>,
    /// By which rule, which severity was worst over its limit and which findings count, where the policy judged.
    pub judgement: Option<Judgement>,
    /// The event that led here.
    pub event: Origin,
    /// The event's id, or the message's where the event has none.
    pub event_id: String,
}

/// The id of the notice about one image and one event. It does not depend on when or how often the team is told.
#[must_use]
pub fn notice_id(repository: &Repository, digest: &Digest, event_id: &str) -> String {
    let mut hash = Sha256::new();
    for part in [
        repository.account.as_str(),
        repository.region.as_str(),
        repository.name.as_str(),
        digest.as_str(),
        event_id,
    ] {
        hash.update(part.as_bytes());
        // No part holds a zero byte, so two different lists never run together.
        hash.update([0]);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the worker needs of whoever tells the team.
pub trait Notifier: Send + Sync + 'static {
    /// Checks that notices can be sent.
    fn check(&self) -> impl Future<Output = Result<(), AwsError>> + Send;

    /// Sends one notice; SNS's id of the message. Returning means that it was accepted; it may be sent twice, never lost in
    /// silence.
    fn publish(&self, notice: &Rendered) -> impl Future<Output = Result<String, AwsError>> + Send;
}
