//! Scanning: on push, on request, and what `DescribeImageScanFindings` says of it.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::finding::ScannedImage;
use super::findings::{ScanResult, Scanning};
use super::page::{max_results, read_token, write_token};
use super::{Image, RepoKey, invalid, no_such_image};
use crate::api::{ApiCall, ApiError, Input, Outcome};
use crate::clock::unix_seconds;
use crate::world::{Scheduled, World};

/// Basic scanning scans a digest at most once in this time.
const SCAN_INTERVAL: Duration = Duration::from_secs(86_400);

/// Where the scan of an image stands.
#[derive(Debug)]
pub(crate) enum ScanState {
    /// Never scanned: `ScanNotFoundException`.
    None,
    /// Started, and not yet done.
    Running { since: SystemTime },
    /// Done, or in whatever state the result says.
    Done { at: SystemTime, result: ScanResult },
}

impl World {
    /// Starts the scan of an image; its end is on the agenda.
    pub(super) fn begin_scan(&mut self, key: &RepoKey, digest: &str) {
        let now = self.now;
        if let Some(image) = self.image_mut(key, digest) {
            image.scan = ScanState::Running { since: now };
            let done = Scheduled::ScanDone { repository: key.clone(), digest: digest.to_owned() };
            self.schedule(self.config.scan_time, done);
        }
    }

    /// Ends a scan with the result that was set for the digest, or that the manifest asks for, or clean; and tells
    /// EventBridge.
    pub(crate) fn finish_scan(&mut self, key: &RepoKey, digest: &str) {
        let now = self.now;
        let preset = self
            .repositories
            .get(key)
            .and_then(|repository| repository.presets.get(digest))
            .cloned();
        let Some(image) = self.image_mut(key, digest) else {
            return;
        };
        let annotated = || ScanResult::annotated(&image.manifest);
        let result = preset.or_else(annotated).unwrap_or_else(|| ScanResult::basic(&[]));
        image.scan = ScanState::Done { at: now, result };
        self.emit_scan(key, digest);
    }

    /// Makes the result that was set for a digest readable, without a scan and without an event.
    pub(crate) fn apply_preset(&mut self, key: &RepoKey, digest: &str) {
        let now = self.now;
        let preset = self
            .repositories
            .get(key)
            .and_then(|repository| repository.presets.get(digest))
            .cloned();
        if let (Some(result), Some(image)) = (preset, self.image_mut(key, digest))
            && !matches!(image.scan, ScanState::Running { .. })
        {
            image.scan = ScanState::Done { at: now, result };
        }
    }

    /// Sends the event of a finished scan; false when there is none.
    pub(crate) fn emit_scan(&mut self, key: &RepoKey, digest: &str) -> bool {
        let Some(repository) = self.repositories.get(key) else {
            return false;
        };
        let Some(ScanState::Done { result, .. }) =
            repository.image(digest).map(|image| &image.scan)
        else {
            return false;
        };
        let tags = repository.tags_of(digest);
        let mut detail = json!({"image-digest": digest, "image-tags": tags});
        let (source, detail_type) = match result.scanning {
            Scanning::Basic => {
                detail.set("repository-name", json!(key.name));
                detail.set("scan-status", json!(result.status));
                ("aws.ecr", "ECR Image Scan")
            }
            Scanning::Enhanced => {
                detail.set("repository-name", json!(key.arn()));
                detail.set("scan-status", json!("INITIAL_SCAN_COMPLETE"));
                detail.set("version", json!("1.0"));
                ("aws.inspector2", "Inspector2 Scan")
            }
        };
        if result.is_readable() {
            detail.set("finding-severity-counts", result.event_counts());
        }
        let resources = [key.arn()];
        self.emit(&key.account, &key.region, source, detail_type, &resources, detail);
        true
    }

    fn image_mut(&mut self, key: &RepoKey, digest: &str) -> Option<&mut Image> {
        self.repositories.get_mut(key)?.image_mut(digest)
    }

