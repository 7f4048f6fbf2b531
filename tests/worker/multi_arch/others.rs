//! Indexes that must keep their tags, and manifests that are no images.

use aws_sim::{ScanResult, manifest};
use serde_json::json;

use super::{AMD, ARM, changed, child, clean, multi_arch, only, push_of, scanned};
use crate::support::{World, basic, critical, quarantine, settled};

#[tokio::test(start_paused = true)]
async fn index_with_only_protected_tags_is_notified_as_blocked() {
    let world = World::new().set("POLICY__PROTECTED_TAGS", "prod*");
    let it = multi_arch(&world, &["prod"], critical(), clean());
    world.send(&scanned(&it.amd));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&it.index), ["prod"]);
    assert!(world.changes().is_empty());
    let notice = world.notice();
    assert_eq!(
        (&notice["action"], &notice["image"]["digest"]),
        (&json!("blocked"), &json!(it.index))
    );
    assert_eq!(notice["tags"]["kept"], json!(["prod"]));
    assert_eq!(notice["cause"], json!({"digest": it.amd, "platform": AMD}));
}

#[tokio::test(start_paused = true)]
async fn index_keeps_its_protected_tags_and_is_not_deleted_with_one() {
    let world = World::new().set("POLICY__PROTECTED_TAGS", "prod*").set("POLICY__ACTION", "delete");
    let it = multi_arch(&world, &["1.0", "prod"], critical(), clean());
    world.send(&scanned(&it.amd));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&it.index), ["prod".to_owned(), quarantine(&it.index)]);
    assert_eq!(changed(&world), only(&it.index));
    let notice = world.notice();
    assert_eq!(notice["action"], "quarantined");
    assert_eq!(notice["tags"]["untagged"], json!(["1.0"]));
    assert_eq!(notice["tags"]["kept"], json!(["prod"]));
}

#[tokio::test(start_paused = true)]
async fn audit_mode_reports_what_enforcing_would_do_to_an_index() {
    let world = World::new().set("POLICY__MODE", "audit");
    let it = multi_arch(&world, &["1.0"], critical(), clean());
    world.send(&scanned(&it.amd));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    let notice = world.notice();
    assert_eq!(notice["action"], "would_untag");
    assert_eq!(notice["tags"]["would_untag"], json!(["1.0"]));
    assert_eq!(notice["cause"]["platform"], AMD);
}

#[tokio::test(start_paused = true)]
async fn index_without_images_is_left_alone_without_a_notice() {
    let world = World::new();
    let attestation = child(&world, "attestation", None);
    world.route(json!({"detail-type": ["ECR Image Action"]}));
    let children = [(attestation.as_str(), "unknown/unknown")];
    let alone = world.sim.push_index(&world.repository, &["alone"], &children);
    let empty = world.sim.push_index(&world.repository, &["empty"], &[]);

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete not_an_image".to_owned(), 2)]);
    assert!(world.changes().is_empty() && world.notices().is_empty());
    assert_eq!(
        (world.tags(&alone), world.tags(&empty)),
        (vec!["alone".into()], vec!["empty".into()])
    );
}

#[tokio::test(start_paused = true)]
async fn charts_and_signatures_are_left_alone_without_a_notice() {
    let world = World::new();
    world.route(json!({"detail-type": ["ECR Image Action"]}));
    let image = world.image(&["1.0"], clean());
    let chart = manifest::artifact("chart", "application/vnd.cncf.helm.config.v1+json");
    let chart = world.sim.push_manifest(&world.repository, &["0.1.0"], &chart);
    let signature = manifest::image("signature of 1.0");
    let tag = format!("{}.sig", image.replace(':', "-"));
    world.sim.push_manifest(&world.repository, &[&tag], &signature);

    let app = world.run_to_the_end().await;

    let outcomes = ["delete clean", "delete left_to_scan", "delete not_an_image"];
    assert_eq!(settled(&app), outcomes.map(|outcome| (outcome.to_owned(), 1)));
    assert_eq!(world.looks(&chart), 1, "only ECR knows whether it is an image");
    assert!(world.changes().is_empty() && world.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn unscannable_signature_is_ignored_and_a_disguised_image_is_not() {
    for ending in [".sig", ".att", ".sbom", ""] {
        let world = World::new();
        let subject = child(&world, "subject", Some(clean()));
        let tag = format!("{}{ending}", subject.replace(':', "-"));
        let unsupported = ScanResult::status("UNSUPPORTED_IMAGE");
        let signature = world.image(&[&tag], unsupported);
        let mut failed = basic(&signature, &[&tag], &json!(null));
        failed["detail"]["scan-status"] = json!("FAILED");
        world.send(&failed);
        world.send(&world.sim.events().pop().unwrap());

        world.run_to_the_end().await;

        assert!(world.changes().is_empty() && world.notices().is_empty(), "{ending}");
        // More findings never turn an untag into a keep.
        world.sim.set_findings(&world.repository, &signature, critical());
        world.scanned(&signature);
        world.run_to_the_end().await;
        assert_eq!(world.tags(&signature), [quarantine(&signature)], "{ending}");
    }
}

#[tokio::test(start_paused = true)]
async fn index_with_an_unjudged_child_is_notified_once_and_keeps_its_tags() {
    for status in ["FAILED", "UNSUPPORTED_IMAGE", "SCAN_ELIGIBILITY_EXPIRED"] {
        let world = World::new();
        world.route(push_of("1.0"));
        let it = multi_arch(&world, &["1.0"], clean(), ScanResult::status(status));
        world.send(&world.sim.events().pop().unwrap());

        world.run_to_the_end().await;

        assert!(world.changes().is_empty(), "{status}");
        let notice = world.notice();
        assert_eq!(notice["action"], "unscanned", "{status}");
        assert_eq!(notice["image"]["digest"], json!(it.index), "{status}");
        let reason = format!("ECR's scan status is {status}: {} ({ARM})", it.arm);
        assert_eq!(notice["reasons"], json!([reason]));
    }
}

#[tokio::test(start_paused = true)]
async fn index_in_another_repository_is_another_index() {
    let world = World::new();
    let it = multi_arch(&world, &["1.0"], critical(), clean());
    let other = world.sim.create_repository("team/other");
    for name in [format!("1.0 {AMD}"), format!("1.0 {ARM}")] {
        world.sim.push_image(&other, &[], &name);
    }
    world.sim.push_index(&other, &["1.0"], &[(&it.amd, AMD), (&it.arm, ARM)]);
    world.send(&scanned(&it.amd));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&it.index), [quarantine(&it.index)]);
    assert_eq!(world.sim.tags(&other, &it.index).unwrap(), ["1.0"]);
}
