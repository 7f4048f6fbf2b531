//! Holds: a violating image keeps its tags until a time, because somebody answers for it.

use super::*;
use crate::support::Log;

#[tokio::test(start_paused = true)]
async fn hold_is_written_before_the_tags_and_its_message_comes_again_once() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    let fields = hold(&world, 24);
    let id = ask(&world, HOLDER, &digest, &fields);

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    // The hold, the tag, the outcome, and that the team knows.
    assert_eq!(puts(&world), [None, Some("1.0".to_owned()), None, None]);
    let held = &records(&world, &digest, "hold")[0];
    assert_eq!(held["until"], fields["until"].as_str().unwrap());
    assert_eq!((held["owner"].as_str(), held["request"].as_str()), ("me@example.com", id.as_str()));
    assert_eq!(held["sender"], format!("{HOLDER}:session"));
    assert_eq!(records(&world, &digest, "outcome").len(), 1);
    assert_eq!(acts(&app), ["hold done 1", "restore done 1"]);
    assert_eq!(settled_as(&app), ["delete restored", "retry second_look"]);
    let notice = world.notice();
    assert_eq!(notice["action"], "restored");
    assert_eq!(notice["answer"]["hold"]["until"], fields["until"]);
    assert_eq!(notice["answer"]["restored"], json!(["1.0"]));
}

