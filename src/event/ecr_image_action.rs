//! "ECR Image Action": an image was pushed, deleted, archived or restored (ECR user guide, "Amazon
//! ECR events and EventBridge").
//!
//! A new tag on an image that was scanned before causes no scan event. This event is the only news
//! of that tag.

use serde::Deserialize;

use super::envelope::Envelope;
use super::{Claim, ImageEvent, Kind, Malformed, Parsed, digest, tags};
use crate::domain::image::is_other_artifact;
use crate::domain::names::RegistryId;

pub(super) const SOURCE: &str = "aws.ecr";
pub(super) const DETAIL_TYPE: &str = "ECR Image Action";

const KIND: Kind = Kind::EcrImageAction;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", expecting = "the detail of an image action event")]
struct ActionDetail {
    action_type: String,
    result: String,
    repository_name: String,
    image_digest: Option<String>,
    image_tag: Option<String>,
    artifact_media_type: Option<String>,
    target_storage_class: Option<String>,
}

pub(super) fn parse(envelope: &Envelope<'_>, own: &RegistryId) -> Result<Parsed, Malformed> {
    let detail: ActionDetail = envelope.detail()?;
    let pushed = match (detail.action_type.as_str(), detail.target_storage_class.as_deref()) {
        ("PUSH", _) => true,
        // The image was restored, so its tags can be pulled again.
        ("UPDATE_STORAGE_CLASS", Some("STANDARD")) => false,
        ("UPDATE_STORAGE_CLASS", _) => {
            return envelope.ignored(KIND, "the image was not restored to standard storage");
        }
        ("DELETE", _) => return envelope.ignored(KIND, "the image or its tag was deleted"),
        _ => return envelope.ignored(KIND, "the action neither pushes nor restores an image"),
    };
    if detail.result != "SUCCESS" {
        return envelope.ignored(KIND, "the action did not succeed");
    }
    // A tagged artifact can be an image whatever media type it claims, so ECR is asked about it.
    let artifact = detail.artifact_media_type.as_deref().unwrap_or_default();
    let has_no_tag = detail.image_tag.as_deref().is_none_or(str::is_empty);
    if has_no_tag && is_other_artifact(artifact) {
        return envelope.ignored(KIND, "the artifact is not a container image");
    }
    let mut tags = tags("image-tag", Some(vec![detail.image_tag]))?;
    let origin = envelope.origin()?;
    let place = envelope.place("repository-name", &detail.repository_name, None, own)?;
    let digest = digest("image-digest", detail.image_digest, place.digest)?;
    if let Some(digest) = &digest
        && tags.iter().any(|tag| tag.is_quarantine_of(digest))
    {
        if pushed {
            return envelope.ignored(KIND, "our own quarantine tag");
        }
        // The quarantine tag is only the name in the request to restore. The image came back with
        // all of its tags, so they are read from ECR.
        tags.clear();
    }
    let event = ImageEvent {
        kind: KIND,
        origin,
        repository: place.repository,
        digest,
        tags,
        claim: Claim::Nothing,
    };
    Ok(event.into_parsed())
}
