//! The words that the formats for people, `text` and `chat`, share.

use std::fmt::Write as _;

use super::Cut;
use crate::domain::findings::{Finding, Package, SeverityCounts};
use crate::domain::notice::NoticeAction;
use crate::domain::text::{is_unseen, start};
use crate::notify::Notice;

/// The maximum number of packages of a finding in one line.
const PACKAGES: usize = 3;

/// Returns what happened, as the start of a sentence about the image.
pub(super) fn headline(notice: &Notice) -> String {
    let untagged = notice.tags.untagged.len() + notice.tags.claimed.len();
    match notice.action {
        NoticeAction::Quarantined if untagged == 0 => "image already quarantined".to_owned(),
        NoticeAction::Quarantined => format!("{} quarantined", tags(untagged)),
        NoticeAction::Deleted => format!("image deleted, {} untagged", tags(untagged)),
        NoticeAction::WouldUntag => {
            format!("audit: {} would be untagged", tags(notice.tags.would_untag.len()))
        }
        NoticeAction::Blocked if untagged > 0 => {
            format!("{} quarantined, others kept", tags(untagged))
        }
        NoticeAction::Blocked => "vulnerable image could not be untagged".to_owned(),
        NoticeAction::Unscanned => "image could not be judged".to_owned(),
        NoticeAction::Failed => "the worker needs attention".to_owned(),
    }
}

fn tags(count: usize) -> String {
    format!("{count} {}", if count == 1 { "tag" } else { "tags" })
}

/// Returns the subject of the mail.
pub(super) fn subject(notice: &Notice) -> String {
    // The type of every part allows only printable ASCII, so only the length has to be checked.
    let mut subject = format!("tagwarden: {}: {}", headline(notice), notice.repository.name);
    if subject.len() > 99 {
        subject.truncate(96);
        subject.push_str("...");
    }
    subject
}

/// Returns what this means for the users of the image.
pub(super) fn meaning(notice: &Notice) -> &'static str {
    match notice.action {
        NoticeAction::Quarantined => {
            "From now on, pulls by these tags fail. Nothing is lost: the quarantine tag keeps the \
             image."
        }
        NoticeAction::Deleted => {
            "From now on, pulls by these tags fail. The image itself is deleted too and cannot be \
             restored."
        }
        NoticeAction::WouldUntag => "Nothing was changed: the policy is in audit mode.",
        NoticeAction::Blocked => {
            "The image exceeds the policy's limits and can still be pulled by the tags that are \
             kept."
        }
        NoticeAction::Unscanned => {
            "Nothing was changed. Whether the image is vulnerable is not known."
        }
        NoticeAction::Failed => {
            "Something happened that should never happen. Somebody has to look at it now."
        }
    }
}

/// Returns what people should do about it.
pub(super) fn next_step(notice: &Notice) -> &'static str {
    match notice.action {
        NoticeAction::Quarantined | NoticeAction::Deleted => {
            "Rebuild the image with fixed packages and push it again."
        }
        NoticeAction::WouldUntag => {
            "Rebuild the image with fixed packages before the policy is enforced."
        }
        NoticeAction::Blocked => {
            "Rebuild the image with fixed packages, and resolve the blocker or remove the tags by \
             hand."
        }
        NoticeAction::Unscanned => "Find out why the image has no usable scan.",
        NoticeAction::Failed => "Read the worker's log and compare the tags in the registry.",
    }
}

/// Returns the worst of the findings that count.
pub(super) fn worst(notice: &Notice) -> &[Finding] {
    notice.evaluation.as_ref().map(|evaluation| evaluation.worst.as_slice()).unwrap_or_default()
}

/// Returns how many findings of which severities count besides the first `named` of the worst.
pub(super) fn unnamed(notice: &Notice, named: usize) -> Option<String> {
    let counted = &notice.evaluation.as_ref()?.counted;
    let named = worst(notice).get(..named).unwrap_or_else(|| worst(notice));
    let rest: SeverityCounts = counted
        .iter()
        .map(|(severity, count)| {
            let named = named.iter().filter(|finding| finding.severity == severity).count();
            (severity, count.saturating_sub(named as u64))
        })
        .collect();
    let words = counts(&rest);
    (!words.is_empty()).then(|| format!("and more that count: {words}"))
}

