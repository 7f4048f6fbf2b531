//! Artifacts that are attached to an image: pushed, listed, filtered, and gone with it.

use std::time::Duration;

use aws_sdk_ecr::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::operation::list_image_referrers::builders::ListImageReferrersFluentBuilder;
use aws_sdk_ecr::operation::put_image::builders::PutImageFluentBuilder;
use aws_sdk_ecr::types::{
    ArtifactStatusFilter, DescribeImagesFilter, ListImageReferrersFilter, SubjectIdentifier,
    TagStatus,
};
use aws_sim::{FaultRule, ReplicationRule, RepoKey, ScanResult, manifest};
use serde_json::{Value, json};

use super::layers::upload;
use super::{Scene, by_digest, by_tag};

const RECORD: &str = "application/vnd.example.record.v1+json";
const SIGNATURE: &str = "application/vnd.example.signature";
const DAY: Duration = Duration::from_secs(86_400);

impl Scene {
    /// An image with a tag; its digest.
    fn subject(&self) -> String {
        self.sim.push_image(&self.repo, &["v1"], "subject")
    }

    /// The manifest of a record of an image that says something.
    fn record(&self, subject: &str, says: &str) -> String {
        let size = manifest::image("subject").len();
        manifest::referrer((subject, manifest::OCI_IMAGE, size), RECORD, &[("says", says)])
    }

    fn put(&self, manifest: &str) -> PutImageFluentBuilder {
        self.client.put_image().repository_name("team/app").image_manifest(manifest)
    }

    async fn upload_empty_blob(&self) {
        upload(&self.client, manifest::EMPTY_BLOB, manifest::EMPTY_DIGEST).await.unwrap();
    }

    fn list(&self, subject: &str) -> ListImageReferrersFluentBuilder {
        let id = SubjectIdentifier::builder().image_digest(subject).build().unwrap();
        self.client.list_image_referrers().repository_name("team/app").subject_id(id)
    }

    /// The digests of the referrers that a filter lets through.
    async fn listed(&self, subject: &str, filter: ListImageReferrersFilter) -> Vec<String> {
        let output = self.list(subject).filter(filter).send().await.unwrap();
        output.referrers.unwrap_or_default().into_iter().map(|referrer| referrer.digest).collect()
    }

    async fn delete(&self, digest: &str) {
        let delete = self.client.batch_delete_image().repository_name("team/app");
        let output = delete.image_ids(by_digest(digest)).send().await.unwrap();
        assert!(output.failures().is_empty(), "{:?}", output.failures());
    }

    /// Attaches records that say these numbers; their digests in the order of a list.
    fn attach(&self, subject: &str, numbers: impl Iterator<Item = usize>) -> Vec<String> {
        let push = |number: usize| {
            let says = number.to_string();
            self.sim.push_referrer(&self.repo, subject, RECORD, &[("says", &says)])
        };
        let mut digests: Vec<_> = numbers.map(push).collect();
        digests.sort();
        digests
    }
}

fn of_type(types: &[&str]) -> ListImageReferrersFilter {
    let types = types.iter().map(|one| (*one).to_owned()).collect();
    ListImageReferrersFilter::builder().set_artifact_types(Some(types)).build()
}

