//! Invariant 5: a registry that removes more than it was asked to.

use aws_sim::{DeleteRules, FaultRule, SimConfig};
use serde_json::json;
use tagwarden::shutdown::Shutdown;

use super::support::{QUEUE, World, basic, critical, quarantine};

fn whole_image() -> World {
    let config = SimConfig { delete_rules: DeleteRules::WholeImage, ..SimConfig::default() };
    World::with(config).set("POLICY__PROTECTED_TAGS", "prod").set("QUEUE__MAX_IN_FLIGHT", "1")
}

#[tokio::test(start_paused = true)]
async fn over_reach_is_repaired_notified_and_stops_every_further_removal() {
    let world = whole_image();
    let first = world.image(&["1.0", "latest", "prod"], critical());
    world.send(&basic(&first, &["1.0", "latest", "prod"], &json!({"CRITICAL": 1})));
    let second = world.image(&["2.0"], critical());
    world.send(&basic(&second, &["2.0"], &json!({"CRITICAL": 1})));
    let app = world.app();
    let test = async {
        world.sim.wait_until(|sim| sim.queue(QUEUE).messages.len() == 1).await;
        tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
        assert_eq!(
            app.health().ready(),
            Err("stopped by an over-reach: read the log, then restart")
        );
        assert_eq!(app.health().live(), Ok(()));
        let left = world.sim.queue(QUEUE).messages.remove(0);
        assert_eq!(left.receive_count, 0, "no further message is received");
    };

    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert_eq!(world.tags(&first), ["prod".to_owned(), quarantine(&first)]);
    assert_eq!(world.tags(&second), ["2.0"], "no further tag is removed");
    assert_eq!(world.sim.calls_of("BatchDeleteImage").len(), 1);
    let notice = world.notice();
    assert_eq!(notice["action"], "failed");
    assert_eq!(notice["tags"]["untagged"], json!(["1.0", "latest"]));
    assert_eq!(notice["tags"]["kept"], json!(["prod"]));
    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains("tagwarden_overreach_total 1"), "{metrics}");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn messages_in_hand_at_an_over_reach_wait_for_the_next_process() {
    let world = whole_image().set("QUEUE__MAX_IN_FLIGHT", "8");
    let digests: Vec<_> = (0..4)
        .map(|number| {
            let tag = format!("v{number}");
            let digest = world.image(&[&tag], critical());
            world.send(&basic(&digest, &[&tag], &json!({"CRITICAL": 1})));
            digest
        })
        .collect();
    // The first delete is answered while the other messages are still marking.
    // The first image is marked and recorded before; of the others only marks are slow.
    let marks = FaultRule::on("PutImage")
        .skip(1)
        .matching(|call| call.input.get("imageTag").is_some())
        .delay(std::time::Duration::from_secs(3));
    world.sim.set_faults(vec![marks]);

    world.run_while(tokio::time::sleep(std::time::Duration::from_secs(60))).await;

    assert_eq!(world.sim.calls_of("BatchDeleteImage").len(), 1);
    let kept = digests.iter().filter(|digest| world.tags(digest).len() == 2).count();
    assert_eq!(kept, 3, "marked, but not untagged");
    assert_eq!(world.sim.queue(QUEUE).messages.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn kept_tag_that_moved_meanwhile_is_not_restored() {
    let world = whole_image();
    let digest = world.image(&["1.0", "prod"], critical());
    let other = world.sim.push_image(&world.repository, &[], "other");
    world.send(&basic(&digest, &["1.0", "prod"], &json!({"CRITICAL": 1})));
    let (repository, target) = (world.repository.clone(), other.clone());
    // The third PutImage, after those of the mark and of the record, restores the image under its
    // quarantine tag.
    let moved = FaultRule::on("PutImage")
        .skip(2)
        .once()
        .act(move |sim| sim.tag_image(&repository, "prod", &target));
    world.sim.set_faults(vec![moved]);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&other), ["prod"]);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn failed_repair_is_reported_and_the_message_stays() {
    let world = whole_image();
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    world.sim.set_faults(vec![FaultRule::on("PutImage").skip(2).error("ServerException")]);

    world
        .run_while(async {
            world.sim.wait_until(|sim| !sim.notices(&world.topic).is_empty()).await;
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        })
        .await;

    let notice = world.notice();
    assert_eq!(notice["action"], "failed");
    let reasons = notice["reasons"].to_string();
    assert!(reasons.contains("could not put back"), "{reasons}");
    assert_eq!(world.sim.queue(QUEUE).messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn tags_that_cannot_be_put_back_are_recorded() {
    let world = whole_image();
    let digest = world.image(&["1.0", "prod"], critical());
    world.send(&basic(&digest, &["1.0", "prod"], &json!({"CRITICAL": 1})));
    // The image comes back under its quarantine tag, but no other tag does.
    let fails = FaultRule::on("PutImage")
        .matching(|call| call.input["imageTag"] == "prod")
        .error("ServerException");
    world.sim.set_faults(vec![fails]);

    world.run_while(world.sim.wait_until(|sim| !sim.notices(&world.topic).is_empty())).await;

    let tags = super::records::quarantines(&world, &digest).into_iter().map(|one| one.tags);
    let tags: Vec<_> = tags.map(|tags| tags.iter().map(ToString::to_string).collect()).collect();
    assert!(tags.contains(&vec!["prod".to_owned()]), "{tags:?}");
}

#[tokio::test(start_paused = true)]
async fn forged_answer_is_an_over_reach_too() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let other = world.sim.push_image(&world.repository, &["2.0"], "other");
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    let forged = other.clone();
    let lies = FaultRule::on("BatchDeleteImage").replace(move |reply| {
        let ids = reply["imageIds"].as_array_mut().unwrap();
        ids.push(json!({"imageTag": "2.0", "imageDigest": forged}));
    });
    world.sim.set_faults(vec![lies]);

    let app = world.run_to_the_end().await;

    assert!(app.health().is_overreached());
    assert_eq!(world.tags(&other), ["2.0"], "the tag is still there, so it is not restored");
    assert_eq!(world.notice()["action"], "failed");
}

#[tokio::test(start_paused = true)]
async fn delete_by_tag_alone_works_if_tag_and_digest_do_not() {
    let world = whole_image().set("REGISTRY__UNTAG", "tag");
    let digest = world.image(&["1.0", "latest", "prod"], critical());
    world.send(&basic(&digest, &["1.0", "latest", "prod"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["prod".to_owned(), quarantine(&digest)]);
    assert_eq!(world.notice()["action"], "quarantined");
}

#[tokio::test(start_paused = true)]
async fn tag_that_moves_right_before_a_delete_by_tag_alone_is_restored() {
    let world = World::new().set("REGISTRY__UNTAG", "tag");
    let old = world.image(&["latest"], critical());
    let new = world.sim.push_image(&world.repository, &["other"], "new");
    let (repository, target) = (world.repository.clone(), new.clone());
    let moves = FaultRule::on("BatchDeleteImage")
        .once()
        .act(move |sim| sim.tag_image(&repository, "latest", &target));
    world.sim.set_faults(vec![moves]);
    world.send(&basic(&old, &["latest"], &json!({"CRITICAL": 1})));

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&new), ["latest", "other"]);
    assert!(app.health().is_overreached());
}
