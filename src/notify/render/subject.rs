//! The subject of a notice: the tag, what happened to it, and the worst finding.
//!
//! People read it in a list of mails, on a phone, without knowing what tagwarden is. So what is
//! most certain to matter comes first, and what does not fit is left out from the end.

use super::answer;
use super::words::{counting, counts, is_before_removal, named, removed, total, unnamed};
use crate::domain::findings::{Finding, Severity};
use crate::domain::names::Tag;
use crate::domain::notice::NoticeAction;
use crate::domain::text::start;
use crate::notify::Notice;

/// The maximum length. SNS takes fewer than 100 characters, all of them printable ASCII (SNS API
/// reference, Publish).
const MAX: usize = 99;
/// The length that the name of the image always has.
const IMAGE: usize = 48;
/// The length of a tag that does not fit.
const TAG: usize = 20;
/// The maximum length of the id of a finding.
const ID: usize = 30;

/// Returns the subject: what happened to which tag, and the worst finding if there is room for it.
pub(super) fn subject(notice: &Notice) -> String {
    let event = event(notice);
    let room = MAX - event.len();
    let fits = |words: &String| room.saturating_sub(words.len() + 2);
    let least = image(notice, usize::MAX).len().min(IMAGE);
    let worst = worst(notice).into_iter().find(|words| fits(words) >= least);
    match worst {
        Some(worst) => format!("{}{event}: {worst}", image(notice, fits(&worst))),
        None => format!("{}{event}", image(notice, room)),
    }
}

/// Returns the subject without the findings.
pub(super) fn title(notice: &Notice) -> String {
    let event = event(notice);
    format!("{}{event}", image(notice, MAX - event.len()))
}

/// Returns what happened to the image, as the rest of a sentence that begins with its name.
fn event(notice: &Notice) -> &'static str {
    let is_removed = removed(notice).next().is_some();
    match notice.action {
        NoticeAction::Quarantined => " quarantined",
        NoticeAction::Deleted => " deleted",
        NoticeAction::WouldUntag => " would be quarantined",
        NoticeAction::Blocked if is_removed => " quarantined, other tags kept",
        NoticeAction::Blocked if is_before_removal(notice) => " loses its tags next",
        NoticeAction::Blocked if notice.evaluation.is_some() => " vulnerable, but kept",
        NoticeAction::Blocked => " not checked as a whole",
        NoticeAction::Unscanned => " not checked for vulnerabilities",
        NoticeAction::Failed => ": look now, more was removed than planned",
        NoticeAction::Restored => notice.answer.as_deref().map_or(" restored", answer::event),
        NoticeAction::Refused => ": request to restore refused",
    }
}

/// Returns the name of the image with its tags, in at most `room` characters. Every type of name
/// allows only printable ASCII.
fn image(notice: &Notice, room: usize) -> String {
    let name = notice.repository.name.as_str();
    // SNS wants a letter, a digit or punctuation at the start; a letter is certain.
    let is_plain = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let name = if is_plain { name.to_owned() } else { format!("image {name}") };
    let tags = named(notice);
    if let [one, two] = tags.as_slice() {
        let both = format!("{name}:{one}, {two}");
        if both.len() <= room {
            return both;
        }
    }
    let whole = tail(notice, &tags, usize::MAX);
    // Without the three dots that stand for a tag of no length.
    let rest = tail(notice, &tags, 0).len().saturating_sub(3);
    let tail = match room.checked_sub(name.len() + rest) {
        _ if name.len() + whole.len() <= room => whole,
        left => tail(notice, &tags, left.unwrap_or_default().max(TAG)),
    };
    start(&name, room.saturating_sub(tail.len())) + &tail
}

fn tail(notice: &Notice, tags: &[&Tag], most: usize) -> String {
    let tag = |tag: &Tag| start(tag.as_str(), most);
    match tags {
        [] => format!("@sha256:{}", start_of_hex(notice)),
        [one] => format!(":{}", tag(one)),
        [one, _] => format!(":{} and 1 more tag", tag(one)),
        [one, more @ ..] => format!(":{} and {} more tags", tag(one), more.len()),
    }
}

fn start_of_hex(notice: &Notice) -> String {
    notice.digest.hex().chars().take(12).collect()
}

/// Returns the findings that count in words, from many words to few.
fn worst(notice: &Notice) -> Vec<String> {
    let mut words = Vec::new();
    if notice.action == NoticeAction::Failed {
        return words;
    }
    if let Some(first) = counting(notice).next().filter(|finding| is_harmless(finding)) {
        let rest = unnamed(notice, 1);
        let more = |(severity, count): (Severity, u64)| match severity == first.severity {
            true => format!(", {count} more {severity}"),
            false => format!(", {count} {severity}"),
        };
        let others: String = rest.iter().filter(|&(_, count)| count > 0).map(more).collect();
        words.push(format!("{} ({}){others}", first.id, first.severity));
        words.push(format!("{} ({}) and {} more", first.id, first.severity, total(&rest)));
    }
    words.push(counts(&unnamed(notice, 0)));
    words.retain(|words| !words.is_empty());
    words
}

/// Returns whether a scanner's id of a finding can stand in a subject.
fn is_harmless(finding: &Finding) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !finding.id.is_empty() && finding.id.len() <= ID && finding.id.bytes().all(is_plain)
}
