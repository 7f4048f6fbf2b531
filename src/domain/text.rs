//! Texts that other people wrote, made safe to show.
//!
//! Names, tags and texts of findings can hold characters that nobody sees but that change what
//! people read: controls that break out of a log line, or marks that reverse the direction of a
//! text in a terminal. This module is the only place that decides which characters these are. The
//! log, notices, `explain` and `check` all use it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a character is invisible and still changes how a text is shown: controls, breaks
/// of lines and paragraphs, marks of the writing direction, and characters without width.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// Replaces the invisible characters of a text by JSON escapes, except the characters in `ours`,
/// which the caller has put there.
#[must_use]
pub fn escaped<'a>(text: &'a str, ours: &[char]) -> Cow<'a, str> {
    let acts = |c: char| is_unseen(c) && !ours.contains(&c);
    if !text.contains(acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// The folder of the documentation, which texts for people name pages of. There is no public
/// address of it yet; when there is one, it belongs here.
pub const DOCS: &str = "docs";

/// Returns the first `most` characters of a text. If the text is longer, the last three of them are
/// dots.
#[must_use]
pub fn start(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(3)).chain("...".chars()).collect(),
    }
}

/// Returns bytes in hexadecimal digits, as digests and ids are written.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_replaces_only_invisible_characters() {
        for (text, shown) in [
            ("CVE-2026-0001 in libé 1.0 \u{1f525}", "CVE-2026-0001 in libé 1.0 \u{1f525}"),
            ("a\r\nb\tc\0", "a\\u000d\\u000ab\\u0009c\\u0000"),
            ("\u{1b}[2J\u{7f}\u{9b}31m", "\\u001b[2J\\u007f\\u009b31m"),
            ("\u{2028}\u{202e}\u{200b}\u{feff}", "\\u2028\\u202e\\u200b\\ufeff"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(escaped(text, &[]), shown);
            let json: String = serde_json::from_str(&format!("\"{shown}\"")).unwrap();
            assert_eq!(json, text, "JSON reads the escapes back");
        }
        assert_eq!(escaped("a\nb\r", &['\n']), "a\nb\\u000d");
    }
}
