//! What a scan finds: set by a test, or written in the manifest's annotations.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

pub use super::finding::Finding;
use super::finding::ScannedImage;
use crate::api::Input;

/// Which scanner a result comes from: they answer in different shapes and send different events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scanning {
    /// ECR's own scanner: `findings`, and the event `ECR Image Scan`.
    #[default]
    Basic,
    /// Amazon Inspector: `enhancedFindings`, and the event `Inspector2 Scan`.
    Enhanced,
}

/// The result of a scan, as `DescribeImageScanFindings` gives it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScanResult {
    /// The scanner.
    pub scanning: Scanning,
    /// `COMPLETE`, `ACTIVE`, `PENDING`, `FAILED`, ...
    pub status: String,
    /// ECR's description of the status.
    pub description: Option<String>,
    /// The findings.
    pub findings: Vec<Finding>,
    /// In how many tasks or pods the image runs (enhanced scanning only).
    pub in_use: Option<i64>,
}

impl ScanResult {
    /// A completed basic scan with so many synthetic findings of each severity.
    pub fn basic(counts: &[(&str, usize)]) -> Self {
        Self::default().counting(counts).with_status("COMPLETE")
    }

    /// An active enhanced scan with so many synthetic findings of each severity.
    pub fn enhanced(counts: &[(&str, usize)]) -> Self {
        let result = Self { scanning: Scanning::Enhanced, ..Self::default() };
        result.counting(counts).with_status("ACTIVE")
    }

    /// A basic scan in another state, such as `PENDING` or `FAILED`, without findings.
    pub fn status(status: &str) -> Self {
        Self::default().with_status(status)
    }

    /// The same result with another status.
    #[must_use]
    pub fn with_status(mut self, status: &str) -> Self {
        self.status = status.to_owned();
        self
    }

    /// The same result with one more finding.
    #[must_use]
    pub fn with(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    /// The same result of an image that runs in so many places.
    #[must_use]
    pub fn in_use(mut self, count: i64) -> Self {
        self.in_use = Some(count);
        self
    }

    fn counting(mut self, counts: &[(&str, usize)]) -> Self {
        for (severity, count) in counts {
            for number in 1..=*count {
                let id = format!("CVE-2026-{severity}-{number:04}");
                self.findings.push(Finding::new(&id, severity));
            }
        }
        self
    }

    /// The result that a manifest's annotations ask for: `aws-sim.findings` (`CRITICAL=1,HIGH=2`),
    /// `aws-sim.scanning` (`ENHANCED`) and `aws-sim.status`.
    pub(super) fn annotated(manifest: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(manifest).ok()?;
        let annotations = document.get("annotations")?;
        let findings = annotations.text("aws-sim.findings");
        let status = annotations.text("aws-sim.status");
        if findings.is_none() && status.is_none() {
            return None;
        }
        let counts: Vec<(&str, usize)> = findings
            .unwrap_or_default()
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .filter_map(|(severity, count)| Some((severity.trim(), count.trim().parse().ok()?)))
            .collect();
        let result = match annotations.text("aws-sim.scanning") {
            Some("ENHANCED") => Self::enhanced(&counts),
            _ => Self::basic(&counts),
        };
        Some(match status {
            Some(status) => result.with_status(status),
            None => result,
        })
    }

    /// How many findings there are of each severity that there is.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.severity.clone()).or_default() += 1;
        }
        counts
    }

    /// Whether the status says that the findings can be read.
    pub(super) fn is_readable(&self) -> bool {
        matches!(self.status.as_str(), "COMPLETE" | "ACTIVE") || !self.findings.is_empty()
    }

    /// Some of the findings, in the shape of the scanner, with the member that they stand under.
    pub(super) fn render(
        &self,
        image: &ScannedImage<'_>,
        from: usize,
        max: usize,
    ) -> (&'static str, Vec<Value>) {
        let some = self.findings.iter().skip(from).take(max);
        match self.scanning {
            Scanning::Basic => ("findings", some.map(Finding::basic).collect()),
            Scanning::Enhanced => {
                let rendered = some.map(|finding| finding.enhanced(image, self.in_use));
                ("enhancedFindings", rendered.collect())
            }
        }
    }

    /// The `finding-severity-counts` of the scanner's event. Basic scanning leaves zeros out; Inspector prints
    /// CRITICAL, HIGH and MEDIUM always, and a total of all severities.
    pub(super) fn event_counts(&self) -> Value {
        let counts = self.counts();
        match self.scanning {
            Scanning::Basic => json!(counts),
            Scanning::Enhanced => {
                let printed = ["CRITICAL", "HIGH", "MEDIUM"].into_iter();
                let mut map: Map<String, Value> = printed
                    .map(|severity| {
                        (
                            severity.to_owned(),
                            json!(counts.get(severity).copied().unwrap_or_default()),
                        )
                    })
                    .collect();
                map.insert("TOTAL".to_owned(), json!(self.findings.len()));
                Value::Object(map)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_give_the_result_of_a_scan() {
        let manifest = json!({"annotations": {"aws-sim.findings": "CRITICAL=1, HIGH=2", "aws-sim.scanning": "ENHANCED"}});
        let result = ScanResult::annotated(&manifest.to_string()).unwrap_or_default();
        assert_eq!(result, ScanResult::enhanced(&[("CRITICAL", 1), ("HIGH", 2)]));
        assert_eq!(ScanResult::annotated(r#"{"annotations": {"other": "1"}}"#), None);
    }

    #[test]
    fn each_scanner_counts_in_its_own_way() {
        let counts = [("HIGH", 2), ("LOW", 1)];
        assert_eq!(ScanResult::basic(&counts).event_counts(), json!({"HIGH": 2, "LOW": 1}));
        assert_eq!(
            ScanResult::enhanced(&counts).event_counts(),
            json!({"CRITICAL": 0, "HIGH": 2, "MEDIUM": 0, "TOTAL": 3})
        );
    }
}
