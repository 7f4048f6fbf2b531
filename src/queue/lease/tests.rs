mod settling;

use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::super::batch;
use super::*;
use crate::aws::Operation;
use crate::telemetry::traces::Delivery;

const VISIBILITY: Duration = Duration::from_secs(60);

/// Steps a lease that was taken at zero through inputs at the given seconds.
fn outputs(steps: &[(u64, Input)]) -> Vec<LeaseOutput> {
    let start = Instant::now();
    let mut lease = Lease::new(start, VISIBILITY);
    steps
        .iter()
        .map(|&(second, input)| lease.step(start + Duration::from_secs(second), input))
        .collect()
}

#[test]
fn heartbeat_is_due_at_half_time_and_extends_from_its_sending() {
    let steps = [(0, Input::Tick), (30, Input::Tick), (34, Input::Extended), (84, Input::Tick)];
    let outputs = outputs(&steps);
    assert!(matches!(outputs[0], LeaseOutput::WaitUntil(_)));
    assert_eq!(outputs[1], LeaseOutput::Extend);
    assert!(
        matches!(outputs[2], LeaseOutput::WaitUntil(_)),
        "sent at 30, so the next is due at 60"
    );
    assert_eq!(outputs[3], LeaseOutput::Extend, "and the lease lasts to 85");
}

#[test]
fn lease_ends_a_margin_before_its_visibility_timeout() {
    assert_eq!(outputs(&[(54, Input::Settle)]), [LeaseOutput::Settle]);
    assert_eq!(outputs(&[(55, Input::Settle)]), [LeaseOutput::Stop]);
    assert_eq!(outputs(&[(55, Input::Tick)]), [LeaseOutput::Stop]);
}

#[test]
fn failed_heartbeat_is_repeated_and_a_rejected_one_ends_the_lease() {
    let again = [(30, Input::Tick), (31, Input::NotExtended), (33, Input::Tick), (34, Input::Tick)];
    assert!(matches!(outputs(&again)[2], LeaseOutput::WaitUntil(_)), "not at once");
    assert_eq!(outputs(&again)[3], LeaseOutput::Extend);
    let gone = [(30, Input::Tick), (31, Input::Gone), (32, Input::Settle)];
    assert_eq!(outputs(&gone)[1..], [LeaseOutput::Stop, LeaseOutput::Stop]);
}

#[test]
fn lease_in_settling_asks_for_nothing() {
    let steps = [(1, Input::Settle), (2, Input::Tick), (40, Input::Tick), (41, Input::Settle)];
    assert_eq!(outputs(&steps)[1..], [LeaseOutput::Stop; 3]);
}

/// The state of a lease as the queue knows it, in seconds from its start, and the last requests of
/// the lease.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// The end of the visibility timeout, by the calls that were acknowledged.
    granted: u64,
    /// When the heartbeat in flight was sent.
    sent: Option<u64>,
    settling: bool,
    stopped: bool,
}

/// Takes every further step from here: each input after each of some pauses. Returns the number of
/// sequences.
fn explore(
    start: Instant,
    lease: &Lease,
    known: Known,
    path: &mut Vec<(u64, Input)>,
    depth: usize,
) -> usize {
    const INPUTS: [Input; 7] = [
        Input::Tick,
        Input::Extended,
        Input::NotExtended,
        Input::Gone,
        Input::Settle,
        Input::NotSettled,
        Input::LetGo,
    ];
    if depth == 0 {
        return 1;
    }
    let mut cases = 0;
    for input in INPUTS {
        for pause in [0, 10, 25] {
            let (mut lease, mut known) = (lease.clone(), known);
            let now = path.last().map_or(0, |last| last.0) + pause;
            path.push((now, input));
            let output = lease.step(start + Duration::from_secs(now), input);
            if let (Input::Extended, Some(sent)) = (input, known.sent)
                && output != LeaseOutput::Stop
            {
                known.granted = sent + 60;
            }
            if matches!(input, Input::Extended | Input::NotExtended | Input::LetGo) {
                known.sent = None;
            }
            known.settling &= !matches!(input, Input::NotSettled | Input::LetGo);
            match output {
                LeaseOutput::Extend | LeaseOutput::Settle => {
                    assert!(!known.stopped, "it was over: {path:?}");
                    assert!(now < known.granted, "others may have it: {path:?}");
                    assert_eq!(known.sent, None, "a heartbeat is under way: {path:?}");
                    assert!(!known.settling, "it is being settled already: {path:?}");
                    known.settling = output == LeaseOutput::Settle;
                    known.sent = (output == LeaseOutput::Extend).then_some(now);
                }
                LeaseOutput::WaitUntil(until) => {
                    let end = start + Duration::from_secs(known.granted);
                    assert!(until < end, "it would oversleep: {path:?}");
                    assert!(!known.stopped, "it was over: {path:?}");
                }
                LeaseOutput::Stop => known.stopped |= !known.settling,
            }
            cases += explore(start, &lease, known, path, depth - 1);
            path.pop();
        }
    }
    cases
}

