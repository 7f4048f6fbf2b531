use super::*;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::names::{AccountId, Region, RegistryId};
use crate::domain::policy::Mode;

const LONG: Duration = Duration::from_secs(4 * 3600);
const ARRIVAL: ResultArrival =
    ResultArrival { age: LONG, room: 1000, may_wait: true, may_have_missed_summary: false };

fn registry_id() -> RegistryId {
    RegistryId {
        account: AccountId::parse("111122223333").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
    }
}

/// Returns a result of these repositories out of `of`.
fn found(of: u32, numbers: std::ops::Range<u32>) -> Found {
    let part = |images| {
        let mut census = Census::default();
        census.add(Coverage::Clean, images);
        Part { census, is_cut: false }
    };
    let named = numbers
        .map(|number| (RepositoryName::parse(format!("r{number}")).unwrap(), part(number.into())));
    Found { registry_id: registry_id(), of, repositories: named.collect() }
}

fn summary(account: &Account) -> Summary {
    Summary {
        sweep: "s".to_owned(),
        registry_id: registry_id(),
        began: None,
        swept: account.parts.len(),
        repositories: account.of as usize,
        census: Census::default(),
        before: None,
        mode: Mode::Enforce,
        worst: Vec::new(),
        cut: BTreeSet::new(),
        is_late: account.is_late,
    }
}

fn next(known: &mut Known, found: &Found, age: Duration) -> Next {
    known.next(found, ResultArrival { age, ..ARRIVAL })
}

/// Sends the summary that is due, and returns what goes into it.
fn sent(known: &mut Known, found: &Found, age: Duration) -> Account {
    let Next::Tell(account) = next(known, found, age) else { panic!("no summary is due") };
    known.begin(summary(&account), account.parts.clone());
    assert!(known.tell().is_some());
    known.ended();
    account
}

#[tokio::test(start_paused = true)]
async fn summary_waits_for_all_repositories_and_is_sent_once() {
    let mut known = Known::new();
    assert_eq!(next(&mut known, &found(3, 0..1), Duration::ZERO), Next::Wait(1));
    assert_eq!(next(&mut known, &found(3, 1..2), LONG), Next::Wait(2), "something new has come");
    let account = sent(&mut known, &found(3, 2..3), Duration::ZERO);
    assert_eq!((account.parts.len(), account.is_late), (3, false));
    assert_eq!(next(&mut known, &found(3, 0..1), LONG), Next::Done);
    assert_eq!(known.size(), 0);
}

#[tokio::test(start_paused = true)]
async fn first_result_of_a_repository_counts_and_a_copy_is_no_news() {
    let mut known = Known::new();
    next(&mut known, &found(2, 1..2), Duration::ZERO);
    tokio::time::advance(NO_NEWS).await;
    let mut copy = found(2, 1..2);
    copy.repositories.values_mut().for_each(|part| part.census.add(Coverage::Untag, 5));
    let Next::Tell(account) = next(&mut known, &copy, LONG) else { panic!("a copy was news") };
    assert_eq!(account.parts, found(2, 1..2).repositories);
}

#[tokio::test(start_paused = true)]
async fn result_after_a_partial_summary_is_late_and_a_result_in_it_is_done() {
    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), Duration::ZERO);
    tokio::time::advance(NO_NEWS).await;
    let account = sent(&mut known, &found(4, 0..3), LONG);
    assert_eq!((account.parts.len(), account.is_late), (3, false));
    assert_eq!(next(&mut known, &found(4, 1..2), LONG), Next::Done);
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Wait(1));
    tokio::time::advance(NO_NEWS).await;
    let account = sent(&mut known, &found(4, 3..4), LONG);
    assert_eq!((account.parts.len(), account.is_late), (1, true));
    assert_eq!(next(&mut known, &found(4, 0..4), LONG), Next::Done);
}

#[tokio::test(start_paused = true)]
async fn at_most_half_of_the_repositories_are_no_summary_but_late_results() {
    for (of, numbers, is_late) in [
        (2, 0..1, true),
        (3, 0..1, true),
        (3, 0..2, false),
        (6, 0..3, true),
        (6, 0..4, false),
        (u32::MAX, 0..5, true),
    ] {
        let mut known = Known::new();
        next(&mut known, &found(of, numbers.clone()), LONG);
        tokio::time::advance(NO_NEWS).await;
        let account = sent(&mut known, &found(of, numbers.clone()), LONG);
        assert_eq!(account.is_late, is_late, "{numbers:?} of {of}");
    }
}

