//! The first paragraph of a notice, for readers who have never heard of tagwarden: what happened,
//! why, what still works, what to do, how to get the tags back.

use super::answer;
use super::fixes::{Fix, fixes};
use super::words::{Reasons, Style, enumerated, is_before_removal, named, removed};
use crate::domain::evaluation::Exceeded;
use crate::domain::names::Tag;
use crate::domain::notice::NoticeAction;
use crate::notify::undo::{Undo, explain_command};
use crate::notify::{Notice, WayBack};

/// The maximum number of tags in a sentence.
const TAGS: usize = 3;
/// The maximum number of reasons in a line.
const REASONS: usize = 5;
/// Why images are acted on, in words.
const BECAUSE: &str = "vulnerabilities that this registry's policy does not allow";

/// Returns what happened, in sentences.
pub(super) fn what(notice: &Notice, style: Style) -> String {
    let (image, number) = image(notice, style);
    let (was, has, the_tags) = match number {
        0 | 1 => ("was", "has", "the tag"),
        _ => ("were", "have", "the tags"),
    };
    let is_removed = removed(notice).next().is_some();
    match notice.action {
        NoticeAction::Quarantined if !is_removed => format!(
            "{image} is quarantined: tagwarden removed its tags, because it has {BECAUSE}. The \
             image itself is kept."
        ),
        NoticeAction::Quarantined => format!(
            "{image} {was} quarantined: tagwarden removed {the_tags}, because the image has \
             {BECAUSE}. The image itself is kept."
        ),
        NoticeAction::Deleted => format!(
            "{image} {was} deleted: tagwarden deleted the image with all its tags, because it has \
             {BECAUSE}. It cannot be restored."
        ),
        NoticeAction::WouldUntag => format!(
            "Nothing was changed yet. {image} would be quarantined if the policy were enforced: \
             tagwarden would remove {the_tags}, because the image has {BECAUSE}."
        ),
        NoticeAction::Blocked if is_removed => format!(
            "{image} {was} quarantined: tagwarden removed {the_tags}, because the image has \
             {BECAUSE}. Its other tags are kept."
        ),
        NoticeAction::Blocked if is_before_removal(notice) => format!(
            "{image} {has} {BECAUSE}. tagwarden removes {the_tags} next, and the repository has no \
             room for a record of that: keep this notice, because it is the only list."
        ),
        NoticeAction::Blocked if notice.evaluation.is_some() => {
            format!("{image} {has} {BECAUSE}, and can still be pulled: tagwarden removed nothing.")
        }
        NoticeAction::Blocked => format!(
            "{image} could not be checked as a whole, so nobody knows whether the image is vulnerable. \
             Nothing was changed."
        ),
        NoticeAction::Unscanned => format!(
            "{image} {was} not checked, so nobody knows whether the image is vulnerable. Nothing was \
             changed."
        ),
        NoticeAction::Failed => format!(
            "tagwarden removed tags of {image}, and the registry removed more than it was asked \
             to. That should never happen: somebody has to look at it now."
        ),
        NoticeAction::Restored => match &notice.answer {
            Some(answer) => answer::done(answer, &image, (was, the_tags)),
            None => format!("{image} {was} restored at somebody's request."),
        },
        NoticeAction::Refused => format!(
            "Somebody asked tagwarden to restore {image} or to change its hold, and it refused. No \
             tag was given back."
        ),
    }
}

/// Returns the name of the image, and the number of its tags that the notice is about.
fn image(notice: &Notice, style: Style) -> (String, usize) {
    let repository = notice.repository.name.as_str();
    let tags = named(notice);
    let most = style.cut.items.min(TAGS);
    let tag = |tag: &&Tag| (style.name)(&format!("{repository}:{tag}"));
    let image = match tags.as_slice() {
        [] => (style.name)(&format!("{repository}@{}", notice.digest)),
        [first @ .., last] if !first.is_empty() && tags.len() <= most => {
            format!("{} and {}", enumerated(first, most, ", ", tag), tag(last))
        }
        tags => enumerated(tags, most, ", ", tag),
    };
    (image, tags.len())
}

/// Returns why, with labels: the answer to a request, the limits that are exceeded, else what the
/// notice gives as its reasons.
pub(super) fn reasons(notice: &Notice, style: Style) -> Vec<(&'static str, String)> {
    if notice.action == NoticeAction::Failed {
        return Vec::new();
    }
    let found = found(notice, style);
    let Some(answer) = &notice.answer else {
        let why = found.or_else(|| others(notice, style));
        return why.into_iter().map(|why| ("Why", why)).collect();
    };
    let mut lines = answer::lines(answer, style);
    lines.extend(found.map(|found| ("Found in it", found)));
    lines
}

/// Returns the limits that are exceeded, and by which image and rule.
fn found(notice: &Notice, style: Style) -> Option<String> {
    let reasons = Reasons::of(notice);
    let exceeded = notice.evaluation.iter().flat_map(|evaluation| &evaluation.exceeded);
    let mut words: Vec<_> = exceeded.copied().map(limit).collect();
    if words.is_empty() {
        let limits = reasons.limits.iter().take(style.cut.items.min(REASONS));
        words = limits.map(|reason| style.text(reason)).collect();
    }
    if words.is_empty() {
        return None;
    }
    let mut why = words.join(", ");
    if let Some(cause) = &notice.cause {
        let platform = cause.platform.as_deref().map(|platform| style.text(platform));
        let platform = platform.unwrap_or_else(|| "one platform".to_owned());
        why += &format!(", in its image for {platform}");
    }
    match &notice.evaluation {
        Some(evaluation) if evaluation.rule != "base" => {
            why += &format!(", by the policy's rule {}", style.text(&evaluation.rule));
        }
        _ => {}
    }
    Some(why)
}

