//! Builds the notices about an image.

use crate::domain::evaluation::Evaluation;
use crate::domain::findings::SeverityCounts;
use crate::domain::names::{Digest, Tag};
use crate::domain::notice::NoticeAction;
use crate::enforce::Target;
use crate::inspect::{Request, TOO_MANY};
use crate::notify::{Notice, NoticeTags, WayBack, notice_id};

/// Returns a notice about an image of which only the digest is known.
#[must_use]
pub(crate) fn blank_notice(request: &Request, digest: &Digest, action: NoticeAction) -> Notice {
    let repository = &request.repository;
    Notice {
        id: notice_id(repository, digest, &request.event_id),
        action,
        mode: request.settings().mode,
        policy: request.policy.fingerprint().clone(),
        repository: repository.clone(),
        digest: digest.clone(),
        media_type: None,
        cause: None,
        tags: NoticeTags::default(),
        way_back: WayBack::default(),
        answer: None,
        counts: SeverityCounts::default(),
        reasons: Vec::new(),
        evaluation: None,
        event: request.origin.clone(),
        event_id: request.event_id.clone(),
    }
}

/// Returns a notice about a violating image, whose removed tags can be given back in this way.
pub(super) fn notice(
    target: Target<'_>,
    action: NoticeAction,
    tags: NoticeTags,
    way_back: WayBack,
) -> Notice {
    let Target { request, violation, plan } = target;
    let Evaluation { reasons, notes, .. } = &violation.evaluation;
    let mut reasons: Vec<_> = reasons.iter().chain(notes).cloned().collect();
    let is_removal = matches!(action, NoticeAction::Quarantined | NoticeAction::Deleted);
    if is_removal && tags.untagged.is_empty() && tags.claimed.is_empty() {
        // Nothing says which tags the index had: the event is about an image in it.
        reasons.push(
            "its tags were removed by an attempt that could not notify you; the audit log of that \
             attempt names them"
                .to_owned(),
        );
    }
    let is_acted_on = is_removal || !tags.untagged.is_empty();
    if is_acted_on && plan.records.as_ref().is_some_and(|records| records.is_cut) {
        reasons.push(TOO_MANY.to_owned());
    }
    if is_acted_on && way_back == WayBack::RecordsOff {
        reasons.push("nothing is recorded on the image (registry.records is off)".to_owned());
    }
    Notice {
        tags,
        way_back,
        cause: violation.cause.clone(),
        counts: violation.counts.clone(),
        reasons,
        evaluation: Some(violation.evaluation.clone()),
        media_type: violation.image.media_type.clone(),
        ..blank_notice(request, &violation.image.digest, action)
    }
}

/// Returns the tags for a notice about a marked image from which this pass removed `untagged`.
///
/// `left_to_notify` are tags that it lost before and of which nobody was notified.
pub(super) fn tags_after(
    target: Target<'_>,
    untagged: Vec<Tag>,
    left_to_notify: Vec<Tag>,
) -> NoticeTags {
    let Target { request, violation, plan } = target;
    let image = &violation.image;
    // Only an earlier delivery of ours can have removed tags of an image that bears our mark.
    let is_ours = request.attempt.is_repeated() && plan.marked;
    // The event's tags are those of its own image, not of an index that holds it. Without a digest
    // they may be those of several images.
    let is_its_own = request.digest.as_ref().is_some_and(|digest| *digest == image.digest);
    let claimed = request.tags.iter().filter(|tag| {
        is_ours
            && is_its_own
            && !image.tags.contains(tag)
            && !tag.is_quarantine_of(&image.digest)
            && request.settings().keeps(tag).is_none()
    });
    let mut claimed: Vec<_> = claimed.cloned().collect();
    for tag in left_to_notify {
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
