//! A record as the manifest of an OCI artifact, and back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    ARTIFACT_TYPE, EMPTY_BLOB, EMPTY_DIGEST, EMPTY_TYPE, MANIFEST_TYPE, Record, RestoreKeys,
};
use crate::domain::names::{Digest, Repository};

/// The image that a record is about, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectDescriptor {
    /// The digest of the image's manifest.
    pub digest: Digest,
    /// The media type of the image's manifest.
    pub media_type: String,
    /// The size of the image's manifest, in bytes.
    pub size: usize,
}

/// The manifest of a record. The same record about the same image always has the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordManifest {
    /// The digest of `text`.
    pub digest: Digest,
    /// The manifest, byte for byte, which is JSON.
    pub text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ManifestDocument<'a> {
    schema_version: u8,
    media_type: &'a str,
    artifact_type: &'a str,
    config: Descriptor<'a>,
    layers: [Descriptor<'a>; 1],
    subject: Descriptor<'a>,
    annotations: BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor<'a> {
    media_type: &'a str,
    digest: &'a str,
    size: usize,
}

impl RecordManifest {
    /// Returns the manifest of a record about an image of this repository, signed if there are
    /// keys.
    #[must_use]
    pub fn new(
        record: &Record,
        repository: &Repository,
        subject: &SubjectDescriptor,
        keys: Option<&RestoreKeys>,
    ) -> Self {
        let annotations = record.annotations();
        let annotations = match keys {
            Some(keys) => keys.sign(repository, &subject.digest, annotations),
            None => annotations,
        };
        let empty =
            || Descriptor { media_type: EMPTY_TYPE, digest: EMPTY_DIGEST, size: EMPTY_BLOB.len() };
        let document = ManifestDocument {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            artifact_type: ARTIFACT_TYPE,
            config: empty(),
            layers: [empty()],
            subject: Descriptor {
                media_type: &subject.media_type,
                digest: subject.digest.as_str(),
                size: subject.size,
            },
            annotations,
        };
        let text = serde_json::to_string(&document).unwrap_or_default();
        Self { digest: Digest::of_sha256(&Sha256::digest(&text)), text }
    }
}

/// What a manifest attaches to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The image.
    pub subject: Digest,
    /// The annotations of the artifact.
    pub annotations: BTreeMap<String, String>,
}

/// Reads a manifest that may be a record. Returns `None` if it is none, whatever it is instead.
#[must_use]
pub fn read_manifest(text: &str) -> Option<Attached> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Read {
        artifact_type: String,
        subject: Subject,
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Subject {
        digest: String,
    }
    let read: Read = serde_json::from_str(text).ok()?;
    let subject = Digest::parse(read.subject.digest).ok()?;
    (read.artifact_type == ARTIFACT_TYPE)
        .then_some(Attached { subject, annotations: read.annotations })
}
