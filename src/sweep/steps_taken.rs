//! Which steps of sweeps this task has taken, so that a copy of a step ends here.
//!
//! A step comes twice when the queue delivers it twice, when its lease is lost, or when its task
//! dies between sending the next step and deleting this one. For each sweep and repository a task
//! remembers the position up to which it has led on, and drops earlier steps. So each task takes a
//! position once at most. A copy that comes to another task makes a second chain, which ends at its
//! first step that comes to a task that was there before. Until then it doubles inspections and
//! messages, but never acts, because a result counts once by its repository and an image that is
//! sent twice is assessed twice. A sweep is named by its id and the second in which it began,
//! because a schedule may give all of its sweeps one id.

use std::collections::HashSet;
use std::time::SystemTime;

use parking_lot::{Mutex, MutexGuard};
use quick_cache::unsync::Cache;
use sha2::{Digest as _, Sha256};

use crate::domain::names::RegistryId;
use crate::event::sweep::{Found, Order, Step};

/// The most registries and repositories of sweeps that are remembered, 24 bytes each.
const MAX_SWEEPS: usize = 65_536;

/// A hash of the sweep and of the registry or repository that a step sweeps. It always takes the
/// same memory, and nobody can make two names with the same hash.
type StepKey = [u8; 16];

/// Returns the registry or repository that a step sweeps, and the step's position in it. Returns
/// `None` if a step of its kind may come again.
fn place(order: &Order) -> Option<(StepKey, u32)> {
    match &order.step {
        Step::All => Some((key(order, None, ""), 0)),
        Step::Registry(registry_id) => Some((key(order, Some(registry_id), ""), 0)),
        Step::Repository(slice) => {
            let registry_id = slice.repository.registry_id();
            Some((key(order, Some(&registry_id), slice.repository.name.as_str()), slice.slices))
        }
        Step::Result(_) | Step::Told(_) => None,
    }
}

fn key(order: &Order, registry_id: Option<&RegistryId>, repository: &str) -> StepKey {
    let began = began(order).to_string();
    let account = registry_id.map_or("", |registry_id| registry_id.account.as_str());
    let region = registry_id.map_or("", |registry_id| registry_id.region.as_str());
    let sweep = order.sweep.as_deref().unwrap_or_default();
    let mut hash = Sha256::new();
    for part in [sweep, &began, account, region, repository] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hash = hash.finalize();
    let mut key = StepKey::default();
    key.iter_mut().zip(hash.iter()).for_each(|(to, from)| *to = *from);
    key
}

/// Returns when a sweep began, in seconds as its messages say. It is part of a sweep's name,
/// because a schedule may give all of its sweeps one id.
pub(super) fn began(order: &Order) -> u64 {
    let began = order.origin.at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    began.unwrap_or_default().as_secs()
}

struct Steps {
    /// For each registry or repository, the position before which all steps were taken.
    taken: Cache<StepKey, u32>,
    in_work: HashSet<(StepKey, u32)>,
}

/// The steps that this task has taken.
pub(super) struct StepsTaken(Mutex<Steps>);

impl Default for StepsTaken {
    fn default() -> Self {
        Self(Mutex::new(Steps { taken: Cache::new(MAX_SWEEPS), in_work: HashSet::new() }))
    }
}

impl std::fmt::Debug for StepsTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StepsTaken")
    }
}

/// Whether a step is to be taken.
pub(super) enum Turn<'a> {
    /// To be taken: this is its first copy.
    First(Taking<'a>),
    /// To be taken: it is of a kind that may come again.
    Repeatable,
    /// Not to be taken: it was taken before, and the next step was sent.
    Taken,
    /// Not to be taken now: a copy of it is in work and may still fail.
    InWork,
}

/// A step in work. When this is dropped, its copies may be taken, unless the step was taken.
pub(super) struct Taking<'a> {
    all: &'a StepsTaken,
    key: StepKey,
    position: u32,
}

impl Taking<'_> {
    /// Notes that the next step was sent.
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

impl StepsTaken {
    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.0.lock()
    }

    /// Returns whether this task has taken a slice of any of these repositories, or the step that
    /// sent their first slices.
    pub(super) fn has_swept(&self, order: &Order, found: &Found) -> bool {
        let names = found.repositories.keys().map(|name| name.as_str()).chain([""]);
        let steps = self.steps();
        let mut keys = names.map(|name| key(order, Some(&found.registry_id), name));
        keys.any(|key| steps.taken.get(&key).is_some())
    }

    /// Returns whether this step is to be taken.
    pub(super) fn turn(&self, order: &Order) -> Turn<'_> {
        let Some((key, position)) = place(order) else { return Turn::Repeatable };
        let mut steps = self.steps();
        let is_taken = steps.taken.get(&key).is_some_and(|before| position < *before);
        if is_taken {
            Turn::Taken
        } else if steps.in_work.insert((key, position)) {
            Turn::First(Taking { all: self, key, position })
        } else {
            Turn::InWork
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::names::{AccountId, Region};
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
            step: Step::Registry(RegistryId {
                account: AccountId::parse("111122223333").unwrap(),
                region: Region::parse("eu-west-1").unwrap(),
            }),
        }
    }

    #[test]
    fn step_is_taken_again_only_if_it_failed() {
        let taken = StepsTaken::default();
        let order = order("s", 7);
        let Turn::First(first) = taken.turn(&order) else { panic!("it is new") };
        assert!(matches!(taken.turn(&order), Turn::InWork));
        drop(first);
        let Turn::First(again) = taken.turn(&order) else { panic!("it failed") };
        again.is_taken();
        drop(again);
        assert!(matches!(taken.turn(&order), Turn::Taken));
    }

    #[test]
    fn sweeps_with_one_id_and_different_times_are_different() {
        let taken = StepsTaken::default();
        let Turn::First(first) = taken.turn(&order("nightly", 7)) else { panic!("it is new") };
        first.is_taken();
        assert!(matches!(taken.turn(&order("nightly", 8)), Turn::First(_)));
        assert!(matches!(taken.turn(&order("weekly", 7)), Turn::First(_)));
    }

    #[test]
    fn remembered_steps_are_bounded() {
        let taken = StepsTaken::default();
        for number in 0..200_000 {
            let order = order("s", number);
            if let Turn::First(first) = taken.turn(&order) {
                first.is_taken();
            }
        }
        assert!(taken.steps().taken.len() <= MAX_SWEEPS);
        assert_eq!(taken.steps().in_work.len(), 0);
    }
}
