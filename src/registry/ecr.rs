//! The registry in Amazon ECR: implements [`Registry`] by calls of the AWS SDK.
//!
//! Each account and Region has a client of its own, with its own retry quota and pacing, so that
//! one account that throttles us does not slow down the others. Limits on the size of answers are
//! in `batches`.
//!
//! Invariant 3: `untag` sends BatchDeleteImage with each tag *and* the digest, which ECR compares
//! before it removes the tag. With `registry.untag = "tag"`, the image's tags are read right before
//! the call instead, and tags that have moved are not sent. A tag that moves between the read and
//! the call is found by [`reconcile`], which checks every entry of the answer against the request.

mod answers;
mod batches;
mod clients;
mod deletes;
mod findings;
mod lifecycle;
mod manifests;
mod permissions;
mod records;
mod replication;

use std::collections::{BTreeMap, HashMap};
use std::iter::once;
use std::sync::Arc;

use aws_config::retry::RetryConfig;
use aws_sdk_ecr::config;
use aws_sdk_ecr::operation::describe_images::DescribeImagesOutput;
use aws_sdk_ecr::types::{
    DescribeImagesFilter, ImageFailureCode, ImageIdentifier, ImageStatusFilter, TagStatus,
};
use tokio::sync::Semaphore;

use super::manifest::index_of;
use super::{
    GivingBack, MAX_PAGE, Manifest, Markable, Page, Recording, Referrers, Registry, ScanAnswer,
    Tagged, Tagging, UntaggedPage,
};
use crate::aws::{Aws, AwsError, Operation};
use crate::domain::findings::{ScanPage, ScanState};
use crate::domain::image::Image;
use crate::domain::image_index::Index;
use crate::domain::marks::{MarkHolder, Marks};
use crate::domain::names::{Digest, RegistryId, Repository, RepositoryName, Tag};
use crate::domain::reconcile::{Untagged, reconcile};
use crate::domain::record::{Attached, RecordManifest};
use crate::domain::replication::Replication;
use crate::registry::UntagBy;
use answers::{all_pages, failure_of, image_of, listed_of, none_if_missing, page_of};
use batches::{Answered, ROOM, as_large_as_fits};
use clients::{Clients, RegistryClient};
pub(crate) use lifecycle::{Expiring, ExpiringRule, expiring_rules};
use manifests::{Manifests, by_digest, by_tag};
pub(crate) use permissions::{Uses, try_permissions};
use replication::describe_registry;

/// Limit of a page of images, in kilobytes. Each image may have a thousand tags.
const IMAGES_ROOM: u32 = 2 * 1024;
/// Kilobytes that a page may have for each of its findings. Most findings take two, and those with
/// many packages take more.
const FINDING_ROOM: u32 = 5;
/// Every registry in the scope of the policy, each with a client for its account and Region.
#[derive(Debug)]
pub struct EcrRegistry {
    clients: Clients,
    untag_by: UntagBy,
    /// Kilobytes that answers with manifests may still take.
    room: Semaphore,
}

impl EcrRegistry {
    /// Creates the registries as seen from our own account and Region.
    #[must_use]
    pub fn new(aws: Aws, own: RegistryId, untag_by: UntagBy) -> Self {
        let room = Semaphore::new(ROOM as usize);
        Self { clients: Clients::new(aws, own), untag_by, room }
    }

    async fn place(&self, repository: &Repository) -> Arc<RegistryClient> {
        self.place_at(&repository.registry_id()).await
    }

    async fn place_at(&self, registry_id: &RegistryId) -> Arc<RegistryClient> {
        self.clients.at(registry_id).await
    }

    /// Returns one page of the repository's images that are tagged or not, with this status.
    async fn listed(
        &self,
        repository: &Repository,
        tagged: TagStatus,
        status: Option<ImageStatusFilter>,
        next_token: Option<String>,
        most: u16,
    ) -> Result<Option<DescribeImagesOutput>, AwsError> {
        let place = self.place(repository).await;
        let filter = DescribeImagesFilter::builder().tag_status(tagged).set_image_status(status);
        let request = place
            .client
            .describe_images()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .filter(filter.build())
            .set_next_token(next_token);
        let page = as_large_as_fits(most, IMAGES_ROOM, |most, limit| {
            let request = request.clone().max_results(most.into()).customize().interceptor(limit);
            place.aws.call(Operation::DescribeImages, request.send())
        });
        none_if_missing(page.await)
    }
}

