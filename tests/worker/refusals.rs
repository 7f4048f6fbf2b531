//! Denied access: what pauses, what waits, and that no good message is dead-lettered.

use std::time::Duration;

use aws_sim::FaultRule;
use serde_json::json;
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{QUEUE, World, basic, critical, in_repository, quarantine};

fn several(world: &World, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let tag = format!("v{number}");
            let digest = world.image(&[&tag], critical());
            world.send(&basic(&digest, &[&tag], &json!({"CRITICAL": 1})));
            digest
        })
        .collect()
}

async fn done(world: &World) {
    world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn refusing_registry_pauses_polling_and_recovers_without_a_restart() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "4");
    let digests = several(&world, 20);
    let app = world.app();
    let test = async {
        world.sim.set_faults(vec![FaultRule::on("DescribeImages").error("AccessDeniedException")]);
        sleep(Duration::from_secs(1800)).await;
        assert_eq!(app.health().ready(), Err("paused: the registry refuses every call"));
        assert_eq!(app.health().live(), Ok(()));
        let received = world.sim.queue(QUEUE).messages;
        assert!(received.iter().all(|message| message.receive_count <= 3), "{received:#?}");
        world.sim.clear_faults();
        done(&world).await;
        assert_eq!(app.health().ready(), Ok(()));
    };

    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!(world.dead_letters(), 0);
    for digest in digests {
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    }
}

#[tokio::test(start_paused = true)]
async fn refusing_repository_delays_only_its_own_messages() {
    let world = World::new();
    let locked = world.sim.create_repository("team/locked");
    let held: Vec<_> = (0..10)
        .map(|number| {
            let tag = format!("v{number}");
            let digest = world.image_in(&locked, &[&tag], critical());
            let event = basic(&digest, &[&tag], &json!({"CRITICAL": 1}));
            world.send(&in_repository(event, "team/locked"));
            digest
        })
        .collect();
    let good = several(&world, 5);
    let denied =
        FaultRule::on("DescribeImages").repository("team/locked").error("AccessDeniedException");
    world.sim.set_faults(vec![denied]);

    world
        .run_while(async {
            world.sim.wait_until(|sim| sim.queue(QUEUE).messages.len() == 10).await;
            for digest in &good {
                assert_eq!(world.tags(digest), [quarantine(digest)]);
            }
            world.sim.clear_faults();
            done(&world).await;
        })
        .await;

    assert_eq!(world.dead_letters(), 0);
    for digest in held {
        assert_eq!(world.sim.tags(&locked, &digest).unwrap(), [quarantine(&digest)]);
    }
}

