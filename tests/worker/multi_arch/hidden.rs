//! Images that an index describes in an unusual way, and manifests that claim to be something else.

use aws_sim::ScanResult;
use aws_sim::manifest::{self, Entry, OCI_IMAGE};
use serde_json::{Value, json};

use super::{AMD, ARM, child, clean, named, push_of, scanned};
use crate::support::{World, basic, critical, enhanced, quarantine, settled};

const HELM: &str = "application/vnd.cncf.helm.config.v1+json";

fn push(world: &World, tags: &[&str], entries: &[Entry]) -> String {
    world.sim.push_manifest(&world.repository, tags, &manifest::index_of(entries))
}

/// The message that starts a sweep.
fn sweep() -> Value {
    json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": {}})
}

/// The image counts of a sweep's summary.
fn swept(world: &World) -> Value {
    let notices = world.notices();
    let summary = notices.iter().find(|notice| notice["schema"] == "tagwarden.sweep/1");
    let mut images = summary.expect("no summary")["images"].clone();
    images.as_object_mut().unwrap().retain(|_, count| *count != 0);
    images
}

/// Every form in which a tagged index has been seen to hold an image, each with its own tag.
fn holders(world: &World, bad: &str) -> Vec<String> {
    let unknown = json!({"os": "unknown", "architecture": "unknown"});
    let plain = Entry::image(bad).with("platform", json!({"os": "linux", "architecture": "arm64"}));
    let entries = [
        ("plain", plain),
        ("artifact", Entry::image(bad).with("artifactType", json!("application/spdx+json"))),
        ("unknown", Entry::image(bad).with("platform", unknown.clone())),
        ("nameless", Entry::image(bad).with("platform", json!({}))),
        ("attestation", Entry::attestation(bad)),
        ("strange", Entry::image(bad).with("mediaType", json!("application/octet-stream"))),
        ("untyped", Entry::image(bad).with("mediaType", json!(null)).with("platform", json!(7))),
    ];
    let mut holders: Vec<_> =
        entries.into_iter().map(|(tag, entry)| push(world, &[tag], &[entry])).collect();
    let inner = push(world, &[], &[Entry::image(bad).with("platform", unknown)]);
    holders.push(push(world, &["nested"], &[Entry::index(&inner)]));
    let middle = push(world, &[], &[Entry::index(&inner), Entry::image(bad)]);
    let middle = push(world, &[], &[Entry::index(&middle)]);
    holders.push(push(world, &["nested.twice"], &[Entry::index(&middle)]));
    holders
}

