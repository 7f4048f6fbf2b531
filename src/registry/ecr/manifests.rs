//! Collects BatchGetImage's answers about one image: its manifest, and the holders of its
//! quarantine tags.
//!
//! One call asks for the digest and for all ten quarantine tags, so that the manifest and the
//! holders are of the same moment.

use std::collections::HashMap;

use aws_sdk_ecr::types::{Image, ImageFailure, ImageFailureCode, ImageIdentifier};

use super::answers::failure_of;
use super::batches::Answered;
use crate::aws::{AwsError, Operation};
use crate::domain::marks::MarkHolder;
use crate::domain::names::{Digest, Tag};
use crate::registry::{Manifest, TOO_LARGE};

pub(super) fn by_digest(digest: &Digest) -> ImageIdentifier {
    ImageIdentifier::builder().image_digest(digest.as_str()).build()
}

pub(super) fn by_tag(tag: &Tag) -> ImageIdentifier {
    ImageIdentifier::builder().image_tag(tag.as_str()).build()
}

/// Answers about one image and its quarantine tags. Manifests of other images are dropped.
#[derive(Debug)]
pub(super) struct Manifests<'a> {
    digest: &'a Digest,
    manifest: Option<Manifest>,
    failure: Option<ImageFailure>,
    too_large: bool,
    /// Holder of each tag, or the failure that ECR answers for the tag.
    tags: HashMap<String, Result<MarkHolder, ImageFailure>>,
}

impl<'a> Manifests<'a> {
    pub(super) fn about(digest: &'a Digest) -> Self {
        Self { digest, manifest: None, failure: None, too_large: false, tags: HashMap::new() }
    }

    pub(super) fn take(&mut self, one: Answered) {
        match one {
            Answered::Image(image) => self.image(*image),
            Answered::Failure(failure) => self.failed(failure),
            Answered::TooLarge(id) => self.is_too_large(&id),
        }
    }

    fn image(&mut self, image: Image) {
        let id = image.image_id.unwrap_or_else(|| ImageIdentifier::builder().build());
        let digest = id.image_digest.map(Digest::parse).and_then(Result::ok);
        if let Some(tag) = id.image_tag {
            let holder = digest.clone().map_or(MarkHolder::Unreadable, MarkHolder::Image);
            self.tags.insert(tag, Ok(holder));
        }
        // ECR may list an image once for each of its tags, always with the same manifest.
        if digest.as_ref() == Some(self.digest)
            && self.manifest.is_none()
            && let Some(text) = image.image_manifest
        {
            let media_type = image.image_manifest_media_type;
            self.manifest = Some(Manifest { digest: self.digest.clone(), text, media_type });
        }
    }

    fn is_too_large(&mut self, id: &ImageIdentifier) {
        match id.image_tag() {
            Some(tag) => drop(self.tags.insert(tag.to_owned(), Ok(MarkHolder::Unreadable))),
            None => self.too_large = true,
        }
    }

    fn failed(&mut self, failure: ImageFailure) {
        let tag = failure.image_id().and_then(ImageIdentifier::image_tag).unwrap_or_default();
        match Tag::parse(tag).is_ok_and(|tag| tag.is_quarantine_of(self.digest)) {
            true => drop(self.tags.insert(tag.to_owned(), Err(failure))),
            // Emulators leave the digest out of the failure that is about the image itself.
            false => self.failure = Some(failure),
        }
    }

    /// Returns the holder of this quarantine tag, or `None` if the answer does not mention the tag.
    pub(super) fn holder(&self, tag: &Tag) -> Result<Option<MarkHolder>, AwsError> {
        let failure = match self.tags.get(tag.as_str()) {
            None => return Ok(None),
            Some(Ok(holder)) => return Ok(Some(holder.clone())),
            Some(Err(failure)) => failure,
        };
        match failure.failure_code() {
            Some(ImageFailureCode::ImageInaccessible) => Ok(Some(MarkHolder::Unreadable)),
            _ => failure_of(failure.clone()).map_or(Ok(Some(MarkHolder::Nobody)), Err),
        }
    }

    /// Returns the manifest, or `None` if there is no such image.
    pub(super) fn manifest(self) -> Result<Option<Manifest>, AwsError> {
        match (self.manifest, self.failure) {
            (Some(manifest), _) => Ok(Some(manifest)),
            (None, Some(failure)) => failure_of(failure).map_or(Ok(None), Err),
            (None, None) if self.too_large => Err(AwsError {
                code: Some(TOO_LARGE.to_owned()),
                ..AwsError::unexpected(
                    Operation::BatchGetImage,
                    "ECR's answer about the manifest is too large to read, because the image has \
                     too many tags",
                )
            }),
            (None, None) => {
                let problem = format!("the answer has no manifest of {}", self.digest);
                Err(AwsError::unexpected(Operation::BatchGetImage, problem))
            }
        }
    }
}
