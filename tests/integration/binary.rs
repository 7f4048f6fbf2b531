//! The real binary against the simulated AWS over HTTP: start, work, refusal and stop, as an
//! orchestrator sees them.

use std::process::Output;

use aws_sim::{CallOutcome, FaultRule};
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::process::{Signal, Worker, tagwarden, within_deadline};
use crate::world::{
    ACCOUNT, DEAD_LETTERS, Gate, LOOPBACK, QUEUE, REGION, World, assert_holds, assert_in_order,
    lines, quarantine_tag, silent_port,
};

/// Every metric that exists from the start.
const METRICS: [&str; 17] = [
    "tagwarden_messages_received_total",
    "tagwarden_messages_settled_total",
    "tagwarden_events_total",
    "tagwarden_decisions_total",
    "tagwarden_image_actions_total",
    "tagwarden_notices_total",
    "tagwarden_aws_requests_total",
    "tagwarden_aws_request_duration_seconds",
    "tagwarden_in_flight_messages",
    "tagwarden_lease_extensions_total",
    "tagwarden_leases_lost_total",
    "tagwarden_panics_total",
    "tagwarden_poll_last_success_timestamp_seconds",
    "tagwarden_paused",
    "tagwarden_draining",
    "tagwarden_overreach_total",
    "tagwarden_build_info",
];

/// The histograms without labels. They do not appear before their first sample.
const METRICS_OF_WORK: [&str; 2] =
    ["tagwarden_assessment_duration_seconds", "tagwarden_event_age_seconds"];

/// A worker that waits for ECR's answer to `operation`, until the gate is opened.
async fn held_at(operation: &str) -> (World, Gate, Worker, String) {
    let world = World::new().await;
    let gate = Gate::before(&world).await;
    let world = world.set("AWS_ENDPOINT_URL_ECR", &gate.endpoint);
    let shut = gate.open.clone();
    let rule = FaultRule::on(operation).once().act(move |_| {
        shut.send_replace(false);
    });
    world.sim.set_faults(rule);
    let digest = world.violation(&["1.0", "latest"]);
    let worker = world.worker().await;
    world.called(operation).await;
    (world, gate, worker, digest)
}

/// The only line that a command has printed on standard error.
#[track_caller]
fn complaint(output: &Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors = stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "one error is enough: {stderr}");
    stderr
}

