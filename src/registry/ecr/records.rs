//! Records in ECR: untagged artifacts with a subject, and the tags that they give back.
//!
//! `PutImage` takes an artifact with a subject only if the repository has the blobs that its
//! manifest names. Every record names the empty blob alone, so it is uploaded once a repository,
//! when ECR misses it. `ListImageReferrers` gives the annotations of fifty artifacts in one call,
//! and is authorised by `ecr:BatchGetImage` (ECR API reference; botocore's model of 2026-11).

use std::collections::{BTreeMap, HashMap};

use aws_config::retry::RetryConfig;
use aws_sdk_ecr::config;
use aws_sdk_ecr::operation::put_image::builders::PutImageFluentBuilder;
use aws_sdk_ecr::primitives::Blob;
use aws_sdk_ecr::types::{
    ArtifactStatusFilter, ImageDetail, ImageFailureCode, ImageIdentifier, ImageStatusFilter,
    ListImageReferrersFilter, SubjectIdentifier, TagStatus,
};

use super::EcrRegistry;
use super::answers::{failure_of, none_if_missing};
use super::batches::{Answered, as_large_as_fits};
use super::manifests::{by_digest, by_tag};
use crate::aws::{AwsError, ErrorClass, Operation};
use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::record::{
    ARTIFACT_TYPE, Artifact, Attached, EMPTY_BLOB, EMPTY_DIGEST, EMPTY_TYPE, MANIFEST_TYPE,
    RecordManifest, read_manifest,
};
use crate::registry::{
    Candidate, GivingBack, MAX_PAGE, MAX_REFERRER_BYTES, MAX_REFERRER_PAGES, Manifest, Recording,
    Referrers, UntaggedPage,
};

/// Most referrers in one page (ECR API reference, ListImageReferrers).
const REFERRERS: u16 = 50;
/// Most bytes of manifests that one call for many keeps. A hundred usual records take a fiftieth of
/// it.
const MAX_ATTACHED_BYTES: usize = 8 * 1024 * 1024;
/// Kilobytes of a page of referrers. Fifty usual records take less than a tenth of it.
const REFERRERS_ROOM: u32 = 1024;

/// Returns the artifacts with the type of a record that are attached to this image.
pub(super) async fn referrers(
    registry: &EcrRegistry,
    repository: &Repository,
    image: &Digest,
) -> Result<Referrers, AwsError> {
    let place = registry.place(repository).await;
    let subject = SubjectIdentifier::builder().image_digest(image.as_str()).build();
    let filter = ListImageReferrersFilter::builder()
        .artifact_types(ARTIFACT_TYPE)
        // An archived withdrawal of a hold still counts.
        .artifact_status(ArtifactStatusFilter::Any)
        .build();
    let request = place
        .client
        .list_image_referrers()
        .registry_id(repository.account.as_str())
        .repository_name(repository.name.as_str())
        .set_subject_id(subject.ok())
        .filter(filter);
    let (mut all, mut bytes, mut token) = (Referrers::default(), 0, None::<String>);
    for _ in 0..MAX_REFERRER_PAGES {
        let request = request.clone().set_next_token(token);
        let page = as_large_as_fits(REFERRERS, REFERRERS_ROOM, |most, limit| {
            let request = request.clone().max_results(most.into()).customize().interceptor(limit);
            place.aws.call(Operation::ListImageReferrers, request.send())
        });
        let Some(page) = none_if_missing(page.await)? else { return Ok(Referrers::default()) };
        for referrer in page.referrers.unwrap_or_default() {
            // The filter is ECR's; a registry without it may list every artifact.
            if referrer.artifact_type.as_deref() != Some(ARTIFACT_TYPE) {
                continue;
            }
            let Ok(digest) = Digest::parse(referrer.digest) else { continue };
            let annotations: BTreeMap<_, _> =
                referrer.annotations.unwrap_or_default().into_iter().collect();
            bytes +=
                annotations.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            if bytes > MAX_REFERRER_BYTES {
                all.is_cut = true;
                return Ok(all);
            }
            all.artifacts.push(Artifact { digest, annotations, pushed_at: None });
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(all);
        }
    }
    all.is_cut = true;
    Ok(all)
}

/// Returns one page of the untagged manifests that may be records.
pub(super) async fn untagged_page(
    registry: &EcrRegistry,
    repository: &Repository,
    next_token: Option<&str>,
) -> Result<Option<UntaggedPage>, AwsError> {
    let (any, token) = (Some(ImageStatusFilter::Any), next_token.map(str::to_owned));
    let page = registry.listed(repository, TagStatus::Untagged, any, token, MAX_PAGE).await?;
    Ok(page.map(|page| UntaggedPage {
        candidates: page.image_details.unwrap_or_default().iter().filter_map(candidate).collect(),
        next_token: page.next_token.filter(|token| !token.is_empty()),
    }))
}

