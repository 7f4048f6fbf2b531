//! The words that the subject and the formats for people, `text` and `chat`, share.

use std::fmt::Write as _;

use super::Cut;
use crate::domain::findings::{Finding, Package, SeverityCounts};
use crate::domain::names::Tag;
use crate::domain::notice::NoticeAction;
use crate::domain::text::{is_unseen, start};
use crate::notify::{Notice, WayBack};

/// The maximum number of packages of a finding in one line.
const PACKAGES: usize = 3;

/// How a format shows what is not its own words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// The amount that is shown.
    pub(super) cut: Cut,
    /// Shows the text of a scanner or of AWS, cut to this length.
    pub(super) text: fn(&str, usize) -> String,
    /// Shows a name of an image, whose alphabet is harmless.
    pub(super) name: fn(&str) -> String,
}

impl Style {
    /// Shows the text of a scanner or of AWS.
    pub(super) fn text(self, text: &str) -> String {
        (self.text)(text, self.cut.chars)
    }
}

/// Returns whether the tags are removed next, without a record of them.
pub(super) fn is_before_removal(notice: &Notice) -> bool {
    notice.action == NoticeAction::Blocked
        && notice.way_back == WayBack::NoRoom
        && removed(notice).next().is_none()
}

/// Returns the tags that were removed, now or by an earlier pass.
pub(super) fn removed(notice: &Notice) -> impl Iterator<Item = &Tag> {
    notice.tags.untagged.iter().chain(&notice.tags.claimed)
}

/// Returns the tags that the notice is about: those of a request, else those that were removed,
/// else those that would be, else all of the image.
pub(super) fn named(notice: &Notice) -> Vec<&Tag> {
    if let Some(answer) = &notice.answer {
        return answer.named();
    }
    let is_removed = removed(notice).next().is_some();
    let is_planned = !notice.tags.would_untag.is_empty();
    let planned = notice.tags.would_untag.iter().filter(move |_| !is_removed);
    let kept = notice.tags.kept.iter().filter(move |_| !is_removed && !is_planned);
    let of_image = notice.action != NoticeAction::Quarantined;
    removed(notice).chain(planned).chain(kept.filter(move |_| of_image)).collect()
}

/// Returns the worst of the findings that exceed a limit, worst first.
pub(super) fn counting(notice: &Notice) -> impl Iterator<Item = &Finding> {
    notice.evaluation.iter().flat_map(|evaluation| {
        let is_exceeded = |finding: &&Finding| {
            evaluation.exceeded.iter().any(|limit| limit.severity == finding.severity)
        };
        evaluation.worst.iter().filter(is_exceeded)
    })
}

/// Returns how many findings exceed a limit besides the first `named` of [`counting`].
pub(super) fn unnamed(notice: &Notice, named: usize) -> SeverityCounts {
    let exceeded = notice.evaluation.iter().flat_map(|evaluation| &evaluation.exceeded);
    let all: SeverityCounts = exceeded.map(|limit| (limit.severity, limit.count)).collect();
    all.without(&counting(notice).take(named).map(|finding| (finding.severity, 1)).collect())
}

/// Returns the number of findings of all severities.
pub(super) fn total(counts: &SeverityCounts) -> u64 {
    counts.iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
}

/// Returns the numbers of findings by severity, without zeros.
pub(super) fn counts(counts: &SeverityCounts) -> String {
    let counts: Vec<_> = counts
        .iter()
        .filter(|&(_, count)| count > 0)
        .map(|(severity, count)| format!("{count} {severity}"))
        .collect();
    counts.join(", ")
}

/// Returns the line about the findings that exceed a limit and are not among the first `named`.
pub(super) fn and_more(notice: &Notice, named: usize) -> Option<String> {
    let rest = unnamed(notice, named);
    let total = total(&rest);
    (total > 0).then(|| format!("and {total} more: {}", counts(&rest)))
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
    cut: Cut,
    show: impl Fn(&str) -> String,
) -> Vec<(&'static str, String)> {
    let (removed, most) = (cut.removed_tags(), cut.items);
    let tags = &notice.tags;
    let restored = notice.answer.as_ref().map(|answer| &answer.restored);
    let restored = restored.map(|restored| ("Restored tags", restored, most));
    let groups = [
        ("Removed tags", &tags.untagged, removed),
        ("Removed before", &tags.claimed, removed),
        ("Would be removed", &tags.would_untag, most),
        ("Kept tags", &tags.kept, most),
    ];
    let mut lines = Vec::new();
    for (label, list, most) in restored.into_iter().chain(groups) {
        if !list.is_empty() {
            lines.push((label, enumerated(list, most, ", ", |tag| show(tag.as_str()))));
        }
    }
    if let Some(quarantine) = &tags.quarantine
        && notice.action != NoticeAction::Deleted
    {
        lines.push(("Quarantine tag", show(quarantine.as_str())));
    }
    lines
}

/// The reasons of a notice by what they explain.
#[derive(Debug, Default)]
pub(super) struct Reasons<'a> {
    /// The limits that are exceeded.
    pub(super) limits: Vec<&'a String>,
    /// The findings that do not count, and why.
    pub(super) set_aside: Vec<&'a String>,
    /// Everything else: what keeps the tags, why nothing could be judged, what went wrong.
    pub(super) others: Vec<&'a String>,
}

impl<'a> Reasons<'a> {
    /// Sorts the reasons of a notice.
    pub(super) fn of(notice: &'a Notice) -> Self {
        let (limits, notes) = notice.evaluation.as_ref().map_or((&[][..], &[][..]), |evaluation| {
            (evaluation.reasons.as_slice(), evaluation.notes.as_slice())
        });
        let mut reasons = Self::default();
        for reason in &notice.reasons {
            match reason {
                reason if notes.contains(reason) => reasons.set_aside.push(reason),
                reason if limits.contains(reason) => reasons.limits.push(reason),
                reason => reasons.others.push(reason),
            }
        }
        reasons
    }
}

/// Returns the severity, the id and the score of a finding.
pub(super) fn finding_name(finding: &Finding, style: Style) -> String {
    let mut name = format!("{} {}", finding.severity.as_word(), style.text(&finding.id));
    if let Some(score) = finding.score {
        let _ = write!(name, " ({score})");
    }
    name
}

/// Returns a finding with its packages in one line.
pub(super) fn finding_line(finding: &Finding, style: Style) -> String {
    let mut line = finding_name(finding, style);
    let package = |package: &Package| {
        let mut words = style.text(&package.name);
        if let Some(installed) = &package.installed {
            let _ = write!(words, " {}", style.text(installed));
        }
        words
    };
    if !finding.packages.is_empty() {
        let most = style.cut.items.min(PACKAGES);
        let _ = write!(line, " in {}", enumerated(&finding.packages, most, ", ", package));
    }
    line
}

/// Returns the start of a text in one line. Control characters, and characters that change the
/// order or the visibility of others, become spaces.
pub(super) fn plain(text: &str, most: usize) -> String {
    start(text, most).chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect()
}
