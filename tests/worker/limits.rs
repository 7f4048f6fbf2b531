//! The quota of tag removals in an hour, and that postponed removals are done later.

use std::time::Duration;

use aws_sim::{Call, FaultRule, ScanResult};
use serde_json::{Value, json};
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{QUEUE, World, basic, critical, in_repository, quarantine};

const HOUR: Duration = Duration::from_secs(3600);

fn limited(limit: usize) -> World {
    World::configured(&format!("limits.untags_per_hour = {limit}"))
}

fn several(world: &World, count: usize) -> Vec<String> {
    (0..count).map(|number| world.violating(&[&format!("v{number}")])).collect()
}

fn is_done(world: &World, digest: &str) -> bool {
    world.tags(digest) == [quarantine(digest)]
}

/// The number of removed tags in each hour since the first removal.
fn by_the_hour(world: &World) -> Vec<usize> {
    let calls = world.sim.calls_of("BatchDeleteImage");
    let tags = |call: &Call| call.reply.as_ref().unwrap()["imageIds"].as_array().unwrap().len();
    let hour = |call: &Call| usize::try_from(call.at.as_secs() / HOUR.as_secs()).unwrap();
    let hours = calls.iter().map(hour).max().unwrap_or_default();
    let mut counts = vec![0; hours + 1];
    for call in &calls {
        counts[hour(call)] += tags(call);
    }
    counts
}

fn with_action(world: &World, action: &str) -> Vec<Value> {
    world.notices().into_iter().filter(|notice| notice["action"] == action).collect()
}

/// The reason of a notice, without the time until which the message waits.
fn limit_of(reason: &Value) -> String {
    let text = reason.as_str().unwrap();
    let (limit, until) = text.split_once(": this image waits until ").unwrap_or((text, ""));
    assert!(until.is_empty() || until.contains("Z, and others like it wait too"), "{text}");
    limit.to_owned()
}