#[tokio::test(start_paused = true)]
async fn second_look_gives_back_what_another_task_removed_meanwhile() {
    let world = world();
    let digest = removed(&world, &["1.0", "latest"], critical());
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    let test = async {
        world.sim.wait_until(|_| !world.notices().is_empty()).await;
        world.sim.untag_image(&world.repository, "1.0");
        world.done().await;
    };
    let app = world.run_while(test).await;
    assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
    assert_eq!(settled_as(&app), ["delete restored", "retry second_look"]);
    let notices = world.notices();
    assert_eq!(notices.len(), 2);
    assert_eq!(notices[0]["id"], notices[1]["id"]);
    assert_eq!(notices[1]["answer"]["restored"], json!(["1.0"]));
    assert_eq!(records(&world, &digest, "outcome").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn plain_request_about_a_held_image_gives_tags_back_and_looks_twice() {
    let world = world();
    let digest = removed(&world, &["1.0", "latest"], critical());
    let mut fields = hold(&world, 24);
    fields["tags"] = json!(["1.0"]);
    ask(&world, HOLDER, &digest, &fields);
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    ask(&world, OPERATOR, &digest, &json!({}));
    let app = world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
    assert_eq!(settled_as(&app), ["delete restored", "retry second_look"]);
}

#[tokio::test(start_paused = true)]
async fn hold_is_bounded() {
    for (until, why) in [
        ("2020-01-01", "2020-01-01T00:00:00Z is past"),
        ("2099-01-01", "a hold may last 2days at most (restore.max_hold)"),
    ] {
        let world = world().set("RESTORE__MAX_HOLD", "2d");
        let digest = removed(&world, &["1.0"], critical());
        let mut fields = hold(&world, 1);
        fields["until"] = json!(until);
        ask(&world, HOLDER, &digest, &fields);
        world.run_to_the_end().await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        assert!(records(&world, &digest, "hold").is_empty());
        let refused = world.notice()["answer"]["refused"].to_string();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(records(&world, &digest, "outcome").len(), 1);
    }
    let world = world().set("RESTORE__MAX_HOLD", "2d");
    let digest = removed(&world, &["1.0"], critical());
    ask(&world, HOLDER, &digest, &hold(&world, 48));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn hold_that_has_ended_or_is_longer_than_holds_may_be_gives_nothing_back() {
    let world = world();
    let digest = removed(&world, &["1.0", "latest"], critical());
    let mut fields = hold(&world, 1);
    fields["tags"] = json!(["1.0"]);
    ask(&world, HOLDER, &digest, &fields);
    world.run_to_the_end().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    let why = world.notices()[1]["answer"]["refused"].to_string();
    assert!(why.contains("still violates"), "{why}");

    let world = super::world();
    let digest = removed(&world, &["1.0", "latest"], critical());
    let mut fields = hold(&world, 48);
    fields["tags"] = json!(["1.0"]);
    ask(&world, HOLDER, &digest, &fields);
    world.run_to_the_end().await;
    let world = world.set("RESTORE__MAX_HOLD", "1d");
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn hold_is_withdrawn_for_good() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    let mut fields = hold(&world, 24);
    fields["request"] = json!("hold");
    ask(&world, HOLDER, &digest, &fields);
    world.run_to_the_end().await;
    ask(&world, HOLDER, &digest, &json!({"withdraw": true, "request": "end"}));
    let app = world.run_to_the_end().await;
    assert_eq!(settled_as(&app), ["delete withdrawn"]);
    assert_eq!(acts(&app), ["withdraw done 1"]);
    assert_eq!(records(&world, &digest, "withdrawal")[0]["withdraws"], "hold");
    let notice = &world.notices()[1];
    assert_eq!(
        (notice["action"].as_str(), &notice["answer"]["hold"]),
        (Some("restored"), &json!({"withdrawn": true}))
    );

    // Its request is not carried out again, and neither is the withdrawal.
    world.sim.untag_image(&world.repository, "1.0");
    ask(&world, HOLDER, &digest, &fields);
    ask(&world, HOLDER, &digest, &json!({"withdraw": true, "request": "end"}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(records(&world, &digest, "hold").len(), 1);
    assert_eq!(records(&world, &digest, "withdrawal").len(), 1);

    ask(&world, HOLDER, &digest, &json!({"withdraw": true}));
    world.run_to_the_end().await;
    let notices = world.notices();
    assert_eq!(notices.last().unwrap()["answer"]["refused"], "the image is not held");
}

#[tokio::test(start_paused = true)]
async fn hold_that_cannot_be_recorded_gives_no_tag_back() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    world.sim.set_image_limit(&world.repository, 1);
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    let app = world.run_to_the_end().await;
    assert_eq!(settled_as(&app), ["delete restore_refused"]);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let why = world.notice()["answer"]["refused"].to_string();
    assert!(why.contains("the repository is full"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn last_delivery_of_a_message_is_deleted_without_a_second_look() {
    let world = world();
    world.sim.create_queue_with_redrive(QUEUE, 1, &[]);
    let digest = removed(&world, &["1.0"], critical());
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    let app = world.run_to_the_end().await;
    assert_eq!(settled_as(&app), ["delete restored"]);
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn second_look_announces_only_a_hold_that_is_in_force() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    let mut fields = hold(&world, 24);
    fields["request"] = json!("hold");
    ask(&world, HOLDER, &digest, &fields);
    // The process dies after the notice and before a record says so.
    world.crash_at_call("PutImage", 4, aws_sim::Fault::Hang).await;
    assert_eq!(world.notices().len(), 1);
    // Another task, which does not know of what the team was notified, looks for the second time.
    // Until the last poll of the process that died has ended, which would take the message.
    tokio::time::sleep(Duration::from_secs(30)).await;
    ask(&world, HOLDER, &digest, &json!({"withdraw": true, "request": "end"}));
    world.run_to_the_end().await;
    let notices = world.notices();
    let of_hold: Vec<_> =
        notices.iter().filter(|notice| notice["answer"]["request"] == "hold").collect();
    assert!(of_hold[0]["answer"]["hold"]["until"].is_string(), "{notices:?}");
    assert_eq!(of_hold.last().unwrap()["answer"]["hold"], json!({"withdrawn": true}));
}

/// The number of audit lines with this message.
fn lines(log: &Log, message: &str) -> usize {
    let lines = log.lines().into_iter();
    lines.filter(|line| line["message"] == message || line["fields"]["message"] == message).count()
}

#[tokio::test(start_paused = true)]
async fn second_look_of_another_task_says_nothing_twice() {
    let (log, _guard) = Log::of_this_thread();
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    world.run_until(|_| !records(&world, &digest, "notification").is_empty()).await;
    assert_eq!((world.notices().len(), lines(&log, "notice"), lines(&log, "restored")), (1, 1, 1));

    let other = world.run_to_the_end().await;

    assert_eq!(settled_as(&other).last().unwrap(), "delete restored");
    assert_eq!((world.notices().len(), lines(&log, "notice"), lines(&log, "restored")), (1, 1, 1));
    assert_eq!(records(&world, &digest, "outcome").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn second_look_of_another_task_gives_back_and_notifies_of_that_alone() {
    let world = world();
    let digest = removed(&world, &["1.0", "latest"], critical());
    ask(&world, HOLDER, &digest, &hold(&world, 24));
    world.run_until(|_| !records(&world, &digest, "notification").is_empty()).await;
    world.sim.untag_image(&world.repository, "1.0");
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
    let restored: Vec<_> =
        world.notices().iter().map(|notice| notice["answer"]["restored"].clone()).collect();
    assert_eq!(restored, [json!(["1.0", "latest"]), json!(["1.0"])]);
}

#[tokio::test(start_paused = true)]
async fn copy_of_a_message_that_comes_at_once_is_not_the_second_look() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    let id = ask(&world, HOLDER, &digest, &hold(&world, 24));
    let test = async {
        world.sim.wait_until(|_| !records(&world, &digest, "notification").is_empty()).await;
        // Until the first delivery has put its message off.
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.sim.make_visible(QUEUE, &id);
        tokio::time::sleep(Duration::from_secs(3)).await;
        // A task that began before the hold removes the tag only now.
        world.sim.untag_image(&world.repository, "1.0");
        world.done().await;
    };
    let app = world.run_while(test).await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    let all = [("delete restored".to_owned(), 1), ("retry second_look".to_owned(), 2)];
    assert_eq!(settled(&app), all);
    // Both name the same tag: it was removed in between, so the second is news.
    let restored: Vec<_> =
        world.notices().iter().map(|notice| notice["answer"]["restored"].clone()).collect();
    assert_eq!(restored, [json!(["1.0"]), json!(["1.0"])]);
}

#[tokio::test(start_paused = true)]
async fn hold_that_lasts_as_long_already_is_not_written_again() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    let fields = hold(&world, 24);
    ask(&world, HOLDER, &digest, &fields);
    world.run_to_the_end().await;

    // The same again, and a shorter one.
    let mut shorter = hold(&world, 12);
    for fields in [&fields, &shorter] {
        let before = world.notices().len();
        ask(&world, HOLDER, &digest, fields);
        let app = world.run_to_the_end().await;
        assert_eq!(settled_as(&app), ["delete restored"]);
        assert!(acts(&app).is_empty(), "{:?}", acts(&app));
        assert_eq!(records(&world, &digest, "hold").len(), 1);
        let notice = &world.notices()[before];
        let held = &notice["answer"]["hold"];
        assert_eq!(
            (&held["until"], &held["already"]),
            (&fields_until(&world, &digest), &json!(true))
        );
        assert!(notice["summary"].as_str().unwrap().contains("held already"), "{notice}");
    }

    // Another reason, and a longer hold, are something new.
    shorter["reason"] = json!("another");
    ask(&world, HOLDER, &digest, &shorter);
    world.run_to_the_end().await;
    ask(&world, HOLDER, &digest, &hold(&world, 48));
    world.run_to_the_end().await;
    assert_eq!(records(&world, &digest, "hold").len(), 3);

    // However many holds there are, they are ended by one request.
    ask(&world, HOLDER, &digest, &json!({"withdraw": true}));
    let app = world.run_to_the_end().await;
    assert_eq!(acts(&app), ["withdraw done 1"]);
    assert_eq!(records(&world, &digest, "withdrawal").len(), 3);
}

/// The end of the only hold of an image.
fn fields_until(world: &World, digest: &str) -> Value {
    json!(records(world, digest, "hold")[0]["until"])
}
