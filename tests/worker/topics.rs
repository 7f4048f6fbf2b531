//! Several topics: each gets its own notices in its own format, and a failing topic does not stop
//! the others.

use std::time::Duration;

use aws_sim::{FaultRule, ScanResult};
use serde_json::{Value, json};
use tagwarden::app::RunError;
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{ACCOUNT, QUEUE, REGION, World, basic, critical, in_repository, quarantine};

const HOUR: Duration = Duration::from_secs(3600);

fn arn(name: &str) -> String {
    format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}")
}

/// Two topics that accept everything.
fn two() -> World {
    World::new().with_topics(&[("good", ""), ("bad", "")])
}

/// Every publish to a topic fails with this error.
fn failing(name: &str, code: &str) -> FaultRule {
    let arn = arn(name);
    let to_it = FaultRule::on("Publish").matching(move |call| call.input["TopicArn"] == json!(arn));
    to_it.error(code)
}

/// The actions of the notices that a topic received.
fn actions_of(world: &World, name: &str) -> Vec<Value> {
    let notices = world.notices_of(&arn(name)).into_iter();
    notices.map(|notice| notice["action"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn every_format_names_the_contact() {
    let world =
        World::new().set("NOTIFY__CONTACT", "#security, or security@example.com").with_topics(&[
            ("people", "format = \"text\""),
            ("all", "format = \"json\""),
            ("chat", "format = \"chat\""),
        ]);
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    let message = |name: &str| world.sim.notices(&arn(name)).remove(0).message;
    assert!(message("people").contains("\nAsk: #security, or security@example.com\n"));
    assert_eq!(world.notices_of(&arn("all"))[0]["contact"], "#security, or security@example.com");
    assert!(message("chat").contains("*Ask:* #security, or security@example.com"));
}

#[tokio::test(start_paused = true)]
async fn each_topic_gets_its_chosen_notices_in_its_own_format() {
    let world = World::configured("policy.protected_tags = [\"prod\"]").with_topics(&[
        ("all", "format = \"json\""),
        ("people", "format = \"text\"\nactions = [\"quarantined\", \"deleted\"]"),
        ("chat", "format = \"chat\"\nrepositories = [\"legacy/*\", \"old\"]"),
        ("alarms", "actions = [\"blocked\"]\nrepositories = [\"team/*\"]"),
    ]);
    let legacy = world.sim.create_repository("legacy/app");
    for repository in [&legacy, &world.repository] {
        for tag in ["1.0", "prod"] {
            let digest = world.image_in(repository, &[tag], critical());
            let event = basic(&digest, &[tag], &json!({"CRITICAL": 1}));
            world.send(&in_repository(event, &repository.name));
        }
    }

    world.run_to_the_end().await;

    let got = |name: &str| {
        let notices = world.sim.notices(&arn(name)).into_iter();
        let mut got: Vec<_> = notices
            .map(|notice| {
                let attribute = |key: &str| notice.attributes[key].clone();
                format!("{} {}", attribute("repository"), attribute("action"))
            })
            .collect();
        got.sort();
        got
    };
    let [legacy_blocked, legacy_done] = ["legacy/app blocked", "legacy/app quarantined"];
    let [team_blocked, team_done] = ["team/app blocked", "team/app quarantined"];
    assert_eq!(got("all"), [legacy_blocked, legacy_done, team_blocked, team_done]);
    assert_eq!(got("people"), [legacy_done, team_done]);
    assert_eq!(got("chat"), [legacy_blocked, legacy_done]);
    assert_eq!(got("alarms"), [team_blocked]);
    let message = |name: &str| world.sim.notices(&arn(name)).remove(0).message;
    let parsed = |name: &str| serde_json::from_str::<Value>(&message(name)).ok();
    assert_eq!(parsed("all").unwrap()["schema"], "tagwarden.notice/1");
    assert_eq!(parsed("people"), None);
    let people = message("people");
    assert!(people.contains("/app:1.0 was quarantined: tagwarden removed the tag, "), "{people}");
    assert_eq!(parsed("chat").unwrap()["source"], "custom");
    assert_eq!(parsed("alarms").unwrap()["action"], "blocked", "the format of notify.format");
}

#[tokio::test(start_paused = true)]
async fn notice_that_no_topic_accepts_settles_its_message() {
    for (keys, mode) in [
        ("actions = [\"failed\"]", "enforce"),
        ("repositories = [\"other/*\"]", "enforce"),
        ("actions = [\"quarantined\"]", "audit"),
    ] {
        let world = World::new().with_topics(&[("picky", keys)]).set("POLICY__MODE", mode);
        let digest = world.violating(&["1.0"]);

        world.run_to_the_end().await;

        assert!(world.sim.calls_of("Publish").is_empty(), "{keys}");
        assert_eq!(world.tags(&digest) == [quarantine(&digest)], mode == "enforce");
        assert_eq!(world.dead_letters(), 0);
    }
}

/// The possible faults of one topic, and whether the topic is gone.
fn troubles() -> [(&'static str, Option<FaultRule>); 5] {
    [
        ("deleted", None),
        ("denied", Some(failing("bad", "AuthorizationError"))),
        ("throttled", Some(failing("bad", "Throttled"))),
        ("broken", Some(failing("bad", "InternalError"))),
        ("rejecting", Some(failing("bad", "InvalidParameter"))),
    ]
}

#[tokio::test(start_paused = true)]
async fn failing_topic_is_notified_when_it_recovers_and_the_others_at_once() {
    for (trouble, fault) in troubles() {
        let world = two();
        let app = world.app();
        let test = async {
            world.sim.wait_for_calls("ReceiveMessage", 1).await;
            match fault {
                Some(fault) => world.sim.set_faults(fault),
                None => world.sim.delete_topic(&arn("bad")),
            }
            let first = world.violating(&["1.0"]);
            world.sim.wait_until(|_| !actions_of(&world, "good").is_empty()).await;
            assert_eq!(world.tags(&first), [quarantine(&first)], "{trouble}");
            // Polling continues meanwhile.
            let second = world.violating(&["2.0"]);
            sleep(Duration::from_secs(4)).await;
            assert_eq!(world.tags(&second), [quarantine(&second)], "{trouble}");
            assert_eq!(app.health().ready(), Ok(()), "{trouble}");
            let waiting = world.sim.queue(QUEUE).messages;
            assert_eq!(
                waiting.len(),
                2,
                "{trouble}: neither is settled before all topics are notified"
            );
            world.sim.create_topic("bad");
            world.sim.clear_faults();
            world.done().await;
        };

        world.work(&app, &Shutdown::default(), test).await.unwrap();

        assert_eq!(
            actions_of(&world, "good"),
            ["quarantined", "quarantined"],
            "{trouble}: once each"
        );
        assert_eq!(actions_of(&world, "bad"), ["quarantined", "quarantined"], "{trouble}");
        let tags = |name: &str| {
            let notices = world.notices_of(&arn(name)).into_iter();
            let mut tags: Vec<_> = notices
                .map(|notice| {
                    let list = |key: &str| notice["tags"][key].as_array().unwrap().clone();
                    [list("untagged"), list("claimed")].concat()
                })
                .collect();
            tags.sort_by_key(|tags| tags[0].to_string());
            tags
        };
        assert_eq!(tags("bad"), tags("good"), "{trouble}");
        assert_eq!(tags("bad"), [[json!("1.0")], [json!("2.0")]], "{trouble}");
        assert_eq!(world.dead_letters(), 0, "{trouble}");
    }
}

#[tokio::test(start_paused = true)]
async fn notice_without_a_change_is_sent_once_to_each_topic_too() {
    let scans = [("blocked", critical()), ("unscanned", ScanResult::status("FAILED"))];
    for (action, scan) in scans {
        let world = two().set("POLICY__PROTECTED_TAGS", "1.0");
        let digest = world.image(&["1.0"], scan);
        world.sim.set_faults(failing("bad", "AuthorizationError"));
        world.scanned(&digest);
        let test = async {
            sleep(Duration::from_secs(200)).await;
            assert!(world.sim.queue(QUEUE).messages[0].receive_count >= 2);
            world.sim.clear_faults();
            world.done().await;
        };
        world.run_while(test).await;
        assert_eq!(actions_of(&world, "good"), [action]);
        assert_eq!(actions_of(&world, "bad"), [action]);
    }
}

#[tokio::test(start_paused = true)]
async fn message_waits_longer_after_each_refusal_of_its_topic() {
    let world = two();
    let app = world.app();
    let test = async {
        world.sim.set_faults(failing("bad", "AuthorizationError"));
        world.violating(&["1.0"]);
        sleep(HOUR * 2).await;
        assert_eq!(app.health().ready(), Ok(()));
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();

    let calls = world.sim.calls_of("Publish");
    let to_bad = calls.iter().filter(|call| call.request["TopicArn"] == json!(arn("bad")));
    let at: Vec<_> = to_bad.map(|call| call.at.as_secs()).collect();
    let waits: Vec<_> = at.windows(2).map(|two| two[1] - two[0]).collect();
    // The longest wait follows the third receive, because the fourth is the last.
    let [first, second, ..] = waits[..] else { panic!("{waits:?}") };
    assert!((30..=61).contains(&first) && (150..=301).contains(&second), "{waits:?}");
    assert!(waits.len() <= 3, "{waits:?}");
    assert_eq!(world.dead_letters(), 0);
    assert_eq!(actions_of(&world, "good"), ["quarantined"]);
}

#[tokio::test(start_paused = true)]
async fn refusing_topic_is_notified_later_of_an_event_without_a_digest() {
    let world = two();
    world.sim.set_faults(failing("bad", "AuthorizationError"));
    let digest = world.image(&["1.0"], critical());
    let mut event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    event["detail"].as_object_mut().unwrap().remove("image-digest");
    world.send(&event);
    let test = async {
        world.sim.wait_until(|sim| sim.calls_of("Publish").len() >= 2).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.run_while(test).await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(actions_of(&world, "bad"), ["quarantined"]);
}

#[tokio::test(start_paused = true)]
async fn polling_pauses_while_every_topic_refuses() {
    let world = two();
    let app = world.app();
    let test = async {
        world.sim.wait_for_calls("ReceiveMessage", 1).await;
        let both = ["good", "bad"].map(|name| failing(name, "AuthorizationError"));
        world.sim.set_faults(both.to_vec());
        let first = world.violating(&["1.0"]);
        sleep(HOUR).await;
        assert_eq!(app.health().ready(), Err("paused: every topic refuses notices"));
        assert_eq!(app.health().live(), Ok(()));
        assert_eq!(world.tags(&first), [quarantine(&first)]);
        let second = world.violating(&["2.0"]);
        sleep(HOUR).await;
        assert_eq!(world.tags(&second), ["2.0"], "no further message is received");
        let counts: Vec<_> =
            world.sim.queue(QUEUE).messages.iter().map(|message| message.receive_count).collect();
        assert_eq!(counts, [1, 0], "kept by heartbeat");

        world.sim.set_faults(failing("bad", "AuthorizationError"));
        sleep(Duration::from_secs(60)).await;
        assert_eq!(app.health().ready(), Ok(()), "one is enough");
        assert_eq!(world.tags(&second), [quarantine(&second)]);
        assert_eq!(actions_of(&world, "good").len(), 2);
        world.sim.clear_faults();
        world.done().await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
    assert_eq!((actions_of(&world, "good").len(), actions_of(&world, "bad").len()), (2, 2));
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn notice_that_no_topic_accepts_does_not_end_the_pause() {
    let world = World::new().with_topics(&[("good", "repositories = [\"team/app\"]")]);
    let other = world.sim.create_repository("team/other");
    let app = world.app();
    let test = async {
        world.sim.wait_for_calls("ReceiveMessage", 1).await;
        // In hand before the pause, and slow.
        let slow = FaultRule::on("DescribeImages").repository("team/other");
        let slow = slow.once().delay(Duration::from_secs(2));
        world.sim.set_faults(vec![failing("good", "AuthorizationError"), slow]);
        let digest = world.image_in(&other, &["1.0"], critical());
        let event = basic(&digest, &[], &json!({"CRITICAL": 1}));
        world.send(&in_repository(event, "team/other"));
        world.sim.wait_until(|sim| sim.queue(QUEUE).in_flight == 1).await;
        world.violating(&["1.0"]);
        world.sim.wait_for_calls("Publish", 1).await;
        world.sim.wait_until(|sim| sim.queue(QUEUE).messages.len() == 1).await;
        assert_eq!(app.health().ready(), Err("paused: every topic refuses notices"));
        world.sim.clear_faults();
        world.done().await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_refused_topic_does_not_prevent_the_start() {
    for code in ["NotFound", "AuthorizationError", "InvalidParameter", "InternalError"] {
        let world = two();
        let app = world.app();
        let bad = arn("bad");
        let check = FaultRule::on("GetTopicAttributes")
            .matching(move |call| call.input["TopicArn"] == json!(bad))
            .error(code);
        let test = async {
            world.sim.set_faults(vec![check, failing("bad", code)]);
            world.violating(&["1.0"]);
            world.sim.wait_until(|_| !actions_of(&world, "good").is_empty()).await;
            assert_eq!(app.health().ready(), Ok(()), "{code}");
            world.sim.clear_faults();
            world.done().await;
        };
        world.work(&app, &Shutdown::default(), test).await.unwrap();
        assert_eq!(
            (actions_of(&world, "good").len(), actions_of(&world, "bad").len()),
            (1, 1),
            "{code}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn topic_refused_at_the_start_counts_when_the_other_refuses_too() {
    let world = World::new().with_topics(&[("good", "actions = [\"quarantined\"]"), ("bad", "")]);
    let app = world.app();
    let test = async {
        let check = FaultRule::on("GetTopicAttributes");
        let bad = arn("bad");
        let check = check.matching(move |call| call.input["TopicArn"] == json!(bad));
        let both = ["good", "bad"].map(|name| failing(name, "AuthorizationError"));
        let faults = both.into_iter().chain([check.error("AuthorizationError")]);
        world.sim.set_faults(faults.collect::<Vec<_>>());
        world.violating(&["1.0"]);
        sleep(HOUR).await;
        assert_eq!(app.health().ready(), Err("paused: every topic refuses notices"));
        world.sim.clear_faults();
        world.done().await;
        assert_eq!(app.health().ready(), Ok(()));
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn worker_does_not_start_if_every_topic_refuses() {
    for code in ["NotFound", "AuthorizationError"] {
        let world = two();
        world.sim.set_faults(FaultRule::on("GetTopicAttributes").error(code));
        let ended = world.app().work(&Shutdown::default()).await;
        let error = ended.unwrap_err();
        assert!(matches!(error, RunError::Refused { what: "topic", .. }), "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert!(world.sim.calls_of("ReceiveMessage").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn worker_waits_if_one_topic_refuses_and_the_other_is_unreachable() {
    let world = two();
    let bad = arn("bad");
    let refused = FaultRule::on("GetTopicAttributes")
        .matching(move |call| call.input["TopicArn"] == json!(bad))
        .error("AuthorizationError");
    let good = arn("good");
    let broken = FaultRule::on("GetTopicAttributes")
        .matching(move |call| call.input["TopicArn"] == json!(good))
        .first(9)
        .error("InternalError");
    let app = world.app();
    let test = async {
        world.sim.set_faults(vec![refused, broken, failing("bad", "AuthorizationError")]);
        world.violating(&["1.0"]);
        world.sim.wait_for_calls("GetTopicAttributes", 6).await;
        assert_eq!(app.health().ready(), Err("starting"));
        world.sim.wait_until(|_| !actions_of(&world, "good").is_empty()).await;
        world.sim.clear_faults();
        world.done().await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn topic_of_a_place_or_a_severity_gets_the_notices_of_these_alone() {
    let world = World::new().with_topics(&[
        ("all", ""),
        ("here", &format!("accounts = [\"{ACCOUNT}\"]\nregions = [\"{REGION}\"]")),
        ("elsewhere", "accounts = [\"444455556666\"]"),
        ("far", "regions = [\"us-east-1\"]"),
        ("pager", "severities = [\"critical\"]"),
    ]);
    let severe = world.image(&["1.0"], critical());
    world.send(&basic(&severe, &["1.0"], &json!({"CRITICAL": 1})));
    let high = ScanResult::basic(&[("HIGH", 1)]);
    let lesser = world.image(&["2.0"], high);
    world.send(&basic(&lesser, &["2.0"], &json!({"HIGH": 1})));

    world.run_to_the_end().await;

    let of = |name: &str| {
        let notices = world.notices_of(&arn(name)).into_iter();
        let mut of: Vec<_> = notices
            .map(|notice| notice["image"]["digest"].as_str().unwrap_or_default().to_owned())
            .collect();
        of.sort();
        of
    };
    let mut both = vec![severe.clone(), lesser];
    both.sort();
    assert_eq!((of("all"), of("here")), (both.clone(), both));
    assert_eq!(of("pager"), [severe]);
    assert!(of("elsewhere").is_empty() && of("far").is_empty());
}

#[tokio::test(start_paused = true)]
async fn topic_of_a_severity_gets_what_is_about_no_violation() {
    let world = World::new().with_topics(&[("pager", "severities = [\"critical\"]")]);
    let digest = world.image(&["1.0"], ScanResult::status("FAILED"));
    world.send(&basic(&digest, &["1.0"], &json!({"HIGH": 1})));

    world.run_to_the_end().await;

    assert_eq!(actions_of(&world, "pager"), ["unscanned"]);
}
