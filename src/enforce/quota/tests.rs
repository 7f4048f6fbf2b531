use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::advance;

use super::*;
use crate::domain::names::sample::repository;

/// Returns another digest each time.
fn digest() -> Digest {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    Digest::parse(format!("sha256:{number:064x}")).unwrap()
}

fn quota(all: Option<usize>, here: Option<usize>) -> Quota {
    shared(all, here, 1)
}

fn shared(all: Option<usize>, here: Option<usize>, tasks: usize) -> Quota {
    Quota::new(LimitSettings {
        untags_per_hour: all,
        untags_per_hour_per_repository: here,
        tasks: NonZeroUsize::new(tasks).unwrap(),
    })
}

fn later(admission: Admission<'_>) -> Deferral {
    match admission {
        Admission::Later(deferral) => deferral,
        now @ Admission::Now(_) => panic!("{now:?}"),
    }
}

/// Uses the whole reservation, and returns how many tags it had.
fn now(admission: Admission<'_>) -> usize {
    match admission {
        Admission::Now(mut reservation) => {
            let tags = reservation.left();
            reservation.spend(tags);
            tags
        }
        later @ Admission::Later(_) => panic!("{later:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn image_over_the_limit_is_put_off_to_the_next_window_and_notified_once() {
    let quota = quota(Some(5), None);
    assert_eq!(now(quota.reserve(&repository("a"), &digest(), 3)), 3);
    let first = later(quota.reserve(&repository("b"), &digest(), 3));
    assert_eq!(first.reason, "limits.untags_per_hour of 5 is reached");
    assert_eq!((first.again, first.is_news), (Duration::from_secs(3601), true));
    assert_eq!(
        now(quota.reserve(&repository("c"), &digest(), 2)),
        2,
        "a smaller number still fits"
    );
    assert!(!later(quota.reserve(&repository("d"), &digest(), 1)).is_news);
    advance(first.again).await;
    assert_eq!(now(quota.reserve(&repository("b"), &digest(), 3)), 3);
    assert!(
        later(quota.reserve(&repository("d"), &digest(), 3)).is_news,
        "a new window is news again"
    );
}

#[tokio::test(start_paused = true)]
async fn tasks_share_the_limits_in_equal_parts_rounded_down() {
    let quota = shared(Some(100), Some(11), 4);
    assert_eq!(now(quota.reserve(&repository("a"), &digest(), 2)), 2);
    let here = later(quota.reserve(&repository("a"), &digest(), 1));
    let words = "limits.untags_per_hour_per_repository of 11, 2 for each of 4 tasks, is reached";
    assert_eq!(here.reason, words);
    let repositories = ["b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    for name in repositories {
        assert_eq!(now(quota.reserve(&repository(name), &digest(), 2)), 2);
    }
    assert_eq!(now(quota.reserve(&repository("m"), &digest(), 1)), 1);
    let all = later(quota.reserve(&repository("n"), &digest(), 1));
    assert_eq!(all.reason, "limits.untags_per_hour of 100, 25 for each of 4 tasks, is reached");
}

#[tokio::test(start_paused = true)]
async fn deferred_images_book_up_to_eleven_windows() {
    let quota = quota(Some(2), None);
    assert_eq!(now(quota.reserve(&repository("a"), &digest(), 2)), 2);
    let hours = |deferral: &Deferral| deferral.again.as_secs() / 3600;
    let waits: Vec<_> =
        (0..30).map(|_| hours(&later(quota.reserve(&repository("a"), &digest(), 1)))).collect();
    assert_eq!(waits[..5], [1, 1, 2, 2, 3]);
    assert_eq!(waits[29], 11);
}

#[tokio::test(start_paused = true)]
async fn repository_at_its_limit_does_not_stop_the_others() {
    let quota = quota(Some(10), Some(2));
    assert_eq!(now(quota.reserve(&repository("a"), &digest(), 2)), 2);
    let deferral = later(quota.reserve(&repository("a"), &digest(), 1));
    assert_eq!(deferral.reason, "limits.untags_per_hour_per_repository of 2 is reached");
    assert_eq!(now(quota.reserve(&repository("b"), &digest(), 2)), 2);
}

#[tokio::test(start_paused = true)]
async fn tags_beyond_a_whole_window_are_removed_piece_by_piece() {
    let quota = quota(Some(2), None);
    assert_eq!(now(quota.reserve(&repository("a"), &digest(), 5)), 2);
    let again = later(quota.reserve(&repository("a"), &digest(), 3)).again;
    advance(again).await;
    assert_eq!(now(quota.reserve(&repository("a"), &digest(), 3)), 2);
}

#[tokio::test(start_paused = true)]
async fn unused_reservation_is_given_back_in_its_own_hour() {
    let quota = quota(Some(5), Some(4));
    let a = repository("a");
    let Admission::Now(mut reservation) = quota.reserve(&a, &digest(), 4) else { panic!() };
    reservation.spend(3);
    reservation.give_back(1);
    drop(reservation);
    assert_eq!(now(quota.reserve(&a, &digest(), 2)), 2);
    assert_eq!(now(quota.reserve(&repository("b"), &digest(), 1)), 1);
    later(quota.reserve(&repository("b"), &digest(), 1));

    advance(WINDOW).await;
    let Admission::Now(old) = quota.reserve(&a, &digest(), 4) else { panic!() };
    advance(WINDOW).await;
    assert_eq!(now(quota.reserve(&a, &digest(), 4)), 4);
    drop(old);
    later(quota.reserve(&a, &digest(), 1));
}

#[tokio::test(start_paused = true)]
async fn deferral_is_news_again_if_its_notice_was_not_delivered() {
    let quota = quota(Some(2), Some(1));
    let (a, b) = (repository("a"), repository("b"));
    assert_eq!(
        (now(quota.reserve(&a, &digest(), 1)), now(quota.reserve(&b, &digest(), 1))),
        (1, 1)
    );
    let (all, here) = (
        later(quota.reserve(&repository("c"), &digest(), 1)),
        later(quota.reserve(&a, &digest(), 1)),
    );
    assert!(all.is_news && here.is_news);
    quota.undelivered(&a, &here);
    assert!(!later(quota.reserve(&repository("c"), &digest(), 1)).is_news);
    assert!(later(quota.reserve(&a, &digest(), 1)).is_news);
    quota.undelivered(&repository("c"), &all);
    assert!(later(quota.reserve(&repository("c"), &digest(), 1)).is_news);
}

#[tokio::test(start_paused = true)]
async fn without_limits_everything_is_admitted() {
    let quota = quota(None, None);
    assert_eq!(now(quota.reserve(&repository("a"), &digest(), 1_000_000)), 1_000_000);
}

#[tokio::test(start_paused = true)]
async fn messages_about_one_image_book_its_room_once() {
    let quota = quota(Some(1), None);
    let (a, one) = (repository("a"), digest());
    assert_eq!(now(quota.reserve(&a, &digest(), 1)), 1);
    for _ in 0..30 {
        assert_eq!(later(quota.reserve(&a, &one, 1)).again, Duration::from_secs(3601));
    }
    assert_eq!(later(quota.reserve(&a, &digest(), 1)).again, Duration::from_secs(7201));
}
