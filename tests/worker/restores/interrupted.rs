//! Requests that break off midway and come again.

use super::*;

#[tokio::test(start_paused = true)]
async fn request_that_is_throttled_midway_says_in_the_end_all_that_it_gave_back() {
    let world = world();
    let digest = removed(&world, &["1.0", "1.1", "latest"], clean());
    let id = ask(&world, OPERATOR, &digest, &json!({}));
    world.sim.set_faults(FaultRule::on("PutImage").skip(1).error("ThrottlingException").once());

    let app = world.run_to_the_end().await;

    assert_eq!(settled_as(&app), ["delete restored", "retry transient"]);
    assert_eq!(acts(&app), ["restore done 3"]);
    let answer = &world.notice()["answer"];
    assert_eq!(answer["restored"], json!(["1.0", "1.1", "latest"]));
    assert_eq!(answer["present"], json!([]));
    let mut outcomes = records(&world, &digest, "outcome");
    outcomes.sort_by_key(|outcome| outcome.contains_key("request"));
    let [part, whole] = &outcomes[..] else { panic!("{outcomes:?}") };
    // The first does not answer the request, but closes its tag.
    assert_eq!((part["part-of"].as_str(), part["restored"].as_str()), (&*id, r#"["1.0"]"#));
    assert_eq!(whole["restored"], r#"["1.0","1.1","latest"]"#);
    assert_eq!(whole["request"], id);
}

#[tokio::test(start_paused = true)]
async fn tag_that_a_request_gave_back_and_that_is_lost_before_it_ends_comes_back() {
    let world = world();
    let digest = removed(&world, &["1.0", "1.1"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.sim.set_faults(FaultRule::on("PutImage").skip(1).error("ThrottlingException").once());
    let test = async {
        world.sim.wait_until(|sim| sim.calls_of("PutImage").len() == 3).await;
        world.sim.untag_image(&world.repository, "1.0");
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(world.tags(&digest).len(), 3, "{:?}", world.tags(&digest));
    assert_eq!(world.notice()["answer"]["restored"], json!(["1.0", "1.1"]));
}

#[tokio::test(start_paused = true)]
async fn request_that_was_killed_midway_names_its_tags_as_there_by_now() {
    let world = world();
    let digest = removed(&world, &["1.0", "latest"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.crash_at_call("PutImage", 2, aws_sim::Fault::Hang).await;
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
    let answer = &world.notice()["answer"];
    assert_eq!((&answer["restored"], &answer["present"]), (&json!(["latest"]), &json!(["1.0"])));
}

#[tokio::test(start_paused = true)]
async fn layers_that_are_missed_for_a_moment_do_not_refuse_a_tag() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.sim.set_faults(FaultRule::on("PutImage").error("LayersNotFoundException").once());
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    assert_eq!(world.notice()["answer"]["restored"], json!(["1.0"]));
}

#[tokio::test(start_paused = true)]
async fn last_delivery_answers_even_if_ecr_rejects_what_it_asks() {
    for (what, fields) in [("tag", None), ("hold", Some(24))] {
        let world = world();
        world.sim.create_queue_with_redrive(QUEUE, 2, &[]);
        let scan = if fields.is_some() { critical() } else { clean() };
        let digest = removed(&world, &["1.0"], scan);
        let fields = fields.map_or(json!({}), |hours| hold(&world, hours));
        ask(&world, HOLDER, &digest, &fields);
        world.sim.set_faults(FaultRule::on("PutImage").error("LayersNotFoundException"));

        let app = world.run_to_the_end().await;

        assert_eq!(settled_as(&app), ["delete restore_refused", "redrive rejected"], "{what}");
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        let why = world.notice()["answer"]["refused"].to_string();
        assert!(why.contains("LayersNotFoundException"), "{why}");
        assert_eq!(world.dead_letters(), 0);
    }
}
