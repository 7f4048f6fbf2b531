//! The event `ECR Image Action`: a push, a deletion, a move to or from the archive.

use serde_json::{Value, json};

use super::{ImageStatus, RepoKey};
use crate::api::Input;
use crate::clock::iso_seconds;
use crate::world::World;

impl World {
    /// A tag was put on an image, or an image pushed without one: `image-tag` is then empty. Of an index the
    /// artifact's media type is not told. It is replicated.
    pub(super) fn emit_push(&mut self, key: &RepoKey, digest: &str, tag: Option<&str>) {
        let image = self.repositories.get(key).and_then(|repository| repository.image(digest));
        let Some(image) = image else {
            return;
        };
        let mut detail = action(key, digest, "PUSH");
        detail.set("image-tag", json!(tag.unwrap_or_default()));
        detail.set("manifest-media-type", json!(image.media_type));
        if let Some(artifact) = image.artifact_media_type.as_ref().filter(|_| !image.is_index()) {
            detail.set("artifact-media-type", json!(artifact));
        }
        self.emit_action(key, detail);
        self.replicate_push(key, digest, tag);
    }

    /// A tag was taken off, or an image went: one event for each tag, or one with an empty `image-tag`. It is replicated.
    pub(crate) fn emit_delete(&mut self, key: &RepoKey, digest: &str, tag: Option<&str>) {
        let mut detail = action(key, digest, "DELETE");
        detail.set("image-tag", json!(tag.unwrap_or_default()));
        self.emit_action(key, detail);
        self.replicate_removal(key, digest, tag);
    }

    /// An image went to the archive or came back.
    pub(crate) fn emit_storage_class(&mut self, key: &RepoKey, digest: &str) {
        let image = self.repositories.get(key).and_then(|repository| repository.image(digest));
        let Some(image) = image else {
            return;
        };
        let class = if image.status == ImageStatus::Archived { "ARCHIVE" } else { "STANDARD" };
        let activated = image.activated_at;
        let mut detail = action(key, digest, "UPDATE_STORAGE_CLASS");
        detail.set("target-storage-class", json!(class));
        if let Some(at) = activated {
            detail.set("last-activated-at", json!(iso_seconds(at)));
        }
        self.emit_action(key, detail);
    }

    fn emit_action(&mut self, key: &RepoKey, detail: Value) {
        self.emit(&key.account, &key.region, "aws.ecr", "ECR Image Action", &[], detail);
    }
}

/// What every such event says.
fn action(key: &RepoKey, digest: &str, kind: &str) -> Value {
    json!({
        "action-type": kind,
        "result": "SUCCESS",
        "repository-name": key.name,
        "image-digest": digest,
    })
}
