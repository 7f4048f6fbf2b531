//! Uploads of layers, and what a push needs of them.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::error::ProvideErrorMetadata as _;
use aws_sdk_ecr::primitives::Blob;
use aws_sim::manifest;
use serde_json::{Value, json};

use super::Scene;

const REPOSITORY: &str = "team/app";

/// Uploads a blob in one part; its digest, or the error's code at the end.
pub(super) async fn upload(client: &Client, bytes: &[u8], digest: &str) -> Result<String, String> {
    let begun = client.initiate_layer_upload().repository_name(REPOSITORY).send().await.unwrap();
    let id = begun.upload_id().unwrap();
    let last = i64::try_from(bytes.len()).unwrap() - 1;
    let part = client.upload_layer_part().repository_name(REPOSITORY).upload_id(id);
    let part = part.part_first_byte(0).part_last_byte(last).layer_part_blob(Blob::new(bytes));
    assert_eq!(part.send().await.unwrap().last_byte_received(), Some(last));
    let complete = client.complete_layer_upload().repository_name(REPOSITORY).upload_id(id);
    match complete.layer_digests(digest).send().await {
        Ok(answer) => Ok(answer.layer_digest.unwrap()),
        Err(error) => Err(error.into_service_error().code().unwrap().to_owned()),
    }
}

/// The digest of a blob of some content.
const HELLO: &[u8] = b"hello";
const HELLO_DIGEST: &str =
    "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

/// The manifest of an image with this one blob as its configuration, and as its layer.
fn image_of(digest: &str) -> String {
    let mut manifest: Value = serde_json::from_str(&manifest::image("one")).unwrap();
    for blob in ["/config", "/layers/0"] {
        let blob = manifest.pointer_mut(blob).unwrap();
        blob["digest"] = json!(digest);
        blob["size"] = json!(HELLO.len());
    }
    manifest.to_string()
}

#[tokio::test(start_paused = true)]
async fn an_uploaded_blob_is_stored_once_under_its_digest() {
    let Scene { client, .. } = Scene::new();
    assert_eq!(upload(&client, HELLO, HELLO_DIGEST).await.as_deref(), Ok(HELLO_DIGEST));
    let again = upload(&client, HELLO, HELLO_DIGEST).await;
    assert_eq!(again.unwrap_err(), "LayerAlreadyExistsException");
    let other = upload(&client, b"other", HELLO_DIGEST).await;
    assert_eq!(other.unwrap_err(), "InvalidLayerException");
}

#[tokio::test(start_paused = true)]
async fn a_push_needs_its_layers_from_the_first_upload_on() {
    let Scene { client, .. } = Scene::new();
    let put = |manifest: String| {
        client.put_image().repository_name(REPOSITORY).image_manifest(manifest).send()
    };
    put(manifest::image("before")).await.unwrap();
    upload(&client, HELLO, HELLO_DIGEST).await.unwrap();
    put(image_of(HELLO_DIGEST)).await.unwrap();
    let missing = put(manifest::image("after")).await.unwrap_err().into_service_error();
    assert!(missing.is_layers_not_found_exception(), "{missing:?}");
    // What is there already has its layers, and an index has none of its own.
    let retag = client.put_image().repository_name(REPOSITORY).image_tag("again");
    retag.image_manifest(manifest::image("before")).send().await.unwrap();
    put(manifest::index(&[])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn parts_come_in_order_and_only_the_last_one_is_small() {
    let Scene { client, .. } = Scene::new();
    let begun = client.initiate_layer_upload().repository_name(REPOSITORY).send().await.unwrap();
    let id = begun.upload_id().unwrap();
    let part = |id: &str, first: i64, bytes: &'static [u8]| {
        let part = client.upload_layer_part().repository_name(REPOSITORY).upload_id(id);
        let last = first + i64::try_from(bytes.len()).unwrap() - 1;
        part.part_first_byte(first).part_last_byte(last).layer_part_blob(Blob::new(bytes)).send()
    };
    let complete = || {
        let complete = client.complete_layer_upload().repository_name(REPOSITORY).upload_id(id);
        complete.layer_digests(HELLO_DIGEST).send()
    };
    let empty = complete().await.unwrap_err().into_service_error();
    assert!(empty.is_empty_upload_exception(), "{empty:?}");
    let gap = part(id, 1, HELLO).await.unwrap_err().into_service_error();
    assert!(gap.is_invalid_layer_part_exception(), "{gap:?}");
    part(id, 0, HELLO).await.unwrap();
    let small = part(id, 5, HELLO).await.unwrap_err().into_service_error();
    assert_eq!(small.code(), Some("LayerPartTooSmallException"));
    let unknown = part("unknown", 0, HELLO).await.unwrap_err().into_service_error();
    assert!(unknown.is_upload_not_found_exception(), "{unknown:?}");
    complete().await.unwrap();
    let over = complete().await.unwrap_err().into_service_error();
    assert!(over.is_upload_not_found_exception(), "{over:?}");
}