/// Returns a manifest that may be a record: it has a subject, and not the type of something else.
fn candidate(detail: &ImageDetail) -> Option<Candidate> {
    let of = detail.artifact_media_type().unwrap_or_default();
    if !["", ARTIFACT_TYPE, EMPTY_TYPE].contains(&of) {
        return None;
    }
    Some(Candidate {
        digest: Digest::parse(detail.image_digest()?).ok()?,
        subject: Digest::parse(detail.subject_manifest_digest()?).ok()?,
        pushed_at: detail.image_pushed_at.and_then(|at| at.try_into().ok()),
    })
}

/// Returns what those of these manifests that are records attach to an image, and `None` for the
/// others.
pub(super) async fn attached(
    registry: &EcrRegistry,
    repository: &Repository,
    digests: &[Digest],
) -> Result<HashMap<Digest, Option<Attached>>, AwsError> {
    let (mut attached, mut bytes, mut error) = (HashMap::new(), 0, None);
    let ids: Vec<ImageIdentifier> = digests.iter().map(by_digest).collect();
    let take = |one: Answered| match one {
        Answered::Image(image) => {
            let digest = image.image_id().and_then(|id| id.image_digest());
            let Some(digest) = digest.and_then(|digest| Digest::parse(digest).ok()) else { return };
            let text = image.image_manifest().unwrap_or_default();
            let read = read_manifest(text);
            bytes += read.as_ref().map_or(0, |_| text.len());
            if bytes <= MAX_ATTACHED_BYTES {
                attached.insert(digest, read);
            }
        }
        // No record of ours is so large.
        Answered::TooLarge(_) => {}
        // An archived manifest cannot be read in this way.
        Answered::Failure(failure)
            if failure.failure_code() == Some(&ImageFailureCode::ImageInaccessible) => {}
        Answered::Failure(failure) => error = error.take().or_else(|| failure_of(failure)),
    };
    registry.manifests(repository, ids, take).await?;
    match error {
        Some(error) => Err(error),
        None => Ok(attached),
    }
}

/// Puts a record into the repository.
pub(super) async fn record(
    registry: &EcrRegistry,
    repository: &Repository,
    record: &RecordManifest,
) -> Result<Recording, AwsError> {
    match put_record(registry, repository, record).await {
        Err(error) if error.is("LayersNotFoundException") => {
            upload_empty_blob(registry, repository).await?;
            put_record(registry, repository, record).await
        }
        result => result,
    }
}

