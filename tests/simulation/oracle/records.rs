//! Invariant 18: no tag is removed whose name is not on a record of its image, read off the calls in
//! the order of their effects. If the repository is full, a notice with the name has to be there
//! instead.

use std::collections::BTreeSet;

use aws_sim::{Call, RepoKey, Sim};
use serde_json::Value;

use super::text;

const ARTIFACT_TYPE: &str = "application/vnd.tagwarden.record.v1+json";

/// The repository, the image and the tag.
type Name = (RepoKey, String, String);

/// The names that were recorded, or announced in place of a record.
#[derive(Debug, Default)]
pub(super) struct Recorded(BTreeSet<Name>);

impl Recorded {
    /// A manifest was put. Returns whether it is a record that the repository has taken.
    pub(super) fn put(&mut self, sim: &Sim, call: &Call, repository: &RepoKey) -> bool {
        let manifest = text(&call.request, "imageManifest");
        let record: Value = serde_json::from_str(manifest).unwrap_or_default();
        let is_record = record["artifactType"] == ARTIFACT_TYPE
            && record["annotations"]["tagwarden.kind"] == "quarantine";
        if !is_record {
            return false;
        }
        let subject = text(&record["subject"], "digest");
        let digest = text(&call.request, "imageDigest");
        let is_there = sim.images(repository).iter().any(|image| image == digest);
        let tags = text(&record["annotations"], "tagwarden.tags");
        let tags: Vec<String> = serde_json::from_str(tags).unwrap_or_default();
        if is_there {
            let name = |tag| (repository.clone(), subject.to_owned(), tag);
            self.0.extend(tags.into_iter().map(name));
        }
        is_there
    }

    /// A notice was accepted. Returns whether it stands for a record.
    pub(super) fn announced(&mut self, notice: &str) -> bool {
        let notice: Value = serde_json::from_str(notice).unwrap_or_default();
        let mut reasons = notice["reasons"].as_array().into_iter().flatten();
        let is_full = |reason: &Value| {
            reason.as_str().is_some_and(|reason| reason.starts_with("the repository is full"))
        };
        if notice["action"] != "blocked" || !reasons.any(is_full) {
            return false;
        }
        let image = &notice["image"];
        let [account, region, name] = ["account", "region", "repository"];
        let repository = RepoKey::new(text(image, account), text(image, region), text(image, name));
        let tags = notice["tags"]["kept"].as_array().into_iter().flatten();
        let digest = text(image, "digest");
        self.0.extend(tags.filter_map(|tag| {
            Some((repository.clone(), digest.to_owned(), tag.as_str()?.to_owned()))
        }));
        true
    }

    /// Returns whether a tag may be removed from an image.
    pub(super) fn names(&self, repository: &RepoKey, digest: &str, tag: &str) -> bool {
        self.0.contains(&(repository.clone(), digest.to_owned(), tag.to_owned()))
    }
}
