//! The parts of the document: one image, its findings, a repository, and what could not be read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::coverage::{Census, Coverage};
use crate::domain::findings::{Finding, Severity, SeverityCounts};
use crate::domain::image::{Image, ImageKind};
use crate::domain::names::{RegistryId, Repository, Tag};
use crate::sweep::InventoryEntry;

/// One image of the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// The account of the repository.
    pub account: String,
    /// The Region of the repository.
    pub region: String,
    /// The repository.
    pub repository: String,
    /// The digest.
    pub digest: String,
    /// `image`, `index` or `artifact`.
    pub kind: String,
    /// When it was pushed (RFC 3339), if ECR says so.
    pub pushed_at: Option<String>,
    /// Its size in bytes, if ECR says so. That of an index does not include its images.
    pub size: Option<u64>,
    /// All tags that it has.
    pub tags: Vec<String>,
    /// The tags to remove, also in audit mode.
    pub untag: Vec<String>,
    /// Whether the image is deleted with its tags (`policy.action`).
    pub delete: bool,
    /// The tags that stay although the image violates the policy.
    pub kept: Vec<String>,
    /// The word of its [`Coverage`].
    pub verdict: String,
    /// The name of the rule that judges it, `base` if no rule matches its repository.
    pub rule: String,
    /// The reasons for the verdict, in words.
    pub reasons: Vec<String>,
    /// The number of findings that count, by severity in lower case.
    pub counts: BTreeMap<String, u64>,
    /// The worst findings that count, worst first, at most ten.
    pub findings: Vec<ListedFinding>,
    /// The number of findings that count beyond those.
    pub more_findings: u64,
}

/// One finding that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ListedFinding {
    /// The severity, in lower case.
    pub severity: String,
    /// The id, mostly a CVE id.
    pub id: String,
    /// The package, the first if there are several.
    pub package: Option<String>,
    /// The version of the package in the image.
    pub installed: Option<String>,
    /// The version that fixes the finding.
    pub fixed: Option<String>,
    /// The CVSS score, from 0 to 10.
    pub score: Option<f64>,
    /// The address of a page about the finding, as the scanner gives it.
    pub link: Option<String>,
}

impl ListedFinding {
    fn new(finding: &Finding) -> Self {
        let package = finding.packages.first();
        Self {
            severity: finding.severity.to_string(),
            id: finding.id.clone(),
            package: package.map(|package| package.name.clone()),
            installed: package.and_then(|package| package.installed.clone()),
            fixed: package.and_then(|package| package.fixed.clone()),
            score: finding.score.map(|score| score.value()),
            link: finding.link.clone(),
        }
    }
}

/// The numbers of a repository with images that violate the policy or that cannot be judged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RepositoryCounts {
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The name.
    pub repository: String,
    /// The number of its tagged images with each verdict.
    pub census: BTreeMap<String, u64>,
    /// The number of findings that count in its images, by severity in lower case.
    pub findings: BTreeMap<String, u64>,
}

impl RepositoryCounts {
    /// Returns the number of images that people can pull and nobody knows how vulnerable they are.
    #[must_use]
    pub fn not_covered(&self) -> u64 {
        sum(&self.census, |coverage| coverage.is_gap() && coverage != Coverage::Failed)
    }

    pub(super) fn place(&self) -> [&str; 3] {
        [&self.account, &self.region, &self.repository]
    }

    /// Returns the number of images that violate the policy.
    #[must_use]
    pub fn violating(&self) -> u64 {
        sum(&self.census, Coverage::violates)
    }
}

/// A repository, or a whole registry, that could not be inspected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The repository. `None` means that the repositories of the registry cannot be listed.
    pub repository: Option<String>,
    /// The reason.
    pub problem: String,
}

impl Unread {
    pub(super) fn place(&self) -> [&str; 3] {
        [&self.account, &self.region, self.repository.as_deref().unwrap_or_default()]
    }
}

/// The counts of one repository while it is inspected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Its images by result.
    pub census: Census,
    /// The findings that count in its images.
    pub findings: SeverityCounts,
    /// Its images by the worst severity that counts.
    pub worst: SeverityCounts,
}

impl Tally {
    /// Counts an image.
    pub fn count(&mut self, entry: &InventoryEntry) {
        self.census.count(entry.coverage);
        for (severity, count) in entry.counted.iter().filter(|(_, count)| *count > 0) {
            self.findings.add(severity, count);
        }
        if let Some(worst) = entry.counted.worst() {
            self.worst.add(worst, 1);
        }
    }

    pub(super) fn of(&self, repository: &Repository) -> RepositoryCounts {
        RepositoryCounts {
            account: repository.account.to_string(),
            region: repository.region.to_string(),
            repository: repository.name.to_string(),
            census: words(&self.census),
            findings: by_severity(&self.findings),
        }
    }
}

/// Returns a census by the words of the document.
fn words(census: &Census) -> BTreeMap<String, u64> {
    census.iter().map(|(coverage, images)| (coverage.as_str().to_owned(), images)).collect()
}

fn by_severity(counts: &SeverityCounts) -> BTreeMap<String, u64> {
    let found = counts.iter().filter(|(_, count)| *count > 0);
    found.map(|(severity, count)| (severity.to_string(), count)).collect()
}