#[tokio::test(start_paused = true)]
async fn limit_stops_tag_removals_until_the_next_hour() {
    let world = limited(3);
    let digests = several(&world, 5);
    let done = || digests.iter().filter(|digest| is_done(&world, digest)).count();
    let test = async {
        sleep(HOUR - Duration::from_secs(10)).await;
        assert_eq!(done(), 3);
        let waiting = world.sim.queue(QUEUE).messages;
        assert_eq!(waiting.iter().map(|message| message.receive_count).collect::<Vec<_>>(), [1, 1]);
        let [notice] = &with_action(&world, "blocked")[..] else { panic!("{:?}", world.notices()) };
        let reason = notice["reasons"].as_array().unwrap().last().unwrap();
        assert_eq!(limit_of(reason), "limits.untags_per_hour of 3 is reached");
        assert_eq!(notice["tags"]["kept"].as_array().unwrap().len(), 1);
        assert_eq!(world.tag_puts().len(), 3, "nothing else is marked either");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(done(), 5);
    };

    let app = world.app();
    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!((world.dead_letters(), world.sim.queue(QUEUE).messages.len()), (0, 0));
    assert_eq!(world.notices().len(), 6, "one notice for the limit, one for each image");
    let metrics = app.instruments().render().unwrap();
    let line = r#"tagwarden_messages_settled_total{disposition="retry",reason="limited"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn limit_is_notified_again_in_each_hour_that_reaches_it() {
    let world = limited(1);
    let test = async {
        for hour in 0..3 {
            let tags = [format!("a{hour}"), format!("b{hour}"), format!("c{hour}")];
            tags.iter().for_each(|tag| drop(world.violating(&[tag])));
            sleep(HOUR).await;
            assert_eq!(with_action(&world, "blocked").len(), hour + 1);
        }
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(world.dead_letters(), 0);
    assert_eq!(by_the_hour(&world), [1; 9]);
}

#[tokio::test(start_paused = true)]
async fn twenty_images_at_two_an_hour_take_ten_hours_and_two_receives_each() {
    let world = limited(2);
    let digests = several(&world, 20);
    let test = async {
        sleep(HOUR / 2).await;
        for message in world.sim.queue(QUEUE).messages {
            assert_eq!(message.receive_count, 1);
        }
        world.done().await;
    };

    let app = world.app();
    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!(by_the_hour(&world), [2; 10]);
    assert!(digests.iter().all(|digest| is_done(&world, digest)));
    assert_eq!(world.dead_letters(), 0);
    assert_eq!((with_action(&world, "blocked").len(), world.notices().len()), (1, 21));
    let received = "tagwarden_messages_received_total 38";
    let metrics = app.instruments().render().unwrap();
    assert!(metrics.lines().any(|line| line == received), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn messages_put_off_beyond_the_receives_of_the_queue_are_dead_lettered() {
    // Four receives: the message is put off three times by up to eleven hours.
    let world = limited(1);
    several(&world, 40);
    world.run_to_the_end().await;
    let done = with_action(&world, "quarantined").len();
    assert_eq!((done, world.dead_letters()), (34, 6));
}

#[tokio::test(start_paused = true)]
async fn repository_at_its_limit_leaves_the_others_their_share() {
    let world = World::configured("limits.untags_per_hour_per_repository = 2");
    let other = world.sim.create_repository("team/other");
    let here = several(&world, 3);
    let there: Vec<_> = ["x", "y"]
        .iter()
        .map(|tag| {
            let digest = world.image_in(&other, &[tag], critical());
            let event = basic(&digest, &[tag], &json!({"CRITICAL": 1}));
            world.send(&in_repository(event, "team/other"));
            digest
        })
        .collect();

    let test = async {
        sleep(HOUR / 2).await;
        assert_eq!(here.iter().filter(|digest| is_done(&world, digest)).count(), 2);
        for digest in &there {
            assert_eq!(world.sim.tags(&other, digest).unwrap(), [quarantine(digest)]);
        }
        world.done().await;
    };
    world.run_while(test).await;

    assert!(here.iter().all(|digest| is_done(&world, digest)));
    let [notice] = &with_action(&world, "blocked")[..] else { panic!("{:?}", world.notices()) };
    let reason = notice["reasons"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(
        reason.starts_with("limits.untags_per_hour_per_repository of 2 is reached"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn image_with_more_tags_than_the_limit_takes_several_hours() {
    let world = limited(2).set("POLICY__ACTION", "delete");
    let tags = ["a", "b", "c", "d", "e"];
    let digest = world.violating(&tags);
    let test = async {
        for (left, hour) in [(3, 0), (1, 1)] {
            sleep(HOUR / 2).await;
            assert_eq!(world.tags(&digest).len(), left + 1, "{hour}");
            sleep(HOUR / 2).await;
        }
        world.done().await;
    };

    world.run_while(test).await;

    assert_eq!(world.dead_letters(), 0);
    assert_eq!(
        world.sim.tags(&world.repository, &digest),
        None,
        "deleted after its last tag was removed"
    );
    let notices = world.notices();
    let untagged = |notice: &Value| notice["tags"]["untagged"].as_array().unwrap().clone();
    let notified: Vec<_> = notices.iter().flat_map(untagged).collect();
    assert_eq!(notified, tags, "each tag is notified when it is removed");
    for notice in &notices {
        let list = |name: &str| notice["tags"][name].as_array().unwrap().clone();
        let gone = [list("untagged"), list("claimed")].concat();
        assert!(list("kept").iter().all(|tag| !gone.contains(tag)), "{notice:#}");
    }
    let waiting: Vec<_> = with_action(&world, "blocked")
        .into_iter()
        .map(|notice| notice["tags"]["kept"].clone())
        .collect();
    assert_eq!(
        waiting,
        [json!(["c", "d", "e"]), json!(["e"])],
        "not the tags that were just removed"
    );
}

#[tokio::test(start_paused = true)]
async fn large_image_with_a_refused_mark_is_blocked_at_once() {
    let world = limited(2);
    let digest = world.violating(&["a", "b", "c"]);
    world.sim.set_faults(FaultRule::on("PutImage").error("LimitExceededException"));

    world.run_while(sleep(HOUR / 2)).await;

    assert_eq!(world.sim.queue(QUEUE).messages.len(), 0);
    assert_eq!(world.tags(&digest), ["a", "b", "c"]);
    let reason = world.notice()["reasons"].to_string();
    assert!(reason.contains("the quarantine tag is refused"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn audit_mode_is_not_limited() {
    let world = limited(1).set("POLICY__MODE", "audit");
    several(&world, 9);
    world.run_while(sleep(HOUR / 2)).await;
    assert_eq!(with_action(&world, "would_untag").len(), 9);
    assert_eq!(world.notices().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn failed_removals_use_no_quota() {
    let faults = [
        FaultRule::on("BatchGetImage").first(3).error("ServerException"),
        FaultRule::on("PutImage").first(3).error("ServerException"),
        FaultRule::on("PutImage").first(3).error("ThrottlingException"),
        FaultRule::on("BatchDeleteImage").first(3).error("ThrottlingException"),
        FaultRule::on("BatchDeleteImage").once().fail_entries("KmsError"),
    ];
    for fault in faults {
        let world = limited(1);
        let digest = world.violating(&["1.0"]);
        world.sim.set_faults(fault.clone());
        world.run_while(sleep(HOUR / 2)).await;
        assert!(is_done(&world, &digest), "{fault:?}");
        assert_eq!(world.notice()["action"], "quarantined", "{fault:?}");
        assert!(world.sim.calls_of("ReceiveMessage").len() > 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn moved_tags_use_no_quota() {
    let world = limited(1);
    let moved = world.violating(&["1.0"]);
    let repository = world.repository.clone();
    let other = world.image(&["other"], ScanResult::basic(&[]));
    let moves = FaultRule::on("PutImage").once();
    world.sim.set_faults(moves.act(move |sim| sim.tag_image(&repository, "1.0", &other)));
    let test = async {
        world.done().await;
        let next = world.violating(&["2.0"]);
        sleep(HOUR / 2).await;
        assert!(is_done(&world, &next));
    };
    world.run_while(test).await;
    assert!(is_done(&world, &moved), "it had no other tag");
}

#[tokio::test(start_paused = true)]
async fn removals_with_a_lost_answer_use_quota() {
    let world = limited(1);
    let first = world.violating(&["1.0"]);
    world.sim.set_faults(FaultRule::on("BatchDeleteImage").first(3).hang());
    let test = async {
        sleep(HOUR / 2).await;
        assert!(
            !is_done(&world, &first),
            "the tag may be removed, so another removal would be the second"
        );
        world.done().await;
    };
    world.run_while(test).await;
    assert!(is_done(&world, &first));
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn failed_limit_notice_is_sent_later() {
    let world = limited(1);
    world.violating(&["1.0"]);
    let test = async {
        world.done().await;
        world.sim.set_faults(FaultRule::on("Publish").first(3).error("InternalError"));
        world.violating(&["2.0"]);
        sleep(HOUR / 2).await;
        assert_eq!(with_action(&world, "blocked").len(), 1);
    };
    world.run_while(test).await;
}

#[tokio::test(start_paused = true)]
async fn image_that_waited_for_quota_and_is_blocked_then_is_notified() {
    let world = limited(1).with_file("policy.in_use = \"block\"");
    world.violating(&["1.0"]);
    let test = async {
        world.done().await;
        let scan = |count| ScanResult::enhanced(&[("CRITICAL", 1)]).in_use(count);
        let digest = world.image(&["2.0"], scan(0));
        world.scanned(&digest);
        world.sim.wait_until(|_| !with_action(&world, "blocked").is_empty()).await;
        world.sim.set_findings(&world.repository, &digest, scan(1));
        world.done().await;
    };
    world.run_while(test).await;
    let reasons: Vec<_> = with_action(&world, "blocked")
        .iter()
        .map(|notice| limit_of(notice["reasons"].as_array().unwrap().last().unwrap()))
        .collect();
    let limit = "limits.untags_per_hour of 1 is reached";
    assert_eq!(reasons, [limit, "it is in use in 1 place (in_use)"]);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_share_the_limits_do_not_exceed_them_together() {
    let world = limited(7).set("LIMITS__TASKS", "3").set("QUEUE__MAX_IN_FLIGHT", "1");
    several(&world, 20);
    let (first, second, third) = (world.app(), world.app(), world.app());
    let shutdown = Shutdown::default();
    let test = async {
        sleep(HOUR - Duration::from_secs(10)).await;
        assert_eq!(by_the_hour(&world), [6], "two for each of three tasks");
        let notified = with_action(&world, "blocked");
        assert_eq!(notified.len(), 3, "each task notifies of its own share");
        let reason = notified[0]["reasons"].as_array().unwrap().last().unwrap();
        let words = "limits.untags_per_hour of 7, 2 for each of 3 tasks, is reached";
        assert_eq!(limit_of(reason), words);
        shutdown.drain();
    };

    let (first, second, third, ()) =
        tokio::join!(first.work(&shutdown), second.work(&shutdown), third.work(&shutdown), test);

    for ended in [first, second, third] {
        ended.unwrap();
    }
}
