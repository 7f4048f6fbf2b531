//! The log subscriber: one line an event on standard output, for FireLens or a person.

use std::fmt;
use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogFormat;
use crate::domain::text::escaped;

/// Installs the process's subscriber. `RUST_LOG` sets the filter, `info` by default; one that cannot be read is
/// warned of.
///
/// # Errors
/// Where a subscriber is installed already.
pub fn install(format: LogFormat) -> Result<(), TryInitError> {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let filter = wanted.as_deref().unwrap_or("info").parse::<EnvFilter>();
    let problem = filter.as_ref().err().map(ToString::to_string);
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    subscriber(format, filter, io::stdout, io::stdout().is_terminal()).try_init()?;
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
) -> impl Subscriber + Send + Sync {
    let layer = tracing_subscriber::fmt::layer();
    let layer = match format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(move || Escaping(writer()))
            .boxed(),
        LogFormat::Pretty => layer
            .compact()
            .fmt_fields(debug_fn(field).delimited(" "))
            .with_ansi(colour)
            .with_writer(writer)
            .boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer)
}

/// One field of a line for people. The formatter that tracing-subscriber brings escapes strings, but not what is shown by
/// its `Display`.
fn field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let text = format!("{value:?}");
    let text = escaped(&text, &[]);
    match field.name() {
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
