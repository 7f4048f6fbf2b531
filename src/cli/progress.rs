//! Shows the progress of a command on standard error: a bar at a terminal, and elsewhere only what
//! could not be inspected. Log lines go through the same writer, so that they do not break the bar.

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Screen;
use super::audit_log::AuditLog;
use crate::domain::text::escaped;
use crate::sweep::Advance;
use crate::table::count;
use crate::telemetry::logs::{self, LogFormat};

/// The log filter if RUST_LOG is not set. The SDK logs every place where it looks for credentials,
/// and the error that ends the command says what is missing.
const FILTER: &str = "warn,aws_config=off";

/// Where the record of every act goes.
#[derive(Debug)]
pub(super) enum Acts {
    /// Nowhere: the command does not act itself, or the worker records it.
    Hidden,
    /// To standard error.
    Shown,
    /// To a file.
    To(AuditLog),
}

/// Writes the progress of a command to standard error. There is no bar as long as there is nothing
/// to count.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    /// The bar. `None` means that standard error is no terminal.
    bar: Option<ProgressBar>,
    images: Arc<AtomicUsize>,
    is_quiet: bool,
}

impl Progress {
    /// Creates a progress that counts these units.
    pub(super) fn of(units: &str, screen: &Screen) -> Self {
        let is_shown = io::stderr().is_terminal() && !screen.is_quiet();
        let bar = is_shown.then(|| {
            ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden())
                .with_style(style(units))
        });
        Self { bar, images: Arc::default(), is_quiet: screen.is_quiet() }
    }

    /// Begins again after its end, and counts these units.
    pub(super) fn restart(&self, units: &str) {
        if let Some(bar) = &self.bar {
            bar.set_draw_target(ProgressDrawTarget::hidden());
            bar.reset();
            bar.set_length(0);
            bar.set_message("");
            bar.set_style(style(units));
        }
    }

    pub(super) fn step(&self, step: &Advance) {
        if let (Some(bar), Advance::More(1..)) = (&self.bar, step)
            && bar.is_hidden()
        {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        let bar = self.bar.as_ref().filter(|bar| !bar.is_hidden());
        let Some(bar) = bar else {
            if let (Advance::Failed(problem), false) = (step, self.is_quiet) {
                drop(writeln!(io::stderr(), "failed: {}", escaped(problem, &[])));
            }
            return;
        };
        match step {
            Advance::More(more) => bar.inc_length(u64::try_from(*more).unwrap_or(u64::MAX)),
            Advance::Images(more) => {
                let images = self.images.fetch_add(*more, Ordering::Relaxed).saturating_add(*more);
                bar.set_message(format!(", {}", count(images as u64, "image", "images")));
            }
            Advance::Repository | Advance::Image => bar.inc(1),
            Advance::Failed(problem) => bar.println(format!("failed: {}", escaped(problem, &[]))),
        }
    }

    /// Says something without breaking the bar.
    pub(super) fn say(&self, text: &str) {
        let text = escaped(text, &[]);
        match &self.bar {
            _ if self.is_quiet => {}
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(units: &str) -> ProgressStyle {
    let template = format!("{{wide_bar}} {{pos}}/{{len}} {units}{{msg}}{{left}}");
    let style = ProgressStyle::with_template(&template);
    // Before the first unit is done, nothing is known of the time that is left.
    let left = |state: &ProgressState, to: &mut dyn std::fmt::Write| {
        if state.pos() > 0 {
            write!(to, ", {:#} left", HumanDuration(state.eta())).unwrap_or_default();
        }
    };
    style.map_or_else(|_| ProgressStyle::default_bar(), |style| style.with_key("left", left))
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

/// Installs a log subscriber for the messages of the worker's parts, and for the record of every
/// act.
pub(super) fn log(progress: &Progress, acts: Acts, screen: &Screen) {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().filter(|filter| !filter.is_empty());
    let filter = wanted.and_then(|filter| filter.parse::<EnvFilter>().ok());
    let filter = filter.unwrap_or_else(|| EnvFilter::new(screen.filter(FILTER)));
    // No option and no variable leaves out the record of an act that is to be shown.
    let (records, audit) = match acts {
        Acts::Hidden => ("off", None),
        Acts::Shown => ("info", None),
        Acts::To(audit) => ("off", Some(audit)),
    };
    let filter = match format!("{}={records}", logs::AUDIT).parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
    let (writer, colour) = (progress.clone(), screen.colours_errors());
    let subscriber = logs::subscriber(LogFormat::Pretty, filter, move || writer.clone(), colour);
    // There is a subscriber already only if this is part of another program.
    drop(subscriber.with(audit.map(logs::audit_layer)).try_init());
}
