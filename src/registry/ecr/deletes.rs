//! Deletes tags (invariant 3): each by tag and digest, or by the tag alone for registries that
//! ignore the digest.

use aws_sdk_ecr::types::ImageIdentifier;

use super::EcrRegistry;
use crate::aws::{AwsError, Operation};
use crate::domain::names::{Digest, Repository, Tag};
use crate::domain::reconcile::{Answer, AnsweredFailure, AnsweredId};
use crate::registry::UntagBy;

/// Deletes tags of an image by one call, and returns the whole answer.
pub(super) async fn delete(
    registry: &EcrRegistry,
    repository: &Repository,
    digest: &Digest,
    tags: &[Tag],
) -> Result<Answer, AwsError> {
    let ids = tags.iter().map(|tag| {
        let id = ImageIdentifier::builder().image_tag(tag.as_str());
        match registry.untag_by {
            UntagBy::TagAndDigest => id.image_digest(digest.as_str()).build(),
            UntagBy::Tag => id.build(),
        }
    });
    let place = registry.place(repository).await;
    let request = place
        .client
        .batch_delete_image()
        .registry_id(repository.account.as_str())
        .repository_name(repository.name.as_str())
        .set_image_ids(Some(ids.collect()));
    let answer = place.aws.call(Operation::BatchDeleteImage, request.send()).await?;
    let deleted = answer.image_ids.unwrap_or_default().into_iter();
    let failures = answer.failures.unwrap_or_default().into_iter();
    Ok(Answer {
        deleted: deleted
            .map(|id| AnsweredId { tag: id.image_tag, digest: id.image_digest })
            .collect(),
        failures: failures
            .map(|failure| AnsweredFailure {
                tag: failure.image_id.and_then(|id| id.image_tag),
                code: failure
                    .failure_code
                    .map_or_else(|| "no code".to_owned(), |code| code.as_str().to_owned()),
                reason: failure.failure_reason.unwrap_or_default(),
            })
            .collect(),
    })
}
