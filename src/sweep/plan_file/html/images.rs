//! The page's images and their findings.

use std::cmp::Reverse;
use std::time::Duration;

use super::cut::Cut;
use super::words::{number, rounded, text, time};
use crate::domain::findings::Severity;
use crate::sweep::plan_file::{Document, Entry, ListedFinding};

/// The tags, reasons or findings of one image that are shown. A document has at most ten findings
/// of an image, unless it was edited.
const ITEMS: usize = 40;
/// The tags of an image that has one line.
const FEW: usize = 3;
/// The characters of a digest that people compare.
const SHORT_DIGEST: usize = 19;

/// A name in its registry, which is said unless the plan covers only the document's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) registry: Option<String>,
    pub(super) name: String,
}

impl Place {
    /// Creates the place of a repository, or of all repositories of a registry.
    pub(super) fn new(of: &Document, account: &str, region: &str, name: Option<&str>) -> Self {
        let own = account == of.account && region == of.region;
        let is_clear = own && of.registries.len() <= 1;
        let registry = (!is_clear).then(|| text(&format!("{account} {region}")));
        Self { registry, name: text(name.unwrap_or("(all repositories)")) }
    }

    pub(super) fn of(document: &Document, entry: &Entry) -> Self {
        Self::new(document, &entry.account, &entry.region, Some(&entry.repository))
    }
}

/// One image, described whole.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) untag: Cut<String>,
    pub(super) kept: Cut<String>,
    pub(super) digest: String,
    pub(super) is_index: bool,
    pub(super) delete: bool,
    pub(super) reasons: Cut<String>,
    pub(super) counts: Vec<Count>,
    pub(super) findings: Cut<Finding>,
    pub(super) more_findings: Option<String>,
    pub(super) rule: String,
    pub(super) age: Option<String>,
    pub(super) pushed_at: Option<String>,
    pub(super) size: Option<String>,
}

/// A number of findings of one severity.
#[derive(Debug)]
pub(super) struct Count {
    pub(super) severity: &'static str,
    pub(super) number: String,
}

/// One finding.
#[derive(Debug)]
pub(super) struct Finding {
    /// The severity that the style sheet knows.
    pub(super) class: &'static str,
    pub(super) severity: String,
    pub(super) score: Option<String>,
    pub(super) id: String,
    pub(super) link: Option<String>,
    pub(super) package: Option<String>,
    pub(super) installed: Option<String>,
    pub(super) fixed: Option<String>,
}

/// One image in one line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) place: Place,
    pub(super) tags: Cut<String>,
    pub(super) digest: String,
    pub(super) counts: Vec<Count>,
    pub(super) reasons: Cut<String>,
}

impl Image {
    pub(super) fn new(document: &Document, entry: &Entry) -> Self {
        let made_at = humantime::parse_rfc3339(&document.made_at).ok();
        let pushed_at = entry.pushed_at.as_deref();
        let age = pushed_at
            .and_then(|at| humantime::parse_rfc3339(at).ok())
            .zip(made_at)
            .and_then(|(pushed_at, made_at)| made_at.duration_since(pushed_at).ok());
        Self {
            untag: texts(&entry.untag, ITEMS),
            kept: texts(&entry.kept, ITEMS),
            digest: text(&entry.digest),
            is_index: entry.kind == "index",
            delete: entry.delete,
            reasons: texts(&entry.reasons, ITEMS),
            counts: counts(entry),
            findings: Cut::of(entry.findings.iter(), ITEMS, Finding::new),
            more_findings: (entry.more_findings > 0).then(|| number(entry.more_findings)),
            rule: text(&entry.rule),
            age: age.map(in_words),
            pushed_at: pushed_at.map(time),
            size: entry.size.map(bytes),
        }
    }
}

