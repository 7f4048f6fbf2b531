//! Repositories of every kind: immutable, partly immutable, and filled from another registry.

use std::time::Duration;

use aws_sim::{ApiError, Fault, FaultRule};
use serde_json::json;
use tokio::time::sleep;

use super::support::{ACCOUNT, REGION, World, basic, critical, quarantine, settled};

const MUTABILITIES: [(&str, &[&str]); 6] = [
    ("MUTABLE", &[]),
    ("IMMUTABLE", &[]),
    ("IMMUTABLE_WITH_EXCLUSION", &["latest*"]),
    ("IMMUTABLE_WITH_EXCLUSION", &["quarantine-*"]),
    ("MUTABLE_WITH_EXCLUSION", &["1.*"]),
    ("MUTABLE_WITH_EXCLUSION", &["quarantine-*"]),
];

fn bad(world: &World) -> String {
    let digest = world.image(&["1.0", "latest"], critical());
    world.send(&basic(&digest, &["1.0", "latest"], &json!({"CRITICAL": 1})));
    digest
}

#[tokio::test(start_paused = true)]
async fn tags_are_removed_with_any_mutability_and_after_any_crash() {
    for (mutability, exclusions) in MUTABILITIES {
        let crashes = [
            None,
            Some(("PutImage", Fault::HangAfter)),
            Some(("BatchDeleteImage", Fault::Hang)),
            Some(("BatchDeleteImage", Fault::HangAfter)),
            Some(("Publish", Fault::Hang)),
        ];
        for crash in crashes {
            let case = format!("{mutability} {exclusions:?} {crash:?}");
            let world = World::new();
            world.sim.set_tag_mutability(&world.repository, mutability, exclusions);
            let digest = bad(&world);
            if let Some((operation, fault)) = crash.clone() {
                world.crash_at(operation, fault).await;
            }

            world.run_to_the_end().await;

            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{case}");
            let notice = world.notice();
            assert_eq!(notice["action"], "quarantined", "{case}");
            let gone_before =
                matches!(crash, Some(("BatchDeleteImage", Fault::HangAfter) | ("Publish", _)));
            let list = if gone_before { "claimed" } else { "untagged" };
            assert_eq!(notice["tags"][list], json!(["1.0", "latest"]), "{case}");
            assert_eq!(world.dead_letters(), 0, "{case}");
        }
    }
}

/// Nothing was changed, and the team was notified that the repository is a pull-through cache
/// because of this.
fn assert_pulled_through(world: &World, digest: &str, by: &str) {
    assert!(world.changes().is_empty(), "{by}");
    assert_eq!(world.tags(digest), ["1.0", "latest"]);
    let notice = world.notice();
    assert_eq!(notice["action"], "blocked", "{by}");
    assert_eq!(notice["tags"]["kept"], json!(["1.0", "latest"]));
    let reason = format!(
        "the repository is a pull-through cache ({by}): the next pull would bring the tags back"
    );
    assert_eq!(notice["reasons"].as_array().unwrap().last(), Some(&json!(reason)));
}

