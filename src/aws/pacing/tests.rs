use std::cell::RefCell;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::time::{advance, sleep};

use super::*;
use crate::domain::names::{AccountId, Region};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn pacer() -> Pacer {
    Pacer::new(Operation::DescribeImages)
}

fn registry_id() -> RegistryId {
    let (account, region) = (AccountId::parse("111122223333"), Region::parse("eu-west-1"));
    RegistryId { account: account.unwrap(), region: region.unwrap() }
}

/// A pacer that was throttled at 0 and has this rate.
fn paced(rate: f64) -> Pacer {
    let pace = Pace { rate, first: rate, ..Pace::beginning(rate, ms(0)) };
    Pacer { pace: Some(pace), ..pacer() }
}

fn rate(pacer: &Pacer) -> Option<f64> {
    pacer.rate().map(|rate| (rate * 100.0).round() / 100.0)
}

/// Sends calls without a pause up to this time and returns when each was sent.
fn press(pacer: &mut Pacer, from: Duration, until: Duration) -> Vec<Duration> {
    let (mut now, mut sent) = (from, Vec::new());
    while now < until && pacer.pace.is_some() {
        match pacer.start(now) {
            Ok(()) => sent.push(now),
            Err(at) => now = at,
        }
    }
    sent
}

#[test]
fn no_call_waits_until_aws_throttles() {
    let mut pacer = pacer();
    assert!((0..1000).all(|n| pacer.start_unpaced(ms(n / 10))));
    pacer.throttled(ms(100));
    assert!(!pacer.start_unpaced(ms(5000)));
}

#[test]
fn pace_begins_with_half_the_rate_of_the_last_second() {
    for (sent, of_put_image, of_others) in [(100, 50.0, 50.0), (8, 5.0, 4.0), (1, 5.0, 2.0)] {
        for (operation, expected) in
            [(Operation::PutImage, of_put_image), (Operation::DescribeImages, of_others)]
        {
            let mut pacer = Pacer::new(operation);
            assert!((0..sent).all(|n| pacer.start_unpaced(ms(3000 + n))));
            pacer.throttled(ms(3500));
            assert_eq!(rate(&pacer), Some(expected), "{sent} {operation:?}");
        }
    }
}

#[test]
fn older_calls_count_for_less() {
    for (later, expected) in [(500, 50.0), (1250, 37.5), (1750, 12.5), (2500, 2.0), (9000, 2.0)] {
        let mut pacer = pacer();
        assert!((0..100).all(|_| pacer.start_unpaced(ms(4000))));
        pacer.throttled(ms(4000 + later));
        assert_eq!(rate(&pacer), Some(expected), "{later} ms");
    }
}

#[test]
fn calls_are_evenly_spaced_after_one_second_without_calls() {
    let sent = press(&mut paced(4.0), ms(0), ms(1900));
    assert_eq!(sent, [1000, 1250, 1500, 1750].map(ms));
}

#[test]
fn quiet_second_raises_the_rate_only_if_calls_waited() {
    let mut pacer = paced(10.0);
    press(&mut pacer, ms(0), ms(1000));
    assert_eq!(rate(&pacer), Some(10.0));
    press(&mut pacer, ms(1000), ms(2100));
    assert_eq!(rate(&pacer), Some(11.0));
    for second in 3..60 {
        assert_eq!(pacer.start(ms(second * 1000)), Ok(()));
    }
    assert_eq!(rate(&pacer), Some(12.1), "calls waited only at the beginning of the second");
}

#[test]
fn rate_is_cut_at_most_once_a_second() {
    let mut pacer = paced(10.0);
    for (at, expected) in
        [(900, 10.0), (1100, 7.0), (1200, 7.0), (2000, 7.0), (2100, 4.9), (99_000, 3.43)]
    {
        pacer.throttled(ms(at));
        assert_eq!(rate(&pacer), Some(expected), "{at} ms");
    }
    (100..200).for_each(|second| pacer.throttled(ms(second * 1000)));
    assert_eq!(rate(&pacer), Some(LEAST));
}

#[test]
fn calls_after_a_cut_keep_the_new_spacing() {
    let mut pacer = paced(1.4);
    assert_eq!(pacer.start(ms(1000)), Ok(()));
    pacer.throttled(ms(1100));
    let next = pacer.start(ms(1200)).unwrap_err();
    assert_eq!(next.as_millis(), 1000 + 1020);
    (2..20).for_each(|second| pacer.throttled(ms(second * 1000)));
    assert_eq!(pacer.start(ms(20_000)), Ok(()), "a throttled attempt delays no call");
}

#[test]
fn repeated_attempt_takes_the_place_of_the_next_call() {
    let mut pacer = paced(4.0);
    assert_eq!(pacer.start(ms(1000)), Ok(()));
    pacer.resent(ms(1100));
    assert_eq!(pacer.start(ms(1250)), Err(ms(1500)));
    pacer.resent(ms(1900));
    assert_eq!(pacer.start(ms(1950)), Err(ms(2150)));
}

