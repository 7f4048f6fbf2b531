//! Parses manifests: whether one is an image, an index or another artifact, and which entries an
//! index has.
//!
//! The manifest's own words never exclude an entry of an index, because anybody who can push can
//! write them. An entry is "not an image" only if ECR says so and shows no findings for it, so
//! every entry that has a digest is kept here, and every other one is counted.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::findings::one_line;
use crate::domain::image::{ImageKind, is_other_artifact};
use crate::domain::image_index::{Child, Entry, Index, Role};
use crate::domain::names::Digest;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Every form of manifest that ECR stores. The API reference names the first three. ECR returns
/// indexes and manifest lists only if the request accepts them too.
pub(super) const MEDIA_TYPES: [&str; 5] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.v1+json",
    INDEX,
    LIST,
];

/// Returns the kind of a manifest with this media type and artifactMediaType.
pub(super) fn kind_of(media_type: Option<&str>, artifact: Option<&str>) -> ImageKind {
    match (media_type, artifact) {
        (Some(INDEX | LIST), _) => ImageKind::Index,
        _ if artifact.is_some_and(is_other_artifact) => ImageKind::Artifact,
        _ => ImageKind::Image,
    }
}

/// Annotation by which BuildKit marks an entry as an attestation of another entry (BuildKit
/// documentation, "Image attestation storage").
const ATTESTATION: &str = "vnd.docker.reference.type";
/// Most characters of a platform that are kept. Only people read it.
const LONGEST_PLATFORM: usize = 64;

#[derive(Deserialize)]
struct ManifestDocument<'a> {
    /// Entries, each parsed by itself so that a malformed one does not hide the others.
    #[serde(borrow)]
    manifests: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEntry {
    digest: String,
    #[serde(default, deserialize_with = "if_a_text")]
    media_type: Option<String>,
    #[serde(default, deserialize_with = "platform")]
    platform: Option<String>,
    #[serde(default, deserialize_with = "is_attestation", rename = "annotations")]
    is_attestation: bool,
}

fn if_a_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::String(text) => Some(text),
        _ => None,
    })
}

/// Returns the name of the platform as far as it can be read, or `None` if it is no object.
fn platform<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let platform = Value::deserialize(from)?;
    let part = |name: &str| platform.get(name).and_then(Value::as_str);
    let known = |name| part(name).unwrap_or("unknown");
    Ok(platform.is_object().then(|| {
        let variant = part("variant").filter(|variant| !variant.is_empty());
        let variant = variant.map(|variant| format!("/{variant}")).unwrap_or_default();
        let name = one_line(&format!("{}/{}{variant}", known("os"), known("architecture")));
        name.chars().take(LONGEST_PLATFORM).collect()
    }))
}

fn is_attestation<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Value::deserialize(from)?.get(ATTESTATION).is_some())
}

fn entry_of(text: &str) -> Option<Entry> {
    let entry: RawEntry = serde_json::from_str(text).ok()?;
    let role = match entry.media_type.as_deref() {
        Some(INDEX | LIST) => Role::Index,
        _ if entry.is_attestation => Role::Attestation,
        _ => Role::Image,
    };
    let digest = Digest::parse(entry.digest).ok()?;
    Some(Entry { child: Child { digest, platform: entry.platform }, role })
}

