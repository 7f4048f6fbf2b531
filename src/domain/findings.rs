//! Findings of one image, their numbers by severity, and the state of the scan.
//!
//! ECR gives a list of findings and a summary of counts. When they disagree, the higher number
//! counts, so neither hides a finding that the other shows. Findings that are closed or suppressed
//! do not count, in the list or in the counts.
//!
//! [`Reading`] puts the pages of a scan together, up to a limit. [`FindingList`] holds the findings
//! in little memory.

mod list;
mod reading;

use std::collections::BTreeMap;
use std::fmt;
use std::time::SystemTime;

use super::text::is_unseen;

pub use list::{FindingList, FindingRef, PackageRef};
pub use reading::{MAX_FINDINGS, Reading, ScanPage, ScanState};

/// The severity of a finding, worst first: all words that ECR and Inspector report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// The default limit is zero.
    Critical,
    /// The default limit is zero.
    High,
    /// Unlimited by default.
    Medium,
    /// Unlimited by default.
    Low,
    /// Unlimited by default.
    Informational,
    /// Not rated yet by Inspector.
    Untriaged,
    /// Not rated by ECR's basic scanning, or a word that this version does not know.
    Undefined,
}

impl Severity {
    /// All severities, worst first.
    pub const ALL: [Self; 7] = [
        Self::Critical,
        Self::High,
        Self::Medium,
        Self::Low,
        Self::Informational,
        Self::Untriaged,
        Self::Undefined,
    ];

    /// Returns the severity for AWS's word, or `None` for a word that this version does not know.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.as_word() == word)
    }

    /// Returns AWS's word for the severity.
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

    /// Returns the word in lower case, as configuration keys and notices write it.
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

/// The number of findings by severity. A severity that the source did not report is absent, which
/// differs from zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeverityCounts(BTreeMap<Severity, u64>);

impl SeverityCounts {
    /// Returns the number of findings of this severity, or `None` if the source did not report it.
    #[must_use]
    pub fn reported(&self, severity: Severity) -> Option<u64> {
        self.0.get(&severity).copied()
    }

    /// Returns the number of findings of this severity, or zero if the source did not report it.
    #[must_use]
    pub fn of(&self, severity: Severity) -> u64 {
        self.reported(severity).unwrap_or(0)
    }

    /// Adds findings of one severity.
    pub fn add(&mut self, severity: Severity, count: u64) {
        let entry = self.0.entry(severity).or_default();
        *entry = entry.saturating_add(count);
    }

    /// Returns the higher of both numbers for each severity, because when a summary and a list of
    /// findings disagree, neither may hide a finding that the other shows.
    #[must_use]
    pub fn at_least(mut self, other: &Self) -> Self {
        for (&severity, &count) in &other.0 {
            let entry = self.0.entry(severity).or_default();
            *entry = (*entry).max(count);
        }
        self
    }

    /// Subtracts the other numbers, down to zero.
    #[must_use]
    pub fn without(mut self, other: &Self) -> Self {
        for (severity, less) in other.iter() {
            if let Some(count) = self.0.get_mut(&severity) {
                *count = count.saturating_sub(less);
            }
        }
        self
    }

    /// Adds the other numbers.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (severity, count) in other.iter() {
            self.add(severity, count);
        }
        self
    }

    /// Iterates over the reported severities and their numbers, worst first.
    pub fn iter(&self) -> impl Iterator<Item = (Severity, u64)> + '_ {
        self.0.iter().map(|(&severity, &count)| (severity, count))
    }

    /// Returns the worst severity that has at least one finding.
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
    /// Creates a score from a number. Returns `None` if it is outside 0 to 10.
    #[must_use]
    pub fn new(score: f64) -> Option<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range has just been checked"
        )]
        (0.0..=10.0).contains(&score).then(|| Self((score * 10.0).round() as u8))
    }

    /// Returns the score as a number.
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

/// Inspector's word for the fixed version of a package that has no fix.
pub const NO_FIX: &str = "NotAvailable";

/// A package that has a finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// The name of the package.
    pub name: String,
    /// The version in the image.
    pub installed: Option<String>,
    /// The version that fixes the finding.
    pub fixed: Option<String>,
}

