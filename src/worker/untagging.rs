//! The acts that change an image: mark, untag, and putting back what went beyond the request.

use std::time::Duration;

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::assess::{Assessor, Case, joined};
use super::disposition::{Failure, Outcome};
use crate::domain::image::{Digest, Tag};
use crate::domain::untag::{AnsweredId, TagFailure, Untagged};
use crate::notify::{NoticeAction, Notifier};
use crate::registry::{Manifest, Registry, Tagging, UNTAG_BATCH};

/// Every label set of `image_actions_total`: action, outcome, mode.
pub const IMAGE_ACTIONS: [(&str, &str, &str); 10] = [
    ("mark", "done", "enforce"),
    ("mark", "refused", "enforce"),
    ("untag", "done", "enforce"),
    ("untag", "superseded", "enforce"),
    ("untag", "failed", "enforce"),
    ("untag", "planned", "audit"),
    ("delete", "done", "enforce"),
    ("delete", "failed", "enforce"),
    ("put_back", "done", "enforce"),
    ("put_back", "failed", "enforce"),
];

/// Attempts to put back what an over-reach took.
const PUT_BACK_ATTEMPTS: u32 = 6;

/// Why untagging ended before every tag was done.
enum Halt {
    Failure(Failure),
    Blocked(String),
    Overreach(Vec<AnsweredId>),
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// Mark, untag, tell, and delete the image where the policy says so.
    pub(super) async fn enforce(&self, case: &Case<'_>) -> Result<Outcome, Failure> {
        let (repository, digest) = (case.repository(), &case.image.digest);
        if self.context.health.is_overreached() {
            return Err(Failure::Stopped);
        }
        let manifest = self.ecr(repository, || self.registry.manifest(repository, digest)).await?;
        let Some(manifest) = manifest else { return Ok(Outcome::Absent) };
        let quarantine = &case.plan.quarantine;
        let tag = || self.registry.tag(repository, &manifest, quarantine);
        if let Tagging::RefusedForGood(reason) = self.ecr(repository, tag).await? {
            self.count("mark", "refused", 1);
            let reason = format!("the quarantine tag is refused: {reason}");
            return self.blocked(case, Vec::new(), reason).await;
        }
        self.count("mark", "done", 1);
        let (done, halt) = self.untag(case, &case.plan.untag).await;
        self.finish(case, &manifest, done, halt).await
    }