#[tokio::test(start_paused = true)]
async fn repository_that_refuses_from_the_start_makes_way_for_others() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "4");
    let locked = world.sim.create_repository("team/locked");
    for number in 0..12 {
        let tag = format!("v{number}");
        let digest = world.image_in(&locked, &[&tag], critical());
        let event = basic(&digest, &[&tag], &json!({"CRITICAL": 1}));
        world.send(&in_repository(event, "team/locked"));
    }
    // This message follows all of them, when a refused call holds every permit.
    let good = several(&world, 3);
    let denied =
        FaultRule::on("DescribeImages").repository("team/locked").error("AccessDeniedException");
    world.sim.set_faults(vec![denied]);

    world.run_until(|sim| sim.queue(QUEUE).messages.len() <= 12).await;

    for digest in good {
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    }
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn refusing_topic_keeps_the_lease_until_the_team_is_notified() {
    for code in
        ["AuthorizationError", "NotFound", "ExpiredToken", "KMSAccessDenied", "KMSOptInRequired"]
    {
        let world = World::new();
        let digest = several(&world, 1).remove(0);
        let app = world.app();
        let test = async {
            world.sim.set_faults(vec![FaultRule::on("Publish").error(code)]);
            sleep(Duration::from_secs(1800)).await;
            assert_eq!(app.health().ready(), Err("paused: every topic refuses notices"), "{code}");
            assert_eq!(world.tags(&digest), [quarantine(&digest)]);
            let [message] = &world.sim.queue(QUEUE).messages[..] else { panic!("{code}") };
            assert_eq!(message.receive_count, 1, "{code}: kept by heartbeat");
            world.sim.clear_faults();
            done(&world).await;
            assert_eq!(app.health().ready(), Ok(()), "{code}");
        };

        world.work(&app, &Shutdown::default(), test).await.unwrap();

        assert_eq!(world.notice()["tags"]["untagged"], json!(["v0"]));
        assert_eq!(world.dead_letters(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn refused_topic_key_stops_tag_removals_and_loses_no_notice() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "8");
    let digests = several(&world, 60);
    let app = world.app();
    let test = async {
        world.sim.set_faults(vec![FaultRule::on("Publish").error("KMSAccessDenied")]);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(app.health().ready(), Err("paused: every topic refuses notices"));
        let removals = world.sim.calls_of("BatchDeleteImage").len();
        assert!((1..=8).contains(&removals), "{removals}");
        sleep(Duration::from_secs(1800)).await;
        assert_eq!(world.sim.calls_of("BatchDeleteImage").len(), removals);
        let messages = world.sim.queue(QUEUE).messages;
        assert_eq!(messages.len(), 60);
        assert!(messages.iter().all(|message| message.receive_count <= 1), "{messages:#?}");
        world.sim.clear_faults();
        done(&world).await;
        assert_eq!(app.health().ready(), Ok(()));
    };

    world.work(&app, &Shutdown::default(), test).await.unwrap();

    let notices = world.notices();
    for (number, digest) in digests.iter().enumerate() {
        assert_eq!(world.tags(digest), [quarantine(digest)]);
        let mut of = notices.iter().filter(|notice| notice["image"]["digest"] == **digest);
        let named = of.next().map(|notice| notice["tags"]["untagged"].clone());
        assert_eq!(named, Some(json!([format!("v{number}")])));
    }
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn throttled_key_pauses_nothing() {
    let world = World::new();
    let digest = several(&world, 1).remove(0);
    let app = world.app();
    let test = async {
        world.sim.set_faults(vec![
            FaultRule::on("ReceiveMessage").first(2).error("KmsThrottled"),
            FaultRule::on("PutImage").first(2).error("KmsException ThrottlingException"),
            FaultRule::on("Publish").first(2).error("KMSThrottling"),
        ]);
        while !world.sim.queue(QUEUE).messages.is_empty() {
            assert_ne!(app.health().ready(), Err("paused: every topic refuses notices"));
            assert_ne!(app.health().ready(), Err("paused: the queue refuses access"));
            sleep(Duration::from_millis(100)).await;
        }
    };

    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let put = world.sim.calls_of("PutImage");
    assert!(put.last().unwrap().at < Duration::from_secs(60), "sooner than after a refusal");
    assert_eq!(world.notices().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_repository_key_delays_only_the_messages_of_its_repository() {
    let keyless = [
        FaultRule::on("PutImage").error("KmsException AccessDeniedException"),
        FaultRule::on("PutImage").error("KmsException KMSInvalidStateException"),
        FaultRule::on("PutImage").error("KmsException"),
        FaultRule::on("BatchGetImage").fail_entries("KmsError"),
        FaultRule::on("BatchDeleteImage").fail_entries("KmsError"),
    ];
    for fault in keyless {
        let world = World::new();
        let locked = world.sim.create_repository("team/locked");
        let held = world.image_in(&locked, &["1.0"], critical());
        let event = basic(&held, &["1.0"], &json!({"CRITICAL": 1}));
        world.send(&in_repository(event, "team/locked"));
        let good = several(&world, 5);
        world.sim.set_faults(vec![fault.clone().repository("team/locked")]);
        let test = async {
            sleep(Duration::from_secs(3600)).await;
            for digest in &good {
                assert_eq!(world.tags(digest), [quarantine(digest)], "{fault:?}");
            }
            let [message] = &world.sim.queue(QUEUE).messages[..] else { panic!("{fault:?}") };
            assert!(message.receive_count <= 3, "{fault:?}: {message:?}");
            world.sim.clear_faults();
            done(&world).await;
        };

        world.run_while(test).await;

        assert_eq!(world.sim.tags(&locked, &held).unwrap(), [quarantine(&held)], "{fault:?}");
        assert_eq!(world.dead_letters(), 0, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn refusing_queue_is_retried_until_it_answers() {
    for code in [
        "AccessDeniedException",
        "QueueDoesNotExist",
        "ExpiredTokenException",
        "KmsAccessDenied",
        "KmsInvalidState",
    ] {
        let world = World::new();
        let app = world.app();
        let test = async {
            world.sim.wait_for_calls("ReceiveMessage", 1).await;
            world.sim.set_faults(vec![FaultRule::on("ReceiveMessage").error(code)]);
            sleep(Duration::from_secs(1800)).await;
            assert_eq!(app.health().ready(), Err("paused: the queue refuses access"), "{code}");
            assert_eq!(app.health().live(), Ok(()), "{code}");
            several(&world, 1);
            world.sim.clear_faults();
            done(&world).await;
            assert_eq!(app.health().ready(), Ok(()), "{code}");
        };

        world.work(&app, &Shutdown::default(), test).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn own_expired_credentials_pause_at_once_and_cost_no_receive() {
    let world = World::new();
    several(&world, 3);
    let app = world.app();
    let test = async {
        world.sim.set_faults(vec![FaultRule::on("DescribeImages").error("ExpiredTokenException")]);
        sleep(Duration::from_secs(1800)).await;
        assert_eq!(app.health().ready(), Err("paused: the worker's credentials are refused"));
        for message in world.sim.queue(QUEUE).messages {
            assert_eq!(message.receive_count, 1);
        }
        world.sim.clear_faults();
        done(&world).await;
    };

    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_signal_during_a_pause_releases_the_messages_in_hand() {
    let world = World::new();
    several(&world, 20);
    world
        .run_while(async {
            world.sim.set_faults(vec![FaultRule::on("Publish").error("AuthorizationError")]);
            sleep(Duration::from_secs(600)).await;
        })
        .await;

    let queue = world.sim.queue(QUEUE);
    assert_eq!((queue.visible, queue.in_flight), (20, 0), "visible to others at once");
}

#[tokio::test(start_paused = true)]
async fn definite_refusal_at_the_start_ends_the_worker_and_names_the_remedy() {
    let refusals = [
        // The name that the SDK gives QueueDoesNotExist.
        (
            "GetQueueAttributes",
            "AWS.SimpleQueueService.NonExistentQueue",
            "create the queue or correct queue.url",
        ),
        ("GetQueueAttributes", "AccessDeniedException", "allow the task's role sqs:"),
        ("GetTopicAttributes", "NotFound", "create the topic or correct notify.topic_arn"),
        ("GetTopicAttributes", "AuthorizationError", "allow the task's role sns:"),
        ("GetQueueAttributes", "InvalidClientTokenId", "give the task a role"),
    ];
    for (operation, code, remedy) in refusals {
        let world = World::new();
        let injected = code.replace("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist");
        world.sim.set_faults(vec![FaultRule::on(operation).error(&injected)]);

        let ended = world.app().work(&Shutdown::default()).await;

        let message = ended.unwrap_err().to_string();
        assert!(message.contains(code) && message.contains(remedy), "{message}");
        assert!(world.sim.calls_of("ReceiveMessage").is_empty(), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn start_waits_for_a_service_that_is_only_unreachable() {
    let world = World::new();
    let digest = several(&world, 1).remove(0);
    world.sim.set_faults(vec![
        FaultRule::on("GetQueueAttributes").first(5).hang(),
        FaultRule::on("GetTopicAttributes").first(5).error("InternalError"),
    ]);
    let app = world.app();
    let test = async {
        world.sim.wait_until(|sim| !sim.calls().is_empty()).await;
        assert_eq!(app.health().ready(), Err("starting"));
        done(&world).await;
    };

    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}
