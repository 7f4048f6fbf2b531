//! What manifests say of themselves.

use serde::Deserialize;

use crate::domain::findings::one_line;
use crate::domain::image::Digest;
use crate::domain::index::{Child, Index};
use crate::domain::plan::{Kind, is_other_artifact};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Every form of manifest that ECR stores. The API reference names the first three; ECR answers indexes and
/// manifest lists only when they are accepted too.
pub(super) const MEDIA_TYPES: [&str; 5] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    INDEX,
    LIST,
];

/// What a manifest of this media type, with this artifactMediaType, is of.
pub(super) fn kind_of(media_type: Option<&str>, artifact: Option<&str>) -> Kind {
    match (media_type, artifact) {
        (Some(INDEX | LIST), _) => Kind::Index,
        _ if artifact.is_some_and(is_other_artifact) => Kind::Artifact,
        _ => Kind::Image,
    }
}

#[derive(Deserialize)]
struct Document {
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    digest: String,
    media_type: Option<String>,
    artifact_type: Option<String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

impl Platform {
    fn name(&self) -> String {
        let known = |part: &Option<String>| part.clone().unwrap_or_else(|| "unknown".to_owned());
        let mut name = format!("{}/{}", known(&self.os), known(&self.architecture));
        if let Some(variant) = self.variant.as_ref().filter(|variant| !variant.is_empty()) {
            name = format!("{name}/{variant}");
        }
        one_line(&name)
    }
}

/// The index that a manifest is; `None` where it is none.
pub(super) fn index_of(digest: Digest, text: &str) -> Option<Index> {
    let document: Document = serde_json::from_str(text).ok()?;
    let children = document.manifests.into_iter().filter_map(|entry| {
        let platform = entry.platform.map(|platform| platform.name());
        // Attestations, as BuildKit attaches them, and other artifacts are no images that anybody runs.
        let attestation = platform.as_deref() == Some("unknown/unknown");
        let nested = matches!(entry.media_type.as_deref(), Some(INDEX | LIST));
        if attestation || nested || entry.artifact_type.as_deref().is_some_and(is_other_artifact) {
            return None;
        }
        Some(Child { digest: Digest::parse(entry.digest).ok()?, platform })
    });
    Some(Index { digest, children: children.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::plan::IMAGE_CONFIGS;

    fn digest(of: char) -> Digest {
        Digest::parse(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    #[test]
    fn the_children_of_an_index_are_its_images_and_nothing_else() {
        let entry = |of: char, rest: &str| {
            format!(r#"{{"mediaType": "{}", "digest": "{}" {rest}}}"#, MEDIA_TYPES[0], digest(of))
        };
        let text = format!(
            r#"{{"schemaVersion": 2, "manifests": [{}, {}, {}, {}, {}]}}"#,
            entry(
                'a',
                r#", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}"#
            ),
            entry('b', r#", "platform": {"os": "unknown", "architecture": "unknown"}"#),
            entry('c', r#", "artifactType": "application/spdx+json""#),
            entry('d', &format!(r#", "artifactType": "{}""#, IMAGE_CONFIGS[0])),
            entry('e', "").replace(MEDIA_TYPES[0], INDEX),
        );
        let index = index_of(digest('f'), &text).unwrap();
        let platform = Some("linux/arm64/v8".to_owned());
        assert_eq!(
            index.children,
            [
                Child { digest: digest('a'), platform },
                Child { digest: digest('d'), platform: None }
            ]
        );
        assert_eq!(index_of(digest('f'), "{}"), None);
        assert_eq!(index_of(digest('f'), "no JSON"), None);
    }

    #[test]
    fn charts_and_other_artifacts_are_told_from_images() {
        assert_eq!(kind_of(Some(INDEX), None), Kind::Index);
        assert_eq!(kind_of(Some(LIST), None), Kind::Index);
        assert_eq!(kind_of(Some(MEDIA_TYPES[0]), Some(IMAGE_CONFIGS[0])), Kind::Image);
        assert_eq!(kind_of(Some(MEDIA_TYPES[0]), None), Kind::Image);
        assert_eq!(kind_of(None, Some("")), Kind::Image);
        let chart = "application/vnd.cncf.helm.config.v1+json";
        assert_eq!(kind_of(Some(MEDIA_TYPES[0]), Some(chart)), Kind::Artifact);
    }
}