/// Adds numbers to those that have the same word.
pub(super) fn add(to: &mut BTreeMap<String, u64>, numbers: &BTreeMap<String, u64>) {
    for (word, number) in numbers {
        let all = to.entry(word.clone()).or_default();
        *all = all.saturating_add(*number);
    }
}

/// Returns the number of images of a census whose result satisfies a condition. A word that this
/// version does not know satisfies none.
pub(super) fn sum(census: &BTreeMap<String, u64>, of: impl Fn(Coverage) -> bool) -> u64 {
    let counted = census.iter().filter(|(word, _)| Coverage::from_word(word).is_some_and(&of));
    counted.fold(0, |all, (_, images)| all.saturating_add(*images))
}

/// The numbers of a whole plan, over all images, listed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// The number of repositories that were inspected.
    pub repositories: u64,
    /// The number of their tagged images.
    pub images: u64,
    /// The number of images with each verdict, by the word of its [`Coverage`].
    pub census: BTreeMap<String, u64>,
    /// The number of findings that count in all images, by severity in lower case. A finding counts
    /// in every image that has it.
    pub findings: BTreeMap<String, u64>,
    /// The number of images by the worst severity that counts.
    pub worst: BTreeMap<String, u64>,
}

impl Totals {
    /// Returns the number of images that people can pull and nobody knows how vulnerable they are.
    #[must_use]
    pub fn not_covered(&self) -> u64 {
        sum(&self.census, |coverage| coverage.is_gap() && coverage != Coverage::Failed)
    }

    pub(super) fn add(&mut self, tally: &Tally) {
        self.repositories += 1;
        self.images = self.images.saturating_add(tally.census.sum(|_| true));
        add(&mut self.census, &words(&tally.census));
        add(&mut self.findings, &by_severity(&tally.findings));
        add(&mut self.worst, &by_severity(&tally.worst));
    }
}

/// An account and Region that the plan covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The account.
    pub account: String,
    /// The Region.
    pub region: String,
}

impl Place {
    pub(super) fn new(registry_id: &RegistryId) -> Self {
        let RegistryId { account, region } = registry_id;
        Self { account: account.to_string(), region: region.to_string() }
    }
}

/// The policy by which the plan was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyNote {
    /// The configuration file, `TAGWARDEN_CONFIG_TEXT`, or `defaults`; and the variables that set
    /// keys of the policy.
    pub source: String,
    /// The limits of the base policy, in words.
    pub limits: String,
    /// The policy's fingerprint, in hexadecimal digits.
    pub fingerprint: String,
    /// The mode of the base policy, if one is chosen. The plan says what is done in the mode
    /// `enforce`.
    pub mode: String,
}

impl Entry {
    /// Describes an image, which this rule judged.
    #[must_use]
    pub fn new(repository: &Repository, rule: &str, entry: &InventoryEntry) -> Self {
        let InventoryEntry { image, coverage, untag, delete, kept, reasons, .. } = entry;
        let Image { digest, tags, kind, pushed_at, size, .. } = image;
        let names = |tags: &[Tag]| tags.iter().map(ToString::to_string).collect();
        let counted = entry.counted.iter().fold(0_u64, |all, (_, some)| all.saturating_add(some));
        Self {
            account: repository.account.to_string(),
            region: repository.region.to_string(),
            repository: repository.name.to_string(),
            digest: digest.to_string(),
            kind: match kind {
                ImageKind::Image => "image",
                ImageKind::Index => "index",
                ImageKind::Artifact => "artifact",
            }
            .to_owned(),
            pushed_at: pushed_at.map(|at| humantime::format_rfc3339_seconds(at).to_string()),
            size: *size,
            tags: names(tags),
            untag: names(untag),
            delete: *delete,
            kept: names(kept),
            verdict: coverage.as_str().to_owned(),
            rule: rule.to_owned(),
            reasons: reasons.clone(),
            counts: by_severity(&entry.counted),
            findings: entry.findings.iter().map(ListedFinding::new).collect(),
            more_findings: counted.saturating_sub(entry.findings.len() as u64),
        }
    }

    /// Returns whether tags of it are to be removed.
    pub(super) fn is_planned(&self) -> bool {
        self.verdict == Coverage::Untag.as_str() && !self.untag.is_empty()
    }

    /// Returns its place in the order of the document.
    pub(super) fn order(&self) -> ([&str; 3], &[String], &str) {
        (self.place(), &self.tags, &self.digest)
    }

    /// Returns its account, Region and repository.
    pub(super) fn place(&self) -> [&str; 3] {
        [&self.account, &self.region, &self.repository]
    }

    /// Returns the worst severity that counts and, if the scanner lists it, the finding's id.
    #[must_use]
    pub fn worst(&self) -> Option<(&str, Option<&str>)> {
        if let Some(finding) = self.findings.first() {
            return Some((&finding.severity, Some(&finding.id)));
        }
        let counts =
            |severity: &Severity| self.counts.get(severity.as_key()).is_some_and(|n| *n > 0);
        Severity::ALL.into_iter().find(counts).map(|severity| (severity.as_key(), None))
    }
}
