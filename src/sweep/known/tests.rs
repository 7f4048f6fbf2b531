use super::*;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::names::{AccountId, Region, RegistryId};
use crate::domain::policy::Mode;

const LONG: Duration = Duration::from_secs(4 * 3600);
const ARRIVAL: Arrival = Arrival { age: LONG, room: 1000, may_wait: true, is_to_a_stranger: false };

fn registry_id() -> RegistryId {
    RegistryId {
        account: AccountId::parse("111122223333").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
    }
}

/// A result of these repositories, of so many.
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
    known.next(found, Arrival { age, ..ARRIVAL })
}

/// Tells what is to be told, and says what that is.
fn told(known: &mut Known, found: &Found, age: Duration) -> Account {
    let Next::Tell(account) = next(known, found, age) else { panic!("it is not to be told") };
    known.begin(summary(&account), account.parts.clone());
    assert!(known.tell().is_some());
    known.ended();
    account
}

#[tokio::test(start_paused = true)]
async fn a_summary_waits_for_all_and_is_told_once() {
    let mut known = Known::new();
    assert_eq!(next(&mut known, &found(3, 0..1), Duration::ZERO), Next::Wait(1));
    assert_eq!(next(&mut known, &found(3, 1..2), LONG), Next::Wait(2), "something new has come");
    let account = told(&mut known, &found(3, 2..3), Duration::ZERO);
    assert_eq!((account.parts.len(), account.is_late), (3, false));
    assert_eq!(next(&mut known, &found(3, 0..1), LONG), Next::Done);
    assert_eq!(known.size(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_first_result_of_a_repository_counts_and_a_copy_is_no_news() {
    let mut known = Known::new();
    next(&mut known, &found(2, 1..2), Duration::ZERO);
    tokio::time::advance(NO_NEWS).await;
    let mut copy = found(2, 1..2);
    copy.repositories.values_mut().for_each(|part| part.census.add(Coverage::Untag, 5));
    let Next::Tell(account) = next(&mut known, &copy, LONG) else { panic!("a copy was news") };
    assert_eq!(account.parts, found(2, 1..2).repositories);
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_summary_of_most_is_told_as_late_and_what_stands_in_it_is_not() {
    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), Duration::ZERO);
    tokio::time::advance(NO_NEWS).await;
    let account = told(&mut known, &found(4, 0..3), LONG);
    assert_eq!((account.parts.len(), account.is_late), (3, false));
    assert_eq!(next(&mut known, &found(4, 1..2), LONG), Next::Done);
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Wait(1));
    tokio::time::advance(NO_NEWS).await;
    let account = told(&mut known, &found(4, 3..4), LONG);
    assert_eq!((account.parts.len(), account.is_late), (1, true));
    assert_eq!(next(&mut known, &found(4, 0..4), LONG), Next::Done);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_not_heard_of_the_summary_takes_no_half_of_it_for_one() {
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
        let account = told(&mut known, &found(of, numbers.clone()), LONG);
        assert_eq!(account.is_late, is_late, "{numbers:?} of {of}");
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_heard_that_a_summary_was_told_tells_no_other() {
    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), LONG);
    known.was_told(false);
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Wait(4), "all, and it waits");
    tokio::time::advance(NO_NEWS).await;
    assert!(told(&mut known, &found(4, 0..1), LONG).is_late);

    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), LONG);
    known.was_told(true);
    assert_eq!(next(&mut known, &found(4, 3..4), LONG), Next::Done);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_stays_the_same_until_all_have_heard_it() {
    let mut known = Known::new();
    next(&mut known, &found(4, 0..3), Duration::ZERO);
    tokio::time::advance(NO_NEWS).await;
    let Next::Tell(account) = next(&mut known, &found(4, 0..3), LONG) else { panic!("not told") };
    known.begin(summary(&account), account.parts.clone());
    known.tell();
    assert_eq!(next(&mut known, &found(4, 0..1), LONG), Next::Wait(3), "somebody tells it");
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
async fn past_its_room_nothing_is_learnt_and_what_is_known_is_told() {
    let full = Arrival { room: 0, ..ARRIVAL };
    let mut known = Known::new();
    assert_eq!(known.next(&found(9, 0..9), Arrival { room: 5, ..ARRIVAL }), Next::Wait(5));
    tokio::time::advance(NO_NEWS).await;
    let Next::Tell(account) = known.next(&found(9, 0..9), full) else { panic!("not told") };
    assert_eq!((account.parts.len(), account.is_late), (5, false));
    let mut known = Known::new();
    known.next(&found(9, 0..9), full);
    tokio::time::advance(NO_NEWS).await;
    assert_eq!(known.next(&found(9, 0..9), full), Next::NoRoom);
}

#[tokio::test(start_paused = true)]
async fn what_came_often_is_sent_on_with_others_and_its_copies_are_done() {
    let mut known = Known::new();
    next(&mut known, &found(9, 0..3), Duration::ZERO);
    let Next::Send(parts) = known.next(&found(9, 3..4), Arrival { may_wait: false, ..ARRIVAL })
    else {
        panic!("it waits")
    };
    assert_eq!(parts, found(9, 0..4).repositories);
    known.has_sent(parts.into_keys().collect());
    assert_eq!(next(&mut known, &found(9, 0..3), Duration::ZERO), Next::Done);
    assert_eq!(next(&mut known, &found(9, 0..4), Duration::ZERO), Next::Wait(4), "itself");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_takes_no_copy_of_the_only_result_for_a_summary() {
    let stranger = Arrival { age: Duration::from_secs(60), is_to_a_stranger: true, ..ARRIVAL };
    let mut known = Known::new();
    assert_eq!(known.next(&found(1, 0..1), stranger), Next::Wait(1));
    known.was_told(true);
    assert_eq!(known.next(&found(1, 0..1), stranger), Next::Done);
    let mut known = Known::new();
    known.next(&found(1, 0..1), stranger);
    tokio::time::advance(NO_NEWS).await;
    let Next::Tell(account) = known.next(&found(1, 0..1), stranger) else { panic!("not told") };
    assert!(account.is_late);
    let mut known = Known::new();
    known.next(&found(2, 0..1), stranger);
    let Next::Tell(account) = known.next(&found(2, 1..2), stranger) else { panic!("not told") };
    assert!(!account.is_late, "two results are no copies of one");
}
