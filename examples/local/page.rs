//! Standard output.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Prints a line, or ends the program: where nobody reads on, as below `| head`, there is nothing left to do.
pub(crate) fn print(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Prints one line of the narrative: which act, and on what.
pub(crate) fn say(act: &str, what: impl Display) {
    print(format_args!("  {act:<7} {what}"));
}
