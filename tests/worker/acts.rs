//! Inspect, decide, mark, record, remove tags, notify: what the worker does to an image, and what it
//! does not do.

use std::time::Duration;

use aws_sim::{FaultRule, ScanResult};
use serde_json::json;
use tokio::time::sleep;

use super::support::{self, World, basic, critical, enhanced, quarantine, settled};

#[tokio::test(start_paused = true)]
async fn violation_is_marked_untagged_and_notified_before_it_is_settled() {
    let world = World::new();
    let digest = world.image(&["1.2.3", "latest"], critical());
    world.send(&basic(&digest, &["1.2.3", "latest"], &json!({"CRITICAL": 1, "HIGH": 2})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(
        world.story(),
        [
            "DescribeImages",
            "DescribeImageScanFindings",
            // Searches for indexes that hold the image.
            "DescribeImages",
            "BatchGetImage",
            // The mark and the record.
            "PutImage",
            "PutImage",
            "BatchDeleteImage",
            "Publish",
            "DeleteMessageBatch"
        ]
    );
    let notice = world.notice();
    assert_eq!(notice["schema"], "tagwarden.notice/1");
    assert_eq!(notice["action"], "quarantined");
    assert_eq!(notice["tags"]["untagged"], json!(["1.2.3", "latest"]));
    assert_eq!(notice["tags"]["quarantine"], json!(quarantine(&digest)));
    assert_eq!(notice["findings"], json!({"critical": 1, "high": 2}));
    assert_eq!(notice["image"]["digest"], json!(digest));
}

#[tokio::test(start_paused = true)]
async fn clean_event_causes_no_call_to_the_registry() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"MEDIUM": 9})));
    world.send(&enhanced(
        &world.repository,
        &digest,
        &["1.0"],
        &json!({"CRITICAL": 0, "HIGH": 0, "MEDIUM": 3, "TOTAL": 3}),
    ));

    world.run_to_the_end().await;

    assert_eq!(world.story(), ["DeleteMessageBatch"]);
    assert_eq!(world.tags(&digest), ["1.0"]);
}