    pub(super) fn start_image_scan(&mut self, call: &ApiCall) -> Outcome {
        let now = self.now;
        let repository = self.repository(call)?;
        let id = call.input.get("imageId").unwrap_or(&Value::Null);
        let digest = repository.resolve(id).ok_or_else(|| no_such_image(&repository.key, id))?;
        let key = repository.key.clone();
        let Some(image) = repository.image(&digest) else {
            return Err(no_such_image(&key, id));
        };
        if !image.is_scannable() {
            let artifact = image.artifact_media_type.as_ref().filter(|_| !image.is_index());
            let media_type = artifact.unwrap_or(&image.media_type);
            let message = format!("An artifact with media type '{media_type}' cannot be scanned");
            return Err(ApiError::new("UnsupportedImageTypeException", message));
        }
        if !image.is_active() {
            let message = "The specified image is archived and cannot be scanned";
            return Err(ApiError::new("ImageArchivedException", message));
        }
        let last = match &image.scan {
            ScanState::None => None,
            ScanState::Running { since } => Some(*since),
            ScanState::Done { result, .. } if result.scanning == Scanning::Enhanced => {
                return Err(ApiError::new("ValidationException", "This feature is disabled"));
            }
            ScanState::Done { at, .. } => Some(*at),
        };
        if last.is_some_and(|last| now < last + SCAN_INTERVAL) {
            let message = "The scan quota per image has been exceeded. Wait and try again.";
            return Err(ApiError::new("LimitExceededException", message));
        }
        self.begin_scan(&key, &digest);
        Ok(json!({
            "registryId": key.account,
            "repositoryName": key.name,
            "imageId": answered_id(id, &digest),
            "imageScanStatus": {"status": "IN_PROGRESS"},
        }))
    }

    pub(super) fn describe_image_scan_findings(&mut self, call: &ApiCall) -> Outcome {
        let input = &call.input;
        let repository = self.repository(call)?;
        let key = &repository.key;
        let id = input.get("imageId").unwrap_or(&Value::Null);
        let digest = repository.resolve(id).ok_or_else(|| no_such_image(key, id))?;
        let max = max_results(input)?.min(self.config.findings_page);
        let mut reply = json!({
            "registryId": key.account,
            "repositoryName": key.name,
            "imageId": answered_id(id, &digest),
        });
        let image = repository.image(&digest);
        if image.is_some_and(|image| !image.is_active()) {
            reply.set("imageScanStatus", json!({"status": "IMAGE_ARCHIVED"}));
            return Ok(reply);
        }
        let (at, result) = match image.map(|image| &image.scan) {
            Some(ScanState::Done { at, result }) => (unix_seconds(*at), result),
            Some(ScanState::Running { .. }) => {
                reply.set("imageScanStatus", json!({"status": "IN_PROGRESS"}));
                return Ok(reply);
            }
            Some(ScanState::None) | None => {
                let message = format!(
                    "Image scan does not exist for the image with '{digest}' in '{}'",
                    key.name
                );
                return Err(ApiError::new("ScanNotFoundException", message));
            }
        };
        let from = match input.text("nextToken") {
            None => 0,
            Some(token) => read_token(token)?
                .parse()
                .map_err(|_| invalid("Invalid parameter at 'nextToken'"))?,
        };
        let image = ScannedImage { key, digest: &digest, tags: &repository.tags_of(&digest), at };
        let mut status = json!({"status": result.status});
        if let Some(description) = &result.description {
            status.set("description", json!(description));
        }
        reply.set("imageScanStatus", status);
        if result.is_readable() {
            let (member, rows) = result.render(&image, from, max);
            let mut findings =
                json!({"imageScanCompletedAt": at, "vulnerabilitySourceUpdatedAt": at});
            findings.set(member, Value::Array(rows));
            // Whether AWS repeats the counts on later pages is not documented: here only the first has them.
            if from == 0 {
                findings.set("findingSeverityCounts", json!(result.counts()));
            }
            reply.set("imageScanFindings", findings);
        }
        let next = from.saturating_add(max);
        if next < result.findings.len() {
            reply.set("nextToken", json!(write_token(&next.to_string())));
        }
        Ok(reply)
    }
}

/// The identifier of a reply: the digest, and the tag if the request had one.
fn answered_id(id: &Value, digest: &str) -> Value {
    match id.text("imageTag") {
        Some(tag) => json!({"imageDigest": digest, "imageTag": tag}),
        None => json!({"imageDigest": digest}),
    }
}
