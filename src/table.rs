//! Tables for people. At a terminal a table fits its width, and what does not fit is shortened with
//! an ellipsis. Elsewhere nothing is shortened, because programs such as grep read it.
//!
//! A table for spreadsheets is CSV (RFC 4180). A spreadsheet takes a cell that begins with `=`,
//! `+`, `-` or `@` for a formula. Tags and texts of findings come from strangers, so such a cell
//! begins with an apostrophe instead (OWASP, "CSV Injection").

use comfy_table::{ColumnConstraint, ContentArrangement, Row, Table, Width, presets};

use crate::domain::text::{escaped, start};

/// The number of tags of one image that are named at a terminal.
const NAMED: usize = 3;
/// The most tags of one image that are named below its row.
const MOST_BELOW: usize = 50;
/// The width of most terminals.
const USUAL: u16 = 80;
/// The digits of a digest that are shown at a terminal.
const DIGITS: usize = 12;
/// The longest text of a cell, in characters.
const LONGEST: usize = 2_000;
/// The space between columns.
const GAP: u16 = 2;
/// The width below which a table is not shortened further.
const NARROWEST: u16 = 40;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    name: &'static str,
    least: Least,
}

/// The width that a column keeps at a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Least {
    /// That of its widest text.
    All,
    /// At most this.
    Some(u16),
}

impl Column {
    /// A column whose texts may be shortened.
    pub(crate) const fn free(name: &'static str) -> Self {
        Self::at_least(0, name)
    }

    /// A column whose texts may be shortened to this width.
    pub(crate) const fn at_least(width: u16, name: &'static str) -> Self {
        Self { name, least: Least::Some(width) }
    }

    /// A column whose texts are always shown in full.
    pub(crate) const fn fixed(name: &'static str) -> Self {
        Self { name, least: Least::All }
    }
}

fn empty(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    match width {
        Some(width) => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            // The last column has a gap after it too.
            table.set_width(width.max(NARROWEST) + GAP);
        }
        None => {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    }
    table
}

fn lines(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

fn cell(text: &str) -> String {
    escaped(&start(text, LONGEST), &[]).into_owned()
}

/// Returns a table, or nothing if there are no rows. Every row is one line.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>, width: Option<u16>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut table = empty(width);
    table.set_header(columns.iter().map(|column| column.name));
    for row in rows {
        let mut row: Row = row.iter().map(|text| cell(text)).into();
        if width.is_some() {
            row.max_height(1);
        }
        table.add_row(row);
    }
    let widest = table.column_max_content_widths();
    for ((column, of), widest) in table.column_iter_mut().zip(columns).zip(widest) {
        // A text is shortened anywhere, not only between words.
        column.set_delimiter('\0');
        column.set_constraint(match of.least {
            Least::All => ColumnConstraint::ContentWidth,
            // The width of a constraint includes the gap.
            Least::Some(least) => {
                ColumnConstraint::LowerBoundary(Width::Fixed(least.min(widest) + GAP))
            }
        });
    }
    lines(table)
}

/// A row of a table, and lines below it.
#[derive(Debug, Default)]
pub(crate) struct TableRow {
    /// The texts of the columns. The first one says where.
    pub cells: Vec<String>,
    /// The lines below the row, at a terminal.
    pub below: Vec<String>,
}

/// Returns a table like [`table()`]. At a terminal, a row is followed by its lines, and before them
/// by its first text if the row has no room for all of it.
pub(crate) fn table_with_lines(
    columns: &[Column],
    rows: Vec<TableRow>,
    width: Option<u16>,
) -> String {
    let (cells, below): (Vec<_>, Vec<_>) =
        rows.into_iter().map(|row| (row.cells, row.below)).unzip();
    let whole: Vec<_> = cells.iter().map(|row| row.first().cloned().unwrap_or_default()).collect();
    let shown = table(columns, cells, width);
    if width.is_none() {
        return shown;
    }
    let mut lines = shown.split_inclusive('\n');
    let mut text: String = lines.next().unwrap_or_default().to_owned();
    for ((line, below), whole) in lines.zip(below).zip(whole) {
        text.push_str(line);
        let whole = cell(&whole);
        let cut = (!line.starts_with(&*whole)).then_some(whole);
        for line in cut.into_iter().chain(below.iter().map(|line| cell(line))) {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

/// Returns notes in two columns, the second of which takes as many lines as it needs.
pub(crate) fn notes(rows: impl Iterator<Item = (String, String)>, width: Option<u16>) -> String {
    let mut table = empty(width);
    for (subject, text) in rows {
        table.add_row([cell(&subject), cell(&text)]);
    }
    if table.is_empty() { String::new() } else { lines(table) }
}

/// Returns a digest, or at a terminal the digits that people compare.
pub(crate) fn digest(digest: &str, width: Option<u16>) -> String {
    let digits = digest.strip_prefix("sha256:").and_then(|hex| hex.get(..DIGITS));
    match (width, digits) {
        (Some(_), Some(digits)) => digits.to_owned(),
        _ => digest.to_owned(),
    }
}

/// Returns the names of tags, or at a terminal the first ones.
pub(crate) fn tags(tags: &[impl AsRef<str>], width: Option<u16>) -> String {
    let most = if width.is_some() { NAMED } else { usize::MAX };
    let mut named: Vec<_> = tags.iter().take(most).map(|tag| tag.as_ref().to_owned()).collect();
    if tags.len() > named.len() {
        named.push(format!("{} more", tags.len() - named.len()));
    }
    named.join(", ")
}

/// Tags for a table in which no name is cut, because people copy it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct WholeTags {
    /// The names, or their number if the column has no room for them.
    pub cell: String,
    /// The names, for the lines below the row.
    pub below: Vec<String>,
}

impl WholeTags {
    /// Shows these tags in a column that has this room in a terminal of 80 columns.
    pub(crate) fn new(tags: &[impl AsRef<str>], room: u16, width: Option<u16>) -> Self {
        let names: Vec<_> = tags.iter().map(|tag| tag.as_ref().to_owned()).collect();
        let all = names.join(", ");
        let Some(width) = width else { return Self { cell: all, below: Vec::new() } };
        let room = room + width.saturating_sub(USUAL) / 3;
        if all.chars().count() <= usize::from(room) {
            return Self { cell: all, below: Vec::new() };
        }
        let cell = count(names.len() as u64, "tag", "tags");
        Self { cell, below: wrapped(names, usize::from(width.max(NARROWEST) - GAP)) }
    }
}

/// Returns names in lines of at most this width, but for a name that is wider by itself.
fn wrapped(mut names: Vec<String>, width: usize) -> Vec<String> {
    let more = names.len().saturating_sub(MOST_BELOW);
    names.truncate(MOST_BELOW);
    if more > 0 {
        names.push(format!("{more} more (`--format json` has all)"));
    }
    let last = names.len().saturating_sub(1);
    let mut lines: Vec<String> = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let name = if at < last { format!("{name},") } else { name };
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + name.chars().count() <= width => {
                line.push_str(&format!(" {name}"));
            }
            _ => lines.push(name),
        }
    }
    lines
}