#[test]
fn every_sequence_settles_at_most_once_inside_the_lease_and_without_a_heartbeat() {
    let start = Instant::now();
    let lease = Lease::new(start, VISIBILITY);
    let known = Known { granted: 60, sent: None, settling: false, stopped: false };
    let cases = explore(start, &lease, known, &mut Vec::new(), 5);
    println!("{cases} sequences of a lease");
    assert_eq!(cases, 21_usize.pow(5));
}

/// How the queue answers a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beat {
    Extends,
    Fails,
    KnowsNone,
    Hangs,
    ExtendsInSilence,
}

/// How the queue answers the first attempt to settle; every further attempt succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settling {
    Done,
    Fails,
    Refused,
    Hangs,
    DoneInSilence,
}

/// The queue's side of one lease: the end of the invisibility and the calls it has seen.
#[derive(Debug)]
struct Granted {
    invisible_until: Instant,
    settled: u32,
    settles: usize,
    beats: usize,
    faults: Vec<String>,
}

/// The timeout of one call.
const CALL: Duration = Duration::from_secs(10);

fn failed(class: ErrorClass) -> AwsError {
    let operation = Operation::ChangeMessageVisibilityBatch;
    AwsError { class, ..AwsError::unexpected(operation, "simulated") }
}

/// Returns a message that is received now.
fn message() -> Message {
    Message {
        id: "one".to_owned(),
        receipt: ReceiptHandle("handle".to_owned()),
        body: String::new(),
        receive_count: 1,
        sent_at: None,
        sender: None,
        leased_from: Instant::now(),
        received_at: Instant::now(),
        delivery: Delivery::default(),
    }
}

