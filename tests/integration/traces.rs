//! The real binary beside a real OTLP receiver: its traces and metrics, decoded from the wire.

mod receiver;

use std::collections::BTreeSet;

use aws_sdk_sqs::types::MessageAttributeValue;
use aws_sim::{FaultRule, ScanResult};
use receiver::{Exported, Receiver, Span};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::process::{Signal, Worker, within_deadline};
use crate::world::{LOOPBACK, QUEUE, World, assert_in_order};

/// A world with a receiver, which receives nothing before the worker flushes at its end.
async fn world() -> (World, Receiver) {
    let receiver = Receiver::new().await;
    let world = World::new()
        .await
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.endpoint)
        .set("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .set("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        .set("ECS_CONTAINER_METADATA_URI_V4", format!("{}/v4/id", receiver.endpoint));
    (world, receiver)
}

/// Stops the worker. Returns everything that it exported, and its log line of each message.
async fn exported(worker: Worker, receiver: &Receiver) -> (Exported, Vec<Value>) {
    let ended = worker.stopped().await;
    assert_in_order(&ended);
    let lines = ended.log.into_iter().filter(|line| line["message"] == "assessed").collect();
    (receiver.exported(), lines)
}

async fn assessed(worker: &mut Worker, outcome: &str) -> Value {
    worker.logged("assessed", |line| line["outcome"] == outcome).await
}

