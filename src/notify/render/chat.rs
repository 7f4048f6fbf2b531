//! The format `chat`: the notice for a chat channel, by Amazon Q Developer in chat applications.
//!
//! A notice that Slack refuses is lost in silence, so the description always stays below its limit.
//! Texts of other people, such as names of packages, must neither format nor link anything nor
//! mention anybody.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::subject::{subject, title};
use super::summary::{
    Back, back, explain, kept_because, kept_label, next_step, pull, reasons, updates, what, works,
};
use super::words::{Style, and_more, counting, enumerated, finding_name, plain};
use super::{Audience, Cut};
use crate::domain::names::RegistryId;
use crate::domain::notice::NoticeAction;
use crate::domain::policy::Mode;
use crate::domain::text::start;
use crate::notify::Notice;
use crate::notify::undo::Undo;

/// The maximum length of the description. Slack refuses a section of more than 3,000 characters
/// (its API reference, "Section block"), and a notice that it refuses is lost in silence.
const MAX_CHARS: usize = 2900;
/// The maximum length of a variable. No limit is documented; the message needs up to 500.
const MAX_VARIABLE: usize = 600;
/// From an amount that reads well on a phone to one that fits for any notice.
const STEPS: [Cut; 4] = [Cut::to(3, 200), Cut::to(3, 100), Cut::to(2, 50), Cut::to(1, 20)];
/// The maximum number of findings, and of lines about packages, in a channel.
const LINES: usize = 3;

/// Returns the notice in the schema of Amazon Q Developer in chat applications, which drops
/// everything else in silence (its user guide, "Custom notifications").
pub(super) fn chat(notice: &Notice, audience: Audience<'_>) -> Value {
    let icon = match notice.action {
        NoticeAction::Quarantined | NoticeAction::Deleted => ":no_entry:",
        NoticeAction::WouldUntag => ":eyes:",
        NoticeAction::Blocked | NoticeAction::Unscanned => ":warning:",
        NoticeAction::Failed => ":rotating_light:",
        NoticeAction::Restored => ":leftwards_arrow_with_hook:",
        NoticeAction::Refused => ":raised_hand:",
    };
    let says_so = notice.action == NoticeAction::WouldUntag;
    let mode = if notice.mode == Mode::Audit && !says_so { " (audit)" } else { "" };
    json!({
        "version": "1.0",
        "source": "custom",
        "id": plain(&notice.id, 100),
        "content": {
            "textType": "client-markdown",
            "title": format!("{icon} {}{mode}", title(notice)),
            "description": description(notice, audience.contact),
            "nextSteps": [next_step(notice)],
            "keywords": [notice.action.as_str(), notice.repository.name.as_str()],
        },
        "metadata": {
            "threadId": format!("{}@{}", notice.repository, notice.digest),
            "summary": subject(notice),
            "eventType": notice.action.as_str(),
            "additionalContext": context(notice, audience.queue),
        },
    })
}

/// Returns the variables of custom actions, each at most [`MAX_VARIABLE`] characters long.
///
/// If the worker gives the tags back when it is asked, `RestoreQueue` and `RestoreMessage` are what
/// such an action sends. It cannot ask for a hold: nobody types a reason into it, and everybody in
/// the channel can press it.
fn context(notice: &Notice, queue: Option<&str>) -> Value {
    let mut context = json!({
        "account": notice.repository.account.as_str(),
        "region": notice.repository.region.as_str(),
        "event": escaped(&notice.event_id, 300),
    });
    if let Some(queue) = queue.filter(|queue| is_queue(queue))
        && let Some(message) = Undo::of(notice).and_then(|undo| undo.message)
        && let Some(context) = context.as_object_mut()
    {
        context.insert("RestoreQueue".to_owned(), queue.into());
        context.insert("RestoreMessage".to_owned(), message.into());
    }
    context
}

/// Returns whether a text is the URL of a queue that fits, in which nothing has a meaning in chat.
fn is_queue(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:".contains(&byte);
    text.len() <= MAX_VARIABLE && text.bytes().all(is_plain)
}

/// Returns as much as fits.
fn description(notice: &Notice, contact: Option<&str>) -> String {
    let mut shortest = String::new();
    for cut in STEPS {
        shortest = with(notice, contact, cut);
        if shortest.chars().count() <= MAX_CHARS {
            return shortest;
        }
    }
    lines_that_fit(&shortest)
}

/// Leaves out the lines that do not fit, and says so. Each line is complete by itself.
fn lines_that_fit(text: &str) -> String {
    const CUT: &str = "(This notice is too long for a channel. Some of its lines are left out.)\n";
    let mut room = MAX_CHARS.saturating_sub(CUT.len());
    let fits = |line: &&str| {
        let left = room.checked_sub(line.chars().count());
        room = left.unwrap_or(room);
        left.is_some()
    };
    let mut out: String = text.split_inclusive('\n').filter(fits).collect();
    out.push_str(CUT);
    out
}

