//! Reads the marked images of one repository and their records, by as few calls as possible.
//!
//! A few marked images are asked for one by one: ListImageReferrers gives the records of each. Of
//! many, the records are found in bulk: DescribeImages lists a thousand untagged manifests in one
//! call, each with its subject, and BatchGetImage reads a hundred of them. What cannot be found so
//! is asked for one by one after all: an image to which the list attaches nothing, one with more
//! artifacts than fit in a call, and one with a manifest that BatchGetImage does not give, such as
//! an archived one.

use std::collections::{HashMap, VecDeque};

use futures_util::{StreamExt as _, stream};

use super::image::{RecordedImage, is_marked};
use crate::aws::{AwsError, ErrorClass, Operation};
use crate::domain::image::Image;
use crate::domain::names::{Digest, Repository};
use crate::domain::record::{Artifact, RestoreKeys};
use crate::inspect::CallPace;
use crate::registry::{Candidate, IMAGE_BATCH, MAX_PAGE, Referrers, Registry};
use crate::shutdown::Shutdown;

/// The most marked images of a repository whose records are asked for one by one.
const FEW: usize = 50;
/// The calls that are made at the same time for many manifests, each of which may have megabytes.
const BATCHES_AT_ONCE: usize = 4;
/// The images that are asked for their records at the same time, and whose records are described by
/// one call.
const IMAGES_AT_ONCE: usize = 16;
/// The most pages of a repository's list. A repository holds 100,000 images (ECR service quotas).
const MAX_PAGES: usize = 200;
/// The most images of a repository whose records cannot be read before the others are not tried.
const MAX_FAILURES: usize = 10;

/// The paces of the calls in one account and Region. Each API has its own.
#[derive(Debug)]
pub(super) struct Paces {
    describe: CallPace,
    manifests: CallPace,
    referrers: CallPace,
}

impl Paces {
    pub(super) fn new(calls_per_second: u32) -> Self {
        let pace = || CallPace::new(calls_per_second);
        Self { describe: pace(), manifests: pace(), referrers: pace() }
    }
}

/// Why the rest of a repository is not read.
#[derive(Debug)]
pub(super) enum Stop {
    /// The process is told to stop.
    Signal,
    /// A call failed.
    Call(AwsError),
}

impl From<AwsError> for Stop {
    fn from(error: AwsError) -> Self {
        Self::Call(error)
    }
}

/// What is passed on of a repository while it is read.
pub(super) enum Found {
    /// This many more images were listed.
    Listed(usize),
    /// This many images are listed in a way that cannot be understood.
    Unread(u64),
    /// A marked image and its records.
    Image(Box<RecordedImage>),
    /// A marked image whose records cannot be read.
    Failed(Digest, AwsError),
}

/// Reads one repository.
#[derive(Debug)]
pub(super) struct RepositoryReader<'a, R> {
    pub(super) registry: &'a R,
    pub(super) repository: &'a Repository,
    pub(super) keys: Option<&'a RestoreKeys>,
    pub(super) paces: &'a Paces,
    pub(super) shutdown: &'a Shutdown,
}

/// The untagged manifests that may be records of marked images, by image.
type Candidates = HashMap<Digest, Vec<Candidate>>;

