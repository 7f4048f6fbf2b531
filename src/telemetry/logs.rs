//! The log subscriber: one line an event on standard output, for FireLens or a person.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};

use crate::config::LogFormat;

/// Installs the process's subscriber. `RUST_LOG` sets the filter, `info` by default; one that cannot be read is
/// warned of.
///
/// # Errors
/// Where a subscriber is installed already.
pub fn install(format: LogFormat) -> Result<(), TryInitError> {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let filter = wanted.as_deref().unwrap_or("info").parse::<EnvFilter>();
    let problem = filter.as_ref().err().map(ToString::to_string);
    subscribe(format, filter.unwrap_or_else(|_| EnvFilter::new("info")))?;
    if let Some(problem) = problem {
        tracing::warn!(RUST_LOG = wanted, problem, "the log filter cannot be read; info is logged");
    }
    Ok(())
}

fn subscribe(format: LogFormat, filter: EnvFilter) -> Result<(), TryInitError> {
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer();
    match format {
        LogFormat::Json => registry
            .with(layer.json().flatten_event(true).with_current_span(false).with_span_list(false))
            .try_init(),
        LogFormat::Pretty => {
            registry.with(layer.compact().with_ansi(std::io::stdout().is_terminal())).try_init()
        }
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
