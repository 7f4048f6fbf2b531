//! Log lines for a person at a terminal, who knows the worker's own account and reads along.
//!
//! A line has the time, the level, the room, the message, and then each field once, although spans
//! and events have many in common. Digests and ids are shortened, as `docker images` does, and
//! fields that are of use to programs give way when a line becomes wider than [`WIDTH`]. Texts
//! such as errors are never cut. Everything in full is in the other format, `json`.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::is_logged;
use crate::domain::text::escaped;

/// Columns that a line has at the most, as long as its texts leave room.
const WIDTH: usize = 159;

/// Fields that give way, the first one first.
const SECONDARY: [&str; 14] = [
    "body_bytes",
    "source",
    "detail_type",
    "sns_message_id",
    "event_id",
    "receive_count",
    "quarantine",
    "delete",
    "rule",
    "mode",
    "notice_id",
    "event_kind",
    "duration_ms",
    "message_id",
];

/// Digits of a digest that are shown, and of an id.
const DIGEST_DIGITS: usize = 12;
const ID_DIGITS: usize = 8;

/// Writes one line for each event.
#[derive(Debug)]
pub(super) struct Pretty<W> {
    pub(super) writer: W,
    /// Whether the reader is a terminal.
    pub(super) colour: bool,
}

impl<S, W> Layer<S> for Pretty<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(outer) = span.extensions().get::<Fields>() {
                fields.add_others(outer);
            }
        }
        let time = time();
        let message = fields.take("message").unwrap_or_else(|| metadata.name().to_owned());
        let head = Head { time, level: *metadata.level(), room: room(metadata.target()), message };
        let mut line = Line { text: String::new(), colour: self.colour };
        line.head(&head);
        for (name, value) in fields.image().fitting(WIDTH.saturating_sub(head.width())) {
            line.field(name, &value);
        }
        line.text.push('\n');
        // Ignore an error, because there is no other place to report it.
        let _ = self.writer.make_writer_for(metadata).write_all(line.text.as_bytes());
    }
}

/// Returns the time of day in milliseconds, as the other format has it in microseconds.
fn time() -> String {
    let mut time = String::new();
    // Writing to memory does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    time.truncate("2026-11-30T15:27:00.632".len());
    time.push('Z');
    time
}

/// Returns the part of the program that an event comes from: of our own modules the first.
fn room(target: &str) -> &str {
    let inner = target.strip_prefix("tagwarden::").unwrap_or(target);
    inner.split("::").next().unwrap_or(inner)
}

/// Fields by name, in the order in which they are shown. A later value replaces an earlier one.
#[derive(Debug, Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    fn set(&mut self, name: &'static str, value: String) {
        if !is_logged(name) {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.0.push((name, value)),
        }
    }

    /// Adds the fields whose names are not there yet.
    fn add_others(&mut self, others: &Self) {
        for (name, value) in &others.0 {
            if self.0.iter().all(|(known, _)| known != name) {
                self.0.push((name, value.clone()));
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }

    /// Joins the fields that name an image, and puts the image first.
    fn image(mut self) -> Self {
        let Some(name) = self.take("repository") else { return self };
        let registry: Vec<_> =
            ["account", "region"].into_iter().filter_map(|part| self.take(part)).collect();
        let mut image = registry.iter().fold(String::new(), |all, part| all + part + "/") + &name;
        match self.take("digest") {
            // One event may turn out to be about several images.
            Some(several) if several.contains(',') => self.set("digest", several),
            Some(digest) => {
                image.push('@');
                image.push_str(&shortened(&digest));
            }
            None => {}
        }
        self.0.insert(0, ("image", image));
        self
    }

    /// Returns the fields that say something, shortened, without those that do not fit.
    fn fitting(self, width: usize) -> Vec<(&'static str, String)> {
        let mut fields: Vec<_> = self
            .0
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| match TAGS.contains(&name) {
                true => (name, quoted(value)),
                false => (name, shown(&value)),
            })
            .collect();
        let wide = |fields: &[(&str, String)]| -> usize {
            fields.iter().map(|(name, value)| name.len() + value.chars().count() + 2).sum()
        };
        for secondary in SECONDARY {
            if wide(&fields) <= width {
                break;
            }
            fields.retain(|(name, _)| *name != secondary);
        }
        fields
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field.name(), format!("{value:?}"));
    }
}

/// The fields that hold names of tags. They are never shortened, because a tag may look like an id,
/// and the line may be the only place that names it.
const TAGS: [&str; 6] = ["untag", "untagged", "kept", "claimed", "would_untag", "restored"];

/// Returns a value as it is shown: shortened, and quoted if it could be taken for several.
fn shown(value: &str) -> String {
    let parts: Vec<_> = value.split(',').map(shortened).collect();
    quoted(parts.join(","))
}

/// Quotes a value that could be taken for several.
fn quoted(value: String) -> String {
    let is_plain = !value.contains(|c: char| c.is_whitespace() || c == '=' || c == '"');
    if is_plain { value } else { format!("{value:?}") }
}

/// Shortens a digest, a quarantine tag, an id and an ARN, and returns anything else as it is.
fn shortened(value: &str) -> String {
    let start = |of: &str, digits: usize| of.chars().take(digits).collect::<String>();
    let is_hex = |of: &str| of.bytes().all(|byte| byte.is_ascii_hexdigit());
    if value.len() == 36 && value.split('-').map(str::len).eq([8, 4, 4, 4, 12]) {
        return start(value, ID_DIGITS);
    }
    if value.starts_with("arn:") {
        return value.rsplit(':').next().unwrap_or(value).to_owned();
    }
    let hex = value.strip_prefix("sha256:").unwrap_or(value);
    let mark = hex.strip_prefix("quarantine-").filter(|hex| hex.len() >= 64);
    let digits = mark.unwrap_or(hex);
    let (digest, rest) = digits.split_at_checked(64).unwrap_or_default();
    match mark {
        // Of later quarantine tags a number follows the digest.
        Some(_) if is_hex(digest) => {
            format!("quarantine-{}…{rest}", start(digest, DIGEST_DIGITS))
        }
        None if !digest.is_empty() && rest.is_empty() && is_hex(digest) => {
            start(digest, DIGEST_DIGITS)
        }
        _ => value.to_owned(),
    }
}

/// What every line begins with.
struct Head<'a> {
    time: String,
    level: Level,
    room: &'a str,
    message: String,
}

impl Head<'_> {
    fn width(&self) -> usize {
        self.time.len() + 1 + 5 + 1 + self.room.len() + 2 + self.message.chars().count()
    }
}

/// A line that is being written.
struct Line {
    text: String,
    colour: bool,
}

impl Line {
    fn head(&mut self, head: &Head<'_>) {
        let Head { time, level, room, message } = head;
        let colour = match *level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            Level::DEBUG => "34",
            Level::TRACE => "35",
        };
        self.styled("2", time);
        self.text.push(' ');
        self.styled(colour, &format!("{level:<5}"));
        self.text.push(' ');
        self.styled("2", &format!("{room}:"));
        self.text.push(' ');
        self.text.push_str(&escaped(message, &[]));
    }

    fn field(&mut self, name: &str, value: &str) {
        self.text.push(' ');
        self.styled("2", &format!("{name}="));
        self.text.push_str(&escaped(value, &[]));
    }

    fn styled(&mut self, code: &str, text: &str) {
        // Writing to memory does not fail.
        let _ = match self.colour {
            true => write!(self.text, "\u{1b}[{code}m{text}\u{1b}[0m"),
            false => write!(self.text, "{text}"),
        };
    }
}

#[cfg(test)]
mod tests;
