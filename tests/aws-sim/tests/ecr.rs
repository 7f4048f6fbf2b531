//! ECR through the real SDK: pushing, reading, paging and scanning.

use std::time::Duration;

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::{
    ImageIdentifier, ImageTagMutability, ListImagesFilter, ScanStatus, TagStatus,
};
use aws_sim::{Finding, RepoKey, ScanResult, Sim, SimConfig, manifest};
use serde_json::json;
use tokio::time::sleep;

fn scene() -> (Sim, RepoKey, Client) {
    let sim = Sim::default();
    let repo = sim.create_repository("team/app");
    let client = Client::new(&sim.sdk_config());
    (sim, repo, client)
}

fn by_digest(digest: &str) -> ImageIdentifier {
    ImageIdentifier::builder().image_digest(digest).build()
}

fn put(
    client: &Client,
    manifest: &str,
    tag: &str,
) -> aws_sdk_ecr::operation::put_image::builders::PutImageFluentBuilder {
    client.put_image().repository_name("team/app").image_manifest(manifest).image_tag(tag)
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_tag_is_put_on_the_same_bytes() {
    let (sim, repo, client) = scene();
    let digest = sim.push_image(&repo, &["v1"], "one");
    let id = by_digest(&digest);
    let get = client.batch_get_image().repository_name("team/app").image_ids(id);
    let images = get.accepted_media_types(manifest::OCI_IMAGE).send().await.unwrap();
    let image = &images.images()[0];
    let again = put(&client, image.image_manifest().unwrap(), "quarantine")
        .image_digest(&digest)
        .image_manifest_media_type(image.image_manifest_media_type().unwrap());
    let answer = again.clone().send().await.unwrap();
    assert_eq!(answer.image().unwrap().image_id().unwrap().image_digest(), Some(digest.as_str()));
    assert_eq!(sim.tags(&repo, &digest), Some(vec!["quarantine".into(), "v1".into()]));
    let already = again.send().await.unwrap_err().into_service_error();
    assert!(already.is_image_already_exists_exception(), "{already:?}");
}

#[tokio::test(start_paused = true)]
async fn a_tag_moves_and_leaves_an_untagged_image() {
    let (sim, repo, client) = scene();
    let one = sim.push_image(&repo, &["v1"], "one");
    put(&client, &manifest::image("two"), "v1").send().await.unwrap();
    assert_eq!(sim.tags(&repo, &one), Some(Vec::new()));
    assert_ne!(sim.tag_target(&repo, "v1"), Some(one));
}

#[tokio::test(start_paused = true)]
async fn a_push_is_refused_for_what_is_wrong_with_it() {
    let (sim, repo, client) = scene();
    let one = manifest::image("one");
    let digest = sim.push_manifest(&repo, &["v1"], &one);
    let refused = put(&client, &manifest::image("two"), "v2").image_digest(&digest).send().await;
    assert!(refused.unwrap_err().into_service_error().is_image_digest_does_not_match_exception());
    let refused = put(&client, "{", "v2").send().await;
    assert!(refused.unwrap_err().into_service_error().is_invalid_parameter_exception());
    let refused = put(&client, &one, "no/slash").send().await;
    assert!(refused.unwrap_err().into_service_error().is_invalid_parameter_exception());
    let absent = format!("sha256:{}", "e".repeat(64));
    let refused = put(&client, &manifest::index(&[(&absent, "linux/arm64")]), "v2").send().await;
    assert!(refused.unwrap_err().into_service_error().is_referenced_images_not_found_exception());

    sim.set_tag_mutability(&repo, "IMMUTABLE", &[]);
    let refused = put(&client, &manifest::image("two"), "v1").send().await;
    assert!(refused.unwrap_err().into_service_error().is_image_tag_already_exists_exception());
    put(&client, &one, "new").send().await.unwrap();
    sim.set_tag_mutability(&repo, "IMMUTABLE_WITH_EXCLUSION", &["v*"]);
    put(&client, &manifest::image("two"), "v1").send().await.unwrap();

    let tags: Vec<String> = (0..1000).map(|n| format!("t{n}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    sim.push_image(&repo, &tags, "three");
    let refused = put(&client, &manifest::image("three"), "one-more").send().await;
    assert!(refused.unwrap_err().into_service_error().is_limit_exceeded_exception());
}

#[tokio::test(start_paused = true)]
async fn describe_images_gives_all_tags_of_a_digest() {
    let (sim, repo, client) = scene();
    let digest = sim.push_image(&repo, &["b", "a"], "one");
    let describe = |id| client.describe_images().repository_name("team/app").image_ids(id).send();
    let output = describe(by_digest(&digest)).await.unwrap();
    let detail = &output.image_details()[0];
    assert_eq!(detail.image_tags(), ["a", "b"]);
    assert_eq!(detail.image_manifest_media_type(), Some(manifest::OCI_IMAGE));
    assert_eq!(detail.artifact_media_type(), Some("application/vnd.oci.image.config.v1+json"));
    assert_eq!(detail.image_status().unwrap().as_str(), "ACTIVE");
    assert_eq!(detail.registry_id(), Some("111122223333"));

    let missing = describe(ImageIdentifier::builder().image_tag("gone").build()).await;
    assert!(missing.unwrap_err().into_service_error().is_image_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn lists_come_in_pages() {
    let (sim, repo, client) = scene();
    for n in 0..250 {
        let tag = format!("t{n}");
        let tags: &[&str] = if n % 2 == 0 { &[&tag] } else { &[] };
        sim.push_image(&repo, tags, &n.to_string());
    }
    let first = client.describe_images().repository_name("team/app").send().await.unwrap();
    assert_eq!(first.image_details().len(), 100);
    assert!(first.next_token().is_some());

    let pages =
        client.describe_images().repository_name("team/app").max_results(99).into_paginator();
    let mut digests: Vec<_> = pages
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await
        .unwrap()
        .into_iter()
        .map(|detail| detail.image_digest.unwrap())
        .collect();
    digests.sort();
    assert_eq!(digests, sim.images(&repo));

    for (status, expected) in
        [(TagStatus::Tagged, 125), (TagStatus::Untagged, 125), (TagStatus::Any, 250)]
    {
        let filter = ListImagesFilter::builder().tag_status(status).build();
        let list = client.list_images().repository_name("team/app").filter(filter).max_results(60);
        let rows =
            list.into_paginator().items().send().collect::<Result<Vec<_>, _>>().await.unwrap();
        assert_eq!(rows.len(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_index_is_read_back_by_its_tag() {
    let (sim, repo, client) = scene();
    let child = sim.push_image(&repo, &[], "one");
    sim.push_index(&repo, &["v1"], &[(&child, "linux/arm64")]);
    let get = |types: Vec<String>| {
        let id = ImageIdentifier::builder().image_tag("v1").build();
        let call = client.batch_get_image().repository_name("team/app").image_ids(id);
        call.set_accepted_media_types(Some(types)).send()
    };
    let output = get(vec![manifest::OCI_INDEX.into()]).await.unwrap();
    let document: serde_json::Value =
        serde_json::from_str(output.images()[0].image_manifest().unwrap()).unwrap();
    assert_eq!(document["manifests"][0]["digest"], child);
    let output = get(vec![manifest::OCI_IMAGE.into()]).await.unwrap();
    assert!(output.images().is_empty());
    assert_eq!(output.failures().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn findings_come_in_pages_with_the_counts_on_the_first() {
    let (sim, repo, client) = scene();
    let digest = sim.push_image(&repo, &["v1"], "one");
    let describe = |token: Option<String>| {
        let call = client
            .describe_image_scan_findings()
            .repository_name("team/app")
            .image_id(by_digest(&digest));
        call.set_next_token(token).send()
    };
    let missing = describe(None).await.unwrap_err().into_service_error();
    assert!(missing.is_scan_not_found_exception(), "{missing:?}");

    sim.set_findings(&repo, &digest, ScanResult::basic(&[("CRITICAL", 1), ("LOW", 149)]));
    let first = describe(None).await.unwrap();
    assert_eq!(first.image_scan_status().unwrap().status(), Some(&ScanStatus::Complete));
    let findings = first.image_scan_findings().unwrap();
    assert_eq!(findings.findings().len(), 100);
    let counts = findings.finding_severity_counts().unwrap();
    assert_eq!(counts.len(), 2);
    assert_eq!(counts[&"LOW".into()], 149);

    let second = describe(first.next_token.clone()).await.unwrap();
    assert_eq!(second.image_scan_findings().unwrap().findings().len(), 50);
    assert!(second.image_scan_findings().unwrap().finding_severity_counts().is_none());
    assert!(second.next_token().is_none());
    let bad = describe(Some("nonsense".into())).await.unwrap_err().into_service_error();
    assert!(bad.is_invalid_parameter_exception(), "{bad:?}");
}

#[tokio::test(start_paused = true)]
async fn a_page_of_findings_may_end_earlier_than_was_asked_for() {
    let sim = Sim::new(SimConfig { findings_page: 60, ..SimConfig::default() });
    let repo = sim.create_repository("team/app");
    let client = Client::new(&sim.sdk_config());
    let digest = sim.push_image(&repo, &["v1"], "one");
    sim.set_findings(&repo, &digest, ScanResult::basic(&[("LOW", 150)]));
    let (mut pages, mut token) = (Vec::new(), None);
    loop {
        let call = client.describe_image_scan_findings().repository_name("team/app");
        let call = call.image_id(by_digest(&digest)).set_next_token(token);
        let page = call.max_results(1_000).send().await.unwrap();
        pages.push(page.image_scan_findings().unwrap().findings().len());
        token = page.next_token;
        if token.is_none() {
            break;
        }
    }
    assert_eq!(pages, [60, 60, 30]);
}

#[tokio::test(start_paused = true)]
async fn enhanced_findings_say_what_inspector_knows() {
    let (sim, repo, client) = scene();
    let digest = sim.push_image(&repo, &["v1"], "one");
    let finding = Finding {
        fixed: Some("3.0.1".into()),
        score: Some(9.8),
        exploit: true,
        ..Finding::new("CVE-2026-1234", "CRITICAL")
    };
    sim.set_findings(&repo, &digest, ScanResult::enhanced(&[]).with(finding).in_use(3));
    let id = ImageIdentifier::builder().image_tag("v1").build();
    let output = client
        .describe_image_scan_findings()
        .repository_name("team/app")
        .image_id(id)
        .send()
        .await
        .unwrap();
    assert_eq!(output.image_scan_status().unwrap().status(), Some(&ScanStatus::Active));
    let findings = output.image_scan_findings().unwrap();
    assert!(findings.findings().is_empty());
    let found = &findings.enhanced_findings()[0];
    assert_eq!(
        (found.score(), found.fix_available(), found.exploit_available()),
        (9.8, Some("YES"), Some("YES"))
    );
    let details = found.package_vulnerability_details().unwrap();
    assert_eq!(details.vulnerability_id(), Some("CVE-2026-1234"));
    assert_eq!(details.vulnerable_packages()[0].fixed_in_version(), Some("3.0.1"));
    let container = found.resources()[0].details().unwrap().aws_ecr_container_image().unwrap();
    assert_eq!(container.in_use_count(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn other_scan_states_have_no_findings() {
    let (sim, repo, client) = scene();
    let digest = sim.push_image(&repo, &["v1"], "one");
    sim.set_findings(&repo, &digest, ScanResult::status("UNSUPPORTED_IMAGE"));
    let call = client
        .describe_image_scan_findings()
        .repository_name("team/app")
        .image_id(by_digest(&digest));
    let output = call.send().await.unwrap();
    assert_eq!(output.image_scan_status().unwrap().status(), Some(&ScanStatus::UnsupportedImage));
    assert!(output.image_scan_findings().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_push_is_scanned_and_the_scan_sends_its_event() {
    let sim = Sim::new(SimConfig { scan_time: Duration::from_secs(30), ..SimConfig::default() });
    let repo = sim.create_repository("team/app");
    let client = Client::new(&sim.sdk_config());
    sim.set_scan_on_push(&repo, true);
    sim.create_queue("scans", &[]);
    sim.put_rule(
        "scans",
        json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Scan"]}),
        "scans",
    );

    let manifest = manifest::annotated_image("one", &[("aws-sim.findings", "CRITICAL=1,HIGH=2")]);
    put(&client, &manifest, "v1").send().await.unwrap();
    let digest = sim.tag_target(&repo, "v1").unwrap();
    let describe = || {
        client
            .describe_image_scan_findings()
            .repository_name("team/app")
            .image_id(by_digest(&digest))
            .send()
    };
    let running = describe().await.unwrap();
    assert_eq!(running.image_scan_status().unwrap().status(), Some(&ScanStatus::InProgress));
    assert_eq!(sim.queue("scans").visible, 0);

    sim.wait_until(|sim| sim.queue("scans").visible == 1).await;
    let event: serde_json::Value =
        serde_json::from_str(&sim.queue("scans").messages[0].body).unwrap();
    assert_eq!(
        event["detail"],
        json!({
            "scan-status": "COMPLETE",
            "repository-name": "team/app",
            "image-digest": digest,
            "image-tags": ["v1"],
            "finding-severity-counts": {"CRITICAL": 1, "HIGH": 2},
        })
    );
    assert_eq!(
        event["resources"],
        json!(["arn:aws:ecr:eu-west-1:111122223333:repository/team/app"])
    );
    assert_eq!(event["time"], "2026-01-02T03:04:35Z");
    let done = describe().await.unwrap();
    assert_eq!(done.image_scan_findings().unwrap().findings().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_scan_on_request_runs_once_a_day_and_never_on_an_index() {
    let (sim, repo, client) = scene();
    let digest = sim.push_image(&repo, &["v1"], "one");
    let index = sim.push_index(&repo, &["multi"], &[(&digest, "linux/amd64")]);
    let start = |digest: &str| {
        client.start_image_scan().repository_name("team/app").image_id(by_digest(digest)).send()
    };
    start(&digest).await.unwrap();
    let again = start(&digest).await.unwrap_err().into_service_error();
    assert!(again.is_limit_exceeded_exception(), "{again:?}");
    sleep(Duration::from_secs(86_400)).await;
    start(&digest).await.unwrap();
    let index = start(&index).await.unwrap_err().into_service_error();
    assert!(index.is_unsupported_image_type_exception(), "{index:?}");
}

#[tokio::test(start_paused = true)]
async fn pushes_and_deletions_send_their_action_events() {
    let (sim, repo, client) = scene();
    let digest = sim.push_image(&repo, &["v1", "v2"], "one");
    let id = ImageIdentifier::builder().image_digest(&digest).image_tag("v1").build();
    client.batch_delete_image().repository_name("team/app").image_ids(id).send().await.unwrap();
    let actions: Vec<_> = sim
        .events()
        .iter()
        .map(|event| (event["detail"]["action-type"].clone(), event["detail"]["image-tag"].clone()))
        .collect();
    let expected = [("PUSH", "v1"), ("PUSH", "v2"), ("DELETE", "v1")];
    assert_eq!(actions, expected.map(|(action, tag)| (json!(action), json!(tag))));
}

#[tokio::test(start_paused = true)]
async fn accounts_and_regions_are_apart() {
    let (sim, own, client) = scene();
    let other_account = sim.create_repository_in("444455556666", "eu-west-1", "team/app");
    let other_region = sim.create_repository_in("111122223333", "us-east-1", "team/app");
    for (repo, tag) in [(&own, "own"), (&other_account, "account"), (&other_region, "region")] {
        sim.push_image(repo, &[tag], tag);
    }
    let in_region = aws_sdk_ecr::config::Builder::from(&sim.sdk_config())
        .region(aws_config::Region::new("us-east-1"));
    let in_region = Client::from_conf(in_region.build());
    let list = |client: &Client, registry: Option<&str>| {
        let call = client.list_images().repository_name("team/app");
        call.set_registry_id(registry.map(str::to_owned)).send()
    };
    for (output, tag) in [
        (list(&client, None).await, "own"),
        (list(&client, Some("444455556666")).await, "account"),
        (list(&in_region, None).await, "region"),
    ] {
        assert_eq!(output.unwrap().image_ids()[0].image_tag(), Some(tag));
    }
}

#[tokio::test(start_paused = true)]
async fn repositories_are_created_described_changed_and_deleted() {
    let (sim, _, client) = scene();
    client
        .create_repository()
        .repository_name("other")
        .image_tag_mutability(ImageTagMutability::Immutable)
        .send()
        .await
        .unwrap();
    let again = client
        .create_repository()
        .repository_name("other")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(again.is_repository_already_exists_exception());
    let all = client.describe_repositories().send().await.unwrap();
    let names: Vec<_> =
        all.repositories().iter().filter_map(|repository| repository.repository_name()).collect();
    assert_eq!(names, ["other", "team/app"]);
    let missing = client.describe_repositories().repository_names("missing").send().await;
    assert!(missing.unwrap_err().into_service_error().is_repository_not_found_exception());

    let repo = RepoKey::new("111122223333", "eu-west-1", "other");
    sim.push_image(&repo, &["v1"], "one");
    let mutability = client.put_image_tag_mutability().repository_name("other");
    mutability.image_tag_mutability(ImageTagMutability::Mutable).send().await.unwrap();
    let full = client
        .delete_repository()
        .repository_name("other")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(full.is_repository_not_empty_exception());
    client.delete_repository().repository_name("other").force(true).send().await.unwrap();
    assert!(sim.images(&repo).is_empty());
}
