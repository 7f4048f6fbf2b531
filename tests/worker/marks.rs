//! The quarantine tag, if somebody else has put it on another image.

use aws_sim::{Fault, FaultRule, ScanResult};
use serde_json::json;

use super::support::{World, basic, critical, quarantine, settled};

/// The quarantine tags of an image, in the order in which they are tried.
fn marks(digest: &str) -> Vec<String> {
    let more = (1..10).map(|number| format!("{}.{number}", quarantine(digest)));
    std::iter::once(quarantine(digest)).chain(more).collect()
}

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 3)])
}

/// A violating image whose first quarantine tags are on a clean image. Returns both digests.
fn squatted(world: &World, taken: usize) -> (String, String) {
    let digest = world.image(&["1.0"], critical());
    let marks = marks(&digest);
    let names: Vec<_> = marks.iter().take(taken).map(String::as_str).collect();
    let other = world.image(&names, clean());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    (digest, other)
}

#[tokio::test(start_paused = true)]
async fn mark_of_another_image_is_not_moved_with_any_mutability() {
    for mutability in ["MUTABLE", "IMMUTABLE"] {
        for taken in [1, 4] {
            let world = World::new();
            world.sim.set_tag_mutability(&world.repository, mutability, &[]);
            let (digest, other) = squatted(&world, taken);

            let app = world.run_to_the_end().await;

            let case = format!("{mutability} {taken}");
            assert_eq!(world.tags(&other), marks(&digest)[..taken], "{case}");
            assert_eq!(world.tags(&digest), [marks(&digest)[taken].clone()], "{case}");
            let notice = world.notice();
            assert_eq!(notice["action"], "quarantined", "{case}");
            assert_eq!(notice["tags"]["untagged"], json!(["1.0"]), "{case}");
            assert_eq!(notice["tags"]["quarantine"], json!(marks(&digest)[taken]), "{case}");
            assert_eq!(settled(&app), [("delete quarantined".to_owned(), 1)], "{case}");
            assert_eq!(world.sim.calls_of("BatchGetImage").len(), 1, "{case}");
            assert_eq!(world.tag_puts().len(), 1, "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn image_with_all_marks_on_other_images_is_blocked_and_keeps_its_tags() {
    for mutability in ["MUTABLE", "IMMUTABLE"] {
        let world = World::new();
        world.sim.set_tag_mutability(&world.repository, mutability, &[]);
        let (digest, other) = squatted(&world, 10);

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&other), marks(&digest), "{mutability}");
        assert_eq!(world.tags(&digest), ["1.0"], "{mutability}");
        assert!(world.changes().is_empty(), "{mutability}");
        let notice = world.notice();
        assert_eq!(notice["action"], "blocked");
        assert_eq!(notice["tags"]["kept"], json!(["1.0"]));
        let reason = notice["reasons"].as_array().unwrap().last().unwrap().as_str().unwrap();
        assert!(reason.contains("every quarantine tag"), "{reason}");
        assert!(reason.contains(&quarantine(&digest)), "{reason}");
        assert_eq!(settled(&app), [("delete blocked".to_owned(), 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn mark_taken_after_inspection_is_not_moved_if_tags_are_immutable() {
    let world = World::new();
    world.sim.set_tag_mutability(&world.repository, "IMMUTABLE", &[]);
    let digest = world.image(&["1.0"], critical());
    let other = world.image(&["other"], clean());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    let (repository, mark, to) = (world.repository.clone(), quarantine(&digest), other.clone());
    let squats = FaultRule::on("PutImage").once().act(move |sim| {
        sim.tag_image(&repository, &mark, &to);
    });
    world.sim.set_faults(squats);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&other), ["other".to_owned(), quarantine(&digest)]);
    assert_eq!(world.tags(&digest), [marks(&digest)[1].clone()]);
    assert_eq!(world.notice()["tags"]["quarantine"], json!(marks(&digest)[1]));
}

#[tokio::test(start_paused = true)]
async fn image_with_a_later_mark_needs_no_other() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.sim.tag_image(&world.repository, &marks(&digest)[3], &digest);
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [marks(&digest)[3].clone()]);
    assert!(world.tag_puts().is_empty(), "the mark that was read is enough");
    assert_eq!(world.notice()["tags"]["untagged"], json!(["1.0"]));
}

#[tokio::test(start_paused = true)]
async fn image_with_a_later_mark_is_notified_again_with_it_after_a_crash() {
    for fault in [Fault::Hang, Fault::HangAfter] {
        let world = World::new();
        let (digest, other) = squatted(&world, 2);
        world.crash_at("Publish", fault.clone()).await;
        assert_eq!(world.tags(&digest), [marks(&digest)[2].clone()]);
        let before = world.notices().len();

        let app = world.run_to_the_end().await;

        let notices = world.notices();
        assert_eq!(notices.len(), before + 1, "{fault:?}");
        let last = notices.last().unwrap();
        assert_eq!(last["action"], "quarantined");
        assert_eq!(last["tags"]["claimed"], json!(["1.0"]));
        assert_eq!(last["tags"]["quarantine"], json!(marks(&digest)[2]));
        assert_eq!(settled(&app), [("delete already_quarantined".to_owned(), 1)]);
        assert_eq!(world.tags(&other), marks(&digest)[..2]);
    }
}

#[tokio::test(start_paused = true)]
async fn image_is_deleted_by_its_own_marks() {
    for own in [&[1][..], &[2, 5][..]] {
        let world = World::new().set("POLICY__ACTION", "delete");
        let (digest, other) = squatted(&world, 1);
        for &at in own {
            world.sim.tag_image(&world.repository, &marks(&digest)[at], &digest);
        }

        let app = world.run_to_the_end().await;

        assert_eq!(world.sim.images(&world.repository), std::slice::from_ref(&other), "{own:?}");
        assert_eq!(world.tags(&other), [quarantine(&digest)], "{own:?}");
        assert_eq!(world.notice()["action"], "deleted");
        assert_eq!(settled(&app), [("delete deleted".to_owned(), 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn pushes_of_own_marks_start_no_work() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.route(json!({"source": ["aws.ecr"], "detail": {"action-type": ["PUSH"]}}));
    for mark in marks(&digest) {
        world.sim.tag_image(&world.repository, &mark, &digest);
    }

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete ignored".to_owned(), 10)]);
}

#[tokio::test(start_paused = true)]
async fn mark_that_an_earlier_attempt_has_put_counts_as_a_call_that_succeeded() {
    let world = World::new();
    let digest = world.violating(&["1.0"]);
    // The first attempt takes effect and its answer is lost, so the SDK's second one meets the mark.
    world.sim.set_faults(FaultRule::on("PutImage").first(1).fault(Fault::ConnectionResetAfter));

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.tag_puts().len(), 2);
    let metrics = app.instruments().render().unwrap();
    let count = |outcome: &str| {
        let labels = format!("operation=\"PutImage\",outcome=\"{outcome}\",service=\"ecr\"");
        let name = format!("tagwarden_aws_requests_total{{{labels}}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&name)).map(str::to_owned)
    };
    assert_eq!(count("ok").as_deref(), Some("2"), "the mark and the record: {metrics}");
    assert_eq!(count("rejected").as_deref(), Some("0"), "{metrics}");
}
