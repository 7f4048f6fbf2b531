//! What enhanced findings say of packages, fixes and time.

use aws_sdk_ecr::types::EnhancedImageScanFinding;
use aws_sim::{Finding, ScanResult};

use super::{Scene, by_digest};

async fn enhanced(scene: &Scene, digest: &str) -> Vec<EnhancedImageScanFinding> {
    let call = scene.client.describe_image_scan_findings().repository_name("team/app");
    let output = call.image_id(by_digest(digest)).send().await.unwrap();
    output.image_scan_findings.unwrap().enhanced_findings.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_finding_is_built_step_by_step() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["v1"], "one");
    let plain = Finding::new("CVE-2026-0001", "HIGH");
    let full = Finding::new("CVE-2026-0002", "CRITICAL")
        .with_score(9.8)
        .in_package("libone", "1.0")
        .and_package("libtwo", "2.0")
        .fixed_in("3.0.1")
        .exploited()
        .first_observed(1_700_000_000.5)
        .with_status("CLOSED");
    let partly = Finding::new("CVE-2026-0003", "HIGH").and_package("libtwo", "2.0");
    let result =
        ScanResult::enhanced(&[]).with(plain).with(full).with(partly.partly_fixed("1.0.1"));
    scene.sim.set_findings(&scene.repo, &digest, result.in_use(2));

    let found = enhanced(&scene, &digest).await;
    let [plain, full, partly] = found.as_slice() else { panic!("{found:?}") };
    let packages = |finding: &EnhancedImageScanFinding| -> Vec<_> {
        let details = finding.package_vulnerability_details().unwrap();
        let row = |package: &aws_sdk_ecr::types::VulnerablePackage| {
            let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
            [package.name(), package.version(), package.fixed_in_version()].map(text)
        };
        details.vulnerable_packages().iter().map(row).collect()
    };
    let seconds = |finding: &EnhancedImageScanFinding| {
        (finding.first_observed_at().unwrap().as_secs_f64(), finding.status().unwrap().to_owned())
    };
    let scanned = plain.last_observed_at().unwrap().as_secs_f64();

    assert_eq!(packages(plain), [["openssl", "3.0.0", "-"]]);
    assert_eq!((plain.fix_available(), plain.exploit_available()), (Some("NO"), Some("NO")));
    assert_eq!(seconds(plain), (scanned, "ACTIVE".to_owned()));

    assert_eq!(packages(full), [["libone", "1.0", "3.0.1"], ["libtwo", "2.0", "3.0.1"]]);
    assert_eq!((full.fix_available(), full.exploit_available()), (Some("YES"), Some("YES")));
    assert_eq!(seconds(full), (1_700_000_000.5, "CLOSED".to_owned()));
    assert!((full.score() - 9.8).abs() < 1e-9);

    assert_eq!(packages(partly), [["openssl", "3.0.0", "1.0.1"], ["libtwo", "2.0", "-"]]);
    assert_eq!(partly.fix_available(), Some("PARTIAL"));
    let arns: Vec<_> = found.iter().map(|finding| finding.finding_arn().unwrap()).collect();
    assert!(arns[0].starts_with("arn:aws:inspector2:eu-west-1:111122223333:finding/"));
    assert_ne!(arns[0], arns[1]);
}

#[tokio::test(start_paused = true)]
async fn a_finding_of_another_image_is_another_finding() {
    let scene = Scene::new();
    let result = ScanResult::enhanced(&[("CRITICAL", 1)]);
    let mut arns = Vec::new();
    for content in ["one", "two"] {
        let digest = scene.sim.push_image(&scene.repo, &[content], content);
        scene.sim.set_findings(&scene.repo, &digest, result.clone());
        arns.extend(enhanced(&scene, &digest).await.into_iter().map(|f| f.finding_arn.unwrap()));
    }
    assert_ne!(arns[0], arns[1]);
}
