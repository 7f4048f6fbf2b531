//! The memory that findings may take, those of all images together.
//!
//! Whoever can push images decides how many findings there are to read: an image may have tens of
//! thousands, and every message in flight may be about another such image. So the bytes of all
//! findings in memory have one budget: the pages that are on their way, what has been read so far
//! of images that are being read, and what messages share for a minute.
//!
//! A reader reserves room for a page before it asks for it, and gives back what the packed findings
//! do not take. The less room there is, the smaller are the pages. If the budget is full, it waits. Three rules keep that from going wrong:
//!
//! - Shared findings give way first. They save calls, and nothing rests on them.
//! - Readers that wait for each other would wait for ever. So a part of the budget is left to the
//!   reader that began first: it holds the findings of one image, which are capped, and one page.
//!   When it is done, the next one is the first. Whoever has read an image does not ask for more
//!   room while it holds the findings, so they are always dropped in the end.
//! - Small images must not wait for large ones. So another part is left to first pages, and most
//!   images have no second one.
//!
//! Rejected: a semaphore over readers, because it has to count every image as the largest one; and
//! reading an image again from its first page if there is no room, because that has no end.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use crate::domain::findings::{Reading, Scan, ScanPage};

/// The part of the budget that is for everybody.
const FOR_ALL: usize = 15 << 20;
/// The part that is for first pages besides.
const FOR_FIRST_PAGES: usize = 4 << 20;
/// The part that is for the reader that began first: the most that the findings of one image take,
/// a large page, and the first page of a probe.
const FOR_THE_OLDEST: usize = 13 << 20;
/// What a finding takes from the moment its page arrives until it is packed: some 2 KB as Inspector
/// writes it, and what the SDK makes of that.
const UNPACKED: usize = 8 << 10;
/// The findings of a page if there is room for all of them: the most that ECR gives in one call
/// (ECR API reference, DescribeImageScanFindings).
const LARGE_PAGE: u16 = 1_000;
/// The findings of a page that is waited for. A token leads on from the last finding that was
/// given, however many are asked for next.
const PAGE: u16 = 500;
/// The findings of a first page that is waited for. Most images have no more.
const FIRST_PAGE: u16 = 100;

/// The budget.
#[derive(Clone, Debug, Default)]
pub(super) struct FindingsMemory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    used: usize,
    next: u64,
    /// What each holds, by the order in which they began.
    rooms: HashMap<u64, usize>,
    /// Those that are still reading.
    reading: BTreeSet<u64>,
    waiting: BTreeMap<u64, Waiting>,
    shared: VecDeque<Weak<dyn Droppable>>,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    is_probe: bool,
    granted: oneshot::Sender<()>,
}

/// The room that the findings of one image take. They hold it as long as they live.
#[derive(Debug)]
pub(super) struct Room {
    memory: FindingsMemory,
    id: u64,
    is_probe: bool,
}

/// What is shared until its room is needed.
#[derive(Debug)]
pub struct Shared<T>(Arc<Mutex<Option<Arc<T>>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Shared<T> {
    /// What is shared, if it is still there.
    #[must_use]
    pub fn get(&self) -> Option<Arc<T>> {
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

impl State {
    fn fits(&self, id: u64, bytes: usize, is_probe: bool) -> bool {
        let is_first_page = self.rooms.get(&id).is_none_or(|held| *held == 0);
        let is_oldest = self.reading.first() == Some(&id);
        let limit = match (is_oldest, is_first_page) {
            // Whatever pages turned out to be larger than was reserved for them: it is capped by
            // itself, and somebody has to go on.
            (true, _) => usize::MAX,
            // A probe is to find out at once whether another repository is allowed.
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

    /// Lets those go on for whom there is room now, in the order in which they began.
    fn serve(&mut self) {
        let waiting = self.waiting.iter();
        let waiting: Vec<_> =
            waiting.map(|(id, waiting)| (*id, waiting.bytes, waiting.is_probe)).collect();
        for (id, bytes, is_probe) in waiting {
            if self.fits(id, bytes, is_probe)
                && let Some(waiting) = self.waiting.remove(&id)
            {
                // Whoever does not wait any more gives it back with its room.
                self.take(id, bytes);
                let _ = waiting.granted.send(());
            }
        }
    }
}

impl FindingsMemory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }

    /// Begins to read an image.
    fn begin(&self, is_probe: bool) -> Room {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.rooms.insert(id, 0);
        state.reading.insert(id);
        drop(state);
        Room { memory: self.clone(), id, is_probe }
    }

    /// Reads the scan of an image page by page; `page` is given the token that leads to it and the
    /// most findings that it may have. `None`: the image is gone.
    ///
    /// # Errors
    /// Why a page cannot be read.
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
            let most = room.grow_by_page(PAGE).await;
            let Some(page) = page(Some(token), most).await? else { return Ok(None) };
            reading.add(page);
            room.shrink_to(reading.weight());
        }
        room.has_read();
        Ok(Some((reading.into_scan(), room)))
    }

    /// Shares what was read until its room is needed, or nobody holds it any more.
    pub(super) fn share<T: std::fmt::Debug + Send + Sync + 'static>(
        &self,
        value: Arc<T>,
    ) -> Shared<T> {
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
        Shared(shared)
    }

    /// Drops what has been shared longest; whether there was any.
    fn drop_the_oldest(&self) -> bool {
        // Its room locks the state when it is dropped.
        let Some(oldest) = self.state().shared.pop_front() else { return false };
        if let Some(oldest) = oldest.upgrade() {
            oldest.drop_it();
        }
        true
    }
}

impl Room {
    /// Takes room for a page as large as there is room for, or waits until there is for one of so
    /// many findings. Returns how many findings it may have.
    async fn grow_by_page(&self, least: u16) -> u16 {
        for most in [LARGE_PAGE, PAGE] {
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

    /// Waits until there is room for so many bytes more.
    async fn grow(&self, bytes: usize) {
        let granted = loop {
            let mut state = self.memory.state();
            if state.fits(self.id, bytes, self.is_probe) {
                state.take(self.id, bytes);
                return;
            }
            if state.shared.is_empty() {
                let (granted, wait) = oneshot::channel();
                let waiting = Waiting { bytes, is_probe: self.is_probe, granted };
                state.waiting.insert(self.id, waiting);
                break wait;
            }
            drop(state);
            self.memory.drop_the_oldest();
        };
        // The sender lives in the state until it has sent.
        let _ = granted.await;
    }

    /// Gives back all but so many bytes.
    fn shrink_to(&self, bytes: usize) {
        let mut state = self.memory.state();
        let held = state.rooms.get(&self.id).copied().unwrap_or_default();
        state.give_back(self.id, held.saturating_sub(bytes));
        // A page can be larger than what was reserved for it.
        state.take(self.id, bytes.saturating_sub(held));
        state.serve();
    }

    /// The image has been read: others may be the first from now on.
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
