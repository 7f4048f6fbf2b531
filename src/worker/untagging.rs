//! The acts that change an image: mark, untag, and delete.

use super::allowance::{Admission, Deferral, Grant};
use tracing::info;

use super::assess::{Assessor, Case, joined};
use super::outcome::{Failure, Outcome};
use crate::aws::ErrorClass;
use crate::domain::image::Tag;
use crate::domain::notice::NoticeAction;
use crate::domain::plan::Plan;
use crate::domain::untag::{AnsweredId, TagFailure, Untagged};
use crate::notify::{NoticeTags, Notifier};
use crate::registry::{Manifest, Markable, Registry, TOO_LARGE, Tagging, UNTAG_BATCH};
use crate::telemetry::logs::AUDIT;

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

/// What marking and untagging an image came to.
enum Acted {
    /// The image is gone.
    Absent,
    /// It cannot be marked, and why. Nothing was untagged.
    Unmarked(String),
    /// It is marked.
    Marked(Box<Marked>),
}

/// What untagging a marked image came to.
struct Marked {
    manifest: Manifest,
    /// With the mark that the image bears.
    plan: Plan,
    /// What went.
    done: Untagged,
    /// What stood in the way of more.
    halt: Option<Halt>,
}

/// What marking an image came to.
enum Marking {
    /// It bears this mark; its manifest.
    Done(Manifest, Tag),
    /// It cannot be marked, and why.
    Refused(String),
    /// It is gone.
    Absent,
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// The same as [`Self::enforce`], as far as the limits of this hour let it.
    pub(super) async fn enforce_within_limits(&self, case: &Case<'_>) -> Result<Outcome, Failure> {
        let mut left = case.plan.untag.as_slice();
        let deferral = loop {
            let grant =
                match self.allowance.admit(case.repository(), &case.image.digest, left.len()) {
                    Admission::Now(grant) => grant,
                    Admission::Later(deferral) => break deferral,
                };
            let (now, rest) = left.split_at(grant.left().min(left.len()));
            let plan = Plan {
                untag: now.to_vec(),
                kept: case.plan.kept.iter().chain(rest).cloned().collect(),
                delete: case.plan.delete && rest.is_empty(),
                ..case.plan.clone()
            };
            match self.enforce(&Case { plan: &plan, ..*case }, grant).await? {
                outcome if rest.is_empty() => return Ok(outcome),
                Outcome::Quarantined | Outcome::Superseded => left = rest,
                // The rest is for the next process.
                Outcome::Overreach => return Err(Failure::Stopped),
                outcome => return Ok(outcome),
            }
        };
        info!(
            target: AUDIT,
            digest = %case.image.digest,
            kept = joined(left),
            reasons = deferral.reason,
            again_in_seconds = deferral.again.as_secs(),
            "put off"
        );
        if deferral.news {
            let kept = case.plan.kept.iter().chain(left).cloned().collect();
            let tags = NoticeTags { kept, ..NoticeTags::default() };
            let mut notice = self.notice(case, NoticeAction::Blocked, tags);
            let until = self.context.clock.now() + deferral.again;
            notice.reasons.push(format!(
                "{}: this image waits until {}, and others like it wait too; this is told once an hour",
                deferral.reason,
                humantime::format_rfc3339_seconds(until)
            ));
            if let Err(failure) = self.tell(notice).await {
                self.allowance.not_told(case.repository(), &deferral);
                return Err(failure);
            }
        }
        let Deferral { reason, again, .. } = deferral;
        Err(Failure::Limited { reason, again })
    }

    /// Mark, untag, tell, and delete the image where the policy says so.
    async fn enforce(&self, case: &Case<'_>, grant: Grant<'_>) -> Result<Outcome, Failure> {
        match self.mark_and_untag(case, grant).await? {
            Acted::Absent => Ok(Outcome::Absent),
            Acted::Unmarked(reason) => {
                self.blocked(case, Vec::new(), case.plan.untag.clone(), reason).await
            }
            Acted::Marked(marked) => {
                let Marked { manifest, plan, done, halt } = *marked;
                self.finish(&Case { plan: &plan, ..*case }, &manifest, done, halt).await
            }
        }
    }

    #[tracing::instrument(name = "act", skip_all, fields(digest = %case.image.digest))]
    async fn mark_and_untag(
        &self,
        case: &Case<'_>,
        mut grant: Grant<'_>,
    ) -> Result<Acted, Failure> {
        let (manifest, quarantine) = match self.mark(case).await? {
            Marking::Done(manifest, quarantine) => (manifest, quarantine),
            Marking::Refused(reason) => return Ok(Acted::Unmarked(reason)),
            Marking::Absent => return Ok(Acted::Absent),
        };
        let plan = Plan { quarantine, ..case.plan.clone() };
        if let Some(reason) = self.mark_in_replicas(&Case { plan: &plan, ..*case }).await? {
            let (done, halt) = (Untagged::default(), Some(Halt::Blocked(reason)));
            return Ok(Acted::Marked(Box::new(Marked { manifest, plan, done, halt })));
        }
        let (done, halt) = self.untag(case, "untag", &plan.untag, Some(&mut grant)).await;
        Ok(Acted::Marked(Box::new(Marked { manifest, plan, done, halt })))
    }

