//! The log subscriber: writes one line per event to standard output, as JSON for FireLens or as
//! text for a person.
//!
//! A text from an event or from AWS cannot break out of its line or act on a terminal, because
//! every line is escaped where it is written, so that no caller can forget it. A field with a dot
//! in its name is for traces only and is not logged. `output` keeps the worker from waiting for
//! standard output.

mod json;
mod output;
mod pretty;

use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;

use opentelemetry_sdk::trace::SdkTracer;
use tracing::Subscriber;
use tracing_subscriber::filter::{FilterExt as _, LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer};

use json::Json;
use output::Output;
pub use output::{LastLines, lost};
use pretty::Pretty;

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for a person at a terminal, shortened.
    Pretty,
}

/// Target of audit records: every act, and every refusal to act.
pub const AUDIT: &str = "tagwarden::audit";

/// Returns whether a field is for logs. Fields with a dot in their name are for traces only.
fn is_logged(field: &str) -> bool {
    !field.contains('.')
}

/// Logs cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// Standard output cannot be written to.
    #[error(transparent)]
    Output(#[from] io::Error),
    /// A subscriber is installed already.
    #[error(transparent)]
    Installed(#[from] TryInitError),
}

/// Installs the process's subscriber, which writes to standard output without waiting for it.
/// Dropping the returned value writes the last lines and ends the log.
///
/// `RUST_LOG` sets the filter, and `usual` is the filter without it. If `RUST_LOG` cannot be
/// parsed, the usual filter is used and a warning is logged. Spans go to the tracer whatever the
/// filter.
///
/// # Errors
/// Returns an error if standard output is closed or a subscriber is installed already.
pub fn install(
    format: LogFormat,
    usual: &str,
    tracer: Option<SdkTracer>,
) -> Result<LastLines, LogsError> {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let filter = wanted.as_deref().unwrap_or(usual).parse::<EnvFilter>();
    let problem = filter.as_ref().err().map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(usual));
    let traces = tracer.map(|tracer| {
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            // The tracer gets the spans of the worker only: no events, which go to the log, and no
            // spans of libraries.
            .with_filter(filter_fn(|of| of.is_span() && of.target().starts_with("tagwarden")))
    });
    // Bypass the buffer of the standard library, which writes line by line.
    let stdout = std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let (output, last_lines) = Output::to(stdout)?;
    subscriber(format, filter, output, io::stdout().is_terminal()).with(traces).try_init()?;
    if let Some(problem) = problem {
        tracing::warn!(RUST_LOG = wanted, problem, "cannot parse the log filter; logging at info");
    }
    Ok(last_lines)
}

/// Returns a subscriber that writes its lines to `writer`, with `colour` for a terminal.
///
/// Whatever text an event or AWS brings, an event stays on one line, and a terminal only shows it.
pub fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
    colour: bool,
) -> impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync {
    // A span without a field for the log costs nothing if traces are not exported.
    let says_something =
        filter_fn(|of| of.is_event() || of.fields().iter().any(|field| is_logged(field.name())));
    let filter = filter.and(says_something.with_max_level_hint(LevelFilter::TRACE));
    let layer = match format {
        LogFormat::Json => Json(writer).with_filter(filter).boxed(),
        LogFormat::Pretty => Pretty { writer, colour }.with_filter(filter).boxed(),
    };
    tracing_subscriber::registry().with(layer)
}

/// Returns a layer that writes the audit records, and nothing else, to `writer` as JSON lines. It
/// goes beside a subscriber for people.
pub fn audit_layer<S>(
    writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static,
) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    Json(writer).with_filter(filter_fn(|of| of.is_span() || of.target() == AUDIT))
}

/// Logs the text of a panic, which would otherwise go to standard error.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        tracing::error!(panic = message, place, "panicked");
    }));
}
