//! `BatchGetImage`, `ListImages` and `DescribeImages`.

use std::iter::once;
use std::ops::Bound;

use serde_json::{Value, json};

use super::page::Page;
use super::{Image, ImageStatus, Repository, invalid, no_such_image};
use crate::api::{ApiCall, Input, Outcome};
use crate::clock::unix_seconds;
use crate::world::World;

const MAX_IDS: usize = 100;

/// Whether an image passes `filter.tagStatus`.
fn tags_pass(input: &Value, image: &Image) -> bool {
    match input.get("filter").and_then(|filter| filter.text("tagStatus")) {
        Some("TAGGED") => image.is_tagged(),
        Some("UNTAGGED") => !image.is_tagged(),
        _ => true,
    }
}

/// Whether an image passes `filter.imageStatus`: where nothing is said, only active ones do.
fn status_passes(input: &Value, image: &Image) -> bool {
    match input.get("filter").and_then(|filter| filter.text("imageStatus")) {
        None => image.is_active(),
        Some("ANY") => true,
        Some(wanted) => ImageStatus::named(wanted) == Some(image.status),
    }
}

fn detail(repository: &Repository, digest: &str, image: &Image) -> Value {
    let mut detail = json!({
        "registryId": repository.key.account,
        "repositoryName": repository.key.name,
        "imageDigest": digest,
        "imageSizeInBytes": image.manifest.len(),
        "imagePushedAt": unix_seconds(image.pushed_at),
        "imageManifestMediaType": image.media_type,
        "imageStatus": image.status.name(),
    });
    if image.is_tagged() {
        detail.set("imageTags", json!(image.tags));
    }
    if let Some(artifact) = &image.artifact_media_type {
        detail.set("artifactMediaType", json!(artifact));
    }
    if let Some(subject) = &image.subject {
        detail.set("subjectManifestDigest", json!(subject));
    }
    for (member, at) in [
        ("lastRecordedPullTime", image.pulled_at),
        ("lastArchivedAt", image.archived_at),
        ("lastActivatedAt", image.activated_at),
    ] {
        if let Some(at) = at {
            detail.set(member, json!(unix_seconds(at)));
        }
    }
    detail
}

impl World {
    pub(super) fn describe_images(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository(call)?;
        let input = &call.input;
        let Some(ids) = input.get("imageIds").and_then(Value::as_array) else {
            let page = Page::of(input)?;
            let rows = repository
                .images()
                .range::<str, _>((page.start(), Bound::Unbounded))
                .filter(|(_, image)| status_passes(input, image) && tags_pass(input, image))
                .map(|(digest, image)| (digest.clone(), (digest, image)));
            return Ok(page
                .reply("imageDetails", rows, |(digest, image)| detail(repository, digest, image)));
        };
        if input.get("maxResults").is_some() || input.get("nextToken").is_some() {
            return Err(invalid("maxResults and nextToken cannot be used with imageIds"));
        }
        if ids.is_empty() || ids.len() > MAX_IDS {
            return Err(invalid("Invalid parameter at 'imageIds' failed to satisfy constraint"));
        }
        let mut digests: Vec<String> = Vec::new();
        for id in ids {
            let found = repository.resolve(id).filter(|digest| {
                repository.image(digest).is_some_and(|image| status_passes(input, image))
            });
            let digest = found.ok_or_else(|| no_such_image(&repository.key, id))?;
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
        let images = digests.iter().filter_map(|digest| Some((digest, repository.image(digest)?)));
        let details: Vec<_> =
            images.map(|(digest, image)| detail(repository, digest, image)).collect();
        Ok(json!({"imageDetails": details}))
    }

    pub(super) fn list_images(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository(call)?;
        let input = &call.input;
        let page = Page::of(input)?;
        // A row's key is its digest and its tag: the page before may have ended between two tags of an image.
        let start = page.after().and_then(|after| after.split(' ').next());
        let start = start.map_or(Bound::Unbounded, Bound::Included);
        let images = repository.images().range::<str, _>((start, Bound::Unbounded));
        let rows = images
            .filter(|(_, image)| status_passes(input, image) && tags_pass(input, image))
            .flat_map(|(digest, image)| {
                let untagged = once((digest.clone(), (digest, None)));
                let tagged = image
                    .tags
                    .iter()
                    .map(move |tag| (format!("{digest} {tag}"), (digest, Some(tag))));
                tagged.chain(untagged.filter(|_| !image.is_tagged()))
            });
        Ok(page.reply("imageIds", rows, |(digest, tag)| match tag {
            Some(tag) => json!({"imageDigest": digest, "imageTag": tag}),
            None => json!({"imageDigest": digest}),
        }))
    }

    pub(super) fn batch_get_image(&mut self, call: &ApiCall) -> Outcome {
        let now = self.now;
        let accepted = call.input.texts("acceptedMediaTypes");
        let ids = call.input.list("imageIds");
        let repository = self.repository_mut(call)?;
        if ids.is_empty() || ids.len() > MAX_IDS {
            return Err(invalid("Invalid parameter at 'imageIds' failed to satisfy constraint"));
        }
        let key = repository.key.clone();
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in ids {
            let found = repository.resolve(id);
            let tags = match (id.text("imageTag"), &found) {
                (Some(tag), _) => vec![tag.to_owned()],
                (None, Some(digest)) => repository.tags_of(digest),
                (None, None) => Vec::new(),
            };
            let image = found.as_ref().and_then(|digest| repository.image_mut(digest));
            let wanted = |image: &&mut Image| {
                image.is_active()
                    && (accepted.is_empty() || accepted.contains(&image.media_type.as_str()))
            };
            let (Some(digest), Some(image)) = (&found, image.filter(wanted)) else {
                failures.push(failure(id));
                continue;
            };
            image.pulled_at = Some(now);
            let mut names: Vec<_> =
                tags.iter().map(|tag| json!({"imageDigest": digest, "imageTag": tag})).collect();
            if names.is_empty() {
                names.push(json!({"imageDigest": digest}));
            }
            images.extend(names.into_iter().map(|id| {
                json!({
                    "registryId": key.account,
                    "repositoryName": key.name,
                    "imageId": id,
                    "imageManifest": image.manifest,
                    "imageManifestMediaType": image.media_type,
                })
            }));
        }
        Ok(json!({"images": images, "failures": failures}))
    }
}

fn failure(id: &Value) -> Value {
    let (code, reason) = match (id.text("imageDigest"), id.text("imageTag")) {
        (None, None) => (
            "MissingDigestAndTag",
            "Invalid request parameters: both tag and digest cannot be null",
        ),
        _ => ("ImageNotFound", "Requested image not found"),
    };
    json!({"imageId": id, "failureCode": code, "failureReason": reason})
}