#[tokio::test(start_paused = true)]
async fn task_that_knows_of_a_summary_sends_no_other() {
    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), LONG);
    known.was_told(false);
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Wait(4), "all, and it waits");
    tokio::time::advance(NO_NEWS).await;
    assert!(sent(&mut known, &found(4, 0..1), LONG).is_late);

    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), LONG);
    known.was_told(true);
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Done);
}

#[tokio::test(start_paused = true)]
async fn summary_stays_the_same_until_every_topic_has_accepted_it() {
    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), Duration::ZERO);
    tokio::time::advance(NO_NEWS).await;
    let Next::Tell(account) = next(&mut known, &found(4, 0..3), LONG) else {
        panic!("no summary is due")
    };
    known.begin(summary(&account), account.parts.clone());
    known.tell();
    assert_eq!(next(&mut known, &found(4, 0..1), LONG), Next::Wait(3), "it is being sent");
    known.heard(["one".to_owned()].into());
    known.broke_off();
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Wait(4), "not so soon again");
    tokio::time::advance(RETRY).await;
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::TellAgain);
    let (again, heard) = known.tell().unwrap();
    assert_eq!((again.swept, heard.len()), (3, 1), "and without what came meanwhile");
    known.broke_off();
    assert_eq!(next(&mut known, &found(4, 3..4), GIVEN_UP), Next::GiveUp);
    known.tell();
    known.ended();
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Wait(1));
}

#[tokio::test(start_paused = true)]
async fn without_room_nothing_is_added_and_known_results_are_sent() {
    let full = ResultArrival { room: 0, ..ARRIVAL };
    let mut known = Known::new();
    assert_eq!(known.next(&found(9, 0..9), ResultArrival { room: 5, ..ARRIVAL }), Next::Wait(5));
    tokio::time::advance(NO_NEWS).await;
    let Next::Tell(account) = known.next(&found(9, 0..9), full) else {
        panic!("no summary is due")
    };
    assert_eq!((account.parts.len(), account.is_late), (5, false));
    let mut known = Known::new();
    known.next(&found(9, 0..9), full);
    tokio::time::advance(NO_NEWS).await;
    assert_eq!(known.next(&found(9, 0..9), full), Next::NoRoom);
}

#[tokio::test(start_paused = true)]
async fn result_with_no_receives_left_is_sent_on_with_others_and_its_copies_are_done() {
    let mut known = Known::new();
    next(&mut known, &found(9, 0..3), Duration::ZERO);
    let Next::Send(parts) =
        known.next(&found(9, 3..4), ResultArrival { may_wait: false, ..ARRIVAL })
    else {
        panic!("it waits")
    };
    assert_eq!(parts, found(9, 0..4).repositories);
    known.has_sent(parts.into_keys().collect());
    assert_eq!(next(&mut known, &found(9, 0..3), Duration::ZERO), Next::Done);
    assert_eq!(
        next(&mut known, &found(9, 0..4), Duration::ZERO),
        Next::Wait(4),
        "the message itself"
    );
}

#[tokio::test(start_paused = true)]
async fn task_that_began_after_the_sweep_takes_no_copy_of_the_only_result_for_a_summary() {
    let stranger =
        ResultArrival { age: Duration::from_secs(60), may_have_missed_summary: true, ..ARRIVAL };
    let mut known = Known::new();
    assert_eq!(known.next(&found(1, 0..1), stranger), Next::Wait(1));
    known.was_told(true);
    assert_eq!(known.next(&found(1, 0..1), stranger), Next::Done);
    let mut known = Known::new();
    known.next(&found(1, 0..1), stranger);
    tokio::time::advance(NO_NEWS).await;
    let Next::Tell(account) = known.next(&found(1, 0..1), stranger) else {
        panic!("no summary is due")
    };
    assert!(account.is_late);
    let mut known = Known::new();
    known.next(&found(2, 0..1), stranger);
    let Next::Tell(account) = known.next(&found(2, 1..2), stranger) else {
        panic!("no summary is due")
    };
    assert!(!account.is_late, "two results are no copies of one");
}
