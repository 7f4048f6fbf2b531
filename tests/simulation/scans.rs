//! The scans of a seed's images: a few findings, or hundreds on several pages.

use aws_sim::{Finding, ScanResult};
use fastrand::Rng;

use crate::scene::EXCEPTED;

/// The findings of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Findings that would violate the policy without their exception.
    excepted: usize,
    /// The number of findings before the violating one, if there is one: often it is the last.
    before: usize,
    is_enhanced: bool,
}

impl Scan {
    /// Hundreds of findings.
    pub fn large(rng: &mut Rng) -> Self {
        let excepted = rng.usize(300..900);
        let before = if rng.bool() { excepted } else { rng.usize(..=excepted) };
        Self { excepted, before, is_enhanced: rng.bool() }
    }

    /// The scan of an image that violates the policy, or does not.
    pub fn result(&self, is_bad: bool) -> ScanResult {
        if self.excepted == 0 {
            let counts: &[_] = if is_bad { &[("CRITICAL", 1), ("HIGH", 2)] } else { &[("LOW", 2)] };
            return ScanResult::basic(counts);
        }
        let result = if self.is_enhanced { ScanResult::enhanced } else { ScanResult::basic };
        let excepted = (0..self.excepted).map(|at| {
            let severity = ["CRITICAL", "HIGH", "LOW"][at % 3];
            Finding::new(&format!("{EXCEPTED}{at}"), severity)
        });
        let mut findings: Vec<_> = excepted.collect();
        if is_bad {
            findings.insert(self.before, Finding::new("CVE-2026-1", "CRITICAL"));
        }
        ScanResult { findings, ..result(&[]) }
    }
}
