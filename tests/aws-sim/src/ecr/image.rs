//! One image or image index: its bytes, what they say, its tags, and whether it is archived.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde_json::Value;

use super::scan::ScanState;
use crate::api::Input;
use crate::manifest::IMAGE_CONFIGS;

/// An image, or an image index. What the manifest says is read once, when it is stored: lists of many images would
/// take their time over it.
#[derive(Debug)]
pub(crate) struct Image {
    /// The exact bytes that were pushed.
    pub(crate) manifest: String,
    pub(crate) media_type: String,
    /// The media type of the manifest's configuration: what ECR calls the artifact's media type.
    pub(crate) artifact_media_type: Option<String>,
    /// The digest that the manifest refers to.
    pub(crate) subject: Option<String>,
    /// The digests that an index lists.
    pub(crate) children: Vec<String>,
    pub(crate) status: ImageStatus,
    pub(crate) archived_at: Option<SystemTime>,
    pub(crate) activated_at: Option<SystemTime>,
    pub(crate) pushed_at: SystemTime,
    pub(crate) pulled_at: Option<SystemTime>,
    pub(crate) scan: ScanState,
    /// The tags on it; kept by the repository together with its own.
    pub(super) tags: BTreeSet<String>,
    /// Its place in the order in which the repository's images came; kept by the repository.
    pub(crate) order: u64,
}

impl Image {
    /// An active image without tags.
    pub(super) fn new(manifest: String, media_type: String, now: SystemTime) -> Self {
        let document: Value = serde_json::from_str(&manifest).unwrap_or_default();
        let config = || document.get("config")?.text("mediaType");
        let artifact = document.text("artifactType").or_else(config).map(str::to_owned);
        let subject = document.get("subject").and_then(|subject| subject.text("digest"));
        let is_index = is_index(&media_type);
        Self {
            artifact_media_type: artifact,
            subject: subject.map(str::to_owned),
            children: if is_index { children(&document) } else { Vec::new() },
            manifest,
            media_type,
            status: ImageStatus::Active,
            archived_at: None,
            activated_at: None,
            pushed_at: now,
            pulled_at: None,
            scan: ScanState::None,
            tags: BTreeSet::new(),
            order: 0,
        }
    }

    pub(crate) fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    pub(crate) fn is_active(&self) -> bool {
        self.status == ImageStatus::Active
    }

    /// Whether it can be scanned. That an artifact which is attached to another, and is no container image, is
    /// answered like an index is a guess.
    pub(crate) fn is_scannable(&self) -> bool {
        let of_image = |artifact: &String| IMAGE_CONFIGS.contains(&artifact.as_str());
        let is_image = self.artifact_media_type.as_ref().is_none_or(of_image);
        !self.is_index() && (self.subject.is_none() || is_image)
    }

    pub(crate) fn is_tagged(&self) -> bool {
        !self.tags.is_empty()
    }
}

/// Where an image is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageStatus {
    /// Can be pulled.
    Active,
    /// Can be deleted or activated, and nothing else.
    Archived,
    /// On its way back from the archive.
    Activating,
}

impl ImageStatus {
    /// The status that a name of the API stands for.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Active, Self::Archived, Self::Activating]
            .into_iter()
            .find(|status| status.name() == name)
    }

    /// Its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Archived => "ARCHIVED",
            Self::Activating => "ACTIVATING",
        }
    }
}

/// Whether a media type is that of an image index or manifest list.
pub(crate) fn is_index(media_type: &str) -> bool {
    media_type.contains("image.index") || media_type.contains("manifest.list")
}

/// The digests that the manifest of an index lists.
pub(crate) fn children(manifest: &Value) -> Vec<String> {
    let entries = manifest.list("manifests").iter();
    entries.filter_map(|entry| entry.text("digest").map(str::to_owned)).collect()
}
