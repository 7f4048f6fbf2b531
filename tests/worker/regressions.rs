//! One test for each defect that a review found, so that no defect comes back.

use std::time::Duration;

use aws_sim::{FaultRule, Finding, RepoKey, ScanResult};
use serde_json::json;
use tagwarden::shutdown::Shutdown;
use tokio::time::sleep;

use super::support::{ACCOUNT, QUEUE, World, basic, critical, enhanced, in_repository, quarantine};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn violating(world: &World, tag: &str) -> String {
    let digest = world.image(&[tag], critical());
    world.send(&basic(&digest, &[tag], &json!({"CRITICAL": 1})));
    digest
}

async fn done(world: &World) {
    world.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn pause_ends_although_the_lease_of_its_probe_was_lost() {
    let expired = |operation| FaultRule::on(operation).error("ExpiredTokenException");
    let cases = [
        vec![
            expired("DescribeImages"),
            expired("ChangeMessageVisibilityBatch"),
            expired("ReceiveMessage"),
        ],
        // Longer than the twelve hours that a message can be kept invisible.
        vec![FaultRule::on("Publish").error("AuthorizationError")],
    ];
    for faults in cases {
        let world = World::new();
        let app = world.app();
        let test = async {
            violating(&world, "1.0");
            world.sim.wait_for_calls("ReceiveMessage", 1).await;
            world.sim.set_faults(faults);
            sleep(Duration::from_secs(13 * 3600)).await;
            assert!(app.health().ready().is_err());
            world.sim.clear_faults();
            sleep(DAY).await;
            assert_eq!(app.health().ready(), Ok(()));
        };
        world.work(&app, &Shutdown::default(), test).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn removed_tags_are_notified_despite_a_recent_notice_of_the_image() {
    let lost_answers = [
        FaultRule::on("Publish").first(12).hang(),
        FaultRule::on("BatchDeleteImage").first(3).reset_after(),
    ];
    for lost in lost_answers {
        let world = World::new();
        let digest = violating(&world, "1.0");
        world
            .run_while(async {
                done(&world).await;
                world.sim.tag_image(&world.repository, "2.0", &digest);
                world.sim.set_faults(vec![lost]);
                let mut event = basic(&digest, &["2.0"], &json!({"CRITICAL": 1}));
                event["id"] = json!("second");
                world.send(&event);
                done(&world).await;
            })
            .await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        let notified =
            world.notices().iter().any(|notice| notice["tags"].to_string().contains("2.0"));
        assert!(notified, "{:#?}", world.notices());
    }
}

#[tokio::test(start_paused = true)]
async fn same_facts_in_another_repository_or_decision_are_notified_again() {
    let world = World::new().set("POLICY__MODE", "audit").set("QUEUE__MAX_IN_FLIGHT", "1");
    let other = world.sim.create_repository("team/other");
    let digest = world.image(&["1.0"], critical());
    world.sim.push_image(&other, &["1.0"], "1.0");
    world.sim.set_findings(&other, &digest, critical());
    let event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    let unknown = world.image(&["2.0"], aws_sim::ScanResult::status("FAILED"));
    let mut failed = basic(&unknown, &["2.0"], &json!(null));
    failed["detail"]["scan-status"] = json!("FAILED");
    for event in [event.clone(), in_repository(event.clone(), "team/other"), failed, event] {
        world.send(&event);
    }

    world.run_to_the_end().await;

    assert_eq!(world.notices().len(), 3, "{:#?}", world.notices());
}

#[tokio::test(start_paused = true)]
async fn notice_of_an_event_without_a_digest_is_retried_until_it_is_sent() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let mut event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    event["detail"]["image-digest"] = json!(null);
    world.send(&event);
    world.sim.set_faults(vec![FaultRule::on("Publish").first(6).error("InternalError")]);

    world.run_to_the_end().await;

    assert_eq!(world.notice()["tags"]["untagged"], json!(["1.0"]));
}

#[tokio::test(start_paused = true)]
async fn credentials_failing_elsewhere_delay_nothing_here() {
    let abroad = RepoKey::new("444455556666", "eu-west-1", "team/app");
    let far = RepoKey::new(ACCOUNT, "ap-east-1", "team/app");
    let cases = [
        (abroad, FaultRule::on("AssumeRole").error("AccessDenied")),
        (far, FaultRule::on("DescribeImages").error("UnrecognizedClientException")),
    ];
    for (repository, fault) in cases {
        let world = World::new()
            .set("POLICY__ACCOUNTS", "111122223333,444455556666")
            .set("AWS__ASSUME_ROLE", "arn:aws:iam::{account}:role/tagwarden");
        let digest = format!("sha256:{}", "a".repeat(64));
        world.send(&enhanced(&repository, &digest, &["1.0"], &json!({"CRITICAL": 1})));
        let region = repository.region.clone();
        world.sim.set_faults(vec![
            fault.matching(move |call| call.operation == "AssumeRole" || call.region == region),
        ]);
        let app = world.app();
        let test = async {
            sleep(Duration::from_secs(120)).await;
            assert_eq!(app.health().ready(), Ok(()), "{repository}");
            let held = world.sim.queue(QUEUE).messages.remove(0);
            assert!(held.receive_count > 1, "{repository}: it waits in the queue, not in a permit");
            let good = violating(&world, "1.0");
            sleep(Duration::from_secs(60)).await;
            assert_eq!(world.tags(&good), [quarantine(&good)], "{repository}");
        };
        world.work(&app, &Shutdown::default(), test).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn tags_left_by_an_over_reach_are_removed_by_the_next_process() {
    let world = World::new();
    let tags: Vec<_> = (0..150).map(|number| format!("t{number:03}")).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let digest = world.image(&tags, critical());
    world.send(&basic(&digest, &tags, &json!({"CRITICAL": 1})));
    let forged = digest.clone();
    world.sim.set_faults(vec![FaultRule::on("BatchDeleteImage").once().replace(move |reply| {
        let ids = reply["imageIds"].as_array_mut().unwrap();
        ids.push(json!({"imageTag": "other", "imageDigest": forged}));
    })]);

    world.run_while(sleep(Duration::from_secs(600))).await;
    assert_eq!(world.sim.queue(QUEUE).messages.len(), 1);
    assert_eq!(world.tags(&digest).len(), 51);
    assert_eq!(world.notice()["tags"]["kept"].as_array().unwrap().len(), 50);

    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn delete_that_waits_for_access_does_not_resume_after_an_over_reach() {
    let world = World::new();
    let digest = violating(&world, "1.0");
    let app = world.app();
    let test = async {
        let expired = FaultRule::on("BatchDeleteImage").error("ExpiredTokenException");
        world.sim.set_faults(vec![expired]);
        world.sim.wait_for_calls("BatchDeleteImage", 2).await;
        app.health().overreached();
        world.sim.clear_faults();
        sleep(Duration::from_secs(120)).await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
    assert!(world.tags(&digest).contains(&"1.0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn no_image_is_changed_after_an_over_reach() {
    let world = World::new().set("POLICY__ACTION", "delete");
    let marked = world.image(&[], critical());
    world.sim.tag_image(&world.repository, &quarantine(&marked), &marked);
    let fresh = world.image(&["1.0"], critical());
    let redelivered = world.send(&basic(&marked, &["0.9"], &json!({"CRITICAL": 1})));
    let app = world.app();
    // Both messages are in hand, and one is redelivered, when the over-reach happens.
    world.sim.set_faults(vec![FaultRule::on("ReceiveMessage").once().reset_after()]);
    let test = async {
        world
            .sim
            .wait_until(|sim| sim.calls().iter().any(|call| call.operation == "ReceiveMessage"))
            .await;
        world.send(&basic(&fresh, &["1.0"], &json!({"CRITICAL": 1})));
        let slow = FaultRule::on("DescribeImages").delay(Duration::from_secs(5));
        world.sim.set_faults(vec![slow]);
        world.sim.make_visible(QUEUE, &redelivered);
        world
            .sim
            .wait_until(|sim| {
                sim.calls().iter().filter(|call| call.operation == "DescribeImages").count() == 2
            })
            .await;
        app.health().overreached();
        sleep(Duration::from_secs(30)).await;
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();

    assert!(world.changes().is_empty(), "{:#?}", world.story());
    assert!(world.notices().is_empty(), "nothing was done, so nothing is notified");
}

#[tokio::test(start_paused = true)]
async fn undeletable_image_is_notified_as_blocked_without_its_removed_tags() {
    let world = World::new().set("POLICY__ACTION", "delete");
    let digest = world.image(&["1.0"], critical());
    // After the search for indexes and before the delete, somebody pushed an index that holds it.
    let held =
        FaultRule::on("BatchDeleteImage").skip(1).fail_entries("ImageReferencedByManifestList");
    world.sim.set_faults(held);
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let notices = world.notices();
    let last = notices.last().unwrap();
    assert_eq!((&last["action"], &last["tags"]["kept"]), (&json!("blocked"), &json!([])));
}

#[tokio::test(start_paused = true)]
async fn image_that_an_index_still_holds_is_not_notified_as_deleted() {
    let world = World::new().set("POLICY__ACTION", "delete").set("POLICY__PROTECTED_TAGS", "1.0");
    let child = world.image(&["1.0-amd64"], critical());
    world.sim.push_index(&world.repository, &["1.0"], &[(child.as_str(), "linux/amd64")]);
    world.send(&basic(&child, &["1.0-amd64"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&child), [quarantine(&child)]);
    let notices = world.notices();
    let of_child = notices.iter().filter(|notice| notice["image"]["digest"] == child.as_str());
    let actions: Vec<_> = of_child.map(|notice| notice["action"].clone()).collect();
    assert_eq!(actions, ["quarantined"]);
}

#[tokio::test(start_paused = true)]
async fn image_with_an_unanswered_delete_is_not_reported_as_deleted() {
    let world = World::new().set("POLICY__ACTION", "delete");
    let digest = violating(&world, "1.0");
    let silent =
        FaultRule::on("BatchDeleteImage").skip(1).once().fault(aws_sim::Fault::FailEntries {
            code: "KmsError".to_owned(),
            entries: std::sync::Arc::new(|_| true),
        });
    let empty = FaultRule::on("BatchDeleteImage").skip(1).once().replace(|reply| {
        *reply = json!({"imageIds": [], "failures": []});
    });
    world.sim.set_faults(vec![silent, empty]);

    world.run_to_the_end().await;

    assert_eq!(world.sim.tags(&world.repository, &digest), None, "the next delivery deleted it");
}

#[tokio::test(start_paused = true)]
async fn queue_that_refuses_settlements_pauses_the_worker_and_loses_nothing() {
    let world = World::new();
    violating(&world, "1.0");
    let app = world.app();
    let test = async {
        let denied = FaultRule::on("DeleteMessageBatch").error("AccessDeniedException");
        world.sim.set_faults(vec![denied]);
        sleep(Duration::from_secs(6 * 3600)).await;
        let reason = "paused: the queue refuses to delete messages";
        assert_eq!(app.health().ready(), Err(reason));
        assert_eq!(world.sim.queue(QUEUE).messages.remove(0).receive_count, 1);
        world.sim.clear_faults();
        done(&world).await;
        assert_eq!(app.health().ready(), Ok(()));
    };
    world.work(&app, &Shutdown::default(), test).await.unwrap();
    assert_eq!((world.dead_letters(), world.notices().len()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn registry_that_refuses_overnight_dead_letters_nothing() {
    let world = World::new();
    for number in 0..12 {
        violating(&world, &format!("v{number}"));
    }
    world.sim.set_faults(vec![
        FaultRule::on_service(aws_sim::Service::Ecr).error("AccessDeniedException"),
    ]);
    world.run_while(sleep(Duration::from_secs(11 * 3600))).await;
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_refusing_repositories_that_hold_every_permit_make_way_for_others() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "1");
    for name in ["bad/one", "bad/two"] {
        world.sim.create_repository(name);
        for number in 0..3 {
            let digest = format!("sha256:{}", number.to_string().repeat(64));
            let event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
            world.send(&in_repository(event, name));
        }
    }
    let good = violating(&world, "1.0");
    let denied = ["bad/one", "bad/two"].map(|name| {
        FaultRule::on("DescribeImages").repository(name).error("AccessDeniedException")
    });
    world.sim.set_faults(denied.to_vec());

    world.run_while(sleep(Duration::from_secs(3600))).await;

    assert_eq!(world.tags(&good), [quarantine(&good)]);
}

#[tokio::test(start_paused = true)]
async fn events_of_other_sources_may_have_any_shape() {
    let world = World::new();
    world.send(&json!({"source": "my.app", "detail-type": "x", "id": 5, "resources": "none"}));
    world.run_to_the_end().await;
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn unusual_severities_in_an_event_never_clear_an_image() {
    for counts in [json!({"critical": 1}), json!({"GRAVE": 1}), json!({"HIGH": null})] {
        let world = World::new();
        let digest = world.image(&["1.0"], critical());
        world.send(&basic(&digest, &["1.0"], &counts));
        world.run_to_the_end().await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{counts}");
    }
}

#[tokio::test(start_paused = true)]
async fn finding_can_neither_forge_lines_of_a_mail_nor_make_it_too_large() {
    let world = World::new().set("NOTIFY__FORMAT", "text");
    let names = ["CVE-1\nDigest: sha256:forged".to_owned(), "x".repeat(300_000)];
    let scan = names
        .iter()
        .fold(ScanResult::basic(&[]), |scan, name| scan.with(Finding::new(name, "CRITICAL")));
    let digest = world.image(&["1.0"], scan);
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    let message = &world.sim.notices(&world.topic)[0].message;
    assert!(!message.contains("\nDigest: sha256:forged") && message.len() < 10_000, "{message}");
}

#[tokio::test(start_paused = true)]
async fn audit_mode_changes_nothing_on_redelivery_of_a_marked_image() {
    let world = World::new().set("POLICY__MODE", "audit").set("POLICY__ACTION", "delete");
    let digest = world.image(&[], critical());
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    // The first delivery is lost on its way.
    world.sim.set_faults(vec![FaultRule::on("ReceiveMessage").once().reset_after()]);

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn redelivery_notifies_the_team_before_the_image_is_deleted() {
    let world = World::new().set("POLICY__ACTION", "delete").set("POLICY__PROTECTED_TAGS", "prod");
    let digest = world.image(&[], critical());
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.send(&basic(&digest, &["1.0", "prod"], &json!({"CRITICAL": 1})));
    world.sim.set_faults(vec![FaultRule::on("ReceiveMessage").once().reset_after()]);

    world.run_to_the_end().await;

    let story = world.story();
    let at = |call: &str| story.iter().position(|other| other == call).unwrap();
    assert!(at("Publish") < at("BatchDeleteImage"), "{story:?}");
    let claimed = &world.notice()["tags"]["claimed"];
    assert_eq!(claimed, &json!(["1.0"]), "the worker never claims to have removed a protected tag");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_claimed_at_the_first_delivery_or_without_own_mark() {
    // First delivery, with the mark from an earlier event.
    let world = World::new();
    let digest = world.image(&["2.0"], critical());
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.send(&basic(&digest, &["1.0", "2.0"], &json!({"CRITICAL": 1})));
    world.run_to_the_end().await;
    assert_eq!(world.notice()["tags"]["claimed"], json!([]));

    // Second delivery, but no mark.
    let world = World::new();
    let digest = world.image(&["2.0"], critical());
    world.send(&basic(&digest, &["1.0", "2.0"], &json!({"CRITICAL": 1})));
    world.sim.set_faults(vec![FaultRule::on("ReceiveMessage").once().reset_after()]);
    world.run_to_the_end().await;
    assert_eq!(world.notice()["tags"]["claimed"], json!([]));
    assert_eq!(world.notice()["tags"]["untagged"], json!(["2.0"]));
}

/// The first attempt of a call removes the tag and is not answered, the second one fails.
#[tokio::test(start_paused = true)]
async fn tags_that_a_failed_call_may_have_removed_are_told_without_a_digest_too() {
    let second = || FaultRule::on("BatchDeleteImage").skip(1).once();
    // An answer about each tag is read after, and a call that fails is told by the next delivery.
    let failed = || (second().fail_entries("KmsError"), "untagged");
    let refused = || (second().error("AccessDeniedException"), "claimed");
    for (action, done) in [("quarantine", "quarantined"), ("delete", "deleted")] {
        for (fault, named) in [failed(), refused()] {
            let world = World::new().set("POLICY__ACTION", action);
            let digest = world.image(&["1.0"], critical());
            let mut event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
            event["detail"]["image-digest"] = json!(null);
            world.send(&event);
            let lost = FaultRule::on("BatchDeleteImage").once().reset_after();
            world.sim.set_faults(vec![lost, fault]);

            world.run_to_the_end().await;

            let notice = world.notice();
            assert_eq!(notice["action"], done);
            assert_eq!(notice["image"]["digest"], digest.as_str());
            assert_eq!(notice["tags"][named], json!(["1.0"]), "{action} {named}");
            let marked = (action == "quarantine").then(|| vec![quarantine(&digest)]);
            assert_eq!(world.sim.tags(&world.repository, &digest), marked);
        }
    }
}
