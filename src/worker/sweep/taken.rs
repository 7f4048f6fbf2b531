//! Which steps of sweeps this task has taken, so that the copy of one does not lead on a second time.
//!
//! A queue may deliver a message twice, and a task may end between the sending of what follows and the delete. Within one
//! task a copy ends here. To another task it is new: a position is taken by each task once at the most, and copies end
//! wherever they meet a task that was there.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use quick_cache::unsync::Cache;
use sha2::{Digest as _, Sha256};

use crate::domain::image::Home;
use crate::event::sweep::{Found, Order, Step};

/// Sweeps of registries and repositories that are remembered, 24 bytes each.
const MOST: usize = 65_536;

/// What is swept, in which sweep: hashed, so that all weigh the same, and nobody can make two alike.
type Key = [u8; 16];

/// What a step sweeps, and its position in that.
fn place(order: &Order) -> Option<(Key, u32)> {
    match &order.step {
        Step::All => Some((key(order, None, ""), 0)),
        Step::Registry(home) => Some((key(order, Some(home), ""), 0)),
        Step::Repository(slice) => {
            let home = slice.repository.home();
            Some((key(order, Some(&home), slice.repository.name.as_str()), slice.slices))
        }
        Step::Result(_) | Step::Told(_) => None,
    }
}

fn key(order: &Order, home: Option<&Home>, repository: &str) -> Key {
    let began = began(order).to_string();
    let account = home.map_or("", |home| home.account.as_str());
    let region = home.map_or("", |home| home.region.as_str());
    let sweep = order.sweep.as_deref().unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [sweep, &began, account, region, repository] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash = hash.finalize();
    let mut key = Key::default();
    key.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
    key
}

/// When a sweep began, in the seconds that its messages are written in. It is part of what names a sweep: a schedule may
/// give all of its sweeps one id.
pub(super) fn began(order: &Order) -> u64 {
    let began = order.origin.at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    began.unwrap_or_default().as_secs()
}

struct Steps {
    /// By what is swept, the position before which all were taken.
    taken: Cache<Key, u32>,
    in_work: HashSet<(Key, u32)>,
}

/// The steps that were taken, the latest.
pub(super) struct Taken(Mutex<Steps>);

impl Default for Taken {
    fn default() -> Self {
        Self(Mutex::new(Steps { taken: Cache::new(MOST), in_work: HashSet::new() }))
    }
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Taken")
    }
}

/// What is to be done with a step.
pub(super) enum Turn<'a> {
    /// It is to be taken.
    First(Taking<'a>),
    /// What follows from it was sent: it is done with.
    Taken,
    /// A copy of it is in work, and may fail yet.
    InWork,
}

/// A step in work.
pub(super) struct Taking<'a> {
    all: &'a Taken,
    key: Key,
    position: u32,
}

impl Taking<'_> {
    /// What follows has been sent.
    pub(super) fn is_taken(&self) {
        let mut steps = self.all.steps();
        let before = steps.taken.get(&self.key).copied().unwrap_or_default();
        steps.taken.insert(self.key, before.max(self.position.saturating_add(1)));
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.all.steps().in_work.remove(&(self.key, self.position));
    }
}

impl Taken {
    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this task has taken a slice of any of these repositories, or the step that began them.
    pub(super) fn has_swept(&self, order: &Order, found: &Found) -> bool {
        let names = found.repositories.keys().map(|name| name.as_str()).chain([""]);
        let steps = self.steps();
        let mut keys = names.map(|name| key(order, Some(&found.home), name));
        keys.any(|key| steps.taken.get(&key).is_some())
    }

    /// Whose turn a step is. `None`: it is of a kind that may come again.
    pub(super) fn turn(&self, order: &Order) -> Option<Turn<'_>> {
        let (key, position) = place(order)?;
        let mut steps = self.steps();
        let is_taken = steps.taken.get(&key).is_some_and(|before| position < *before);
        Some(if is_taken {
            Turn::Taken
        } else if steps.in_work.insert((key, position)) {
            Turn::First(Taking { all: self, key, position })
        } else {
            Turn::InWork
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::image::{AccountId, Region};
    use crate::domain::origin::Origin;

    fn order(sweep: &str, began: u64) -> Order {
        Order {
            origin: Origin {
                id: None,
                source: String::new(),
                detail_type: String::new(),
                time: None,
                at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(began)),
            },
            sweep: Some(sweep.to_owned()),
            step: Step::Registry(Home {
                account: AccountId::parse("111122223333").unwrap(),
                region: Region::parse("eu-west-1").unwrap(),
            }),
        }
    }

    #[test]
    fn a_step_is_taken_once_and_again_only_if_it_failed() {
        let taken = Taken::default();
        let order = order("s", 7);
        let Some(Turn::First(first)) = taken.turn(&order) else { panic!("it is new") };
        assert!(matches!(taken.turn(&order), Some(Turn::InWork)));
        drop(first);
        let Some(Turn::First(again)) = taken.turn(&order) else { panic!("it failed") };
        again.is_taken();
        drop(again);
        assert!(matches!(taken.turn(&order), Some(Turn::Taken)));
    }

    #[test]
    fn sweeps_of_one_name_that_began_at_different_times_are_different() {
        let taken = Taken::default();
        let Some(Turn::First(first)) = taken.turn(&order("nightly", 7)) else { panic!("new") };
        first.is_taken();
        assert!(matches!(taken.turn(&order("nightly", 8)), Some(Turn::First(_))));
        assert!(matches!(taken.turn(&order("weekly", 7)), Some(Turn::First(_))));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let taken = Taken::default();
        for number in 0..200_000 {
            let order = order("s", number);
            if let Some(Turn::First(first)) = taken.turn(&order) {
                first.is_taken();
            }
        }
        assert!(taken.steps().taken.len() <= MOST);
        assert_eq!(taken.steps().in_work.len(), 0);
    }
}
