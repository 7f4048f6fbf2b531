//! Parses ECR's pages of findings into the packed form that the worker keeps.
//!
//! ECR has one list for the findings of basic scanning and another for those of enhanced scanning
//! (Inspector), with different fields. Both become [`Finding`]. Closed and suppressed findings are
//! only counted, because they do not count against an image.

use aws_sdk_ecr::operation::describe_image_scan_findings::DescribeImageScanFindingsOutput;
use aws_sdk_ecr::types::{
    EnhancedImageScanFinding, FindingSeverity, ImageScanFinding, ImageScanFindings,
    PackageVulnerabilityDetails, ScanStatus,
};

use crate::domain::findings::{
    Finding, NO_FIX, Package, ScanPage, ScanState, Score, Severity, SeverityCounts, one_line,
};

/// Parses one page. Packs each finding at once and drops the form in which ECR wrote it, because
/// the packed form takes less memory.
pub(super) fn page_of(page: DescribeImageScanFindingsOutput) -> ScanPage {
    let status = page.image_scan_status.and_then(|status| status.status);
    let word = || status.as_ref().map_or("not given", ScanStatus::as_str).to_owned();
    let state = match status {
        Some(ScanStatus::Complete) => ScanState::Complete,
        Some(ScanStatus::Active) => ScanState::Active,
        Some(ScanStatus::InProgress | ScanStatus::Pending) => ScanState::Pending(word()),
        _ => ScanState::Unavailable(word()),
    };
    let next_token = page.next_token.filter(|token| !token.is_empty());
    let mut page = match page.image_scan_findings {
        Some(findings) => findings_of(state, findings),
        None => ScanPage::of_state(state),
    };
    page.next_token = next_token;
    page
}

fn findings_of(state: ScanState, findings: ImageScanFindings) -> ScanPage {
    let mut page = ScanPage::of_state(state);
    page.completed_at = findings.image_scan_completed_at.and_then(|at| at.try_into().ok());
    for (severity, count) in findings.finding_severity_counts.unwrap_or_default() {
        page.summary.add(severity_of(&severity), u64::try_from(count).unwrap_or(0));
    }
    let mut inactive = SeverityCounts::default();
    let basic = findings.findings.unwrap_or_default().into_iter().map(basic);
    let enhanced = findings.enhanced_findings.unwrap_or_default().into_iter();
    let enhanced = enhanced.filter_map(|finding| {
        page.in_use = page.in_use.max(in_use_count(&finding));
        let packed = enhanced_finding(&finding);
        if is_inactive(&finding) {
            inactive.add(packed.severity, 1);
            return None;
        }
        Some(packed)
    });
    page.list.extend(basic.chain(enhanced));
    page.inactive = inactive;
    page
}

fn severity_of(severity: &FindingSeverity) -> Severity {
    Severity::from_word(severity.as_str()).unwrap_or(Severity::Undefined)
}

/// Parses a finding of basic scanning, which keeps the package, its version and the scores among
/// the attributes (ECR API reference, ImageScanFinding). Basic scanning says nothing about fixes,
/// exploits and first observations.
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

/// Returns the number of places in which the image runs, as the finding's resources say (Inspector
/// user guide, "in use").
fn in_use_count(finding: &EnhancedImageScanFinding) -> u64 {
    let images = finding.resources().iter().filter_map(|resource| resource.details());
    let images = images.filter_map(|details| details.aws_ecr_container_image());
    let counts = images.filter_map(|image| u64::try_from(image.in_use_count()?).ok());
    counts.max().unwrap_or(0)
}

/// Returns whether the scanner says of every package that no version fixes it.
fn says_no_fix(details: Option<&PackageVulnerabilityDetails>) -> bool {
    let packages = details.map(PackageVulnerabilityDetails::vulnerable_packages);
    packages.is_some_and(|packages| {
        !packages.is_empty()
            && packages.iter().all(|package| package.fixed_in_version() == Some(NO_FIX))
    })
}

/// Returns whether a finding is closed or suppressed.
fn is_inactive(finding: &EnhancedImageScanFinding) -> bool {
    finding.status().is_some_and(|status| status != "ACTIVE")
}

/// Parses a finding of enhanced scanning.
fn enhanced_finding(finding: &EnhancedImageScanFinding) -> Finding {
    let text = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(one_line);
    let details = finding.package_vulnerability_details();
    let packages = details.map(PackageVulnerabilityDetails::vulnerable_packages);
    let all = packages.unwrap_or_default();
    let packages = all.iter().filter_map(|package| {
        Some(Package {
            name: text(package.name())?,
            installed: text(package.version()),
            fixed: text(package.fixed_in_version()).filter(|fixed| fixed != NO_FIX),
        })
    });
    let packages: Vec<_> = packages.collect();
    let unnamed_package = packages.len() < all.len();
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
        unnamed_package,
        score: scores.into_iter().find(|score| *score > 0.0).and_then(Score::new),
        link: text(details.and_then(|details| details.source_url())),
        fixable,
        exploitable: finding.exploit_available().map(|word| word == "YES"),
        first_observed: finding.first_observed_at().and_then(|at| (*at).try_into().ok()),
        ..Finding::new(one_line(id.unwrap_or_default()), severity.unwrap_or(Severity::Undefined))
    }
}
