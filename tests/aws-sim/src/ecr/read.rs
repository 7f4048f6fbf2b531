//! `BatchGetImage`, `ListImages` and `DescribeImages`, and the paging that ECR's lists share.

use serde_json::{Map, Value, json};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Image, Repository, invalid, no_such_image};
use crate::api::{ApiCall, ApiError, Input, Outcome};
use crate::clock::unix_seconds;
use crate::world::World;

const MAX_IDS: usize = 100;

/// One page of rows in order of their key. The token holds the last key of the page before, so that a page neither
/// repeats nor skips rows when others come or go meanwhile.
pub(super) fn page(input: &Value, member: &str, mut rows: Vec<(String, Value)>) -> Outcome {
    let max = match input.int("maxResults") {
        None => 100,
        Some(max) if (1..=1000).contains(&max) => usize::try_from(max).unwrap_or(100),
        Some(_) => {
            return Err(invalid("Invalid parameter at 'maxResults': must be between 1 and 1000"));
        }
    };
    let after = match input.text("nextToken") {
        None => None,
        Some(token) => Some(read_token(token)?),
    };
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    let mut rows = rows
        .into_iter()
        .skip_while(|(key, _)| after.as_ref().is_some_and(|after| key <= after))
        .peekable();
    let mut last = None;
    let mut values = Vec::new();
    while values.len() < max
        && let Some((key, value)) = rows.next()
    {
        last = Some(key);
        values.push(value);
    }
    let mut reply = Map::new();
    reply.insert(member.to_owned(), Value::Array(values));
    if rows.peek().is_some() {
        reply.insert("nextToken".to_owned(), json!(STANDARD.encode(last.unwrap_or_default())));
    }
    Ok(Value::Object(reply))
}

pub(super) fn read_token(token: &str) -> Result<String, ApiError> {
    let decoded = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.ok_or_else(|| invalid("Invalid parameter at 'nextToken' failed to satisfy constraint"))
}

/// Whether an image passes `filter.tagStatus`.
fn passes(input: &Value, tagged: bool) -> bool {
    match input.get("filter").and_then(|filter| filter.text("tagStatus")) {
        Some("TAGGED") => tagged,
        Some("UNTAGGED") => !tagged,
        _ => true,
    }
}

/// Whether `filter.imageStatus` lets active images through; there are no others here.
fn wants_active(input: &Value) -> bool {
    let status = input.get("filter").and_then(|filter| filter.text("imageStatus"));
    matches!(status, None | Some("ACTIVE" | "ANY"))
}

fn detail(repository: &Repository, digest: &str, image: &Image) -> Value {
    let mut detail = json!({
        "registryId": repository.key.account,
        "repositoryName": repository.key.name,
        "imageDigest": digest,
        "imageSizeInBytes": image.manifest.len(),
        "imagePushedAt": unix_seconds(image.pushed_at),
        "imageManifestMediaType": image.media_type,
        "imageStatus": "ACTIVE",
    });
    let tags = repository.tags_of(digest);
    if !tags.is_empty() {
        detail.set("imageTags", json!(tags));
    }
    if let Some(artifact) = image.artifact_media_type() {
        detail.set("artifactMediaType", json!(artifact));
    }
    if let Some(subject) =
        image.document().get("subject").and_then(|subject| subject.text("digest"))
    {
        detail.set("subjectManifestDigest", json!(subject));
    }
    if let Some(pulled) = image.pulled_at {
        detail.set("lastRecordedPullTime", json!(unix_seconds(pulled)));
    }
    detail
}

impl World {
    pub(super) fn describe_images(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository(call)?;
        let input = &call.input;
        let Some(ids) = input.get("imageIds").and_then(Value::as_array) else {
            let rows = repository
                .images
                .iter()
                .filter(|(digest, _)| {
                    wants_active(input) && passes(input, !repository.tags_of(digest).is_empty())
                })
                .map(|(digest, image)| (digest.clone(), detail(repository, digest, image)));
            return page(input, "imageDetails", rows.collect());
        };
        if input.get("maxResults").is_some() || input.get("nextToken").is_some() {
            return Err(invalid("maxResults and nextToken cannot be used with imageIds"));
        }
        if ids.is_empty() || ids.len() > MAX_IDS {
            return Err(invalid("Invalid parameter at 'imageIds' failed to satisfy constraint"));
        }
        let mut digests: Vec<String> = Vec::new();
        for id in ids {
            let digest =
                repository.resolve(id).ok_or_else(|| no_such_image(&repository.key, id))?;
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
        let images =
            digests.iter().filter_map(|digest| Some((digest, repository.images.get(digest)?)));
        let details: Vec<_> =
            images.map(|(digest, image)| detail(repository, digest, image)).collect();
        Ok(json!({"imageDetails": details}))
    }

    pub(super) fn list_images(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository(call)?;
        let tagged = repository.tags.iter().map(|(tag, digest)| (digest, Some(tag)));
        let untagged = repository
            .images
            .keys()
            .filter(|digest| repository.tags_of(digest).is_empty())
            .map(|digest| (digest, None));
        let rows = tagged
            .chain(untagged)
            .filter(|(_, tag)| wants_active(&call.input) && passes(&call.input, tag.is_some()))
            .map(|(digest, tag)| match tag {
                Some(tag) => {
                    (format!("{digest} {tag}"), json!({"imageDigest": digest, "imageTag": tag}))
                }
                None => (digest.clone(), json!({"imageDigest": digest})),
            });
        page(&call.input, "imageIds", rows.collect())
    }

    pub(super) fn batch_get_image(&mut self, call: &ApiCall) -> Outcome {
        let now = self.now;
        let accepted = call.input.texts("acceptedMediaTypes");
        let ids = call.input.list("imageIds");
        let repository = self.repository_mut(call)?;
        if ids.is_empty() || ids.len() > MAX_IDS {
            return Err(invalid("Invalid parameter at 'imageIds' failed to satisfy constraint"));
        }
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in ids {
            let found = repository.resolve(id);
            let tags = match (id.text("imageTag"), &found) {
                (Some(tag), _) => vec![tag.to_owned()],
                (None, Some(digest)) => repository.tags_of(digest),
                (None, None) => Vec::new(),
            };
            let image = found.as_ref().and_then(|digest| repository.images.get_mut(digest));
            let wanted = |image: &&mut Image| {
                accepted.is_empty() || accepted.contains(&image.media_type.as_str())
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
                    "registryId": repository.key.account,
                    "repositoryName": repository.key.name,
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
