//! Shows the progress of a sweep on standard error: a bar at a terminal, else lines. Log lines go
//! through the same writer, so that they do not break the bar.

use std::io::{self, IsTerminal as _, Write};

use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::domain::coverage::Coverage;
use crate::domain::text::escaped;
use crate::sweep::Advance;
use crate::telemetry::logs;
use crate::telemetry::logs::LogFormat;

/// The log filter if RUST_LOG is not set: warnings, and the record of every act.
const FILTER: &str = "warn,tagwarden::audit=info";

/// Writes the progress of a sweep to standard error.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The bar. `None` means that standard error is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar }
    }

    pub(super) fn step(&self, step: &Advance<'_>) {
        let line = match step {
            Advance::More(more) => {
                if let Some(bar) = &self.bar {
                    bar.inc_length(u64::try_from(*more).unwrap_or(u64::MAX));
                }
                return;
            }
            Advance::Repository(repository, census) => {
                let (all, bad) = (census.sum(|_| true), census.sum(Coverage::violates));
                format!("{repository}: images {all}, violations {bad}")
            }
            Advance::Image(repository, digest) => format!("{repository}@{digest}"),
            Advance::Failed(problem) => problem.clone(),
        };
        let line = escaped(&line, &[]).into_owned();
        match (&self.bar, step) {
            (Some(bar), Advance::Failed(_)) => bar.println(line),
            (Some(bar), Advance::Repository(repository, _) | Advance::Image(repository, _)) => {
                bar.set_message(repository.name.to_string());
                bar.inc(1);
            }
            (Some(_), Advance::More(_)) => {}
            (None, _) => drop(writeln!(io::stderr(), "{line}")),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Writes log lines to standard error without breaking the bar.
impl Write for Progress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &self.bar {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Installs a log subscriber for the messages of the worker's parts.
pub(super) fn log(progress: &Progress) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER));
    let (writer, colour) = (progress.clone(), progress.bar.is_some());
    let subscriber = logs::subscriber(LogFormat::Pretty, filter, move || writer.clone(), colour);
    // There is a subscriber already only if this is part of another program.
    drop(subscriber.try_init());
}