/// One vulnerability in one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The severity that the scanner gives.
    pub severity: Severity,
    /// The id, mostly a CVE id.
    pub id: String,
    /// The packages that have the finding. Basic scanning names one, enhanced scanning all that
    /// share it.
    pub packages: Vec<Package>,
    /// Whether the finding is also in a package that the scanner does not name. No exception for a
    /// package covers that package.
    pub unnamed_package: bool,
    /// The CVSS score, if the scanner gives one.
    pub score: Option<Score>,
    /// The address of a page about the finding.
    pub link: Option<String>,
    /// Whether there is a fix, at least for some of its packages. Basic scanning does not say.
    pub fixable: Option<bool>,
    /// Whether an exploit is known. Basic scanning does not say.
    pub exploitable: Option<bool>,
    /// When the scanner first saw the finding in this image. Basic scanning does not say.
    pub first_observed: Option<SystemTime>,
}

impl Finding {
    /// Creates a finding with an id and a severity and nothing else.
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
    /// Fills in the fields that this version of a finding leaves out from another version of it. An
    /// event leaves out what Inspector does not know, and never says when the finding was first
    /// seen.
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

/// Makes a text of a finding one short line without invisible characters, because these texts come
/// from other people's packages and are sent to other people's mailboxes.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).take(256).collect()
}

/// The findings of one image by ECR's present scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The number of findings by severity: the scan's summary, and at least the numbers of the
    /// list.
    pub counts: SeverityCounts,
    /// The findings themselves.
    pub list: FindingList,
    /// The number of findings that are closed or suppressed. They do not count.
    pub inactive: SeverityCounts,
    /// Whether the image has more findings than are kept, so that the list is incomplete.
    pub is_cut: bool,
    /// The number of tasks or pods in which ECR has seen the image run lately. Basic scanning does
    /// not say.
    pub in_use: u64,
    /// When the scan ended. Enhanced scanning never ends.
    pub completed_at: Option<SystemTime>,
}

impl Findings {
    /// Combines a list of findings with the counts of a summary, which may know of more findings.
    #[must_use]
    pub fn new(summary: SeverityCounts, list: impl IntoIterator<Item = Finding>) -> Self {
        Self::with_inactive(summary, list.into_iter().collect(), SeverityCounts::default())
    }

    /// Combines a list of findings with the counts of a summary that may also count findings that
    /// are closed or suppressed (`inactive`).
    #[must_use]
    pub fn with_inactive(
        summary: SeverityCounts,
        list: FindingList,
        inactive: SeverityCounts,
    ) -> Self {
        let counts = summary.without(&inactive).at_least(list.counts());
        Self { counts, list, inactive, ..Self::default() }
    }

    /// Returns the numbers of findings that the counts have and the list does not.
    #[must_use]
    pub fn unlisted(&self) -> SeverityCounts {
        self.counts.clone().without(self.list.counts())
    }
}

/// The scan status of an image that is too large for the scanner (ECR API model, ScanStatus).
pub(super) const IMAGE_SIZE_EXCEEDED: &str = "IMAGE_SIZE_EXCEEDED";

/// The state of an image's scan, with the findings if the state makes them trustworthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scan {
    /// Basic scanning has completed. The findings of this scan are final.
    Complete(Findings),
    /// Enhanced scanning goes on. The findings are valid, and more may follow.
    Active(Findings),
    /// No scanner has scanned the image.
    NeverScanned,
    /// The scan has not ended. The word is ECR's.
    Pending(String),
    /// There will be no findings to judge, because the scan failed, or the image is unsupported,
    /// expired, unavailable or archived, or the state is one that this version does not know. The
    /// word is ECR's. Such an image never counts as clean.
    Unavailable(String),
}

impl Scan {
    /// Returns in words why there are no findings to judge; `None` if there are.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        match self {
            Self::Complete(_) | Self::Active(_) => None,
            Self::NeverScanned => Some("ECR has not scanned the image".to_owned()),
            Self::Pending(state) => Some(format!("ECR's scan is {state}")),
            Self::Unavailable(state) => {
                let meaning = match state.as_str() {
                    IMAGE_SIZE_EXCEEDED => ": the image is larger than its scanner takes",
                    _ => "",
                };
                Some(format!("ECR's scan status is {state}{meaning}"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
