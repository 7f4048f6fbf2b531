//! Requests that are refused, and what comes of them.

use aws_sim::Fault;

use super::*;
use crate::support::{ACCOUNT, REGION};

/// A request of which nothing may come but a notice: no call changes anything, and no image is read.
async fn nothing_comes_of(world: &World, digest: &str) -> Value {
    let before = world.tags(digest);
    let app = world.run_to_the_end().await;
    assert_eq!(settled_as(&app), ["delete restore_refused"]);
    assert_eq!(world.tags(digest), before);
    assert!(world.changes().is_empty());
    assert!(world.sim.calls_of("DescribeImages").is_empty());
    let notice = world.notice();
    assert_eq!(notice["action"], "refused");
    notice["answer"]["refused"].clone()
}

#[tokio::test(start_paused = true)]
async fn only_who_is_listed_may_ask() {
    let stranger = "AROASTRANGER00000001";
    let held = |world: &World| hold(world, 1);
    for (sender, wants_hold, list) in [
        (stranger, false, "restore.senders"),
        (stranger, true, "restore.hold_senders"),
        (OPERATOR, true, "restore.hold_senders"),
        ("aroaoperator00000001", false, "restore.senders"),
        ("AROAOPERATOR0000000", false, "restore.senders"),
    ] {
        let world = world();
        let digest = removed(&world, &["1.0"], clean());
        let fields = if wants_hold { held(&world) } else { json!({}) };
        ask(&world, sender, &digest, &fields);
        let why = nothing_comes_of(&world, &digest).await;
        assert_eq!(why, json!(format!("{sender}:session is not in {list}")));
    }
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({"withdraw": true}));
    nothing_comes_of(&world, &digest).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_may_ask_where_nobody_is_listed() {
    let world = World::new().set("RESTORE__KEY", KEY);
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    nothing_comes_of(&world, &digest).await;
}

#[tokio::test(start_paused = true)]
async fn workers_own_role_may_not_ask_although_it_is_listed() {
    let world = world();
    let own = format!("{OPERATOR}:worker");
    world.sim.set_sender("AKIASIM", &own);
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    let why = nothing_comes_of(&world, &digest).await;
    assert!(why.as_str().unwrap().starts_with(&format!("{OPERATOR} is the worker's own role")));

    ask(&world, HOLDER, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)], "others may");
}

