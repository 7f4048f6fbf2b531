//! The registry: reads of images, findings and manifests, and the few calls that change an image.
//!
//! The worker sees a registry only through [`Registry`], which names no AWS type. `ecr` is the one
//! implementation. Tests do not replace it: they run it with the real SDK against a simulated AWS.
//!
//! Invariant 3: [`Registry::untag`] removes a tag only if the tag still points to the judged digest
//! at the moment of the call.

mod ecr;
mod manifest;

use std::collections::HashMap;
use std::future::Future;
use std::time::SystemTime;

use crate::aws::AwsError;
use crate::domain::findings::ScanPage;
use crate::domain::image::Image;
use crate::domain::image_index::Index;
use crate::domain::marks::Marks;
use crate::domain::names::{Digest, RegistryId, Repository, RepositoryName, Tag};
use crate::domain::reconcile::Untagged;
use crate::domain::record::{Artifact, Attached, RecordManifest};
use crate::domain::replication::Replication;

pub use self::ecr::EcrRegistry;
pub(crate) use self::ecr::{Expiring, ExpiringRule, Uses, expiring_rules, try_permissions};

/// How a tag is deleted: by tag and digest, or by tag alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UntagBy {
    /// By tag and digest: ECR compares and deletes in one step.
    TagAndDigest,
    /// By tag alone, after reading once more that it points to the digest. This is for registries
    /// that ignore the digest, such as emulators. A tag can move between the read and the delete.
    Tag,
}

/// Whether what is removed is recorded on the image before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// No tag is removed before its name is recorded on the image.
    Required,
    /// Nothing is recorded. This is for registries that store no artifacts with a subject, such as
    /// emulators. What is removed can be neither listed nor restored.
    Off,
}

/// A manifest as the registry stores it. Putting the same bytes again gives the same digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Digest of `text`.
    pub digest: Digest,
    /// The manifest itself, byte for byte, which is JSON.
    pub text: String,
    /// Media type, if the registry gives one.
    pub media_type: Option<String>,
}

/// Everything that is needed to mark an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markable {
    /// Manifest of the image, which is put again under the quarantine tag.
    pub manifest: Manifest,
    /// Holders of the image's quarantine tags, from the same answer as the manifest.
    pub marks: Marks,
}

/// Result of putting a tag on an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagging {
    /// The tag points to the image, by this call or because it already did.
    Confirmed,
    /// The tag is on another image and cannot be moved.
    Taken(String),
    /// The registry will never accept the tag, because the image has too many tags, is archived, or
    /// has lost layers or children.
    RefusedForGood(String),
}

/// Result of putting a record on an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recording {
    /// The record is in the repository, by this call or because it already was.
    Confirmed,
    /// The repository is full, so it will take no record until images are removed from it.
    Full(String),
}

/// The artifacts that are attached to an image and have the type of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Referrers {
    /// The artifacts, in the registry's order.
    pub artifacts: Vec<Artifact>,
    /// Whether there are more than are read: [`MAX_REFERRER_PAGES`] pages, or
    /// [`MAX_REFERRER_BYTES`] of annotations.
    pub is_cut: bool,
}

/// Result of giving a tag back to an image by one call that is not repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivingBack {
    /// The tag points to the image, by this call or because it already did.
    Confirmed,
    /// The tag is on another image, which keeps it.
    Taken(Digest),
    /// The registry will never accept the tag, in words.
    RefusedForGood(String),
}

/// An untagged manifest that may be a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its own digest.
    pub digest: Digest,
    /// The image to which it is attached.
    pub subject: Digest,
    /// When it was pushed.
    pub pushed_at: Option<SystemTime>,
}

/// One page of a repository's untagged manifests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UntaggedPage {
    /// The manifests that may be records.
    pub candidates: Vec<Candidate>,
    /// Token of the next page, or `None` on the last page.
    pub next_token: Option<String>,
}

