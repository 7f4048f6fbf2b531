//! The page of a plan: one HTML file for the manager with two minutes and for the engineer who has
//! to act. It is read on screens, on telephones and on paper.
//!
//! A plan names what strangers have pushed, and anybody can edit it. So the page contains no script
//! and loads nothing, its Content-Security-Policy says the same, every value passes through one
//! escaper that no template can forget (`escape`), and every list has an end (`cut`).

mod charts;
mod cut;
mod escape;
mod images;
mod lists;
mod view;
mod words;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use self::view::View;
use super::Document;

const STYLE: &str = include_str!("html/page.css");

#[derive(Template)]
#[template(path = "page.html", config = "src/sweep/plan_file/html/askama.toml")]
struct Page {
    style: &'static str,
    /// The only style that the page's Content-Security-Policy allows.
    style_hash: String,
    view: View,
}

/// Renders a plan as a page: one HTML file that needs no other.
#[must_use]
pub fn plan_page(document: &Document) -> String {
    let style_hash = STANDARD.encode(Sha256::digest(STYLE));
    let page = Page { style: STYLE, style_hash, view: View::new(document) };
    // Writing to a string does not fail, and the template returns no error of its own.
    page.render().unwrap_or_else(|error| format!("the page cannot be made: {error}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_style_and_its_hash_skip_the_escaper() {
        let template = include_str!("html/page.html");
        assert_eq!(template.replace(' ', "").matches("|safe").count(), 2);
        assert!(template.contains("<style>{{ style|safe }}</style>"));
        assert!(template.contains("style-src 'sha256-{{ style_hash|safe }}'"));
    }
}