async fn put_record(
    registry: &EcrRegistry,
    repository: &Repository,
    record: &RecordManifest,
) -> Result<Recording, AwsError> {
    let operation = Operation::PutImage;
    let place = registry.place(repository).await;
    let request = place
        .client
        .put_image()
        .registry_id(repository.account.as_str())
        .repository_name(repository.name.as_str())
        .image_manifest(&record.text)
        .image_manifest_media_type(MANIFEST_TYPE)
        .image_digest(record.digest.as_str());
    match place.aws.call(operation, request.send()).await {
        Ok(answer) => {
            let id = answer.image.and_then(|image| image.image_id);
            let digest = id.and_then(|id| id.image_digest);
            if digest.as_deref() == Some(record.digest.as_str()) {
                return Ok(Recording::Confirmed);
            }
            let problem = format!("put {}, answered {digest:?}", record.digest);
            Err(AwsError::unexpected(operation, problem))
        }
        // The same bytes are there (ECR API reference, PutImage).
        Err(error) if error.is("ImageAlreadyExistsException") => Ok(Recording::Confirmed),
        // The quota of images of the repository is used up (ECR API reference, PutImage).
        Err(error) if error.is("LimitExceededException") => Ok(Recording::Full(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Uploads the blob that stands for no content.
async fn upload_empty_blob(
    registry: &EcrRegistry,
    repository: &Repository,
) -> Result<(), AwsError> {
    let place = registry.place(repository).await;
    let (client, aws) = (&place.client, &place.aws);
    let (account, name) = (repository.account.as_str(), repository.name.as_str());
    let begin = client.initiate_layer_upload().registry_id(account).repository_name(name);
    let upload = aws.call(Operation::InitiateLayerUpload, begin.send()).await?.upload_id;
    let last = i64::try_from(EMPTY_BLOB.len()).unwrap_or(i64::MAX) - 1;
    let part = client
        .upload_layer_part()
        .registry_id(account)
        .repository_name(name)
        .set_upload_id(upload.clone())
        .part_first_byte(0)
        .part_last_byte(last)
        .layer_part_blob(Blob::new(EMPTY_BLOB));
    aws.call(Operation::UploadLayerPart, part.send()).await?;
    let end = client
        .complete_layer_upload()
        .registry_id(account)
        .repository_name(name)
        .set_upload_id(upload)
        .layer_digests(EMPTY_DIGEST);
    match aws.call(Operation::CompleteLayerUpload, end.send()).await {
        Err(error) if !error.is("LayerAlreadyExistsException") => Err(error),
        _ => Ok(()),
    }
}

/// Gives a tag back to an image if no image has it now.
pub(super) async fn give_back(
    registry: &EcrRegistry,
    repository: &Repository,
    manifest: &Manifest,
    tag: &Tag,
) -> Result<GivingBack, AwsError> {
    if let Some(digest) = holder(registry, repository, tag).await? {
        return Ok(held_by(digest, manifest));
    }
    let place = registry.place(repository).await;
    let request = put(&place.client, repository, manifest, tag);
    let once = config::Builder::new().retry_config(RetryConfig::disabled());
    let request = request.customize().config_override(once);
    let error = match place.aws.call(Operation::PutImage, request.send()).await {
        Ok(answer) => {
            let id = answer.image.and_then(|image| image.image_id);
            let digest = id.and_then(|id| id.image_digest);
            if digest.as_deref() == Some(manifest.digest.as_str()) {
                return Ok(GivingBack::Confirmed);
            }
            let problem = format!("put {}, answered {digest:?}", manifest.digest);
            let error = AwsError::unexpected(Operation::PutImage, problem);
            return read_again(registry, repository, manifest, tag, error).await;
        }
        Err(error) => error,
    };
    match error.code.as_deref() {
        // ECR misses layers of an image that it has only for a time.
        Some(
            "LimitExceededException"
            | "ReferencedImagesNotFoundException"
            | "ImageArchivedException",
        ) => return Ok(GivingBack::RefusedForGood(error.to_string())),
        Some("ImageAlreadyExistsException" | "ImageTagAlreadyExistsException") => {}
        // The answer is lost, and the call may have been carried out.
        _ if matches!(
            error.class,
            ErrorClass::Timeout | ErrorClass::Connection | ErrorClass::Unavailable
        ) => {}
        _ => return Err(error),
    }
    read_again(registry, repository, manifest, tag, error).await
}

/// Returns which image has the tag after a put that did not say so, or this error if none has it.
async fn read_again(
    registry: &EcrRegistry,
    repository: &Repository,
    manifest: &Manifest,
    tag: &Tag,
    error: AwsError,
) -> Result<GivingBack, AwsError> {
    match holder(registry, repository, tag).await? {
        Some(digest) => Ok(held_by(digest, manifest)),
        None => Err(error),
    }
}

/// Returns the image, archived or not, that has a tag now. Most tags that are given back are
/// absent, so archived images are asked for in the same call.
async fn holder(
    registry: &EcrRegistry,
    repository: &Repository,
    tag: &Tag,
) -> Result<Option<Digest>, AwsError> {
    let (ids, any) = ([by_tag(tag)], Some(ImageStatusFilter::Any));
    let details = match registry.describe(repository, &ids, any).await {
        // A registry without an archive may not know the filter.
        Err(error) if error.class == ErrorClass::Rejected => {
            registry.describe(repository, &ids, None).await?
        }
        details => details?,
    };
    let Some(detail) = details.and_then(|details| details.into_iter().next()) else {
        return Ok(None);
    };
    let digest = Digest::parse(detail.image_digest.unwrap_or_default());
    let unexpected = |error| AwsError::unexpected(Operation::DescribeImages, format!("{error}"));
    digest.map(Some).map_err(unexpected)
}

fn held_by(digest: Digest, manifest: &Manifest) -> GivingBack {
    if digest == manifest.digest { GivingBack::Confirmed } else { GivingBack::Taken(digest) }
}

/// Returns the call that puts a tag on the image with this manifest.
pub(super) fn put(
    client: &aws_sdk_ecr::Client,
    repository: &Repository,
    manifest: &Manifest,
    tag: &Tag,
) -> PutImageFluentBuilder {
    client
        .put_image()
        .registry_id(repository.account.as_str())
        .repository_name(repository.name.as_str())
        .image_manifest(&manifest.text)
        .set_image_manifest_media_type(manifest.media_type.clone())
        .image_digest(manifest.digest.as_str())
        .image_tag(tag.as_str())
}
