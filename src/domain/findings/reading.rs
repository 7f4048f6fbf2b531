//! Puts the pages of a scan together, up to a limit.
//!
//! Anybody can push an image with any number of findings, so of one image at most [`MAX_FINDINGS`]
//! findings are kept, and the pages and bytes that are read are bounded too. When there are more,
//! the findings that were read and the first page's counts are judged. If they violate the policy,
//! its tags are removed as usual. If they do not, the image is reported as unscanned, so the limit
//! never makes an image clean.

use std::time::SystemTime;

use super::{FindingList, Findings, Scan, SeverityCounts};

/// The most findings of one image that are kept.
pub const MAX_FINDINGS: usize = 50_000;
/// The most bytes that the kept findings of one image take, plus one page.
const MAX_FINDING_BYTES: usize = 8 << 20;
/// The most pages of one scan that are read, because a registry may answer with fewer findings than
/// requested, or with none and a token for another page.
const MAX_PAGES: usize = 600;

/// The state of a scan, as the registry gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanState {
    /// Basic scanning has completed.
    Complete,
    /// Enhanced scanning goes on.
    Active,
    /// No scanner has scanned the image.
    NeverScanned,
    /// The scan has not ended. The word is the registry's.
    Pending(String),
    /// There will be no findings to judge. The word is the reason.
    Unavailable(String),
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The state of the scan.
    pub state: ScanState,
    /// The number of findings by severity. On the first page it covers all pages.
    pub summary: SeverityCounts,
    /// The findings of this page.
    pub list: FindingList,
    /// The number of findings of this page that are closed or suppressed.
    pub inactive: SeverityCounts,
    /// The number of tasks or pods in which ECR has seen the image run.
    pub in_use: u64,
    /// When the scan ended.
    pub completed_at: Option<SystemTime>,
    /// The token for the next page; `None` on the last page.
    pub next_token: Option<String>,
}

impl ScanPage {
    /// Creates a page that has nothing but the scan's state.
    #[must_use]
    pub fn of_state(state: ScanState) -> Self {
        Self {
            state,
            summary: SeverityCounts::default(),
            list: FindingList::default(),
            inactive: SeverityCounts::default(),
            in_use: 0,
            completed_at: None,
            next_token: None,
        }
    }
}

/// A scan that is being read page by page.
#[derive(Debug)]
pub struct Reading {
    state: ScanState,
    findings: Findings,
    pages: usize,
    next_token: Option<String>,
}

impl Reading {
    /// Begins with the first page, which has the scan's state and the summary of counts.
    #[must_use]
    pub fn new(first: ScanPage) -> Self {
        let mut reading = Self {
            state: first.state.clone(),
            findings: Findings {
                counts: first.summary.clone(),
                completed_at: first.completed_at,
                ..Findings::default()
            },
            pages: 0,
            next_token: None,
        };
        reading.add(first);
        reading
    }

    /// Adds the next page.
    pub fn add(&mut self, page: ScanPage) {
        self.pages += 1;
        if !matches!(self.state, ScanState::Complete | ScanState::Active) {
            return;
        }
        let findings = &mut self.findings;
        findings.in_use = findings.in_use.max(page.in_use);
        findings.inactive = std::mem::take(&mut findings.inactive).and(&page.inactive);
        findings.list.append(page.list);
        let is_full = findings.list.len() >= MAX_FINDINGS
            || findings.list.weight() >= MAX_FINDING_BYTES
            || self.pages >= MAX_PAGES;
        findings.is_cut =
            is_full && page.next_token.is_some() || findings.list.len() > MAX_FINDINGS;
        findings.list.truncate(MAX_FINDINGS);
        self.next_token = page.next_token.filter(|_| !is_full);
    }

    /// Returns the token for the next page to read, or `None` if the reading is complete.
    #[must_use]
    pub fn next_token(&self) -> Option<&str> {
        self.next_token.as_deref()
    }

