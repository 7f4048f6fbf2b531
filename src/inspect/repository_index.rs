//! The tagged images of a repository, and the indexes that hold an image.
//!
//! ECR has no look-up from an image to the indexes that hold it. So the repository's tagged images
//! are listed and the manifests of its indexes are read, also those of indexes in indexes. This is
//! done only for an image that violates the policy, or that has no tag and cannot be judged.
//!
//! A listing is expensive, so it serves every message that was sent before it began. The next
//! listing waits until the time windows of the earlier ones have passed. So a repository takes at
//! most twenty calls a second, whatever its size: a thousand images can be listed twenty times a
//! second, ten thousand twice. All messages that wait for a listing share it, and its failure too.
//! Manifests never change, so indexes are remembered by digest, weighed by the number of images
//! that they hold.
//!
//! An index that is pushed after the listing is assessed by its own push event.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::{Instant, sleep_until};

use super::freshness::Started;
use super::{EcrCalls, Freshness, Request, Urgency};
use crate::bounded::Slots;
use crate::clock::Clock;
use crate::domain::image_index::{Child, Entry, Index, Role, Walk};
use crate::domain::names::{Digest, Repository};
use crate::outcome::Failure;
use crate::registry::{IMAGE_BATCH, MAX_PULLABLE, Registry, Tagged};
use crate::shutdown::Shutdown;

/// The time window that each page of a listing takes, so that a repository takes at most twenty
/// calls a second.
const WINDOW: Duration = Duration::from_millis(50);
/// How far listings may run ahead of their windows, so that no message waits after a quiet time.
const AHEAD: Duration = Duration::from_millis(500);
/// How long a listing serves messages that were sent before it. Images are pushed and removed
/// meanwhile.
const LIFE: Duration = Duration::from_secs(60);
/// The most indexes and entries of indexes that are remembered: about 20 MB.
const MAX_CHILDREN: u64 = 100_000;
/// The most images, images in indexes, and pairs of an index and an image in all remembered
/// listings: about 20 MB.
const MAX_LISTED: usize = 100_000;
/// The most repositories whose last listing is remembered.
const MAX_REPOSITORIES: usize = 10_000;

/// Weighs an index by the number of its entries.
#[derive(Clone, Debug)]
struct Children;

impl Weighter<Digest, Arc<Index>> for Children {
    fn weight(&self, _: &Digest, index: &Arc<Index>) -> u64 {
        1 + index.entries().len() as u64
    }
}

/// The tagged images of one repository at one time.
#[derive(Debug, Default)]
pub(crate) struct TaggedImages {
    /// The newest container images and indexes that people can pull by a tag, newest first.
    pullable: Vec<Digest>,
    /// Every tagged index, also those with nothing but a quarantine tag.
    indexes: Vec<Digest>,
    /// The images that these indexes hold, directly or through an index in them.
    held: HashMap<Digest, Held>,
    /// The number of pairs of an index and an image that it holds.
    holdings: usize,
}

/// An image that indexes hold. It is kept once for all of them, because a repository can have a
/// hundred thousand images and an index can hold hundreds.
#[derive(Debug)]
struct Held {
    /// The platform that the first index names.
    platform: Option<String>,
    /// Whether any index lists it as anything but an attestation.
    is_run: bool,
    /// The positions of the indexes that hold it.
    by: Vec<u32>,
}

impl TaggedImages {
    /// Returns the newest container images and indexes that people can pull by a tag, newest first.
    #[must_use]
    pub(crate) fn pullable(&self) -> &[Digest] {
        &self.pullable
    }

    /// Returns the tagged indexes that hold this image, directly or through an index in them.
    pub(crate) fn holding(&self, digest: &Digest) -> impl Iterator<Item = Holder<'_>> {
        let held = self.held.get(digest);
        let child =
            held.map(|held| Child { digest: digest.clone(), platform: held.platform.clone() });
        let by = held.into_iter().flat_map(|held| &held.by);
        let indexes = by.filter_map(|at| self.indexes.get(usize::try_from(*at).ok()?));
        indexes.filter_map(move |index| Some(Holder { digest: index, child: child.clone()? }))
    }

    /// Returns whether people who pull a tagged index may run this image.
    #[must_use]
    pub(crate) fn is_run(&self, digest: &Digest) -> bool {
        self.held.get(digest).is_some_and(|held| held.is_run)
    }

    fn hold(&mut self, index: Digest, entries: Vec<Entry>) {
        let Ok(at) = u32::try_from(self.indexes.len()) else { return };
        self.indexes.push(index);
        for Entry { child, role } in entries {
            let new = || Held { platform: child.platform, is_run: false, by: Vec::new() };
            let held = self.held.entry(child.digest).or_insert_with(new);
            held.is_run |= role != Role::Attestation;
            held.by.push(at);
            self.holdings += 1;
        }
    }

    fn size(&self) -> usize {
        self.pullable.len() + self.indexes.len() + self.held.len() + self.holdings
    }
}

