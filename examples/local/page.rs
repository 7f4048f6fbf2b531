//! Standard output.
//!
//! Colours and glyphs are for a terminal, and colours only without `NO_COLOR`. What is piped is
//! plain text.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use console::{Style, measure_text_width, truncate_str};

/// How wide a line may be.
pub(crate) const WIDTH: usize = 80;
/// How wide its columns are: what happened, to what, and how long that took.
const WORD: usize = 9;
const WHAT: usize = 17;
const TIME: usize = 7;

/// Prints a line, or ends the program: where nobody reads on, as below `| head`, there is nothing left to do.
pub(crate) fn print(line: impl Display) {
    if writeln!(io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// Prints one line of the story: which act, and on what.
pub(crate) fn say(act: &str, what: impl Display) {
    fold(&format!("  {act:<7} "), "            ", &what.to_string());
}

/// Prints a text that belongs to the line before it.
pub(crate) fn quote(text: &str) {
    const MARGIN: &str = "          | ";
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len() + 2;
        fold(MARGIN, &format!("{MARGIN}{}", " ".repeat(indent)), line);
    }
}

/// Prints a text that begins behind a head, and goes on behind a margin if it is wider than a line. A word that fits
/// on no line, such as a whole digest, stays where it is.
fn fold(head: &str, margin: &str, text: &str) {
    let mut shown = head.to_owned();
    let mut between = "";
    for word in text.split(' ') {
        let width = measure_text_width(word);
        let is_full = measure_text_width(&shown) + between.len() + width > WIDTH;
        if is_full && width > 0 && margin.len() + width <= WIDTH {
            print(shown.trim_end());
            shown = margin.to_owned();
        } else {
            shown.push_str(between);
        }
        shown.push_str(word);
        between = " ";
    }
    print(shown.trim_end());
}

/// What became of something, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// It is left as it was.
    Kept,
    /// Its tag is off.
    Untagged,
    /// In audit mode: its tag would be off.
    WouldUntag,
    /// Its tag is on another image by now.
    Moved,
    /// It failed, or waits.
    Failed,
}

impl Fate {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Untagged => "untagged",
            Self::WouldUntag => "to untag",
            Self::Kept => "kept",
            Self::Moved => "moved",
            Self::Failed => "not done",
        }
    }

    fn glyph(self) -> &'static str {
        match self {
            Self::Untagged | Self::WouldUntag => "✗ ",
            Self::Kept => "✓ ",
            Self::Moved => "↻ ",
            Self::Failed => "! ",
        }
    }

    fn style(self) -> Style {
        let style = Style::new();
        match self {
            Self::Untagged | Self::WouldUntag => style.red(),
            Self::Kept => style.green(),
            Self::Moved => style.cyan(),
            Self::Failed => style.yellow(),
        }
    }
}

/// Prints one line about something: what became of it, what it is, why, and how long that took.
pub(crate) fn row(fate: Fate, what: &str, why: &str, took: Option<u64>) {
    let glyph = if io::stdout().is_terminal() { fate.glyph() } else { "" };
    let word = padded(&format!("{glyph}{}", fate.word()), WORD + measure_text_width(glyph));
    let what = padded(what, WHAT);
    let took = took.map(|took| format!("{:>TIME$}", format!("{took} ms"))).unwrap_or_default();
    // What is wider than its column takes from the reason.
    let taken: usize = [&word, &what, &took].map(|text| measure_text_width(text)).iter().sum();
    let room = WIDTH.saturating_sub(taken + 5);
    let why = truncate_str(why, room, "…");
    let word = fate.style().apply_to(word);
    if took.is_empty() {
        print(format!("  {word} {what}  {why}").trim_end());
    } else {
        let took = Style::new().dim().apply_to(took);
        print(format_args!("  {word} {what}  {}{took}", padded(&why, room)));
    }
}

/// Prints a remark, cut at the width of a line.
pub(crate) fn note(text: &str) {
    print(format_args!("  {}", truncate_str(text, WIDTH - 2, "…")));
}

/// A text with spaces up to a width; one that is wider stays as it is.
fn padded(text: &str, width: usize) -> String {
    let spaces = width.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(spaces))
}

/// Prints a heading.
pub(crate) fn heading(text: &str) {
    print(Style::new().bold().apply_to(text));
}