    /// Sees to it that the image bears a quarantine tag of its own, without taking one off another image. ECR has no
    /// compare for PutImage: in a repository with mutable tags, one that somebody puts on another image between the look
    /// and the PutImage is moved.
    async fn mark(&self, case: &Case<'_>) -> Result<Marking, Failure> {
        if self.context.health.is_overreached() {
            return Err(Failure::Stopped);
        }
        let (repository, digest) = (case.repository(), &case.image.digest);
        let read = self.ecr(case.job, || self.registry.markable(repository, digest)).await;
        let read = match read {
            Err(Failure::Rejected(error)) if error.is(TOO_LARGE) => {
                self.count("mark", "refused", 1);
                return Ok(Marking::Refused(error.to_string()));
            }
            read => read?,
        };
        let Some(Markable { manifest, marks }) = read else { return Ok(Marking::Absent) };
        if let Some(own) = marks.own() {
            self.count("mark", "done", 1);
            return Ok(Marking::Done(manifest, own.clone()));
        }
        for mark in marks.free() {
            let tag = || self.registry.tag(repository, &manifest, mark);
            match self.ecr(case.job, tag).await? {
                Tagging::Confirmed => {
                    if *mark != case.plan.quarantine {
                        info!(
                            target: AUDIT,
                            repository = %repository.name,
                            %digest,
                            quarantine = %mark,
                            "another image bears the first quarantine tag: marked by another"
                        );
                    }
                    self.count("mark", "done", 1);
                    return Ok(Marking::Done(manifest, mark.clone()));
                }
                // Taken by somebody since the look.
                Tagging::Taken(_) => {}
                Tagging::RefusedForGood(reason) => {
                    self.count("mark", "refused", 1);
                    return Ok(Marking::Refused(format!(
                        "the quarantine tag is refused: {reason}"
                    )));
                }
            }
        }
        self.count("mark", "refused", 1);
        Ok(Marking::Refused(format!(
            "every quarantine tag of the image, {0} and {0}.1 to {0}.9, is on another image: take one of them off there",
            Tag::quarantine(digest)
        )))
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
        mut grant: Option<&mut Grant<'_>>,
    ) -> (Untagged, Option<Halt>) {
        let (repository, digest) = (case.repository(), &case.image.digest);
        let mut done = Untagged::default();
        for batch in tags.chunks(UNTAG_BATCH) {
            // Checked at every call: another message's over-reach stops this one too.
            if self.context.health.is_overreached() {
                return (done, Some(Halt::Failure(Failure::Stopped)));
            }
            if let Some(grant) = &mut grant {
                grant.spend(batch.len());
            }
            let call = || self.registry.untag(repository, digest, batch);
            let mut now = match self.ecr(case.job, call).await {
                Ok(now) => now,
                Err(failure) => {
                    if let Some(grant) = grant.filter(|_| !may_have_acted(&failure)) {
                        grant.give_back(batch.len());
                    }
                    return (done, Some(Halt::Failure(failure)));
                }
            };
            if !now.beyond.is_empty() {
                // Before anything else: from here on this process untags nothing more.
                self.context.health.overreached();
            }
            let looked = self.look_at_unanswered(case, &mut now).await;
            if let Some(grant) = &mut grant {
                grant.give_back(now.moved.len() + now.failed.len());
            }
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

    /// Deletes the image by its quarantine tag, its last one, after the team was told. Where it bears several, they go
    /// together.
    pub(super) async fn delete_image(
        &self,
        case: &Case<'_>,
        manifest: &Manifest,
    ) -> Result<Outcome, Failure> {
        let (image, mark) = (case.image, &case.plan.quarantine);
        let others = image.tags.iter().filter(|tag| tag.is_quarantine_of(&image.digest));
        let others = others.filter(|tag| *tag != mark);
        let marks: Vec<_> = others.chain([mark]).cloned().collect();
        match self.untag(case, "delete", &marks, None).await.1 {
            None => {
                info!(target: AUDIT, digest = %case.image.digest, "image deleted");
                Ok(Outcome::Deleted)
            }
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

/// Whether a call that failed like this may have done its work all the same.
fn may_have_acted(failure: &Failure) -> bool {
    let Failure::Transient(error) = failure else { return false };
    matches!(error.class, ErrorClass::Timeout | ErrorClass::Connection | ErrorClass::Unavailable)
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
