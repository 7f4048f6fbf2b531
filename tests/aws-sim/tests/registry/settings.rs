//! Settings of registries and repositories: pull-through cache rules and tag mutability.

use aws_sdk_ecr::error::ProvideErrorMetadata;
use aws_sdk_ecr::types::{ScanType, Tag};
use aws_sim::{CallOutcome, FaultRule, manifest};

use super::{Scene, by_tag};

#[tokio::test(start_paused = true)]
async fn pull_through_cache_rules_are_listed_in_pages_and_by_prefix() {
    let Scene { sim, client, .. } = Scene::new();
    for prefix in ["quay", "ecr-public", "docker-hub"] {
        sim.create_pull_through_cache_rule("111122223333", "eu-west-1", prefix);
    }
    sim.create_pull_through_cache_rule("444455556666", "eu-west-1", "other");
    sim.create_pull_through_cache_rule("111122223333", "us-east-1", "elsewhere");

    let describe = || client.describe_pull_through_cache_rules();
    let pages = describe().max_results(2).into_paginator().items().send();
    let rules = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let prefixes: Vec<_> = rules.iter().map(|it| it.ecr_repository_prefix().unwrap()).collect();
    assert_eq!(prefixes, ["docker-hub", "ecr-public", "quay"]);
    assert_eq!(rules[0].registry_id(), Some("111122223333"));
    assert!(rules[0].upstream_registry_url().is_some() && rules[0].created_at().is_some());
    assert_eq!(sim.calls_of("DescribePullThroughCacheRules").len(), 2);

    let named = describe().ecr_repository_prefixes("quay").send().await.unwrap();
    assert_eq!(named.pull_through_cache_rules().len(), 1);
    let other = describe().registry_id("444455556666").send().await.unwrap();
    assert_eq!(other.pull_through_cache_rules()[0].ecr_repository_prefix(), Some("other"));
    let missing = describe().ecr_repository_prefixes("other").send().await.unwrap_err();
    assert!(missing.into_service_error().is_pull_through_cache_rule_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn faults_strike_the_listing_of_cache_rules_too() {
    let Scene { sim, client, .. } = Scene::new();
    let denied = FaultRule::on("DescribePullThroughCacheRules").error("AccessDeniedException");
    sim.set_faults(denied);
    let refused = client.describe_pull_through_cache_rules().send().await.unwrap_err();
    assert_eq!(refused.into_service_error().code(), Some("AccessDeniedException"));
    let call = sim.calls_of("DescribePullThroughCacheRules").remove(0);
    assert_eq!(call.outcome, CallOutcome::Error("AccessDeniedException".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn each_mutability_forbids_moving_tags_of_its_own_and_nothing_else() {
    for (mutability, exclusions, frozen, free) in [
        ("MUTABLE", &[][..], None, Some("v1")),
        ("IMMUTABLE", &[], Some("v1"), None),
        ("IMMUTABLE_WITH_EXCLUSION", &["dev-*"], Some("v1"), Some("dev-1")),
        ("MUTABLE_WITH_EXCLUSION", &["v*"], Some("v1"), Some("dev-1")),
    ] {
        let Scene { sim, repo, client } = Scene::new();
        let one = sim.push_image(&repo, &["v1", "dev-1"], "one");
        sim.set_tag_mutability(&repo, mutability, exclusions);
        let put = |content: &str, tag: &str| {
            let call = client.put_image().repository_name("team/app").image_tag(tag);
            call.image_manifest(manifest::image(content)).send()
        };
        if let Some(tag) = frozen {
            let refused = put("two", tag).await.unwrap_err().into_service_error();
            assert!(refused.is_image_tag_already_exists_exception(), "{mutability}");
            assert_eq!(sim.tag_target(&repo, tag), Some(one.clone()), "{mutability}");
        }
        if let Some(tag) = free {
            put("two", tag).await.unwrap();
            assert_ne!(sim.tag_target(&repo, tag), Some(one.clone()), "{mutability}");
        }
        // A new tag on an existing image, and the removal of any tag, are always allowed.
        put("one", "v-new").await.unwrap();
        assert_eq!(sim.tag_target(&repo, "v-new"), Some(one), "{mutability}");
        let delete = client.batch_delete_image().repository_name("team/app");
        let deleted =
            delete.image_ids(by_tag("v-new")).image_ids(by_tag("v1")).send().await.unwrap();
        assert_eq!((deleted.image_ids().len(), deleted.failures().len()), (2, 0), "{mutability}");

        let described = client.describe_repositories().send().await.unwrap();
        let described = &described.repositories()[0];
        assert_eq!(described.image_tag_mutability().unwrap().as_str(), mutability);
        let filters = described.image_tag_mutability_exclusion_filters();
        let filters: Vec<_> = filters.iter().map(|filter| filter.filter()).collect();
        assert_eq!(filters, exclusions, "{mutability}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repository_keeps_the_tags_that_it_was_made_with_until_it_goes() {
    let Scene { client, .. } = Scene::new();
    let tag = Tag::builder().key("team").value("platform").build().unwrap();
    let create = client.create_repository().repository_name("team/other").tags(tag.clone());
    let made = create.send().await.unwrap().repository.unwrap();
    let arn = made.repository_arn().unwrap();
    let listed = client.list_tags_for_resource().resource_arn(arn).send().await.unwrap();
    assert_eq!(listed.tags(), [tag]);
    client.delete_repository().repository_name("team/other").send().await.unwrap();
    let gone = client.list_tags_for_resource().resource_arn(arn).send().await.unwrap_err();
    assert!(gone.into_service_error().is_repository_not_found_exception());
    client.create_repository().repository_name("team/other").send().await.unwrap();
    let listed = client.list_tags_for_resource().resource_arn(arn).send().await.unwrap();
    assert_eq!(listed.tags(), []);
}

#[tokio::test(start_paused = true)]
async fn a_registry_says_that_it_scans_by_basic_scanning() {
    let Scene { client, .. } = Scene::new();
    let answer = client.get_registry_scanning_configuration().send().await.unwrap();
    let scanning = answer.scanning_configuration.unwrap();
    assert_eq!(scanning.scan_type(), Some(&ScanType::Basic));
}
