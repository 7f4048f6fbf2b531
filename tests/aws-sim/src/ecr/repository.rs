//! The state of one repository: its images by digest, and its tags, each on one digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::findings::ScanResult;
use super::invalid;
use super::scan::ScanState;
use crate::api::{ApiCall, ApiError, Input, partition};
use crate::clock::unix_seconds;
use crate::wildcard::wildcard;

/// What identifies a repository: the same name in another account or region is another repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoKey {
    /// The registry's account.
    pub account: String,
    /// The registry's region.
    pub region: String,
    /// The repository's name, which may contain `/`.
    pub name: String,
}

impl RepoKey {
    /// A repository of an account and region.
    pub fn new(account: &str, region: &str, name: &str) -> Self {
        Self { account: account.to_owned(), region: region.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of(call: &ApiCall) -> Result<Self, ApiError> {
        let name = call.input.text("repositoryName");
        let name = name.ok_or_else(|| {
            invalid("Invalid parameter at 'repositoryName' failed to satisfy constraint")
        })?;
        Ok(Self::new(call.target_account(), &call.region, name))
    }

    /// The repository's ARN.
    pub fn arn(&self) -> String {
        let partition = partition(&self.region);
        format!("arn:{partition}:ecr:{}:{}:repository/{}", self.region, self.account, self.name)
    }
}

impl fmt::Display for RepoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn())
    }
}

/// A repository.
#[derive(Debug)]
pub(crate) struct Repository {
    pub(crate) key: RepoKey,
    pub(crate) created_at: SystemTime,
    /// `MUTABLE`, `IMMUTABLE`, or one of them `_WITH_EXCLUSION`.
    pub(crate) mutability: String,
    /// The wildcard filters that go with `_WITH_EXCLUSION`.
    pub(crate) exclusions: Vec<String>,
    pub(crate) scan_on_push: bool,
    pub(crate) images: BTreeMap<String, Image>,
    /// Tag to digest.
    pub(crate) tags: BTreeMap<String, String>,
    /// What a scan of a digest will find, set beforehand.
    pub(crate) presets: BTreeMap<String, ScanResult>,
}

/// An image, or an image index.
#[derive(Debug)]
pub(crate) struct Image {
    /// The exact bytes that were pushed.
    pub(crate) manifest: String,
    pub(crate) media_type: String,
    pub(crate) pushed_at: SystemTime,
    pub(crate) pulled_at: Option<SystemTime>,
    pub(crate) scan: ScanState,
}

