//! Kinds of manifests: Docker lists, attestations and artifacts.

use aws_sim::manifest;
use serde_json::Value;

use super::{Scene, by_digest, by_tag};

#[tokio::test(start_paused = true)]
async fn a_docker_list_protects_its_children_as_an_index_does() {
    let scene = Scene::new();
    let child = scene.sim.push_manifest(&scene.repo, &[], &manifest::docker_image("one"));
    let list = manifest::docker_list(&[(&child, "linux/amd64")]);
    let put = scene.client.put_image().repository_name("team/app").image_tag("v1");
    put.image_manifest(&list).send().await.unwrap();

    let get = scene.client.batch_get_image().repository_name("team/app").image_ids(by_tag("v1"));
    let got = get.accepted_media_types(manifest::DOCKER_LIST).send().await.unwrap();
    let got = &got.images()[0];
    assert_eq!(got.image_manifest(), Some(list.as_str()));
    assert_eq!(got.image_manifest_media_type(), Some(manifest::DOCKER_LIST));
    let document: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(document["manifests"][0]["mediaType"], manifest::DOCKER_IMAGE);
    assert_eq!(document["manifests"][0]["platform"]["architecture"], "amd64");

    let delete = scene.client.batch_delete_image().repository_name("team/app");
    let refused = delete.image_ids(by_digest(&child)).send().await.unwrap();
    let code = refused.failures()[0].failure_code().unwrap();
    assert_eq!(code.as_str(), "ImageReferencedByManifestList");
    assert!(refused.image_ids().is_empty());

    let scan = scene.client.start_image_scan().repository_name("team/app").image_id(by_tag("v1"));
    let refused = scan.send().await.unwrap_err().into_service_error();
    assert!(refused.is_unsupported_image_type_exception());
}

#[tokio::test(start_paused = true)]
async fn a_child_stays_protected_until_the_last_index_that_lists_it_is_gone() {
    let scene = Scene::new();
    let child = scene.sim.push_image(&scene.repo, &[], "one");
    let other = scene.sim.push_image(&scene.repo, &[], "two");
    let first = scene.sim.push_index(&scene.repo, &["v1"], &[(&child, "linux/amd64")]);
    let both = [(child.as_str(), "linux/amd64"), (other.as_str(), "linux/arm64")];
    let second = scene.sim.push_index(&scene.repo, &["v2"], &both);
    let delete = |digest: String| {
        let call = scene.client.batch_delete_image().repository_name("team/app");
        async move {
            let output = call.image_ids(by_digest(&digest)).send().await.unwrap();
            output.failures().first().map(|failure| failure.failure_reason().unwrap().to_owned())
        }
    };
    let mut parents = [first.clone(), second.clone()];
    parents.sort();
    let reason = |parents: &[String]| {
        Some(format!("Requested image referenced by manifest list: [{}]", parents.join(", ")))
    };
    assert_eq!(delete(child.clone()).await, reason(&parents));
    assert_eq!(delete(first).await, None);
    assert_eq!(delete(child.clone()).await, reason(std::slice::from_ref(&second)));
    assert_eq!(delete(second).await, None);
    assert_eq!(delete(child).await, None);
    assert_eq!(delete(other).await, None);
}

#[tokio::test(start_paused = true)]
async fn an_attestation_is_a_child_that_says_so() {
    let scene = Scene::new();
    let [amd, arm, of_amd, of_arm] =
        ["amd", "arm", "of amd", "of arm"].map(|it| scene.sim.push_image(&scene.repo, &[], it));
    let children = [
        (amd.as_str(), "linux/amd64"),
        (of_amd.as_str(), "unknown/unknown"),
        (arm.as_str(), "linux/arm64"),
        (of_arm.as_str(), "unknown/unknown"),
    ];
    scene.sim.push_index(&scene.repo, &["v1"], &children);
    let document: Value = serde_json::from_str(&manifest::index(&children)).unwrap();
    let child = |place: usize| &document["manifests"][place];
    for (place, image) in [(1, &amd), (3, &arm)] {
        let annotations = &child(place)["annotations"];
        assert_eq!(annotations["vnd.docker.reference.type"], "attestation-manifest");
        assert_eq!(annotations["vnd.docker.reference.digest"], image.as_str());
        assert_eq!(child(place)["platform"]["os"], "unknown");
        assert_eq!(child(place)["platform"]["architecture"], "unknown");
    }
    assert!(child(0).get("annotations").is_none() && child(2).get("annotations").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_artifact_is_known_by_its_configuration() {
    let scene = Scene::new();
    let helm = "application/vnd.cncf.helm.config.v1+json";
    let chart = manifest::artifact("one", helm);
    let digest = scene.sim.push_manifest(&scene.repo, &["chart-1.0"], &chart);
    let describe = scene.client.describe_images().repository_name("team/app");
    let output = describe.image_ids(by_digest(&digest)).send().await.unwrap();
    assert_eq!(output.image_details()[0].artifact_media_type(), Some(helm));
    assert_eq!(output.image_details()[0].image_manifest_media_type(), Some(manifest::OCI_IMAGE));
    assert_eq!(scene.details("ECR Image Action")[0]["artifact-media-type"], helm);
    assert_ne!(chart, manifest::artifact("two", helm));
}

#[tokio::test(start_paused = true)]
async fn a_stand_in_is_known_by_the_digest_of_the_image_that_it_stands_for() {
    let scene = Scene::new();
    let digest = format!("sha256:{}", "1".repeat(64));
    scene.sim.push_image_as(&scene.repo, &["v1"], &digest);

    let get = scene.client.batch_get_image().repository_name("team/app").image_ids(by_tag("v1"));
    let got = get.send().await.unwrap();
    let image = &got.images()[0];
    assert_eq!(image.image_id().unwrap().image_digest(), Some(digest.as_str()));

    let put = scene.client.put_image().repository_name("team/app").image_tag("v2");
    let put = put.image_manifest(image.image_manifest().unwrap()).image_digest(&digest);
    put.send().await.unwrap();
    let both = vec!["v1".to_owned(), "v2".to_owned()];
    assert_eq!(scene.sim.tags(&scene.repo, &digest), Some(both));
}