/// One page of a repository's tagged images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Images of the page that could be parsed.
    pub images: Vec<Image>,
    /// Number of images on the page that could not be parsed.
    pub unread: u64,
    /// Token of the next page, or `None` on the last page.
    pub next_token: Option<String>,
}

/// A tagged image, reduced to what a listing needs, because a repository can hold a hundred
/// thousand images with a thousand tags each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Digest of the image.
    pub digest: Digest,
    /// Time of the push, if the registry gives it.
    pub pushed_at: Option<SystemTime>,
    /// Whether people can pull the image by a tag.
    pub is_pullable: bool,
    /// Whether the image is or may be an index. Without a media type only the manifest tells.
    pub may_be_index: bool,
}

/// Listing of a repository's tagged images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// From each page, the newest [`MAX_PULLABLE`] images that people can pull, and all images
    /// that may be an index.
    pub images: Vec<Listed>,
    /// Number of pages read.
    pub pages: u32,
}

/// Answer to a request for another scan of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanAnswer {
    /// The registry scans on request. The end of the scan arrives as an event, unless the image was
    /// scanned within the last day, cannot be scanned, or is gone.
    Started,
    /// The registry scans by itself (enhanced scanning) and takes no requests.
    NotSupported,
}

/// Everything that the worker needs from a registry.
///
/// Reads return `None` if the image, tag or repository does not exist, because that is news and not
/// an error.
pub trait Registry: Send + Sync + 'static {
    /// Returns the image with this digest and all its tags.
    fn image(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Image>, AwsError>> + Send;

    /// Returns the digest to which this tag points now.
    fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> impl Future<Output = Result<Option<Digest>, AwsError>> + Send;

    /// Returns the digests to which these tags, at most [`IMAGE_BATCH`], point now. Tags that no
    /// image has are left out.
    fn resolve_all(
        &self,
        repository: &Repository,
        tags: &[Tag],
    ) -> impl Future<Output = Result<HashMap<Tag, Digest>, AwsError>> + Send;

    /// Returns one page of the image's scan with at most `most` findings. It begins at
    /// `next_token`, which comes from the page before.
    fn scan_page(
        &self,
        repository: &Repository,
        digest: &Digest,
        next_token: Option<&str>,
        most: u16,
    ) -> impl Future<Output = Result<Option<ScanPage>, AwsError>> + Send;

    /// Returns the image's manifest.
    fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Manifest>, AwsError>> + Send;

    /// Returns the image's manifest and the holders of its quarantine tags.
    fn markable(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Markable>, AwsError>> + Send;

    /// Lists all tagged images of the repository except archived ones, over all pages.
    fn tagged(
        &self,
        repository: &Repository,
    ) -> impl Future<Output = Result<Option<Tagged>, AwsError>> + Send;

    /// Lists all repositories of a registry, over all pages.
    fn repositories(
        &self,
        registry_id: &RegistryId,
    ) -> impl Future<Output = Result<Vec<RepositoryName>, AwsError>> + Send;

    /// Returns one page of at most `most` tagged images of the repository, including archived ones.
    /// It begins at `next_token`, which comes from the page before.
    fn page(
        &self,
        repository: &Repository,
        next_token: Option<&str>,
        most: u16,
    ) -> impl Future<Output = Result<Option<Page>, AwsError>> + Send;

    /// Asks basic scanning to scan the image again.
    fn start_scan(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<ScanAnswer, AwsError>> + Send;

    /// Returns the images with these digests, at most [`IMAGE_BATCH`], with all their tags. Images
    /// that are gone are left out.
    fn images(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> impl Future<Output = Result<Vec<Image>, AwsError>> + Send;

    /// Returns the indexes with these digests, at most [`IMAGE_BATCH`]. Digests that are gone or
    /// are not an index are left out.
    fn indexes(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> impl Future<Output = Result<Option<Vec<Index>>, AwsError>> + Send;

    /// Returns the prefixes of the repositories that this registry fills from other registries on
    /// pull. The prefix `ROOT` stands for all repositories that no other prefix covers.
    fn pull_through_prefixes(
        &self,
        registry_id: &RegistryId,
    ) -> impl Future<Output = Result<Vec<String>, AwsError>> + Send;

    /// Returns the rules by which this registry repeats removals in others, or `None` if the
    /// registry does not disclose them to us.
    fn replication(
        &self,
        registry_id: &RegistryId,
    ) -> impl Future<Output = Result<Option<Replication>, AwsError>> + Send;

    /// Returns the artifacts with the type of a record that are attached to the image with this
    /// digest, archived ones included, without the times of their pushes.
    fn referrers(
        &self,
        repository: &Repository,
        image: &Digest,
    ) -> impl Future<Output = Result<Referrers, AwsError>> + Send;

    /// Returns one page of the repository's untagged manifests that may be records, archived ones
    /// included. It begins at `next_token`, which comes from the page before.
    fn untagged_page(
        &self,
        repository: &Repository,
        next_token: Option<&str>,
    ) -> impl Future<Output = Result<Option<UntaggedPage>, AwsError>> + Send;

    /// Returns what those of these manifests, at most [`IMAGE_BATCH`], that are records attach to
    /// an image, and `None` for those that are something else. Manifests that are gone, archived,
    /// or too many bytes in all are left out.
    fn attached(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> impl Future<Output = Result<HashMap<Digest, Option<Attached>>, AwsError>> + Send;

    /// Puts a record into the repository, without a tag. Repeating the call is harmless. If the
    /// repository lacks the empty blob to which every record refers, it is uploaded first.
    fn record(
        &self,
        repository: &Repository,
        record: &RecordManifest,
    ) -> impl Future<Output = Result<Recording, AwsError>> + Send;

    /// Gives a tag back to the image with this manifest if no image has the tag now. The call that
    /// puts the tag is made once, right after the read, because ECR has no compare for PutImage: in
    /// a repository with mutable tags, a push between the read and the call is overwritten.
    fn give_back(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        tag: &Tag,
    ) -> impl Future<Output = Result<GivingBack, AwsError>> + Send;

    /// Puts a tag on the image with this manifest. Repeating the call is harmless.
    fn tag(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        tag: &Tag,
    ) -> impl Future<Output = Result<Tagging, AwsError>> + Send;

    /// Removes these tags, at most [`UNTAG_BATCH`], from the image with this digest, each only if
    /// it still points to that image.
    ///
    /// Repeating the call is harmless. Removing the last tag deletes the image.
    fn untag(
        &self,
        repository: &Repository,
        digest: &Digest,
        tags: &[Tag],
    ) -> impl Future<Output = Result<Untagged, AwsError>> + Send;
}

/// Our own error code for an answer that is not read because it is too large.
pub const TOO_LARGE: &str = "AnswerTooLarge";
/// Number of images that a listing keeps from each page, the newest first. `policy.keep_at_least`
/// inspects no more than these, because an unbounded search would read the whole registry for every
/// image on a day on which all are vulnerable.
pub const MAX_PULLABLE: usize = 50;
/// Most tags in one call (ECR API reference, BatchDeleteImage).
pub const UNTAG_BATCH: usize = 100;
/// Most images, findings, repositories or rules in one page (ECR API reference, DescribeImages).
pub const MAX_PAGE: u16 = 1000;
/// Most images in one call (ECR API reference, BatchGetImage and DescribeImages).
pub const IMAGE_BATCH: usize = 100;
/// Most pages of an image's referrers that are read, of fifty each.
pub const MAX_REFERRER_PAGES: usize = 20;
/// Most bytes of annotations of an image's referrers that are kept. A record with a thousand tags
/// takes 23 KB.
pub const MAX_REFERRER_BYTES: usize = 2 * 1024 * 1024;