#[tokio::test]
async fn worker_logs_its_address_and_that_it_is_ready() {
    let world = World::new().await;
    let mut worker = Worker::start(&world.variables).await;
    let ready = worker.ready().await;
    assert_eq!((&ready["account"], &ready["region"]), (&json!(ACCOUNT), &json!(REGION)));
    assert_eq!((&ready["mode"], &ready["max_receive_count"]), (&json!("enforce"), &json!(2)));
    assert_eq!(worker.get("/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    assert_eq!(worker.get("/healthz").await, (StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(worker.get("/nothing").await.0, StatusCode::NOT_FOUND);

    let ended = worker.stopped().await;
    assert_in_order(&ended);
    let messages: Vec<_> = ended.log.iter().map(|line| &line["message"]).collect();
    assert_eq!((messages[0], messages[2]), (&json!("listening"), &json!("ready")));
    let few = &ended.log[1];
    assert_eq!((&few["level"], &few["max_receive_count"]), (&json!("WARN"), &json!(2)));
}

#[tokio::test]
async fn every_metric_exists_at_zero_before_the_first_message() {
    let world = World::new().await;
    let worker = world.worker().await;
    let (status, text) = worker.get("/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let missing: Vec<_> =
        METRICS.iter().filter(|name| !text.contains(&format!("# TYPE {name} "))).collect();
    assert!(missing.is_empty(), "{missing:?} are not in\n{text}");
    for sample in [
        "tagwarden_messages_received_total",
        "tagwarden_messages_settled_total{disposition=\"delete\",reason=\"quarantined\"}",
        "tagwarden_messages_settled_total{disposition=\"redrive\",reason=\"malformed\"}",
        "tagwarden_messages_settled_total{disposition=\"release\",reason=\"abandoned\"}",
        "tagwarden_events_total{kind=\"ecr_image_scan\"}",
        "tagwarden_decisions_total{verdict=\"untag\"}",
        "tagwarden_image_actions_total{action=\"untag\",mode=\"enforce\",outcome=\"done\"}",
        "tagwarden_notices_total{outcome=\"failed\"}",
        "tagwarden_lease_extensions_total{result=\"failed\"}",
        "tagwarden_aws_requests_total{operation=\"BatchDeleteImage\",outcome=\"throttled\",service=\"ecr\"}",
        "tagwarden_leases_lost_total",
        "tagwarden_panics_total",
        "tagwarden_in_flight_messages",
        "tagwarden_paused",
        "tagwarden_draining",
        "tagwarden_overreach_total",
    ] {
        assert!(
            text.lines().any(|line| line == format!("{sample} 0")),
            "{sample} not 0 in\n{text}"
        );
    }
    assert!(!text.contains("otel_scope"), "scope labels are off");
}

#[tokio::test]
async fn health_check_asks_the_worker_of_the_same_configuration() {
    let world = World::new().await;
    let worker = world.worker().await;
    let world = world.set("TAGWARDEN__HTTP__LISTEN", worker.address.to_string());
    let healthy = world.output(&["healthcheck"]).await;
    assert_eq!(healthy.status.code(), Some(0), "{healthy:?}");
    assert!(healthy.stdout.is_empty() && healthy.stderr.is_empty(), "{healthy:?}");

    let (_socket, nobody) = silent_port();
    let world = world.set("TAGWARDEN__HTTP__LISTEN", nobody.to_string());
    let complaint = complaint(&world.output(&["healthcheck"]).await, 1);
    assert!(complaint.contains(&format!("http://{nobody}/healthz")), "{complaint}");
}

#[tokio::test]
async fn image_over_the_limit_loses_its_tags_and_the_team_is_notified() {
    let world = World::new().await.set("TAGWARDEN__POLICY__PROTECTED_TAGS", "release-*");
    let mut worker = world.worker().await;
    let digest = world.violation(&["1.0", "latest", "release-7"]);

    let assessed = worker.logged("assessed", |_| true).await;
    let message = &assessed["message_id"];
    let events = world.sim.events();
    let scan = events.iter().find(|event| event["detail-type"] == "ECR Image Scan").unwrap();
    let event = &scan["id"];
    let expected = json!({
        "level": "INFO", "message_id": message, "event_id": event, "event_kind": "ecr_image_scan",
        "account": ACCOUNT, "region": REGION, "repository": "team/app", "digest": digest,
        "outcome": "quarantined", "disposition": "delete", "receive_count": 1,
    });
    assert_holds(&assessed, &expected);
    assert!(message.as_str().is_some_and(|id| !id.is_empty()), "{assessed}");

    assert_eq!(world.tags(&digest), [quarantine_tag(&digest), "release-7".to_owned()]);
    assert_eq!(world.sim.queue(QUEUE).messages, []);
    let notices = world.sim.notices(&world.topic);
    assert_eq!(notices.len(), 1);
    let notice: Value = serde_json::from_str(&notices[0].message).unwrap();
    assert_holds(&notice, &json!({"schema": "tagwarden.notice/1", "action": "quarantined"}));
    assert_holds(&notice["image"], &json!({"repository": "team/app", "digest": digest}));
    assert_holds(
        &notice["tags"],
        &json!({"untagged": ["1.0", "latest"], "kept": ["release-7"], "quarantine": quarantine_tag(&digest)}),
    );
    let settled = "tagwarden_messages_settled_total{disposition=\"delete\",reason=\"quarantined\"}";
    assert_eq!(worker.metric(settled).await, 1.0);
    let untagged =
        "tagwarden_image_actions_total{action=\"untag\",mode=\"enforce\",outcome=\"done\"}";
    assert_eq!(worker.metric(untagged).await, 2.0);
    for histogram in METRICS_OF_WORK {
        assert_eq!(worker.metric(&format!("{histogram}_count")).await, 1.0);
    }

    let ended = worker.stopped().await;
    assert_in_order(&ended);
    assert_eq!(lines(&ended, "assessed").len(), 1, "{:#?}", ended.log);
    let plans = lines(&ended, "plan");
    assert_eq!(plans.len(), 1, "{:#?}", ended.log);
    let expected = json!({
        "target": "tagwarden::audit", "message_id": message, "event_id": event,
        "repository": "team/app", "digest": digest, "mode": "enforce", "rule": "base",
        "untag": "1.0,latest", "kept": "release-7", "quarantine": quarantine_tag(&digest),
    });
    assert_holds(plans[0], &expected);
}

#[tokio::test]
async fn malformed_message_is_dead_lettered_and_its_body_is_not_logged() {
    let world = World::new().await;
    let mut worker = world.worker().await;
    let poison = ["poison-1", r#"["poison-2"]"#, r#"{"detail-type": "poison-3"}"#];
    let ids = poison.map(|body| world.sim.send(QUEUE, body));
    let digest = world.violation(&["1.0"]);

    for id in &ids {
        let line = worker
            .logged("assessed", |line| {
                line["message_id"] == id.as_str() && line["goes_to"] == "the dead-letter queue"
            })
            .await;
        assert_holds(&line, &json!({"level": "ERROR", "outcome": "malformed", "receive_count": 2}));
        assert!(line["body_bytes"].is_u64() && line["why"].is_string(), "{line}");
    }
    let moved = world.sim.wait_until(|sim| sim.queue(DEAD_LETTERS).messages.len() == ids.len());
    within_deadline("the dead letters", moved).await;
    worker.logged("assessed", |line| line["digest"] == digest.as_str()).await;
    world.assert_quarantined(&digest);

    let ended = worker.stopped().await;
    assert_in_order(&ended);
    assert!(ended.log.iter().all(|line| !line.to_string().contains("poison-")), "{:#?}", ended.log);
}

#[tokio::test]
async fn idle_worker_exits_in_order_on_either_signal() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let world = World::new().await;
        let mut worker = world.worker().await;
        worker.signal(signal);
        worker
            .logged("stopping: no new messages; work in hand goes on", |line| {
                line["signal"] == name
            })
            .await;
        assert_in_order(&worker.ended().await);
    }
}

#[tokio::test]
async fn worker_stopped_before_it_is_ready_exits_in_order() {
    let (_socket, address) = silent_port();
    let world = World::at(address);
    let worker = Worker::start(&world.variables).await;
    assert_in_order(&worker.stopped().await);
}

#[tokio::test]
async fn stop_signal_lets_work_in_hand_finish() {
    let (world, gate, mut worker, digest) = held_at("PutImage").await;
    worker.signal(Signal::TERM);
    worker.logged("stopping: no new messages; work in hand goes on", |_| true).await;
    let draining = (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned());
    worker.logged("draining", |line| line["in_flight"] == 1).await;
    assert_eq!(worker.get("/readyz").await, draining);
    assert_eq!(worker.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(worker.metric("tagwarden_draining").await, 1.0);
    assert_eq!(worker.metric("tagwarden_in_flight_messages").await, 1.0);

    gate.open.send_replace(true);
    let ended = worker.ended().await;
    assert_in_order(&ended);
    world.assert_quarantined(&digest);
    assert_eq!(lines(&ended, "assessed")[0]["outcome"], "quarantined");
}

#[tokio::test]
async fn work_that_outlasts_the_grace_period_is_released_at_once() {
    let world = World::new().await.set("TAGWARDEN__SHUTDOWN__GRACE", "4s");
    world.sim.set_faults(FaultRule::on("BatchGetImage").hang());
    let digest = world.violation(&["1.0"]);
    let worker = world.worker().await;
    world.called("BatchGetImage").await;

    let ended = worker.stopped().await;
    assert_in_order(&ended);
    world.assert_released();
    assert_eq!(world.tags(&digest), ["1.0"]);
    let expected = json!({"level": "INFO", "outcome": "abandoned", "disposition": "release"});
    assert_holds(lines(&ended, "assessed")[0], &expected);
}

#[tokio::test]
async fn next_worker_finishes_work_that_was_released_halfway() {
    let world = World::new().await.set("TAGWARDEN__SHUTDOWN__GRACE", "4s");
    world.sim.set_faults(FaultRule::on("BatchDeleteImage").hang());
    let digest = world.violation(&["1.0"]);
    let worker = world.worker().await;
    world.called("BatchDeleteImage").await;
    assert_in_order(&worker.stopped().await);
    world.assert_released();
    assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine_tag(&digest)]);

    world.sim.clear_faults();
    let mut next = world.worker().await;
    next.logged("assessed", |line| line["receive_count"] == 2).await;
    world.assert_quarantined(&digest);
}

#[tokio::test]
async fn second_signal_ends_the_process_at_once() {
    let (world, _gate, mut worker, digest) = held_at("BatchGetImage").await;
    worker.signal(Signal::TERM);
    worker.logged("draining", |_| true).await;
    worker.signal(Signal::INT);

    let ended = worker.ended().await;
    assert_eq!(ended.code, Some(1), "{:#?}", ended.log);
    assert!(ended.stderr.contains("second signal"), "{}", ended.stderr);
    assert_eq!(world.tags(&digest), ["1.0", "latest"]);
    assert_eq!(world.sim.queue(QUEUE).in_flight, 1, "delivered again after its timeout");
}

#[tokio::test]
async fn expired_exception_is_logged_once_at_the_start_and_shown() {
    let exception = |id: &str, expires: &str| {
        format!(
            "[[policy.exceptions]]\nid = \"{id}\"\nreason = \"old\"\nowner = \"security\"\nexpires = {expires}\n"
        )
    };
    let text = exception("CVE-1", "2020-01-01") + &exception("CVE-2", "9000-01-01");
    let world = World::new().await.set("TAGWARDEN_CONFIG_TEXT", text);
    let worker = world.worker().await;

    for (sample, value) in [
        ("tagwarden_exceptions{standing=\"expired\"}", 1.0),
        ("tagwarden_exceptions{standing=\"expiring\"}", 0.0),
        ("tagwarden_exceptions{standing=\"active\"}", 1.0),
        ("tagwarden_exception_matches_total{exception=\"CVE-2\",position=\"1\"}", 0.0),
    ] {
        let shown = worker.metric(sample).await;
        assert!((shown - value).abs() < f64::EPSILON, "{sample} is {shown}");
    }
    worker.signal(Signal::TERM);
    let ended = worker.ended().await;
    let said = lines(&ended, "an exception of the policy has expired and no longer applies");
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!((&said[0]["exception"], &said[0]["owner"]), (&json!("CVE-1"), &json!("security")));
}

#[tokio::test]
async fn killed_worker_loses_nothing() {
    let world = World::new().await;
    world.sim.set_faults(FaultRule::on("BatchDeleteImage").hang());
    let digest = world.violation(&["1.0"]);
    let worker = world.worker().await;
    world.called("BatchDeleteImage").await;
    worker.signal(Signal::KILL);
    assert_eq!(worker.ended().await.code, None);

    world.sim.clear_faults();
    world.receives_are_over().await;
    let message = world.sim.queue(QUEUE).messages[0].id.clone();
    world.sim.make_visible(QUEUE, &message);
    let mut next = world.worker().await;
    next.logged("assessed", |line| line["receive_count"] == 2).await;
    world.assert_quarantined(&digest);
}

#[tokio::test]
async fn unusable_configuration_ends_the_start_and_names_the_key() {
    let world = World::at(silent_port().1);
    let cases = [
        ("TAGWARDEN__QUEUE__URL", "", "queue.url: is missing"),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", "", "notify.topic_arn: is missing"),
        ("TAGWARDEN__POLICY__MODE", "", "policy.mode: is missing"),
        (
            "TAGWARDEN__QUEUE__MAX_INFLIGHT",
            "8",
            "sets no key; did you mean `TAGWARDEN__QUEUE__MAX_IN_FLIGHT`?",
        ),
        ("TAGWARDEN__QUEUE__MAX_IN_FLIGHT", "many", "queue.max_in_flight: is \"many\""),
        ("TAGWARDEN__HTTP__LISTEN", "8080", "http.listen: is \"8080\""),
        ("TAGWARDEN_CONFIG", "/nonexistent/tagwarden.toml", "/nonexistent/tagwarden.toml"),
        ("TAGWARDEN_CONFIG_TEXT", "policy.mode = 7", "policy.mode"),
    ];
    for (name, value, expected) in cases {
        let mut variables = world.variables.clone();
        if value.starts_with("policy.mode") {
            variables.remove("TAGWARDEN__POLICY__MODE");
        }
        if value.is_empty() {
            variables.remove(name);
        } else {
            variables.insert(name.to_owned(), value.to_owned());
        }
        let run = tagwarden(&["run"], &variables).output();
        let output = within_deadline(expected, run).await.unwrap();
        let complaint = complaint(&output, 2);
        assert!(complaint.contains(expected), "{name}={value}: {complaint}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[tokio::test]
async fn two_configuration_files_are_refused() {
    let world = World::at(silent_port().1)
        .set("TAGWARDEN_CONFIG", "/etc/tagwarden.toml")
        .set("TAGWARDEN_CONFIG_TEXT", "policy.mode = 'audit'");
    let output = world.output(&["run"]).await;
    let complaint = complaint(&output, 2);
    assert!(complaint.contains("TAGWARDEN_CONFIG and TAGWARDEN_CONFIG_TEXT"), "{complaint}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[tokio::test]
async fn malformed_command_line_exits_with_2() {
    let world = World::at(silent_port().1);
    for arguments in [&[][..], &["walk"], &["run", "--fast"], &["run", "--config"]] {
        let output = world.output(arguments).await;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?} {output:?}");
    }
}

#[tokio::test]
async fn start_without_a_region_says_so() {
    let world = World::new().await.unset("AWS_REGION");
    let complaint = complaint(&world.output(&["run"]).await, 2);
    assert!(complaint.contains("set AWS_REGION"), "{complaint}");
    assert!(world.sim.calls().is_empty());
}

#[tokio::test]
async fn start_on_a_taken_port_says_so() {
    let taken = TcpListener::bind(LOOPBACK).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let world = World::new().await.set("TAGWARDEN__HTTP__LISTEN", &address);
    let complaint = complaint(&world.output(&["run"]).await, 1);
    assert!(complaint.contains(&address) && complaint.contains("http.listen"), "{complaint}");
}

/// Runs a worker that is refused, and returns its message at the end.
async fn refusal(world: &World) -> String {
    let output = world.output(&["run"]).await;
    let complaint = complaint(&output, 1);
    let log = String::from_utf8_lossy(&output.stdout).into_owned();
    let last: Value = serde_json::from_str(log.lines().last().expect("a log")).expect("JSON");
    assert_holds(&last, &json!({"level": "ERROR", "message": "cannot go on"}));
    assert!(world.sim.calls_of("ReceiveMessage").is_empty(), "nothing is started");
    complaint
}

#[tokio::test]
async fn missing_queue_ends_the_start_and_names_the_remedy() {
    let world = World::new().await;
    world.sim.delete_queue(QUEUE);
    let complaint = refusal(&world).await;
    assert!(complaint.contains("create the queue or correct queue.url"), "{complaint}");
}

#[tokio::test]
async fn missing_topic_ends_the_start_and_names_the_remedy() {
    let world = World::new().await;
    world.sim.delete_topic(&world.topic);
    let complaint = refusal(&world).await;
    assert!(complaint.contains("create the topic or correct notify.topic_arn"), "{complaint}");
}

#[tokio::test]
async fn refused_queue_or_topic_ends_the_start_and_names_the_permissions() {
    for (operation, permission) in
        [("GetQueueAttributes", "sqs:ReceiveMessage"), ("GetTopicAttributes", "sns:Publish")]
    {
        let world = World::new().await;
        world.sim.set_faults(FaultRule::on(operation).error("AccessDenied"));
        let complaint = refusal(&world).await;
        assert!(complaint.contains(permission), "{complaint}");
    }
}

#[tokio::test]
async fn missing_credentials_end_the_start_and_name_the_remedy() {
    let world = World::new().await.unset("AWS_ACCESS_KEY_ID").unset("AWS_SECRET_ACCESS_KEY");
    let complaint = refusal(&world).await;
    assert!(complaint.contains("give the task a role"), "{complaint}");
}

#[tokio::test]
async fn start_waits_for_a_queue_that_is_unreachable_at_first() {
    let (socket, address) = silent_port();
    let mut world = World::at(address);
    let mut worker = Worker::start(&world.variables).await;
    let waiting = worker.logged("not reachable yet", |line| line["what"] == "queue").await;
    assert_holds(&waiting, &json!({"level": "WARN"}));
    let starting = (StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    assert_eq!(worker.get("/readyz").await, starting);
    assert_eq!(worker.get("/healthz").await.0, StatusCode::OK);

    world.serve(socket.listen(16).unwrap()).await;
    worker.ready().await;
    assert_eq!(worker.get("/readyz").await.0, StatusCode::OK);
}

#[tokio::test]
async fn polling_continues_after_failed_receives() {
    let world = World::new().await;
    world.sim.set_faults(FaultRule::on("ReceiveMessage").once().error("AccessDenied"));
    let digest = world.violation(&["1.0"]);
    let mut worker = world.worker().await;
    worker.logged("cannot receive", |line| line["level"] == "WARN").await;
    worker.logged("polling goes on", |_| true).await;
    worker.logged("assessed", |line| line["digest"] == digest.as_str()).await;
    let first = &world.sim.calls_of("ReceiveMessage")[0];
    assert_eq!(first.outcome, CallOutcome::Error("AccessDenied".to_owned()));
    assert_eq!(worker.get("/readyz").await.0, StatusCode::OK);
    world.assert_quarantined(&digest);
}
