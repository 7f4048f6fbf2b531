//! The stop signal: the worker waits for every receive, and releases nothing before the last one
//! has ended. A receive that was left behind would take messages, which nobody gets until their
//! visibility timeout has passed.

use std::time::Duration;

use aws_sim::{Call, CallOutcome, FaultRule, ScanResult, Sim};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;
use tokio::time::{Instant, sleep};

use super::support::{QUEUE, World, basic, critical, quarantine};

const SECOND: Duration = Duration::from_secs(1);

/// The seconds that each receive so far has asked to wait.
fn waits(sim: &Sim) -> Vec<u64> {
    let wait = |call: &Call| call.request["WaitTimeSeconds"].as_u64().unwrap();
    sim.calls_of("ReceiveMessage").iter().map(wait).collect()
}

/// Nothing that the worker left behind takes a message: every receive was answered.
#[track_caller]
fn assert_nothing_is_left_behind(sim: &Sim) {
    let open = |call: &Call| call.outcome == CallOutcome::Unanswered;
    assert!(!sim.calls_of("ReceiveMessage").iter().any(open));
    assert_eq!(sim.abandoned_polls(), 0);
}

/// How often each message on the queue was received. Nobody holds any of them.
#[track_caller]
fn received_and_visible(sim: &Sim) -> Vec<u32> {
    let queue = sim.queue(QUEUE);
    assert_eq!(queue.in_flight, 0, "{queue:#?}");
    queue.messages.iter().map(|message| message.receive_count).collect()
}

/// Stops a worker that has been idle for a while, and calls `meanwhile` three seconds later.
/// Returns the time that the stop took.
async fn stop_idle(world: &World, meanwhile: impl FnOnce()) -> Duration {
    let (app, shutdown) = (world.app(), Shutdown::default());
    let mut began = None;
    let stop = async {
        sleep(70 * SECOND).await;
        assert_eq!(waits(&world.sim).last(), Some(&20));
        shutdown.drain();
        began = Some(Instant::now());
        sleep(3 * SECOND).await;
        meanwhile();
    };
    let (ended, ()) = tokio::join!(app.work(&shutdown), stop);
    ended.unwrap();
    assert_nothing_is_left_behind(&world.sim);
    began.unwrap().elapsed()
}

#[tokio::test(start_paused = true)]
async fn idle_worker_stops_when_its_long_poll_ends() {
    let world = World::new();
    let took = stop_idle(&world, || ()).await;
    assert!(took > 3 * SECOND && took < 20 * SECOND, "{took:?}");
    world.violating(&["1.0"]);
    sleep(20 * SECOND).await;
    assert_eq!(received_and_visible(&world.sim), [0], "nobody takes it");
}

#[tokio::test(start_paused = true)]
async fn message_received_while_an_idle_worker_stops_is_processed() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    let took = stop_idle(&world, || drop(world.send(&event))).await;
    assert!(took < 4 * SECOND, "the receive is over: {took:?}");
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.sim.queue(QUEUE).messages, []);
}

#[tokio::test(start_paused = true)]
async fn message_that_arrives_too_late_is_released() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    // The way to the registry takes all of the time for work.
    world.sim.set_faults(FaultRule::on("DescribeImages").hang());
    stop_idle(&world, || drop(world.send(&event))).await;
    assert_eq!(received_and_visible(&world.sim), [1]);
}

#[tokio::test(start_paused = true)]
async fn receive_during_work_waits_a_second_and_delays_a_stop_no_longer() {
    let world = World::new();
    world.sim.set_faults(FaultRule::on("PutImage").delay(9 * SECOND));
    let digest = world.violating(&["1.0"]);
    let (app, shutdown) = (world.app(), Shutdown::default());
    let mut began = None;
    let test = async {
        world.sim.wait_for_calls("BatchDeleteImage", 1).await;
        began = Some(Instant::now());
    };
    world.work(&app, &shutdown, test).await.unwrap();

    let took = began.unwrap().elapsed();
    assert!(took < SECOND + SECOND / 10, "{took:?}");
    let waits = waits(&world.sim);
    assert_eq!(waits[0], 20, "nothing is in hand");
    assert!(waits.len() >= 9 && waits[1..].iter().all(|wait| *wait == 1), "{waits:?}");
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.sim.queue(QUEUE).messages, []);
    assert_nothing_is_left_behind(&world.sim);
}

