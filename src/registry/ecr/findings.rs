//! From ECR's pages of findings to the scan that they show together.

use aws_sdk_ecr::operation::describe_image_scan_findings::DescribeImageScanFindingsOutput;
use aws_sdk_ecr::types::{
    EnhancedImageScanFinding, FindingSeverity, ImageScanFinding, PackageVulnerabilityDetails,
    ScanStatus,
};

use crate::domain::findings::{
    Finding, Findings, NO_FIX, Package, Scan, Score, Severity, SeverityCounts, one_line,
};

/// The scan that all pages together show. The first page has the summary of counts.
pub(super) fn scan_of(pages: Vec<DescribeImageScanFindingsOutput>) -> Scan {
    let status = pages.first().and_then(|page| page.image_scan_status());
    let status = status.and_then(|status| status.status()).cloned();
    let word = status.as_ref().map_or("not given", ScanStatus::as_str).to_owned();
    let findings = || {
        let mut summary = SeverityCounts::default();
        let (mut list, mut inactive, mut in_use) = (Vec::new(), Vec::new(), 0);
        let mut completed_at = None;
        for (at, page) in pages.into_iter().enumerate() {
            let Some(findings) = page.image_scan_findings else { continue };
            if at == 0 {
                completed_at = findings.image_scan_completed_at.and_then(|at| at.try_into().ok());
                for (severity, count) in findings.finding_severity_counts.unwrap_or_default() {
                    summary.add(severity_of(&severity), u64::try_from(count).unwrap_or(0));
                }
            }
            list.extend(findings.findings.unwrap_or_default().into_iter().map(basic));
            for finding in findings.enhanced_findings.unwrap_or_default() {
                in_use = in_use.max(in_use_count(&finding));
                let of = if is_inactive(&finding) { &mut inactive } else { &mut list };
                of.push(enhanced(&finding));
            }
        }
        Findings { in_use, completed_at, ..Findings::with_inactive(summary, list, inactive) }
    };
    match status {
        Some(ScanStatus::Complete) => Scan::Complete(findings()),
        Some(ScanStatus::Active) => Scan::Active(findings()),
        Some(ScanStatus::InProgress | ScanStatus::Pending) => Scan::Pending(word),
        _ => Scan::Unavailable(word),
    }
}

fn severity_of(severity: &FindingSeverity) -> Severity {
    Severity::from_word(severity.as_str()).unwrap_or(Severity::Undefined)
}

/// Basic scanning keeps package, version and scores among the attributes (ECR API reference, ImageScanFinding). It
/// says nothing of fixes, exploits and first observations.
fn basic(finding: ImageScanFinding) -> Finding {
    let attribute = |key: &str| {
        let attributes = finding.attributes().iter();
        attributes.filter(|attribute| attribute.key() == key).find_map(|found| found.value())
    };
    let package = attribute("package_name").map(|name| Package {
        name: one_line(name),
        installed: attribute("package_version").map(one_line),
        fixed: None,
    });
    let score = ["CVSS4_SCORE", "CVSS3_SCORE", "CVSS2_SCORE"].into_iter().find_map(attribute);
    Finding {
        packages: package.into_iter().collect(),
        score: score.and_then(|score| score.parse().ok()).and_then(Score::new),
        link: finding.uri().filter(|link| !link.is_empty()).map(one_line),
        ..Finding::new(
            one_line(finding.name().unwrap_or_default()),
            finding.severity().map_or(Severity::Undefined, severity_of),
        )
    }
}

/// In how many places the image runs, as a finding's resources say (Inspector user guide, "in use").
fn in_use_count(finding: &EnhancedImageScanFinding) -> u64 {
    let images = finding.resources().iter().filter_map(|resource| resource.details());
    let images = images.filter_map(|details| details.aws_ecr_container_image());
    let counts = images.filter_map(|image| u64::try_from(image.in_use_count()?).ok());
    counts.max().unwrap_or(0)
}

/// Whether of every package it is said that no version mends it.
fn says_no_fix(details: Option<&PackageVulnerabilityDetails>) -> bool {
    let packages = details.map(PackageVulnerabilityDetails::vulnerable_packages);
    packages.is_some_and(|packages| {
        !packages.is_empty()
            && packages.iter().all(|package| package.fixed_in_version() == Some(NO_FIX))
    })
}

/// Whether a finding has been closed or suppressed.
fn is_inactive(finding: &EnhancedImageScanFinding) -> bool {
    finding.status().is_some_and(|status| status != "ACTIVE")
}

/// One finding of enhanced scanning.
fn enhanced(finding: &EnhancedImageScanFinding) -> Finding {
    let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(one_line);
    let details = finding.package_vulnerability_details();
    let packages = details.map(PackageVulnerabilityDetails::vulnerable_packages);
    let packages = packages.unwrap_or_default().iter().filter_map(|package| {
        Some(Package {
            name: text(package.name())?,
            installed: text(package.version()),
            fixed: text(package.fixed_in_version()).filter(|fixed| fixed != NO_FIX),
        })
    });
    let packages: Vec<_> = packages.collect();
    let fixable = match finding.fix_available() {
        Some(word) => Some(matches!(word, "YES" | "PARTIAL")),
        None if packages.iter().any(|package| package.fixed.is_some()) => Some(true),
        None => says_no_fix(details).then_some(false),
    };
    // The SDK reads an absent score as zero.
    let scores = finding.score_details().and_then(|details| details.cvss());
    let scores = [finding.score(), scores.map(|cvss| cvss.score()).unwrap_or_default()];
    let id = details.and_then(|details| details.vulnerability_id()).or(finding.title());
    let severity = finding.severity().and_then(Severity::from_word);
    Finding {
        packages,
        score: scores.into_iter().find(|score| *score > 0.0).and_then(Score::new),
        link: text(details.and_then(|details| details.source_url())),
        fixable,
        exploitable: finding.exploit_available().map(|word| word == "YES"),
        first_observed: finding.first_observed_at().and_then(|at| (*at).try_into().ok()),
        ..Finding::new(one_line(id.unwrap_or_default()), severity.unwrap_or(Severity::Undefined))
    }
}
