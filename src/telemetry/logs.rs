//! The log subscriber: one line an event on standard output, for FireLens or a person.

mod json;
mod output;

use std::fmt;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogFormat;
use crate::domain::text::escaped;
use json::Json;
use output::Output;
pub use output::{LastLines, lost};

/// What is logged where nobody says: of the export of traces and metrics what [`super::export`] says of it.
const DEFAULT: &str = "info,opentelemetry=off";

/// The target of audit records: every act, and every refusal to act.
pub const AUDIT: &str = "tagwarden::audit";

/// Fields with a dot in their name are for traces.
fn is_logged(field: &str) -> bool {
    !field.contains('.')
}

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// Standard output cannot be written to.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// There are logs already.
    #[error(transparent)]
    Installed(#[from] TryInitError),
}

/// Installs the process's subscriber, which writes to standard output without waiting for it until what is returned is
/// dropped. `RUST_LOG` sets the filter, `info` by default; one that cannot be read is warned of. Spans go to the tracer,
/// whatever the filter.
///
/// # Errors
/// Where standard output is closed, or a subscriber is installed already.
pub fn install(format: LogFormat, tracer: Option<SdkTracer>) -> Result<LastLines, LogsError> {
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
    // Not through the standard library's buffer, which writes line by line.
    let stdout = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (output, last_lines) = Output::to(stdout)?;
    subscriber(format, filter, output, io::stdout().is_terminal()).with(traces).try_init()?;
    if let Some(problem) = problem {
        tracing::warn!(RUST_LOG = wanted, problem, "the log filter cannot be read; info is logged");
    }
    Ok(last_lines)
}

/// A subscriber that writes its lines here, in `colour` where people read it at a terminal.
///
/// Whatever text an event or AWS brings, an event stays one line, and a terminal shows it and does nothing else.
pub fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    colour: bool,
) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync {
    // A span without a field for the log costs nothing where traces are not exported.
    let says_something =
        filter_fn(|of| of.is_event() || of.fields().iter().any(|field| is_logged(field.name())));
    let filter = filter.and(says_something.with_max_level_hint(LevelFilter::TRACE));
    let layer = match format {
        LogFormat::Json => Json(writer).with_filter(filter).boxed(),
        LogFormat::Pretty => tracing_subscriber::fmt::layer()
            .compact()
            .fmt_fields(debug_fn(field).delimited(" "))
            .with_ansi(colour)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    };
    tracing_subscriber::registry().with(layer)
}

/// One field of a line for people. The formatter that tracing-subscriber brings escapes strings, but not what is shown by
/// its `Display`.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let text = escaped(&text, &[]);
    match field.name() {
        name if !is_logged(name) => Ok(()),
        "message" => writer.write_str(&text),
        name if writer.has_ansi_escapes() => {
            write!(writer, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{text}")
        }
        name => write!(writer, "{name}={text}"),
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
