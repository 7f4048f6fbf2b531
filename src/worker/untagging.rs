//! The acts that change an image: mark, untag, and delete.

use super::assess::{Assessor, Case};
use super::disposition::{Failure, Outcome};
use crate::domain::image::Tag;
use crate::domain::untag::{AnsweredId, TagFailure, Untagged};
use crate::notify::{NoticeAction, Notifier};
use crate::registry::{Manifest, Registry, Tagging, UNTAG_BATCH};

/// Every label set of `image_actions_total`: action, outcome, mode.
pub const IMAGE_ACTIONS: [(&str, &str, &str); 11] = [
    ("mark", "done", "enforce"),
    ("mark", "refused", "enforce"),
    ("untag", "done", "enforce"),
    ("untag", "superseded", "enforce"),
    ("untag", "failed", "enforce"),
    ("untag", "planned", "audit"),
    ("delete", "done", "enforce"),
    ("delete", "superseded", "enforce"),
    ("delete", "failed", "enforce"),
    ("put_back", "done", "enforce"),
    ("put_back", "failed", "enforce"),
];

/// Why untagging ended before every tag was done.
enum Halt {
    Failure(Failure),
    Blocked(String),
    Overreach(Vec<AnsweredId>),
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Mark, untag, tell, and delete the image where the policy says so.
    pub(super) async fn enforce(&self, case: &Case<'_>) -> Result<Outcome, Failure> {
        if self.context.health.is_overreached() {
            return Err(Failure::Stopped);
        }
        let Some(manifest) = self.manifest(case).await? else { return Ok(Outcome::Absent) };
        let (repository, quarantine) = (case.repository(), &case.plan.quarantine);
        let tag = || self.registry.tag(repository, &manifest, quarantine);
        if let Tagging::RefusedForGood(reason) = self.ecr(case.job, tag).await? {
            self.count("mark", "refused", 1);
            let reason = format!("the quarantine tag is refused: {reason}");
            return self.blocked(case, Vec::new(), case.plan.untag.clone(), reason).await;
        }
        self.count("mark", "done", 1);
        let (done, halt) = self.untag(case, "untag", &case.plan.untag).await;
        self.finish(case, &manifest, done, halt).await
    }

    /// The image's manifest: what it takes to put a tag on it.
    pub(super) async fn manifest(&self, case: &Case<'_>) -> Result<Option<Manifest>, Failure> {
        let (repository, digest) = (case.repository(), &case.image.digest);
        self.ecr(case.job, || self.registry.manifest(repository, digest)).await
    }

    /// Untags by the hundred until all is done or something stands in the way.
    async fn untag(
        &self,
        case: &Case<'_>,
        action: &'static str,
        tags: &[Tag],
    ) -> (Untagged, Option<Halt>) {
        let (repository, digest) = (case.repository(), &case.image.digest);
        let mut done = Untagged::default();
        for batch in tags.chunks(UNTAG_BATCH) {
            // Checked at every call: another message's over-reach stops this one too.
            if self.context.health.is_overreached() {
                return (done, Some(Halt::Failure(Failure::Stopped)));
            }
            let call = || self.registry.untag(repository, digest, batch);
            let mut now = match self.ecr(case.job, call).await {
                Ok(now) => now,
                Err(failure) => return (done, Some(Halt::Failure(failure))),
            };
            if !now.beyond.is_empty() {
                // Before anything else: from here on this process untags nothing more.
                self.context.health.overreached();
            }
            let looked = self.look_at_unanswered(case, &mut now).await;
            self.count(action, "done", now.gone.len() + now.absent.len());
            self.count(action, "superseded", now.moved.len());
            self.count(action, "failed", now.failed.len());
            let halt = halt(&now).or_else(|| looked.err().map(Halt::Failure));
            done.absorb(now);
            if halt.is_some() {
                return (done, halt);
            }
        }
        (done, None)
    }

    /// Where the answer leaves a tag out, the registry is asked whether it is still there.
    async fn look_at_unanswered(
        &self,
        case: &Case<'_>,
        done: &mut Untagged,
    ) -> Result<(), Failure> {
        if done.unanswered.is_empty() {
            return Ok(());
        }
        let (repository, digest) = (case.repository(), &case.image.digest);
        let image = self.ecr(case.job, || self.registry.image(repository, digest)).await?;
        let now = image.map(|image| image.tags).unwrap_or_default();
        for tag in done.unanswered.drain(..) {
            if now.contains(&tag) {
                let why = TagFailure::Retry("the answer leaves the tag out".to_owned());
                done.failed.push((tag, why));
            } else {
                done.gone.push(tag);
            }
        }
        Ok(())
    }