/// Works on one message for `work` and settles it; returns what the queue saw.
async fn play(
    instruments: &Instruments,
    work: Duration,
    beats: [Beat; 3],
    settling: Settling,
    delete: bool,
) -> Granted {
    let granted = Arc::new(Mutex::new(Granted {
        invisible_until: Instant::now() + VISIBILITY,
        settled: 0,
        settles: 0,
        beats: 0,
        faults: Vec::new(),
    }));
    let (deletes, delete_entries) = Batcher::new(Operation::DeleteMessageBatch);
    let (changes, change_entries) = Batcher::new(Operation::ChangeMessageVisibilityBatch);
    let seen = Arc::clone(&granted);
    let settle = move || {
        let seen = Arc::clone(&seen);
        async move {
            let first = {
                let mut seen = seen.lock().unwrap();
                seen.settles += 1;
                if Instant::now() >= seen.invisible_until {
                    seen.faults.push("settled outside the lease".to_owned());
                }
                let first = seen.settles == 1;
                if !first || matches!(settling, Settling::Done | Settling::DoneInSilence) {
                    seen.settled += 1;
                }
                first
            };
            match settling {
                Settling::Fails if first => Err(failed(ErrorClass::Unavailable)),
                Settling::Refused if first => Err(failed(ErrorClass::Refused)),
                Settling::Hangs | Settling::DoneInSilence if first => {
                    sleep(CALL).await;
                    Err(failed(ErrorClass::Timeout))
                }
                _ => Ok(()),
            }
        }
    };
    let seen = Arc::clone(&granted);
    let beat = move || {
        let seen = Arc::clone(&seen);
        async move {
            let beat = {
                let mut seen = seen.lock().unwrap();
                let beat = beats.get(seen.beats).copied().unwrap_or(Beat::Extends);
                seen.beats += 1;
                if seen.settled > 0 {
                    seen.faults.push("a heartbeat after the settle".to_owned());
                }
                if Instant::now() >= seen.invisible_until {
                    seen.faults.push("a heartbeat outside the lease".to_owned());
                }
                if matches!(beat, Beat::Extends | Beat::ExtendsInSilence) {
                    seen.invisible_until = Instant::now() + VISIBILITY;
                }
                beat
            };
            match beat {
                Beat::Extends => Ok(()),
                Beat::Fails => Err(failed(ErrorClass::Throttled)),
                Beat::KnowsNone => Err(failed(ErrorClass::Rejected)),
                Beat::Hangs | Beat::ExtendsInSilence => {
                    sleep(CALL).await;
                    Err(failed(ErrorClass::Timeout))
                }
            }
        }
    };
    let settle_visible = settle.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(batch::send_batches(delete_entries, move |entries: Vec<ReceiptHandle>| {
        let settle = settle.clone();
        async move {
            let result = settle().await;
            entries.iter().map(|_| result.clone()).collect()
        }
    }));
    tasks.spawn(batch::send_batches(change_entries, move |entries: Vec<Visibility>| {
        let (beat, settle) = (beat.clone(), settle_visible.clone());
        async move {
            let heartbeat = entries.iter().all(|entry| entry.timeout == VISIBILITY);
            let result = if heartbeat { beat().await } else { settle().await };
            entries.iter().map(|_| result.clone()).collect()
        }
    }));

    let settler = Settler { deletes, changes };
    let mut lease = HeldLease::new(&message(), VISIBILITY, &settler, instruments);
    let settlement = match delete {
        true => Settlement::Delete,
        false => Settlement::Visible(Duration::ZERO),
    };
    let mut result = lease.run(sleep(work)).await.map_err(SettleError::Lost);
    while result.is_ok() {
        result = match lease.settle(settlement).await {
            // The consumer does the same: it keeps the lease and settles again.
            Err(SettleError::Refused(_)) => {
                lease.run(sleep(Duration::from_secs(1))).await.map_err(SettleError::Lost)
            }
            result => {
                let mut granted = granted.lock().unwrap();
                if result.is_ok() && granted.settled == 0 {
                    granted.faults.push("settled by word alone".to_owned());
                }
                break;
            }
        };
    }
    let lost = matches!(result, Err(SettleError::Lost(_)));
    let before = granted.lock().unwrap().beats;
    // No further call may arrive, however long the test waits.
    sleep(VISIBILITY * 3).await;
    let mut granted = std::mem::replace(
        &mut *granted.lock().unwrap(),
        Granted {
            invisible_until: Instant::now(),
            settled: 0,
            settles: 0,
            beats: 0,
            faults: Vec::new(),
        },
    );
    if granted.beats != before {
        granted.faults.push("a heartbeat after the end".to_owned());
    }
    if lost && granted.settled > 0 && settling != Settling::DoneInSilence {
        granted.faults.push("settled, and yet lost".to_owned());
    }
    granted
}

#[tokio::test(start_paused = true)]
async fn queue_sees_one_settle_inside_the_lease_under_every_combination_of_faults() {
    let beats = [Beat::Extends, Beat::Fails, Beat::KnowsNone, Beat::Hangs, Beat::ExtendsInSilence];
    let settlings = [
        Settling::Done,
        Settling::Fails,
        Settling::Refused,
        Settling::Hangs,
        Settling::DoneInSilence,
    ];
    // Before, at and after each instant at which something happens in a lease of a minute.
    let works = [0, 29, 30, 31, 39, 41, 54, 55, 56, 61, 84, 91, 115, 180];
    let instruments = Instruments::new().unwrap();
    let mut cases = 0;
    for work in works.map(Duration::from_secs) {
        for first in beats {
            for second in beats {
                for third in beats {
                    for settling in settlings {
                        for delete in [true, false] {
                            let granted =
                                play(&instruments, work, [first, second, third], settling, delete)
                                    .await;
                            let case = (work, [first, second, third], settling, delete);
                            assert!(granted.faults.is_empty(), "{case:?}: {granted:?}");
                            let all_extend = [first, second, third] == [Beat::Extends; 3];
                            assert!(!all_extend || granted.settled >= 1, "{case:?}: {granted:?}");
                            assert!(
                                granted.settled <= 1 || settling == Settling::DoneInSilence,
                                "{case:?}: {granted:?}"
                            );
                            assert!(work <= VISIBILITY / 2 || granted.beats >= 1, "{case:?}");
                            cases += 1;
                        }
                    }
                }
            }
        }
    }
    println!("{cases} courses of a lease");
}
