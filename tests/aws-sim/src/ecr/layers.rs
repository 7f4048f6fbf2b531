//! Uploads of layers, and which layers a repository has.
//!
//! What is attached to another manifest is always checked: its blobs must have been uploaded. Of images, a repository
//! checks the layers from the first upload of a layer on. Where nobody uploads any, as in tests that are about tags and
//! scans, every layer of an image is taken as there. The empty blob is no layer in this sense: who attaches artifacts
//! uploads it, and means nothing by it for images.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{RepoKey, Repository, invalid};
use crate::api::{ApiCall, ApiError, Input, Outcome};
use crate::ids::sha256;
use crate::manifest::EMPTY_DIGEST;
use crate::world::World;

/// What a part is advised to be long, and the least that any but the last may be.
const PART_SIZE: usize = 10_485_760;
const MIN_PART_SIZE: usize = 5_242_880;

/// The layers of one repository, and the uploads that are under way.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// The size of each.
    stored: BTreeMap<String, i64>,
    /// Whether the layers of images are checked as well.
    are_checked: bool,
    uploads: BTreeMap<String, Vec<u8>>,
}

/// The blobs that a manifest names, each a digest and a size: its configuration is one of them.
fn blobs(manifest: &Value) -> impl Iterator<Item = (&str, Option<i64>)> {
    let named = manifest.get("config").into_iter().chain(manifest.list("layers"));
    named.filter_map(|blob| Some((blob.text("digest")?, blob.int("size"))))
}

impl Layers {
    /// Refuses a manifest that names blobs which are not here, or are of another size than it says. What ECR says of
    /// another size is a guess.
    pub(super) fn check(&self, manifest: &Value) -> Result<(), ApiError> {
        if !self.are_checked && manifest.get("subject").is_none() {
            return Ok(());
        }
        let absent = blobs(manifest).filter(|(digest, _)| !self.stored.contains_key(*digest));
        let missing: BTreeSet<_> = absent.map(|(digest, _)| digest).collect();
        if !missing.is_empty() {
            let message = format!(
                "Layers with digests '{missing:?}' required for pushing image into repository do not exist"
            );
            return Err(ApiError::new("LayersNotFoundException", message));
        }
        let differs =
            |(digest, size): &(&str, Option<i64>)| self.stored.get(*digest).copied() != *size;
        match blobs(manifest).find(differs) {
            None => Ok(()),
            Some((digest, size)) => Err(invalid(format!(
                "Invalid parameter at 'ImageManifest': the layer '{digest}' is not of size {size:?}"
            ))),
        }
    }

    /// Takes the blobs of a manifest as uploaded: whoever pushed it before had uploaded them.
    pub(crate) fn assume(&mut self, manifest: &str) {
        let document: Value = serde_json::from_str(manifest).unwrap_or_default();
        for (digest, size) in blobs(&document) {
            self.stored.entry(digest.to_owned()).or_insert(size.unwrap_or_default());
        }
    }

    /// Takes one part in; where the upload then stands.
    fn receive(&mut self, upload: &str, first: usize, last: usize, part: &[u8]) -> Part {
        let Some(bytes) = self.uploads.get_mut(upload) else { return Part::NoUpload };
        let starts_there = first == bytes.len();
        let is_whole = last.checked_add(1).is_some_and(|end| end == first + part.len());
        let follows_a_small_one = !bytes.is_empty() && bytes.len() < MIN_PART_SIZE;
        if !starts_there || !is_whole {
            return Part::Invalid;
        }
        if follows_a_small_one {
            return Part::TooSmall;
        }
        bytes.extend_from_slice(part);
        Part::Received
    }
}

/// What became of a part.
enum Part {
    Received,
    NoUpload,
    Invalid,
    TooSmall,
}

fn no_such_upload(key: &RepoKey, upload: &str) -> ApiError {
    let message = format!(
        "Could not find upload with id '{upload}' in the repository with name '{}' in the registry with id '{}'",
        key.name, key.account
    );
    ApiError::new("UploadNotFoundException", message)
}

/// What the answers to parts and to the end of an upload share.
fn reply(repository: &Repository, upload: &str) -> Value {
    json!({
        "registryId": repository.key.account,
        "repositoryName": repository.key.name,
        "uploadId": upload,
    })
}

impl World {
    pub(super) fn initiate_layer_upload(&mut self, call: &ApiCall) -> Outcome {
        let upload = self.ids.uuid();
        let repository = self.repository_mut(call)?;
        repository.layers.uploads.insert(upload.clone(), Vec::new());
        Ok(json!({"uploadId": upload, "partSize": PART_SIZE}))
    }

    pub(super) fn upload_layer_part(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository_mut(call)?;
        let input = &call.input;
        let upload = input.text("uploadId").unwrap_or_default();
        let part = input.text("layerPartBlob").and_then(|blob| STANDARD.decode(blob).ok());
        let part = part.ok_or_else(|| invalid("Invalid parameter at 'layerPartBlob'"))?;
        let offset = |name: &str| {
            let given = input.int(name).and_then(|value| usize::try_from(value).ok());
            given.ok_or_else(|| invalid(format!("Invalid parameter at '{name}'")))
        };
        let (first, last) = (offset("partFirstByte")?, offset("partLastByte")?);
        match repository.layers.receive(upload, first, last, &part) {
            Part::Received => {
                let mut reply = reply(repository, upload);
                reply.set("lastByteReceived", json!(last));
                Ok(reply)
            }
            Part::NoUpload => Err(no_such_upload(&repository.key, upload)),
            Part::Invalid => {
                let message = "The part does not begin after the last byte received, or is not as long as it says";
                Err(ApiError::new("InvalidLayerPartException", message))
            }
            Part::TooSmall => {
                let message = "Layer parts must be at least 5 MiB in size, but for the last one";
                Err(ApiError::new("LayerPartTooSmallException", message))
            }
        }
    }

    pub(super) fn complete_layer_upload(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository_mut(call)?;
        let upload = call.input.text("uploadId").unwrap_or_default();
        let layers = &mut repository.layers;
        let Some(bytes) = layers.uploads.get(upload) else {
            return Err(no_such_upload(&repository.key, upload));
        };
        if bytes.is_empty() {
            let message = "The specified layer upload does not contain any layer parts";
            return Err(ApiError::new("EmptyUploadException", message));
        }
        let digest = sha256(bytes);
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let expected = call.input.texts("layerDigests");
        if !expected.contains(&digest.as_str()) {
            let message = format!("Layer digests '{expected:?}' do not match '{digest}'");
            return Err(ApiError::new("InvalidLayerException", message));
        }
        layers.uploads.remove(upload);
        layers.are_checked |= digest != EMPTY_DIGEST;
        if layers.stored.insert(digest.clone(), size).is_some() {
            let message = format!("Layer with digest '{digest}' already exists");
            return Err(ApiError::new("LayerAlreadyExistsException", message));
        }
        let mut reply = reply(repository, upload);
        reply.set("layerDigest", json!(digest));
        Ok(reply)
    }
}
