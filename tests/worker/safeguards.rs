//! The blockers that keep the tags of a violating image: too few other images, and use.

use aws_sim::{FaultRule, RepoKey, ScanResult, Sim, manifest};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::support::{World, critical, quarantine, settled};

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 1)])
}

fn keeping(least: usize) -> World {
    World::configured(&format!("policy.keep_at_least = {least}"))
}

fn too_few(others: usize, least: usize) -> String {
    format!(
        "only {others} other tagged images without a known violation are left, and {least} must be (keep_at_least)"
    )
}

/// The image was notified as blocked for this reason beside its findings, and nothing was changed.
fn assert_blocked(world: &World, digest: &str, tag: &str, reason: &str) {
    assert!(world.tags(digest).contains(&tag.to_owned()), "{reason}");
    assert!(world.changes().is_empty(), "{:#?}", world.story());
    let notice = world.notice();
    assert_eq!(
        (&notice["action"], &notice["image"]["digest"]),
        (&json!("blocked"), &json!(digest))
    );
    assert_eq!(notice["reasons"].as_array().unwrap().last(), Some(&json!(reason)));
    assert_eq!(notice["tags"]["kept"], json!([tag]));
    assert_eq!(notice["tags"]["untagged"], json!([]));
}

/// The number of listings of all tagged images.
fn listings(world: &World) -> usize {
    let calls = world.sim.calls_of("DescribeImages");
    calls.iter().filter(|call| call.request.get("imageIds").is_none()).count()
}

