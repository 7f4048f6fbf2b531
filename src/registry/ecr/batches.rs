//! Calls about up to a hundred images at once, within bounds on the number of calls and on memory.
//!
//! **Missing ids.** DescribeImages fails as a whole if one of its ids is missing. Then it is sent
//! once more with archived images included. If it still fails, BatchGetImage answers for each id
//! whether it exists, and the ids that exist are described again. That makes four calls for a
//! hundred ids instead of a hundred. The children of an index, and the tags of an event without a
//! digest, are read in this way.
//!
//! **Large manifests.** A manifest has up to four megabytes, so a hundred of them do not fit in the
//! memory of a small task. [`Limit`] refuses an answer by its Content-Length before its bytes are
//! read. BatchGetImage asks for a hundred manifests within a megabyte. A larger answer is asked for
//! again in halves, and in the end one image at a time while no other answer is read. A semaphore
//! of twelve megabytes covers all answers that are read at the same time.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_ecr::types::{
    DescribeImagesFilter, Image, ImageDetail, ImageFailure, ImageIdentifier, ImageStatusFilter,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{
    Intercept, context::BeforeDeserializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;

use super::EcrRegistry;
use super::answers::none_if_missing;
use crate::aws::{AwsError, ErrorClass, Operation};
use crate::domain::names::Repository;
use crate::registry::manifest::MEDIA_TYPES;

/// Kilobytes for all answers of BatchGetImage that are read at the same time. An answer is in
/// memory twice for a moment: its bytes, and the manifests that are parsed from them.
pub(super) const ROOM: u32 = 12 * 1024;
/// Kilobytes for one answer. The manifests of a hundred usual indexes take less.
const USUAL: u32 = 1024;
/// Kilobytes of the largest answer about a single image that is read. The answer may repeat the
/// manifest for each tag of the image.
const LARGEST: u32 = 32 * 1024;

/// One image of an answer, or the reason why it is not in there.
pub(super) enum Answered {
    Image(Box<Image>),
    Failure(ImageFailure),
    /// The image exists, but the answer about it alone is too large to read, because ECR may repeat
    /// a manifest for each tag of the image.
    TooLarge(ImageIdentifier),
}

impl EcrRegistry {
    /// Describes the images with these ids, at most a hundred, and leaves out those that do not
    /// exist. Needs one call if all exist.
    pub(super) async fn described(
        &self,
        repository: &Repository,
        ids: Vec<ImageIdentifier>,
    ) -> Result<Vec<ImageDetail>, AwsError> {
        if let Some(details) = self.describe_all(repository, &ids).await? {
            return Ok(details);
        }
        if ids.len() < 2 {
            return Ok(Vec::new());
        }
        let mut there = HashSet::new();
        let is_known = self.manifests(repository, ids.clone(), |answered| {
            let id = match answered {
                Answered::Image(image) => image.image_id,
                Answered::TooLarge(id) => Some(id),
                Answered::Failure(_) => None,
            };
            if let Some(id) = id {
                there.extend(id.image_digest);
                there.extend(id.image_tag);
            }
        });
        if !is_known.await? {
            return Ok(Vec::new());
        }
        let is_there = |id: &ImageIdentifier| {
            let name = id.image_digest().or(id.image_tag());
            name.is_some_and(|name| there.contains(name))
        };
        let ids: Vec<_> = ids.into_iter().filter(is_there).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // If an image vanished a moment ago, the next delivery of the message asks again.
        let details = self.describe_all(repository, &ids).await?;
        details.ok_or_else(|| AwsError {
            class: ErrorClass::Unavailable,
            ..AwsError::unexpected(Operation::DescribeImages, "images vanished between two calls")
        })
    }

    /// Describes the images with these ids, including archived ones. Returns `None` if one of them
    /// is missing.
    pub(super) async fn describe_all(
        &self,
        repository: &Repository,
        ids: &[ImageIdentifier],
    ) -> Result<Option<Vec<ImageDetail>>, AwsError> {
        if let Some(details) = self.describe(repository, ids, None).await? {
            return Ok(Some(details));
        }
        // ECR leaves archived images out unless the filter includes them (ECR API reference,
        // DescribeImagesFilter).
        match self.describe(repository, ids, Some(ImageStatusFilter::Any)).await {
            // A registry without an archive may not know the filter.
            Err(error) if error.class == ErrorClass::Rejected => Ok(None),
            details => details,
        }
    }

    /// Describes the images with these ids by one call. Returns `None` if one of them is missing.
    pub(super) async fn describe(
        &self,
        repository: &Repository,
        ids: &[ImageIdentifier],
        status: Option<ImageStatusFilter>,
    ) -> Result<Option<Vec<ImageDetail>>, AwsError> {
        let place = self.place(repository).await;
        let filter = status.map(|of| DescribeImagesFilter::builder().image_status(of).build());
        let request = place
            .client
            .describe_images()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .set_image_ids(Some(ids.to_vec()))
            .set_filter(filter);
        let answer =
            none_if_missing(place.aws.call(Operation::DescribeImages, request.send()).await)?;
        Ok(answer.map(|answer| answer.image_details.unwrap_or_default()))
    }

    /// Passes the manifests with these ids, at most a hundred, to `each`, one after the other.
    /// Returns false if the repository does not exist.
    ///
    /// An answer that exceeds its limit is not read. Its ids are asked for again in halves, and in
    /// the end one at a time while no other answer is read.
    pub(super) async fn manifests(
        &self,
        repository: &Repository,
        ids: Vec<ImageIdentifier>,
        mut each: impl FnMut(Answered) + Send,
    ) -> Result<bool, AwsError> {
        let mut pending = VecDeque::from([(ids, USUAL, USUAL)]);
        while let Some((ids, room, most)) = pending.pop_front() {
            let closed = |_| {
                AwsError::unexpected(Operation::BatchGetImage, "the semaphore of answers is closed")
            };
            let held = self.room.acquire_many(room).await.map_err(closed)?;
            let limit = Limit::new(most);
            let answer = self.batch(repository, ids.clone(), &limit).await;
            match answer {
                Ok(None) => return Ok(false),
                Ok(Some(answered)) => answered.into_iter().for_each(&mut each),
                Err(_) if limit.is_exceeded() && most < LARGEST => {
                    let halves = ids.chunks(ids.len().div_ceil(2).max(1)).rev();
                    halves.for_each(|half| {
                        let (room, most) =
                            if half.len() > 1 { (room, most) } else { (ROOM, LARGEST) };
                        pending.push_front((half.to_vec(), room, most));
                    });
                }
                Err(_) if limit.is_exceeded() => {
                    ids.into_iter().map(Answered::TooLarge).for_each(&mut each);
                }
                Err(error) => return Err(error),
            }
            drop(held);
        }
        Ok(true)
    }

    async fn batch(
        &self,
        repository: &Repository,
        ids: Vec<ImageIdentifier>,
        limit: &Limit,
    ) -> Result<Option<Vec<Answered>>, AwsError> {
        let place = self.place(repository).await;
        let request = place
            .client
            .batch_get_image()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .set_image_ids(Some(ids))
            .set_accepted_media_types(Some(MEDIA_TYPES.map(str::to_owned).to_vec()));
        let request = request.customize().interceptor(limit.clone());
        let answer =
            none_if_missing(place.aws.call(Operation::BatchGetImage, request.send()).await)?;
        Ok(answer.map(|answer| {
            let images = answer.images.unwrap_or_default().into_iter();
            let images = images.map(|image| Answered::Image(Box::new(image)));
            let failures = answer.failures.unwrap_or_default().into_iter();
            images.chain(failures.map(Answered::Failure)).collect()
        }))
    }
}

/// Asks for a page of `most` entries, and for a quarter of them again as long as the answer exceeds
/// its limit. An answer with one entry is read whatever its size.
pub(super) async fn as_large_as_fits<T, F>(
    mut most: u16,
    kilobytes: u32,
    call: impl Fn(u16, Limit) -> F,
) -> Result<T, AwsError>
where
    F: Future<Output = Result<T, AwsError>>,
{
    loop {
        let limit = Limit::new(if most > 1 { kilobytes } else { u32::MAX });
        match call(most, limit.clone()).await {
            Err(_) if limit.is_exceeded() => most = (most / 4).max(1),
            answer => return answer,
        }
    }
}

/// Refuses an answer whose Content-Length exceeds this limit before its bytes are read.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    kilobytes: u32,
    exceeded: Arc<AtomicBool>,
}

impl Limit {
    fn new(kilobytes: u32) -> Self {
        Self { kilobytes, exceeded: Arc::default() }
    }

    fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

impl Intercept for Limit {
    fn name(&self) -> &'static str {
        "Limit"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let length = context.response().body().content_length().unwrap_or(0);
        if length > u64::from(self.kilobytes) * 1024 {
            self.exceeded.store(true, Ordering::Relaxed);
            let most = self.kilobytes;
            return Err(format!("the answer has {length} bytes and exceeds {most} KB").into());
        }
        Ok(())
    }
}
