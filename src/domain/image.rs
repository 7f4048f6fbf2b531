//! An image as the registry describes it.

use std::time::SystemTime;

use super::names::{Digest, Tag};

/// The kind of content that a manifest describes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageKind {
    /// A container image.
    #[default]
    Image,
    /// An image index or a Docker manifest list.
    Index,
    /// Any other artifact, such as a chart, a signature or an attestation.
    Artifact,
}

/// The media types of the configuration of container images. ECR reports the media type of any
/// other artifact as its artifactMediaType.
pub const IMAGE_CONFIGS: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Returns whether an artifact of this type is not a container image. A container image may have
/// the type of an image or an empty one (OCI image specification, "artifactType").
#[must_use]
pub fn is_other_artifact(artifact_type: &str) -> bool {
    !artifact_type.is_empty() && !IMAGE_CONFIGS.contains(&artifact_type)
}

/// The storage state of an image (ECR user guide, "Archiving an image").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageStatus {
    /// The image can be pulled.
    #[default]
    Active,
    /// The image cannot be pulled until it is restored.
    Archived,
    /// The image is being restored and cannot be pulled yet.
    Activating,
}

/// One image as the registry describes it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of the manifest.
    pub digest: Digest,
    /// All tags that point to the image.
    pub tags: Vec<Tag>,
    /// The kind of content of the manifest.
    pub kind: ImageKind,
    /// The storage state, which says whether the image can be pulled.
    pub storage: StorageStatus,
    /// When the image was pushed.
    pub pushed_at: Option<SystemTime>,
    /// The size in bytes, compressed, as the registry counts it. That of an index does not include
    /// its images.
    pub size: Option<u64>,
    /// The media type of the manifest, if the registry gives it.
    pub media_type: Option<String>,
}

impl Image {
    /// Returns whether the image has a tag that people pull by. The image's own quarantine tags and
    /// tags that attach signatures to an image do not count.
    #[must_use]
    pub fn is_tagged(&self) -> bool {
        self.tags.iter().any(|tag| !tag.is_quarantine_of(&self.digest) && !tag.is_referrer())
    }

    /// Returns whether all tags say that this manifest is attached to another image.
    #[must_use]
    pub fn is_referrer(&self) -> bool {
        !self.tags.is_empty() && self.tags.iter().all(Tag::is_referrer)
    }

    /// Returns whether people can pull the image by one of its tags.
    #[must_use]
    pub fn is_pullable(&self) -> bool {
        self.kind != ImageKind::Artifact
            && self.storage == StorageStatus::Active
            && self.is_tagged()
    }
}
