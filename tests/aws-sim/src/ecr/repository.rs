//! The state of one repository: its images by digest, and its tags, each on one digest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::findings::ScanResult;
use super::layers::Layers;
use super::{Image, invalid};
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

/// How many images a repository holds, unless somebody has asked AWS for more (ECR User Guide, "Amazon ECR service
/// quotas").
const IMAGE_LIMIT: usize = 100_000;

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
    pub(crate) layers: Layers,
    images: BTreeMap<String, Image>,
    /// Tag to digest; every image has its own tags as well.
    tags: BTreeMap<String, String>,
    /// The indexes that list a digest.
    parents: BTreeMap<String, BTreeSet<String>>,
    /// The artifacts that are attached to a digest.
    referrers: BTreeMap<String, BTreeSet<String>>,
    /// How many images have come.
    arrived: u64,
    /// How many images and artifacts a push may fill it to.
    pub(crate) image_limit: usize,
    /// What a scan of a digest will find, set beforehand.
    pub(crate) presets: BTreeMap<String, ScanResult>,
}

impl Repository {
    pub(crate) fn new(key: RepoKey, now: SystemTime) -> Self {
        Self {
            key,
            created_at: now,
            mutability: "MUTABLE".to_owned(),
            exclusions: Vec::new(),
            scan_on_push: false,
            layers: Layers::default(),
            images: BTreeMap::new(),
            tags: BTreeMap::new(),
            parents: BTreeMap::new(),
            referrers: BTreeMap::new(),
            arrived: 0,
            image_limit: IMAGE_LIMIT,
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

    /// An image or index.
    pub(crate) fn image(&self, digest: &str) -> Option<&Image> {
        self.images.get(digest)
    }

    pub(crate) fn image_mut(&mut self, digest: &str) -> Option<&mut Image> {
        self.images.get_mut(digest)
    }

    /// All images and indexes, by digest.
    pub(crate) fn images(&self) -> &BTreeMap<String, Image> {
        &self.images
    }

    /// All tags with the digests that they are on.
    pub(crate) fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }

    /// The digest that a tag is on.
    pub(crate) fn tag_target(&self, tag: &str) -> Option<&str> {
        self.tags.get(tag).map(String::as_str)
    }

    /// Stores an image that is not there yet.
    pub(super) fn insert(&mut self, digest: &str, mut image: Image) {
        for child in &image.children {
            self.parents.entry(child.clone()).or_default().insert(digest.to_owned());
        }
        if let Some(subject) = &image.subject {
            self.referrers.entry(subject.clone()).or_default().insert(digest.to_owned());
            self.layers.assume(&image.manifest);
        }
        image.order = self.arrived;
        self.arrived += 1;
        self.images.insert(digest.to_owned(), image);
    }

    /// Puts a tag on an image, off whichever it was on.
    pub(super) fn tag(&mut self, tag: &str, digest: &str) {
        self.untag(tag);
        if let Some(image) = self.images.get_mut(digest) {
            image.tags.insert(tag.to_owned());
            self.tags.insert(tag.to_owned(), digest.to_owned());
        }
    }

    /// Takes a tag off; the digest that it was on, which stays.
    pub(crate) fn untag(&mut self, tag: &str) -> Option<String> {
        let digest = self.tags.remove(tag)?;
        if let Some(image) = self.images.get_mut(&digest) {
            image.tags.remove(tag);
        }
        Some(digest)
    }

    /// Removes an image with all its tags; the tags. Children of an index stay.
    pub(crate) fn remove(&mut self, digest: &str) -> BTreeSet<String> {
        let Some(image) = self.images.remove(digest) else {
            return BTreeSet::new();
        };
        for tag in &image.tags {
            self.tags.remove(tag);
        }
        for child in &image.children {
            if let Some(parents) = self.parents.get_mut(child) {
                parents.remove(digest);
            }
        }
        if let Some(others) = image.subject.and_then(|subject| self.referrers.get_mut(&subject)) {
            others.remove(digest);
        }
        image.tags
    }

    /// The artifacts that are attached to a digest, in order of their own.
    pub(crate) fn referrers_of(&self, digest: &str) -> impl Iterator<Item = (&str, &Image)> {
        let digests = self.referrers.get(digest).into_iter().flatten();
        digests.filter_map(|digest| Some((digest.as_str(), self.images.get(digest)?)))
    }

    /// The tags of a digest, in order of name.
    pub(crate) fn tags_of(&self, digest: &str) -> Vec<String> {
        let tags = self.image(digest).into_iter().flat_map(|image| &image.tags);
        tags.cloned().collect()
    }

    /// The indexes that list a digest, in order of digest.
    pub(crate) fn parents_of(&self, digest: &str) -> impl Iterator<Item = &str> {
        self.parents.get(digest).into_iter().flatten().map(String::as_str)
    }

    /// The digest that an image identifier names: by digest, by tag, or by both where they agree.
    pub(crate) fn resolve(&self, id: &Value) -> Option<String> {
        let digest = match (id.text("imageDigest"), id.text("imageTag")) {
            (Some(digest), None) => digest,
            (None, Some(tag)) => self.tag_target(tag)?,
            (Some(digest), Some(tag)) => self.tag_target(tag).filter(|target| *target == digest)?,
            (None, None) => return None,
        };
        self.images.contains_key(digest).then(|| digest.to_owned())
    }

    pub(crate) fn describe(&self) -> Value {
        let RepoKey { account, region, name } = &self.key;
        let mut description = json!({
            "repositoryArn": self.key.arn(),
            "registryId": account,
            "repositoryName": name,
            "repositoryUri": format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}"),
            "createdAt": unix_seconds(self.created_at),
            "imageTagMutability": self.mutability,
            "imageScanningConfiguration": {"scanOnPush": self.scan_on_push},
            "encryptionConfiguration": {"encryptionType": "AES256"},
        });
        if !self.exclusions.is_empty() {
            let filters = self.exclusions.iter();
            let filters: Vec<_> =
                filters.map(|filter| json!({"filterType": "WILDCARD", "filter": filter})).collect();
            description.set("imageTagMutabilityExclusionFilters", json!(filters));
        }
        description
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
