//! `PutImage`: a new image, or a tag on one.

use serde_json::{Value, json};

use super::image::{children, is_index};
use super::repository::{valid_digest, valid_tag};
use super::{Image, RepoKey, invalid};
use crate::api::{ApiCall, ApiError, Input, Outcome};
use crate::ids::sha256;
use crate::world::World;

/// The most tags that one image may bear.
const MAX_TAGS: usize = 1_000;

/// The most characters of a manifest (ECR API reference, PutImage).
const MAX_CHARACTERS: usize = 4_194_304;

/// A manifest to store.
pub(crate) struct NewImage {
    pub(crate) manifest: String,
    pub(crate) media_type: String,
    pub(crate) tag: Option<String>,
}

impl NewImage {
    /// The media type of a request: given, or in the manifest; where both are there, they agree.
    fn media_type(given: Option<&str>, document: &Value) -> Result<String, ApiError> {
        match (given, document.text("mediaType")) {
            (Some(given), Some(written)) if given != written => Err(invalid(format!(
                "Manifest media type '{given}' does not match the media type in the manifest '{written}'"
            ))),
            (Some(media_type), _) | (None, Some(media_type)) => Ok(media_type.to_owned()),
            (None, None) => {
                Err(invalid("the manifest has no mediaType: imageManifestMediaType is required"))
            }
        }
    }
}

impl World {
    /// The digest of a manifest: that of its bytes, unless a test has named another.
    fn digest_of(&self, manifest: &str) -> String {
        let digest = sha256(manifest.as_bytes());
        self.named_digests.get(&digest).cloned().unwrap_or(digest)
    }

    pub(super) fn put_image(&mut self, call: &ApiCall) -> Outcome {
        let input = &call.input;
        let repository = self.repository(call)?;
        let tag = input.text("imageTag");
        if tag.is_some_and(|tag| !valid_tag(tag)) {
            return Err(invalid("Invalid parameter at 'imageTag' failed to satisfy constraint"));
        }
        let manifest = input.text("imageManifest").unwrap_or_default();
        if manifest.chars().count() > MAX_CHARACTERS {
            let message = format!(
                "Invalid parameter at 'imageManifest' failed to satisfy constraint: 'Member must have length less than \
                 or equal to {MAX_CHARACTERS}'"
            );
            return Err(invalid(message));
        }
        let document: Value = serde_json::from_str(manifest)
            .ok()
            .filter(Value::is_object)
            .ok_or_else(|| invalid("Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'"))?;
        let media_type = NewImage::media_type(input.text("imageManifestMediaType"), &document)?;
        let digest = self.digest_of(manifest);
        if input.text("imageDigest").is_some_and(|expected| expected != digest) {
            let message = format!(
                "The digest of the manifest is '{digest}', not the imageDigest of the request"
            );
            return Err(ApiError::new("ImageDigestDoesNotMatchException", message));
        }
        let subject = document.get("subject").map(|subject| subject.text("digest"));
        if subject.is_some_and(|digest| !digest.is_some_and(valid_digest)) {
            return Err(invalid("Invalid parameter at 'ImageManifest': the subject has no digest"));
        }
        let absent: Vec<_> = children(&document)
            .into_iter()
            .filter(|child| is_index(&media_type) && repository.image(child).is_none())
            .collect();
        if !absent.is_empty() {
            let message = format!(
                "Images with digests '{absent:?}' required for pushing image into repository do not exist"
            );
            return Err(ApiError::new("ReferencedImagesNotFoundException", message));
        }
        // What is there already has its layers.
        if repository.image(&digest).is_none() {
            repository.layers.check(&document)?;
        }
        let key = repository.key.clone();
        if repository.image(&digest).is_some_and(|image| !image.is_active()) {
            let message = format!(
                "The image with digest '{digest}' in the repository with name '{}' in registry with id '{}' is \
                 archived",
                key.name, key.account
            );
            return Err(ApiError::new("ImageArchivedException", message));
        }
        self.check_tag(&key, &digest, tag)?;

        let new = NewImage {
            manifest: manifest.to_owned(),
            media_type: media_type.clone(),
            tag: tag.map(str::to_owned),
        };
        self.store_image(&key, new);
        let mut id = json!({"imageDigest": digest});
        if let Some(tag) = tag {
            id.set("imageTag", json!(tag));
        }
        Ok(json!({"image": {
            "registryId": key.account,
            "repositoryName": key.name,
            "imageId": id,
            "imageManifest": manifest,
            "imageManifestMediaType": media_type,
        }}))
    }

    /// The rules on what a push may do to a tag, and on how much there may be.
    fn check_tag(&self, key: &RepoKey, digest: &str, tag: Option<&str>) -> Result<(), ApiError> {
        let Some(repository) = self.repositories.get(key) else {
            return Ok(());
        };
        let target = tag.and_then(|tag| repository.tag_target(tag));
        let already = match tag {
            Some(_) => target.is_some_and(|target| target == digest),
            None => repository.image(digest).is_some(),
        };
        let RepoKey { name, account, .. } = key;
        let tag = tag.unwrap_or("null");
        if already {
            let message = format!(
                "Image with digest '{digest}' and tag '{tag}' already exists in the repository with name '{name}' in \
                 registry with id '{account}'"
            );
            return Err(ApiError::new("ImageAlreadyExistsException", message));
        }
        if target.is_some() && repository.immutable(tag) {
            let message = format!(
                "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because \
                 the tag is immutable."
            );
            return Err(ApiError::new("ImageTagAlreadyExistsException", message));
        }
        let limit = repository.image_limit;
        let is_full = repository.images().len() >= limit;
        let exceeded = if repository.tags_of(digest).len() >= MAX_TAGS {
            format!("The maximum number of tags per image ({MAX_TAGS}) has been reached")
        } else if is_full && repository.image(digest).is_none() {
            format!("The maximum number of images per repository ({limit}) has been reached")
        } else {
            return Ok(());
        };
        Err(ApiError::new("LimitExceededException", exceeded))
    }

    /// Stores a manifest and its tag, tells EventBridge, and starts the scan that the repository asks for.
    /// Checks nothing. A tag leaves the digest that it was on, which stays, untagged or not.
    pub(crate) fn store_image(&mut self, key: &RepoKey, new: NewImage) -> String {
        let digest = self.digest_of(&new.manifest);
        let now = self.now;
        let Some(repository) = self.repositories.get_mut(key) else {
            return digest;
        };
        let is_new = repository.image(&digest).is_none();
        if is_new {
            repository.insert(&digest, Image::new(new.manifest, new.media_type, now));
        }
        if let Some(tag) = &new.tag {
            repository.tag(tag, &digest);
        }
        let scannable = repository.image(&digest).is_some_and(Image::is_scannable);
        let scan_on_push = repository.scan_on_push;

        self.emit_push(key, &digest, new.tag.as_deref());
        if is_new && scannable {
            if scan_on_push {
                self.begin_scan(key, &digest);
            } else {
                self.apply_preset(key, &digest);
            }
        }
        digest
    }
}