fn assert_all_untagged(world: &World, holders: &[String], what: &str) {
    for holder in holders {
        assert_eq!(world.tags(holder), [quarantine(holder)], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn description_in_an_index_never_hides_an_image() {
    // Found by the scan of the image itself, and by a sweep.
    for by_sweep in [false, true] {
        let world = World::new();
        let bad = child(&world, "bad", Some(critical()));
        let holders = holders(&world, &bad);
        world.send(&if by_sweep { sweep() } else { scanned(&bad) });

        world.run_to_the_end().await;

        assert_all_untagged(&world, &holders, if by_sweep { "sweep" } else { "scan" });
        assert_eq!(world.tags(&bad), [""; 0]);
        let causes: Vec<_> =
            world.notices().iter().map(|one| one["cause"]["digest"].clone()).collect();
        assert_eq!(causes.iter().filter(|cause| **cause == json!(bad)).count(), holders.len());
        assert_eq!(world.dead_letters(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn index_pushed_last_is_judged_by_its_hidden_images_too() {
    let world = World::new();
    let bad = child(&world, "bad", Some(critical()));
    world.route(json!({"detail-type": ["ECR Image Action"], "detail": {"image-tag": [{"anything-but": [""]}]}}));
    let holders = holders(&world, &bad);

    world.run_to_the_end().await;

    assert_all_untagged(&world, &holders, "push");
}

#[tokio::test(start_paused = true)]
async fn entry_that_claims_to_be_an_image_is_followed_as_an_index() {
    let world = World::new();
    let bad = child(&world, "bad", Some(critical()));
    let inner = push(&world, &[], &[Entry::image(&bad)]);
    world.route(push_of("1.0"));
    let index = push(&world, &["1.0"], &[Entry::image(&inner), Entry::attestation(&inner)]);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&index), [quarantine(&index)]);
}

#[tokio::test(start_paused = true)]
async fn attestations_without_findings_do_not_count_as_images() {
    for scan in [None, Some(ScanResult::status("UNSUPPORTED_IMAGE")), Some(ScanResult::basic(&[]))]
    {
        for index in ["any", "all"] {
            let world = World::new().set("POLICY__INDEX", index);
            let amd = child(&world, "amd64", Some(clean()));
            let attestation = child(&world, "attestation", scan.clone());
            world.route(push_of("1.0"));
            let children = [(amd.as_str(), AMD), (attestation.as_str(), "unknown/unknown")];
            world.sim.push_index(&world.repository, &["1.0"], &children);
            let app = world.run_to_the_end().await;
            assert_eq!(settled(&app), [("delete clean".to_owned(), 1)], "{scan:?}");
            assert!(world.changes().is_empty() && world.notices().is_empty(), "{scan:?}");

            world.send(&sweep());
            world.run_to_the_end().await;
            assert_eq!(swept(&world), json!({"clean": 1}), "{scan:?}");
            let asked = world.sim.calls_of("StartImageScan");
            assert!(asked.iter().all(|call| !named(call).contains(&attestation)), "{scan:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn attestation_with_findings_is_judged_like_an_image_and_inspected_last() {
    let world = World::new();
    let attestation = child(&world, "attestation", Some(critical()));
    let amd = child(&world, "amd64", Some(clean()));
    world.route(push_of("1.0"));
    let entries = [Entry::attestation(&attestation), Entry::image(&amd)];
    let index = push(&world, &["1.0"], &entries);
    world.run_to_the_end().await;
    assert_eq!(world.tags(&index), [quarantine(&index)]);
    assert_eq!(world.notice()["cause"]["digest"], json!(attestation));
    assert_eq!(world.looks(&amd), 1, "the image is inspected first");

    // If an image violates the policy, attestations are not inspected.
    world.sim.set_findings(&world.repository, &amd, critical());
    world.route(push_of("2.0"));
    let bad = world.looks(&attestation);
    let entries = [Entry::attestation(&attestation), Entry::image(&amd).with("size", json!(1))];
    let index = push(&world, &["2.0"], &entries);
    world.run_to_the_end().await;
    assert_eq!(world.tags(&index), [quarantine(&index)]);
    assert_eq!(world.looks(&attestation), bad);
}

#[tokio::test(start_paused = true)]
async fn unscannable_attestation_is_not_notified_and_an_image_is() {
    let world = World::new();
    let unsupported = || Some(ScanResult::status("UNSUPPORTED_IMAGE"));
    let attestation = child(&world, "attestation", unsupported());
    let image = child(&world, "image", unsupported());
    let inner = push(&world, &[], &[Entry::image(&image), Entry::attestation(&attestation)]);
    push(&world, &["1.0"], &[Entry::index(&inner)]);
    for digest in [&attestation, &image] {
        let mut failed = scanned(digest);
        failed["detail"]["scan-status"] = json!("FAILED");
        world.send(&failed);
    }

    let app = world.run_to_the_end().await;

    let outcomes = ["delete nothing_to_untag", "delete unscanned"];
    assert_eq!(settled(&app), outcomes.map(|outcome| (outcome.to_owned(), 1)));
    assert_eq!(world.notice()["image"]["digest"], json!(image));
}

#[tokio::test(start_paused = true)]
async fn image_that_claims_to_be_an_artifact_is_judged_by_its_findings() {
    let artifact = |world: &World, tags: &[&str], scan: Option<ScanResult>| {
        let manifest = manifest::artifact(&format!("{tags:?}"), HELM);
        let digest = world.sim.push_manifest(&world.repository, tags, &manifest);
        if let Some(scan) = scan {
            world.sim.set_findings(&world.repository, &digest, scan);
        }
        digest
    };
    for by in ["scan", "push", "finding", "sweep"] {
        let world = World::new();
        let bad = artifact(&world, &["1.0"], Some(critical()));
        let holder = push(&world, &["holder"], &[Entry::image(&bad)]);
        match by {
            "scan" => drop(world.send(&basic(&bad, &["1.0"], &json!({"CRITICAL": 1})))),
            "push" => {
                world.route(push_of("1.0"));
                world.sim.tag_image(&world.repository, "1.0", &bad);
            }
            "finding" => {
                let counts = json!({"CRITICAL": 1});
                drop(world.send(&enhanced(&world.repository, &bad, &["1.0"], &counts)));
            }
            _ => drop(world.send(&sweep())),
        }

        world.run_to_the_end().await;

        assert_eq!(world.tags(&bad), [quarantine(&bad)], "{by}");
        assert_eq!(world.tags(&holder), [quarantine(&holder)], "{by}");
    }
    for scan in [None, Some(ScanResult::status("UNSUPPORTED_IMAGE")), Some(ScanResult::basic(&[]))]
    {
        let world = World::new();
        let chart = artifact(&world, &["1.0"], scan.clone());
        world.scanned(&chart);
        let app = world.run_to_the_end().await;
        assert_eq!(settled(&app), [("delete not_an_image".to_owned(), 1)], "{scan:?}");
        world.send(&sweep());
        world.run_to_the_end().await;
        assert_eq!(swept(&world), json!({"not_an_image": 1}), "{scan:?}");
        assert!(world.changes().is_empty(), "{scan:?}");
        assert!(world.sim.calls_of("StartImageScan").is_empty(), "{scan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn artifact_with_claimed_findings_is_retried_until_ecr_shows_them() {
    let world = World::new();
    let manifest = manifest::artifact("late", HELM);
    let late = world.sim.push_manifest(&world.repository, &["1.0"], &manifest);
    world.sim.set_findings(&world.repository, &late, ScanResult::enhanced(&[]));
    let counts = json!({"CRITICAL": 1});
    world
        .run_while(async {
            world.send(&enhanced(&world.repository, &late, &["1.0"], &counts));
            world.sim.wait_until(|_| world.looks(&late) == 1).await;
            world.sim.set_findings(
                &world.repository,
                &late,
                ScanResult::enhanced(&[("CRITICAL", 1)]),
            );
            world.done().await;
        })
        .await;
    assert_eq!(world.tags(&late), [quarantine(&late)]);
}

#[tokio::test(start_paused = true)]
async fn image_tagged_like_a_signature_loses_its_tag_in_a_sweep_too() {
    let world = World::new().set("SWEEP__RESCAN_AFTER", "never");
    let subject = world.image(&["1.0"], clean());
    let tag = |ending: &str| format!("{}{ending}", subject.replace(':', "-"));
    let bad = world.image(&[&tag(".sig")], critical());
    world.image(&[&tag(".att")], ScanResult::status("UNSUPPORTED_IMAGE"));
    world.sim.push_image(&world.repository, &[&tag(".sbom")], "sbom");
    world.send(&sweep());

    world.run_to_the_end().await;

    assert_eq!(world.tags(&bad), [quarantine(&bad)]);
    assert_eq!(swept(&world), json!({"clean": 1, "untag": 1, "not_an_image": 2}));
}

#[tokio::test(start_paused = true)]
async fn nested_index_of_clean_images_keeps_its_tags_without_a_notice() {
    let world = World::new();
    let (amd, arm) = (child(&world, "amd64", Some(clean())), child(&world, "arm64", Some(clean())));
    let inner = push(&world, &[], &[Entry::image(&amd)]);
    world.route(push_of("1.0"));
    push(&world, &["1.0"], &[Entry::index(&inner), Entry::image(&arm)]);
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), [("delete clean".to_owned(), 1)]);
    assert_eq!((world.looks(&amd), world.looks(&arm)), (1, 1));

    world.send(&sweep());
    world.run_to_the_end().await;
    assert_eq!(swept(&world), json!({"clean": 1}));
    assert!(world.changes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn indexes_with_shared_images_and_docker_lists_are_followed_too() {
    let world = World::new();
    let bad = child(&world, "bad", Some(critical()));
    let inner = manifest::docker_list(&[(&bad, ARM)]).replace(OCI_IMAGE, manifest::DOCKER_IMAGE);
    let inner = world.sim.push_manifest(&world.repository, &["inner"], &inner);
    let outer: Vec<_> = ["1.0", "2.0", "3.0"]
        .iter()
        .map(|tag| {
            let entry = Entry::index(&inner).with("mediaType", json!(manifest::DOCKER_LIST));
            push(&world, &[tag], &[entry, Entry::image(&bad).with("size", json!(tag.len()))])
        })
        .collect();
    world.send(&scanned(&bad));

    world.run_to_the_end().await;

    assert_all_untagged(&world, &outer, "outer");
    assert_eq!(world.tags(&inner), [quarantine(&inner)], "it has a tag of its own");
}
