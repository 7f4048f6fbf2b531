//! Archived images: hidden from lists, not to be pulled, scanned or tagged, but to be deleted.

use aws_sdk_ecr::error::ProvideErrorMetadata;
use aws_sdk_ecr::types::{
    DescribeImagesFilter, ImageStatusFilter, ListImagesFilter, ScanStatus, TagStatus,
};
use aws_sim::{ScanResult, manifest};

use super::{Scene, by_digest, by_tag};

/// The digests that `DescribeImages` gives under a filter.
async fn described(scene: &Scene, status: Option<ImageStatusFilter>) -> Vec<String> {
    let filter = status.map(|status| DescribeImagesFilter::builder().image_status(status).build());
    let call = scene.client.describe_images().repository_name("team/app").set_filter(filter);
    let details = call.send().await.unwrap().image_details.unwrap_or_default();
    details.into_iter().map(|detail| detail.image_digest.unwrap()).collect()
}

/// The tags that `ListImages` gives under a filter.
async fn listed(scene: &Scene, status: Option<ImageStatusFilter>) -> Vec<String> {
    let filter = status.map(|status| {
        ListImagesFilter::builder().tag_status(TagStatus::Tagged).image_status(status).build()
    });
    let call = scene.client.list_images().repository_name("team/app").set_filter(filter);
    let ids = call.send().await.unwrap().image_ids.unwrap_or_default();
    ids.into_iter().map(|id| id.image_tag.unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn lists_show_archived_images_only_to_those_who_ask() {
    let scene = Scene::new();
    let old = scene.sim.push_image(&scene.repo, &["old"], "old");
    let new = scene.sim.push_image(&scene.repo, &["new"], "new");
    scene.sim.archive_image(&scene.repo, &old);
    let mut both = vec![old.clone(), new.clone()];
    both.sort();

    for (status, digests, tags) in [
        (None, vec![new.clone()], vec!["new"]),
        (Some(ImageStatusFilter::Active), vec![new.clone()], vec!["new"]),
        (Some(ImageStatusFilter::Archived), vec![old.clone()], vec!["old"]),
        (Some(ImageStatusFilter::Activating), vec![], vec![]),
    ] {
        assert_eq!(described(&scene, status.clone()).await, digests, "{status:?}");
        assert_eq!(listed(&scene, status.clone()).await, tags, "{status:?}");
    }
    assert_eq!(described(&scene, Some(ImageStatusFilter::Any)).await, both);
    assert_eq!(listed(&scene, Some(ImageStatusFilter::Any)).await.len(), 2);

    scene.sim.set_image_status(&scene.repo, &old, "ACTIVATING");
    let activating = [old.clone()];
    assert_eq!(described(&scene, Some(ImageStatusFilter::Activating)).await, activating);
    assert_eq!(described(&scene, Some(ImageStatusFilter::Archived)).await, [""; 0]);
    scene.sim.activate_image(&scene.repo, &old);
    assert_eq!(described(&scene, None).await, both);
}

#[tokio::test(start_paused = true)]
async fn a_named_image_is_described_only_where_the_filter_lets_it_through() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["old"], "old");
    scene.sim.archive_image(&scene.repo, &digest);
    let describe = || scene.client.describe_images().repository_name("team/app");
    for id in [by_digest(&digest), by_tag("old")] {
        let hidden = describe().image_ids(id.clone()).send().await.unwrap_err();
        assert!(hidden.into_service_error().is_image_not_found_exception());
        let filter = DescribeImagesFilter::builder().image_status(ImageStatusFilter::Any).build();
        let output = describe().image_ids(id).filter(filter).send().await.unwrap();
        let detail = &output.image_details()[0];
        assert_eq!(detail.image_status().unwrap().as_str(), "ARCHIVED");
        assert!(detail.last_archived_at().is_some());
        assert_eq!(detail.image_tags(), ["old"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_archived_image_is_neither_pulled_nor_tagged_nor_scanned() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["old"], "old");
    scene.sim.set_findings(&scene.repo, &digest, ScanResult::basic(&[("CRITICAL", 1)]));
    scene.sim.archive_image(&scene.repo, &digest);

    let get = scene.client.batch_get_image().repository_name("team/app");
    let got = get.image_ids(by_tag("old")).send().await.unwrap();
    assert!(got.images().is_empty());
    assert_eq!(got.failures()[0].failure_code().unwrap().as_str(), "ImageNotFound");

    let put = || {
        let call = scene.client.put_image().repository_name("team/app");
        call.image_manifest(manifest::image("old")).image_tag("quarantine")
    };
    let refused = put().send().await.unwrap_err().into_service_error();
    assert_eq!(refused.code(), Some("ImageArchivedException"));
    assert_eq!(scene.sim.tags(&scene.repo, &digest), Some(vec!["old".into()]));

    let start = scene.client.start_image_scan().repository_name("team/app");
    let refused = start.image_id(by_digest(&digest)).send().await.unwrap_err();
    assert!(refused.into_service_error().is_image_archived_exception());
    let findings = || {
        let call = scene.client.describe_image_scan_findings().repository_name("team/app");
        call.image_id(by_digest(&digest)).send()
    };
    let archived = findings().await.unwrap();
    assert_eq!(archived.image_scan_status().unwrap().status(), Some(&ScanStatus::ImageArchived));
    assert!(archived.image_scan_findings().is_none());

    scene.sim.activate_image(&scene.repo, &digest);
    put().send().await.unwrap();
    assert_eq!(findings().await.unwrap().image_scan_findings().unwrap().findings().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_archived_image_is_deleted_like_any_other() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["a", "b"], "old");
    scene.sim.archive_image(&scene.repo, &digest);
    let delete =
        |id| scene.client.batch_delete_image().repository_name("team/app").image_ids(id).send();
    assert_eq!(delete(by_tag("a")).await.unwrap().image_ids().len(), 1);
    assert_eq!(scene.sim.tags(&scene.repo, &digest), Some(vec!["b".into()]));
    assert_eq!(delete(by_digest(&digest)).await.unwrap().image_ids().len(), 1);
    assert_eq!(scene.sim.tags(&scene.repo, &digest), None);
}
