//! Messages that are not settled by their first attempt.

use std::time::Duration;

use aws_sim::{FaultRule, ScanResult};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;

use super::support::{DEAD_LETTERS, Log, QUEUE, World, basic, critical, enhanced, quarantine};

fn violating(world: &World) -> String {
    let digest = world.image(&["1.0", "latest"], critical());
    world.send(&basic(&digest, &["1.0", "latest"], &json!({"CRITICAL": 1})));
    digest
}

#[tokio::test(start_paused = true)]
async fn temporary_aws_errors_are_retried_until_success() {
    let operations = [
        "DescribeImages",
        "DescribeImageScanFindings",
        "BatchGetImage",
        "PutImage",
        "BatchDeleteImage",
        "Publish",
    ];
    type Plant = fn(FaultRule) -> FaultRule;
    let faults: [(&str, Plant); 6] = [
        ("throttled", |rule| rule.error("ThrottlingException")),
        ("5xx", |rule| rule.error("ServerException")),
        ("5xx after effect", |rule| rule.error_after("ServerException")),
        ("hang", FaultRule::hang),
        ("reset", FaultRule::reset),
        ("reset after effect", FaultRule::reset_after),
    ];
    for operation in operations {
        for (name, fault) in faults {
            let world = World::new();
            let digest = violating(&world);
            // The SDK retries less often than this, so the message has to be delivered again.
            world.sim.set_faults(vec![fault(FaultRule::on(operation).first(4))]);

            world.run_to_the_end().await;

            let case = format!("{operation} {name}");
            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{case}");
            assert_eq!(world.dead_letters(), 0, "{case}");
            let notices = world.notices();
            let ids: Vec<_> = notices.iter().map(|notice| &notice["id"]).collect();
            assert!(!ids.is_empty() && ids.iter().all(|id| *id == ids[0]), "{case}: {ids:?}");
            let notified = |list: &str| {
                notices.iter().any(|notice| notice["tags"][list] == json!(["1.0", "latest"]))
            };
            assert!(notified("untagged") || notified("claimed"), "{case}: {notices:#?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_aws_rejects_ends_in_the_dead_letter_queue() {
    let world = World::new();
    let digest = violating(&world);
    world.sim.set_faults(vec![FaultRule::on("PutImage").error("InvalidParameterException")]);

    world.run_until(|sim| sim.queue(DEAD_LETTERS).messages.len() == 1).await;

    assert_eq!(world.tags(&digest), ["1.0", "latest"]);
    assert_eq!(world.sim.calls_of("PutImage").len(), 4, "once for each permitted receive");
}

#[tokio::test(start_paused = true)]
async fn malformed_message_ends_in_the_dead_letter_queue_unchanged() {
    let deep = "[".repeat(200_000);
    let large = "x".repeat(1 << 20);
    let mut control = basic("", &["1.0"], &json!({"CRITICAL": 1}));
    control["detail"]["repository-name"] = json!("team/\u{7}app");
    let control = control.to_string();
    let bodies = ["not json", "[]", "{}", r#"{"source": 1}"#, &deep, &large, &control];
    let world = World::new();
    for body in bodies {
        world.sim.send(QUEUE, body);
    }
    let digest = violating(&world);

    let app = world
        .run_until(|sim| {
            sim.queue(QUEUE).messages.is_empty() && sim.queue(DEAD_LETTERS).messages.len() == 7
        })
        .await;

    let mut left: Vec<_> =
        world.sim.queue(DEAD_LETTERS).messages.into_iter().map(|message| message.body).collect();
    left.sort();
    let mut sent = bodies.map(str::to_owned);
    sent.sort();
    assert_eq!(left, sent);
    assert_eq!(world.tags(&digest), [quarantine(&digest)], "good messages are not delayed");
    let metrics = app.instruments().render().unwrap();
    let line = r#"tagwarden_messages_settled_total{disposition="redrive",reason="malformed"} 28"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn other_events_are_deleted_and_counted_as_ignored() {
    let world = World::new();
    world.send(
        &json!({"source": "aws.ec2", "detail-type": "EC2 Instance State-change Notification"}),
    );
    world.send(&json!({
        "source": "aws.inspector2", "detail-type": "Inspector2 Scan",
        "resources": ["i-0123456789abcdef0"],
        "detail": {"scan-status": "INITIAL_SCAN_COMPLETE", "instance-id": "i-0123456789abcdef0"},
    }));

    let app = world.run_to_the_end().await;

    let metrics = app.instruments().render().unwrap();
    let line = r#"tagwarden_messages_settled_total{disposition="delete",reason="ignored"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn late_findings_are_waited_for() {
    let pending = [
        ScanResult::status("PENDING"),
        ScanResult::status("IN_PROGRESS"),
        ScanResult::enhanced(&[("LOW", 1)]),
    ];
    for early in pending {
        let world = World::new();
        let digest = world.image(&["1.0"], early);
        let counts = json!({"CRITICAL": 1, "HIGH": 0, "MEDIUM": 0, "TOTAL": 1});
        world.send(&enhanced(&world.repository, &digest, &["1.0"], &counts));

        world
            .run_while(async {
                world.sim.wait_for_calls("DescribeImageScanFindings", 2).await;
                assert!(world.changes().is_empty());
                let late = ScanResult::enhanced(&[("CRITICAL", 1)]);
                world.sim.set_findings(&world.repository, &digest, late);
                world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty()).await;
            })
            .await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        assert_eq!(world.notice()["action"], "quarantined");
    }
}

#[tokio::test(start_paused = true)]
async fn findings_that_never_come_are_notified_and_not_dead_lettered() {
    let world = World::new();
    // Pushed, but never scanned: ScanNotFoundException.
    let digest = world.sim.push_image(&world.repository, &["1.0"], "never scanned");
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    let notice = world.notice();
    assert_eq!(notice["action"], "unscanned");
    assert_eq!(notice["reasons"], json!(["ECR has not scanned the image"]));
    assert_eq!(world.dead_letters(), 0);
    let looks = world.sim.calls_of("DescribeImageScanFindings");
    assert!(looks.last().unwrap().at >= Duration::from_secs(1800));
}

#[tokio::test(start_paused = true)]
async fn partial_removal_is_notified_and_the_other_tags_are_retried() {
    let world = World::new();
    let digest = violating(&world);
    let kms = FaultRule::on("BatchDeleteImage")
        .once()
        .fail_entries_where("KmsError", |id| id["imageTag"] == "latest");
    world.sim.set_faults(vec![kms]);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let notices = world.notices();
    assert_eq!(notices.len(), 2);
    assert_eq!(notices[0]["tags"]["untagged"], json!(["1.0"]));
    assert_eq!(notices[0]["tags"]["kept"], json!(["latest"]));
    assert_eq!(notices[1]["tags"]["untagged"], json!(["latest"]));
    assert_eq!(notices[1]["tags"]["claimed"], json!(["1.0"]));
    assert_eq!(notices[0]["id"], notices[1]["id"]);
}

#[tokio::test(start_paused = true)]
async fn tags_missing_from_the_answer_are_inspected_again() {
    let world = World::new();
    let digest = violating(&world);
    let silent = FaultRule::on("BatchDeleteImage").once().replace(|reply| {
        reply["imageIds"] = json!([]);
    });
    world.sim.set_faults(vec![silent]);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["tags"]["untagged"], json!(["1.0", "latest"]));
}

#[tokio::test(start_paused = true)]
async fn panic_costs_one_attempt_and_nothing_else() {
    let world = World::new();
    let digest = violating(&world);
    let panics = FaultRule::on("DescribeImages").once().replace(|_| panic!("planted"));
    world.sim.set_faults(vec![panics]);

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains("tagwarden_panics_total 1"), "{metrics}");
    assert!(metrics.contains("tagwarden_in_flight_messages 0"), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn line_of_an_event_without_a_digest_names_the_image_whose_assessment_broke_off() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let mut event = basic(&digest, &["1.0"], &Value::Null);
    event["detail"].as_object_mut().unwrap().remove("image-digest");
    world.send(&event);
    let panics = FaultRule::on("DescribeImageScanFindings").once().replace(|_| panic!("planted"));
    world.sim.set_faults(vec![panics]);
    let (log, _guard) = Log::of_this_thread();

    world.run_to_the_end().await;

    let lines = log.lines();
    let broke_off: Vec<_> = lines.iter().filter(|line| line["outcome"] == "panicked").collect();
    let [line] = broke_off[..] else { panic!("{lines:#?}") };
    assert_eq!(line["digest"], digest, "{line}");
}

#[tokio::test(start_paused = true)]
async fn redelivery_of_a_finished_message_repeats_the_notice_id() {
    let world = World::new();
    let digest = violating(&world);
    // The first process removes the tags and dies before the notice. The second finds the mark.
    world.sim.set_faults(vec![FaultRule::on("Publish").first(3).hang()]);
    let (first, shutdown) = (world.app(), Shutdown::default());
    tokio::select! {
        ended = first.work(&shutdown) => panic!("{ended:?}"),
        () = world.sim.wait_until(|sim| {
            sim.calls().iter().any(|call| call.operation == "Publish")
        }) => {}
    }
    drop(first);
    world.sim.clear_faults();
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);

    world.run_to_the_end().await;

    let notice = world.notice();
    assert_eq!(notice["action"], "quarantined");
    assert_eq!(notice["tags"]["claimed"], json!(["1.0", "latest"]));
    assert_eq!(notice["tags"]["untagged"], json!([]));
}
