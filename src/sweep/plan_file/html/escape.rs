//! The escaper of the page's templates.

use std::fmt::{self, Write};

use askama::filters::{Escaper, Html};

use crate::domain::text::escaped;

/// Makes a text safe in HTML, as elements and as attributes, and makes invisible characters
/// visible, because HTML hides controls and obeys marks of the writing direction.
#[derive(Clone, Copy, Debug)]
pub(in crate::sweep::plan_file) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: Write>(&self, dest: W, text: &str) -> fmt::Result {
        Html.write_escaped_str(dest, &escaped(text, &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_invisible_characters_are_escaped() {
        let mut page = String::new();
        Visible.write_escaped_str(&mut page, "<b title=\"'&'\">\u{202e}a\nb\0é").unwrap();
        Visible.write_escaped_char(&mut page, '\u{200b}').unwrap();
        let safe = "&#60;b title=&#34;&#39;&#38;&#39;&#34;&#62;\\u202ea\\u000ab\\u0000é\\u200b";
        assert_eq!(page, safe);
    }
}
