//! Severities, counts of findings, and what a scan says.

mod list;
mod reading;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::text::is_unseen;

pub use list::{FindingList, FindingRef, PackageRef};
pub use reading::{MAX_FINDINGS, Reading, ScanPage, ScanState};

/// How bad a finding is, worst first. The union of what ECR and Inspector report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Critical.
    Critical,
    /// High.
    High,
    /// Medium.
    Medium,
    /// Low.
    Low,
    /// Informational.
    Informational,
    /// Not rated yet by Inspector.
    Untriaged,
    /// Not rated by ECR's basic scanning, or a word that this version does not know.
    Undefined,
}

impl Severity {
    /// Every severity, worst first.
    pub const ALL: [Self; 7] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Informational,
        Self::Untriaged,
        Self::Undefined,
    ];

    /// The severity that AWS calls `word`; `None` for a word that is new to us.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_word() == word)
    }

    /// AWS's word for it.
    #[must_use]
    pub fn as_word(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::High => "HIGH",
            Self::Medium => "MEDIUM",
            Self::Low => "LOW",
            Self::Informational => "INFORMATIONAL",
            Self::Untriaged => "UNTRIAGED",
            Self::Undefined => "UNDEFINED",
        }
    }

    /// The word in lower case, as configuration keys and notices write it.
    #[must_use]
    pub fn as_key(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
            Self::Informational => "informational",
            Self::Untriaged => "untriaged",
            Self::Undefined => "undefined",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_key())
    }
}

/// Number of findings by severity. A severity that is not listed was not reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeverityCounts(BTreeMap<Severity, u64>);

impl SeverityCounts {
    /// The number of findings of this severity; `None` where the source said nothing of it.
    #[must_use]
    pub fn reported(&self, severity: Severity) -> Option<u64> {
        self.0.get(&severity).copied()
    }

    /// The number of findings of this severity, zero where the source said nothing of it.
    #[must_use]
    pub fn of(&self, severity: Severity) -> u64 {
        self.reported(severity).unwrap_or(0)
    }

    /// Adds findings of one severity.
    pub fn add(&mut self, severity: Severity, count: u64) {
        let entry = self.0.entry(severity).or_default();
        *entry = entry.saturating_add(count);
    }

    /// The higher number of the two for each severity: where a summary and a list of findings
    /// disagree, neither may hide what the other shows.
    #[must_use]
    pub fn at_least(mut self, other: &Self) -> Self {
        for (&severity, &count) in &other.0 {
            let entry = self.0.entry(severity).or_default();
            *entry = (*entry).max(count);
        }
        self
    }

    /// What is left of each number without the other's.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        for (severity, less) in other.iter() {
            if let Some(count) = self.0.get_mut(&severity) {
                *count = count.saturating_sub(less);
            }
        }
        self
    }

    /// Both numbers together, for each severity.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (severity, count) in other.iter() {
            self.add(severity, count);
        }
        self
    }

    /// Reported severities and their numbers, worst first.
    pub fn iter(&self) -> impl Iterator<Item = (Severity, u64)> + '_ {
        self.0.iter().map(|(&severity, &count)| (severity, count))
    }

    /// The worst severity with at least one finding.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.iter().find(|&(_, count)| count > 0).map(|(severity, _)| severity)
    }
}

impl FromIterator<(Severity, u64)> for SeverityCounts {
    fn from_iter<T: IntoIterator<Item = (Severity, u64)>>(iter: T) -> Self {
        let mut counts = Self::default();
        for (severity, count) in iter {
            counts.add(severity, count);
        }
        counts
    }
}

/// A CVSS base score, exact to a tenth as CVSS writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Score(u8);

impl Score {
    /// The score of this number; `None` outside 0 to 10.
    #[must_use]
    pub fn new(score: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range has just been checked"
        )]
        (0.0..=10.0).contains(&score).then(|| Self((score * 10.0).round() as u8))
    }

    /// The number.
    #[must_use]
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10.0
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

/// What Inspector writes in the place of a version that mends a package, where there is none.
pub const NO_FIX: &str = "NotAvailable";

/// A package that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The version in the image.
    pub installed: Option<String>,
    /// The version that mends it.
    pub fixed: Option<String>,
}

/// One vulnerability in one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Its name, for most a CVE id.
    pub id: String,
    /// The packages that have it. Basic scanning names one, enhanced scanning all that share the finding.
    pub packages: Vec<Package>,
    /// Whether it also has a package that the scanner does not name. No exception for a package
    /// covers that.
    pub unnamed_package: bool,
    /// Its CVSS score, where the scanner gives one.
    pub score: Option<Score>,
    /// Where to read about it.
    pub link: Option<String>,
    /// Whether there is a fix, at least for some of its packages. Basic scanning does not say.
    pub fixable: Option<bool>,
    /// Whether an exploit is known. Basic scanning does not say.
    pub exploitable: Option<bool>,
    /// Since when it is known in this image. Basic scanning does not say.
    pub first_observed: Option<SystemTime>,
}

