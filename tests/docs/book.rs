//! The book of the pages: its table of contents has every page once.

use std::collections::BTreeSet;

use super::pages::{files, text};

#[test]
fn contents_of_the_book_have_every_page_once() {
    let summary = text("docs/SUMMARY.md");
    let links = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let mut listed = BTreeSet::new();
    for link in links {
        assert!(listed.insert(format!("docs/{link}")), "{link} is listed twice");
    }
    let pages = files("docs", &[".md"]).into_iter().filter(|page| page != "docs/SUMMARY.md");
    assert_eq!(listed, pages.collect());
}

#[test]
fn decisions_are_listed_once_and_in_order_within_their_sections() {
    let list = text("docs/decisions/README.md");
    let mut listed = BTreeSet::new();
    for section in list.split("\n## ").skip(1) {
        let links = section.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links: Vec<_> = links.filter(|link| link.starts_with("00")).collect();
        assert!(links.is_sorted(), "{links:?}");
        for link in links {
            assert!(listed.insert(format!("docs/decisions/{link}")), "{link} is listed twice");
        }
    }
    let pages = files("docs/decisions", &[".md"]).into_iter();
    assert_eq!(listed, pages.filter(|page| !page.ends_with("README.md")).collect());
}
