#![expect(clippy::disallowed_methods, reason = "tasks of a test end with it")]

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::{JoinHandle, yield_now};

use super::*;
use crate::aws::AwsError;

const MB: usize = 1 << 20;
const ALL: usize = FOR_ALL + FOR_FIRST_PAGES + FOR_THE_OLDEST;

fn used(memory: &FindingsMemory) -> usize {
    memory.state().used
}

/// Lets every other task run until it waits.
async fn settle() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// Starts a reader that has read one page, wants this many more bytes, and keeps them.
fn grows(memory: &FindingsMemory, first: usize, more: usize) -> JoinHandle<Room> {
    let memory = memory.clone();
    tokio::spawn(async move {
        let room = memory.begin(false);
        room.grow(first).await;
        room.grow(more).await;
        room
    })
}

#[tokio::test]
async fn room_is_given_back_when_findings_are_packed_and_when_they_are_dropped() {
    let memory = FindingsMemory::default();
    let room = memory.begin(false);
    room.grow(4 * MB).await;
    room.shrink_to(MB);
    assert_eq!(used(&memory), MB);
    room.shrink_to(2 * MB);
    assert_eq!(used(&memory), 2 * MB, "a page was larger than its reservation");
    drop(room);
    assert_eq!(used(&memory), 0);
}

#[tokio::test]
async fn only_the_oldest_reader_grows_when_the_budget_is_full() {
    let memory = FindingsMemory::default();
    let oldest = memory.begin(false);
    oldest.grow(14 * MB).await;
    let readers = [(); 2].map(|()| grows(&memory, 2 * MB, 5 * MB));
    settle().await;
    assert!(readers.iter().all(|reader| !reader.is_finished()));
    oldest.grow(8 * MB).await;
    assert_eq!(used(&memory), 26 * MB);
    oldest.has_read();
    settle().await;
    let finished = readers.each_ref().map(JoinHandle::is_finished);
    assert_eq!(finished, [true, false], "the next one is the oldest now");
    assert!(used(&memory) <= ALL, "{}", used(&memory));
    drop(oldest);
    for reader in readers {
        reader.await.unwrap().has_read();
    }
    assert_eq!(used(&memory), 0);
}

#[tokio::test]
async fn first_page_does_not_wait_for_large_images() {
    let memory = FindingsMemory::default();
    let _large: Vec<_> = (0..3).map(|_| grows(&memory, MB, 4 * MB)).collect();
    let waiting = grows(&memory, MB, 4 * MB);
    settle().await;
    let small = memory.begin(false);
    small.grow(MB).await;
    assert!(!waiting.is_finished());
}

#[tokio::test]
async fn probe_reads_its_first_page_when_the_budget_is_full() {
    let memory = FindingsMemory::default();
    let oldest = memory.begin(false);
    oldest.grow(FOR_ALL + FOR_FIRST_PAGES).await;
    let late = grows(&memory, MB, MB);
    settle().await;
    assert!(!late.is_finished());
    memory.begin(true).grow(MB).await;
}

#[tokio::test]
async fn shared_findings_give_way_to_readers_that_need_room() {
    let memory = FindingsMemory::default();
    let share = |megabytes: usize| {
        let room = memory.begin(false);
        let memory = memory.clone();
        async move {
            room.grow(megabytes * MB).await;
            room.has_read();
            memory.share(Arc::new(room))
        }
    };
    let (first, second) = (share(8).await, share(7).await);
    assert!(first.get().is_some() && second.get().is_some());
    let oldest = memory.begin(false);
    oldest.grow(MB).await;
    let other = memory.begin(false);
    other.grow(5 * MB).await;
    assert!(first.get().is_none(), "the oldest gives way first");
    assert!(second.get().is_some(), "and only as much as is needed");
    let late = grows(&memory, 2 * MB, 8 * MB);
    settle().await;
    assert!(second.get().is_none() && !late.is_finished());
    let third = memory.begin(false);
    third.has_read();
    let third = memory.share(Arc::new(third));
    assert!(third.get().is_none(), "nothing is shared while a reader waits");
}

#[tokio::test]
async fn shared_findings_are_dropped_when_nobody_holds_them() {
    let memory = FindingsMemory::default();
    let room = memory.begin(false);
    room.grow(MB).await;
    let shared = memory.share(Arc::new(room));
    assert_eq!(used(&memory), MB);
    drop(shared);
    assert_eq!(used(&memory), 0);
}

#[tokio::test]
async fn reader_that_stops_waiting_takes_no_room() {
    let memory = FindingsMemory::default();
    let oldest = memory.begin(false);
    oldest.grow(FOR_ALL).await;
    let waiting = grows(&memory, MB, MB);
    let granted = grows(&memory, MB, MB);
    settle().await;
    waiting.abort();
    settle().await;
    drop(oldest);
    // Granted, and dropped before it could go on.
    granted.abort();
    settle().await;
    assert_eq!(used(&memory), 0);
    assert!(memory.state().rooms.is_empty() && memory.state().waiting.is_empty());
}

#[tokio::test]
async fn any_number_of_large_images_is_read_within_the_budget() {
    use crate::domain::findings::{Finding, MAX_FINDINGS, ScanState, Severity};

    let memory = FindingsMemory::default();
    let peak = Arc::new(AtomicUsize::new(0));
    let read = |number: usize| {
        let (memory, peak) = (memory.clone(), Arc::clone(&peak));
        tokio::spawn(async move {
            let page = |token: Option<String>, most: u16| {
                let (memory, peak) = (memory.clone(), Arc::clone(&peak));
                async move {
                    yield_now().await;
                    peak.fetch_max(used(&memory), Ordering::Relaxed);
                    let from: usize = token.map_or(0, |token| token.parse().unwrap());
                    let to = (from + usize::from(most)).min(MAX_FINDINGS / 4);
                    let finding =
                        |at| Finding::new(format!("CVE-{number}-{at} {:200}", ""), Severity::Low);
                    Ok::<_, AwsError>(Some(ScanPage {
                        list: (from..to).map(finding).collect(),
                        next_token: (to < MAX_FINDINGS / 4).then(|| to.to_string()),
                        ..ScanPage::of_state(ScanState::Active)
                    }))
                }
            };
            memory.read(false, page).await.unwrap().is_some()
        })
    };
    let readers: Vec<_> = (0..40).map(read).collect();
    for reader in readers {
        assert!(reader.await.unwrap());
    }
    assert_eq!(used(&memory), 0);
    let peak = peak.load(Ordering::Relaxed);
    assert!((FOR_ALL / 2..=ALL).contains(&peak), "{peak}");
}
