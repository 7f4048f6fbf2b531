//! Parts of pages that are made from the program. A part stands between two comments, which
//! Markdown does not show: `<!-- generated: NAME -->` and `<!-- end: NAME -->`.
#![expect(clippy::panic, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;

/// The variable that makes a test write the parts instead of comparing them.
const UPDATE: &str = "TAGWARDEN_UPDATE_DOCS";

/// Compares the generated parts of a page with these texts, each given with its name. If the
/// variable is set, writes them first.
///
/// # Panics
/// If a part differs, or has no place on the page.
pub(crate) fn hold(page: &str, parts: &[(String, String)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let written = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut expected = written.clone();
    for (name, text) in parts {
        expected = with(&expected, name, text)
            .unwrap_or_else(|| panic!("{page} has no place for the generated part {name}"));
    }
    let places = written.matches("<!-- generated: ").count();
    assert_eq!(places, parts.len(), "{page} has a place for a part that nothing generates");
    if std::env::var_os(UPDATE).is_some() {
        fs::write(&path, &expected).unwrap_or_else(|error| panic!("{page}: {error}"));
    } else if let Some((is, should)) =
        written.lines().zip(expected.lines()).find(|(is, should)| is != should)
    {
        panic!(
            "{page} is out of date; set {UPDATE}=1 to write it anew\n has: {is}\nwant: {should}"
        );
    } else {
        assert!(written == expected, "{page} is out of date; set {UPDATE}=1 to write it anew");
    }
}

/// Returns the page with another text as this part.
fn with(page: &str, name: &str, text: &str) -> Option<String> {
    let (start, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = page.split_once(&start)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{start}\n{}\n\n{end}{after}", text.trim_matches('\n')))
}
