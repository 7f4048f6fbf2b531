//! Parses ECR's answers: pages, images, and errors that mean that something does not exist.

use std::cmp::Reverse;
use std::fmt::Display;

use aws_sdk_ecr::operation::describe_images::DescribeImagesOutput;
use aws_sdk_ecr::types::{ImageDetail, ImageFailure, ImageFailureCode, ImageStatus};

use crate::aws::{AwsError, Operation};
use crate::domain::image::{Image, ImageKind, StorageStatus};
use crate::domain::names::{Digest, InvalidName, Tag};
use crate::registry::manifest::kind_of;
use crate::registry::{Listed, MAX_PULLABLE, Page};

/// Most pages that are read of one list, so that a registry whose pages never end cannot hold up
/// its caller for ever. A repository holds 100,000 images (ECR service quotas).
const MAX_PAGES: usize = 200;

/// Reads page after page, each with the token of the one before. Returns `None` if the list does
/// not exist, as when the repository is gone.
pub(super) async fn all_pages<T, F>(
    operation: Operation,
    (what, of): (&str, &(impl Display + Sync)),
    read: impl Fn(Option<String>) -> F,
) -> Result<Option<Vec<T>>, AwsError>
where
    F: Future<Output = Result<Option<(Option<String>, T)>, AwsError>>,
{
    let mut pages = Vec::new();
    let mut token = None;
    while pages.len() < MAX_PAGES {
        let Some((next_token, page)) = read(token).await? else { return Ok(None) };
        pages.push(page);
        token = next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(Some(pages));
        }
    }
    Err(AwsError::unexpected(operation, format!("more than {MAX_PAGES} pages of {what} {of}")))
}

/// Parses the images of one answer. Images that do not parse are counted, so that they do not hide
/// the others.
pub(super) fn page_of(answer: DescribeImagesOutput) -> Page {
    let details = answer.image_details.unwrap_or_default();
    let all = details.len();
    let images: Vec<_> = details.into_iter().filter_map(|detail| image_of(detail).ok()).collect();
    let unread = u64::try_from(all - images.len()).unwrap_or(u64::MAX);
    let next_token = answer.next_token.filter(|token| !token.is_empty());
    Page { images, unread, next_token }
}

/// Reduces the images of a page to what a listing needs: the newest that people can pull, and all
/// that may be an index.
pub(super) fn listed_of(images: Vec<Image>) -> Vec<Listed> {
    let listed = images.into_iter().map(|image| Listed {
        is_pullable: image.is_pullable(),
        may_be_index: image.kind == ImageKind::Index || image.media_type.is_none(),
        pushed_at: image.pushed_at,
        digest: image.digest,
    });
    let mut listed: Vec<_> = listed.collect();
    listed.sort_by_key(|image| Reverse(image.pushed_at));
    let mut pullable = 0;
    listed.retain(|image| {
        pullable += usize::from(image.is_pullable);
        image.may_be_index || (image.is_pullable && pullable <= MAX_PULLABLE)
    });
    listed
}

/// Returns why BatchGetImage did not return an image, or `None` if there is no such image.
pub(super) fn failure_of(failure: ImageFailure) -> Option<AwsError> {
    let code = failure.failure_code.as_ref().map(ImageFailureCode::as_str).unwrap_or_default();
    let reason = failure.failure_reason.unwrap_or_default();
    (code != "ImageNotFound")
        .then(|| AwsError::of_entry(Operation::BatchGetImage, code, &reason, true))
}

/// Turns the errors "no such image" and "no such repository" into `None`.
pub(super) fn none_if_missing<T>(answer: Result<T, AwsError>) -> Result<Option<T>, AwsError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error)
            if error.is("ImageNotFoundException") || error.is("RepositoryNotFoundException") =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn image_of(detail: ImageDetail) -> Result<Image, AwsError> {
    let unexpected =
        |error: InvalidName| AwsError::unexpected(Operation::DescribeImages, error.to_string());
    let kind =
        kind_of(detail.image_manifest_media_type.as_deref(), detail.artifact_media_type.as_deref());
    // A tag that does not parse could not be removed either, so the whole image is an error.
    let tags = detail.image_tags.unwrap_or_default().into_iter().map(Tag::parse);
    Ok(Image {
        digest: Digest::parse(detail.image_digest.unwrap_or_default()).map_err(unexpected)?,
        tags: tags.collect::<Result<_, _>>().map_err(unexpected)?,
        kind,
        storage: match detail.image_status {
            Some(ImageStatus::Archived) => StorageStatus::Archived,
            Some(ImageStatus::Activating) => StorageStatus::Activating,
            _ => StorageStatus::Active,
        },
        pushed_at: detail.image_pushed_at.and_then(|at| at.try_into().ok()),
        size: detail.image_size_in_bytes.and_then(|size| size.try_into().ok()),
        media_type: detail.image_manifest_media_type,
    })
}