fn with(notice: &Notice, contact: Option<&str>, cut: Cut) -> String {
    let style = Style { cut, text: escaped, name: code };
    let mut out = format!("{}\n", what(notice, style));
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(out, "*{label}:* {value}");
    };
    for (label, words) in reasons(notice, style) {
        line(label, &words);
    }
    if let Some(because) = kept_because(notice, style) {
        line(kept_label(notice), &because);
    }
    if let Some(command) = explain(notice) {
        line("Why in detail", &code(&command));
    }
    if let Some(works) = works(notice) {
        let pull = pull(notice).map(|pull| format!(" {}", code(&pull))).unwrap_or_default();
        line("Still works", &format!("{works}{pull}"));
    } else {
        let RegistryId { account, region } = notice.repository.registry_id();
        line("Registry", &format!("{account} {region}"));
    }
    let fixes = updates(notice);
    if !fixes.is_empty() {
        let most = cut.items.min(LINES);
        line("Update", &enumerated(&fixes, most, "; ", |fix| fix.line(style)));
    }
    if let Some(Back { words, command, after }) = back(notice) {
        let command = command.map(|command| format!(" {}", code(&command))).unwrap_or_default();
        let after = after.map(|after| format!(" {after}")).unwrap_or_default();
        line("Get it back", &format!("{words}{command}{after}"));
    }
    if let Some(contact) = contact {
        line("Ask", &trusted(&start(contact, cut.chars.saturating_mul(5))));
    }
    let most = cut.items.min(LINES);
    for finding in counting(notice).take(most) {
        let _ = write!(out, "- {}", finding_name(finding, style));
        let _ = match finding.link.as_deref().and_then(|link| linked(link, cut.chars)) {
            Some(link) => writeln!(out, " {link}"),
            None => writeln!(out),
        };
    }
    if let Some(more) = and_more(notice, most) {
        let _ = writeln!(out, "- {more}");
    }
    out
}

/// Formats a name as code. Its alphabet has no backtick.
fn code(name: &str) -> String {
    format!("`{name}`")
}

/// Returns a text of the configuration in one line. It formats nothing and mentions nobody; its
/// links and mail addresses stay what they are.
pub(super) fn trusted(text: &str) -> String {
    let word = |word: &str| {
        let core = word.trim_matches(|c| "(),.;:".contains(c));
        match linked(core, usize::MAX).or_else(|| is_mail(core).then(|| core.to_owned())) {
            Some(shown) => word.replacen(core, &shown, 1),
            None => escaped(word, usize::MAX),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Returns whether a word is a mail address in which nothing has a meaning in chat.
fn is_mail(word: &str) -> bool {
    let is_plain = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.+".contains(&byte);
        !part.is_empty() && part.bytes().all(plain)
    };
    word.split_once('@')
        .is_some_and(|(name, host)| is_plain(name) && is_plain(host) && host.contains('.'))
}

/// Returns a text of other people in one line that neither formats, nor links, nor mentions
/// anybody. Slack's markup can escape only `&`, `<` and `>`, and Teams has another markup. So a
/// character with a meaning in either is replaced by one that looks like it.
fn escaped(text: &str, most: usize) -> String {
    let text = plain(text, most).replace("://", ":/\u{200b}/");
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let in_a_word =
            before.is_alphanumeric() && chars.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // An invisible space keeps it from being a mention.
            '@' => out.push_str("@\u{200b}"),
            '`' => out.push('\''),
            '*' => out.push('\u{2217}'),
            '~' => out.push('\u{223c}'),
            '|' => out.push('\u{00a6}'),
            '[' => out.push('\u{ff3b}'),
            ']' => out.push('\u{ff3d}'),
            '\\' => out.push('\u{2216}'),
            // An underscore inside a word, as in `fixable_only`, has no meaning.
            '_' if in_a_word => out.push('_'),
            '_' => out.push('\u{ff3f}'),
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// Returns a link to the web with all markup escaped, or `None` for any other link and for one that
/// is too long.
fn linked(link: &str, most: usize) -> Option<String> {
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"))?;
    if rest.is_empty() || link.chars().nth(most).is_some() {
        return None;
    }
    let mut out = String::with_capacity(link.len());
    for byte in link.bytes() {
        let _ = match byte {
            b'&' => write!(out, "&amp;"),
            byte if byte.is_ascii_alphanumeric() || b"-./:?#=%+,;".contains(&byte) => {
                write!(out, "{}", char::from(byte))
            }
            byte => write!(out, "%{byte:02X}"),
        };
    }
    Some(out)
}

#[cfg(test)]
mod tests;