impl Registry for EcrRegistry {
    async fn image(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Image>, AwsError> {
        let details = self.describe_all(repository, &[by_digest(digest)]).await?;
        let Some(detail) = details.and_then(|details| details.into_iter().next()) else {
            return Ok(None);
        };
        if detail.image_digest() != Some(digest.as_str()) {
            return Err(AwsError::unexpected(
                Operation::DescribeImages,
                format!("asked for {digest}, answered {:?}", detail.image_digest()),
            ));
        }
        image_of(detail).map(Some)
    }

    async fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> Result<Option<Digest>, AwsError> {
        let details = self.describe_all(repository, &[by_tag(tag)]).await?;
        let Some(detail) = details.and_then(|details| details.into_iter().next()) else {
            return Ok(None);
        };
        let digest = detail.image_digest.unwrap_or_default();
        Digest::parse(digest)
            .map(Some)
            .map_err(|error| AwsError::unexpected(Operation::DescribeImages, error.to_string()))
    }

    async fn resolve_all(
        &self,
        repository: &Repository,
        tags: &[Tag],
    ) -> Result<HashMap<Tag, Digest>, AwsError> {
        let details = self.described(repository, tags.iter().map(by_tag).collect()).await?;
        let images = details.into_iter().map(image_of).collect::<Result<Vec<_>, _>>()?;
        let requested_tags = |image: &Image| -> Vec<_> {
            let requested = image.tags.iter().filter(|tag| tags.contains(tag));
            requested.map(|tag| (tag.clone(), image.digest.clone())).collect()
        };
        Ok(images.iter().flat_map(requested_tags).collect())
    }

    async fn scan_page(
        &self,
        repository: &Repository,
        digest: &Digest,
        next_token: Option<&str>,
        most: u16,
    ) -> Result<Option<ScanPage>, AwsError> {
        let operation = Operation::DescribeImageScanFindings;
        let place = self.place(repository).await;
        let request = place
            .client
            .describe_image_scan_findings()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .image_id(ImageIdentifier::builder().image_digest(digest.as_str()).build())
            .set_next_token(next_token.map(str::to_owned));
        let page = as_large_as_fits(most, u32::from(most) * FINDING_ROOM, |most, limit| {
            let request = request.clone().max_results(most.into()).customize().interceptor(limit);
            place.aws.call(operation, request.send())
        });
        match none_if_missing(page.await) {
            Err(error) if error.is("ScanNotFoundException") => {
                Ok(Some(ScanPage::of_state(ScanState::NeverScanned)))
            }
            page => Ok(page?.map(findings::page_of)),
        }
    }

    async fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Manifest>, AwsError> {
        let mut answer = Manifests::about(digest);
        let ids = vec![by_digest(digest)];
        match self.manifests(repository, ids, |one| answer.take(one)).await? {
            true => answer.manifest(),
            false => Ok(None),
        }
    }

    async fn markable(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<Option<Markable>, AwsError> {
        let ids = once(by_digest(digest)).chain(Tag::quarantines(digest).map(|tag| by_tag(&tag)));
        let mut answer = Manifests::about(digest);
        if !self.manifests(repository, ids.collect(), |one| answer.take(one)).await? {
            return Ok(None);
        }
        let mut holders = Vec::new();
        for tag in Tag::quarantines(digest) {
            let holder = match answer.holder(&tag)? {
                Some(holder) => holder,
                // An emulator may answer with another tag of the image, so resolve this tag alone.
                None => match self.resolve(repository, &tag).await? {
                    Some(digest) => MarkHolder::Image(digest),
                    None => MarkHolder::Nobody,
                },
            };
            holders.push((tag, holder));
        }
        let marks = Marks::of(digest, holders);
        Ok(answer.manifest()?.map(|manifest| Markable { manifest, marks }))
    }

    async fn tagged(&self, repository: &Repository) -> Result<Option<Tagged>, AwsError> {
        let what = ("images in", repository);
        let pages = all_pages(Operation::DescribeImages, what, |token| async {
            let page = self.listed(repository, TagStatus::Tagged, None, token, MAX_PAGE).await?;
            // Reduce each page before the next one is read, so that memory holds one page.
            Ok(page.map(page_of).map(|page| (page.next_token, listed_of(page.images))))
        });
        Ok(pages.await?.map(|pages| Tagged {
            pages: u32::try_from(pages.len()).unwrap_or(u32::MAX),
            images: pages.into_iter().flatten().collect(),
        }))
    }

    async fn repositories(
        &self,
        registry_id: &RegistryId,
    ) -> Result<Vec<RepositoryName>, AwsError> {
        let operation = Operation::DescribeRepositories;
        let place = self.place_at(registry_id).await;
        let request = place
            .client
            .describe_repositories()
            .registry_id(registry_id.account.as_str())
            .max_results(MAX_PAGE.into());
        let (aws, what) = (&place.aws, ("repositories in", &registry_id.account));
        let pages = all_pages(operation, what, |token| {
            let page = aws.call(operation, request.clone().set_next_token(token).send());
            async move {
                let page = page.await?;
                Ok(Some((page.next_token, page.repositories.unwrap_or_default())))
            }
        });
        let repositories = pages.await?.unwrap_or_default().into_iter().flatten();
        let names = repositories.filter_map(|repository| repository.repository_name);
        // Skip names that do not parse, because the policy cannot name such a repository.
        Ok(names.filter_map(|name| RepositoryName::parse(name).ok()).collect())
    }

    async fn page(
        &self,
        repository: &Repository,
        next_token: Option<&str>,
        most: u16,
    ) -> Result<Option<Page>, AwsError> {
        let token = next_token.map(str::to_owned);
        let any = Some(ImageStatusFilter::Any);
        let page = self.listed(repository, TagStatus::Tagged, any, token, most).await?;
        Ok(page.map(page_of))
    }

    async fn start_scan(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> Result<ScanAnswer, AwsError> {
        let place = self.place(repository).await;
        let request = place
            .client
            .start_image_scan()
            .registry_id(repository.account.as_str())
            .repository_name(repository.name.as_str())
            .image_id(ImageIdentifier::builder().image_digest(digest.as_str()).build());
        // Send the request once, because a scan refused for today stays refused for today.
        let once = config::Builder::new().retry_config(RetryConfig::disabled());
        let request = request.customize().config_override(once);
        let error = match place.aws.call(Operation::StartImageScan, request.send()).await {
            Ok(_) => return Ok(ScanAnswer::Started),
            Err(error) => error,
        };
        // ECR API reference, StartImageScan: once in 24 hours per image, basic scanning only.
        match error.code.as_deref() {
            Some(
                "LimitExceededException"
                | "UnsupportedImageTypeException"
                | "ImageNotFoundException"
                | "RepositoryNotFoundException"
                | "ImageArchivedException",
            ) => Ok(ScanAnswer::Started),
            Some("ValidationException") => Ok(ScanAnswer::NotSupported),
            _ => Err(error),
        }
    }

    async fn images(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> Result<Vec<Image>, AwsError> {
        let details = self.described(repository, digests.iter().map(by_digest).collect()).await?;
        details.into_iter().map(image_of).collect()
    }

    async fn indexes(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> Result<Option<Vec<Index>>, AwsError> {
        let ids = digests.iter().map(by_digest).collect();
        // In one order each time, because what is done first depends on it.
        let (mut indexes, mut error) = (BTreeMap::new(), None);
        let is_known = self.manifests(repository, ids, |one| match one {
            Answered::Image(image) => {
                let digest = image.image_id().and_then(|id| id.image_digest());
                let Some(digest) = digest.and_then(|digest| Digest::parse(digest).ok()) else {
                    return;
                };
                // ECR may list an image once for each of its tags, always with the same manifest.
                indexes.entry(digest).or_insert_with_key(|digest| {
                    let media_type = image.image_manifest_media_type();
                    let text = image.image_manifest().unwrap_or_default();
                    index_of(digest.clone(), media_type, text)
                });
            }
            // An answer that is too large becomes an index with an unknown entry, so that it is not
            // taken for clean and does not hide the other indexes.
            Answered::TooLarge(id) => {
                if let Some(digest) = id.image_digest().and_then(|id| Digest::parse(id).ok()) {
                    indexes.insert(digest.clone(), Some(Index::new(digest, [None])));
                }
            }
            Answered::Failure(failure)
                if failure.failure_code() == Some(&ImageFailureCode::ImageInaccessible) => {}
            Answered::Failure(failure) => error = error.take().or_else(|| failure_of(failure)),
        });
        if !is_known.await? {
            return Ok(None);
        }
        match error {
            Some(error) => Err(error),
            None => Ok(Some(indexes.into_values().flatten().collect())),
        }
    }

    async fn pull_through_prefixes(
        &self,
        registry_id: &RegistryId,
    ) -> Result<Vec<String>, AwsError> {
        let operation = Operation::DescribePullThroughCacheRules;
        let place = self.place_at(registry_id).await;
        let request = place
            .client
            .describe_pull_through_cache_rules()
            .registry_id(registry_id.account.as_str())
            .max_results(MAX_PAGE.into());
        let (aws, what) = (&place.aws, ("rules in", &registry_id.account));
        let pages = all_pages(operation, what, |token| {
            let page = aws.call(operation, request.clone().set_next_token(token).send());
            async move {
                let page = page.await?;
                Ok(Some((page.next_token, page.pull_through_cache_rules.unwrap_or_default())))
            }
        });
        let rules = pages.await?.unwrap_or_default().into_iter().flatten();
        Ok(rules.filter_map(|rule| rule.ecr_repository_prefix).collect())
    }

    async fn replication(&self, registry_id: &RegistryId) -> Result<Option<Replication>, AwsError> {
        describe_registry(self, registry_id).await
    }

    async fn referrers(
        &self,
        repository: &Repository,
        image: &Digest,
    ) -> Result<Referrers, AwsError> {
        records::referrers(self, repository, image).await
    }

    async fn untagged_page(
        &self,
        repository: &Repository,
        next_token: Option<&str>,
    ) -> Result<Option<UntaggedPage>, AwsError> {
        records::untagged_page(self, repository, next_token).await
    }

    async fn attached(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> Result<HashMap<Digest, Option<Attached>>, AwsError> {
        records::attached(self, repository, digests).await
    }

    async fn record(
        &self,
        repository: &Repository,
        record: &RecordManifest,
    ) -> Result<Recording, AwsError> {
        records::record(self, repository, record).await
    }

    async fn give_back(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        tag: &Tag,
    ) -> Result<GivingBack, AwsError> {
        records::give_back(self, repository, manifest, tag).await
    }

    async fn tag(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        tag: &Tag,
    ) -> Result<Tagging, AwsError> {
        let operation = Operation::PutImage;
        let place = self.place(repository).await;
        let request = records::put(&place.client, repository, manifest, tag);
        let error = match place.aws.call(operation, request.send()).await {
            Ok(answer) => {
                let id = answer.image.and_then(|image| image.image_id);
                let digest = id.and_then(|id| id.image_digest);
                if digest.as_deref() == Some(manifest.digest.as_str()) {
                    return Ok(Tagging::Confirmed);
                }
                let problem = format!("put {}, answered {digest:?}", manifest.digest);
                return Err(AwsError::unexpected(operation, problem));
            }
            Err(error) => error,
        };
        match error.code.as_deref() {
            // The API reference gives these codes for this tag and digest only. Emulators answer
            // them in other cases too, so read the tag.
            Some("ImageAlreadyExistsException" | "ImageTagAlreadyExistsException") => {
                match self.resolve(repository, tag).await? {
                    Some(digest) if digest == manifest.digest => Ok(Tagging::Confirmed),
                    Some(digest) => {
                        Ok(Tagging::Taken(format!("tag {tag} is on {digest} and cannot be moved")))
                    }
                    None => Err(error),
                }
            }
            Some(
                "LimitExceededException"
                | "LayersNotFoundException"
                | "ReferencedImagesNotFoundException"
                | "ImageArchivedException",
            ) => Ok(Tagging::RefusedForGood(error.to_string())),
            _ => Err(error),
        }
    }

    async fn untag(
        &self,
        repository: &Repository,
        digest: &Digest,
        tags: &[Tag],
    ) -> Result<Untagged, AwsError> {
        let mut result = Untagged::default();
        let mut requested = tags.to_vec();
        if self.untag_by == UntagBy::Tag {
            let now = self.image(repository, digest).await?.map(|image| image.tags);
            let now = now.unwrap_or_default();
            let (still, moved) = requested.into_iter().partition(|tag| now.contains(tag));
            (requested, result.moved) = (still, moved);
        }
        if !requested.is_empty() {
            let answer = deletes::delete(self, repository, digest, &requested).await?;
            result.absorb(reconcile(digest, &requested, answer));
        }
        Ok(result)
    }
}