fn limit(Exceeded { severity, count, limit }: Exceeded) -> String {
    let noun = if count == 1 { "vulnerability" } else { "vulnerabilities" };
    format!("{count} {severity} {noun} ({limit} allowed)")
}

/// Returns what keeps the tags, or what else there is to know, unless [`reasons`] has it.
pub(super) fn kept_because(notice: &Notice, style: Style) -> Option<String> {
    let is_why = notice.action != NoticeAction::Failed
        && notice.answer.is_none()
        && Reasons::of(notice).limits.is_empty()
        && notice.evaluation.as_ref().is_none_or(|evaluation| evaluation.exceeded.is_empty());
    if is_why { None } else { others(notice, style) }
}

fn others(notice: &Notice, style: Style) -> Option<String> {
    let mut others = Reasons::of(notice).others;
    if let Some(refusal) = notice.answer.as_ref().and_then(|answer| answer.refusal.as_ref()) {
        others.retain(|reason| **reason != refusal.reason);
    }
    let most = style.cut.items.min(REASONS);
    let words = enumerated(&others, most, "; ", |reason| style.text(reason));
    (!words.is_empty()).then_some(words)
}

/// Returns the label of [`kept_because`].
pub(super) fn kept_label(notice: &Notice) -> &'static str {
    match notice.action {
        NoticeAction::Failed => "What happened",
        NoticeAction::Blocked if !is_before_removal(notice) => "Kept because",
        _ => "Note",
    }
}

/// Returns the command that says more about why, unless the notice says that tags are back.
pub(super) fn explain(notice: &Notice) -> Option<String> {
    explain_command(notice).filter(|_| notice.action != NoticeAction::Restored)
}

/// Returns what still works after tags were removed. If [`pull`] has a name, it comes next.
pub(super) fn works(notice: &Notice) -> Option<&'static str> {
    match notice.action {
        NoticeAction::Deleted => {
            Some("running containers go on. The image cannot be pulled any more.")
        }
        _ => pull(notice).map(|_| {
            "running containers go on. A new pull by a removed tag fails, a pull by digest works:"
        }),
    }
}

/// Returns the name by which the image can still be pulled, if tags were removed.
pub(super) fn pull(notice: &Notice) -> Option<String> {
    let is_removed = match notice.action {
        NoticeAction::Quarantined => true,
        NoticeAction::Blocked => removed(notice).next().is_some(),
        _ => false,
    };
    is_removed.then(|| notice.repository.pull_name(&notice.digest))
}

/// Returns the packages to update.
pub(super) fn updates(notice: &Notice) -> Vec<Fix<'_>> {
    if notice.action == NoticeAction::Failed { Vec::new() } else { fixes(notice) }
}

/// Returns what people should do.
pub(super) fn next_step(notice: &Notice) -> &'static str {
    match notice.action {
        NoticeAction::Quarantined | NoticeAction::Deleted => {
            "Rebuild the image with fixed packages and push it again."
        }
        NoticeAction::WouldUntag => {
            "Rebuild the image with fixed packages and push it before the policy is enforced."
        }
        NoticeAction::Blocked if notice.evaluation.is_some() => {
            "Rebuild the image with fixed packages and push it again, and take the vulnerable one \
             out of use."
        }
        NoticeAction::Blocked | NoticeAction::Unscanned => {
            "Find out why the image cannot be checked, or push one that can."
        }
        NoticeAction::Restored | NoticeAction::Refused => {
            notice.answer.as_deref().map_or("Nothing.", answer::next_step)
        }
        NoticeAction::Failed => {
            "Compare the tags in the registry with the worker's log, and restart the worker when \
             the cause is known."
        }
    }
}

/// How tags can be put back.
#[derive(Debug)]
pub(super) struct Back {
    /// The way in words.
    pub(super) words: String,
    /// The command, which comes next.
    pub(super) command: Option<String>,
    /// What there is to know about the command.
    pub(super) after: Option<&'static str>,
}

/// Returns how the tags can be put back, if there are any to put back.
pub(super) fn back(notice: &Notice) -> Option<Back> {
    let Undo { way, command, page, .. } = Undo::of(notice)?;
    let by_hand = |rest: &str| {
        format!(
            "the tags can be put back by hand, see \"Give tags back\" in tagwarden's \
             documentation: {page}{rest}"
        )
    };
    let words = match way {
        WayBack::Restore { longest_hold: Some(_) } => format!(
            "for a limited time, by the command below with your reason and name, if you may ask \
             for it; for longer, by an exception, see {page}"
        ),
        WayBack::Restore { longest_hold: None } => format!(
            "by the command below, if you may ask for it, once the image is within the policy. An \
             exception does that, see {page}"
        ),
        WayBack::ByHand => by_hand(""),
        WayBack::RecordsOff => by_hand(
            ". Keep this notice: only it and the audit log list these tags, because \
             registry.records is off.",
        ),
        WayBack::NoRoom => by_hand(
            ". Keep this notice: only it and the audit log list these tags, because the \
             repository has no room for a record of them.",
        ),
    };
    let has_hold = matches!(way, WayBack::Restore { longest_hold: Some(_) });
    let after = "Once the image is within the policy, leave out --until, --reason and --owner.";
    Some(Back { words, command, after: has_hold.then_some(after) })
}