impl Image {
    /// The manifest, parsed; images hold only manifests that parse.
    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.manifest).unwrap_or_default()
    }

    /// The media type of the manifest's configuration: what ECR calls the artifact's media type.
    pub(crate) fn artifact_media_type(&self) -> Option<String> {
        let document = self.document();
        let artifact = document.text("artifactType");
        let config = || document.get("config")?.text("mediaType");
        artifact.or_else(config).map(str::to_owned)
    }

    pub(crate) fn is_index(&self) -> bool {
        is_index(&self.media_type)
    }

    /// The digests that an index lists.
    pub(crate) fn children(&self) -> Vec<String> {
        children(&self.document())
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

impl Repository {
    pub(crate) fn new(key: RepoKey, now: SystemTime) -> Self {
        Self {
            key,
            created_at: now,
            mutability: "MUTABLE".to_owned(),
            exclusions: Vec::new(),
            scan_on_push: false,
            images: BTreeMap::new(),
            tags: BTreeMap::new(),
            presets: BTreeMap::new(),
        }
    }

    pub(crate) fn set_mutability(&mut self, input: &Value) {
        if let Some(mutability) = input.text("imageTagMutability") {
            self.mutability = mutability.to_owned();
            let filters = input.list("imageTagMutabilityExclusionFilters").iter();
            self.exclusions =
                filters.filter_map(|filter| filter.text("filter").map(str::to_owned)).collect();
        }
    }

    pub(crate) fn set_scanning(&mut self, input: &Value) {
        let scan_on_push = input
            .get("imageScanningConfiguration")
            .and_then(|scanning| scanning.get("scanOnPush"))
            .and_then(Value::as_bool);
        self.scan_on_push = scan_on_push.unwrap_or(self.scan_on_push);
    }

    /// Whether a tag, once given, may not be moved to another digest.
    pub(crate) fn immutable(&self, tag: &str) -> bool {
        let excluded = || self.exclusions.iter().any(|filter| wildcard(filter, tag));
        match self.mutability.as_str() {
            "IMMUTABLE" => true,
            "IMMUTABLE_WITH_EXCLUSION" => !excluded(),
            "MUTABLE_WITH_EXCLUSION" => excluded(),
            _ => false,
        }
    }

    /// The tags of a digest, in order of name.
    pub(crate) fn tags_of(&self, digest: &str) -> Vec<String> {
        let tags = self.tags.iter().filter(|(_, target)| *target == digest);
        tags.map(|(tag, _)| tag.clone()).collect()
    }

    /// The indexes that list a digest, in order of digest.
    pub(crate) fn parents_of(&self, digest: &str) -> BTreeSet<String> {
        let lists = |image: &Image| {
            image.is_index() && image.children().iter().any(|child| child == digest)
        };
        let parents = self.images.iter().filter(|(_, image)| lists(image));
        parents.map(|(parent, _)| parent.clone()).collect()
    }

    /// The digest that an image identifier names: by digest, by tag, or by both where they agree.
    pub(crate) fn resolve(&self, id: &Value) -> Option<String> {
        let digest = match (id.text("imageDigest"), id.text("imageTag")) {
            (Some(digest), None) => digest,
            (None, Some(tag)) => self.tags.get(tag)?,
            (Some(digest), Some(tag)) => self.tags.get(tag).filter(|target| *target == digest)?,
            (None, None) => return None,
        };
        self.images.contains_key(digest).then(|| digest.to_owned())
    }

    pub(crate) fn describe(&self) -> Value {
        let RepoKey { account, region, name } = &self.key;
        json!({
            "repositoryArn": self.key.arn(),
            "registryId": account,
            "repositoryName": name,
            "repositoryUri": format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}"),
            "createdAt": unix_seconds(self.created_at),
            "imageTagMutability": self.mutability,
            "imageScanningConfiguration": {"scanOnPush": self.scan_on_push},
            "encryptionConfiguration": {"encryptionType": "AES256"},
        })
    }
}

/// ECR's rule for repository names.
pub(crate) fn valid_name(name: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let part = |part: &str| {
        part.starts_with(edge)
            && part.ends_with(edge)
            && part.chars().all(|c| edge(c) || matches!(c, '.' | '_' | '-'))
    };
    (2..=256).contains(&name.len()) && name.split('/').all(part)
}

/// The registry's rule for tags: a word character, then up to 127 of word characters, dots and hyphens.
pub(crate) fn valid_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// `sha256:` and 64 lower-case hexadecimal digits.
pub(crate) fn valid_digest(digest: &str) -> bool {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    digest
        .strip_prefix("sha256:")
        .is_some_and(|digits| digits.len() == 64 && digits.chars().all(hex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_and_names_are_checked() {
        assert!(valid_tag("v1.2.3-rc_1") && valid_tag("_x") && valid_tag(&"a".repeat(128)));
        assert!(
            !valid_tag("") && !valid_tag("-x") && !valid_tag("a/b") && !valid_tag(&"a".repeat(129))
        );
        assert!(valid_digest(&format!("sha256:{}", "0a".repeat(32))));
        assert!(!valid_digest("sha256:zz") && !valid_digest("latest"));
        assert!(valid_name("team/app") && !valid_name("Team") && !valid_name("a//b"));
    }
}
