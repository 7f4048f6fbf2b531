//! Tags come back only if the policy would not remove them again.

use super::*;
use crate::support::{ACCOUNT, REGION};

/// The tags of a request that was refused, and why.
async fn refused(world: &World, digest: &str) -> String {
    ask(world, OPERATOR, digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(digest), [quarantine(digest)]);
    let notice = world.notice();
    assert_eq!(notice["action"], "refused");
    notice["answer"]["refused"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn image_whose_findings_are_not_there_yet_is_waited_for() {
    let world = world();
    let digest = removed(&world, &["1.0"], ScanResult::status("IN_PROGRESS"));
    ask(&world, OPERATOR, &digest, &json!({}));
    let scanned = async {
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        world.sim.set_findings(&world.repository, &digest, clean());
        world.done().await;
    };
    let app = world.run_while(scanned).await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    assert!(settled_as(&app).contains(&"retry pending".to_owned()));
    assert_eq!(world.notices().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn image_whose_findings_never_come_is_refused_with_the_advice_to_hold_it() {
    let world = world();
    let digest = removed(&world, &["1.0"], ScanResult::status("IN_PROGRESS"));
    let why = refused(&world, &digest).await;
    let text = "it is not known whether the image is within the policy: ECR's scan is IN_PROGRESS";
    assert_eq!(why, text);
    assert_eq!(records(&world, &digest, "outcome")[0]["refused"], why);
    assert!(world.notice()["undo"]["command"].as_str().unwrap().contains("--until"));
    // A hold needs no findings.
    ask(&world, HOLDER, &digest, &hold(&world, 1));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn image_that_cannot_be_scanned_is_refused() {
    let world = world();
    let digest = removed(&world, &["1.0"], ScanResult::status("UNSUPPORTED_IMAGE"));
    let why = refused(&world, &digest).await;
    assert!(why.starts_with("it is not known whether"), "{why}");
    assert!(why.contains("UNSUPPORTED_IMAGE"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn index_that_is_not_known_as_a_whole_is_refused() {
    let world = world();
    let child = world.image(&[], clean());
    let gone = format!("sha256:{}", "c".repeat(64));
    let children = [(child.as_str(), "linux/amd64"), (gone.as_str(), "linux/arm64")];
    let digest = world.sim.push_index(&world.repository, &["1.0"], &children);
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    attach(&world, &digest, &removal(&["1.0"]), keys(KEY).as_ref());
    world.sim.untag_image(&world.repository, "1.0");
    world.sim.set_findings(&world.repository, &child, ScanResult::status("UNSUPPORTED_IMAGE"));
    let why = refused(&world, &digest).await;
    assert!(why.starts_with("it is not known whether"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn only_tags_that_would_be_removed_again_stay_removed() {
    let world = world().set("POLICY__PROTECTED_TAGS", "prod-*");
    let digest = removed(&world, &["1.0", "prod-eu"], critical());
    ask(&world, OPERATOR, &digest, &json!({}));
    let app = world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["prod-eu", &quarantine(&digest)]);
    assert_eq!(settled_as(&app), ["delete restored"]);
    assert_eq!(acts(&app), ["restore done 1", "restore refused 1"]);
    let answer = &world.notice()["answer"];
    assert_eq!(answer["restored"], json!(["prod-eu"]));
    assert_eq!(answer["left"][0]["tag"], "1.0");
    let why = answer["left"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("it would be removed again: critical 1 exceeds"), "{why}");
    let outcome = &records(&world, &digest, "outcome")[0];
    assert_eq!(outcome["restored"], r#"["prod-eu"]"#);
    assert!(outcome["refused"].starts_with("1.0: it would be removed again"), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn tags_that_the_policy_would_leave_in_place_come_back_to_a_violating_image() {
    type Change = fn(World) -> World;
    let changes: [(&str, Change); 6] = [
        ("audit", |world| world.set("POLICY__MODE", "audit")),
        ("protected", |world| world.set("POLICY__PROTECTED_TAGS", "*")),
        ("in use", |world| world.with_file("policy.in_use = \"block\"")),
        ("replicated", |world| {
            let rule = aws_sim::ReplicationRule::to(&[(ACCOUNT, "us-east-1")]).deletes(true);
            world.sim.set_replication(ACCOUNT, REGION, vec![rule], Duration::ZERO..=Duration::ZERO);
            world
        }),
        ("pull-through", |world| world.set("POLICY__PULL_THROUGH", "team/*")),
        ("few others", |world| world.with_file("policy.keep_at_least = 3")),
    ];
    for (name, change) in changes {
        let world = change(world());
        let scan = ScanResult::enhanced(&[("CRITICAL", 1)]).in_use(2);
        let digest = removed(&world, &["1.0"], scan);
        ask(&world, OPERATOR, &digest, &json!({}));
        world.run_to_the_end().await;
        assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)], "{name}");
        assert_eq!(world.notice()["action"], "restored", "{name}");
        // And they stay.
        world.scanned(&digest);
        world.run_to_the_end().await;
        assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)], "{name}");
    }
}