impl Finding {
    /// A finding of which nothing else is known.
    #[must_use]
    pub fn new(id: impl Into<String>, severity: Severity) -> Self {
        Self {
            severity,
            id: id.into(),
            packages: Vec::new(),
            unnamed_package: false,
            score: None,
            link: None,
            fixable: None,
            exploitable: None,
            first_observed: None,
        }
    }
}

impl Finding {
    /// Takes what it does not say of itself from another version of it: an event leaves out what
    /// Inspector does not know, and never says since when it is known in the image.
    #[must_use]
    pub(super) fn completed_by(mut self, other: FindingRef<'_>) -> Self {
        let other = other.to_finding();
        if self.packages.is_empty() && !self.unnamed_package {
            (self.packages, self.unnamed_package) = (other.packages, other.unnamed_package);
        }
        self.score = self.score.or(other.score);
        self.fixable = self.fixable.or(other.fixable);
        self.exploitable = self.exploitable.or(other.exploitable);
        self.first_observed = self.first_observed.or(other.first_observed);
        self
    }
}

/// Texts of findings come from other people's packages and end in other people's mail: one short line each.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).take(256).collect()
}

/// What ECR's present scan of one image says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Number of findings by severity, as the scan's summary has it and at least as many as are listed.
    pub counts: SeverityCounts,
    /// The findings themselves.
    pub list: FindingList,
    /// How many findings were closed or suppressed: they do not count.
    pub inactive: SeverityCounts,
    /// Whether there are more findings than are kept of one image, so that the list is not whole.
    pub is_cut: bool,
    /// In how many tasks or pods ECR saw the image run lately. Basic scanning does not say.
    pub in_use: u64,
    /// When the scan ended. Enhanced scanning goes on.
    pub completed_at: Option<SystemTime>,
}

impl Findings {
    /// Takes the findings of a list, with the counts of a summary that may know of more.
    #[must_use]
    pub fn new(summary: SeverityCounts, list: impl IntoIterator<Item = Finding>) -> Self {
        Self::with_inactive(summary, list.into_iter().collect(), SeverityCounts::default())
    }

    /// Takes the findings of a list beside others that were closed or suppressed, which the
    /// summary may count too.
    #[must_use]
    pub fn with_inactive(
        summary: SeverityCounts,
        list: FindingList,
        inactive: SeverityCounts,
    ) -> Self {
        let counts = summary.without(&inactive).at_least(list.counts());
        Self { counts, list, inactive, ..Self::default() }
    }

    /// What the counts know of beyond the list.
    #[must_use]
    pub fn unlisted(&self) -> SeverityCounts {
        self.counts.clone().without(self.list.counts())
    }
}

/// The state of [`Scan::Pending`] of an image that nothing has scanned.
pub const NEVER_SCANNED: &str = "not found";

/// The state of an image's scan, and its findings where the state has any worth trusting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Basic scanning has completed: the findings are final for this scan.
    Complete(Findings),
    /// Enhanced scanning goes on: the findings are valid, and may still be growing.
    Active(Findings),
    /// There is no scan yet, or it has not ended; the word says which.
    Pending(String),
    /// There will be no findings to judge by (failed, unsupported, expired, unavailable, archived, or a state
    /// that this version does not know); the word is ECR's. Never to be taken for clean.
    Unavailable(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_severities_map_both_ways() {
        for severity in Severity::ALL {
            assert_eq!(Severity::from_word(severity.as_word()), Some(severity));
            assert_eq!(severity.as_key(), severity.as_word().to_lowercase());
        }
        assert_eq!(Severity::from_word("TOTAL"), None);
    }

    #[test]
    fn counts_tell_absent_from_zero_and_never_overflow() {
        let mut counts: SeverityCounts = [(Severity::High, 0)].into_iter().collect();
        assert_eq!(counts.reported(Severity::High), Some(0));
        assert_eq!(counts.reported(Severity::Critical), None);
        assert_eq!(counts.worst(), None);
        counts.add(Severity::High, u64::MAX);
        counts.add(Severity::High, 1);
        assert_eq!(counts.of(Severity::High), u64::MAX);
        assert_eq!(counts.worst(), Some(Severity::High));
    }

    #[test]
    fn where_summary_and_list_disagree_the_higher_number_counts() {
        let summary: SeverityCounts =
            [(Severity::Critical, 1), (Severity::High, 2)].into_iter().collect();
        let list: SeverityCounts = [(Severity::High, 5), (Severity::Low, 1)].into_iter().collect();
        let both = summary.at_least(&list);
        assert_eq!(
            both.iter().collect::<Vec<_>>(),
            [(Severity::Critical, 1), (Severity::High, 5), (Severity::Low, 1)]
        );
    }
}
