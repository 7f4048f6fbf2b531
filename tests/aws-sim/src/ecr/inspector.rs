//! The event `Inspector2 Finding`: one vulnerability in one image, seen, updated or closed.

use serde_json::{Value, json};

use super::RepoKey;
use super::finding::{Finding, ScannedImage};
use super::findings::Scanning;
use super::scan::ScanState;
use crate::api::{Input, partition};
use crate::clock::{inspector_time, unix_seconds};
use crate::world::World;

/// What the event says beyond the finding itself.
struct Context<'a> {
    status: &'a str,
    /// Seconds since the Unix epoch, as are all times here.
    now: f64,
    pushed_at: Option<f64>,
    in_use: Option<i64>,
}

impl World {
    /// Sends one event for each finding of an enhanced scan; false where there is no such scan.
    pub(crate) fn emit_findings(&mut self, key: &RepoKey, digest: &str) -> bool {
        let image = self.repositories.get(key).and_then(|repository| repository.image(digest));
        let findings = match image.map(|image| &image.scan) {
            Some(ScanState::Done { result, .. }) if result.scanning == Scanning::Enhanced => {
                result.findings.clone()
            }
            _ => return false,
        };
        for finding in findings {
            self.emit_finding(key, digest, &finding, finding.status());
        }
        true
    }

    /// Sends the event of one finding. The image may be gone, or its scan may say otherwise.
    pub(crate) fn emit_finding(
        &mut self,
        key: &RepoKey,
        digest: &str,
        finding: &Finding,
        status: &str,
    ) {
        let repository = self.repositories.get(key);
        let image = repository.and_then(|repository| repository.image(digest));
        let tags = repository.map(|repository| repository.tags_of(digest)).unwrap_or_default();
        let now = unix_seconds(self.now);
        let (at, in_use) = match image.map(|image| &image.scan) {
            Some(ScanState::Done { at, result }) => (unix_seconds(*at), result.in_use),
            _ => (now, None),
        };
        let pushed_at = image.map(|image| unix_seconds(image.pushed_at));
        let scanned = ScannedImage { key, digest, tags: &tags, at };
        let context = Context { status, now, pushed_at, in_use };
        let detail = detail(finding, &scanned, &context);
        let resources = [scanned.arn()];
        let (source, detail_type) = ("aws.inspector2", "Inspector2 Finding");
        self.emit(&key.account, &key.region, source, detail_type, &resources, detail);
    }
}

fn detail(finding: &Finding, image: &ScannedImage<'_>, context: &Context<'_>) -> Value {
    let first = inspector_time(finding.first_observed.unwrap_or(image.at));
    let mut detail = json!({
        "awsAccountId": image.key.account,
        "description": format!("synthetic finding {}", finding.id),
        "epss": {"score": 0.42},
        "exploitAvailable": finding.exploit_available(),
        "findingArn": finding.arn(image),
        "firstObservedAt": first,
        "fixAvailable": finding.fix_available(),
        "lastObservedAt": inspector_time(image.at),
        "packageVulnerabilityDetails": {
            "cvss": [],
            "referenceUrls": [],
            "relatedVulnerabilities": [],
            "source": "NVD",
            "sourceUrl": finding.url(),
            "vendorSeverity": finding.severity.to_lowercase(),
            "vulnerabilityId": finding.id,
            "vulnerablePackages": finding.packages(),
        },
        "remediation": {"recommendation": {"text": "None Provided"}},
        "resources": [{
            "details": {"awsEcrContainerImage": container(image, context)},
            "id": image.arn(),
            "partition": partition(&image.key.region),
            "region": image.key.region,
            "type": "AWS_ECR_CONTAINER_IMAGE",
        }],
        "severity": finding.severity,
        "status": context.status,
        "title": format!("{} - {}", finding.id, finding.package),
        "type": "PACKAGE_VULNERABILITY",
        "updatedAt": inspector_time(context.now),
    });
    if finding.exploit {
        detail.set("exploitabilityDetails", json!({"lastKnownExploitAt": first}));
    }
    if let Some(score) = finding.score {
        detail.set("inspectorScore", json!(score));
        let adjusted = json!({
            "adjustments": [],
            "cvssSource": "NVD",
            "score": score,
            "scoreSource": "NVD",
            "scoringVector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
            "version": "3.1",
        });
        detail.set("inspectorScoreDetails", json!({"adjustedCvss": adjusted}));
    }
    detail
}

fn container(image: &ScannedImage<'_>, context: &Context<'_>) -> Value {
    let mut container = json!({
        "architecture": "amd64",
        "imageHash": image.digest,
        "imageTags": image.tags,
        "platform": "DEBIAN_12",
        "registry": image.key.account,
        "repositoryName": image.key.name,
    });
    if let Some(at) = context.pushed_at {
        container.set("pushedAt", json!(inspector_time(at)));
    }
    if let Some(count) = context.in_use {
        container.set("inUseCount", json!(count));
        container.set("lastInUseAt", json!(inspector_time(image.at)));
    }
    container
}
