//! `BatchDeleteImage` through the real SDK: every rule of deletion.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sim::{DeleteRules, RepoKey, Sim, SimConfig};

const ABSENT: &str = "sha256:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

struct Scene {
    sim: Sim,
    repo: RepoKey,
    client: Client,
}

/// What a call answered: the identifiers that went, and those that did not with code and reason.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    gone: Vec<(String, String)>,
    failed: Vec<(String, String)>,
}

impl Scene {
    fn new() -> Self {
        Self::with_rules(DeleteRules::Aws)
    }

    fn with_rules(delete_rules: DeleteRules) -> Self {
        let sim = Sim::new(SimConfig { delete_rules, ..SimConfig::default() });
        Self {
            repo: sim.create_repository("team/app"),
            client: Client::new(&sim.sdk_config()),
            sim,
        }
    }

    async fn delete(&self, ids: &[(Option<&str>, Option<&str>)]) -> Answer {
        let ids = ids.iter().map(|(digest, tag)| {
            let id = ImageIdentifier::builder().set_image_digest(digest.map(str::to_owned));
            id.set_image_tag(tag.map(str::to_owned)).build()
        });
        let call = self.client.batch_delete_image().repository_name("team/app");
        let output = call.set_image_ids(Some(ids.collect())).send().await.unwrap();
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        Answer {
            gone: output
                .image_ids()
                .iter()
                .map(|id| (text(id.image_digest()), text(id.image_tag())))
                .collect(),
            failed: output
                .failures()
                .iter()
                .map(|failure| {
                    (
                        text(failure.failure_code().map(|code| code.as_str())),
                        text(failure.failure_reason()),
                    )
                })
                .collect(),
        }
    }

    fn tags(&self, digest: &str) -> Option<Vec<String>> {
        self.sim.tags(&self.repo, digest)
    }
}

fn gone(ids: &[(&str, &str)]) -> Answer {
    Answer {
        gone: ids.iter().map(|(digest, tag)| ((*digest).to_owned(), (*tag).to_owned())).collect(),
        failed: Vec::new(),
    }
}

fn failed(code: &str, reason: &str) -> Answer {
    Answer { gone: Vec::new(), failed: vec![(code.to_owned(), reason.to_owned())] }
}

#[tokio::test(start_paused = true)]
async fn a_tag_alone_is_taken_off() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["a", "b"], "one");
    assert_eq!(scene.delete(&[(None, Some("a"))]).await, gone(&[(&digest, "a")]));
    assert_eq!(scene.tags(&digest), Some(vec!["b".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_tag_with_its_digest_is_taken_off_and_the_others_stay() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["a", "b", "c"], "one");
    assert_eq!(scene.delete(&[(Some(&digest), Some("b"))]).await, gone(&[(&digest, "b")]));
    assert_eq!(scene.tags(&digest), Some(vec!["a".into(), "c".into()]));
}

#[tokio::test(start_paused = true)]
async fn the_last_tag_takes_the_image_with_it() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["a"], "one");
    assert_eq!(scene.delete(&[(Some(&digest), Some("a"))]).await, gone(&[(&digest, "a")]));
    assert_eq!(scene.tags(&digest), None);
}

#[tokio::test(start_paused = true)]
async fn a_digest_alone_takes_the_image_and_is_answered_once_for_each_tag() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["a", "b"], "one");
    let untagged = scene.sim.push_image(&scene.repo, &[], "two");
    assert_eq!(
        scene.delete(&[(Some(&digest), None)]).await,
        gone(&[(&digest, "a"), (&digest, "b")])
    );
    assert_eq!(scene.delete(&[(Some(&untagged), None)]).await, gone(&[(&untagged, "")]));
    assert!(scene.sim.images(&scene.repo).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_tag_on_another_digest_stays_there() {
    let scene = Scene::new();
    let one = scene.sim.push_image(&scene.repo, &["a"], "one");
    let two = scene.sim.push_image(&scene.repo, &["b"], "two");
    let reason = "Invalid request parameters: given tag does not map to the given digest";
    let mismatch = failed("ImageTagDoesNotMatchDigest", reason);
    assert_eq!(scene.delete(&[(Some(&one), Some("b"))]).await, mismatch);
    assert_eq!(scene.delete(&[(Some(ABSENT), Some("a"))]).await, mismatch);
    assert_eq!(scene.tags(&one), Some(vec!["a".into()]));
    assert_eq!(scene.tags(&two), Some(vec!["b".into()]));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_not_found_the_second_time_too() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["a", "b"], "one");
    let not_found = || failed("ImageNotFound", "Requested image not found");
    assert_eq!(scene.delete(&[(Some(&digest), Some("gone"))]).await, not_found());
    assert_eq!(scene.delete(&[(None, Some("gone"))]).await, not_found());
    assert_eq!(scene.delete(&[(Some(ABSENT), None)]).await, not_found());
    scene.delete(&[(Some(&digest), Some("a"))]).await;
    assert_eq!(scene.delete(&[(Some(&digest), Some("a"))]).await, not_found());
}

