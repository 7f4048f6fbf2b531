//! One budget of memory for the findings of all images together.
//!
//! Everybody who can push images decides how many findings there are to read: an image may have
//! tens of thousands, and every message in flight may be about another such image. So the bytes of
//! all findings in memory have one budget: pages on their way, findings read so far, and findings
//! that messages share for a minute.
//!
//! A reader reserves room for a page before it asks for the page, and gives back what the packed
//! findings do not take. With less room pages are smaller, and when the budget is full readers
//! wait. Three rules keep them from waiting for ever:
//!
//! - Shared findings give way first, because they only save calls.
//! - A part of the budget is left to the oldest reader, so it always continues: it needs room for
//!   the findings of one image, which are capped, and for one page. When it is done, the next
//!   reader is the oldest. A message that has read an image asks for no more room while it holds
//!   the findings, so they are always dropped in the end.
//! - Another part is left to first pages, so that small images do not wait for large ones: most
//!   images have only one page.
//!
//! Rejected: a semaphore over readers, because it counts every image as the largest one; and
//! reading an image again from its first page when there is no room, because that has no end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::domain::findings::{Reading, Scan, ScanPage};

/// The bytes of the budget that every reader may use.
const FOR_ALL: usize = 15 << 20;
/// The bytes beyond those that first pages may use.
const FOR_FIRST_PAGES: usize = 4 << 20;
/// The bytes beyond those for the oldest reader: the most that the findings of one image take, a
/// large page, and the first page of a probe.
const FOR_THE_OLDEST: usize = 13 << 20;
/// The bytes of a finding from the moment its page arrives until it is packed: about 2 KB as
/// Inspector writes it, and the SDK's own form of that.
const UNPACKED: usize = 8 << 10;
/// The findings of a page when there is room for all of them: the most that ECR gives in one call
/// (ECR API reference, DescribeImageScanFindings).
const LARGE_PAGE: u16 = 1_000;
/// The findings of a page that is waited for. Pages may differ in size, because a token leads on
/// from the last finding that was given.
const NEXT_PAGE: u16 = 500;
/// The findings of a first page that is waited for. Most images have no more.
const FIRST_PAGE: u16 = 100;

/// The budget, shared by all readers.
#[derive(Clone, Debug, Default)]
pub(super) struct FindingsMemory(Arc<Mutex<Budget>>);

#[derive(Debug, Default)]
struct Budget {
    /// The bytes that all readers hold.
    used: usize,
    /// The id of the next reader.
    next: u64,
    /// The bytes that each reader holds. Ids follow the order in which readers began.
    rooms: HashMap<u64, usize>,
    /// The readers that are still reading.
    reading: BTreeSet<u64>,
    /// The readers that wait for room.
    waiting: BTreeMap<u64, WaitingReader>,
    /// The findings that are shared, the oldest first.
    shared: VecDeque<Weak<dyn Droppable>>,
}

/// A reader that waits for room.
#[derive(Debug)]
struct WaitingReader {
    bytes: usize,
    is_probe: bool,
    granted: oneshot::Sender<()>,
}

/// The room that the findings of one image take. They keep it as long as they live.
#[derive(Debug)]
pub(super) struct Room {
    memory: FindingsMemory,
    id: u64,
    is_probe: bool,
}

/// A value that is shared until its room is needed.
#[derive(Debug)]
pub(crate) struct Evictable<T>(Arc<Mutex<Option<Arc<T>>>>);

impl<T> Clone for Evictable<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Evictable<T> {
    /// Returns the value, if it is still there.
    #[must_use]
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.0.lock().clone()
    }
}

trait Droppable: std::fmt::Debug + Send + Sync {
    fn drop_it(&self);
}

impl<T: std::fmt::Debug + Send + Sync> Droppable for Mutex<Option<Arc<T>>> {
    fn drop_it(&self) {
        let dropped = self.lock().take();
        drop(dropped);
    }
}

impl Budget {
    fn fits(&self, id: u64, bytes: usize, is_probe: bool) -> bool {
        let is_first_page = self.rooms.get(&id).is_none_or(|held| *held == 0);
        let is_oldest = self.reading.first() == Some(&id);
        let limit = match (is_oldest, is_first_page) {
            // Without a limit, also when pages turn out to be larger than what was reserved for
            // them: the findings of one image are capped, and one reader has to go on.
            (true, _) => usize::MAX,
            // A probe does not wait, because it finds out whether another repository is allowed.
            (false, true) if is_probe => FOR_ALL + FOR_FIRST_PAGES + FOR_THE_OLDEST,
            (false, true) => FOR_ALL + FOR_FIRST_PAGES,
            (false, false) => FOR_ALL,
        };
        self.used.saturating_add(bytes) <= limit
    }

    fn take(&mut self, id: u64, bytes: usize) {
        self.used += bytes;
        *self.rooms.entry(id).or_default() += bytes;
    }

    fn give_back(&mut self, id: u64, bytes: usize) {
        if let Some(held) = self.rooms.get_mut(&id) {
            let bytes = bytes.min(*held);
            *held -= bytes;
            self.used -= bytes;
        }
    }

