//! The log subscriber: one line an event on standard output, for FireLens or a person.

use std::fmt;
use std::io::{self, IsTerminal as _};

use opentelemetry_sdk::trace::SdkTracer;
use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::{Map, Value};
use tracing::field::Field;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{JsonFields, Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogFormat;
use crate::domain::text::escaped;

/// What is logged where nobody says: of the export of traces and metrics what [`super::export`] says of it.
const DEFAULT: &str = "info,opentelemetry=off";

/// The target of audit records: every act, and every refusal to act.
pub const AUDIT: &str = "tagwarden::audit";

/// Installs the process's subscriber. `RUST_LOG` sets the filter, `info` by default; one that cannot be read is
/// warned of. Spans go to the tracer, whatever the filter.
///
/// # Errors
/// Where a subscriber is installed already.
pub fn install(format: LogFormat, tracer: Option<SdkTracer>) -> Result<(), TryInitError> {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let filter = wanted.as_deref().unwrap_or(DEFAULT).parse::<EnvFilter>();
    let problem = filter.as_ref().err().map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(DEFAULT));
    let traces = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            // Log lines go to the log, and the spans of libraries nowhere.
            .with_filter(filter_fn(|of| of.is_span() && of.target().starts_with("tagwarden")))
    });
    subscriber(format, filter, io::stdout, io::stdout().is_terminal()).with(traces).try_init()?;
    if let Some(problem) = problem {
        tracing::warn!(RUST_LOG = wanted, problem, "the log filter cannot be read; info is logged");
    }
    Ok(())
}

/// A subscriber that writes its lines here, in `colour` where people read it at a terminal.
///
/// Whatever text an event or AWS brings, an event stays one line, and a terminal shows it and does nothing else.
pub fn subscriber<W: io::Write + 'static>(
    format: LogFormat,
    filter: EnvFilter,
    writer: impl Fn() -> W + Send + Sync + 'static,
    colour: bool,
) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync {
    let layer = tracing_subscriber::fmt::layer();
    let layer = match format {
        LogFormat::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(Line)
            .with_writer(move || Escaping(writer()))
            .with_filter(filter)
            .boxed(),
        LogFormat::Pretty => layer
            .compact()
            .fmt_fields(debug_fn(field).delimited(" "))
            .with_ansi(colour)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    };
    tracing_subscriber::registry().with(layer)
}

/// One object: the time, the level, the target, the message, then the fields of the event and of the spans that it is in.
/// Of two with the same name the innermost is written. Fields with a dot in their name are for traces.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(own) = span.extensions().get::<FormattedFields<N>>() {
                fields.extend(object(&own.fields));
            }
        }
        let mut own = String::new();
        context.format_fields(Writer::new(&mut own), event)?;
        fields.extend(object(&own));
        fields.retain(|name, _| {
            !name.contains('.') && !["timestamp", "level", "target"].contains(&name.as_str())
        });
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let message = fields.remove("message").unwrap_or_else(|| metadata.name().into());
        let mut line = Vec::new();
        let write = |line: &mut Vec<u8>| -> serde_json::Result<()> {
            let mut serializer = serde_json::Serializer::new(line);
            let mut map = serializer.serialize_map(None)?;
            map.serialize_entry("timestamp", &time)?;
            map.serialize_entry("level", metadata.level().as_str())?;
            map.serialize_entry("target", metadata.target())?;
            map.serialize_entry("message", &message)?;
            for (name, value) in &fields {
                map.serialize_entry(name, value)?;
            }
            map.end()
        };
        write(&mut line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{}", String::from_utf8_lossy(&line))
    }
}

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_default()
}

/// One field of a line for people. The formatter that tracing-subscriber brings escapes strings, but not what is shown by
/// its `Display`.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let text = escaped(&text, &[]);
    match field.name() {
        name if name.contains('.') => Ok(()),
        "message" => writer.write_str(&text),
        name if writer.has_ansi_escapes() => {
            write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{text}")
        }
        name => write!(writer, "{name}={text}"),
    }
}

/// Escapes in lines of JSON what JSON allows and a terminal, or a reader that knows more line breaks than one, acts on.
#[derive(Debug)]
struct Escaping<W>(W);

impl<W: io::Write> io::Write for Escaping<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(escaped(&String::from_utf8_lossy(line), &['\n']).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Sends the text of a panic through the log instead of past it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(panic = message, place, "panicked");
    }));
}