#[tokio::test(start_paused = true)]
async fn image_loses_its_tags_while_enough_others_remain() {
    for least in 0..=4 {
        let world = keeping(least);
        for tag in ["1.1", "1.2", "1.3"] {
            world.image(&[tag], clean());
        }
        let digest = world.violating(&["1.0"]);

        world.run_to_the_end().await;

        if least <= 3 {
            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{least}");
            assert_eq!(world.notice()["action"], "quarantined");
        } else {
            assert_blocked(&world, &digest, "1.0", &too_few(3, 4));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn unusable_image_does_not_count_as_remaining() {
    type Push = fn(&World, &RepoKey) -> Option<FaultRule>;
    /// Somebody does this to the image after the listing, right before its inspection.
    fn before_the_look(digest: &str, act: impl Fn(&Sim) + Send + Sync + 'static) -> FaultRule {
        let digest = json!(digest);
        let look = FaultRule::on("DescribeImages")
            .matching(move |call| call.input["imageIds"][0]["imageDigest"] == digest);
        look.once().act(act)
    }
    let others: [(&str, Push); 8] = [
        ("one that violates too", |world, _| {
            world.image(&["1.1"], critical());
            None
        }),
        ("one with nothing but its quarantine tag", |world, repository| {
            let other = world.image(&[], clean());
            world.sim.tag_image(repository, &quarantine(&other), &other);
            None
        }),
        ("one without a tag", |world, _| {
            world.image(&[], clean());
            None
        }),
        ("a chart", |world, repository| {
            let chart = manifest::artifact("x", "application/vnd.cncf.helm.config.v1+json");
            world.sim.push_manifest(repository, &["chart"], &chart);
            None
        }),
        ("a signature", |world, repository| {
            let tag = format!("sha256-{}.sig", "a".repeat(64));
            world.sim.push_image(repository, &[&tag], "signature");
            None
        }),
        ("an archived one", |world, repository| {
            let other = world.image(&["1.1"], clean());
            world.sim.archive_image(repository, &other);
            None
        }),
        ("one that was deleted after the listing", |world, repository| {
            let other = world.image(&["1.1"], clean());
            let (repository, digest) = (repository.clone(), other.clone());
            let act = move |sim: &Sim| sim.delete_image(&repository, &digest);
            Some(before_the_look(&other, act))
        }),
        ("one that was quarantined since it was listed", |world, repository| {
            let other = world.image(&["1.1"], clean());
            world.sim.tag_image(repository, &quarantine(&other), &other);
            let repository = repository.clone();
            Some(before_the_look(&other, move |sim| sim.untag_image(&repository, "1.1")))
        }),
    ];
    for (what, push) in others {
        let world = keeping(1);
        let fault = push(&world, &world.repository);
        world.sim.set_faults(fault.into_iter().collect::<Vec<_>>());
        let digest = world.violating(&["1.0"]);

        world.run_to_the_end().await;

        assert_eq!(world.notice()["action"], "blocked", "{what}");
        assert_blocked(&world, &digest, "1.0", &too_few(0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn image_without_known_findings_counts_as_remaining() {
    let scans = ["PENDING", "FAILED", "UNSUPPORTED_IMAGE"].map(ScanResult::status);
    for scan in scans {
        let world = keeping(1);
        world.image(&["1.1"], scan.clone());
        let digest = world.violating(&["1.0"]);
        world.run_to_the_end().await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{scan:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn index_counts_once_and_by_its_images() {
    for (child, least, action) in
        [(clean(), 1, "quarantined"), (clean(), 2, "blocked"), (critical(), 1, "blocked")]
    {
        let world = keeping(least);
        let children = [child, clean()].map(|scan| {
            let content = format!("{scan:?}");
            let digest = world.sim.push_image(&world.repository, &[], &content);
            world.sim.set_findings(&world.repository, &digest, scan);
            digest
        });
        let of = [(children[0].as_str(), "linux/amd64"), (children[1].as_str(), "linux/arm64")];
        world.sim.push_index(&world.repository, &["2.0"], &of);
        world.violating(&["1.0"]);

        world.run_to_the_end().await;

        assert_eq!(world.notice()["action"], action, "{least}");
    }
}

#[tokio::test(start_paused = true)]
async fn index_loses_its_tags_only_while_enough_others_remain() {
    for (others, action) in [(0, "blocked"), (1, "quarantined")] {
        let world = keeping(1);
        for _ in 0..others {
            world.image(&["1.0"], clean());
        }
        let good = world.image(&[], clean());
        let bad = world.sim.push_image(&world.repository, &[], "bad");
        world.sim.set_findings(&world.repository, &bad, critical());
        let of = [(bad.as_str(), "linux/amd64"), (good.as_str(), "linux/arm64")];
        let index = world.sim.push_index(&world.repository, &["2.0"], &of);
        world.scanned(&bad);

        world.run_to_the_end().await;

        let notice = world.notice();
        assert_eq!(notice["action"], action);
        assert_eq!(notice["image"]["digest"], json!(index));
        assert_eq!(notice["cause"]["digest"], json!(bad));
        assert_eq!(world.tags(&index) == ["2.0"], others == 0);
    }
}

#[tokio::test(start_paused = true)]
async fn one_listing_serves_every_waiting_message() {
    let world = keeping(1);
    world.image(&["good"], clean());
    let bad: Vec<_> = (0..8).map(|number| world.violating(&[&format!("v{number}")])).collect();

    world.run_to_the_end().await;

    assert_eq!(listings(&world), 1);
    for digest in bad {
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_listing_is_not_repeated_by_every_waiting_message() {
    let world = World::new();
    for number in 0..20 {
        world.violating(&[&format!("v{number}")]);
    }
    let is_listing = |call: &aws_sim::ApiCall| call.input.get("imageIds").is_none();
    let fails = FaultRule::on("DescribeImages").matching(is_listing).first(3);
    world.sim.set_faults(fails.error("ServerException"));

    let app = world.run_to_the_end().await;

    // The attempts of the SDK for one call, and the successful one.
    assert_eq!(listings(&world), 3 + 1);
    let outcomes = [("delete quarantined".to_owned(), 20), ("retry transient".to_owned(), 20)];
    assert_eq!(settled(&app), outcomes);
}

/// The images of the default repository that people can still pull.
fn pullable(world: &World) -> usize {
    let tags = world.sim.repository_tags(&world.repository).into_iter();
    let tags = tags.filter(|(tag, _)| !tag.starts_with("quarantine-"));
    tags.map(|(_, digest)| digest).collect::<std::collections::BTreeSet<_>>().len()
}

#[tokio::test(start_paused = true)]
async fn images_that_turn_bad_together_leave_enough_remaining() {
    // How many are clean, how many turn bad at once, how many must remain, and how many are
    // pullable at the end.
    for (good, bad, least, left) in
        [(0, 2, 1, 2), (1, 2, 1, 1), (1, 3, 2, 4), (2, 9, 2, 2), (1, 9, 2, 10)]
    {
        for in_flight in ["1", "32"] {
            let world = keeping(least).set("QUEUE__MAX_IN_FLIGHT", in_flight);
            for number in 0..good {
                world.image(&[&format!("good-{number}")], clean());
            }
            for number in 0..bad {
                world.violating(&[&format!("bad-{number}")]);
            }
            world.run_to_the_end().await;
            assert_eq!(pullable(&world), left, "{good} {bad} {least}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn images_that_turn_bad_one_by_one_leave_enough_remaining() {
    let world = keeping(2);
    let tags: Vec<_> = (0..5).map(|number| format!("v{number}")).collect();
    let digests: Vec<_> = tags.iter().map(|tag| world.image(&[tag], clean())).collect();
    let test = async {
        for digest in &digests {
            world.sim.set_findings(&world.repository, digest, critical());
            world.scanned(digest);
            world.done().await;
            assert!(pullable(&world) >= 2);
            sleep(std::time::Duration::from_secs(60)).await;
        }
    };
    world.run_while(test).await;
    let kept: Vec<_> = digests.iter().map(|digest| !world.tags(digest)[0].contains('-')).collect();
    assert_eq!(kept, [false, false, false, true, true]);
}

fn running(count: i64) -> ScanResult {
    ScanResult::enhanced(&[("CRITICAL", 1)]).in_use(count)
}

#[tokio::test(start_paused = true)]
async fn image_in_use_is_notified_and_kept_if_the_policy_says_so() {
    let block = r#"policy.in_use = "block""#;
    for (toml, count, action) in [
        (block, 0, "quarantined"),
        (block, 1, "blocked"),
        (block, 12, "blocked"),
        (r#"policy.in_use = "untag""#, 12, "quarantined"),
        ("", 12, "quarantined"),
    ] {
        let world = World::configured(toml);
        let digest = world.image(&["1.0"], running(count));
        world.scanned(&digest);

        world.run_to_the_end().await;

        if action == "blocked" {
            let places = if count == 1 { "1 place" } else { "12 places" };
            let reason = format!("it is in use in {places} (in_use)");
            assert_blocked(&world, &digest, "1.0", &reason);
        } else {
            assert_eq!(world.notice()["action"], action, "{toml} {count}");
            assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn basic_scanning_does_not_report_use() {
    let world = World::configured(r#"policy.in_use = "block""#);
    let digest = world.violating(&["1.0"]);
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn index_is_in_use_if_any_of_its_images_is() {
    for (in_use, action) in [("block", "blocked"), ("untag", "quarantined")] {
        let world = World::configured(&format!("policy.in_use = {in_use:?}"));
        let bad = world.image(&[], running(0));
        let good = world.sim.push_image(&world.repository, &[], "good");
        let scan = ScanResult::enhanced(&[("LOW", 1)]).in_use(3);
        world.sim.set_findings(&world.repository, &good, scan);
        let of = [(bad.as_str(), "linux/amd64"), (good.as_str(), "linux/arm64")];
        let index = world.sim.push_index(&world.repository, &["1.0"], &of);
        world.scanned(&bad);

        world.run_to_the_end().await;

        assert_eq!(world.notice()["action"], action);
        if in_use == "block" {
            assert_blocked(&world, &index, "1.0", "it is in use in 3 places (in_use)");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn audit_mode_reports_blockers() {
    for (key, reason) in [
        ("keep_at_least = 1", too_few(0, 1)),
        ("in_use = \"block\"", "it is in use in 1 place (in_use)".to_owned()),
    ] {
        let world = World::configured(&format!("[policy]\nmode = \"audit\"\n{key}"));
        let digest = world.image(&["1.0"], running(1));
        world.scanned(&digest);

        world.run_to_the_end().await;

        assert_blocked(&world, &digest, "1.0", &reason);
        assert_eq!(world.notice()["mode"], "audit");
    }
}

#[tokio::test(start_paused = true)]
async fn blocked_image_is_notified_once_and_loses_its_tags_when_unblocked() {
    let world = keeping(1);
    let digest = world.violating(&["1.0"]);
    let test = async {
        for _ in 0..2 {
            world.done().await;
            world.scanned(&digest);
        }
        world.done().await;
        let actions: Vec<Value> =
            world.notices().iter().map(|notice| notice["action"].clone()).collect();
        assert_eq!(actions, ["blocked"]);
        world.image(&["1.1"], clean());
        sleep(std::time::Duration::from_secs(60)).await;
        world.scanned(&digest);
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notices().last().unwrap()["action"], "quarantined");
}
