//! ECR: repositories, images and their tags, image indexes, scans, and the rules of deletion.

mod action;
mod cache;
mod delete;
mod finding;
pub(crate) mod findings;
mod image;
mod inspector;
mod layers;
mod lifecycle;
mod page;
mod push;
mod read;
mod referrers;
mod replication;
mod repository;
mod scan;

use serde_json::{Value, json};

use crate::api::{ApiCall, ApiError, Input, Outcome};
use crate::tags;
use crate::world::World;

pub(crate) use cache::CacheRuleKey;
pub(crate) use image::{Image, ImageStatus};
pub(crate) use push::NewImage;
pub(crate) use referrers::annotations;
pub use replication::ReplicationRule;
pub(crate) use replication::{Change, Replication};
pub use repository::RepoKey;
pub(crate) use repository::Repository;

pub(crate) fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterException", message)
}

impl World {
    pub(crate) fn ecr(&mut self, call: &ApiCall) -> Outcome {
        match call.operation.as_str() {
            "CreateRepository" => self.create_repository(call),
            "DescribeRepositories" => self.describe_repositories(call),
            "DeleteRepository" => self.delete_repository(call),
            "PutImageTagMutability" => self.put_image_tag_mutability(call),
            "PutImageScanningConfiguration" => self.put_image_scanning_configuration(call),
            "ListTagsForResource" => self.list_tags_of_repository(call),
            "GetRegistryScanningConfiguration" => Ok(registry_scanning(call)),
            "InitiateLayerUpload" => self.initiate_layer_upload(call),
            "UploadLayerPart" => self.upload_layer_part(call),
            "CompleteLayerUpload" => self.complete_layer_upload(call),
            "PutImage" => self.put_image(call),
            "BatchGetImage" => self.batch_get_image(call),
            "ListImages" => self.list_images(call),
            "DescribeImages" => self.describe_images(call),
            "ListImageReferrers" => self.list_image_referrers(call),
            "BatchDeleteImage" => self.batch_delete_image(call),
            "StartImageScan" => self.start_image_scan(call),
            "DescribeImageScanFindings" => self.describe_image_scan_findings(call),
            "DescribeRegistry" => self.describe_registry(call),
            "DescribeImageReplicationStatus" => self.describe_image_replication_status(call),
            "GetLifecyclePolicy" => self.get_lifecycle_policy(call),
            "DescribePullThroughCacheRules" => self.describe_pull_through_cache_rules(call),
            _ => Err(ApiError::unknown_operation(call)),
        }
    }

    fn repository(&self, call: &ApiCall) -> Result<&Repository, ApiError> {
        let key = RepoKey::of(call)?;
        self.repositories.get(&key).ok_or_else(|| no_such_repository(&key))
    }

    fn repository_mut(&mut self, call: &ApiCall) -> Result<&mut Repository, ApiError> {
        let key = RepoKey::of(call)?;
        self.repositories.get_mut(&key).ok_or_else(|| no_such_repository(&key))
    }

    fn create_repository(&mut self, call: &ApiCall) -> Outcome {
        let key = RepoKey::of(call)?;
        if !repository::valid_name(&key.name) {
            return Err(invalid(
                "Invalid parameter at 'repositoryName' failed to satisfy constraint",
            ));
        }
        if self.repositories.contains_key(&key) {
            let message = format!(
                "The repository with name '{}' already exists in the registry with id '{}'",
                key.name, key.account
            );
            return Err(ApiError::new("RepositoryAlreadyExistsException", message));
        }
        let mut repository = Repository::new(key.clone(), self.now);
        repository.set_mutability(&call.input);
        repository.set_scanning(&call.input);
        let reply = json!({"repository": repository.describe()});
        self.tag_resource(key.arn(), tags::of_list(call.input.list("tags")));
        self.repositories.insert(key, repository);
        Ok(reply)
    }

    fn describe_repositories(&self, call: &ApiCall) -> Outcome {
        let names = call.input.texts("repositoryNames");
        if names.is_empty() {
            let ours =
                |key: &RepoKey| key.account == call.target_account() && key.region == call.region;
            let repositories =
                self.repositories.values().filter(|repository| ours(&repository.key));
            let rows = repositories.map(|repository| (repository.key.name.clone(), repository));
            let page = page::Page::of(&call.input)?;
            return Ok(page.reply("repositories", rows, Repository::describe));
        }
        let found: Result<Vec<Value>, ApiError> = names
            .into_iter()
            .map(|name| {
                let key = RepoKey::new(call.target_account(), &call.region, name);
                let repository =
                    self.repositories.get(&key).ok_or_else(|| no_such_repository(&key))?;
                Ok(repository.describe())
            })
            .collect();
        Ok(json!({"repositories": found?}))
    }

    fn delete_repository(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository(call)?;
        let force = call.input.get("force").and_then(Value::as_bool).unwrap_or_default();
        if !force && !repository.images().is_empty() {
            let RepoKey { name, account, .. } = &repository.key;
            let message = format!(
                "The repository with name '{name}' in registry with id '{account}' cannot be deleted because it \
                 still contains images"
            );
            return Err(ApiError::new("RepositoryNotEmptyException", message));
        }
        let (key, reply) = (repository.key.clone(), json!({"repository": repository.describe()}));
        self.repositories.remove(&key);
        self.resource_tags.remove(&key.arn());
        Ok(reply)
    }

    fn list_tags_of_repository(&self, call: &ApiCall) -> Outcome {
        let arn = call.input.text("resourceArn").unwrap_or_default();
        if !self.repositories.keys().any(|key| key.arn() == arn) {
            let message = format!("The repository with ARN '{arn}' does not exist");
            return Err(ApiError::new("RepositoryNotFoundException", message));
        }
        Ok(json!({"tags": tags::to_list(&self.tags_of_resource(arn))}))
    }

    fn put_image_tag_mutability(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository_mut(call)?;
        repository.set_mutability(&call.input);
        Ok(json!({
            "registryId": repository.key.account,
            "repositoryName": repository.key.name,
            "imageTagMutability": repository.mutability,
        }))
    }

    fn put_image_scanning_configuration(&mut self, call: &ApiCall) -> Outcome {
        let repository = self.repository_mut(call)?;
        repository.set_scanning(&call.input);
        Ok(json!({
            "registryId": repository.key.account,
            "repositoryName": repository.key.name,
            "imageScanningConfiguration": {"scanOnPush": repository.scan_on_push},
        }))
    }
}

/// How the registry scans: by basic scanning, on push where a repository says so.
fn registry_scanning(call: &ApiCall) -> Value {
    json!({
        "registryId": call.account,
        "scanningConfiguration": {"scanType": "BASIC", "rules": []},
    })
}

fn no_such_repository(key: &RepoKey) -> ApiError {
    let message = format!(
        "The repository with name '{}' does not exist in the registry with id '{}'",
        key.name, key.account
    );
    ApiError::new("RepositoryNotFoundException", message)
}

fn no_such_image(key: &RepoKey, id: &Value) -> ApiError {
    let digest = id.text("imageDigest").unwrap_or("null");
    let tag = id.text("imageTag").unwrap_or("null");
    let message = format!(
        "The image with imageId {{imageDigest:'{digest}', imageTag:'{tag}'}} does not exist within the repository \
         with name '{}' in the registry with id '{}'",
        key.name, key.account
    );
    ApiError::new("ImageNotFoundException", message)
}
