//! Log lines as JSON: one object an event, with the fields of the spans that it is in.

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

/// What every line has of its own.
const OWN: [&str; 4] = ["timestamp", "level", "target", "message"];

/// Writes one object: the time, the level, the target, the message, then the fields of the event and of the spans that
/// it is in, the innermost first. Of two with the same name the innermost is written.
///
/// A field is turned into JSON once, when it is recorded: the formatter that tracing-subscriber brings reads all fields
/// of a span again for each that is recorded later, and for each line.
#[derive(Debug)]
pub(super) struct Json<W>(pub(super) W);

impl<S, W> Layer<S> for Json<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::new();
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
        let mut own = Fields::new();
        event.record(&mut own);
        let metadata = event.metadata();
        let mut time = String::new();
        // Writing into memory does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut time));
        let mut line = Vec::with_capacity(1024);
        let _ = write!(
            line,
            r#"{{"timestamp":"{time}","level":"{}","target":"{}","message":"#,
            metadata.level(),
            metadata.target()
        );
        match own.find("message") {
            Some(message) => line.extend_from_slice(message),
            None => json(&mut line, metadata.name()),
        }
        let mut written = Vec::from(OWN);
        own.write_others(&mut line, &mut written);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<Fields>() {
                fields.write_others(&mut line, &mut written);
            }
        }
        line.extend_from_slice(b"}\n");
        // Nobody could be told that the log cannot be written.
        let _ = self.0.make_writer_for(metadata).write_all(&line);
    }
}

/// Fields by name, each as JSON.
#[derive(Debug)]
struct Fields {
    places: Vec<(&'static str, Range<usize>)>,
    json: Vec<u8>,
}

impl Fields {
    /// With room for most.
    fn new() -> Self {
        Self { places: Vec::with_capacity(16), json: Vec::with_capacity(512) }
    }

    fn find(&self, name: &str) -> Option<&[u8]> {
        let (_, place) = self.places.iter().find(|(known, _)| *known == name)?;
        self.json.get(place.clone())
    }

    /// Writes those whose names have not been written yet.
    fn write_others(&self, line: &mut Vec<u8>, written: &mut Vec<&'static str>) {
        for (name, place) in &self.places {
            if !written.contains(name)
                && let Some(value) = self.json.get(place.clone())
            {
                written.push(name);
                let _ = write!(line, ",\"{name}\":");
                line.extend_from_slice(value);
            }
        }
    }

    fn add(&mut self, field: &Field, write: impl FnOnce(&mut Vec<u8>)) {
        let name = field.name();
        if !is_logged(name) {
            return;
        }
        let start = self.json.len();
        write(&mut self.json);
        let place = start..self.json.len();
        match self.places.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = place,
            None => self.places.push((name, place)),
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, |into| json(into, &value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, |into| json(into, &value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, |into| json(into, &value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, |into| json(into, &value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, |into| text(into, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, |into| {
            let mut shown = String::new();
            let _ = write!(shown, "{value:?}");
            text(into, &shown);
        });
    }
}

fn json(into: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Numbers and texts can be written as JSON, and memory takes them.
    let _ = serde_json::to_writer(into, value);
}

/// A text, with what JSON allows and a terminal, or a reader that knows more line breaks than one, acts on escaped too.
fn text(into: &mut Vec<u8>, value: &str) {
    if value.bytes().all(|byte| byte < 0x7f) {
        return json(into, value);
    }
    let plain = serde_json::to_string(value).unwrap_or_default();
    into.extend_from_slice(escaped(&plain, &[]).as_bytes());
}
