//! The notice in a chat channel.

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

/// Slack refuses a section of over 3,000 characters (its API reference, "Section block"), and a notice that it refuses
/// is lost in silence.
const MOST_CHARS: usize = 2900;
/// From what reads well to what fits whatever the notice holds.
const STEPS: [Cut; 4] = [
    Cut { items: 10, chars: 300 },
    Cut { items: 5, chars: 150 },
    Cut { items: 2, chars: 80 },
    Cut { items: 1, chars: 20 },
];
/// What is said of a way to undo that does not fit.
const TOO_LONG: &str = "*To undo it:* first an exception for the digest, then the tags, which would be taken again \
                        without it. The commands are too long for here: a text or json notice has them.\n";
/// Findings that a channel reads.
const FINDINGS: usize = 3;

/// Amazon Q Developer in chat applications shows exactly this schema and drops anything else in silence
/// (its user guide, "Custom notifications").
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

/// As much as fits: the facts with the way to undo it, where a somewhat shorter list does not spoil them, or else the
/// facts alone, and where to find the way.
fn description(notice: &Notice) -> String {
    let fits = |text: &String| text.chars().count() <= MOST_CHARS;
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
        "*To undo it, in this order* (a tag that is put back before the exception is in force is taken again):\n\
         1. Fill in this exception, add it to the worker's configuration (here in TOML) and restart the worker:\n\
         ```\n{}\n```\n\
         2. Then give the tags back. A tag that was pushed anew in the meantime is left alone:\n\
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

/// A name of an alphabet without backticks, shown as it is.
fn code(name: &str) -> String {
    format!("`{name}`")
}

/// A text of other people's in one line that neither formats, nor links, nor calls anybody. Slack's markup knows no
/// escape but for `&`, `<` and `>`, and Teams' is another, so that what has a meaning in either gives way to what looks
/// like it.
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
            // A space that nobody sees keeps it from being a mention.
            '@' => out.push_str("@\u{200b}"),
            '`' => out.push('\''),
            '*' => out.push('\u{2217}'),
            '~' => out.push('\u{223c}'),
            '|' => out.push('\u{00a6}'),
            '[' => out.push('\u{ff3b}'),
            ']' => out.push('\u{ff3d}'),
            '\\' => out.push('\u{2216}'),
            // As in `fixable_only`, where it has no meaning.
            '_' if in_a_word => out.push('_'),
            '_' => out.push('\u{ff3f}'),
            c => out.push(c),
        }
        before = c;
    }
    out
}

/// A link to the web that holds nothing but itself; `None` for any other, and for one that is too long.
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
