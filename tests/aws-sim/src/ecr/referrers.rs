//! Artifacts that are attached to an image, their subject: `ListImageReferrers`, and how they go with it.
//!
//! An artifact is an image like any other, and so is in every list of images, that happens to name a subject. The
//! subject need not be there (OCI distribution specification, "Pushing Manifests with Subject").

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::page::Page;
use super::repository::valid_digest;
use super::{Image, ImageStatus, RepoKey, invalid};
use crate::api::{ApiCall, ApiError, Input, Outcome};
use crate::world::{Scheduled, World};

/// How many referrers there are on a page, if nothing is said and at most (ECR API reference, ListImageReferrers).
const USUAL_PAGE: usize = 20;
const MAX_PAGE: i64 = 50;
/// The most artifact types that a filter names.
const MAX_TYPES: usize = 5;

/// Which referrers are asked for.
struct Filter<'a> {
    types: Vec<&'a str>,
    /// Nothing where every status will do.
    status: Option<ImageStatus>,
}

impl<'a> Filter<'a> {
    fn of(input: &'a Value) -> Result<Self, ApiError> {
        let filter = input.get("filter");
        let types = filter.map(|filter| filter.texts("artifactTypes")).unwrap_or_default();
        if types.len() > MAX_TYPES {
            let message = format!(
                "Invalid parameter at 'filter.artifactTypes' failed to satisfy constraint: 'Member must have length \
                 less than or equal to {MAX_TYPES}'"
            );
            return Err(invalid(message));
        }
        let status = match filter.and_then(|filter| filter.text("artifactStatus")) {
            None => Some(ImageStatus::Active),
            Some("ANY") => None,
            Some(name) => Some(ImageStatus::named(name).ok_or_else(|| {
                invalid("Invalid parameter at 'filter.artifactStatus' failed to satisfy constraint")
            })?),
        };
        Ok(Self { types, status })
    }

    fn passes(&self, image: &Image) -> bool {
        let is_type = |artifact: &String| self.types.contains(&artifact.as_str());
        self.status.is_none_or(|status| status == image.status)
            && (self.types.is_empty() || image.artifact_media_type.as_ref().is_some_and(is_type))
    }
}

/// The string values among the annotations of a manifest.
pub(crate) fn annotations(manifest: &str) -> Map<String, Value> {
    let document: Value = serde_json::from_str(manifest).unwrap_or_default();
    let written = document.get("annotations").and_then(Value::as_object).cloned();
    written.unwrap_or_default().into_iter().filter(|(_, value)| value.is_string()).collect()
}

fn referrer(digest: &str, image: &Image) -> Value {
    let mut referrer = json!({
        "digest": digest,
        "mediaType": image.media_type,
        "size": image.manifest.len(),
        "artifactStatus": image.status.name(),
    });
    if let Some(artifact) = &image.artifact_media_type {
        referrer.set("artifactType", json!(artifact));
    }
    let annotations = annotations(&image.manifest);
    if !annotations.is_empty() {
        referrer.set("annotations", Value::Object(annotations));
    }
    referrer
}

impl World {
    pub(super) fn list_image_referrers(&self, call: &ApiCall) -> Outcome {
        let repository = self.repository(call)?;
        let input = &call.input;
        let subject = input.get("subjectId").and_then(|subject| subject.text("imageDigest"));
        let subject = subject.filter(|digest| valid_digest(digest)).ok_or_else(|| {
            invalid("Invalid parameter at 'subjectId.imageDigest' failed to satisfy constraint")
        })?;
        let filter = Filter::of(input)?;
        let page = Page::small(input, USUAL_PAGE, MAX_PAGE)?;
        let rows = repository.referrers_of(subject).filter(|(_, image)| filter.passes(image));
        let rows = rows.map(|(digest, image)| (digest.to_owned(), (digest, image)));
        Ok(page.reply("referrers", rows, |(digest, image)| referrer(digest, image)))
    }

    /// Removes an image with all its tags; the tags. What is attached to it goes some time later.
    pub(crate) fn remove_image(&mut self, key: &RepoKey, digest: &str) -> BTreeSet<String> {
        let Some(repository) = self.repositories.get_mut(key) else {
            return BTreeSet::new();
        };
        let tags = repository.remove(digest);
        if repository.referrers_of(digest).next().is_some() {
            let (repository, subject) = (key.clone(), digest.to_owned());
            self.schedule(self.cleanup_after, Scheduled::Cleanup { repository, subject });
        }
        tags
    }

    /// Removes what is attached to an image that is gone, and what is attached to that in turn. What an index lists
    /// stays, as does everything if the image has come back.
    pub(crate) fn clean_up(&mut self, key: &RepoKey, subject: &str) {
        let Some(repository) = self.repositories.get(key) else {
            return;
        };
        if repository.image(subject).is_some() {
            return;
        }
        let digests = repository.referrers_of(subject).map(|(digest, _)| digest);
        let free = digests.filter(|digest| repository.parents_of(digest).next().is_none());
        let gone: Vec<_> = free.map(str::to_owned).collect();
        for digest in gone {
            self.remove_image(key, &digest);
        }
    }
}