/// Parses a manifest as an index, or returns `None` if it is not an index.
///
/// A manifest that claims to be an index but cannot be parsed becomes an index with one unknown
/// entry, so that it is never taken for clean.
pub(super) fn index_of(digest: Digest, media_type: Option<&str>, text: &str) -> Option<Index> {
    let Ok(document) = serde_json::from_str::<ManifestDocument<'_>>(text) else {
        return matches!(media_type, Some(INDEX | LIST)).then(|| Index::new(digest, [None]));
    };
    Some(Index::new(digest, document.manifests.iter().map(|entry| entry_of(entry.get()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::IMAGE_CONFIGS;
    use crate::domain::image_index::Walk;

    fn digest(of: char) -> Digest {
        Digest::parse(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
    }

    fn entry(of: char, rest: &str) -> String {
        format!(r#"{{"mediaType": "{}", "digest": "{}" {rest}}}"#, MEDIA_TYPES[0], digest(of))
    }

    fn index(entries: &[String]) -> Option<Index> {
        let text = format!(r#"{{"schemaVersion": 2, "manifests": [{}]}}"#, entries.join(", "));
        index_of(digest('f'), Some(INDEX), &text)
    }

    #[test]
    fn entry_is_kept_whatever_it_claims_to_be() {
        let attestation =
            r#", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}"#;
        let index = index(&[
            entry(
                '0',
                r#", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}"#,
            ),
            entry('1', r#", "platform": {"os": "unknown", "architecture": "unknown"}"#),
            entry('2', r#", "platform": {}"#),
            entry('3', r#", "artifactType": "application/spdx+json""#),
            entry('4', r#", "platform": "linux", "artifactType": 7, "annotations": []"#),
            entry('5', attestation),
            entry('6', "").replace(MEDIA_TYPES[0], INDEX),
            entry('7', attestation).replace(MEDIA_TYPES[0], LIST),
            entry('8', "").replace(MEDIA_TYPES[0], "application/octet-stream"),
            format!(r#"{{"digest": "{}", "mediaType": null}}"#, digest('9')),
        ]);
        let index = index.unwrap();
        let entries = index.entries().iter();
        let entries: Vec<_> =
            entries.map(|entry| (entry.child.platform.as_deref(), entry.role)).collect();
        let (unknown, image) = (Some("unknown/unknown"), Role::Image);
        assert_eq!(
            entries,
            [
                (Some("linux/arm64/v8"), image),
                (unknown, image),
                (unknown, image),
                (None, image),
                (None, image),
                (None, Role::Attestation),
                (None, Role::Index),
                (None, Role::Index),
                (None, image),
                (None, image),
            ]
        );
        assert_eq!(Walk::of(index.digest()).enter(&[index]).len(), 10);
    }

    #[test]
    fn malformed_entry_is_counted_and_hides_no_other() {
        let twice = format!(r#"{{"digest": "{0}", "digest": "{0}"}}"#, digest('b'));
        let strange = ["7", "null", "{}", r#"{"digest": "sha512:abc"}"#, twice.as_str()];
        let strange = strange.map(str::to_owned);
        let index = index(&[&[entry('a', "")][..], &strange].concat()).unwrap();
        assert_eq!(index.entries().len(), 1);
        let mut walk = Walk::of(index.digest());
        walk.enter(&[index]);
        assert!(walk.gap().unwrap().contains("5 of its entries"), "{:?}", walk.gap());
    }

    #[test]
    fn index_that_cannot_be_parsed_is_an_index_with_a_gap() {
        let of = |text, media_type| index_of(digest('f'), media_type, text);
        let twice = format!(r#"{{"manifests": [], "manifests": [{}]}}"#, entry('a', ""));
        for text in ["{}", "no JSON", twice.as_str()] {
            assert_eq!(of(text, None), None, "{text}");
            assert_eq!(of(text, Some(MEDIA_TYPES[0])), None, "{text}");
            for index in [INDEX, LIST] {
                let index = of(text, Some(index)).unwrap();
                let mut walk = Walk::of(index.digest());
                assert!(walk.enter(&[index]).is_empty());
                assert!(walk.gap().is_some(), "{text}");
            }
        }
        let empty = of(r#"{"manifests": []}"#, None).unwrap();
        assert_eq!(empty, Index::new(digest('f'), []));
    }

    #[test]
    fn platform_is_one_short_line() {
        let long = entry('a', &format!(r#", "platform": {{"os": "a\nb{}"}}"#, "c".repeat(900)));
        let index = index(&[long]).unwrap();
        let platform = index.entries()[0].child.platform.clone().unwrap();
        assert_eq!(platform.len(), LONGEST_PLATFORM);
        assert!(platform.starts_with("a bcc"), "{platform}");
    }

    #[test]
    fn kind_follows_the_media_types() {
        assert_eq!(kind_of(Some(INDEX), None), ImageKind::Index);
        assert_eq!(kind_of(Some(LIST), None), ImageKind::Index);
        assert_eq!(kind_of(Some(MEDIA_TYPES[0]), Some(IMAGE_CONFIGS[0])), ImageKind::Image);
        assert_eq!(kind_of(Some(MEDIA_TYPES[0]), None), ImageKind::Image);
        assert_eq!(kind_of(None, Some("")), ImageKind::Image);
        let chart = "application/vnd.cncf.helm.config.v1+json";
        assert_eq!(kind_of(Some(MEDIA_TYPES[0]), Some(chart)), ImageKind::Artifact);
    }
}