/// Returns rows as CSV, after one header.
///
/// # Errors
/// The writer's error.
pub(crate) fn csv<const N: usize>(
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<String, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(row.map(|text| csv_cell(&text)))?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn csv_cell(text: &str) -> String {
    let text = escaped(text, &[]);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.into_owned() }
}

/// Returns a number with a comma between thousands.
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Returns a number of things, such as `1 image` or `2 images`.
#[must_use]
pub(crate) fn count(of: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(of), if of == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Vec<String>> {
        let long = "team/a repository whose name is long enough for two lines".to_owned();
        let short = ["team/app".to_owned(), "045416244822".to_owned(), "1.0".to_owned()];
        vec![short.into(), vec![long, "145416244822".to_owned(), "x".repeat(60)]]
    }

    const COLUMNS: [Column; 3] =
        [Column::free("REPOSITORY"), Column::fixed("IMAGE"), Column::free("TAGS")];

    #[test]
    fn row_is_one_line_that_fits_the_terminal() {
        for width in [40, 60, 80, 100, 200] {
            let shown = table(&COLUMNS, rows(), Some(width));
            assert_eq!(shown.lines().count(), 3, "{shown}");
            let widest = shown.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(usize::from(width)), "{width}:\n{shown}");
            assert!(shown.contains("045416244822  1.0"), "{shown}");
            assert_eq!(shown.contains('…'), width < 150, "{shown}");
            // Not even a word is lost for nothing.
            assert!(width >= 150 || widest >= Some(usize::from(width) - 2), "{width}:\n{shown}");
        }
    }

    #[test]
    fn no_tag_is_ever_cut() {
        let names: Vec<_> =
            (0..60).map(|at| format!("release-{at:02}-{}", "x".repeat(at))).collect();
        for width in [40, 80, 120] {
            let WholeTags { cell, below } = WholeTags::new(&names[..40], 8, Some(width));
            assert_eq!(cell, "40 tags");
            for line in &below {
                assert!(line.len() <= usize::from(width) - 2 || !line.contains(' '), "{line}");
            }
            let all = below.join(" ");
            let named: Vec<_> = all.split(", ").collect();
            assert_eq!(named, &names[..40]);
        }
        let many = WholeTags::new(&names, 8, Some(80)).below.join(" ");
        assert!(many.ends_with(", 10 more (`--format json` has all)"), "{many}");
        let short = WholeTags { cell: "1.0, 1".to_owned(), below: Vec::new() };
        assert_eq!(WholeTags::new(&["1.0", "1"], 8, Some(80)), short);
        let piped = WholeTags::new(&names, 8, None);
        assert_eq!((piped.cell, piped.below), (names.join(", "), Vec::new()));
    }

    #[test]
    fn what_a_row_has_no_room_for_follows_it() {
        let row = |cells: &[&str], below: &[&str]| TableRow {
            cells: cells.iter().map(|cell| (*cell).to_owned()).collect(),
            below: below.iter().map(|line| (*line).to_owned()).collect(),
        };
        let long = "a/repository/whose/name/is/long/enough/for/two/lines";
        let rows = || {
            vec![row(&["a", "045416244822", "1.0"], &[]), row(&[long, "1", "2 tags"], &["b, c"])]
        };
        let shown = table_with_lines(&COLUMNS, rows(), Some(40));
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[1].starts_with("a ") && lines[2].contains('…'), "{shown}");
        assert_eq!(lines[3..], [format!("  {long}"), "  b, c".to_owned()], "{shown}");
        assert_eq!(table_with_lines(&COLUMNS, rows(), None).lines().count(), 3);
    }

    #[test]
    fn nothing_is_shortened_elsewhere() {
        let shown = table(&COLUMNS, rows(), None);
        assert!(shown.contains(&"x".repeat(60)) && !shown.contains('…'), "{shown}");
    }

    #[test]
    fn numbers_have_commas_between_thousands() {
        let numbers = [0, 999, 1_000, 12_345, 1_234_567].map(number);
        assert_eq!(numbers, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn cell_never_begins_a_formula_or_a_row() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)"] {
            assert_eq!(csv_cell(text), format!("'{text}"));
        }
        assert_eq!(csv_cell("1.0-rc"), "1.0-rc");
        assert_eq!(csv_cell("\t=1\r\n"), "\\u0009=1\\u000d\\u000a");
    }
}
