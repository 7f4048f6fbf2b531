//! Manifests for tests: small, valid, and different for different content.

use serde_json::{Value, json};

use crate::api::Input as _;
use crate::ids::sha256;

/// The media type of an OCI image manifest.
pub const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of an OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An OCI image manifest with a configuration and a layer derived from some content.
pub fn image(content: &str) -> String {
    document(content).to_string()
}

/// The same with annotations: `aws-sim.findings` (`CRITICAL=1,HIGH=2`), `aws-sim.scanning` (`ENHANCED`) and
/// `aws-sim.status` say what a scan of the image finds.
pub fn annotated_image(content: &str, annotations: &[(&str, &str)]) -> String {
    let mut document = document(content);
    let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
    document.set("annotations", Value::Object(annotations.collect()));
    document.to_string()
}

/// An OCI image index of children, each a digest and a platform such as `linux/arm64`.
pub fn index(children: &[(&str, &str)]) -> String {
    let manifests = children.iter().map(|(digest, platform)| {
        let (os, architecture) = platform.split_once('/').unwrap_or((platform, "unknown"));
        json!({
            "mediaType": OCI_IMAGE,
            "digest": digest,
            "size": 1024,
            "platform": {"os": os, "architecture": architecture},
        })
    });
    let manifests: Vec<_> = manifests.collect();
    json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).to_string()
}

fn document(content: &str) -> Value {
    let blob = |kind: &str| sha256(format!("{kind} of {content}").as_bytes());
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob("configuration"),
            "size": 512,
        },
        "layers": [{
            "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
            "digest": blob("layer"),
            "size": 4096,
        }],
    })
}