impl Line {
    pub(super) fn new(document: &Document, entry: &Entry) -> Self {
        let tags = if entry.untag.is_empty() { &entry.tags } else { &entry.untag };
        Self {
            place: Place::of(document, entry),
            tags: texts(tags, FEW),
            digest: entry.digest.chars().take(SHORT_DIGEST).collect(),
            counts: counts(entry),
            reasons: texts(&entry.reasons, FEW),
        }
    }
}

impl Finding {
    fn new(finding: &ListedFinding) -> Self {
        Self {
            class: class_of(&finding.severity),
            severity: text(&finding.severity),
            score: finding.score.map(|score| format!("{score:.1}")),
            id: text(&finding.id),
            link: finding.link.as_deref().filter(|link| is_web_page(link)).map(str::to_owned),
            package: finding.package.as_deref().map(text),
            installed: finding.installed.as_deref().map(text),
            fixed: finding.fixed.as_deref().map(text),
        }
    }
}

/// A key that sorts the image with the worst findings first.
pub(super) type Badness = Reverse<[u64; 4]>;

/// Returns the key of an image.
pub(super) fn badness(entry: &Entry) -> Badness {
    let worst = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];
    Reverse(worst.map(|severity| count(entry, severity)))
}

fn count(entry: &Entry, severity: Severity) -> u64 {
    entry.counts.get(severity.as_key()).copied().unwrap_or_default()
}

fn counts(entry: &Entry) -> Vec<Count> {
    let all = Severity::ALL.into_iter().map(|severity| (severity, count(entry, severity)));
    all.filter(|(_, count)| *count > 0)
        .map(|(severity, count)| Count { severity: severity.as_key(), number: number(count) })
        .collect()
}

fn texts(all: &[String], most: usize) -> Cut<String> {
    Cut::of(all.iter(), most, |one| text(one))
}

/// Returns whether a browser that follows the link can do nothing but open a page. A scanner gives
/// the link, or whoever edited the plan.
fn is_web_page(link: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic();
    link.starts_with("https://") && link.len() <= 500 && link.bytes().all(is_plain)
}

/// Returns the severity's class in the style sheet.
fn class_of(severity: &str) -> &'static str {
    let known = Severity::ALL.into_iter().find(|known| known.as_key() == severity);
    known.unwrap_or(Severity::Undefined).as_key()
}

/// Writes an age in the unit that people would use.
fn in_words(age: Duration) -> String {
    let hours = age.as_secs() / 3600;
    let (count, unit) = match hours {
        0 => return "less than an hour".to_owned(),
        1..48 => (hours, "hour"),
        _ => (hours / 24, "day"),
    };
    format!("{} {unit}{}", number(count), if count == 1 { "" } else { "s" })
}

/// Writes a size in decimal units, as the console of ECR does.
fn bytes(size: u64) -> String {
    let in_units = |unit: f64| rounded(size) / unit;
    match size {
        0..1_000 => format!("{size} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", in_units(1e3)),
        1_000_000..1_000_000_000 => format!("{:.1} MB", in_units(1e6)),
        _ => format!("{:.1} GB", in_units(1e9)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_web_pages_only() {
        assert!(is_web_page("https://nvd.nist.gov/vuln/detail/CVE-2026-1"));
        for link in ["javascript:alert(1)", "http://a/", "HTTPS://a", "https://a b", "https://é"] {
            assert!(!is_web_page(link), "{link}");
        }
        assert!(!is_web_page(&format!("https://{}", "a".repeat(500))));
    }

    #[test]
    fn ages_and_sizes_have_the_unit_that_people_use() {
        let age = |hours: u64| in_words(Duration::from_secs(hours * 3600));
        assert_eq!([age(0), age(1), age(47)], ["less than an hour", "1 hour", "47 hours"]);
        assert_eq!([age(48), age(24 * 1500)], ["2 days", "1,500 days"]);
        let sizes = [999, 1_000, 181_912_345, 4_200_000_000].map(bytes);
        assert_eq!(sizes, ["999 bytes", "1.0 kB", "181.9 MB", "4.2 GB"]);
    }
}
