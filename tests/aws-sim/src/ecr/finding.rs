//! One vulnerability, and how each scanner's API writes it down.

use serde_json::{Value, json};

use crate::api::{Input, partition};
use crate::ecr::RepoKey;
use crate::ids::sha256;

/// One vulnerability.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finding {
    /// Its name, such as `CVE-2026-0001`.
    pub id: String,
    /// `CRITICAL`, `HIGH`, `MEDIUM`, ...
    pub severity: String,
    /// The vulnerable package.
    pub package: String,
    /// The version that is installed.
    pub installed: String,
    /// Further vulnerable packages with their versions (enhanced scanning only).
    pub more_packages: Vec<(String, String)>,
    /// The version that fixes it (enhanced scanning only).
    pub fixed: Option<String>,
    /// Whether the fix covers only some of the packages: `fixAvailable` is then `PARTIAL` (enhanced scanning only).
    pub fixed_in_part: bool,
    /// The CVSS score.
    pub score: Option<f64>,
    /// Whether an exploit is known (enhanced scanning only).
    pub exploit: bool,
    /// When it was first seen, in seconds since the Unix epoch; if not given, when the image was scanned (enhanced scanning
    /// only).
    pub first_observed: Option<f64>,
    /// `ACTIVE` where nothing else is said, or `CLOSED`, `SUPPRESSED` (enhanced scanning only).
    pub status: Option<String>,
    /// Whether it is written out with everything that Inspector says, which takes some 2 KB
    /// (enhanced scanning only).
    pub in_full: bool,
}

/// Where and when a finding was made.
pub(super) struct ScannedImage<'a> {
    pub(super) key: &'a RepoKey,
    pub(super) digest: &'a str,
    pub(super) tags: &'a [String],
    /// Seconds since the Unix epoch.
    pub(super) at: f64,
}

impl ScannedImage<'_> {
    /// The ARN of the image, as Inspector builds it.
    pub(super) fn arn(&self) -> String {
        format!("{}/{}", self.key.arn(), self.digest)
    }
}

impl Finding {
    /// A finding of a synthetic package `openssl` 3.0.0.
    pub fn new(id: &str, severity: &str) -> Self {
        Self {
            id: id.to_owned(),
            severity: severity.to_owned(),
            package: "openssl".to_owned(),
            installed: "3.0.0".to_owned(),
            ..Self::default()
        }
    }

    /// The same finding with a CVSS score.
    #[must_use]
    pub fn with_score(mut self, score: f64) -> Self {
        self.score = Some(score);
        self
    }

    /// The same finding with a fix for every package: `fixAvailable` is `YES`.
    #[must_use]
    pub fn fixed_in(mut self, version: &str) -> Self {
        self.fixed = Some(version.to_owned());
        self.fixed_in_part = false;
        self
    }

    /// The same finding with a fix for the first package only: `fixAvailable` is `PARTIAL`.
    #[must_use]
    pub fn partly_fixed(self, version: &str) -> Self {
        Self { fixed_in_part: true, ..self.fixed_in(version) }
    }

    /// The same finding with a known exploit.
    #[must_use]
    pub fn exploited(mut self) -> Self {
        self.exploit = true;
        self
    }

    /// The same finding in another package.
    #[must_use]
    pub fn in_package(mut self, name: &str, version: &str) -> Self {
        self.package = name.to_owned();
        self.installed = version.to_owned();
        self
    }

    /// The same finding in one more package.
    #[must_use]
    pub fn and_package(mut self, name: &str, version: &str) -> Self {
        self.more_packages.push((name.to_owned(), version.to_owned()));
        self
    }

    /// The same finding, first seen at another time: seconds since the Unix epoch.
    #[must_use]
    pub fn first_observed(mut self, seconds: f64) -> Self {
        self.first_observed = Some(seconds);
        self
    }

    /// The same finding, written out with everything that Inspector says: what a reader of many
    /// findings has to have memory for.
    #[must_use]
    pub fn in_full(mut self) -> Self {
        self.in_full = true;
        self
    }

    /// The same finding in another status, such as `CLOSED`. It is listed and counted all the same.
    #[must_use]
    pub fn with_status(mut self, status: &str) -> Self {
        self.status = Some(status.to_owned());
        self
    }

    /// The status, `ACTIVE` by default.
    pub(super) fn status(&self) -> &str {
        self.status.as_deref().unwrap_or("ACTIVE")
    }

