//! Tries which calls the worker may make on a repository, by calls about an image that cannot
//! exist.

use aws_sdk_ecr::primitives::Blob;
use aws_sdk_ecr::types::ImageIdentifier;

use super::EcrRegistry;
use super::replication::describe_registry;
use crate::aws::{ErrorClass, Operation, Permission, Tried};
use crate::domain::names::Repository;
use crate::domain::record::{EMPTY_BLOB, EMPTY_DIGEST};
use crate::registry::Registry as _;

/// Digest of no image, because no text with this digest is known.
const NO_DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
const NO_TAG: &str = "tagwarden-check";

/// The id of no upload.
const NO_UPLOAD: &str = "00000000-0000-0000-0000-000000000000";

/// What the worker may do on a repository beyond reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Uses {
    /// It removes tags.
    pub(crate) enforces: bool,
    /// It gives tags back.
    pub(crate) restores: bool,
    /// It writes records of both.
    pub(crate) records: bool,
    /// It asks for scans.
    pub(crate) rescans: bool,
}

/// Tries every permission on a repository that these uses need.
///
/// No call can change anything: ECR refuses to put a text that is not a manifest and does not
/// have the digest given with it, and an image that does not exist can be neither deleted nor
/// scanned. An upload is announced, and nothing is uploaded; parts and ends of an upload are those
/// of one that does not exist. If the role in another account cannot be assumed, the result says
/// only that.
pub(crate) async fn try_permissions(
    registry: &EcrRegistry,
    repository: &Repository,
    uses: Uses,
) -> Vec<Tried> {
    let client = registry.place(repository).await.client.clone();
    let (account, name) = (repository.account.as_str(), repository.name.as_str());
    let id = || ImageIdentifier::builder().image_digest(NO_DIGEST);
    let images =
        client.describe_images().registry_id(account).repository_name(name).image_ids(id().build());
    let findings = client
        .describe_image_scan_findings()
        .registry_id(account)
        .repository_name(name)
        .image_id(id().build());
    let manifests =
        client.batch_get_image().registry_id(account).repository_name(name).image_ids(id().build());
    let on = format!("repository {name} in {account} {}", repository.region);
    let aws = registry.clients.aws();
    let images = aws.call(Operation::DescribeImages, images.send()).await;
    // Our own credentials have worked before, so if there is no answer, the credentials of the
    // role are missing.
    if let Err(error) = &images
        && error.class == ErrorClass::Credentials
        && error.code.is_none()
        && repository.account != registry.clients.own().account
    {
        return vec![Tried {
            action: "sts:AssumeRole",
            resource: format!("aws.assume_role in {account}"),
            permission: Permission::Missing(error.to_string()),
        }];
    }
    let mut tried = vec![
        Tried::new("ecr:DescribeImages", &on, images),
        Tried::new(
            "ecr:DescribeImageScanFindings",
            &on,
            aws.call(Operation::DescribeImageScanFindings, findings.send()).await,
        ),
        Tried::new(
            "ecr:BatchGetImage",
            &on,
            aws.call(Operation::BatchGetImage, manifests.send()).await,
        ),
        Tried::new(
            "ecr:DescribePullThroughCacheRules",
            &on,
            registry.pull_through_prefixes(&repository.registry_id()).await,
        ),
    ];
    tried.push(match describe_registry(registry, &repository.registry_id()).await {
        Ok(None) => Tried {
            action: "ecr:DescribeRegistry",
            resource: on.clone(),
            permission: Permission::Unknown(
                "ECR describes a registry to its own account only; set aws.assume_role".to_owned(),
            ),
        },
        described => Tried::new("ecr:DescribeRegistry", &on, described),
    });
    let repositories = client.describe_repositories().registry_id(account).max_results(1);
    tried.push(Tried::new(
        "ecr:DescribeRepositories",
        &on,
        aws.call(Operation::DescribeRepositories, repositories.send()).await,
    ));
    if uses.records {
        let lifecycle = client.get_lifecycle_policy().registry_id(account).repository_name(name);
        tried.push(Tried::new(
            "ecr:GetLifecyclePolicy",
            &on,
            aws.call(Operation::GetLifecyclePolicy, lifecycle.send()).await,
        ));
    }
    if uses.rescans {
        let scan = client
            .start_image_scan()
            .registry_id(account)
            .repository_name(name)
            .image_id(id().build());
        tried.push(Tried::new(
            "ecr:StartImageScan",
            &on,
            aws.call(Operation::StartImageScan, scan.send()).await,
        ));
    }
    if uses.enforces || uses.restores {
        let put = client
            .put_image()
            .registry_id(account)
            .repository_name(name)
            .image_manifest("tagwarden check")
            .image_digest(NO_DIGEST)
            .image_tag(NO_TAG);
        let put = aws.call(Operation::PutImage, put.send()).await;
        tried.push(Tried::new("ecr:PutImage", &on, put));
        if uses.records {
            tried.extend(try_uploads(registry, repository, &on).await);
        }
    }
    if uses.enforces {
        let delete = client
            .batch_delete_image()
            .registry_id(account)
            .repository_name(name)
            .image_ids(id().image_tag(NO_TAG).build());
        let delete = aws.call(Operation::BatchDeleteImage, delete.send()).await;
        tried.push(Tried::new("ecr:BatchDeleteImage", &on, delete));
    }
    tried
}

/// Tries the permissions to upload the blob that every record names.
async fn try_uploads(registry: &EcrRegistry, repository: &Repository, on: &str) -> [Tried; 3] {
    let client = registry.place(repository).await.client.clone();
    let aws = registry.clients.aws();
    let (account, name) = (repository.account.as_str(), repository.name.as_str());
    let begin = client.initiate_layer_upload().registry_id(account).repository_name(name);
    let part = client
        .upload_layer_part()
        .registry_id(account)
        .repository_name(name)
        .upload_id(NO_UPLOAD)
        .part_first_byte(0)
        .part_last_byte(1)
        .layer_part_blob(Blob::new(EMPTY_BLOB));
    let end = client
        .complete_layer_upload()
        .registry_id(account)
        .repository_name(name)
        .upload_id(NO_UPLOAD)
        .layer_digests(EMPTY_DIGEST);
    [
        Tried::new(
            "ecr:InitiateLayerUpload",
            on,
            aws.call(Operation::InitiateLayerUpload, begin.send()).await,
        ),
        Tried::new(
            "ecr:UploadLayerPart",
            on,
            aws.call(Operation::UploadLayerPart, part.send()).await,
        ),
        Tried::new(
            "ecr:CompleteLayerUpload",
            on,
            aws.call(Operation::CompleteLayerUpload, end.send()).await,
        ),
    ]
}
