//! `BatchDeleteImage`, with the rules of AWS (or moto's, see [`DeleteRules`]).
//!
//! A tag alone, or a tag with the digest that it points to, takes that tag off; taking the last tag off deletes
//! the image. A digest alone deletes the image with all its tags. A child of an existing index is not deleted.
//! All identifiers are looked up before anything is deleted, so one image named twice is answered once.

use serde_json::{Value, json};

use super::repository::{valid_digest, valid_tag};
use super::{RepoKey, Repository, invalid};
use crate::api::{ApiCall, Input, Outcome};
use crate::config::DeleteRules;
use crate::world::World;

const MAX_IDS: usize = 100;

/// What one identifier asks for, after the look-up.
enum Target {
    /// Take this tag off this digest.
    Tag { tag: String, digest: String },
    /// Delete this digest with all its tags.
    Image { digest: String, force: bool },
}

/// Why one identifier was refused: a code and a reason of `failures`.
struct Refusal {
    code: &'static str,
    reason: String,
}

impl Refusal {
    fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    fn not_found() -> Self {
        Self::new("ImageNotFound", "Requested image not found")
    }

    fn entry(&self, id: &Value) -> Value {
        json!({"imageId": id, "failureCode": self.code, "failureReason": self.reason})
    }
}

impl World {
    pub(super) fn batch_delete_image(&mut self, call: &ApiCall) -> Outcome {
        let ids = call.input.list("imageIds");
        let repository = self.repository(call)?;
        if ids.is_empty() || ids.len() > MAX_IDS {
            let message = "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length \
                           less than or equal to 100, and at least 1'";
            return Err(invalid(message));
        }
        let key = repository.key.clone();
        let rules = self.config.delete_rules;
        let targets: Vec<_> = ids.iter().map(|id| look_up(repository, id, rules)).collect();

        let (mut deleted, mut failures) = (Vec::new(), Vec::new());
        for (id, target) in ids.iter().zip(targets) {
            match target.and_then(|target| self.delete_target(&key, target)) {
                Ok(gone) => deleted.extend(gone),
                Err(refusal) => failures.push(refusal.entry(id)),
            }
        }
        for id in &deleted {
            let digest = id.text("imageDigest").unwrap_or_default();
            self.emit_delete(&key, digest, id.text("imageTag"));
        }
        Ok(json!({"imageIds": deleted, "failures": failures}))
    }

    /// Does what one identifier asks for; the identifiers that went, none if this call took them already.
    fn delete_target(&mut self, key: &RepoKey, target: Target) -> Result<Vec<Value>, Refusal> {
        let Some(repository) = self.repositories.get_mut(key) else {
            return Err(Refusal::not_found());
        };
        match target {
            Target::Tag { tag, digest } => {
                if repository.tag_target(&tag).is_none() {
                    return Ok(Vec::new());
                }
                if repository.tags_of(&digest).len() == 1 {
                    refuse_child(repository, &digest)?;
                    self.remove_image(key, &digest);
                } else {
                    repository.untag(&tag);
                }
                Ok(vec![json!({"imageDigest": digest, "imageTag": tag})])
            }
            Target::Image { digest, force } => {
                if repository.image(&digest).is_none() {
                    return Ok(Vec::new());
                }
                if !force {
                    refuse_child(repository, &digest)?;
                }
                let tags = self.remove_image(key, &digest);
                if tags.is_empty() {
                    return Ok(vec![json!({"imageDigest": digest})]);
                }
                let ids =
                    tags.into_iter().map(|tag| json!({"imageDigest": digest, "imageTag": tag}));
                Ok(ids.collect())
            }
        }
    }
}

fn look_up(repository: &Repository, id: &Value, rules: DeleteRules) -> Result<Target, Refusal> {
    let (digest, tag) = (id.text("imageDigest"), id.text("imageTag"));
    if digest.is_some_and(|digest| !valid_digest(digest)) {
        let reason = "Invalid request parameters: image digest should satisfy the regex '[a-zA-Z0-9-_+.]+:[a-fA-F0-9]+'";
        return Err(Refusal::new("InvalidImageDigest", reason));
    }
    if tag.is_some_and(|tag| !valid_tag(tag)) {
        let reason =
            "Invalid request parameters: image tag should satisfy the regex '[a-zA-Z0-9-_.]+'";
        return Err(Refusal::new("InvalidImageTag", reason));
    }
    match (digest, tag) {
        (None, None) => {
            let reason = "Invalid request parameters: both tag and digest cannot be null";
            Err(Refusal::new("MissingDigestAndTag", reason))
        }
        (Some(digest), None) if repository.image(digest).is_some() => {
            Ok(Target::Image { digest: digest.to_owned(), force: false })
        }
        (Some(_), None) => Err(Refusal::not_found()),
        (expected, Some(tag)) => {
            let digest = repository.tag_target(tag).ok_or_else(Refusal::not_found)?.to_owned();
            match (expected, rules) {
                (None, _) => {}
                (Some(expected), DeleteRules::Aws) if expected != digest => {
                    let reason =
                        "Invalid request parameters: given tag does not map to the given digest";
                    return Err(Refusal::new("ImageTagDoesNotMatchDigest", reason));
                }
                (Some(_), DeleteRules::Aws) => {}
                (Some(expected), DeleteRules::WholeImage) if expected != digest => {
                    return Err(Refusal::not_found());
                }
                (Some(_), DeleteRules::WholeImage) => {
                    return Ok(Target::Image { digest, force: true });
                }
            }
            Ok(Target::Tag { tag: tag.to_owned(), digest })
        }
    }
}

/// Refuses to delete an image that an index of the repository still lists.
fn refuse_child(repository: &Repository, digest: &str) -> Result<(), Refusal> {
    let parents: Vec<_> = repository.parents_of(digest).collect();
    if parents.is_empty() {
        return Ok(());
    }
    let reason = format!("Requested image referenced by manifest list: [{}]", parents.join(", "));
    Err(Refusal::new("ImageReferencedByManifestList", reason))
}
