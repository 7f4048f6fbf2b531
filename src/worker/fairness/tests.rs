use std::sync::Arc;

use tokio::sync::Semaphore;

use super::*;
use crate::domain::names::sample::repository;

/// Takes all running slots that a repository gets before it has to wait.
fn taken<'a>(fairness: &'a Fairness, repository: &'a Repository) -> Vec<Place<'a>> {
    std::iter::from_fn(|| fairness.try_place(repository, SlotState::Running)).collect()
}

#[tokio::test(start_paused = true)]
async fn one_repository_takes_half_and_the_next_half_of_the_rest() {
    let fairness = Fairness::new(32);
    let (a, b, c) = (repository("a"), repository("b"), repository("c"));
    let of_a = taken(&fairness, &a);
    let of_b = taken(&fairness, &b);
    let of_c = taken(&fairness, &c);
    assert_eq!((of_a.len(), of_b.len(), of_c.len()), (16, 8, 4));
    drop(of_a);
    assert_eq!(taken(&fairness, &c).len(), 8, "free permits are shared again");
}

#[tokio::test(start_paused = true)]
async fn single_repository_has_a_slot_even_if_permits_are_few() {
    for most in 1..=3 {
        let fairness = Fairness::new(most);
        assert_eq!(taken(&fairness, &repository("a")).len(), most.div_ceil(2), "{most}");
    }
}

#[tokio::test(start_paused = true)]
async fn queued_message_gives_up_its_permit_until_it_has_a_slot() {
    let fairness = Fairness::new(2);
    let (a, permits) = (repository("a"), Arc::new(Semaphore::new(1)));
    let shutdown = Shutdown::default();
    let first = fairness.try_place(&a, SlotState::Running).unwrap();
    let permit = Permit::try_of(&permits).unwrap();
    let waits = fairness.acquire(&a, permit, false, &shutdown);
    tokio::pin!(waits);
    assert!(futures_util::poll!(&mut waits).is_pending());
    assert_eq!(permits.available_permits(), 1);
    drop(first);
    let acquired = waits.await;
    assert!(matches!(acquired, Acquired::Slot(_)));
    assert_eq!(permits.available_permits(), 0);
}

#[tokio::test(start_paused = true)]
async fn slow_message_yields_and_its_repository_gets_few_further_slots() {
    let fairness = Fairness::new(32);
    let (a, b, permits) = (repository("a"), repository("b"), Arc::new(Semaphore::new(1)));
    let permit = Permit::try_of(&permits).unwrap();
    let place = fairness.try_place(&a, SlotState::Running).unwrap();
    let mut slot = Slot { place, permit };
    let slow = slot.run(sleep(SLOW * 3));
    let others = async {
        sleep(SLOW * 2).await;
        assert_eq!(permits.available_permits(), 1);
        assert_eq!(taken(&fairness, &a).len(), 4);
        assert_eq!(taken(&fairness, &b).len(), 16);
    };
    tokio::join!(slow, others);
    drop(slot);
    assert_eq!(taken(&fairness, &a).len(), 16, "it is no longer slow");
    assert!(fairness.is_idle(), "repositories without a slot are forgotten");
}

#[tokio::test(start_paused = true)]
async fn message_comes_again_if_the_queue_of_a_slow_repository_is_full() {
    let fairness = Fairness::new(1);
    let (a, permits) = (repository("a"), Arc::new(Semaphore::new(2)));
    let shutdown = Shutdown::default();
    let held = fairness.try_place(&a, SlotState::Running).unwrap();
    let _all: Vec<_> = std::iter::from_fn(|| fairness.try_place(&a, SlotState::Queued)).collect();

    let permit = Permit::try_of(&permits).unwrap();
    let waits = fairness.acquire(&a, permit, false, &shutdown);
    tokio::pin!(waits);
    assert!(futures_util::poll!(&mut waits).is_pending());
    assert_eq!(permits.available_permits(), 1, "it waits with its permit while nothing is slow");

    let _slow = fairness.try_place(&a, SlotState::Yielded).unwrap();
    fairness.changed.notify_waiters();
    let crowded = waits.await;
    assert!(matches!(crowded, Acquired::Nothing(Failure::Crowded, _)));
    assert_eq!(permits.available_permits(), 1, "it keeps its permit until it is settled");

    let permit = Permit::try_of(&permits).unwrap();
    let last = fairness.acquire(&a, permit, true, &shutdown);
    tokio::pin!(last);
    assert!(futures_util::poll!(&mut last).is_pending(), "its last receive waits");
    assert_eq!(permits.available_permits(), 1, "in a place for last receives");
    drop(held);
    assert!(matches!(last.await, Acquired::Slot(_)));
}

#[tokio::test(start_paused = true)]
async fn message_with_a_slot_frees_its_place_while_it_waits_for_a_permit() {
    let fairness = Fairness::new(1);
    let (a, permits) = (repository("a"), Arc::new(Semaphore::new(1)));
    let shutdown = Shutdown::default();
    let held = fairness.try_place(&a, SlotState::Running).unwrap();
    let mut places: Vec<_> =
        std::iter::from_fn(|| fairness.try_place(&a, SlotState::Queued)).collect();
    places.pop();

    let wait = async || {
        let permit = Permit::try_of(&permits).unwrap();
        let acquired = fairness.acquire(&a, permit, false, &shutdown).await;
        assert!(matches!(acquired, Acquired::Slot(_)));
    };
    let (first, second) = (wait(), wait());
    tokio::pin!(first, second);
    assert!(futures_util::poll!(&mut first).is_pending(), "at the last place");
    assert!(futures_util::poll!(&mut second).is_pending(), "with the last permit");
    drop(held);
    assert!(futures_util::poll!(&mut first).is_pending(), "it has the slot and no permit");
    assert!(futures_util::poll!(&mut second).is_pending(), "it has the place now");
    first.await;
    second.await;
}

#[tokio::test(start_paused = true)]
async fn stop_of_the_worker_ends_the_wait() {
    let fairness = Fairness::new(1);
    let (a, permits) = (repository("a"), Arc::new(Semaphore::new(1)));
    let shutdown = Shutdown::default();
    let _held = fairness.try_place(&a, SlotState::Running).unwrap();
    shutdown.drain();
    let permit = Permit::try_of(&permits).unwrap();
    let ended = fairness.acquire(&a, permit, false, &shutdown).await;
    assert!(matches!(ended, Acquired::Nothing(Failure::Abandoned, _)));
}