    /// Whether there is a fix, as Inspector says it.
    pub(super) fn fix_available(&self) -> &'static str {
        match (&self.fixed, self.fixed_in_part) {
            (None, _) => "NO",
            (Some(_), false) => "YES",
            (Some(_), true) => "PARTIAL",
        }
    }

    /// Whether there is an exploit, as Inspector says it.
    pub(super) fn exploit_available(&self) -> &'static str {
        if self.exploit { "YES" } else { "NO" }
    }

    /// Where the finding is described.
    pub(super) fn url(&self) -> String {
        format!("https://cve.example/{}", self.id)
    }

    /// The ARN of this finding in one image: the same vulnerability in another image is another finding.
    pub(super) fn arn(&self, image: &ScannedImage<'_>) -> String {
        let RepoKey { account, region, .. } = image.key;
        let hash = sha256(format!("{} of {}", self.id, image.arn()).as_bytes());
        let name: String = hash.chars().skip("sha256:".len()).take(32).collect();
        let partition = partition(region);
        format!("arn:{partition}:inspector2:{region}:{account}:finding/{name}")
    }

    /// The vulnerable packages.
    pub(super) fn packages(&self) -> Vec<Value> {
        let first = std::iter::once((&self.package, &self.installed));
        let all = first.chain(self.more_packages.iter().map(|(name, version)| (name, version)));
        let packages = all.enumerate().map(|(place, (name, version))| {
            let mut package =
                json!({"epoch": 0, "name": name, "version": version, "packageManager": "OS"});
            if let Some(fixed) = self.fixed.as_ref().filter(|_| place == 0 || !self.fixed_in_part) {
                package.set("fixedInVersion", json!(fixed));
            }
            package
        });
        packages.collect()
    }

    /// A row of `findings`.
    pub(super) fn basic(&self) -> Value {
        let mut attributes = vec![
            json!({"key": "package_name", "value": self.package}),
            json!({"key": "package_version", "value": self.installed}),
        ];
        attributes.extend(
            self.score.map(|score| json!({"key": "CVSS3_SCORE", "value": score.to_string()})),
        );
        json!({
            "name": self.id,
            "description": format!("synthetic finding {}", self.id),
            "uri": self.url(),
            "severity": self.severity,
            "attributes": attributes,
        })
    }

    /// A row of `enhancedFindings`.
    pub(super) fn enhanced(&self, image: &ScannedImage<'_>, in_use: Option<i64>) -> Value {
        let RepoKey { account, name, .. } = image.key;
        let mut container = json!({
            "imageHash": image.digest,
            "imageTags": image.tags,
            "registry": account,
            "repositoryName": name,
        });
        if let Some(count) = in_use {
            container.set("inUseCount", json!(count));
        }
        let mut finding = json!({
            "awsAccountId": account,
            "findingArn": self.arn(image),
            "type": "PACKAGE_VULNERABILITY",
            "title": format!("{} - {}", self.id, self.package),
            "description": format!("synthetic finding {}", self.id),
            "severity": self.severity,
            "status": self.status(),
            "firstObservedAt": self.first_observed.unwrap_or(image.at),
            "lastObservedAt": image.at,
            "updatedAt": image.at,
            "fixAvailable": self.fix_available(),
            "exploitAvailable": self.exploit_available(),
            "packageVulnerabilityDetails": {
                "vulnerabilityId": self.id,
                "source": "NVD",
                "sourceUrl": self.url(),
                "vulnerablePackages": self.packages(),
            },
            "remediation": {"recommendation": {"text": "None Provided"}},
            "resources": [{
                "type": "AWS_ECR_CONTAINER_IMAGE",
                "id": image.arn(),
                "details": {"awsEcrContainerImage": container},
            }],
        });
        if let Some(score) = self.score {
            finding.set("score", json!(score));
        }
        if self.in_full {
            self.fill(&mut finding);
        }
        finding
    }

    /// Adds what Inspector says of a finding and nobody asks for: texts as long as its own.
    fn fill(&self, finding: &mut Value) {
        let sentence = "A flaw was found in the handling of long inputs by a component of it. ";
        finding.set("description", json!(sentence.repeat(10)));
        let vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";
        let score = json!({
            "baseScore": 9.8, "scoringVector": vector, "source": "NVD", "version": "3.1",
        });
        let references = (1..=4).map(|at| format!("{}/reference/{at}", self.url()));
        finding.set(
            "packageVulnerabilityDetails",
            json!({
                "cvss": [score],
                "referenceUrls": references.collect::<Vec<_>>(),
                "relatedVulnerabilities": [],
                "source": "NVD",
                "sourceUrl": self.url(),
                "vendorCreatedAt": 1_790_000_000,
                "vendorSeverity": self.severity,
                "vendorUpdatedAt": 1_790_000_000,
                "vulnerabilityId": self.id,
                "vulnerablePackages": self.packages(),
            }),
        );
        finding.set(
            "scoreDetails",
            json!({"cvss": {
                "adjustments": [],
                "score": 9.8,
                "scoreSource": "NVD",
                "scoringVector": vector,
                "version": "3.1",
            }}),
        );
    }
}
