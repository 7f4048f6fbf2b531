//! How commands use the terminal: colours, and how much they say.

use std::io::IsTerminal as _;

use clap::{ArgAction, Args, ValueEnum};

/// The global options about the terminal.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Screen {
    /// Use colours; auto: at a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = Colour::Auto, global = true, value_name = "WHEN")]
    color: Colour,
    /// Show no progress, and no log lines but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Show more, such as log lines; twice: those of the AWS SDK too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Colour {
    // At a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

impl Screen {
    /// Returns whether standard output is written in colour.
    pub(super) fn colours_output(&self) -> bool {
        self.colours(std::io::stdout().is_terminal())
    }

    /// Returns whether standard error is written in colour.
    pub(super) fn colours_errors(&self) -> bool {
        self.colours(std::io::stderr().is_terminal())
    }

    fn colours(&self, is_terminal: bool) -> bool {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match self.color {
            Colour::Always => true,
            Colour::Never => false,
            // https://no-color.org
            Colour::Auto => is_terminal && !is_set("NO_COLOR") && !is_dumb(),
        }
    }

    /// Returns whether no progress is shown.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Returns whether somebody wants to see more than usual.
    pub(super) fn is_verbose(&self) -> bool {
        self.verbose > 0
    }

    /// Returns the log filter of a command whose usual filter is this one.
    pub(super) fn filter<'a>(&self, usual: &'a str) -> &'a str {
        match (self.quiet, self.verbose) {
            (true, _) => "error",
            (false, 0) => usual,
            (false, 1) => "info,tagwarden=debug,opentelemetry=off",
            (false, _) => "debug",
        }
    }
}
