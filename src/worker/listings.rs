//! What a repository's tagged images are, listed seldom: which indexes hold an image, and what else is there.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::{Instant, sleep_until};

use super::assess::{Assessor, Job};
use super::flights::Began;
use super::outcome::Failure;
use crate::domain::image::{Digest, Repository};
use crate::domain::index::{Child, Entry, Index, Role, Walk};
use crate::notify::Notifier;
use crate::queue::Message;
use crate::registry::{IMAGE_BATCH, MOST_PULLABLE, Registry, Tagged};

/// A repository is listed once in this time, over time, for each thousand tagged images, the most of one call: so that
/// listing it takes about twenty calls a second at the most.
const WINDOW: Duration = Duration::from_millis(50);
/// How far listings may run ahead of that: whoever comes after a quiet while does not wait.
const AHEAD: Duration = Duration::from_millis(500);
/// How long a listing serves messages that were sent before it: others come and go meanwhile.
const KEPT: Duration = Duration::from_secs(60);
/// Indexes, and images that they hold, that are remembered: about 20 MB.
const MOST_CHILDREN: u64 = 100_000;
/// Images, children of indexes, and how often those are held, in all listings that are remembered:
/// about 20 MB.
const MOST_LISTED: usize = 100_000;
/// Repositories of which the last listing's time is remembered.
const MOST_REPOSITORIES: usize = 10_000;

/// Weighs an index by what it holds.
#[derive(Clone, Debug)]
struct Children;

impl Weighter<Digest, Arc<Index>> for Children {
    fn weight(&self, _: &Digest, index: &Arc<Index>) -> u64 {
        1 + index.entries().len() as u64
    }
}

/// The tagged images of one repository, at one time.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The newest container images and indexes that people can pull by a tag, newest first.
    pub(super) pullable: Vec<Digest>,
    /// Every tagged index, those with nothing but a quarantine tag too.
    indexes: Vec<Digest>,
    /// What they hold, themselves or by an index in them.
    held: HashMap<Digest, Held>,
    /// How often anything is held.
    holdings: usize,
}

/// An image that is held. A repository has a hundred thousand images, and an index holds hundreds: what each of them holds
/// is kept once for all.
#[derive(Debug)]
struct Held {
    /// As the first that names it says.
    platform: Option<String>,
    /// Whether any of them lists it as something else than an attestation.
    is_run: bool,
    /// The positions of the indexes that hold it.
    by: Vec<u32>,
}

impl Listing {
    /// The tagged indexes that hold this image, themselves or by an index in them.
    pub(super) fn holding(&self, digest: &Digest) -> impl Iterator<Item = Holder<'_>> {
        let held = self.held.get(digest);
        let child =
            held.map(|held| Child { digest: digest.clone(), platform: held.platform.clone() });
        let by = held.into_iter().flat_map(|held| &held.by);
        let indexes = by.filter_map(|at| self.indexes.get(usize::try_from(*at).ok()?));
        indexes.filter_map(move |index| Some(Holder { digest: index, child: child.clone()? }))
    }

    /// Whether people who pull a tagged index may run this image.
    pub(super) fn is_run(&self, digest: &Digest) -> bool {
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
pub(super) struct Holder<'a> {
    digest: &'a Digest,
    child: Child,
}

impl<'a> Holder<'a> {
    /// The index.
    pub(super) fn digest(&self) -> &'a Digest {
        self.digest
    }

    /// The image, as an index names it.
    pub(super) fn child(&self) -> &Child {
        &self.child
    }
}

/// The way into one index, to all that it holds. Only what calls itself an index is followed: one that hides what it is
/// cannot be pulled by what its entry says, and is found when the index that holds it is judged.
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

#[derive(Debug, Default)]
struct Slot {
    began: Option<Began>,
    /// Until when the windows of the listings so far last, one after the other.
    taken_until: Option<Instant>,
    listing: Option<Arc<Listing>>,
    /// Why the last listing failed, if it did.
    failure: Option<Failure>,
}

impl Slot {
    /// Why the listing failed that this message waited for, if it did: it is not made by all who waited in turn.
    fn failed(&self, message: &Message) -> Option<Failure> {
        let began = self.began.filter(|began| began.after_receiving(message));
        began.and(self.failure.clone())
    }

    /// The listing, where it began after this message was sent.
    fn serving(&self, message: &Message) -> Option<Arc<Listing>> {
        let listing = self.listing.as_ref()?;
        // As long as the next listing has to wait, there is no better one.
        let is_kept = |began: &Began| began.at().elapsed() < KEPT || self.due().is_some();
        let began = self.began.filter(|began| began.after_sending(message) && is_kept(began));
        began.map(|_| Arc::clone(listing))
    }

    /// When the next listing may begin, if not now.
    fn due(&self) -> Option<Instant> {
        self.taken_until?.checked_sub(AHEAD).filter(|due| *due > Instant::now())
    }

    fn take_windows(&mut self, pages: u32) {
        let from = self.taken_until.unwrap_or_else(Instant::now).max(Instant::now());
        self.taken_until = Some(from + WINDOW.saturating_mul(pages));
    }
}

type SharedSlot = Arc<tokio::sync::Mutex<Slot>>;

/// Listings by repository, and indexes by digest: a manifest never changes.
#[derive(Debug)]
pub(super) struct Listings {
    slots: Mutex<HashMap<Repository, SharedSlot>>,
    indexes: Cache<Digest, Arc<Index>, Children>,
}