#[tokio::test(start_paused = true)]
async fn no_message_is_released_before_the_last_receive_has_ended() {
    const MESSAGES: usize = 12;
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "4");
    world.sim.set_faults(FaultRule::on("DescribeImageScanFindings").delay(5 * SECOND));
    for number in 0..MESSAGES {
        let tag = format!("v{number}");
        let digest = world.image(&[&tag], critical());
        world.send(&basic(&digest, &[&tag], &Value::Null));
    }
    // Two are processed. The others wait for their turn, and the stop signal ends their wait at
    // once.
    let in_hand = world.sim.wait_until(|sim| sim.queue(QUEUE).in_flight == MESSAGES);
    world.run_while(in_hand).await;

    let received = received_and_visible(&world.sim);
    assert!(received.len() > MESSAGES / 2, "{received:?}");
    assert!(received.iter().all(|times| *times == 1), "received again: {received:?}");
    assert_nothing_is_left_behind(&world.sim);
}

#[tokio::test(start_paused = true)]
async fn unanswered_receive_delays_neither_the_exit_nor_the_release_of_messages() {
    let world = World::new();
    world.sim.set_faults(vec![
        FaultRule::on("ReceiveMessage").skip(1).hang(),
        FaultRule::on("PutImage").hang(),
    ]);
    world.violating(&["1.0"]);
    world.run_while(async { drop(world.sim.wait_for_calls("BatchGetImage", 1).await) }).await;
    assert_eq!(received_and_visible(&world.sim), [1]);
}

#[tokio::test(start_paused = true)]
async fn receives_wait_no_longer_than_a_stop_can_spare() {
    for (grace, wait) in [("2s", 1), ("4s", 3), ("10s", 7), ("24s", 19), ("25s", 20), ("2m", 20)] {
        let world = World::new().set("SHUTDOWN__GRACE", grace);
        world.run_while(sleep(60 * SECOND)).await;
        assert!(waits(&world.sim).iter().all(|asked| *asked == wait), "{grace}: {wait}");
        assert_nothing_is_left_behind(&world.sim);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_worker_polls_three_times_a_minute_and_a_busy_one_once_a_second() {
    let world = World::new();
    let mut idle = 0;
    let test = async {
        sleep(3_600 * SECOND).await;
        idle = waits(&world.sim).len();
        assert!(waits(&world.sim).iter().all(|wait| *wait == 20));
        world.sim.set_faults(FaultRule::on("DescribeImages").delay(60 * SECOND));
        world.violating(&["1.0"]);
        sleep(3_600 * SECOND).await;
    };
    world.run_while(test).await;
    assert!(idle <= 180, "{idle}");
    let busy = waits(&world.sim).len() - idle;
    let short = waits(&world.sim).iter().filter(|wait| **wait == 1).count();
    assert!((1..=180 + short).contains(&busy), "{busy}, {short}");
}

#[tokio::test(start_paused = true)]
async fn clean_messages_cost_no_additional_receives() {
    let world = World::new();
    let test = async {
        for number in 0..100 {
            sleep(7 * SECOND).await;
            let tag = format!("v{number}");
            let digest = world.image(&[&tag], ScanResult::basic(&[]));
            world.send(&basic(&digest, &[&tag], &json!({})));
        }
        world.done().await;
        sleep(SECOND).await;
    };
    world.run_while(test).await;
    let waits = waits(&world.sim);
    assert!(waits.iter().all(|wait| *wait == 20), "{waits:?}");
    assert!(waits.len() <= 101, "{}", waits.len());
}
