//! Lifecycle policies: texts that can be read. Nothing expires here.

use serde_json::json;

use super::RepoKey;
use crate::api::{ApiCall, ApiError, Outcome};
use crate::world::World;

impl World {
    pub(super) fn get_lifecycle_policy(&self, call: &ApiCall) -> Outcome {
        let key = RepoKey::of(call)?;
        self.repository(call)?;
        let text = self.lifecycle_policies.get(&key).ok_or_else(|| {
            let message = format!(
                "Lifecycle policy does not exist for the repository with name '{}' in the registry with id '{}'",
                key.name, key.account
            );
            ApiError::new("LifecyclePolicyNotFoundException", message)
        })?;
        Ok(json!({
            "registryId": key.account,
            "repositoryName": key.name,
            "lifecyclePolicyText": text,
        }))
    }
}