#[test]
fn pace_ends_at_four_times_its_first_rate_once_nobody_waits() {
    let mut pacer = paced(10.0);
    press(&mut pacer, ms(0), ms(17_000));
    assert!(rate(&pacer).unwrap() > 40.0);
    assert_eq!(pacer.start(ms(17_020)), Ok(()));
    assert!(pacer.pace.is_some(), "others may wait for their turn");
    assert_eq!(pacer.start(ms(17_200)), Ok(()));
    assert!(pacer.start_unpaced(ms(17_200)));
}

#[test]
fn pace_ends_ten_minutes_after_the_last_throttled_attempt() {
    let mut pacer = paced(10.0);
    pacer.throttled(ms(500));
    assert_eq!(pacer.start(ms(600_400)), Ok(()));
    assert!(!pacer.start_unpaced(ms(600_400)));
    assert_eq!(pacer.start(ms(600_600)), Ok(()));
    assert!(pacer.start_unpaced(ms(600_600)));
}

proptest! {
    #[test]
    fn calls_keep_their_spacing_and_every_pace_ends(
        sent in 0..100_u64,
        steps in prop::collection::vec((0..400_u64, 0..12_u8), 0..400),
    ) {
        let mut pacer = pacer();
        let mut now = ms(0);
        for _ in 0..sent {
            prop_assert!(pacer.start_unpaced(now));
        }
        pacer.throttled(now);
        let mut last = None;
        for (wait, event) in steps {
            now += ms(wait);
            match event {
                0 => pacer.throttled(now),
                1 => pacer.resent(now),
                _ => match pacer.start(now) {
                    Ok(()) => {
                        // A pace that has just ended keeps no spacing.
                        let Some(pace) = &pacer.pace else { return Ok(()) };
                        let earliest = last.map_or(SECOND, |last| last + spacing(pace.rate));
                        prop_assert!(now >= earliest, "{now:?}, not before {earliest:?}");
                        last = Some(now);
                    }
                    Err(at) => prop_assert!(at > now, "asked again at {at:?}, it is {now:?}"),
                },
            }
            let rate = pacer.pace.as_ref().unwrap().rate;
            prop_assert!(rate >= LEAST, "{rate}");
        }
        now += QUIET + QUIET;
        prop_assert_eq!(pacer.start(now), Ok(()));
        prop_assert!(pacer.start_unpaced(now));
    }
}

/// A line that has just been throttled: two calls a second.
fn line() -> Line {
    let line = Line::new(Operation::DescribeImages, registry_id());
    assert!(line.is_free());
    line.throttled();
    assert!(!line.is_free());
    line
}

fn rounded(from: Instant) -> u64 {
    u64::try_from(from.elapsed().as_millis()).unwrap() / 50 * 50
}

#[tokio::test(start_paused = true)]
async fn calls_are_sent_in_the_order_in_which_they_came() {
    let (line, began) = (line(), Instant::now());
    let order = RefCell::new(Vec::new());
    let calls = (0..4).map(|number| {
        let (line, order) = (&line, &order);
        async move {
            // The last comes shortly before the line moves on.
            sleep(ms(if number == 3 { 1000 } else { 0 })).await;
            line.turn().await.unwrap();
            order.borrow_mut().push((number, rounded(began)));
        }
    });
    join_all(calls).await;
    assert_eq!(order.into_inner(), [(0, 1000), (1, 1500), (2, 2000), (3, 2450)]);
}

#[tokio::test(start_paused = true)]
async fn abandoned_call_takes_no_place() {
    let (line, began) = (line(), Instant::now());
    let patience = |millis| tokio::time::timeout(ms(millis), line.turn());
    let (first, second, third) = tokio::join!(patience(900), patience(500), patience(1100));
    assert!(first.is_err() && second.is_err());
    third.unwrap().unwrap();
    assert_eq!(rounded(began), 1000);
}

#[tokio::test(start_paused = true)]
async fn call_that_waits_too_long_is_not_sent() {
    let (line, began) = (line(), Instant::now());
    let throttling = async {
        for _ in 0..40 {
            advance(ms(500)).await;
            line.throttled();
        }
        sleep(SECOND).await;
    };
    let calls = join_all((0..30).map(|_| async { (line.turn().await.is_ok(), began.elapsed()) }));
    let (calls, ()) = tokio::join!(calls, throttling);
    let (sent, late): (Vec<_>, Vec<_>) = calls.into_iter().partition(|(sent, _)| *sent);
    assert!((5..15).contains(&sent.len()), "{sent:?}");
    assert!(late.iter().all(|(_, at)| at.as_millis() == LONGEST_WAIT.as_millis()), "{late:?}");
    assert_eq!(sent.len() + late.len(), 30);
}