#[tokio::test(start_paused = true)]
async fn malformed_identifiers_are_refused_one_by_one() {
    let scene = Scene::new();
    let digest = scene.sim.push_image(&scene.repo, &["a", "b"], "one");
    let ids = [
        (None, None),
        (Some("sha256:zz"), None),
        (None, Some("a/b")),
        (Some(digest.as_str()), Some("a")),
    ];
    let answer = scene.delete(&ids).await;
    let codes: Vec<_> = answer.failed.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, ["MissingDigestAndTag", "InvalidImageDigest", "InvalidImageTag"]);
    assert_eq!(answer.gone, [(digest, "a".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_image_named_twice_in_a_call_is_answered_once() {
    let scene = Scene::new();
    let one = scene.sim.push_image(&scene.repo, &["a"], "one");
    assert_eq!(scene.delete(&[(Some(&one), None), (None, Some("a"))]).await, gone(&[(&one, "a")]));
    let two = scene.sim.push_image(&scene.repo, &["a", "b"], "two");
    let both = [(None, Some("a")), (Some(two.as_str()), None)];
    assert_eq!(scene.delete(&both).await, gone(&[(&two, "a"), (&two, "b")]));
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_from_1_to_100_identifiers() {
    let scene = Scene::new();
    let tags: Vec<String> = (0..101).map(|n| format!("t{n}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let digest = scene.sim.push_image(&scene.repo, &tags, "one");
    for count in [0, 101] {
        let ids = tags
            .iter()
            .take(count)
            .map(|tag| ImageIdentifier::builder().image_tag(*tag).build())
            .collect();
        let refused = scene
            .client
            .batch_delete_image()
            .repository_name("team/app")
            .set_image_ids(Some(ids))
            .send()
            .await;
        assert!(refused.unwrap_err().into_service_error().is_invalid_parameter_exception());
    }
    let ids: Vec<_> =
        tags.iter().take(100).map(|tag| (Some(digest.as_str()), Some(*tag))).collect();
    assert_eq!(scene.delete(&ids).await.gone.len(), 100);
    assert_eq!(scene.tags(&digest), Some(vec!["t100".into()]));
}

#[tokio::test(start_paused = true)]
async fn a_child_of_an_index_is_not_deleted_and_the_reason_names_the_parents() {
    let scene = Scene::new();
    let child = scene.sim.push_image(&scene.repo, &["amd64"], "one");
    let parent = scene.sim.push_index(&scene.repo, &["v1"], &[(&child, "linux/amd64")]);
    let reason = format!("Requested image referenced by manifest list: [{parent}]");
    let refused = failed("ImageReferencedByManifestList", &reason);
    assert_eq!(scene.delete(&[(Some(&child), None)]).await, refused);
    assert_eq!(scene.delete(&[(None, Some("amd64"))]).await, refused);
    assert_eq!(scene.delete(&[(Some(&child), Some("amd64"))]).await, refused);
    assert_eq!(scene.tags(&child), Some(vec!["amd64".into()]));
    assert_eq!(scene.sim.tag_target(&scene.repo, "v1"), Some(parent));
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_not_the_last_comes_off_a_child() {
    let scene = Scene::new();
    let child = scene.sim.push_image(&scene.repo, &["amd64", "quarantine"], "one");
    scene.sim.push_index(&scene.repo, &["v1"], &[(&child, "linux/amd64")]);
    assert_eq!(scene.delete(&[(Some(&child), Some("amd64"))]).await, gone(&[(&child, "amd64")]));
    assert_eq!(scene.tags(&child), Some(vec!["quarantine".into()]));
}

#[tokio::test(start_paused = true)]
async fn the_last_tag_of_an_index_takes_the_index_and_leaves_the_children() {
    let scene = Scene::new();
    let child = scene.sim.push_image(&scene.repo, &[], "one");
    let parent = scene.sim.push_index(&scene.repo, &["v1"], &[(&child, "linux/amd64")]);
    assert_eq!(scene.delete(&[(Some(&parent), Some("v1"))]).await, gone(&[(&parent, "v1")]));
    assert_eq!(scene.sim.images(&scene.repo).first(), Some(&child));
    assert_eq!(scene.delete(&[(Some(&child), None)]).await, gone(&[(&child, "")]));
}

#[tokio::test(start_paused = true)]
async fn tags_come_off_in_an_immutable_repository() {
    let scene = Scene::new();
    scene.sim.set_tag_mutability(&scene.repo, "IMMUTABLE", &[]);
    let digest = scene.sim.push_image(&scene.repo, &["a", "b"], "one");
    assert_eq!(scene.delete(&[(Some(&digest), Some("a"))]).await, gone(&[(&digest, "a")]));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_repository_is_an_error_of_the_call() {
    let scene = Scene::new();
    let id = ImageIdentifier::builder().image_tag("a").build();
    let refused =
        scene.client.batch_delete_image().repository_name("other").image_ids(id).send().await;
    assert!(refused.unwrap_err().into_service_error().is_repository_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn under_motos_rules_a_match_takes_the_whole_image() {
    let scene = Scene::with_rules(DeleteRules::WholeImage);
    let child = scene.sim.push_image(&scene.repo, &["a", "b"], "one");
    scene.sim.push_index(&scene.repo, &["v1"], &[(&child, "linux/amd64")]);
    assert_eq!(
        scene.delete(&[(Some(ABSENT), Some("a"))]).await,
        failed("ImageNotFound", "Requested image not found")
    );
    assert_eq!(
        scene.delete(&[(Some(&child), Some("a"))]).await,
        gone(&[(&child, "a"), (&child, "b")])
    );
    assert_eq!(scene.tags(&child), None);
}