#[tokio::test(start_paused = true)]
async fn missing_or_partial_counts_are_looked_up() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    // Inspector prints zeros, so an absent HIGH says nothing.
    world.send(&enhanced(&world.repository, &digest, &["1.0"], &json!({"CRITICAL": 0})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn event_alone_is_never_enough_to_act_on() {
    let world = World::new();
    let digest = world.image(&["1.0"], ScanResult::basic(&[("LOW", 3)]));
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 99})));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    assert_eq!(world.tags(&digest), ["1.0"]);
    assert!(world.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn protected_tags_stay_and_the_notice_says_so() {
    let world = World::new().set("POLICY__PROTECTED_TAGS", "prod-*");
    let digest = world.image(&["1.0", "prod-eu"], critical());
    world.send(&basic(&digest, &["1.0", "prod-eu"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["prod-eu".to_owned(), quarantine(&digest)]);
    assert_eq!(world.notice()["tags"]["kept"], json!(["prod-eu"]));
}

#[tokio::test(start_paused = true)]
async fn image_with_only_protected_tags_is_notified_as_blocked() {
    let world = World::new().set("POLICY__PROTECTED_TAGS", "prod-*");
    let digest = world.image(&["prod-eu"], critical());
    world.send(&basic(&digest, &["prod-eu"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    let notice = world.notice();
    assert_eq!(notice["action"], "blocked");
    assert_eq!(notice["reasons"][2], r#"tag prod-eu is protected by "prod-*""#);
}

#[tokio::test(start_paused = true)]
async fn tag_that_moved_before_the_event_stays() {
    let world = World::new();
    let old = world.image(&["latest"], critical());
    let new = world.sim.push_image(&world.repository, &["latest"], "new");
    world.send(&basic(&old, &["latest"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&new), ["latest"]);
    assert!(world.changes().is_empty());
    assert!(world.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn tag_that_moves_between_inspection_and_delete_stays() {
    for untag in ["tag_and_digest", "tag"] {
        let world = World::new().set("REGISTRY__UNTAG", untag);
        let old = world.image(&["latest"], critical());
        let new = world.sim.push_image(&world.repository, &[], "new");
        let (repository, target) = (world.repository.clone(), new.clone());
        // Before the mark, because the delete by tag alone reads once more after it.
        let moves = FaultRule::on("PutImage")
            .once()
            .act(move |sim| sim.tag_image(&repository, "latest", &target));
        world.sim.set_faults(vec![moves]);
        world.send(&basic(&old, &["latest"], &json!({"CRITICAL": 1})));

        world.run_to_the_end().await;

        assert_eq!(world.tags(&new), ["latest"], "{untag}");
        assert!(world.notices().is_empty(), "{untag}: nothing was untagged");
    }
}

#[tokio::test(start_paused = true)]
async fn image_out_of_scope_is_never_inspected() {
    let world = World::new()
        .set("POLICY__REPOSITORIES__EXCLUDE", "team/*")
        .set("POLICY__REGIONS", "eu-west-1");
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    let elsewhere = aws_sim::RepoKey::new("444455556666", "eu-west-1", "other");
    world.send(&enhanced(&elsewhere, &digest, &["1.0"], &json!({"CRITICAL": 1})));
    let far = aws_sim::RepoKey::new(support::ACCOUNT, "us-east-1", "other");
    world.send(&enhanced(&far, &digest, &["1.0"], &json!({"CRITICAL": 1})));

    let app = world.run_to_the_end().await;

    assert_eq!(world.story(), ["Publish", "Publish", "DeleteMessageBatch"]);
    let metrics = app.instruments().render().unwrap();
    let line = r#"tagwarden_messages_settled_total{disposition="delete",reason="out_of_reach"} 3"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn account_out_of_scope_is_notified_once_a_day() {
    let world = World::new();
    let elsewhere = aws_sim::RepoKey::new("444455556666", "eu-west-1", "other");
    let send = |number: usize| {
        let digest = format!("sha256:{number:064x}");
        world.send(&enhanced(&elsewhere, &digest, &["1.0"], &json!({"CRITICAL": 1})));
    };
    // The first notice fails, and its message is delivered again.
    world.sim.set_faults(FaultRule::on("Publish").first(3).error("InternalError"));
    let test = async {
        (0..50).for_each(send);
        world.done().await;
        sleep(Duration::from_secs(25 * 3600)).await;
        (50..100).for_each(send);
        world.done().await;
    };
    let app = world.run_while(test).await;

    let notices = world.notices();
    assert_eq!(notices.len(), 2, "{notices:#?}");
    for notice in notices {
        assert_eq!(notice["action"], "unscanned");
        assert_eq!(notice["image"]["account"], "444455556666");
        let reason = notice["reasons"][0].as_str().unwrap();
        assert!(reason.contains("not in policy.accounts"), "{reason}");
    }
    assert!(world.changes().is_empty());
    assert!(
        settled(&app).contains(&("delete out_of_reach".to_owned(), 100)),
        "{:?}",
        settled(&app)
    );
}

#[tokio::test(start_paused = true)]
async fn image_in_another_account_and_region_is_processed_there() {
    let world = World::new()
        .set("POLICY__ACCOUNTS", "444455556666")
        .set("AWS__ASSUME_ROLE", "arn:aws:iam::{account}:role/tagwarden");
    let repository = world.sim.create_repository_in("444455556666", "us-east-1", "team/app");
    let digest = world.image_in(&repository, &["1.0"], critical());
    world.send(&enhanced(&repository, &digest, &["1.0"], &json!({"CRITICAL": 1, "HIGH": 2})));

    world.run_to_the_end().await;

    assert_eq!(world.sim.tags(&repository, &digest).unwrap(), [quarantine(&digest)]);
    for call in world.changes() {
        assert_eq!((call.account.as_str(), call.region.as_str()), ("444455556666", "us-east-1"));
    }
    assert_eq!(world.notice()["image"]["account"], "444455556666");
}

#[tokio::test(start_paused = true)]
async fn failed_scan_is_notified_and_changes_nothing() {
    let world = World::new();
    let digest = world.image(&["1.0"], aws_sim::ScanResult::status("FAILED"));
    let mut event = basic(&digest, &["1.0"], &json!(null));
    event["detail"]["scan-status"] = json!("FAILED");
    world.send(&event);

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    let notice = world.notice();
    assert_eq!(notice["action"], "unscanned");
    assert_eq!(notice["tags"]["kept"], json!(["1.0"]));
}

#[tokio::test(start_paused = true)]
async fn scan_state_without_findings_is_notified_and_never_counts_as_clean() {
    for status in
        ["FAILED", "UNSUPPORTED_IMAGE", "SCAN_ELIGIBILITY_EXPIRED", "IMAGE_ARCHIVED", "NEW_STATE"]
    {
        let world = World::new();
        let digest = world.image(&["1.0"], ScanResult::status(status));
        world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

        world.run_to_the_end().await;

        assert!(world.changes().is_empty());
        let notice = world.notice();
        assert_eq!(notice["action"], "unscanned");
        assert_eq!(notice["reasons"], json!([format!("ECR's scan status is {status}")]));
    }
}

#[tokio::test(start_paused = true)]
async fn audit_mode_notifies_once_and_changes_only_queue_and_topic() {
    let world = World::new()
        .set("POLICY__MODE", "audit")
        .set("POLICY__ACTION", "delete")
        .set("QUEUE__MAX_IN_FLIGHT", "1");
    let digest = world.image(&["1.0"], critical());
    for id in ["a", "b"] {
        let mut event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
        event["id"] = json!(id);
        world.send(&event);
    }

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    let notice = world.notice();
    assert_eq!((&notice["action"], &notice["mode"]), (&json!("would_untag"), &json!("audit")));
    assert_eq!(notice["tags"]["would_untag"], json!(["1.0"]));
    assert_eq!(notice["tags"]["untagged"], json!([]));
    assert_eq!(notice["tags"]["quarantine"], json!(null));
}

#[tokio::test(start_paused = true)]
async fn delete_action_deletes_the_image_after_the_notice() {
    let world = World::new().set("POLICY__ACTION", "delete");
    let digest = world.image(&["1.0", "latest"], critical());
    world.send(&basic(&digest, &["1.0", "latest"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.sim.tags(&world.repository, &digest), None);
    assert_eq!(
        world.story()[5..],
        ["PutImage", "BatchDeleteImage", "Publish", "BatchDeleteImage", "DeleteMessageBatch"]
    );
    assert_eq!(world.notice()["action"], "deleted");
}

#[tokio::test(start_paused = true)]
async fn delete_action_keeps_an_image_that_keeps_a_tag() {
    let world = World::new().set("POLICY__ACTION", "delete").set("POLICY__PROTECTED_TAGS", "prod");
    let digest = world.image(&["1.0", "prod"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["prod".to_owned(), quarantine(&digest)]);
    assert_eq!(world.notice()["action"], "quarantined");
}

#[tokio::test(start_paused = true)]
async fn event_without_a_digest_resolves_its_tags() {
    let world = World::new();
    let one = world.image(&["1.0", "1.0.1"], critical());
    let two = world.image(&["2.0"], critical());
    let mut event = basic("", &["1.0", "2.0", "gone"], &json!({"CRITICAL": 1}));
    event["detail"]["image-digest"] = json!(null);
    world.send(&event);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&one), [quarantine(&one)]);
    assert_eq!(world.tags(&two), [quarantine(&two)]);
    let ids: Vec<_> = world.notices().iter().map(|notice| notice["id"].clone()).collect();
    assert_eq!(ids.len(), 2);
    assert_ne!(ids[0], ids[1], "one notice for each assessed digest");
}

#[tokio::test(start_paused = true)]
async fn missing_image_is_settled_as_absent() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    let event = basic(&digest, &["1.0"], &json!({"CRITICAL": 1}));
    world.sim.delete_image(&world.repository, &digest);
    world.send(&event);
    world.run_to_the_end().await;

    world.sim.delete_repository(&world.repository);
    world.send(&event);
    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    assert!(world.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn repository_deleted_during_the_work_is_absent() {
    for operation in ["DescribeImageScanFindings", "BatchGetImage", "PutImage", "BatchDeleteImage"]
    {
        let world = World::new();
        let digest = world.image(&["1.0"], critical());
        let repository = world.repository.clone();
        let deletes =
            FaultRule::on(operation).once().act(move |sim| sim.delete_repository(&repository));
        world.sim.set_faults(vec![deletes]);
        world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

        let app = world.run_to_the_end().await;

        let metrics = app.instruments().render().unwrap();
        let line = r#"tagwarden_messages_settled_total{disposition="delete",reason="absent"} 1"#;
        assert!(metrics.contains(line), "{operation}: {metrics}");
    }
}

#[tokio::test(start_paused = true)]
async fn image_without_tags_has_nothing_to_untag() {
    let world = World::new();
    let digest = world.image(&[], critical());
    world.send(&basic(&digest, &[], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    assert_eq!(world.tags(&digest), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn image_held_by_an_index_is_notified_as_blocked_and_keeps_its_other_tags() {
    let world = World::new();
    let digest = world.image(&["1.0", "latest"], critical());
    let held = FaultRule::on("BatchDeleteImage").fail_entries("ImageReferencedByManifestList");
    world.sim.set_faults(vec![held]);
    world.send(&basic(&digest, &["1.0", "latest"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    let notice = world.notice();
    assert_eq!(notice["action"], "blocked");
    assert!(notice["reasons"][2].as_str().unwrap().contains("ImageReferencedByManifestList"));
    assert_eq!(world.sim.calls_of("BatchDeleteImage").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn permanently_refused_mark_prevents_every_tag_removal() {
    for code in
        ["LimitExceededException", "LayersNotFoundException", "ReferencedImagesNotFoundException"]
    {
        let world = World::new();
        let digest = world.image(&["1.0"], critical());
        world.sim.set_faults(vec![FaultRule::on("PutImage").error(code)]);
        world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

        world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), ["1.0"], "{code}");
        let notice = world.notice();
        assert_eq!(notice["action"], "blocked");
        assert!(notice["reasons"][2].as_str().unwrap().contains(code));
        assert_eq!(notice["tags"]["kept"], json!(["1.0"]));
    }
}

#[tokio::test(start_paused = true)]
async fn existing_mark_is_as_good_as_a_new_one() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["tags"]["untagged"], json!(["1.0"]));
}

#[tokio::test(start_paused = true)]
async fn tags_of_an_immutable_repository_can_be_removed() {
    let world = World::new();
    world.sim.set_tag_mutability(&world.repository, "IMMUTABLE", &[]);
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn more_than_a_hundred_tags_are_removed_in_calls_of_a_hundred() {
    let world = World::new();
    let tags: Vec<_> = (0..250).map(|number| format!("t{number:03}")).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let digest = world.image(&tags, critical());
    world.send(&basic(&digest, &tags, &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let calls = world.sim.calls_of("BatchDeleteImage");
    let sizes: Vec<_> =
        calls.iter().map(|call| call.request["imageIds"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(world.notice()["tags"]["untagged"].as_array().unwrap().len(), 250);
}

#[tokio::test(start_paused = true)]
async fn findings_on_every_page_count() {
    let world = World::new();
    let scan = (0..1500).fold(ScanResult::basic(&[]), |scan, number| {
        scan.with(aws_sim::Finding::new(&format!("CVE-2026-{number:04}"), "LOW"))
    });
    let digest = world.image(&["1.0"], scan);
    let world = world.set("POLICY__MAX_FINDINGS__LOW", "1499");
    world.send(&basic(&digest, &["1.0"], &json!({"LOW": 1500})));

    world.run_to_the_end().await;

    assert_eq!(world.sim.calls_of("DescribeImageScanFindings").len(), 2);
    assert_eq!(world.notice()["findings"]["low"], 1500);
}

#[tokio::test(start_paused = true)]
async fn own_quarantine_tag_starts_no_work_and_is_never_removed() {
    let world = World::new();
    let digest = world.image(&["1.0"], critical());
    world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));
    world.run_to_the_end().await;
    let calls = world.story().len();

    // A later scan of the quarantined image, with and without its tags in the event.
    world.send(&basic(&digest, &[&quarantine(&digest)], &json!({"CRITICAL": 1})));
    world.send(&basic(&digest, &[], &json!({"CRITICAL": 1})));
    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notices().len(), 1);
    let since = world.story().split_off(calls);
    assert_eq!(since.iter().filter(|call| *call != "DeleteMessageBatch").count(), 3, "{since:?}");
}

#[tokio::test(start_paused = true)]
async fn every_format_is_published_with_the_same_attributes() {
    for format in ["text", "json", "chat"] {
        let world = World::new().set("NOTIFY__FORMAT", format);
        let digest = world.image(&["1.0"], critical());
        world.send(&basic(&digest, &["1.0"], &json!({"CRITICAL": 1})));

        world.run_to_the_end().await;

        let published = world.sim.notices(&world.topic);
        assert_eq!(published.len(), 1);
        assert_eq!(
            published[0].subject.as_deref(),
            Some("team/app:1.0 quarantined: CVE-2026-CRITICAL-0001 (critical), 2 high")
        );
        let attributes: Vec<_> = published[0].attributes.iter().collect();
        let expected = [
            ("account", support::ACCOUNT),
            ("action", "quarantined"),
            ("region", support::REGION),
            ("repository", "team/app"),
            ("severity", "critical"),
        ];
        assert!(attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).eq(expected));
    }
}
