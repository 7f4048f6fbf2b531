//! Texts of other people's: which of their characters do more than to be read. Whatever shows such a text, in a log, a
//! notice or a terminal, asks here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character is not seen and does something all the same: controls, breaks of lines and paragraphs, what turns
/// the direction of writing, and what takes no room.
#[must_use]
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with its unseen characters written as JSON escapes them, but for those that are `ours`.
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

/// The start of a text, so many characters at the most; three dots say that there was more.
#[must_use]
pub fn start(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(3)).chain("...".chars()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_stays_and_what_acts_is_escaped() {
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
