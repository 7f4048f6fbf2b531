//! Pages keep a form in which people find their way.

use super::pages::{files, split, text, without_code};

/// The most lines of a page.
const MAX_LINES: usize = 500;
/// The most columns of a line of prose. Tables and code cannot wrap.
const MAX_COLUMNS: usize = 100;

#[test]
fn every_page_is_short_and_its_prose_is_wrapped() {
    let pages = files("docs", &[".md"]);
    assert!(pages.len() > 50, "{pages:?}");
    for name in pages {
        let page = text(&name);
        let lines = page.lines().count();
        assert!(lines <= MAX_LINES, "{name} has {lines} lines");
        for (number, line) in split(&page).0 {
            let is_table = line.starts_with('|');
            // The lists of values in the generated part about metrics.
            let is_list_of_values = line.starts_with("- `tagwarden_");
            // mdBook wants each of its entries on one line.
            let is_entry = name == "docs/SUMMARY.md";
            let columns = line.chars().count();
            assert!(
                columns <= MAX_COLUMNS || is_table || is_list_of_values || is_entry,
                "{name}:{number} has {columns} columns"
            );
        }
    }
}

#[test]
fn code_spans_and_links_are_closed() {
    for name in files("docs", &[".md"]) {
        let page = text(&name);
        let prose: Vec<_> = split(&page).0.into_iter().map(|(_, line)| line).collect();
        for paragraph in prose.join("\n").split("\n\n") {
            assert!(paragraph.matches('`').count() % 2 == 0, "{name}: {paragraph}");
            let plain = without_code(paragraph);
            let (open, closed) = (plain.matches("](").count(), plain.matches(')').count());
            assert!(open <= closed, "{name}: {paragraph}");
        }
    }
}
