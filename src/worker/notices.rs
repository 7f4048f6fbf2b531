//! What is told of an image that was judged.

use super::assess::{Assessor, Case, Job};
use crate::domain::findings::SeverityCounts;
use crate::domain::image::{Digest, Tag};
use crate::domain::judgement::Judgement;
use crate::domain::notice::NoticeAction;
use crate::notify::{Notice, NoticeTags, Notifier, notice_id};
use crate::registry::Registry;

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// The tags of a notice about a marked image, after these went.
    pub(super) fn tags_after(&self, case: &Case<'_>, untagged: Vec<Tag>) -> NoticeTags {
        let Case { job, image, plan, .. } = case;
        // Only an earlier delivery of ours takes tags off an image with our mark in our name.
        let ours = job.is_redelivered() && plan.marked;
        // The event's tags are those of its own image, not of an index that holds it. Without a digest they may be those
        // of several images.
        let its = job.event.digest.as_ref().is_some_and(|digest| *digest == image.digest);
        let terms = self.terms(*job);
        let claimed = job.event.tags.iter().filter(|tag| {
            ours && its
                && !image.tags.contains(tag)
                && !tag.is_quarantine_of(&image.digest)
                && terms.keeps(tag).is_none()
        });
        let mut claimed: Vec<_> = claimed.cloned().collect();
        for tag in self.told.left_to_tell(case.repository(), &image.digest) {
            if !claimed.contains(&tag) && !untagged.contains(&tag) && !image.tags.contains(&tag) {
                claimed.push(tag);
            }
        }
        NoticeTags {
            untagged,
            claimed,
            kept: plan.kept.clone(),
            would_untag: Vec::new(),
            quarantine: Some(plan.quarantine.clone()),
        }
    }

    /// A notice about an image of which nothing is known but its digest.
    pub(super) fn blank_notice(
        &self,
        job: Job<'_>,
        digest: &Digest,
        action: NoticeAction,
    ) -> Notice {
        let repository = &job.event.repository;
        Notice {
            id: notice_id(repository, digest, job.event_id()),
            action,
            mode: self.terms(job).mode,
            repository: repository.clone(),
            digest: digest.clone(),
            media_type: None,
            cause: None,
            tags: NoticeTags::default(),
            counts: SeverityCounts::default(),
            reasons: Vec::new(),
            judgement: None,
            event: job.event.origin.clone(),
            event_id: job.event_id().to_owned(),
        }
    }

    pub(super) fn notice(&self, case: &Case<'_>, action: NoticeAction, tags: NoticeTags) -> Notice {
        let Judgement { reasons, notes, .. } = case.judgement;
        let mut reasons: Vec<_> = reasons.iter().chain(notes).cloned().collect();
        let acted = matches!(action, NoticeAction::Quarantined | NoticeAction::Deleted);
        if acted && tags.untagged.is_empty() && tags.claimed.is_empty() {
            // The image does not say, and the event is about one that an index holds.
            reasons.push(
                "its tags went in an attempt that could not tell; the audit log of that attempt names them".to_owned(),
            );
        }
        Notice {
            tags,
            cause: case.cause.cloned(),
            counts: case.counts.clone(),
            reasons,
            judgement: Some(case.judgement.clone()),
            media_type: case.image.media_type.clone(),
            ..self.blank_notice(case.job, &case.image.digest, action)
        }
    }
}