#[tokio::test(start_paused = true)]
async fn own_role_is_asked_for_once_and_an_outage_of_sts_loses_no_request() {
    for fault in [Fault::error("ServiceUnavailable"), Fault::Hang] {
        let world = world();
        let digests = ["1.0", "2.0"].map(|tag| removed(&world, &[tag], clean()));
        world.sim.set_faults(FaultRule::on("GetCallerIdentity").first(3).fault(fault));
        for digest in &digests {
            ask(&world, OPERATOR, digest, &json!({}));
        }
        world.run_to_the_end().await;
        for digest in &digests {
            assert_eq!(world.tags(digest).len(), 2);
        }
        let calls = world.sim.calls_of("GetCallerIdentity").into_iter();
        assert_eq!(calls.filter(|call| call.applied).count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn team_hears_once_an_hour_of_a_sender_that_is_turned_away() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    let app = world.app();
    let shutdown = tagwarden::shutdown::Shutdown::default();
    let test = async {
        for (sender, notices) in [("A", 1), ("A", 1), ("B", 2), ("A", 2)] {
            ask(&world, &format!("AROASTRANGER0000000{sender}"), &digest, &json!({}));
            world.done().await;
            assert_eq!(world.notices().len(), notices);
        }
        tokio::time::sleep(Duration::from_secs(3600)).await;
        ask(&world, "AROASTRANGER0000000A", &digest, &json!({}));
        world.done().await;
        assert_eq!(world.notices().len(), 3);
    };
    world.work(&app, &shutdown, test).await.unwrap();
    assert_eq!(acts(&app), ["restore refused 5"]);
}

#[tokio::test(start_paused = true)]
async fn request_that_is_not_the_plain_body_of_a_message_is_malformed() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    let plain = request(&digest, &json!({}));
    let mut by_bus = plain.clone();
    by_bus["account"] = json!(ACCOUNT);
    by_bus["region"] = json!(REGION);
    by_bus["id"] = json!("00000000-0000-4000-8000-000000000001");
    let by_topic = json!({
        "Type": "Notification",
        "TopicArn": format!("arn:aws:sns:{REGION}:{ACCOUNT}:feed"),
        "Message": plain.to_string(),
    });
    for body in [by_bus, by_topic] {
        send(&world, OPERATOR, &body.to_string());
    }
    let app = world.run_to_the_end().await;
    assert_eq!(world.dead_letters(), 2);
    assert!(settled_as(&app).iter().all(|word| word == "redrive malformed"));
    assert!(world.changes().is_empty() && world.notices().is_empty());
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn request_that_is_older_than_an_hour_is_refused() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    let other = removed(&world, &["2.0"], clean());
    let ids = [&digest, &other].map(|digest| ask(&world, OPERATOR, digest, &json!({})));
    tokio::time::sleep(Duration::from_secs(3601)).await;
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), [("delete restore_refused".to_owned(), 2)]);
    assert_eq!(world.notices().len(), 2, "each image is named");
    // Whoever waits reads the answer on each image.
    for (digest, id) in [&digest, &other].into_iter().zip(ids) {
        assert_eq!(world.tags(digest), [quarantine(digest)]);
        let outcome = &records(&world, digest, "outcome")[0];
        assert_eq!(outcome["request"], id);
        assert_eq!(outcome["refused"], "it was sent more than 1h ago");
    }
    // That of a stranger leaves nothing behind.
    ask(&world, "AROASTRANGER00000001", &digest, &json!({}));
    tokio::time::sleep(Duration::from_secs(3601)).await;
    world.run_to_the_end().await;
    assert_eq!(records(&world, &digest, "outcome").len(), 1);

    ask(&world, OPERATOR, &digest, &json!({}));
    tokio::time::sleep(Duration::from_secs(3590)).await;
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn request_that_fails_for_longer_than_an_hour_is_refused() {
    let world = world();
    world.sim.create_queue_with_redrive(QUEUE, 100, &[]);
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.sim.set_faults(FaultRule::on("PutImage").first(60).error("ServerException"));
    let app = world.run_to_the_end().await;
    assert!(settled_as(&app).contains(&"delete restore_refused".to_owned()));
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn image_that_is_gone_is_refused() {
    for whole_repository in [false, true] {
        let world = world();
        let digest = removed(&world, &["1.0"], clean());
        ask(&world, OPERATOR, &digest, &json!({}));
        match whole_repository {
            true => world.sim.delete_repository(&world.repository),
            false => world.sim.delete_image(&world.repository, &digest),
        }
        let app = world.run_to_the_end().await;
        assert_eq!(settled_as(&app), ["delete restore_refused"]);
        assert_eq!(world.notice()["answer"]["refused"], "the image is gone");
        assert!(world.changes().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn image_in_the_archive_is_refused() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    world.sim.archive_image(&world.repository, &digest);
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    let why = world.notice()["answer"]["refused"].to_string();
    assert!(why.contains("the image is archived"), "{why}");
    assert!(world.changes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn image_that_lost_no_tag_has_nothing_to_give_back() {
    let world = world();
    let digest = world.image(&["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({"request": "one"}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0"]);
    let why = world.notice()["answer"]["refused"].to_string();
    assert!(why.contains("no tag that was asked for is open"), "{why}");
    assert_eq!(records(&world, &digest, "outcome")[0]["request"], "one");
}

#[tokio::test(start_paused = true)]
async fn worker_without_a_key_or_without_records_refuses() {
    let senders = ["RESTORE__SENDERS", "RESTORE__HOLD_SENDERS"];
    let open = || senders.into_iter().fold(World::new(), |world, list| world.set(list, HOLDER));
    let world = open();
    let digest = world.image(&["1.0"], clean());
    attach(&world, &digest, &removal(&["0.9"]), None);
    ask(&world, HOLDER, &digest, &hold(&world, 1));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0"]);
    assert!(world.notice()["answer"]["refused"].to_string().contains("has no restore.key"));
    assert!(records(&world, &digest, "hold").is_empty());

    let world = open().set("RESTORE__KEY", KEY).set("REGISTRY__RECORDS", "off");
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, HOLDER, &digest, &json!({}));
    world.run_to_the_end().await;
    assert!(world.notice()["answer"]["refused"].to_string().contains("registry.records is off"));
    assert!(world.changes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn image_of_an_account_or_a_region_that_the_policy_leaves_out_is_refused() {
    for (field, value, why) in [
        ("account", "444455556666", "the account is not in policy.accounts"),
        ("region", "us-east-1", "the Region is not in policy.regions"),
    ] {
        let world = world().set("POLICY__REGIONS", REGION);
        let digest = removed(&world, &["1.0"], clean());
        // Strangers may name any account: they are notified of together.
        for sender in [OPERATOR, "AROASTRANGER00000001", "AROASTRANGER00000001"] {
            ask(&world, sender, &digest, &json!({field: value}));
        }
        let app = world.run_to_the_end().await;
        assert_eq!(settled(&app), [("delete restore_refused".to_owned(), 3)]);
        assert!(world.story().iter().all(|call| !call.contains("Image")), "{:?}", world.story());
        let notices = world.notices();
        assert_eq!(notices.len(), 2, "{field}");
        assert!(notices.iter().all(|notice| notice["answer"]["refused"] == why), "{notices:?}");
        assert_eq!(notices[0]["answer"]["sender"], format!("{OPERATOR}:session"));
    }
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_use_up_the_pages_of_an_image() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    for round in 0..12 {
        for _ in 0..5 {
            ask(&world, OPERATOR, &digest, &json!({}));
        }
        world.run_to_the_end().await;
        assert_eq!(world.notices().len(), 5 * (round + 1), "each is notified");
    }
    assert_eq!(records(&world, &digest, "outcome").len(), 50);
    // Requests about tags that the image has close nothing either.
    world.sim.tag_image(&world.repository, "2.0", &digest);
    ask(&world, OPERATOR, &digest, &json!({"tags": ["2.0"]}));
    world.run_to_the_end().await;
    assert_eq!(records(&world, &digest, "outcome").len(), 50);
    assert_eq!(world.notices().last().unwrap()["answer"]["present"], json!(["2.0"]));
    // What gives a tag back is recorded all the same.
    let world = world.with_file("[policy.max_findings]\ncritical = 9\nhigh = 9\n");
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(records(&world, &digest, "outcome").len(), 51);
}

#[tokio::test(start_paused = true)]
async fn advice_names_a_hold_only_where_somebody_may_ask_for_one() {
    let nobody = || World::new().set("RESTORE__KEY", KEY).set("RESTORE__SENDERS", OPERATOR);
    for (world, names_a_hold) in [(world(), true), (nobody(), false)] {
        let digest = removed(&world, &["1.0"], critical());
        ask(&world, OPERATOR, &digest, &json!({}));
        world.run_to_the_end().await;
        let undo = world.notice()["undo"].to_string();
        assert_eq!(undo.contains("--until"), names_a_hold, "{undo}");
    }
}

#[tokio::test(start_paused = true)]
async fn unsigned_records_lead_to_the_way_by_hand() {
    let world = world();
    let digest = world.image(&["1.0"], clean());
    attach(&world, &digest, &removal(&["0.9"]), None);
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert!(world.notice()["undo"].is_object(), "{}", world.notice());
}

#[tokio::test(start_paused = true)]
async fn put_whose_answer_names_another_image_is_not_taken_for_done() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    let other = format!("sha256:{}", "d".repeat(64));
    let names = move |answer: &mut Value| answer["image"]["imageId"]["imageDigest"] = json!(other);
    world.sim.set_faults(FaultRule::on("PutImage").once().replace(names));
    let app = world.run_to_the_end().await;
    assert_eq!(settled_as(&app), ["delete restored"]);
    let story = world.story();
    let put = story.iter().position(|call| call == "PutImage").unwrap();
    assert_eq!(story[put + 1], "DescribeImages", "the tag is read: {story:?}");
}

#[tokio::test(start_paused = true)]
async fn tag_that_the_registry_never_takes_stays_open() {
    let world = world();
    let digest = removed(&world, &["1.0", "latest"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.sim.set_faults(FaultRule::on("PutImage").once().error("LimitExceededException"));
    let app = world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["latest", &quarantine(&digest)]);
    assert_eq!(acts(&app), ["restore done 1", "restore refused 1"]);
    let notice = world.notice();
    assert_eq!(notice["action"], "restored");
    assert_eq!(notice["answer"]["left"][0]["tag"], "1.0");
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
}