    /// Lets readers go on for which there is room now, in the order in which they began.
    fn serve(&mut self) {
        let waiting = self.waiting.iter();
        let waiting: Vec<_> =
            waiting.map(|(id, waiting)| (*id, waiting.bytes, waiting.is_probe)).collect();
        for (id, bytes, is_probe) in waiting {
            if self.fits(id, bytes, is_probe)
                && let Some(waiting) = self.waiting.remove(&id)
            {
                // A reader that does not wait any more gives this back when its room is dropped.
                self.take(id, bytes);
                let _ = waiting.granted.send(());
            }
        }
    }
}

impl FindingsMemory {
    fn state(&self) -> MutexGuard<'_, Budget> {
        self.0.lock()
    }

    /// Adds a reader of an image, which holds no bytes yet.
    fn begin(&self, is_probe: bool) -> Room {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.rooms.insert(id, 0);
        state.reading.insert(id);
        drop(state);
        Room { memory: self.clone(), id, is_probe }
    }

    /// Reads the scan of an image page by page. `page` reads one page by its token, with at most
    /// this many findings. Returns `None` if the image is gone.
    ///
    /// # Errors
    /// The error of the page that cannot be read.
    pub(super) async fn read<E, F, Fut>(
        &self,
        is_probe: bool,
        page: F,
    ) -> Result<Option<(Scan, Room)>, E>
    where
        F: Fn(Option<String>, u16) -> Fut,
        Fut: Future<Output = Result<Option<ScanPage>, E>>,
    {
        let room = self.begin(is_probe);
        let most = room.grow_by_page(FIRST_PAGE).await;
        let Some(first) = page(None, most).await? else { return Ok(None) };
        let mut reading = Reading::new(first);
        room.shrink_to(reading.weight());
        while let Some(token) = reading.next_token().map(str::to_owned) {
            let most = room.grow_by_page(NEXT_PAGE).await;
            let Some(page) = page(Some(token), most).await? else { return Ok(None) };
            reading.add(page);
            room.shrink_to(reading.weight());
        }
        room.has_read();
        Ok(Some((reading.into_scan(), room)))
    }

    /// Shares a value until its room is needed or nobody holds it any more.
    pub(super) fn share<T: std::fmt::Debug + Send + Sync + 'static>(
        &self,
        value: Arc<T>,
    ) -> Evictable<T> {
        let shared = Arc::new(Mutex::new(Some(value)));
        let droppable: Arc<dyn Droppable> = Arc::<Mutex<Option<Arc<T>>>>::clone(&shared);
        let mut state = self.state();
        state.shared.retain(|one| one.strong_count() > 0);
        state.shared.push_back(Arc::downgrade(&droppable));
        let is_wanted = !state.waiting.is_empty();
        drop(state);
        if is_wanted {
            while !self.state().waiting.is_empty() && self.drop_the_oldest() {}
        }
        Evictable(shared)
    }

    /// Drops the value that has been shared for the longest time. Returns whether there was any.
    fn drop_the_oldest(&self) -> bool {
        // The state must not be locked here any more, because the value's room locks it when it is
        // dropped.
        let Some(oldest) = self.state().shared.pop_front() else { return false };
        if let Some(oldest) = oldest.upgrade() {
            oldest.drop_it();
        }
        true
    }
}

impl Room {
    /// Takes room for the largest page that fits, or waits until a page with `least` findings fits.
    /// Returns how many findings the page may have.
    async fn grow_by_page(&self, least: u16) -> u16 {
        for most in [LARGE_PAGE, NEXT_PAGE] {
            let bytes = usize::from(most) * UNPACKED;
            let mut state = self.memory.state();
            if state.waiting.is_empty() && state.used + bytes <= FOR_ALL {
                state.take(self.id, bytes);
                return most;
            }
        }
        self.grow(usize::from(least) * UNPACKED).await;
        least
    }

    /// Waits until there is room for this many more bytes, and takes it.
    async fn grow(&self, bytes: usize) {
        let granted = loop {
            let mut state = self.memory.state();
            if state.fits(self.id, bytes, self.is_probe) {
                state.take(self.id, bytes);
                return;
            }
            if state.shared.is_empty() {
                let (granted, wait) = oneshot::channel();
                let waiting = WaitingReader { bytes, is_probe: self.is_probe, granted };
                state.waiting.insert(self.id, waiting);
                break wait;
            }
            drop(state);
            self.memory.drop_the_oldest();
        };
        // This cannot fail, because the sender lives in the state until it has sent.
        let _ = granted.await;
    }

    /// Sets the room to this many bytes, and gives back the rest.
    fn shrink_to(&self, bytes: usize) {
        let mut state = self.memory.state();
        let held = state.rooms.get(&self.id).copied().unwrap_or_default();
        state.give_back(self.id, held.saturating_sub(bytes));
        // A page can be larger than what was reserved for it.
        state.take(self.id, bytes.saturating_sub(held));
        state.serve();
    }

    /// Notes that the image has been read, so that the next reader becomes the oldest.
    fn has_read(&self) {
        let mut state = self.memory.state();
        state.reading.remove(&self.id);
        state.serve();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.waiting.remove(&self.id);
        state.reading.remove(&self.id);
        state.give_back(self.id, usize::MAX);
        state.rooms.remove(&self.id);
        state.serve();
    }
}

#[cfg(test)]
mod tests;