/// The code of the error that a call ended in.
fn code<T, E: ProvideErrorMetadata + std::fmt::Debug, R: std::fmt::Debug>(
    answer: Result<T, SdkError<E, R>>,
) -> String {
    answer.err().unwrap().code().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn an_artifact_with_a_subject_is_an_untagged_image_and_a_referrer_of_its_subject() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.upload_empty_blob().await;
    let record = scene.record(&subject, "gone");
    let put = scene.put(&record).send().await.unwrap().image.unwrap();
    let id = put.image_id.unwrap();
    assert_eq!(id.image_tag(), None);
    let digest = id.image_digest.unwrap();
    assert_eq!(digest, manifest::digest(&record));

    let filter = DescribeImagesFilter::builder().tag_status(TagStatus::Untagged).build();
    let describe = scene.client.describe_images().repository_name("team/app").filter(filter);
    let described = describe.send().await.unwrap().image_details.unwrap();
    assert_eq!(described.len(), 1);
    let detail = &described[0];
    assert_eq!(detail.image_digest(), Some(digest.as_str()));
    assert_eq!(detail.artifact_media_type(), Some(RECORD));
    assert_eq!(detail.image_manifest_media_type(), Some(manifest::OCI_IMAGE));
    assert_eq!(detail.subject_manifest_digest(), Some(subject.as_str()));
    assert_eq!(detail.image_size_in_bytes(), Some(i64::try_from(record.len()).unwrap()));
    assert!(detail.image_pushed_at().is_some());
    assert!(detail.image_tags().is_empty());

    let listed = scene.list(&subject).send().await.unwrap();
    assert_eq!(listed.next_token(), None);
    assert_eq!(listed.referrers().len(), 1);
    let referrer = &listed.referrers()[0];
    assert_eq!(referrer.digest(), digest);
    assert_eq!(referrer.media_type(), manifest::OCI_IMAGE);
    assert_eq!(referrer.artifact_type(), Some(RECORD));
    assert_eq!(referrer.size(), i64::try_from(record.len()).unwrap());
    assert_eq!(referrer.annotations().unwrap()["says"], "gone");
    assert_eq!(referrer.artifact_status().unwrap().as_str(), "ACTIVE");

    let seen = scene.sim.referrers(&scene.repo, &subject);
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].digest.as_str(), seen[0].artifact_type.as_str()), (&*digest, RECORD));
    assert_eq!(seen[0].annotations["says"], "gone");
    assert_eq!(seen[0].manifest, record);

    let get = scene.client.batch_get_image().repository_name("team/app");
    let got = get.image_ids(by_digest(&digest)).send().await.unwrap();
    assert_eq!(got.images()[0].image_manifest(), Some(record.as_str()));
}

#[tokio::test(start_paused = true)]
async fn an_artifact_that_names_no_type_is_known_by_its_configuration() {
    let scene = Scene::new();
    let subject = scene.subject();
    let mut artifact: Value =
        serde_json::from_str(&manifest::artifact("chart", SIGNATURE)).unwrap();
    artifact["subject"] = json!({"mediaType": manifest::OCI_IMAGE, "digest": subject, "size": 1});
    scene.sim.push_manifest(&scene.repo, &[], &artifact.to_string());
    let listed = scene.list(&subject).send().await.unwrap();
    assert_eq!(listed.referrers()[0].artifact_type(), Some(SIGNATURE));
    assert_eq!(listed.referrers()[0].annotations(), None);
}

