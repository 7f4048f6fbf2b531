//! Repositories of every kind: immutable, partly immutable, and filled from another registry.

use aws_sim::{ApiError, Fault, FaultRule};
use serde_json::json;

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
async fn tags_go_whatever_the_mutability_and_wherever_a_crash_comes_between() {
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

#[tokio::test(start_paused = true)]
async fn a_pull_through_cache_is_told_as_blocked_and_nothing_in_it_is_changed() {
    for prefix in ["team", "ROOT"] {
        let world = World::new();
        world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, prefix);
        let digest = bad(&world);

        let app = world.run_to_the_end().await;

        assert!(world.changes().is_empty(), "{prefix}");
        assert_eq!(world.tags(&digest), ["1.0", "latest"]);
        let notice = world.notice();
        assert_eq!(notice["action"], "blocked", "{prefix}");
        assert_eq!(notice["tags"]["kept"], json!(["1.0", "latest"]));
        let reasons = notice["reasons"].to_string();
        assert!(reasons.contains(&format!("pull-through cache ({prefix})")), "{reasons}");
        assert_eq!(settled(&app), [("delete blocked".to_owned(), 1)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_in_a_pull_through_cache_stays_too() {
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
async fn a_pull_through_cache_elsewhere_says_nothing_of_this_repository() {
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
async fn where_pull_through_cache_rules_may_not_be_read_or_are_not_known_the_work_goes_on() {
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
async fn where_pull_through_cache_rules_cannot_be_read_for_now_the_image_waits_for_them() {
    for code in ["ThrottlingException", "ServerException", "ServiceUnavailable"] {
        for prefix in ["team", "other"] {
            let world = World::new();
            world.sim.create_pull_through_cache_rule(ACCOUNT, REGION, prefix);
            let digest = bad(&world);
            // More often than the SDK retries by itself, so that the message has to come again.
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