/// Returns a list for a sentence, with the number of items that are left out.
pub(super) fn enumerated<T>(
    items: &[T],
    most: usize,
    between: &str,
    show: impl Fn(&T) -> String,
) -> String {
    let shown = items.iter().take(most).map(show).collect::<Vec<_>>().join(between);
    match items.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Returns one line for each group of tags.
pub(super) fn tag_lines(
    notice: &Notice,
    most: usize,
    show: impl Fn(&str) -> String,
) -> Vec<(&'static str, String)> {
    let tags = &notice.tags;
    let mut lines = Vec::new();
    for (label, list) in [
        ("Untagged", &tags.untagged),
        ("Already gone", &tags.claimed),
        ("Would be untagged", &tags.would_untag),
        ("Kept", &tags.kept),
    ] {
        if !list.is_empty() {
            lines.push((label, enumerated(list, most, ", ", |tag| show(tag.as_str()))));
        }
    }
    if let Some(quarantine) = &tags.quarantine
        && notice.action != NoticeAction::Deleted
    {
        lines.push(("Quarantined as", show(quarantine.as_str())));
    }
    lines
}

/// Returns the numbers of findings by severity, without zeros.
pub(super) fn counts(counts: &SeverityCounts) -> String {
    let counts: Vec<_> = counts
        .iter()
        .filter(|&(_, count)| count > 0)
        .map(|(severity, count)| format!("{severity} {count}"))
        .collect();
    counts.join(", ")
}

/// Returns all findings, and those that count if they are fewer.
pub(super) fn counts_line(notice: &Notice) -> Option<String> {
    let all = counts(&notice.counts);
    let counted = notice.evaluation.as_ref().map(|evaluation| counts(&evaluation.counted));
    match counted {
        Some(counted) if counted != all && !counted.is_empty() => {
            Some(format!("{all}; counted: {counted}"))
        }
        _ => (!all.is_empty()).then_some(all),
    }
}

/// Returns the reasons in groups, each with the label that says what it explains.
pub(super) fn reasons(notice: &Notice) -> Vec<(&'static str, Vec<&String>)> {
    let (limits, notes) = notice.evaluation.as_ref().map_or((&[][..], &[][..]), |evaluation| {
        (evaluation.reasons.as_slice(), evaluation.notes.as_slice())
    });
    let other = match notice.action {
        NoticeAction::Failed => "What happened",
        NoticeAction::Blocked => "Blocked by",
        _ => "Because",
    };
    let label = |reason| match reason {
        reason if notes.contains(reason) => "Set aside",
        reason if limits.contains(reason) => "Because",
        _ => other,
    };
    let under = |word| {
        let group: Vec<_> = notice.reasons.iter().filter(|reason| label(reason) == word).collect();
        (word, group)
    };
    let groups = ["What happened", "Because", "Set aside", "Blocked by"].map(under);
    groups.into_iter().filter(|(_, group)| !group.is_empty()).collect()
}

/// Returns a finding in one line; `show` prepares the texts of scanners and packages.
pub(super) fn finding_line(
    finding: &Finding,
    cut: Cut,
    show: impl Fn(&str, usize) -> String,
) -> String {
    let show = |text: &str| show(text, cut.chars);
    let mut line = format!("{} {}", finding.severity.as_word(), show(&finding.id));
    if let Some(score) = finding.score {
        let _ = write!(line, " ({score})");
    }
    let package = |package: &Package| {
        let mut words = show(&package.name);
        if let Some(installed) = &package.installed {
            let _ = write!(words, " {}", show(installed));
        }
        if let Some(fixed) = &package.fixed {
            let _ = write!(words, " (fixed in {})", show(fixed));
        }
        words
    };
    if !finding.packages.is_empty() {
        let packages = enumerated(&finding.packages, cut.items.min(PACKAGES), ", ", package);
        let _ = write!(line, " in {packages}");
    }
    line
}

/// Returns the start of a text in one line. Control characters, and characters that change the
/// order or the visibility of others, become spaces.
pub(super) fn plain(text: &str, most: usize) -> String {
    start(text, most).chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect()
}

/// Returns the text with a capital at the start.
pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
