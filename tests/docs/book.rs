//! The book of the pages: its table of contents has every page once, and the pages at the root of
//! the repository are chapters too. `.ci/book` builds it and follows its links, if mdbook is there.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::pages::{files, root, text};

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

#[test]
fn pages_at_the_root_are_chapters_and_other_files_are_no_links() {
    let content = "[a](../CHANGELOG.md) [b](../README.md#x) [c](../benches/load/main.rs) \
                   [d](install.md#size) [e](https://example.com)\n\n```sh\n[f](../LICENSE)\n```\n";
    let chapter = json!({
        "name": "Operations", "content": content, "number": null, "sub_items": [],
        "path": "operations.md", "source_path": "operations.md", "parent_names": [],
    });
    let input = json!([{}, {"items": [{"Chapter": chapter}]}]).to_string();
    let mut program = Command::new("python3");
    program.arg("docs/book.py").current_dir(root());
    program.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = program.spawn().expect("python3");
    program.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a reader");
    let output = program.wait_with_output().expect("an end");
    assert!(output.status.success(), "{output:?}");

    let book: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let items = book["items"].as_array().expect("items");
    let chapters = items.iter().filter_map(|item| item.get("Chapter"));
    let paths: Vec<_> = chapters.clone().filter_map(|chapter| chapter["path"].as_str()).collect();
    assert_eq!(paths.first(), Some(&"README.md"));
    assert!(paths.contains(&"SECURITY.md") && paths.contains(&"CHANGELOG.md"), "{paths:?}");
    let mut operations = chapters.filter(|chapter| chapter["path"] == "operations.md");
    assert_eq!(
        operations.next().expect("the page")["content"],
        "[a](CHANGELOG.md) [b](index.md#x) c [d](install.md#size) [e](https://example.com)\n\n\
         ```sh\n[f](../LICENSE)\n```\n"
    );
}
