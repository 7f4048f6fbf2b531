//! The registry: what an image is now, and the few calls that change it.

pub mod ecr;
mod manifest;

use std::collections::HashMap;
use std::future::Future;
use std::time::SystemTime;

use crate::aws::AwsError;
use crate::domain::findings::ScanPage;
use crate::domain::image::{Digest, Home, Repository, RepositoryName, Tag};
use crate::domain::index::Index;
use crate::domain::marks::Marks;
use crate::domain::plan::Image;
use crate::domain::replication::Replication;
use crate::domain::untag::Untagged;

/// A manifest as the registry stores it: putting the same bytes gives the same digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes. Manifests are JSON.
    pub text: String,
    /// Its media type, where the registry tells it.
    pub media_type: Option<String>,
}

/// What it takes to mark an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markable {
    /// The image's manifest.
    pub manifest: Manifest,
    /// Where its quarantine tags are, by the same answer.
    pub marks: Marks,
}

/// Whether a tag was put on an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tagging {
    /// The tag points to the image, by this call or from before.
    Confirmed,
    /// The tag is on another image and cannot be moved.
    Taken(String),
    /// The registry will never do it: too many tags, layers or children gone, or archived.
    RefusedForGood(String),
}

/// Some of a repository's tagged images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Those images that we can make sense of.
    pub images: Vec<Image>,
    /// How many there were besides.
    pub unread: u64,
    /// Where the next page begins; `None`: this is the last.
    pub next_token: Option<String>,
}

/// One of a repository's tagged images, as far as a listing needs it: there can be a hundred
/// thousand of them, each with a thousand tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its digest.
    pub digest: Digest,
    /// When it was pushed.
    pub pushed_at: Option<SystemTime>,
    /// Whether people can pull it by a tag.
    pub is_pullable: bool,
    /// Whether it is an index, or may be one: if ECR gives no media type, only the manifest tells.
    pub may_be_index: bool,
}

/// A repository's tagged images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tagged {
    /// The newest that people can pull ([`MOST_PULLABLE`] of each page), and all that may be indexes.
    pub images: Vec<Listed>,
    /// How many pages were read.
    pub pages: u32,
}

/// Whether a registry begins scans when it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It does. The scan's end comes as an event, unless this image was scanned within a day, cannot be scanned, or is gone.
    Here,
    /// It scans by itself (enhanced scanning).
    NotHere,
}

/// What the worker needs of a registry.
///
/// Reads answer `None` where the image, tag or repository does not exist: that is news, not an error.
pub trait Registry: Send + Sync + 'static {
    /// The image with this digest and all its tags.
    fn image(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Image>, AwsError>> + Send;

    /// The digest that this tag points to now.
    fn resolve(
        &self,
        repository: &Repository,
        tag: &Tag,
    ) -> impl Future<Output = Result<Option<Digest>, AwsError>> + Send;

    /// The digests that at most [`IMAGE_BATCH`] tags point to now. Tags that are on no image are left out.
    fn resolve_all(
        &self,
        repository: &Repository,
        tags: &[Tag],
    ) -> impl Future<Output = Result<HashMap<Tag, Digest>, AwsError>> + Send;

    /// One page of the image's scan: at most `most` findings, from where the token of the page
    /// before leads.
    fn scan_page(
        &self,
        repository: &Repository,
        digest: &Digest,
        next_token: Option<&str>,
        most: u16,
    ) -> impl Future<Output = Result<Option<ScanPage>, AwsError>> + Send;

    /// The image's manifest.
    fn manifest(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Manifest>, AwsError>> + Send;

    /// The image's manifest, and where its quarantine tags are.
    fn markable(
        &self,
        repository: &Repository,
        digest: &Digest,
    ) -> impl Future<Output = Result<Option<Markable>, AwsError>> + Send;

    /// Every tagged image of the repository, archived ones left out; all pages of it.
    fn tagged(
        &self,
        repository: &Repository,
    ) -> impl Future<Output = Result<Option<Tagged>, AwsError>> + Send;

    /// Every repository of a registry; all pages of it.
    fn repositories(
        &self,
        home: &Home,
    ) -> impl Future<Output = Result<Vec<RepositoryName>, AwsError>> + Send;

    /// At most `most` tagged images of the repository, archived ones too, from where a token of another page says.
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
    ) -> impl Future<Output = Result<Asked, AwsError>> + Send;

    /// At most [`IMAGE_BATCH`] images by their digests, with all their tags. Those that are gone are left out.
    fn images(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> impl Future<Output = Result<Vec<Image>, AwsError>> + Send;

    /// At most [`IMAGE_BATCH`] indexes by their digests. Those that are gone, or are no indexes, are left out.
    fn indexes(
        &self,
        repository: &Repository,
        digests: &[Digest],
    ) -> impl Future<Output = Result<Option<Vec<Index>>, AwsError>> + Send;

    /// The prefixes of repositories that this registry fills from other registries on pull; `ROOT` stands for all
    /// repositories.
    fn pull_through_prefixes(
        &self,
        home: &Home,
    ) -> impl Future<Output = Result<Vec<String>, AwsError>> + Send;

    /// The rules by which this registry repeats removals in others; `None`: it does not tell us.
    fn replication(
        &self,
        home: &Home,
    ) -> impl Future<Output = Result<Option<Replication>, AwsError>> + Send;

    /// Puts a tag on the image with this manifest. Repeating it is harmless.
    fn tag(
        &self,
        repository: &Repository,
        manifest: &Manifest,
        tag: &Tag,
    ) -> impl Future<Output = Result<Tagging, AwsError>> + Send;

    /// Takes at most [`UNTAG_BATCH`] tags off the image with this digest, each only if it still points there.
    /// Repeating it is harmless. The image's last tag takes the image with it.
    fn untag(
        &self,
        repository: &Repository,
        digest: &Digest,
        tags: &[Tag],
    ) -> impl Future<Output = Result<Untagged, AwsError>> + Send;
}

/// The code of an answer that was not read, because it is larger than there is room for: our own.
pub const TOO_LARGE: &str = "AnswerTooLarge";
/// The newest images of a repository that a listing names: those that are looked at in search of
/// some without a known violation.
pub const MOST_PULLABLE: usize = 50;
/// The most tags in one call (ECR API reference, BatchDeleteImage).
pub const UNTAG_BATCH: usize = 100;
/// The most images, findings or rules in one page (ECR API reference, DescribeImages).
pub const PAGE: u16 = 1000;
/// The most images in one call (ECR API reference, BatchGetImage and DescribeImages).
pub const IMAGE_BATCH: usize = 100;