#[tokio::test(start_paused = true)]
async fn pull_through_cache_is_notified_as_blocked_and_not_changed() {
    let world = World::new();
    world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, "team");
    let digest = bad(&world);

    let app = world.run_to_the_end().await;

    assert_pulled_through(&world, &digest, "team");
    assert_eq!(settled(&app), [("delete blocked".to_owned(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn rule_of_the_prefix_root_covers_only_repositories_named_in_the_policy() {
    for (named, by) in [
        ("", None),
        ("library/*", None),
        ("team", None),
        ("library/*,team/*", Some(r#""team/*" of policy.pull_through"#)),
    ] {
        let mut world = World::new();
        if !named.is_empty() {
            world = world.set("POLICY__PULL_THROUGH", named);
        }
        world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, "ROOT");
        let digest = bad(&world);

        world.run_to_the_end().await;

        match by {
            Some(by) => assert_pulled_through(&world, &digest, by),
            None => assert_eq!(world.tags(&digest), [quarantine(&digest)], "{named}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rule_of_another_prefix_works_beside_one_of_the_prefix_root() {
    let world = World::new();
    for prefix in ["ROOT", "team"] {
        world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, prefix);
    }
    let digest = bad(&world);
    world.run_to_the_end().await;
    assert_pulled_through(&world, &digest, "team");
}

#[tokio::test(start_paused = true)]
async fn repository_named_in_the_policy_needs_no_readable_rule() {
    let world = World::new().set("POLICY__PULL_THROUGH", "team/*");
    let digest = bad(&world);
    let refused = FaultRule::on("DescribePullThroughCacheRules").error("AccessDeniedException");
    world.sim.set_faults(refused);

    world.run_to_the_end().await;

    assert_pulled_through(&world, &digest, r#""team/*" of policy.pull_through"#);
}

#[tokio::test(start_paused = true)]
async fn pull_through_cache_rules_are_read_once_for_any_number_of_images() {
    let world = World::new().set("QUEUE__MAX_IN_FLIGHT", "256");
    let digests: Vec<_> =
        (0..300).map(|number| world.violating(&[&format!("v{number}")])).collect();

    let app = world.run_to_the_end().await;

    assert!(digests.iter().all(|digest| world.tags(digest) == [quarantine(digest)]));
    assert_eq!(settled(&app), [("delete quarantined".to_owned(), 300)]);
    assert_eq!(world.sim.calls_of("DescribePullThroughCacheRules").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn pull_through_cache_rules_are_read_again_before_they_expire() {
    let world = World::new();
    let ask = async |minutes: u64| {
        sleep(Duration::from_secs(60 * minutes)).await;
        let before = world.sim.age();
        world.violating(&[&format!("v{}", before.as_secs())]);
        world.done().await;
        world.sim.calls_of("DescribePullThroughCacheRules").len()
    };
    let test = async {
        assert_eq!(ask(0).await, 1);
        assert_eq!(ask(3).await, 1);
        assert_eq!(ask(1).await, 2, "in the last minute");
        assert_eq!(ask(3).await, 2);
        assert_eq!(ask(10).await, 3);
    };
    world.run_while(test).await;
}

#[tokio::test(start_paused = true)]
async fn index_in_a_pull_through_cache_stays_too() {
    let world = World::new();
    world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, "team");
    let child = world.image(&[], critical());
    let index = world.sim.push_index(&world.repository, &["1.0"], &[(&child, "linux/amd64")]);
    world.send(&basic(&child, &[], &json!({"CRITICAL": 1})));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    assert_eq!(world.tags(&index), ["1.0"]);
    assert_eq!(world.notice()["action"], "blocked");
}

#[tokio::test(start_paused = true)]
async fn pull_through_cache_elsewhere_does_not_affect_this_repository() {
    let elsewhere = [
        (ACCOUNT, REGION, "tea"),
        (ACCOUNT, REGION, "team/app/more"),
        (ACCOUNT, REGION, "team/app"),
        (ACCOUNT, "us-east-1", "team"),
        ("444455556666", REGION, "ROOT"),
    ];
    for (account, region, prefix) in elsewhere {
        let world = World::new();
        world.sim.create_pull_through_cache_rule(account, region, prefix);
        let digest = bad(&world);

        world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{account} {region} {prefix}");
    }
}

#[tokio::test(start_paused = true)]
async fn work_continues_if_pull_through_cache_rules_are_denied_or_unknown() {
    let refused = |code: &str, status| {
        Fault::ErrorBefore(ApiError::new(code, "injected").with_status(status))
    };
    let faults = [
        refused("AccessDeniedException", 400),
        refused("UnknownOperationException", 400),
        refused("InvalidAction", 404),
        refused("NotImplemented", 501),
        refused("ValidationException", 400),
    ];
    for fault in faults {
        let case = format!("{fault:?}");
        let world = World::new();
        let digests = [bad(&world), world.image(&["2.0"], critical())];
        world.send(&basic(&digests[1], &["2.0"], &json!({"CRITICAL": 1})));
        world.sim.set_faults(FaultRule::on("DescribePullThroughCacheRules").fault(fault));

        let app = world.run_to_the_end().await;

        for digest in digests {
            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{case}");
        }
        assert_eq!(settled(&app), [("delete quarantined".to_owned(), 2)], "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn image_waits_if_pull_through_cache_rules_cannot_be_read_now() {
    for code in ["ThrottlingException", "ServerException", "ServiceUnavailable"] {
        for prefix in ["team", "other"] {
            let world = World::new();
            world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, prefix);
            let digest = bad(&world);
            // The SDK retries less often than this, so the message has to be delivered again.
            let fault = FaultRule::on("DescribePullThroughCacheRules").first(4).error(code);
            world.sim.set_faults(fault);

            let app = world.run_to_the_end().await;

            let is_cache = prefix == "team";
            let left = if is_cache {
                vec!["1.0".into(), "latest".into()]
            } else {
                vec![quarantine(&digest)]
            };
            assert_eq!(world.tags(&digest), left, "{code} {prefix}");
            let outcome = if is_cache { "delete blocked" } else { "delete quarantined" };
            let outcomes = [(outcome.to_owned(), 1), ("retry transient".to_owned(), 1)];
            assert_eq!(settled(&app), outcomes, "{code} {prefix}");
        }
    }
}