    /// Untags by the hundred until all is done or something stands in the way.
    async fn untag(&self, case: &Case<'_>, tags: &[Tag]) -> (Untagged, Option<Halt>) {
        let (repository, digest) = (case.repository(), &case.image.digest);
        let mut done = Untagged::default();
        for batch in tags.chunks(UNTAG_BATCH) {
            // Checked at every call: another message's over-reach stops this one too.
            if self.context.health.is_overreached() {
                return (done, Some(Halt::Failure(Failure::Stopped)));
            }
            let call = || self.registry.untag(repository, digest, batch);
            let mut now = match self.ecr(repository, call).await {
                Ok(now) => now,
                Err(failure) => return (done, Some(Halt::Failure(failure))),
            };
            if !now.beyond.is_empty() {
                // Before anything else: from here on this process untags nothing more.
                self.context.health.overreached();
            }
            let looked = self.look_at_unanswered(case, &mut now).await;
            self.count("untag", "done", now.gone.len() + now.absent.len());
            self.count("untag", "superseded", now.moved.len());
            self.count("untag", "failed", now.failed.len());
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
        let image = self.ecr(repository, || self.registry.image(repository, digest)).await?;
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
        // A tag that was read a moment ago and is absent now went by an attempt whose answer was lost.
        let gone: Vec<_> = done.gone.into_iter().chain(done.absent).collect();
        let tags = self.tags_after(case, gone.clone());
        let nothing_went = tags.untagged.is_empty() && tags.claimed.is_empty();
        match halt {
            Some(Halt::Overreach(beyond)) => self.overreach(case, manifest, gone, &beyond).await,
            Some(Halt::Blocked(reason)) => self.blocked(case, gone, reason).await,
            Some(Halt::Failure(failure)) => {
                if !nothing_went {
                    let mut notice = self.notice(case, NoticeAction::Quarantined, tags);
                    let left = case.plan.untag.iter().filter(|tag| !gone.contains(tag));
                    notice.tags.kept.extend(left.cloned());
                    self.tell(notice).await?;
                }
                Err(failure)
            }
            None if nothing_went => Ok(Outcome::Superseded),
            None if case.plan.delete => {
                self.tell(self.notice(case, NoticeAction::Deleted, tags)).await?;
                self.delete_image(case).await
            }
            None => {
                self.tell(self.notice(case, NoticeAction::Quarantined, tags)).await?;
                Ok(Outcome::Quarantined)
            }
        }
    }

    /// Deletes the image by its quarantine tag, its last one, after the team was told.
    pub(super) async fn delete_image(&self, case: &Case<'_>) -> Result<Outcome, Failure> {
        if self.context.health.is_overreached() {
            return Err(Failure::Stopped);
        }
        let (repository, digest) = (case.repository(), &case.image.digest);
        let quarantine = std::slice::from_ref(&case.plan.quarantine);
        let call = || self.registry.untag(repository, digest, quarantine);
        let done = self.ecr(repository, call).await?;
        if !done.beyond.is_empty() {
            self.context.health.overreached();
            error!(
                repository = %repository,
                %digest,
                beyond = described(&done.beyond),
                "over-reach: deleting the image took more than its quarantine tag; untagging is stopped until a restart"
            );
        }
        match halt(&done) {
            Some(Halt::Blocked(reason)) => {
                self.count("delete", "failed", 1);
                self.blocked(case, Vec::new(), reason).await
            }
            Some(Halt::Failure(failure)) => {
                self.count("delete", "failed", 1);
                Err(failure)
            }
            Some(Halt::Overreach(_)) | None => {
                self.count("delete", "done", 1);
                Ok(Outcome::Deleted)
            }
        }
    }

    /// The image cannot be acted on, or not further; the team hears of it.
    async fn blocked(
        &self,
        case: &Case<'_>,
        untagged: Vec<Tag>,
        reason: String,
    ) -> Result<Outcome, Failure> {
        let mut tags = self.tags_after(case, untagged);
        let left = case.plan.untag.iter().filter(|tag| !tags.untagged.contains(tag));
        tags.kept.extend(left.cloned());
        let mut notice = self.notice(case, NoticeAction::Blocked, tags);
        notice.reasons.push(reason);
        self.tell(notice).await?;
        Ok(Outcome::Blocked)
    }

    /// The registry took more than was asked for: report it, put it back, tell the team.
    async fn overreach(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
        gone: Vec<Tag>,
        beyond: &[AnsweredId],
    ) -> Result<Outcome, Failure> {
        let repository = case.repository();
        let took = described(beyond);
        error!(
            message_id = case.job.message.id,
            repository = %repository,
            digest = %case.image.digest,
            asked = joined(&case.plan.untag),
            beyond = took,
            // All that is needed to put the image back by hand, should this process not live to do it.
            manifest = manifest.text,
            "over-reach: the registry took more than was asked for; putting it back; untagging is stopped until a restart"
        );
        let mut lost = self.put_back(case, manifest, beyond).await;
        for attempt in 1..PUT_BACK_ATTEMPTS {
            if lost.is_empty() {
                break;
            }
            warn!(repository = %repository, lost = lost.join("; "), attempt, "putting back again");
            sleep(Duration::from_secs(1) * attempt).await;
            lost = self.put_back(case, manifest, beyond).await;
        }
        let mut notice = self.notice(case, NoticeAction::Failed, self.tags_after(case, gone));
        notice.reasons.push(format!("over-reach: the registry also took {took}"));
        if lost.is_empty() {
            self.count("put_back", "done", 1);
            notice.reasons.push("it was put back".to_owned());
        } else {
            self.count("put_back", "failed", 1);
            error!(
                repository = %repository,
                digest = %case.image.digest,
                lost = lost.join("; "),
                "over-reach: could not put back; use the manifest logged before with `aws ecr put-image`"
            );
            notice.reasons.push(format!("could not put back: {}", lost.join("; ")));
        }
        notice.reasons.push("this worker untags nothing more until it is restarted".to_owned());
        self.tell(notice).await?;
        if lost.is_empty() {
            Ok(Outcome::Overreach)
        } else {
            Err(Failure::NotPutBack(lost.join("; ")))
        }
    }

    /// Puts the image back under its quarantine tag, and kept tags that are absent. Says what is still lost.
    async fn put_back(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
        beyond: &[AnsweredId],
    ) -> Vec<String> {
        let mut lost = Vec::new();
        if let Err(why) = self.put_tag(case, manifest, &case.plan.quarantine).await {
            lost.push(why);
        }
        for id in beyond {
            let Some(tag) = id.tag.as_deref().and_then(|tag| Tag::parse(tag).ok()) else {
                continue;
            };
            let result = match id.digest.as_deref().map(Digest::parse) {
                Some(Ok(other)) if other != manifest.digest => {
                    self.put_back_other(case, &other, &tag).await
                }
                _ if case.plan.kept.contains(&tag) => {
                    self.put_if_absent(case, manifest, &tag).await
                }
                _ => Ok(()),
            };
            if let Err(why) = result {
                lost.push(why);
            }
        }
        lost
    }

    /// A tag of another image went: it moved between the last look and a delete by tag alone.
    async fn put_back_other(
        &self,
        case: &Case<'_>,
        digest: &Digest,
        tag: &Tag,
    ) -> Result<(), String> {
        let repository = case.repository();
        let manifest = self.ecr(repository, || self.registry.manifest(repository, digest)).await;
        match manifest.map_err(|failure| format!("{tag}: {failure}"))? {
            Some(manifest) => self.put_if_absent(case, &manifest, tag).await,
            None => Err(format!("{tag}: image {digest} is gone")),
        }
    }

    async fn put_if_absent(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
        tag: &Tag,
    ) -> Result<(), String> {
        let repository = case.repository();
        let now = self.ecr(repository, || self.registry.resolve(repository, tag)).await;
        match now.map_err(|failure| format!("{tag}: {failure}"))? {
            Some(_) => Ok(()),
            None => self.put_tag(case, manifest, tag).await,
        }
    }

    async fn put_tag(&self, case: &Case<'_>, manifest: &Manifest, tag: &Tag) -> Result<(), String> {
        let repository = case.repository();
        match self.ecr(repository, || self.registry.tag(repository, manifest, tag)).await {
            Ok(Tagging::Confirmed) => {
                info!(repository = %repository, digest = %manifest.digest, %tag, "put back");
                Ok(())
            }
            Ok(Tagging::RefusedForGood(reason)) => Err(format!("{tag}: {reason}")),
            Err(failure) => Err(format!("{tag}: {failure}")),
        }
    }

    fn count(&self, action: &'static str, outcome: &'static str, count: usize) {
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

fn described(ids: &[AnsweredId]) -> String {
    let id = |id: &AnsweredId| match (&id.tag, &id.digest) {
        (Some(tag), Some(digest)) => format!("{tag} of {digest}"),
        (Some(tag), None) => tag.clone(),
        (None, Some(digest)) => format!("image {digest}"),
        (None, None) => "an id without tag or digest".to_owned(),
    };
    ids.iter().map(id).collect::<Vec<_>>().join(", ")
}
