//! `tagwarden explain IMAGE`: the verdict about an image that somebody names, without an event.

use aws_sim::{Finding, ScanResult};
use serde_json::json;

use super::support::{ACCOUNT, REGION, Shown, World};

fn findings() -> ScanResult {
    let finding = Finding::new("CVE-2026-0001", "CRITICAL").in_package("openssl", "3.0.0");
    ScanResult::enhanced(&[]).with(finding.fixed_in("3.0.2"))
}

async fn explain(world: &World, image: &str) -> Shown {
    let shown = world.run(&["explain", image], "").await;
    assert_eq!(world.changes(), [] as [&str; 0]);
    shown
}

#[tokio::test]
async fn image_is_judged_as_ecr_shows_it_now_by_every_kind_of_name() {
    let world = World::new().await;
    let digest = world.image(&["1.0", "latest"], findings());
    let host = format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com");
    for image in
        ["team/app:1.0".to_owned(), format!("team/app@{digest}"), format!("{host}/team/app:latest")]
    {
        let shown = explain(&world, &image).await;
        assert_eq!(shown.code, 3, "{shown:?}");
        for expected in [
            "verdict    untag",
            "CVE-2026-0001 openssl 3.0.0, fixed in 3.0.2",
            "untag      1.0, latest",
        ] {
            assert!(shown.stdout.contains(expected), "{image}: {}", shown.stdout);
        }
        assert!(!shown.stdout.contains("message"), "no message asks: {}", shown.stdout);
    }
}

#[tokio::test]
async fn neither_queue_nor_configuration_is_needed() {
    let mut world = World::new().await;
    world.image(&["1.0"], findings());
    world.variables.retain(|name, _| !name.starts_with("TAGWARDEN"));
    let shown = explain(&world, "team/app:1.0").await;
    assert_eq!(shown.code, 3, "{shown:?}");
    for note in ["policy.mode is not set", "the default policy"] {
        assert!(shown.stdout.contains(note), "{}", shown.stdout);
    }
}

#[tokio::test]
async fn index_and_its_image_are_both_explained() {
    let world = World::new().await;
    let child = world.image(&[], findings());
    world.sim.push_index(&world.repository, &["2.0"], &[(child.as_str(), "linux/arm64")]);
    let shown = explain(&world, "team/app:2.0").await;
    assert_eq!(shown.code, 3, "{shown:?}");
    assert!(shown.stdout.contains("linux/arm64") && shown.stdout.contains(&child), "{shown:?}");
    let by_digest = explain(&world, &format!("team/app@{child}")).await;
    assert!(by_digest.stdout.contains("untag      2.0"), "{by_digest:?}");
}

#[tokio::test]
async fn absent_tag_leads_to_the_images_that_were_quarantined_without_records() {
    let world = World::new().await;
    let digest = world.image(&["1.0"], findings());
    let quarantine = digest.replace("sha256:", "quarantine-");
    world.sim.tag_image(&world.repository, &quarantine, &digest);
    world.sim.untag_image(&world.repository, "1.0");
    let shown = explain(&world, "team/app:1.0").await;
    assert_eq!(shown.code, 0, "{shown:?}");
    for expected in [
        "absent",
        "no image of team/app has the tag 1.0 now",
        "1 image was quarantined without records",
        &format!("team/app@{digest}"),
    ] {
        assert!(shown.stdout.contains(expected), "{expected}: {}", shown.stdout);
    }
    let quarantined = explain(&world, &format!("team/app:{quarantine}")).await;
    for expected in [
        "already quarantined".to_owned(),
        "it bears the quarantine tag without records".to_owned(),
        format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/team/app@{digest}"),
    ] {
        assert!(quarantined.stdout.contains(&expected), "{quarantined:?}");
    }
    assert!(!quarantined.stdout.contains("keys that mattered"), "{quarantined:?}");
    let verbose = world.run(&["explain", "-v", &format!("team/app@{digest}")], "").await;
    assert!(verbose.stdout.contains("keys that mattered"), "{verbose:?}");
    let json = world.run(&["explain", "team/app:1.0", "--format", "json"], "").await.json();
    assert_eq!((&json["event"], &json["verdict"]), (&json!(null), &json!("absent")));
}

#[tokio::test]
async fn what_is_neither_a_file_nor_an_image_is_refused_with_a_reason() {
    let world = World::new().await;
    for (target, expected) in [
        ("team/app", "neither a tag nor a digest"),
        ("localhost:5000/app:1", "is not the host of a registry of ECR"),
        ("no-such-event.json", "cannot be read"),
        ("./team/app:1", "cannot be read"),
    ] {
        let shown = world.run(&["explain", target], "").await;
        assert!(shown.complaint(2).contains(expected), "{target}: {shown:?}");
    }
    assert_eq!(world.sim.calls().len(), 0);
}
