//! Log lines as JSON: one object per event, with the fields of the spans around it.
//!
//! A field is turned into JSON once, when it is recorded. The formatter of tracing-subscriber reads
//! all fields of a span again for each field that is recorded later, and again for each line.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::ops::Range;

use serde::Serialize;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::is_logged;
use crate::domain::text::escaped;

/// Names with which every line begins.
const OWN: [&str; 3] = ["timestamp", "level", "target"];

/// Writes one object: the time, the level, the target, the message, then the fields of the event,
/// then those of the spans around it, the innermost first. If two fields have the same name, the
/// innermost is written.
#[derive(Debug)]
pub(super) struct Json<W>(pub(super) W);

impl<S, W> Layer<S> for Json<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::begin(512, Duplicates::Last);
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
        let mut time = String::new();
        // Writing to memory does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let mut line = Fields::begin(1024, Duplicates::First);
        let _ = write!(
            line.json,
            r#"{{"timestamp":"{time}","level":"{}","target":"{}""#,
            metadata.level(),
            metadata.target()
        );
        line.places.extend(OWN.map(|name| (name, 0..0)));
        // Write the message first, whatever its position in the event.
        line.only = Some("message");
        event.record(&mut line);
        line.add("message", |into| json(into, metadata.name()));
        line.only = None;
        event.record(&mut line);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                line.add_others(fields);
            }
        }
        line.json.extend_from_slice(b"}\n");
        // Ignore an error, because there is no other place to report it.
        let _ = self.0.make_writer_for(metadata).write_all(&line.json);
    }
}

/// Which of two fields with the same name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duplicates {
    First,
    Last,
}

/// Fields by name, each as it appears in a line, beginning with the comma before its name.
#[derive(Debug)]
struct Fields {
    places: Vec<(&'static str, Range<usize>)>,
    json: Vec<u8>,
    counts: Duplicates,
    /// Name of the one field that may be added, or `None` if all may.
    only: Option<&'static str>,
}

impl Fields {
    /// Creates an empty list with room for most fields, and for this number of bytes.
    fn begin(room: usize, counts: Duplicates) -> Self {
        Self { places: Vec::with_capacity(24), json: Vec::with_capacity(room), counts, only: None }
    }

    fn has(&self, name: &str) -> bool {
        self.places.iter().any(|(known, _)| *known == name)
    }

    /// Adds the fields whose names are not there yet.
    fn add_others(&mut self, others: &Self) {
        for (name, place) in &others.places {
            if !self.has(name)
                && let Some(field) = others.json.get(place.clone())
            {
                let start = self.json.len();
                self.json.extend_from_slice(field);
                self.places.push((name, start..self.json.len()));
            }
        }
    }

    fn add(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        if !is_logged(name) || self.only.is_some_and(|only| only != name) {
            return;
        }
        let known = self.places.iter().position(|(known, _)| *known == name);
        if known.is_some() && self.counts == Duplicates::First {
            return;
        }
        let start = self.json.len();
        for part in [",\"", name, "\":"] {
            self.json.extend_from_slice(part.as_bytes());
        }
        write(&mut self.json);
        let place = start..self.json.len();
        match known.and_then(|at| self.places.get_mut(at)) {
            Some((_, old)) => *old = place,
            None => self.places.push((name, place)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field.name(), |into| json(into, &value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field.name(), |into| json(into, &value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field.name(), |into| json(into, &value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field.name(), |into| json(into, &value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field.name(), |into| text(into, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field.name(), |into| {
            let mut shown = String::new();
            let _ = write!(shown, "{value:?}");
            text(into, &shown);
        });
    }
}

fn json(into: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Numbers and strings are valid JSON, and writing to memory does not fail.
    let _ = serde_json::to_writer(into, value);
}

/// Writes a text as a JSON string. Also escapes characters that JSON allows but that a terminal
/// acts on, or that some readers take for a line break.
fn text(into: &mut Vec<u8>, value: &str) {
    if value.bytes().all(|byte| byte < 0x7f) {
        return json(into, value);
    }
    let plain = serde_json::to_string(value).unwrap_or_default();
    into.extend_from_slice(escaped(&plain, &[]).as_bytes());
}
