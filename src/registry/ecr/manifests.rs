//! What BatchGetImage answers: manifests, and which images tags are on.

use aws_sdk_ecr::operation::batch_get_image::BatchGetImageOutput;
use aws_sdk_ecr::types::{ImageFailure, ImageFailureCode, ImageIdentifier};

use super::answers::not_got;
use crate::aws::{AwsError, Operation};
use crate::domain::image::{Digest, Tag};
use crate::domain::marks::Holder;
use crate::registry::Manifest;

pub(super) fn by_digest(digest: &Digest) -> ImageIdentifier {
    ImageIdentifier::builder().image_digest(digest.as_str()).build()
}

pub(super) fn by_tag(tag: &Tag) -> ImageIdentifier {
    ImageIdentifier::builder().image_tag(tag.as_str()).build()
}

/// The manifest with this digest, which was asked for; `None`: there is no such image.
pub(super) fn manifest_in(
    answer: BatchGetImageOutput,
    digest: &Digest,
) -> Result<Option<Manifest>, AwsError> {
    // One digest with several tags may be answered as several images, all with the same manifest.
    let image =
        answer.images.unwrap_or_default().into_iter().find(|image| {
            image.image_id().and_then(|id| id.image_digest()) == Some(digest.as_str())
        });
    if let Some(image) = image
        && let Some(text) = image.image_manifest
    {
        let media_type = image.image_manifest_media_type;
        return Ok(Some(Manifest { digest: digest.clone(), text, media_type }));
    }
    // Tags that were asked for besides have failures of their own. Emulators leave the digest out of this one.
    let is_of_a_tag = |failure: &ImageFailure| {
        let tag = failure.image_id().and_then(|id| id.image_tag()).unwrap_or_default();
        Tag::parse(tag).is_ok_and(|tag| tag.is_quarantine_of(digest))
    };
    let failures = answer.failures.unwrap_or_default();
    match failures.into_iter().find(|failure| !is_of_a_tag(failure)) {
        Some(failure) => not_got(failure).map_or(Ok(None), Err),
        None => {
            let problem = format!("the answer has no manifest of {digest}");
            Err(AwsError::unexpected(Operation::BatchGetImage, problem))
        }
    }
}

/// Which image this tag is on, which was asked for; `None`: the answer does not say.
pub(super) fn holder_in(
    answer: &BatchGetImageOutput,
    tag: &Tag,
) -> Result<Option<Holder>, AwsError> {
    let is_its = |id: Option<&ImageIdentifier>| {
        id.and_then(ImageIdentifier::image_tag) == Some(tag.as_str())
    };
    if let Some(image) = answer.images().iter().find(|image| is_its(image.image_id())) {
        let digest = image.image_id().and_then(ImageIdentifier::image_digest);
        let digest = Digest::parse(digest.unwrap_or_default());
        return Ok(Some(digest.map_or(Holder::Unreadable, Holder::Image)));
    }
    let Some(failure) = answer.failures().iter().find(|failure| is_its(failure.image_id())) else {
        return Ok(None);
    };
    match failure.failure_code() {
        Some(ImageFailureCode::ImageInaccessible) => Ok(Some(Holder::Unreadable)),
        _ => not_got(failure.clone()).map_or(Ok(Some(Holder::Nobody)), Err),
    }
}
