//! The format `chat`: the notice for a chat channel, by Amazon Q Developer in chat applications.
//!
//! A notice that Slack refuses is lost in silence, so the description always stays below its limit.
//! Texts of other people, such as names of packages, must neither format nor link anything nor
//! mention anybody.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Cut;
use super::words::{
    capitalised, counts_line, enumerated, finding_line, headline, meaning, next_step, plain,
    reasons, subject, tag_lines, unnamed, worst,
};
use crate::domain::notice::NoticeAction;
use crate::domain::policy::Mode;
use crate::domain::text::start;
use crate::notify::Notice;
use crate::notify::undo::Undo;

/// The maximum length of the description. Slack refuses a section of more than 3,000 characters
/// (its API reference, "Section block"), and a notice that it refuses is lost in silence.
const MAX_CHARS: usize = 2900;
/// From an amount that reads well to one that fits for any notice.
const STEPS: [Cut; 4] = [
    Cut { items: 10, chars: 300 },
    Cut { items: 5, chars: 150 },
    Cut { items: 2, chars: 80 },
    Cut { items: 1, chars: 20 },
];
/// The hint that replaces commands that do not fit.
const TOO_LONG: &str = "*To undo it:* add an exception for the digest first, then restore the \
                        tags; without it they are removed again. The commands are too long for \
                        here: a text or json notice has them.\n";
/// The maximum number of findings in a channel.
const FINDINGS: usize = 3;

/// Returns the notice in the schema of Amazon Q Developer in chat applications, which drops
/// everything else in silence (its user guide, "Custom notifications").
pub(super) fn chat(notice: &Notice) -> Value {
    let icon = match notice.action {
        NoticeAction::Quarantined | NoticeAction::Deleted => ":no_entry:",
        NoticeAction::WouldUntag => ":eyes:",
        NoticeAction::Blocked | NoticeAction::Unscanned => ":warning:",
        NoticeAction::Failed => ":rotating_light:",
    };
    let says_so = notice.action == NoticeAction::WouldUntag;
    let mode = if notice.mode == Mode::Audit && !says_so { " (audit)" } else { "" };
    let headline = capitalised(&headline(notice));
    json!({
        "version": "1.0",
        "source": "custom",
        "id": plain(&notice.id, 100),
        "content": {
            "textType": "client-markdown",
            "title": format!("{icon} {headline}: {}{mode}", notice.repository.name),
            "description": description(notice),
            "nextSteps": [next_step(notice)],
            "keywords": [notice.action.as_str(), notice.repository.name.as_str()],
        },
        "metadata": {
            "threadId": format!("{}@{}", notice.repository, notice.digest),
            "summary": subject(notice),
            "eventType": notice.action.as_str(),
            "additionalContext": {
                "account": notice.repository.account.as_str(),
                "region": notice.repository.region.as_str(),
                "event": escaped(&notice.event_id, 300),
            },
        },
    })
}

/// Returns as much as fits. If the facts and the commands fit together with slightly shorter lists,
/// it has both; else it has the facts and a hint where the commands are.
fn description(notice: &Notice) -> String {
    let fits = |text: &String| text.chars().count() <= MAX_CHARS;
    let undo = Undo::of(notice, usize::MAX);
    if let Some(undo) = &undo {
        let way = way_back(undo);
        let mut whole = STEPS.into_iter().take(2).map(|cut| facts(notice, cut) + &way);
        if let Some(whole) = whole.find(fits) {
            return whole;
        }
    }
    let hint = if undo.is_some() { TOO_LONG } else { "" };
    let mut shortest = String::new();
    for cut in STEPS {
        shortest = facts(notice, cut) + hint;
        if fits(&shortest) {
            break;
        }
    }
    shortest
}

fn way_back(undo: &Undo) -> String {
    format!(
        "*To undo it, in this order* (without the exception, a restored tag is removed again):\n\
         1. Fill in this exception, add it to the worker's configuration (here in TOML) and \
         restart the worker:\n\
         ```\n{}\n```\n\
         2. Restore the tags. A tag that was pushed again in the meantime is left alone:\n\
         ```\n{}\n```\n",
        undo.exception, undo.command
    )
}

fn facts(notice: &Notice, cut: Cut) -> String {
    let mut out = format!("{}\n", meaning(notice));
    let escaped = |text: &str| escaped(text, cut.chars);
    let mut line = |label: &str, value: &str| {
        let _ = writeln!(out, "*{label}:* {value}");
    };
    let image = format!("{}@{}", notice.repository.name, notice.digest);
    let place = format!("{} {}", notice.repository.account, notice.repository.region);
    line("Image", &format!("{} in {place}", code(&image)));
    if let Some(child) = &notice.cause {
        let platform = child.platform.as_deref().unwrap_or("no platform given");
        let digest = code(child.digest.as_str());
        line("Vulnerable child", &format!("{digest} ({})", escaped(platform)));
    }
    for (label, value) in tag_lines(notice, cut.items, |tag| code(&start(tag, cut.chars))) {
        line(label, &value);
    }
    if let Some(counts) = counts_line(notice) {
        line("Findings", &counts);
    }
    for (label, group) in reasons(notice) {
        line(label, &enumerated(&group, cut.items, "; ", |reason| escaped(reason)));
    }
    let most = cut.items.min(FINDINGS);
    for finding in worst(notice).iter().take(most) {
        let _ = write!(out, "- {}", finding_line(finding, cut, self::escaped));
        let _ = match finding.link.as_deref().and_then(|link| linked(link, cut.chars)) {
            Some(link) => writeln!(out, " {link}"),
            None => writeln!(out),
        };
    }
    if let Some(more) = unnamed(notice, most).filter(|_| !worst(notice).is_empty()) {
        let _ = writeln!(out, "- {more}");
    }
    out
}

/// Formats a name as code. Its alphabet has no backtick.
fn code(name: &str) -> String {
    format!("`{name}`")
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