#[tokio::test]
async fn work_on_a_message_is_one_trace_from_receive_to_settling() {
    let (world, receiver) = world().await;
    let mut worker = world.worker().await;
    let digest = world.violation(&["1.0"]);
    let line = assessed(&mut worker, "quarantined").await;
    let (exported, _) = exported(worker, &receiver).await;

    let process = exported.one("process tagwarden");
    assert_eq!((process.kind, process.parent.as_str()), ("consumer", ""));
    assert_eq!(line["trace_id"], process.trace);
    assert_eq!(line["span_id"], process.id);
    assert_eq!(line["digest"], digest);
    for (name, value) in [
        ("messaging.system", "aws_sqs"),
        ("messaging.operation.type", "process"),
        ("messaging.operation.name", "process"),
        ("messaging.destination.name", QUEUE),
        ("messaging.message.id", line["message_id"].as_str().expect("an id")),
        ("digest", &digest),
        ("tagwarden.outcome", "quarantined"),
        ("tagwarden.disposition", "delete"),
    ] {
        assert_eq!(process.attribute(name), value, "{name} of {process:#?}");
    }
    let own: Vec<_> = exported.spans.iter().filter(|span| span.trace == process.trace).collect();
    let path = |span: &Span| {
        let mut path = vec![span.name.clone()];
        let mut at = span.parent.clone();
        while let Some(parent) = own.iter().find(|span| span.id == at) {
            path.insert(0, parent.name.clone());
            at.clone_from(&parent.parent);
        }
        path[1..].join(" > ")
    };
    let paths: BTreeSet<_> = own.iter().map(|span| path(span)).collect();
    insta::assert_snapshot!(paths.into_iter().collect::<Vec<_>>().join("\n").trim(), @"
    act
    act > ECR/BatchDeleteImage
    act > ECR/BatchGetImage
    act > ECR/CompleteLayerUpload
    act > ECR/InitiateLayerUpload
    act > ECR/PutImage
    act > ECR/UploadLayerPart
    decide
    decide > ECR/DescribePullThroughCacheRules
    decide > ECR/DescribeRegistry
    observe
    observe > ECR/DescribeImageScanFindings
    observe > ECR/DescribeImages
    observe > decide
    settle
    tell
    tell > SNS/Publish
    ");

    let receive = exported.by_id(&process.links[0]);
    assert_eq!((receive.name.as_str(), receive.kind), ("receive tagwarden", "client"));
    assert_eq!(receive.attribute("messaging.operation.type"), "receive");
    let settle = own.iter().find(|span| span.name == "settle").expect("a settle");
    let batch = exported
        .all("batch DeleteMessageBatch")
        .into_iter()
        .find(|batch| batch.links.contains(&settle.id));
    let delete = exported.one("SQS/DeleteMessageBatch");
    assert_eq!(Some(&delete.parent), batch.map(|batch| &batch.id), "{exported:#?}");
}

#[tokio::test]
async fn empty_receive_is_not_exported() {
    let (world, receiver) = world().await;
    // A receive waits for a third of it.
    let world = world.set("TAGWARDEN__QUEUE__VISIBILITY_TIMEOUT", "3s");
    let worker = world.worker().await;
    let polls = world.sim.wait_until(|sim| sim.calls_of("ReceiveMessage").len() > 2);
    within_deadline("polls", polls).await;
    world.violation(&["1.0"]);
    let empty = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
    within_deadline("the settling", empty).await;
    let (exported, _) = exported(worker, &receiver).await;
    let receive = exported.one("receive tagwarden");
    assert_eq!(receive.value("messaging.batch.message_count"), 1);
    assert_eq!(exported.one("process tagwarden").value("tagwarden.receive_count"), 1);
}

#[tokio::test]
async fn every_call_records_its_operation_request_id_and_result() {
    let (world, receiver) = world().await;
    // The first record of a repository would find it missing, which is a failed call of its own.
    world.sim.upload_empty_blob(&world.repository);
    world.sim.set_faults(FaultRule::on("DescribeImages").once().error("ThrottlingException"));
    let mut worker = world.worker().await;
    world.violation(&["1.0"]);
    assessed(&mut worker, "quarantined").await;
    world.sim.set_faults(FaultRule::on("BatchGetImage").once().error("AccessDeniedException"));
    world.violation(&["2.0"]);
    assessed(&mut worker, "refused").await;
    let (exported, _) = exported(worker, &receiver).await;

    let calls: Vec<_> = exported.spans.iter().filter(|span| span.has("rpc.system")).collect();
    assert!(calls.len() > 8, "{exported:#?}");
    for call in &calls {
        assert_eq!((call.kind, call.attribute("rpc.system").as_str()), ("client", "aws-api"));
        let name = format!("{}/{}", call.attribute("rpc.service"), call.attribute("rpc.method"));
        assert!(call.name == name || name == "SQS/ReceiveMessage", "{call:#?}");
        assert!(call.has("aws.request_id"), "{call:#?}");
    }
    let retried: Vec<_> =
        calls.iter().filter(|call| call.has("http.request.resend_count")).collect();
    assert_eq!(retried.len(), 1, "{retried:#?}");
    assert_eq!(retried[0].name, "ECR/DescribeImages");
    assert_eq!(retried[0].attribute("http.request.resend_count"), "1");
    let failed: Vec<_> = calls.iter().filter(|call| call.has("error.type")).collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(
        (failed[0].name.as_str(), failed[0].attribute("error.type").as_str(), failed[0].failed),
        ("ECR/BatchGetImage", "AccessDeniedException", true)
    );
    let process: Vec<_> = exported.all("process tagwarden");
    let failed: Vec<_> = process.iter().filter(|span| span.failed).collect();
    assert_eq!(failed.len(), 1, "{process:#?}");
    assert_eq!(failed[0].attribute("error.type"), "refused");
}

#[tokio::test]
async fn message_that_carries_a_trace_continues_it() {
    let (world, receiver) = world().await;
    let mut worker = world.worker().await;
    let body = json!({"source": "aws.other", "detail-type": "Other", "detail": {}}).to_string();
    let xray = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";
    let by_xray = world.sim.send_with(QUEUE, &body, &[("AWSTraceHeader", xray)]);
    let value = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .build()
        .expect("an attribute");
    let url = &world.variables["TAGWARDEN__QUEUE__URL"];
    let client = aws_sdk_sqs::Client::new(&world.sim.sdk_config());
    let send = client.send_message().queue_url(url).message_body(&body);
    let sent = send.message_attributes("traceparent", value).send().await.expect("a message");
    let by_w3c = sent.message_id.expect("an id");
    for id in [&by_xray, &by_w3c] {
        worker.logged("assessed", |line| line["message_id"] == **id).await;
    }
    let (exported, _) = exported(worker, &receiver).await;
    for (id, trace, parent) in [
        (by_xray, "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"),
        (by_w3c, "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"),
    ] {
        let process = exported.all("process tagwarden").into_iter();
        let mut process = process.filter(|span| span.attribute("messaging.message.id") == id);
        let process = process.next().expect("its span");
        assert_eq!((process.trace.as_str(), process.parent.as_str()), (trace, parent));
        let receive = exported.by_id(&process.links[0]);
        assert_ne!(receive.trace, process.trace);
    }
}

#[tokio::test]
async fn message_that_shared_a_result_links_to_its_trace() {
    let (world, receiver) = world().await;
    let digest = world.sim.push_image(&world.repository, &["1.0"], "burst");
    world.sim.set_findings(&world.repository, &digest, ScanResult::basic(&[("CRITICAL", 1)]));
    let events = 5;
    for _ in 0..events {
        world.sim.emit_scan_event(&world.repository, &digest);
    }
    let mut worker = world.worker().await;
    assessed(&mut worker, "joined").await;
    let empty = world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty());
    within_deadline("the end of the burst", empty).await;
    let (exported, _) = exported(worker, &receiver).await;
    let all = exported.all("process tagwarden");
    let outcome = |span: &&&Span, outcome: &str| span.attribute("tagwarden.outcome") == outcome;
    let did: Vec<_> = all.iter().filter(|span| outcome(span, "quarantined")).collect();
    assert_eq!((all.len(), did.len()), (events, 1), "{all:#?}");
    for joined in all.iter().filter(|span| outcome(span, "joined")) {
        let links: Vec<_> = joined.links.iter().map(|id| exported.by_id(id)).collect();
        assert!(links.iter().any(|link| link.trace == did[0].trace), "{joined:#?}");
    }
}

