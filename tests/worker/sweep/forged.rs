//! The power of somebody who may send to the queue: a sweep's own messages are not signed.

use std::time::Duration;

use serde_json::{Value, json};

use super::{clean, images, others, published, sweep};
use crate::support::{ACCOUNT, QUEUE, REGION, World, settled};

fn result(sweep: &str, detail: &Value) -> Value {
    let mut all = json!({"sweep": sweep, "account": ACCOUNT, "region": REGION});
    all.as_object_mut().unwrap().extend(detail.as_object().unwrap().clone());
    json!({
        "source": "tagwarden", "detail-type": "Sweep Result", "time": "2026-01-01T00:00:00Z", "detail": all,
    })
}

#[tokio::test(start_paused = true)]
async fn forged_summary_mark_with_a_future_time_expires() {
    let world = World::new();
    world.send(&result("s", &json!({"told": u32::MAX})));
    let began = tokio::time::Instant::now();
    world.run_to_the_end().await;
    assert!(began.elapsed() < Duration::from_secs(1800), "{:?}", began.elapsed());
    assert_eq!(published(&world).0, Vec::<Value>::new());
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn results_of_registries_out_of_scope_leave_no_trace() {
    let world = World::new().set("POLICY__REGIONS", REGION);
    let elsewhere =
        json!({"account": "999988887777", "of": 1, "repositories": {"a1": {"untag": 7}}});
    world.send(&result("s", &elsewhere));
    world.send(&result("s", &json!({"region": "us-east-1", "told": 1})));
    let app = world.run_to_the_end().await;
    assert_eq!(published(&world).0, Vec::<Value>::new());
    let settled = settled(&app);
    assert!(
        settled.iter().any(|(what, count)| what.contains("out_of_reach") && *count == 2),
        "{settled:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn results_of_an_unknown_sweep_end_within_hours_and_affect_no_other() {
    let world = World::new();
    others(&world, 2);
    world.image(&["1.0"], clean());
    let forged = json!({"of": 1_000_000, "repositories": {"team/app": {"untag": 1_000_000}}});
    world.send(&result("forged", &forged));
    world.send(&sweep());
    world.run_to_the_end().await;
    let (summaries, _) = published(&world);
    let (late, real): (Vec<_>, Vec<_>) =
        summaries.iter().partition(|summary| summary["adds_to"] == "forged");
    assert_eq!((late.len(), real.len()), (1, 1), "{summaries:#?}");
    assert_eq!(images(real[0]), json!({"clean": 3}));
    assert_eq!(world.sim.queue(QUEUE).messages, []);
    assert_eq!(world.dead_letters(), 0);
}