/// A tagged index that holds an image.
#[derive(Clone, Debug)]
pub(crate) struct Holder<'a> {
    digest: &'a Digest,
    child: Child,
}

impl<'a> Holder<'a> {
    #[must_use]
    pub(crate) fn digest(&self) -> &'a Digest {
        self.digest
    }

    /// Returns the image, as an index names it.
    #[must_use]
    pub(crate) fn child(&self) -> &Child {
        &self.child
    }
}

/// The entries of one index, read level by level.
///
/// Only entries that call themselves indexes are followed. If an entry is an index and does not say
/// so, people cannot pull it by that entry. It is found when its outer index is judged, because
/// then ECR is asked what each child is.
struct Descent {
    root: Digest,
    walk: Walk,
    entries: Vec<Entry>,
    /// The indexes of the next level.
    next: Vec<Digest>,
}

impl Descent {
    fn into(root: &Arc<Index>) -> Self {
        let (digest, walk) = (root.digest().clone(), Walk::of(root.digest()));
        let mut descent = Self { root: digest, walk, entries: Vec::new(), next: Vec::new() };
        descent.enter(std::slice::from_ref(root));
        descent
    }

    fn enter(&mut self, level: &[Arc<Index>]) {
        let entered = self.walk.enter(level);
        let inner = entered.iter().filter(|entry| entry.role == Role::Index);
        self.next = self.walk.descend(inner.map(|entry| entry.child.digest.clone()).collect());
        self.entries.extend(entered);
    }
}

/// The last listing of one repository.
#[derive(Debug, Default)]
struct LastListing {
    /// When the last listing began.
    started: Option<Started>,
    /// The end of the windows of all listings so far, which follow one another.
    taken_until: Option<Instant>,
    listing: Option<Arc<TaggedImages>>,
    /// The failure of the last listing, if it failed.
    failure: Option<Failure>,
}

impl LastListing {
    /// Returns the failure of the listing that this message waited for, so that the messages that
    /// waited do not repeat it one after the other.
    fn failed(&self, freshness: Freshness) -> Option<Failure> {
        let started = self.started.filter(|started| started.is_after_receiving(freshness));
        started.and(self.failure.clone())
    }

    /// Returns the listing, if it began after this message was sent.
    fn serving(&self, freshness: Freshness) -> Option<Arc<TaggedImages>> {
        let listing = self.listing.as_ref()?;
        // An old listing is used as long as the next one has to wait, because there is no better
        // one.
        let is_kept = |started: &Started| started.elapsed() < LIFE || self.due().is_some();
        let serves = |started: &Started| started.is_after_sending(freshness) && is_kept(started);
        self.started.filter(serves).map(|_| Arc::clone(listing))
    }

    /// Returns when the next listing may begin, if not now.
    fn due(&self) -> Option<Instant> {
        self.taken_until?.checked_sub(AHEAD).filter(|due| *due > Instant::now())
    }

    fn take_windows(&mut self, pages: u32) {
        let from = self.taken_until.unwrap_or_else(Instant::now).max(Instant::now());
        self.taken_until = Some(from + WINDOW.saturating_mul(pages));
    }
}

/// The listings of repositories, and indexes by digest.
#[derive(Debug)]
pub(super) struct RepositoryIndex<R> {
    ecr: Arc<EcrCalls<R>>,
    slots: Slots<Repository, tokio::sync::Mutex<LastListing>>,
    indexes: Cache<Digest, Arc<Index>, Children>,
    clock: Clock,
    shutdown: Shutdown,
}

impl<R: Registry> RepositoryIndex<R> {
    pub(super) fn new(ecr: Arc<EcrCalls<R>>, clock: Clock, shutdown: Shutdown) -> Self {
        let indexes = Cache::with_weighter(10_000, MAX_CHILDREN, Children);
        // The time windows of a listing that nobody asks for have mostly passed.
        let slots = Slots::new(MAX_REPOSITORIES, |_| false);
        Self { ecr, slots, indexes, clock, shutdown }
    }

    /// Makes room for a listing of this size by forgetting others if necessary.
    fn make_room(&self, size: usize) {
        let mut all = size;
        let listed = |slot: &LastListing| slot.listing.as_ref().map_or(0, |listing| listing.size());
        self.slots.each(|slot| all += slot.try_lock().map_or(0, |slot| listed(&slot)));
        if all > MAX_LISTED {
            self.slots.each(|slot| {
                if let Ok(mut slot) = slot.try_lock() {
                    slot.listing = None;
                }
            });
        }
    }

