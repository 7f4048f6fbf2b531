//! What the registry reports on EventBridge, in the words of the narrative.

use std::collections::BTreeMap;

use aws_sim::manifest::{DOCKER_LIST, OCI_INDEX};
use serde::Deserialize;
use serde_json::Value;
use tagwarden::domain::record::ARTIFACT_TYPE;

/// Severities, worst first.
const SEVERITIES: [&str; 6] = ["CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNDEFINED"];

/// A tag on an image.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct TaggedImage {
    /// The repository's name.
    #[serde(rename = "repository-name")]
    pub(crate) repository: String,
    /// The tag; empty where the image was pushed or deleted by its digest.
    #[serde(default, rename = "image-tag")]
    pub(crate) tag: String,
    /// The image's digest.
    #[serde(rename = "image-digest")]
    pub(crate) digest: String,
    /// What the manifest is of, where it was pushed.
    #[serde(default, rename = "manifest-media-type")]
    media_type: String,
    /// What it is, if it is an artifact.
    #[serde(default, rename = "artifact-media-type")]
    artifact_type: String,
}

impl TaggedImage {
    /// What the tag is on: an image, or an index of images.
    pub(crate) fn kind(&self) -> &'static str {
        if self.is_index() { "index" } else { "image" }
    }

    /// Whether the tag is on an index of images.
    pub(crate) fn is_index(&self) -> bool {
        [OCI_INDEX, DOCKER_LIST].contains(&self.media_type.as_str())
    }

    /// Whether the tag is the worker's own mark.
    pub(crate) fn is_mark(&self) -> bool {
        is_mark(&self.tag)
    }

    /// Whether it is a record of the worker.
    fn is_record(&self) -> bool {
        self.artifact_type == ARTIFACT_TYPE
    }

    /// Whether both are about one tag, on whatever images.
    pub(crate) fn is_same_tag(&self, other: &Self) -> bool {
        self.repository == other.repository && self.tag == other.tag
    }

    /// Whether both are about one tag on one image.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.is_same_tag(other) && self.digest == other.digest
    }
}

/// What a record is.
#[derive(Clone, Debug)]
pub(crate) struct RecordKind {
    /// Its kind, in the worker's word.
    pub(crate) kind: String,
    /// The digest of the image that it is attached to.
    pub(crate) subject: String,
}

impl RecordKind {
    /// Reads the manifest of a record.
    pub(crate) fn of(manifest: &str) -> Option<Self> {
        let manifest: Value = serde_json::from_str(manifest).ok()?;
        let text = |pointer| manifest.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Some(Self { kind: text("/annotations/tagwarden.kind")?, subject: text("/subject/digest")? })
    }
}

/// The end of a scan.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Scan {
    /// The image's digest.
    pub(crate) image_digest: String,
    scan_status: String,
    finding_severity_counts: Option<BTreeMap<String, u64>>,
}

impl Scan {
    /// Whether anything was found that the worker's policy does not allow.
    pub(crate) fn is_over_the_limits(&self) -> bool {
        let counts = self.finding_severity_counts.iter().flatten();
        counts
            .into_iter()
            .any(|(severity, count)| matches!(severity.as_str(), "CRITICAL" | "HIGH") && *count > 0)
    }

    /// What was found, worst first.
    pub(crate) fn findings(&self) -> String {
        let Some(counts) = &self.finding_severity_counts else {
            return format!("the scan ended as {}", self.scan_status);
        };
        let found: Vec<_> = SEVERITIES
            .into_iter()
            .filter_map(|severity| Some((severity, *counts.get(severity)?)))
            .filter(|(_, count)| *count > 0)
            .map(|(severity, count)| format!("{count} {}", severity.to_lowercase()))
            .collect();
        if found.is_empty() { "nothing found".to_owned() } else { found.join(", ") }
    }
}

/// A finding that Inspector reports by itself, in an image that it may have scanned long ago.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The image's digest.
    pub(crate) image_digest: String,
    /// Its name, such as `CVE-2026-0001`.
    pub(crate) id: String,
    /// How bad it is, in small letters.
    pub(crate) severity: String,
    /// The vulnerable package.
    package: String,
}

impl Finding {
    fn of(detail: &Value) -> Option<Self> {
        let text = |pointer: &str| detail.pointer(pointer).and_then(Value::as_str);
        Some(Self {
            image_digest: text("/resources/0/details/awsEcrContainerImage/imageHash")?.to_owned(),
            id: text("/packageVulnerabilityDetails/vulnerabilityId")?.to_owned(),
            severity: text("/severity")?.to_lowercase(),
            package: text("/packageVulnerabilityDetails/vulnerablePackages/0/name")?.to_owned(),
        })
    }

    /// What was found, and where.
    pub(crate) fn in_words(&self) -> String {
        let Self { image_digest, id, severity, package } = self;
        format!("image {}: {id} ({severity}) in {package}", short(image_digest))
    }

    /// Whether the worker's policy does not allow it, unless by an exception.
    pub(crate) fn is_over_the_limits(&self) -> bool {
        ["critical", "high"].contains(&self.severity.as_str())
    }
}

/// Something that the registry reports.
#[derive(Debug)]
pub(crate) enum News {
    /// An image was pushed, or a tag put on one.
    Pushed(TaggedImage),
    /// A record was attached to an image.
    Recorded(TaggedImage),
    /// A tag was taken off.
    Untagged(TaggedImage),
    /// A scan has ended.
    Scanned(Scan),
    /// A finding became known.
    Found(Finding),
}

impl News {
    /// Reads an event; nothing where it is of no interest.
    pub(crate) fn of(event: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let detail = event.get("detail")?.clone();
        match text(event.get("detail-type")?).as_str() {
            "ECR Image Action" => {
                let action = text(detail.get("action-type")?);
                let image: TaggedImage = serde_json::from_value(detail).ok()?;
                match action.as_str() {
                    "PUSH" if image.is_record() => Some(Self::Recorded(image)),
                    "PUSH" => Some(Self::Pushed(image)),
                    "DELETE" => Some(Self::Untagged(image)),
                    _ => None,
                }
            }
            "ECR Image Scan" | "Inspector2 Scan" => {
                serde_json::from_value(detail).ok().map(Self::Scanned)
            }
            "Inspector2 Finding" => Finding::of(&detail).map(Self::Found),
            _ => None,
        }
    }
}

/// Whether a tag is the worker's own mark.
pub(crate) fn is_mark(tag: &str) -> bool {
    tag.starts_with("quarantine-")
}

/// The start of a digest's hex digits: enough to tell images apart.
pub(crate) fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}