impl<R: Registry> RepositoryReader<'_, R> {
    /// Passes on every marked image of the repository with its records. A repository that does not
    /// exist has none.
    ///
    /// # Errors
    /// [`Stop`] says why the rest was not read.
    pub(super) async fn read(&self, mut each: impl FnMut(Found) + Send) -> Result<(), Stop> {
        let mut marked = self.marked(&mut each).await?;
        let mut candidates = Candidates::new();
        if marked.len() > FEW {
            candidates = self.candidates(&marked).await?;
        }
        let mut one_by_one = Vec::new();
        let mut in_bulk = Vec::new();
        for image in marked.drain(..) {
            match candidates.remove(&image.digest) {
                Some(of) if of.len() <= IMAGE_BATCH => in_bulk.push((image, of)),
                _ => one_by_one.push(image),
            }
        }
        let batches = batches(in_bulk).into_iter().map(|batch| self.batch(batch));
        let mut batches = stream::iter(batches).buffer_unordered(BATCHES_AT_ONCE);
        while let Some(Batch { read, unread }) = batches.next().await.transpose()? {
            read.into_iter().for_each(|image| each(Found::Image(Box::new(image))));
            one_by_one.extend(unread);
        }
        let mut failures = 0;
        while !one_by_one.is_empty() {
            let rest = one_by_one.split_off(one_by_one.len().min(IMAGES_AT_ONCE));
            let group = std::mem::replace(&mut one_by_one, rest);
            for found in self.asked(group).await? {
                if let Found::Failed(_, error) = &found {
                    failures += 1;
                    if failures > MAX_FAILURES {
                        return Err(Stop::Call(error.clone()));
                    }
                }
                each(found);
            }
        }
        Ok(())
    }

    /// Reads an image and its records. Returns `None` if there is no such image.
    ///
    /// # Errors
    /// [`Stop`] says why it was not read.
    pub(super) async fn image(&self, digest: &Digest) -> Result<Option<RecordedImage>, Stop> {
        self.wait(&self.paces.describe).await?;
        let Some(image) = self.registry.image(self.repository, digest).await? else {
            return Ok(None);
        };
        for found in self.asked(vec![image]).await? {
            match found {
                Found::Image(image) => return Ok(Some(*image)),
                Found::Failed(_, error) => return Err(Stop::Call(error)),
                Found::Listed(_) | Found::Unread(_) => {}
            }
        }
        Ok(None)
    }

    /// Lists the images that bear our mark.
    ///
    /// # Errors
    /// [`Stop`] says why not all were listed.
    pub(super) async fn marked(
        &self,
        each: &mut (impl FnMut(Found) + Send),
    ) -> Result<Vec<Image>, Stop> {
        let (mut marked, mut token) = (Vec::new(), None::<String>);
        for _ in 0..MAX_PAGES {
            self.wait(&self.paces.describe).await?;
            let page = self.registry.page(self.repository, token.as_deref(), MAX_PAGE).await?;
            let page = page.unwrap_or_default();
            each(Found::Listed(page.images.len()));
            if page.unread > 0 {
                each(Found::Unread(page.unread));
            }
            marked.extend(page.images.into_iter().filter(is_marked));
            token = page.next_token;
            if token.is_none() {
                return Ok(marked);
            }
        }
        let problem = format!("more than {MAX_PAGES} pages of images");
        Err(AwsError::unexpected(Operation::DescribeImages, problem).into())
    }

    /// Lists the untagged manifests that may be records of these images. It returns none if that
    /// takes more calls than asking for the records of each image, as in a repository whose
    /// untagged images are never removed.
    async fn candidates(&self, marked: &[Image]) -> Result<Candidates, Stop> {
        let mut candidates: Candidates =
            marked.iter().map(|image| (image.digest.clone(), Vec::new())).collect();
        let mut token = None::<String>;
        for _ in 0..marked.len() {
            self.wait(&self.paces.describe).await?;
            let page = self.registry.untagged_page(self.repository, token.as_deref()).await?;
            let page = page.unwrap_or_default();
            for candidate in page.candidates {
                if let Some(of) = candidates.get_mut(&candidate.subject) {
                    of.push(candidate);
                }
            }
            token = page.next_token;
            if token.is_none() {
                candidates.retain(|_, of| !of.is_empty());
                return Ok(candidates);
            }
        }
        Ok(Candidates::new())
    }

    /// Reads the manifests of some images by one call.
    async fn batch(&self, images: Vec<(Image, Vec<Candidate>)>) -> Result<Batch, Stop> {
        let digests = images.iter().flat_map(|(_, of)| of).map(|one| one.digest.clone());
        let digests: Vec<_> = digests.collect();
        self.wait(&self.paces.manifests).await?;
        let mut attached = match self.registry.attached(self.repository, &digests).await {
            Ok(attached) => attached,
            Err(error) if is_of_all(&error) => return Err(error.into()),
            // One of them may be to blame.
            Err(_) => HashMap::new(),
        };
        let mut batch = Batch::default();
        for (image, candidates) in images {
            let read: Option<Vec<_>> = candidates
                .into_iter()
                .map(|Candidate { digest, pushed_at, .. }| {
                    attached.remove(&digest).map(|read| (digest, pushed_at, read))
                })
                .collect();
            let Some(read) = read else {
                batch.unread.push(image);
                continue;
            };
            let artifacts = read.into_iter().filter_map(|(digest, pushed_at, read)| {
                let read = read.filter(|read| read.subject == image.digest)?;
                Some(Artifact { digest, annotations: read.annotations, pushed_at })
            });
            let artifacts = artifacts.collect();
            batch.read.push(RecordedImage::new(
                self.repository,
                image,
                artifacts,
                false,
                self.keys,
            ));
        }
        Ok(batch)
    }

    /// Asks for the records of each of these images, and for the times of their pushes.
    async fn asked(&self, images: Vec<Image>) -> Result<Vec<Found>, Stop> {
        let asked = images.into_iter().map(|image| async move {
            self.wait(&self.paces.referrers).await?;
            Ok::<_, Stop>(match self.registry.referrers(self.repository, &image.digest).await {
                Err(error) if is_of_all(&error) => return Err(error.into()),
                Err(error) => Err((image.digest, error)),
                Ok(referrers) => Ok((image, referrers)),
            })
        });
        let mut asked = stream::iter(asked).buffered(IMAGES_AT_ONCE);
        let (mut found, mut read) = (Vec::new(), Vec::new());
        while let Some(one) = asked.next().await.transpose()? {
            match one {
                Ok(one) => read.push(one),
                Err((digest, error)) => found.push(Found::Failed(digest, error)),
            }
        }
        let times = self.push_times(&read).await?;
        found.extend(read.into_iter().map(|(image, Referrers { mut artifacts, is_cut })| {
            for artifact in &mut artifacts {
                artifact.pushed_at = times.get(&artifact.digest).copied();
            }
            let image = RecordedImage::new(self.repository, image, artifacts, is_cut, self.keys);
            Found::Image(Box::new(image))
        }));
        Ok(found)
    }

    async fn push_times(
        &self,
        read: &[(Image, Referrers)],
    ) -> Result<HashMap<Digest, std::time::SystemTime>, Stop> {
        let digests = read.iter().flat_map(|(_, referrers)| &referrers.artifacts);
        let digests: Vec<_> = digests.map(|artifact| artifact.digest.clone()).collect();
        let mut times = HashMap::new();
        for digests in digests.chunks(IMAGE_BATCH) {
            self.wait(&self.paces.describe).await?;
            let images = self.registry.images(self.repository, digests).await?;
            times.extend(images.into_iter().filter_map(|one| Some((one.digest, one.pushed_at?))));
        }
        Ok(times)
    }

    /// Waits until a call may be made.
    async fn wait(&self, pace: &CallPace) -> Result<(), Stop> {
        pace.wait().await;
        if self.shutdown.is_draining() { Err(Stop::Signal) } else { Ok(()) }
    }
}

/// The result of reading many manifests by one call.
#[derive(Debug, Default)]
struct Batch {
    /// The images all of whose manifests were read.
    read: Vec<RecordedImage>,
    /// The other images.
    unread: Vec<Image>,
}

/// Puts images together whose manifests fit in one call.
fn batches(images: Vec<(Image, Vec<Candidate>)>) -> Vec<Vec<(Image, Vec<Candidate>)>> {
    let mut images = VecDeque::from(images);
    let mut batches = Vec::new();
    while !images.is_empty() {
        let mut manifests = 0;
        let fits = images.iter().take_while(|(_, of)| {
            manifests += of.len();
            manifests <= IMAGE_BATCH
        });
        let fits = fits.count().max(1);
        batches.push(images.drain(..fits).collect());
    }
    batches
}

/// Returns whether the call would fail for every image of the repository.
fn is_of_all(error: &AwsError) -> bool {
    error.is_hopeless() || error.class == ErrorClass::Refused
}