    /// What follows from what was untagged. Whatever stands in the way, tags that went are told first.
    async fn finish(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
        done: Untagged,
        halt: Option<Halt>,
    ) -> Result<Outcome, Failure> {
        let left = case.plan.untag.iter().filter(|tag| {
            !done.gone.contains(tag) && !done.absent.contains(tag) && !done.moved.contains(tag)
        });
        let left: Vec<_> = left.cloned().collect();
        // A tag that was read a moment ago and is absent now went by an attempt whose answer was lost.
        let gone: Vec<_> = done.gone.into_iter().chain(done.absent).collect();
        let mut tags = self.tags_after(case, gone.clone());
        let nothing_went = tags.untagged.is_empty() && tags.claimed.is_empty();
        match halt {
            Some(Halt::Overreach(beyond)) => {
                self.overreach(case, manifest, gone, left, &beyond).await
            }
            Some(Halt::Blocked(reason)) => self.blocked(case, gone, left, reason).await,
            Some(Halt::Failure(failure)) => {
                if !nothing_went {
                    tags.kept.extend(left);
                    self.tell(self.notice(case, NoticeAction::Quarantined, tags)).await?;
                }
                Err(failure)
            }
            None if nothing_went => Ok(Outcome::Superseded),
            None if case.plan.delete => {
                self.tell(self.notice(case, NoticeAction::Deleted, tags)).await?;
                self.delete_image(case, manifest).await
            }
            None => {
                self.tell(self.notice(case, NoticeAction::Quarantined, tags)).await?;
                Ok(Outcome::Quarantined)
            }
        }
    }

    /// Deletes the image by its quarantine tag, its last one, after the team was told.
    pub(super) async fn delete_image(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
    ) -> Result<Outcome, Failure> {
        let quarantine = std::slice::from_ref(&case.plan.quarantine);
        match self.untag(case, "delete", quarantine).await.1 {
            None => Ok(Outcome::Deleted),
            Some(Halt::Failure(failure)) => Err(failure),
            Some(Halt::Blocked(reason)) => self.blocked(case, Vec::new(), Vec::new(), reason).await,
            Some(Halt::Overreach(beyond)) => {
                self.overreach(case, manifest, Vec::new(), Vec::new(), &beyond).await
            }
        }
    }

    /// The image cannot be acted on, or not further; the team hears of it, and of the tags that are left.
    async fn blocked(
        &self,
        case: &Case<'_>,
        untagged: Vec<Tag>,
        left: Vec<Tag>,
        reason: String,
    ) -> Result<Outcome, Failure> {
        let mut tags = self.tags_after(case, untagged);
        tags.kept.extend(left);
        let mut notice = self.notice(case, NoticeAction::Blocked, tags);
        notice.reasons.push(reason);
        self.tell(notice).await?;
        Ok(Outcome::Blocked)
    }

    pub(super) fn count(&self, action: &'static str, outcome: &'static str, count: usize) {
        self.context.instruments.image_action(action, outcome, "enforce", count);
    }
}

/// What the gravest part of an answer asks for.
fn halt(done: &Untagged) -> Option<Halt> {
    if !done.beyond.is_empty() {
        return Some(Halt::Overreach(done.beyond.clone()));
    }
    let rank = |failure: &TagFailure| match failure {
        TagFailure::Blocked(_) => 0,
        TagFailure::Refused(_) => 1,
        TagFailure::Retry(_) => 2,
    };
    let (tag, gravest) = done.failed.iter().min_by_key(|(_, failure)| rank(failure))?;
    Some(match gravest {
        TagFailure::Blocked(why) => Halt::Blocked(format!("tag {tag}: {why}")),
        TagFailure::Refused(why) => {
            Halt::Failure(Failure::TagsRefused(format!("tag {tag}: {why}")))
        }
        TagFailure::Retry(why) => Halt::Failure(Failure::Incomplete(format!("tag {tag}: {why}"))),
    })
}
