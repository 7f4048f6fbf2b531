//! A trace collector that is unreachable or never answers: nothing waits for it.

use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::{LOOPBACK, World, assert_in_order, lines, silent_port};

/// Quarantines an image and stops, with the standard variables set to this collector. The log says
/// that both traces and metrics were lost.
async fn work_and_stop(collector: &str) {
    let mut world = World::new().await.set("TAGWARDEN__SHUTDOWN__GRACE", "4s");
    for signal in ["TRACES", "METRICS", "LOGS"] {
        world = world.set(&format!("OTEL_{signal}_EXPORTER"), "otlp");
    }
    let world = world
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .set("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let mut worker = world.worker().await;
    let digest = world.violation(&["1.0"]);
    worker.logged("assessed", |line| line["outcome"] == "quarantined").await;
    world.assert_quarantined(&digest);
    let ended = worker.stopped().await;
    assert_in_order(&ended);
    let dropped = lines(&ended, "the collector does not accept data; it is dropped");
    let left = lines(&ended, "the collector did not accept the last data in time");
    for what in ["traces", "metrics"] {
        let lost = dropped.iter().chain(&left).any(|line| line["what"] == what);
        assert!(lost, "{what}: {:#?}", ended.log);
    }
}

#[tokio::test]
async fn unreachable_collector_delays_neither_work_nor_exit() {
    let (_socket, nobody) = silent_port();
    work_and_stop(&format!("http://{nobody}")).await;
}

#[tokio::test]
async fn silent_collector_delays_neither_work_nor_exit() {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
    let collector = format!("http://{}", listener.local_addr().expect("an address"));
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    work_and_stop(&collector).await;
}
