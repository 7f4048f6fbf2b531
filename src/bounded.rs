//! A map of slots by a key that strangers choose, such as an image or a registry: whoever can send
//! events decides how many keys there are, so the slots have a limit.
//!
//! Every slot counts as one. If what it holds can be large, its owner bounds that by itself.
//!
//! Whoever takes a slot holds an `Arc` of it, and a slot that is held never gives way: it makes
//! those who ask for the same key wait for each other or share a result, and a second slot of that
//! key would let them work side by side. So the map exceeds its limit only by slots in use, and
//! `queue.max_in_flight` bounds those. When the limit is reached, slots that nobody holds and that
//! are out of date are dropped, and if that is not enough, all that nobody holds. To forget one
//! costs no more than a repeated call.
//!
//! This is for slots that are shared while they are in use. A plain value that may give way at any
//! time belongs into a `quick_cache`. What must not be forgotten has a rule of its own: the quota
//! of removals, the news of refused registries and the results of sweeps.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;

/// Shared slots by key, with a limit.
#[derive(Debug)]
pub(crate) struct Slots<K, V> {
    most: usize,
    is_fresh: fn(&V) -> bool,
    slots: Mutex<HashMap<K, Arc<V>>>,
}

impl<K: Clone + Eq + Hash, V> Slots<K, V> {
    /// Creates a map of about `most` slots. A slot that nobody holds and that is not fresh gives
    /// way first.
    #[must_use]
    pub(crate) fn new(most: usize, is_fresh: fn(&V) -> bool) -> Self {
        Self { most, is_fresh, slots: Mutex::default() }
    }

    /// Returns the slot of this key, a new one if there is none.
    pub(crate) fn get(&self, key: &K, new: impl FnOnce() -> V) -> Arc<V> {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get(key) {
            return Arc::clone(slot);
        }
        if slots.len() >= self.most {
            slots.retain(|_, slot| is_held(slot) || (self.is_fresh)(slot));
        }
        if slots.len() >= self.most {
            slots.retain(|_, slot| is_held(slot));
        }
        Arc::clone(slots.entry(key.clone()).or_insert_with(|| Arc::new(new())))
    }

    /// Drops the slots that nobody holds and that are not fresh, because of what they hold.
    pub(crate) fn tidy(&self) {
        self.slots.lock().retain(|_, slot| is_held(slot) || (self.is_fresh)(slot));
    }

    /// Shows every slot to `see`.
    pub(crate) fn each(&self, mut see: impl FnMut(&V)) {
        self.slots.lock().values().for_each(|slot| see(slot));
    }
}

/// Returns whether anybody but the map holds the slot.
fn is_held<V>(slot: &Arc<V>) -> bool {
    Arc::strong_count(slot) > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(slots: &Slots<u32, bool>) -> usize {
        let mut kept = 0;
        slots.each(|_| kept += 1);
        kept
    }

    /// Slots whose value says whether they are fresh.
    fn slots() -> Slots<u32, bool> {
        Slots::new(3, |is_fresh| *is_fresh)
    }

    #[test]
    fn holders_of_a_key_share_its_slot() {
        let slots = slots();
        let first = slots.get(&1, || true);
        assert!(Arc::ptr_eq(&first, &slots.get(&1, || true)));
        assert!(!Arc::ptr_eq(&first, &slots.get(&2, || true)));
    }

    #[test]
    fn stale_slots_give_way_first_and_then_all_that_nobody_holds() {
        let slots = slots();
        for (key, is_fresh) in [(1, true), (2, false), (3, true)] {
            slots.get(&key, || is_fresh);
        }
        slots.get(&4, || true);
        assert_eq!(kept(&slots), 3, "the stale one gave way");
        slots.get(&5, || true);
        assert_eq!(kept(&slots), 1);
    }

    #[test]
    fn held_slots_never_give_way() {
        let slots = slots();
        let held: Vec<_> = (0..10).map(|key| slots.get(&key, || false)).collect();
        slots.tidy();
        assert_eq!(kept(&slots), 10);
        assert!(Arc::ptr_eq(&held[0], &slots.get(&0, || false)));
        drop(held);
        slots.get(&10, || false);
        assert_eq!(kept(&slots), 1);
    }

    #[test]
    fn known_key_at_the_limit_drops_no_slot() {
        let slots = slots();
        for key in 0..3 {
            slots.get(&key, || false);
        }
        slots.get(&2, || false);
        assert_eq!(kept(&slots), 3);
    }
}
