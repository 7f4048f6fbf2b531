//! Manifests for tests: small, valid, and different for different content.

use serde_json::{Value, json};

use crate::api::Input as _;
use crate::ids::sha256;

/// The media type of an OCI image manifest.
pub const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The media type of a Docker image manifest.
pub const DOCKER_IMAGE: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The media type of a Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// The configuration of a container image, as OCI types it.
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The configurations of container images.
pub(crate) const IMAGE_CONFIGS: [&str; 2] =
    [OCI_CONFIG, "application/vnd.docker.container.image.v1+json"];

/// The blob that stands for nothing, `{}` (OCI image specification, "Guidance for an Empty Descriptor").
pub const EMPTY_BLOB: &[u8] = b"{}";
/// The digest of [`EMPTY_BLOB`].
pub const EMPTY_DIGEST: &str =
    "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
/// The media type of [`EMPTY_BLOB`].
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The platform that buildx gives to an attestation, which is no image to run.
const ATTESTATION: &str = "unknown/unknown";

/// An OCI image manifest with a configuration and a layer derived from some content.
pub fn image(content: &str) -> String {
    document(content, OCI_CONFIG).to_string()
}

/// The same with annotations: `aws-sim.findings` (`CRITICAL=1,HIGH=2`), `aws-sim.scanning` (`ENHANCED`) and
/// `aws-sim.status` say what a scan of the image finds.
pub fn annotated_image(content: &str, annotations: &[(&str, &str)]) -> String {
    let mut document = document(content, OCI_CONFIG);
    let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    document.set("annotations", Value::Object(annotations.collect()));
    document.to_string()
}

/// The digest by which a registry knows a manifest.
pub fn digest(manifest: &str) -> String {
    sha256(manifest.as_bytes())
}

/// An OCI image manifest of something that is no container image, by the media type of its configuration: a Helm chart
/// has `application/vnd.cncf.helm.config.v1+json`.
pub fn artifact(content: &str, config_media_type: &str) -> String {
    document(content, config_media_type).to_string()
}

/// An OCI artifact that is attached to another manifest, its subject: only annotations, with the empty blob as its
/// configuration and its layer. Of the subject, digest, media type and size are given.
pub fn referrer(
    subject: (&str, &str, usize),
    artifact_type: &str,
    annotations: &[(&str, &str)],
) -> String {
    let (digest, media_type, size) = subject;
    let empty = json!({"mediaType": EMPTY, "digest": EMPTY_DIGEST, "size": EMPTY_BLOB.len()});
    let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "artifactType": artifact_type,
        "config": empty,
        "layers": [empty],
        "subject": {"mediaType": media_type, "digest": digest, "size": size},
        "annotations": Value::Object(annotations.collect()),
    })
    .to_string()
}

/// A Docker image manifest, as older builders push it.
pub fn docker_image(content: &str) -> String {
    json!({
        "schemaVersion": 2,
        "mediaType": DOCKER_IMAGE,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": blob("configuration", content),
            "size": 512,
        },
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "digest": blob("layer", content),
            "size": 4096,
        }],
    })
    .to_string()
}

/// An OCI image index of children, each a digest and a platform such as `linux/arm64`. A child of the platform
/// `unknown/unknown` is an attestation: the first one of the first image, the second of the second, and so on.
pub fn index(children: &[(&str, &str)]) -> String {
    list(OCI_INDEX, OCI_IMAGE, children)
}

/// The same as a Docker manifest list.
pub fn docker_list(children: &[(&str, &str)]) -> String {
    list(DOCKER_LIST, DOCKER_IMAGE, children)
}

fn list(media_type: &str, child_media_type: &str, children: &[(&str, &str)]) -> String {
    let images = children.iter().filter(|(_, platform)| *platform != ATTESTATION);
    let mut attested = images.map(|(digest, _)| digest);
    let manifests = children.iter().map(|(digest, platform)| {
        let (os, architecture) = platform.split_once('/').unwrap_or((platform, "unknown"));
        let mut child = json!({
            "mediaType": child_media_type,
            "digest": digest,
            "size": 1024,
            "platform": {"os": os, "architecture": architecture},
        });
        if *platform == ATTESTATION {
            let mut annotations = json!({"vnd.docker.reference.type": "attestation-manifest"});
            if let Some(image) = attested.next() {
                annotations.set("vnd.docker.reference.digest", json!(image));
            }
            child.set("annotations", annotations);
        }
        child
    });
    let manifests: Vec<_> = manifests.collect();
    json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}).to_string()
}

/// One entry of an index, as some tool writes it: what it says of itself need not be so.
#[derive(Clone, Debug)]
pub struct Entry(Value);

impl Entry {
    /// An entry that calls itself an image, without a platform.
    pub fn image(digest: &str) -> Self {
        Self(json!({"mediaType": OCI_IMAGE, "digest": digest, "size": 1024}))
    }

    /// An entry that calls itself an index.
    pub fn index(digest: &str) -> Self {
        Self::image(digest).with("mediaType", json!(OCI_INDEX))
    }

    /// An attestation, as BuildKit annotates it.
    pub fn attestation(digest: &str) -> Self {
        Self::image(digest)
            .with("annotations", json!({"vnd.docker.reference.type": "attestation-manifest"}))
            .with("platform", json!({"os": "unknown", "architecture": "unknown"}))
    }

    /// The same entry with another member, such as `platform` or `artifactType`.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.0.set(member, value);
        self
    }
}

/// An OCI image index of these entries.
pub fn index_of(entries: &[Entry]) -> String {
    let manifests: Vec<_> = entries.iter().map(|entry| &entry.0).collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string()
}

fn blob(kind: &str, content: &str) -> String {
    sha256(format!("{kind} of {content}").as_bytes())
}

fn document(content: &str, config_media_type: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": {
            "mediaType": config_media_type,
            "digest": blob("configuration", content),
            "size": 512,
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": blob("layer", content),
            "size": 4096,
        }],
    })
}