    /// Returns the repository's tagged images as they were at some time after the request's message
    /// was sent; `None` if there is no such repository.
    #[tracing::instrument(name = "observe", skip_all)]
    pub(super) async fn tagged_images(
        &self,
        request: &Request,
    ) -> Result<Option<Arc<TaggedImages>>, Failure> {
        let slot = self.slots.get(&request.repository, Default::default);
        let mut slot = loop {
            let slot = slot.lock().await;
            if let Some(listing) = slot.serving(request.freshness) {
                return Ok(Some(listing));
            }
            if let Some(failure) = slot.failed(request.freshness) {
                return Err(failure);
            }
            match slot.due().filter(|_| request.urgency != Urgency::Immediate) {
                Some(due) => {
                    drop(slot);
                    tokio::select! {
                        biased;
                        () = self.shutdown.draining(), if !request.attempt.is_last() => {
                            return Err(Failure::Abandoned);
                        }
                        () = sleep_until(due) => {}
                    }
                }
                None => break slot,
            }
        };
        slot.started = Some(Started::now(&self.clock));
        slot.take_windows(1);
        (slot.listing, slot.failure) = (None, None);
        let read = self.list(request).await;
        let read = read.inspect_err(|failure| slot.failure = Some(failure.clone()))?;
        let Some((listing, pages)) = read else { return Ok(None) };
        slot.take_windows(pages.saturating_sub(1));
        let listing = Arc::new(listing);
        self.make_room(listing.size());
        slot.listing = Some(Arc::clone(&listing));
        Ok(Some(listing))
    }

    /// Lists the repository. Returns the number of pages too, or `None` if there is no such
    /// repository.
    async fn list(&self, request: &Request) -> Result<Option<(TaggedImages, u32)>, Failure> {
        let read = |registry| R::tagged(registry, &request.repository);
        let tagged = self.ecr.call(request, read).await?;
        let Some(Tagged { mut images, pages }) = tagged else { return Ok(None) };
        images.sort_by_key(|image| Reverse(image.pushed_at));
        let indexes = images.iter().filter(|image| image.may_be_index);
        let indexes: Vec<_> = indexes.map(|image| image.digest.clone()).collect();
        let pullable = images.into_iter().filter(|image| image.is_pullable).take(MAX_PULLABLE);
        let pullable = pullable.map(|image| image.digest).collect();
        let mut listing = TaggedImages { pullable, ..TaggedImages::default() };
        for digests in indexes.chunks(IMAGE_BATCH) {
            let roots = self.indexes(request, digests).await?;
            for (index, entries) in self.held_by(request, &roots).await? {
                listing.hold(index, entries);
            }
        }
        Ok(Some((listing, pages)))
    }

    /// Returns the entries of these indexes, read level by level for all of them together.
    async fn held_by(
        &self,
        request: &Request,
        roots: &[Arc<Index>],
    ) -> Result<Vec<(Digest, Vec<Entry>)>, Failure> {
        let mut all: Vec<_> = roots.iter().map(Descent::into).collect();
        loop {
            let wanted: BTreeSet<_> = all.iter().flat_map(|one| &one.next).cloned().collect();
            if wanted.is_empty() {
                return Ok(all.into_iter().map(|one| (one.root, one.entries)).collect());
            }
            let read = self.indexes(request, &wanted.into_iter().collect::<Vec<_>>()).await?;
            let read: HashMap<_, _> = read.iter().map(|index| (index.digest(), index)).collect();
            for one in all.iter_mut().filter(|one| !one.next.is_empty()) {
                let level = one.next.iter().filter_map(|digest| read.get(digest));
                let level: Vec<_> = level.map(|index| Arc::clone(index)).collect();
                one.enter(&level);
            }
        }
    }

    /// Returns those of these indexes that exist. If one is not remembered it is read, a hundred of
    /// them by one call.
    pub(super) async fn indexes(
        &self,
        request: &Request,
        digests: &[Digest],
    ) -> Result<Vec<Arc<Index>>, Failure> {
        let mut found = Vec::new();
        let mut unknown = Vec::new();
        for digest in digests {
            match self.indexes.get(digest) {
                Some(index) => found.push(index),
                None => unknown.push(digest.clone()),
            }
        }
        for digests in unknown.chunks(IMAGE_BATCH) {
            let read = |registry| R::indexes(registry, &request.repository, digests);
            let read = self.ecr.call(request, read).await?;
            for index in read.unwrap_or_default() {
                let index = Arc::new(index);
                self.indexes.insert(index.digest().clone(), Arc::clone(&index));
                found.push(index);
            }
        }
        Ok(found)
    }
}