#[tokio::test(start_paused = true)]
async fn the_same_bytes_are_not_attached_twice() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.upload_empty_blob().await;
    let record = scene.record(&subject, "gone");
    scene.put(&record).send().await.unwrap();
    let again = scene.put(&record).send().await.unwrap_err().into_service_error();
    assert!(again.is_image_already_exists_exception(), "{again:?}");
    assert_eq!(scene.sim.referrers(&scene.repo, &subject).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_artifact_needs_its_blobs_and_an_image_does_not_until_layers_are_uploaded() {
    let scene = Scene::new();
    let subject = scene.subject();
    let record = scene.record(&subject, "gone");
    let missing = scene.put(&record).send().await.unwrap_err().into_service_error();
    assert!(missing.is_layers_not_found_exception(), "{missing:?}");
    assert!(missing.message().unwrap().contains(manifest::EMPTY_DIGEST));
    assert!(scene.sim.referrers(&scene.repo, &subject).is_empty());

    scene.upload_empty_blob().await;
    scene.put(&record).send().await.unwrap();
    // The empty blob says nothing of images.
    scene.put(&manifest::image("other")).image_tag("other").send().await.unwrap();
    scene.put(&manifest::image("subject")).image_tag("mark").send().await.unwrap();

    let signed = record.replace(manifest::EMPTY_DIGEST, &manifest::digest("no such blob"));
    assert_eq!(code(scene.put(&signed).send().await), "LayersNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn the_blobs_of_another_repository_do_not_count() {
    let scene = Scene::new();
    scene.upload_empty_blob().await;
    let other = scene.sim.create_repository("team/other");
    let subject = scene.sim.push_image(&other, &["v1"], "subject");
    let put = scene.put(&scene.record(&subject, "gone")).repository_name("team/other");
    assert_eq!(code(put.send().await), "LayersNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn a_blob_has_the_size_that_the_manifest_says() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.upload_empty_blob().await;
    let mut record: Value = serde_json::from_str(&scene.record(&subject, "gone")).unwrap();
    record["layers"][0]["size"] = json!(3);
    assert_eq!(code(scene.put(&record.to_string()).send().await), "InvalidParameterException");
}

#[tokio::test(start_paused = true)]
async fn an_attached_artifact_has_brought_its_blobs() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.sim.push_referrer(&scene.repo, &subject, SIGNATURE, &[]);
    scene.put(&scene.record(&subject, "gone")).send().await.unwrap();
    let again = upload(&scene.client, manifest::EMPTY_BLOB, manifest::EMPTY_DIGEST).await;
    assert_eq!(again.unwrap_err(), "LayerAlreadyExistsException");
}

#[tokio::test(start_paused = true)]
async fn a_subject_has_a_digest_and_need_not_be_there() {
    let scene = Scene::new();
    scene.upload_empty_blob().await;
    let absent = manifest::digest("nothing");
    scene.put(&scene.record(&absent, "gone")).send().await.unwrap();
    assert_eq!(scene.list(&absent).send().await.unwrap().referrers().len(), 1);
    let nameless = scene.record("latest", "gone");
    assert_eq!(code(scene.put(&nameless).send().await), "InvalidParameterException");
}

#[tokio::test(start_paused = true)]
async fn referrers_go_with_their_subject_and_theirs_with_them() {
    let scene = Scene::new();
    let [subject, kept] =
        ["one", "two"].map(|content| scene.sim.push_image(&scene.repo, &[content], content));
    let record = scene.sim.push_referrer(&scene.repo, &subject, RECORD, &[]);
    let signature = scene.sim.push_referrer(&scene.repo, &record, SIGNATURE, &[]);
    scene.sim.push_referrer(&scene.repo, &signature, SIGNATURE, &[("of", "a signature")]);
    let other = scene.sim.push_referrer(&scene.repo, &kept, RECORD, &[]);
    assert_eq!(scene.sim.images(&scene.repo).len(), 6);

    // The last tag takes the image, and the image takes them.
    let delete = scene.client.batch_delete_image().repository_name("team/app");
    delete.image_ids(by_tag("one")).send().await.unwrap();
    let mut left = vec![kept.clone(), other.clone()];
    left.sort();
    assert_eq!(scene.sim.images(&scene.repo), left);
    assert!(scene.list(&subject).send().await.unwrap().referrers().is_empty());

    scene.delete(&kept).await;
    assert!(scene.sim.images(&scene.repo).is_empty());
}

#[tokio::test(start_paused = true)]
async fn referrers_stay_for_as_long_as_a_test_says() {
    let scene = Scene::new();
    scene.sim.set_referrer_cleanup(DAY);
    let subject = scene.subject();
    let record = scene.sim.push_referrer(&scene.repo, &subject, RECORD, &[]);
    scene.sim.delete_image(&scene.repo, &subject);
    assert_eq!(scene.listed(&subject, of_type(&[])).await, std::slice::from_ref(&record));
    tokio::time::advance(DAY).await;
    assert!(scene.sim.images(&scene.repo).is_empty());

    // If the image comes back in time they stay.
    let subject = scene.subject();
    scene.sim.push_referrer(&scene.repo, &subject, RECORD, &[]);
    scene.sim.untag_image(&scene.repo, "v1");
    scene.subject();
    tokio::time::advance(DAY).await;
    assert_eq!(scene.sim.referrers(&scene.repo, &subject).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_artifact_is_deleted_alone_by_its_digest() {
    let scene = Scene::new();
    let subject = scene.subject();
    let digests = scene.attach(&subject, 0..2);
    scene.delete(&digests[0]).await;
    assert_eq!(scene.listed(&subject, of_type(&[])).await, [digests[1].as_str()]);
    assert!(scene.sim.tags(&scene.repo, &subject).is_some());
}

#[tokio::test(start_paused = true)]
async fn referrers_are_told_apart_by_type_and_status() {
    let scene = Scene::new();
    let subject = scene.subject();
    let record = scene.sim.push_referrer(&scene.repo, &subject, RECORD, &[("n", "1")]);
    let old = scene.sim.push_referrer(&scene.repo, &subject, RECORD, &[("n", "2")]);
    let signature = scene.sim.push_referrer(&scene.repo, &subject, SIGNATURE, &[]);
    scene.sim.archive_image(&scene.repo, &old);

    assert_eq!(scene.listed(&subject, of_type(&[RECORD])).await, std::slice::from_ref(&record));
    assert_eq!(scene.listed(&subject, of_type(&[SIGNATURE, "x"])).await, [signature.as_str()]);
    assert!(scene.listed(&subject, of_type(&["x"])).await.is_empty());
    assert_eq!(scene.listed(&subject, of_type(&[])).await.len(), 2);
    for (status, expected) in [
        (ArtifactStatusFilter::Active, vec![&record]),
        (ArtifactStatusFilter::Archived, vec![&old]),
        (ArtifactStatusFilter::Activating, vec![]),
    ] {
        let mut filter = of_type(&[RECORD]);
        filter.artifact_status = Some(status);
        assert_eq!(scene.listed(&subject, filter).await.iter().collect::<Vec<_>>(), expected);
    }
    let any =
        ListImageReferrersFilter::builder().artifact_status(ArtifactStatusFilter::Any).build();
    assert_eq!(scene.listed(&subject, any).await.len(), 3);
    let unknown = ListImageReferrersFilter::builder().artifact_status("LOST".into()).build();
    let refused = scene.list(&subject).filter(unknown).send().await;
    assert_eq!(code(refused), "InvalidParameterException");

    assert_eq!(scene.listed(&subject, of_type(&[RECORD; 5])).await.len(), 1);
    let refused = scene.list(&subject).filter(of_type(&[RECORD; 6])).send().await;
    assert_eq!(code(refused), "InvalidParameterException");
}

#[tokio::test(start_paused = true)]
async fn a_page_has_20_referrers_if_nothing_is_said_and_50_at_most() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.attach(&subject, 0..60);
    let usual = scene.list(&subject).send().await.unwrap();
    assert_eq!(usual.referrers().len(), 20);
    assert!(usual.next_token().is_some());
    let most = scene.list(&subject).max_results(50).send().await.unwrap();
    assert_eq!(most.referrers().len(), 50);
    for refused in [0, 51] {
        let answer = scene.list(&subject).max_results(refused).send().await;
        assert_eq!(code(answer), "InvalidParameterException");
    }
    let garbage = scene.list(&subject).next_token("?").send().await;
    assert_eq!(code(garbage), "InvalidParameterException");
}

#[tokio::test(start_paused = true)]
async fn pages_neither_repeat_nor_skip_what_stays_between_them() {
    let scene = Scene::new();
    let subject = scene.subject();
    let all = scene.attach(&subject, 0..7);
    let first = scene.list(&subject).max_results(3).send().await.unwrap();
    let token = first.next_token().unwrap();
    let seen: Vec<_> = first.referrers().iter().map(|referrer| referrer.digest()).collect();
    assert_eq!(seen, all[..3]);

    // The last one of the first page goes, and others come.
    scene.delete(&all[2]).await;
    let more = scene.attach(&subject, 7..12);
    let rest = scene.list(&subject).max_results(50).next_token(token).send().await.unwrap();
    let seen: Vec<_> = rest.referrers().iter().map(|referrer| referrer.digest()).collect();
    let mut expected: Vec<_> =
        all[3..].iter().chain(more.iter().filter(|one| **one > all[2])).collect();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(rest.next_token(), None);
}

#[tokio::test(start_paused = true)]
async fn nothing_refers_to_an_image_that_nobody_knows() {
    let scene = Scene::new();
    let unknown = scene.list(&manifest::digest("nothing")).send().await.unwrap();
    assert!(unknown.referrers().is_empty());
    let malformed = scene.list("latest").send().await;
    assert_eq!(code(malformed), "InvalidParameterException");
    let elsewhere = scene.list(&manifest::digest("nothing")).repository_name("team/none");
    let elsewhere = elsewhere.send().await.unwrap_err().into_service_error();
    assert!(elsewhere.is_repository_not_found_exception(), "{elsewhere:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_repository_takes_new_tags_and_no_new_images_or_artifacts() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.upload_empty_blob().await;
    scene.sim.set_image_limit(&scene.repo, 2);
    scene.put(&scene.record(&subject, "first")).send().await.unwrap();

    let refused = scene.put(&scene.record(&subject, "second")).send().await;
    let refused = refused.unwrap_err().into_service_error();
    assert!(refused.is_limit_exceeded_exception(), "{refused:?}");
    let image = scene.put(&manifest::image("new")).image_tag("new").send().await;
    assert_eq!(code(image), "LimitExceededException");
    scene.put(&manifest::image("subject")).image_tag("mark").send().await.unwrap();
    let again = scene.put(&scene.record(&subject, "first")).send().await;
    assert_eq!(code(again), "ImageAlreadyExistsException");

    scene.sim.set_image_limit(&scene.repo, 3);
    scene.put(&scene.record(&subject, "second")).send().await.unwrap();
    assert_eq!(scene.sim.referrers(&scene.repo, &subject).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_has_at_most_4194304_characters() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.upload_empty_blob().await;
    let empty = scene.record(&subject, "").len();
    let most = scene.record(&subject, &"é".repeat(4_194_304 - empty));
    scene.put(&most).send().await.unwrap();
    let more = scene.record(&subject, &"e".repeat(4_194_305 - empty));
    assert_eq!(code(scene.put(&more).send().await), "InvalidParameterException");
}

#[tokio::test(start_paused = true)]
async fn a_push_of_an_artifact_sends_an_event_without_a_tag_and_starts_no_scan() {
    let scene = Scene::new();
    scene.sim.set_scan_on_push(&scene.repo, true);
    let subject = scene.subject();
    scene.upload_empty_blob().await;
    let record = scene.record(&subject, "gone");
    let digest = manifest::digest(&record);
    scene.sim.set_findings(&scene.repo, &subject, ScanResult::basic(&[]));
    scene.put(&record).send().await.unwrap();

    let pushed = scene.details("ECR Image Action");
    assert_eq!(
        pushed.last(),
        Some(&json!({
            "action-type": "PUSH",
            "result": "SUCCESS",
            "repository-name": "team/app",
            "image-digest": digest,
            "image-tag": "",
            "manifest-media-type": manifest::OCI_IMAGE,
            "artifact-media-type": RECORD,
        }))
    );
    let scans = scene.details("ECR Image Scan");
    assert!(scans.iter().all(|scan| scan["image-digest"] == subject), "{scans:?}");
    let scan = scene.client.start_image_scan().repository_name("team/app");
    let refused = scan.image_id(by_digest(&digest)).send().await;
    assert_eq!(code(refused), "UnsupportedImageTypeException");
}

#[tokio::test(start_paused = true)]
async fn referrers_are_copied_and_go_with_the_copy_of_their_subject() {
    let scene = Scene::new();
    let rule = ReplicationRule::to(&[("111122223333", "us-east-1")]).deletes(true);
    let at_once = Duration::ZERO..=Duration::ZERO;
    scene.sim.set_replication("111122223333", "eu-west-1", vec![rule], at_once);
    let copy = RepoKey::new("111122223333", "us-east-1", "team/app");
    let subject = scene.subject();
    let record = scene.sim.push_referrer(&scene.repo, &subject, RECORD, &[]);
    let copied = scene.sim.referrers(&copy, &subject);
    assert_eq!(copied.iter().map(|one| &one.digest).collect::<Vec<_>>(), [&record]);
    scene.delete(&subject).await;
    assert!(scene.sim.images(&copy).is_empty());
}

#[tokio::test(start_paused = true)]
async fn referrers_are_seen_in_order_of_push_whatever_their_digests() {
    let scene = Scene::new();
    let subject = scene.subject();
    for number in 0..10 {
        scene.sim.push_referrer(&scene.repo, &subject, RECORD, &[("n", &number.to_string())]);
    }
    let seen = scene.sim.referrers(&scene.repo, &subject);
    let numbers: Vec<_> = seen.iter().map(|one| one.annotations["n"].as_str()).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    assert!(!seen.is_sorted_by_key(|one| one.digest.clone()));
}

#[tokio::test(start_paused = true)]
async fn what_reached_the_registry_first_is_told_from_what_was_sent_first() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.upload_empty_blob().await;
    scene.sim.set_faults(FaultRule::on("PutImage").delay(Duration::from_secs(1)));
    let record = scene.record(&subject, "gone");
    let (put, ()) = tokio::join!(scene.put(&record).send(), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.delete(&subject).await;
    });
    put.unwrap();
    let names = |calls: Vec<aws_sim::Call>| -> Vec<String> {
        let tail = calls.into_iter().rev().take(2).rev();
        tail.map(|call| call.operation).collect()
    };
    assert_eq!(names(scene.sim.calls()), ["PutImage", "BatchDeleteImage"]);
    assert_eq!(names(scene.sim.calls_by_effect()), ["BatchDeleteImage", "PutImage"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_referrers_fails_by_its_name() {
    let scene = Scene::new();
    let subject = scene.subject();
    scene.sim.set_faults(FaultRule::on("ListImageReferrers").once().error("AccessDeniedException"));
    assert_eq!(code(scene.list(&subject).send().await), "AccessDeniedException");
    scene.list(&subject).send().await.unwrap();
    let calls = scene.sim.calls_by_effect();
    assert_eq!(
        calls.iter().map(|call| &*call.operation).collect::<Vec<_>>(),
        ["ListImageReferrers"]
    );
}