    /// Returns the bytes of memory that the findings take.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.findings.list.weight()
    }

    /// Returns the scan with the findings that were read.
    #[must_use]
    pub fn into_scan(self) -> Scan {
        let Findings { counts, list, inactive, is_cut, in_use, completed_at } = self.findings;
        let findings = || Findings {
            is_cut,
            in_use,
            completed_at,
            ..Findings::with_inactive(counts, list, inactive)
        };
        match self.state {
            ScanState::Complete => Scan::Complete(findings()),
            ScanState::Active => Scan::Active(findings()),
            ScanState::NeverScanned => Scan::NeverScanned,
            ScanState::Pending(word) => Scan::Pending(word),
            ScanState::Unavailable(word) => Scan::Unavailable(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Finding, Severity};
    use super::*;

    fn page(findings: usize, next_token: Option<&str>) -> ScanPage {
        let list = (0..findings).map(|at| Finding::new(format!("CVE-{at}"), Severity::Low));
        ScanPage {
            list: list.collect(),
            next_token: next_token.map(str::to_owned),
            ..ScanPage::of_state(ScanState::Active)
        }
    }

    fn read(pages: Vec<ScanPage>) -> (usize, Findings) {
        let mut pages = pages.into_iter();
        let mut reading = Reading::new(pages.next().unwrap());
        let mut read = 1;
        while reading.next_token().is_some() {
            reading.add(pages.next().unwrap());
            read += 1;
        }
        let Scan::Active(findings) = reading.into_scan() else { panic!("an active scan") };
        (read, findings)
    }

    #[test]
    fn findings_of_all_pages_and_summary_of_the_first_are_kept() {
        let mut first = page(2, Some("1"));
        first.summary.add(Severity::High, 7);
        first.inactive.add(Severity::High, 2);
        let mut second = page(3, None);
        second.summary.add(Severity::High, 100);
        second.in_use = 4;
        let (read, findings) = read(vec![first, second]);
        assert_eq!((read, findings.list.len(), findings.in_use), (2, 5, 4));
        assert_eq!(findings.counts.of(Severity::High), 5, "two of seven are closed");
        assert!(!findings.is_cut);
    }

    #[test]
    fn list_is_cut_only_beyond_the_most_findings() {
        let (_, findings) = read(vec![page(MAX_FINDINGS - 1, Some("1")), page(1, None)]);
        assert_eq!((findings.list.len(), findings.is_cut), (MAX_FINDINGS, false));
        let (_, findings) = read(vec![page(MAX_FINDINGS - 1, Some("1")), page(2, None)]);
        assert_eq!((findings.list.len(), findings.is_cut), (MAX_FINDINGS, true));
        assert_eq!(findings.list.counts().of(Severity::Low), MAX_FINDINGS as u64);
        let (pages, findings) = read(vec![page(MAX_FINDINGS, Some("1")), page(2, None)]);
        assert_eq!((pages, findings.is_cut), (1, true), "the next page is not read");
    }

    #[test]
    fn reading_ends_after_the_most_pages() {
        let (pages, findings) = read(vec![page(0, Some("more")); MAX_PAGES + 1]);
        assert_eq!((pages, findings.is_cut), (MAX_PAGES, true));
    }

    #[test]
    fn reading_ends_after_the_most_bytes() {
        let long = |at| Finding::new(format!("{at} {}", "x".repeat(250)), Severity::Low);
        let long = |from: usize| ScanPage {
            list: (from..from + 500).map(long).collect(),
            ..page(0, Some("more"))
        };
        let (pages, findings) = read((0..100).map(|at| long(at * 500)).collect());
        assert!(findings.is_cut && pages < 100, "{pages}");
        assert!(findings.list.weight() < MAX_FINDING_BYTES + (1 << 20));
    }

    #[test]
    fn unavailable_scan_keeps_no_findings_and_reads_no_more_pages() {
        let state = ScanState::Unavailable("FAILED".to_owned());
        let reading = Reading::new(ScanPage { state, ..page(3, Some("more")) });
        assert_eq!(
            (reading.next_token().is_none(), reading.into_scan()),
            (true, Scan::Unavailable("FAILED".to_owned()))
        );
    }
}