impl Default for Listings {
    fn default() -> Self {
        let indexes = Cache::with_weighter(10_000, MOST_CHILDREN, Children);
        Self { slots: Mutex::default(), indexes }
    }
}

impl Listings {
    fn slot(&self, repository: &Repository) -> SharedSlot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST_REPOSITORIES {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(slots.entry(repository.clone()).or_default())
    }

    /// Makes room for a listing of this size by forgetting others, if need be.
    fn make_room(&self, size: usize) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = || slots.values().filter_map(|slot| slot.try_lock().ok());
        let listed = |slot: &Slot| slot.listing.as_ref().map_or(0, |listing| listing.size());
        let all: usize = idle().map(|slot| listed(&slot)).sum();
        if all + size > MOST_LISTED {
            idle().for_each(|mut slot| slot.listing = None);
        }
    }
}

impl<R: Registry, N: Notifier> Assessor<R, N> {
    /// The repository's tagged images as they were at some time after the job's message was sent. `None`: there is
    /// no such repository.
    #[tracing::instrument(name = "observe", skip_all)]
    pub(super) async fn listing(&self, job: Job<'_>) -> Result<Option<Arc<Listing>>, Failure> {
        let repository = &job.event.repository;
        let slot = self.listings.slot(repository);
        let mut slot = loop {
            let slot = slot.lock().await;
            if let Some(listing) = slot.serving(job.message) {
                return Ok(Some(listing));
            }
            if let Some(failure) = slot.failed(job.message) {
                return Err(failure);
            }
            match slot.due().filter(|_| !job.at_once) {
                Some(due) => {
                    drop(slot);
                    let is_last = self.context.is_last_receive(job.message);
                    tokio::select! {
                        biased;
                        () = self.context.shutdown.draining(), if !is_last => {
                            return Err(Failure::Abandoned);
                        }
                        () = sleep_until(due) => {}
                    }
                }
                None => break slot,
            }
        };
        slot.began = Some(Began::now(self.context.clock.now()));
        slot.take_windows(1);
        (slot.listing, slot.failure) = (None, None);
        let read = self.read_listing(job).await;
        let read = read.inspect_err(|failure| slot.failure = Some(failure.clone()))?;
        let Some((listing, pages)) = read else { return Ok(None) };
        slot.take_windows(pages.saturating_sub(1));
        let listing = Arc::new(listing);
        self.listings.make_room(listing.size());
        slot.listing = Some(Arc::clone(&listing));
        Ok(Some(listing))
    }

    /// Lists the repository, in so many pages.
    async fn read_listing(&self, job: Job<'_>) -> Result<Option<(Listing, u32)>, Failure> {
        let repository = &job.event.repository;
        let tagged = self.ecr(job, || self.registry.tagged(repository)).await?;
        let Some(Tagged { mut images, pages }) = tagged else { return Ok(None) };
        images.sort_by_key(|image| Reverse(image.pushed_at));
        let indexes = images.iter().filter(|image| image.may_be_index);
        let indexes: Vec<_> = indexes.map(|image| image.digest.clone()).collect();
        let pullable = images.into_iter().filter(|image| image.is_pullable).take(MOST_PULLABLE);
        let pullable = pullable.map(|image| image.digest).collect();
        let mut listing = Listing { pullable, ..Listing::default() };
        for digests in indexes.chunks(IMAGE_BATCH) {
            let roots = self.indexes(job, digests).await?;
            for (index, entries) in self.held_by(job, &roots).await? {
                listing.hold(index, entries);
            }
        }
        Ok(Some((listing, pages)))
    }

    /// What these indexes hold, level by level, for all of them together.
    async fn held_by(
        &self,
        job: Job<'_>,
        roots: &[Arc<Index>],
    ) -> Result<Vec<(Digest, Vec<Entry>)>, Failure> {
        let mut all: Vec<_> = roots.iter().map(Descent::into).collect();
        loop {
            let wanted: BTreeSet<_> = all.iter().flat_map(|one| &one.next).cloned().collect();
            if wanted.is_empty() {
                return Ok(all.into_iter().map(|one| (one.root, one.entries)).collect());
            }
            let read = self.indexes(job, &wanted.into_iter().collect::<Vec<_>>()).await?;
            let read: HashMap<_, _> = read.iter().map(|index| (index.digest(), index)).collect();
            for one in all.iter_mut().filter(|one| !one.next.is_empty()) {
                let level = one.next.iter().filter_map(|digest| read.get(digest));
                let level: Vec<_> = level.map(|index| Arc::clone(index)).collect();
                one.enter(&level);
            }
        }
    }

    /// These indexes, as far as they are there: those that are not remembered are read by the hundred.
    pub(super) async fn indexes(
        &self,
        job: Job<'_>,
        digests: &[Digest],
    ) -> Result<Vec<Arc<Index>>, Failure> {
        let repository = &job.event.repository;
        let mut found = Vec::new();
        let mut unknown = Vec::new();
        for digest in digests {
            match self.listings.indexes.get(digest) {
                Some(index) => found.push(index),
                None => unknown.push(digest.clone()),
            }
        }
        for digests in unknown.chunks(IMAGE_BATCH) {
            let read = self.ecr(job, || self.registry.indexes(repository, digests)).await?;
            for index in read.unwrap_or_default() {
                let index = Arc::new(index);
                self.listings.indexes.insert(index.digest().clone(), Arc::clone(&index));
                found.push(index);
            }
        }
        Ok(found)
    }
}
