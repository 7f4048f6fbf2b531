use super::*;

fn push() -> Value {
    event("ecr_image_action.push.tag")
}

#[test]
fn push_and_restored_image_are_assessed_without_a_claim() {
    let pushed = assess(&push());
    assert_eq!(pushed.kind, Kind::EcrImageAction);
    assert_eq!(pushed.claim, Claim::Nothing);
    assert_eq!(pushed.repository.to_string(), "111122223333/eu-west-1/team/app");
    assert_eq!(pushed.digest.unwrap().hex(), HEX);
    assert_eq!(pushed.tags, [Tag::parse("1.2.3").unwrap()]);
    assert_eq!(assess(&event("ecr_image_action.restored")).claim, Claim::Nothing);
}

#[test]
fn image_is_named_by_digest_or_tag_or_both() {
    for nothing in [json!(null), json!("")] {
        let tag_only = assess(&with(push(), "/detail/image-digest", nothing.clone()));
        assert_eq!((tag_only.digest, tag_only.tags.len()), (None, 1));
        let untagged = with(push(), "/detail/image-tag", nothing.clone());
        assert!(assess(&untagged).tags.is_empty());
        let neither = with(untagged, "/detail/image-digest", nothing);
        assert_eq!(ignored(&neither), "the event names neither a digest nor a tag");
    }
    let untagged = without(push(), "/detail", "image-tag");
    assert!(assess(&untagged).tags.is_empty());
    assert!(ignored(&without(untagged, "/detail", "image-digest")).contains("neither"));
}

#[test]
fn untagged_artifact_is_ignored_and_tagged_artifact_is_assessed() {
    let artifact = |media_type| with(push(), "/detail/artifact-media-type", media_type);
    for image in [
        json!("application/vnd.oci.image.config.v1+json"),
        json!("application/vnd.docker.container.image.v1+json"),
        json!(null),
        json!(""),
    ] {
        assert_eq!(assess(&artifact(image)).claim, Claim::Nothing);
    }
    for other in [
        "application/vnd.cncf.helm.config.v1+json",
        // ECR reports either of our own records.
        "application/vnd.oci.empty.v1+json",
        crate::domain::record::ARTIFACT_TYPE,
    ] {
        let tagged = artifact(json!(other));
        assert_eq!(assess(&tagged).claim, Claim::Nothing, "ECR is asked what it is");
        for nothing in [json!(null), json!("")] {
            let untagged = with(tagged.clone(), "/detail/image-tag", nothing);
            assert_eq!(ignored(&untagged), "the artifact is not a container image");
        }
    }
}

#[test]
fn push_of_our_quarantine_tag_is_ignored_but_a_restore_by_it_is_assessed() {
    let mark = json!(format!("quarantine-{HEX}"));
    assert_eq!(ignored(&with(push(), "/detail/image-tag", mark.clone())), "our own quarantine tag");
    let mut restored = event("ecr_image_action.restored");
    restored["detail"]["image-tag"] = mark;
    let by_digest = assess(&restored);
    assert!(by_digest.digest.is_some() && by_digest.tags.is_empty());
    let by_tag = without(restored, "/detail", "image-digest");
    assert_eq!(assess(&by_tag).tags.len(), 1, "the image says whose mark it is");
}

#[test]
fn other_actions_results_and_storage_classes_are_ignored_with_a_reason() {
    let reason = |pointer, value| ignored(&with(push(), pointer, json!(value)));
    let action = "/detail/action-type";
    assert_eq!(reason(action, "DELETE"), "the image or its tag was deleted");
    assert_eq!(reason(action, "NEW"), "the action neither pushes nor restores an image");
    let storage = "the image was not restored to standard storage";
    assert_eq!(reason(action, "UPDATE_STORAGE_CLASS"), storage);
    for class in [json!("ARCHIVE"), json!("NEW"), json!(null)] {
        let event = event("ecr_image_action.restored");
        assert_eq!(ignored(&with(event, "/detail/target-storage-class", class)), storage);
    }
    for result in ["FAILURE", "", "success"] {
        assert_eq!(reason("/detail/result", result), "the action did not succeed");
    }
}

#[test]
fn account_and_region_come_from_envelope_then_worker() {
    let event = with(push(), "/account", json!("444455556666"));
    assert_eq!(assess(&event).repository.to_string(), "444455556666/eu-west-1/team/app");
    let nowhere = without(without(push(), "", "account"), "", "region");
    assert_eq!(assess(&nowhere).repository.to_string(), "999988887777/us-east-1/team/app");
}

#[test]
fn unknown_shapes_are_malformed() {
    for key in ["action-type", "result", "repository-name"] {
        let error = malformed(&without(push(), "/detail", key));
        assert!(error.contains(key), "{error}");
    }
    for (pointer, value) in [
        ("/detail/image-tag", json!("a b")),
        ("/detail/image-tag", json!(["latest"])),
        ("/detail/image-digest", json!("sha256:xyz")),
        ("/detail/repository-name", json!("")),
        ("/detail/result", json!(null)),
        ("/detail", json!(null)),
    ] {
        malformed(&with(push(), pointer, value));
    }
}
