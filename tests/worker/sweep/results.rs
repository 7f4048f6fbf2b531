//! The results of a sweep: gathered, and sent as a summary.

use std::time::Duration;

use aws_sim::{Fault, FaultRule};
use serde_json::{Value, json};

use super::{DAY, clean, images, others, published, summary, sweep};
use crate::support::{ACCOUNT, DEAD_LETTERS, QUEUE, REGION, World, critical, quarantine, settled};

#[tokio::test(start_paused = true)]
async fn sweep_killed_at_any_of_its_calls_converges() {
    let world = World::new();
    let fill = |world: &World| {
        let bad = world.image(&["1.0"], critical());
        world.image(&["2.0"], clean());
        let other = world.sim.create_repository("team/other");
        world.image_in(&other, &["3.0"], clean());
        bad
    };
    fill(&world);
    world.send(&sweep());
    world.run_to_the_end().await;
    let calls = world.sim.calls();
    let mut operations: Vec<_> = calls.iter().map(|call| call.operation.clone()).collect();
    operations.sort();
    operations.dedup();
    for operation in operations {
        let count = calls.iter().filter(|call| call.operation == operation).count();
        for number in 1..=count.min(6) {
            for fault in [Fault::Hang, Fault::HangAfter] {
                let world = World::new();
                let bad = fill(&world);
                world.send(&sweep());
                world.crash_at_call(&operation, number, fault).await;
                world.run_to_the_end().await;
                let what = format!("{operation} {number}");
                assert_eq!(world.tags(&bad), [quarantine(&bad)], "{what}");
                assert_eq!(world.dead_letters(), 0, "{what}");
                let (summaries, notices) = published(&world);
                assert!(!notices.is_empty(), "{what}");
                let whole = json!({"covered": 2, "swept": 2});
                assert!(
                    summaries.iter().any(|one| one["repositories"] == whole),
                    "{what}: {summaries:#?}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn results_received_by_different_tasks_are_summarized_together() {
    let world = World::new();
    others(&world, 6);
    world.send(&sweep());
    let (one, other) = (world.app_as("AKIAONE"), world.app_as("AKIAOTHER"));
    let shutdown = tagwarden::shutdown::Shutdown::default();
    let both = async {
        tokio::select! {
            biased;
            ended = one.work(&shutdown) => panic!("{ended:?}"),
            ended = other.work(&shutdown) => panic!("{ended:?}"),
            () = world.done() => {}
        }
    };
    both.await;
    let (summaries, _) = published(&world);
    let whole = json!({"covered": 7, "swept": 7});
    assert!(summaries.iter().any(|one| one["repositories"] == whole), "{summaries:#?}");
    assert_eq!(world.sim.queue(QUEUE).messages, []);
}

/// A world with this many other repositories beside one that nobody may list.
fn with_one_refused(count: usize) -> World {
    let world = World::new();
    others(&world, count);
    let refused = FaultRule::on("DescribeImages").repository("team/app");
    world.sim.set_faults(refused.error("AccessDeniedException"));
    world
}

#[tokio::test(start_paused = true)]
async fn results_outlive_an_hour_of_refusals_by_one_repository() {
    let world = with_one_refused(5);
    world.send(&sweep());
    let test = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.run_while(test).await;
    let summary = summary(&world);
    assert_eq!(summary["repositories"], json!({"covered": 6, "swept": 6}));
    assert_eq!(images(&summary), json!({"clean": 5}));
    assert_eq!(world.dead_letters(), 0, "no result was used up by waiting");
}

#[tokio::test(start_paused = true)]
async fn results_outlive_an_hour_of_refusals_and_new_tasks() {
    let world = with_one_refused(5);
    world.send(&sweep());
    for _ in 0..12 {
        let five_minutes = tokio::time::sleep(Duration::from_secs(300));
        world.run_while(five_minutes).await;
    }
    world.sim.clear_faults();
    world.run_to_the_end().await;
    let (summaries, _) = published(&world);
    let whole = json!({"covered": 6, "swept": 6});
    assert!(summaries.iter().any(|one| one["repositories"] == whole), "{summaries:#?}");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn repository_that_refuses_for_hours_is_reported_as_missing() {
    let world = with_one_refused(3);
    world.send(&sweep());
    world.run_to_the_end().await;
    let (summaries, _) = published(&world);
    let missing = json!({"covered": 4, "swept": 3});
    assert_eq!(summaries.len(), 1);
    assert_eq!(summaries[0]["repositories"], missing);
    assert_eq!(world.dead_letters(), 1, "the slice that was refused until the end");
}

#[tokio::test(start_paused = true)]
async fn failing_topic_delays_no_other_summary_and_uses_up_no_result() {
    let world =
        World::new().with_topics(&[("good", "format = 'json'"), ("bad", "format = 'json'")]);
    others(&world, 4);
    let arns: Vec<_> = ["good", "bad"]
        .map(|name| format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}"))
        .into_iter()
        .collect();
    let bad = arns[1].clone();
    let refused =
        FaultRule::on("Publish").matching(move |call| call.input["TopicArn"] == bad.as_str());
    world.sim.set_faults(refused.error("AuthorizationErrorException"));
    world.send(&sweep());
    let test = async {
        tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.run_while(test).await;
    for arn in &arns {
        let published = world.notices_of(arn);
        assert_eq!(published.len(), 1, "{arn} {published:#?}");
        assert_eq!(published[0]["repositories"], json!({"covered": 5, "swept": 5}));
    }
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn summary_is_sent_once_although_its_task_ends_and_others_start() {
    let world = World::new();
    others(&world, 8);
    world.send(&sweep());
    world.run_until(|sim| !sim.calls_of("Publish").is_empty()).await;
    world.run_to_the_end().await;
    let summary = summary(&world);
    assert_eq!(summary["repositories"], json!({"covered": 9, "swept": 9}));
}

#[tokio::test(start_paused = true)]
async fn sweep_that_began_long_ago_is_summarized_completely() {
    let world = World::new();
    others(&world, 5);
    world.send(&sweep());
    // No worker runs for a day.
    tokio::time::advance(DAY).await;
    world.run_to_the_end().await;
    assert_eq!(summary(&world)["repositories"], json!({"covered": 6, "swept": 6}));
}

#[tokio::test(start_paused = true)]
async fn result_with_a_future_time_expires() {
    for time in ["2999-01-01T00:00:00Z", "yesterday"] {
        let world = with_one_refused(2);
        let mut order = sweep();
        order["time"] = json!(time);
        world.send(&order);
        world.run_to_the_end().await;
        assert_eq!(published(&world).0.len(), 1, "{time}");
    }
}

/// Somebody moves the messages of the dead-letter queue back.
fn redrive(world: &World) {
    for message in world.sim.queue(DEAD_LETTERS).messages {
        world.sim.send(QUEUE, &message.body);
    }
}

/// The one summary, and the one notice of late results. That notice names the sweep and has another
/// id.
fn summary_and_late(world: &World) -> (Value, Value) {
    let (mut summaries, _) = published(world);
    assert_eq!(summaries.len(), 2, "{summaries:#?}");
    let (late, summary) = (summaries.remove(1), summaries.remove(0));
    assert_eq!((&summary["adds_to"], &late["adds_to"]), (&Value::Null, &summary["sweep"]));
    assert_ne!(summary["id"], late["id"]);
    (summary, late)
}

#[tokio::test(start_paused = true)]
async fn result_after_the_summary_is_notified_as_late_by_any_task() {
    for is_new in [false, true] {
        let world = with_one_refused(3);
        world.image(&["1.0"], critical());
        world.send(&sweep());
        let to_the_end = async {
            world.done().await;
            assert_eq!(world.dead_letters(), 1, "the slice of the refusing repository");
            world.sim.clear_faults();
            redrive(&world);
            if !is_new {
                world.done().await;
            }
        };
        let mut app = world.run_while(to_the_end).await;
        if is_new {
            app = world.run_to_the_end().await;
        }
        let (summary, late) = summary_and_late(&world);
        assert_eq!(summary["repositories"], json!({"covered": 4, "swept": 3}));
        assert_eq!(late["repositories"], json!({"covered": 4, "swept": 1}));
        assert_eq!(images(&late), json!({"untag": 1}));
        let settled = settled(&app);
        assert!(settled.iter().any(|(what, _)| what.contains("late")), "{settled:?}");
    }
}

/// The bodies of the sent results.
fn results(world: &World) -> Vec<String> {
    let calls = world.sim.calls_of("SendMessageBatch").into_iter();
    let entries = calls.flat_map(|call| call.request["Entries"].as_array().unwrap().clone());
    let bodies = entries.map(|entry| entry["MessageBody"].as_str().unwrap().to_owned());
    bodies.filter(|body| body.contains("Sweep Result") && !body.contains("told")).collect()
}

#[tokio::test(start_paused = true)]
async fn changed_result_of_the_only_repository_makes_no_second_summary() {
    let world = World::new();
    world.image(&["1.0"], clean());
    world.send(&sweep());
    world.run_to_the_end().await;
    let result = results(&world).remove(0);
    world.sim.send(QUEUE, &result.replace("\"clean\":1", "\"untag\":7"));
    world.run_to_the_end().await;
    let (summary, late) = summary_and_late(&world);
    assert_eq!((images(&summary), images(&late)), (json!({"clean": 1}), json!({"untag": 7})));
}

#[tokio::test(start_paused = true)]
async fn copies_of_results_make_no_second_summary_in_a_new_task() {
    let world = World::new();
    others(&world, 5);
    world.send(&sweep());
    world.run_to_the_end().await;
    for result in results(&world).iter().take(2) {
        world.sim.send(QUEUE, result);
    }
    world.run_to_the_end().await;
    let (summary, late) = summary_and_late(&world);
    assert_eq!(summary["repositories"], json!({"covered": 6, "swept": 6}));
    assert_eq!(late["repositories"], json!({"covered": 6, "swept": 2}));
    assert_eq!(world.dead_letters(), 0);
}