#[tokio::test]
async fn task_metadata_and_environment_describe_the_resource() {
    let (world, receiver) = world().await;
    let world = world
        .set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=production")
        .set("OTEL_SERVICE_NAME", "tagwarden-eu");
    let mut worker = world.worker().await;
    world.violation(&["1.0"]);
    assessed(&mut worker, "quarantined").await;
    let (exported, _) = exported(worker, &receiver).await;
    assert!(!exported.spans.is_empty() && !exported.metrics.is_empty(), "{exported:#?}");
    assert_eq!(exported.resources.len(), 1, "traces and metrics have one resource: {exported:#?}");
    let mut resource = exported.resources.into_iter().next().expect("a resource");
    let version = resource.as_object_mut().and_then(|of| of.remove("service.version"));
    assert_eq!(version, Some(json!(env!("CARGO_PKG_VERSION"))));
    insta::assert_json_snapshot!(resource);
}

#[tokio::test]
async fn exported_metrics_equal_the_shown_metrics() {
    let (world, receiver) = world().await;
    let mut worker = world.worker().await;
    world.violation(&["1.0"]);
    assessed(&mut worker, "quarantined").await;
    let (_, shown) = worker.get("/metrics").await;
    let (exported, _) = exported(worker, &receiver).await;
    let shown: BTreeSet<_> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| name.trim_end_matches("_total").trim_end_matches("_seconds").to_owned())
        .collect();
    let names: BTreeSet<_> = exported.metrics.keys().cloned().collect();
    assert_eq!(names, shown);
    let sum = |name: &str, label: (&str, &str)| {
        let points = exported.metrics[name].iter();
        let of = |labels: &Value| labels[label.0] == label.1;
        points.filter(|(labels, _)| of(labels)).map(|(_, value)| value).sum::<f64>()
    };
    assert!((sum("tagwarden_notices", ("outcome", "published")) - 1.0).abs() < f64::EPSILON);
    assert!(
        (sum("tagwarden_messages_settled", ("reason", "quarantined")) - 1.0).abs() < f64::EPSILON
    );
}

#[tokio::test]
async fn every_export_contains_gauges_with_delta_counters_too() {
    let (world, receiver) = world().await;
    let world = world
        .set("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory")
        .set("OTEL_METRIC_EXPORT_INTERVAL", "50");
    let worker = world.worker().await;
    for _ in 0..3 {
        let export = within_deadline("an export", receiver.next_metrics()).await;
        assert!(export.contains(&"tagwarden_ready".to_owned()), "{export:?}");
        assert!(export.contains(&"tagwarden_paused".to_owned()), "{export:?}");
    }
    assert_in_order(&worker.stopped().await);
}

#[tokio::test]
async fn hanging_collector_does_not_delay_a_second_signal() {
    let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
    let collector = format!("http://{}", listener.local_addr().expect("an address"));
    let world = World::new()
        .await
        .set("OTEL_BSP_SCHEDULE_DELAY", "3600000")
        .set("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
        .set("TAGWARDEN__SHUTDOWN__GRACE", "2m");
    for hangs in ["Publish", "nothing"] {
        world.sim.set_faults(FaultRule::on(hangs).hang());
        let mut worker = world.worker().await;
        world.violation(&[hangs]);
        world.called("Publish").await;
        worker.signal(Signal::TERM);
        worker.logged("draining", |_| true).await;
        worker.signal(Signal::TERM);
        let ended = worker.ended().await;
        let waited =
            |line: &&Value| line["message"].as_str().is_some_and(|of| of.contains("collector"));
        assert_eq!(ended.log.iter().filter(waited).count(), 0, "{hangs}: {:#?}", ended.log);
    }
}

#[tokio::test]
async fn refusing_collector_is_logged_once() {
    let (world, receiver) = world().await;
    receiver.refuse();
    let world = world.set("OTEL_BSP_SCHEDULE_DELAY", "10");
    let mut worker = world.worker().await;
    world.violation(&["1.0"]);
    worker
        .logged("the collector does not accept data; it is dropped", |line| {
            line["what"] == "traces"
        })
        .await;
    let ended = worker.stopped().await;
    assert_in_order(&ended);
    let refused =
        |line: &&Value| line["message"] == "the collector does not accept data; it is dropped";
    let mut of: Vec<_> =
        ended.log.iter().filter(refused).map(|line| line["what"].clone()).collect();
    of.sort_by_key(Value::to_string);
    of.dedup();
    assert_eq!(of.len(), ended.log.iter().filter(refused).count(), "{:#?}", ended.log);
    let sdk =
        |line: &&Value| line["target"].as_str().is_some_and(|of| of.starts_with("opentelemetry"));
    assert_eq!(ended.log.iter().filter(sdk).count(), 0, "{:#?}", ended.log);
}

#[tokio::test]
async fn unusable_endpoint_ends_the_start_with_one_line() {
    let world = World::new().await.set("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318");
    let output = world.output(&["run"]).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stderr), @r#"error: OTEL_EXPORTER_OTLP_ENDPOINT is "localhost:4318": give the http:// URL of a collector beside the worker, such as http://localhost:4318"#);
}
