//! Reads lifecycle policies, for rules that may expire what the quarantine rests on.
//!
//! A rule counts images by the time of their push or by their number (ECR user guide, "Lifecycle
//! policy properties"), so it may expire an image that was pushed long ago and quarantined a minute
//! ago. Whether a rule for untagged images also expires an artifact with a subject, such as a
//! record, AWS does not say.

use serde::Deserialize;

use super::EcrRegistry;
use crate::aws::{AwsError, Operation};
use crate::domain::names::{Repository, Tag};

/// What a rule of a lifecycle policy may expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiring {
    /// Images without a tag.
    Untagged,
    /// Images with any tags or none.
    Any,
    /// Images with a quarantine tag.
    Marks,
}

/// A rule that may expire records or images in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExpiringRule {
    /// Its priority, which names it within its policy.
    pub(crate) priority: i64,
    /// What it may expire.
    pub(crate) expires: Expiring,
}

#[derive(Debug, Deserialize)]
struct Policy {
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    rule_priority: i64,
    #[serde(default)]
    selection: Selection,
    action: Option<Action>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Selection {
    tag_status: String,
    tag_prefix_list: Vec<String>,
    tag_pattern_list: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Action {
    #[serde(rename = "type")]
    kind: String,
}

/// Returns the rules of a repository's lifecycle policy that may expire records or images in
/// quarantine. There are none if it has no policy.
pub(crate) async fn expiring_rules(
    registry: &EcrRegistry,
    repository: &Repository,
) -> Result<Vec<ExpiringRule>, AwsError> {
    let operation = Operation::GetLifecyclePolicy;
    let place = registry.place(repository).await;
    let request = place
        .client
        .get_lifecycle_policy()
        .registry_id(repository.account.as_str())
        .repository_name(repository.name.as_str());
    let text = match place.aws.call(operation, request.send()).await {
        Ok(answer) => answer.lifecycle_policy_text.unwrap_or_default(),
        Err(error)
            if error.is("LifecyclePolicyNotFoundException")
                || error.is("RepositoryNotFoundException") =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let policy: Policy = serde_json::from_str(&text).map_err(|error| {
        AwsError::unexpected(operation, format!("the lifecycle policy is not understood: {error}"))
    })?;
    Ok(policy.rules.iter().filter_map(Rule::expiring).collect())
}

impl Rule {
    fn expiring(&self) -> Option<ExpiringRule> {
        let is_expiry = self.action.as_ref().is_none_or(|action| action.kind == "expire");
        let expires = match self.selection.tag_status.as_str() {
            _ if !is_expiry => return None,
            "untagged" => Expiring::Untagged,
            "any" => Expiring::Any,
            _ if self.selection.meets_marks() => Expiring::Marks,
            _ => return None,
        };
        Some(ExpiringRule { priority: self.rule_priority, expires })
    }
}

impl Selection {
    /// Returns whether a quarantine tag may be among the tags of this rule: each of its prefixes or
    /// patterns has to match a tag of the image, and the mark is the only tag that is left.
    fn meets_marks(&self) -> bool {
        let fixed = |pattern: &String| pattern.split('*').next().unwrap_or_default().to_owned();
        let mut starts = self
            .tag_prefix_list
            .iter()
            .cloned()
            .chain(self.tag_pattern_list.iter().map(fixed))
            .peekable();
        let may_match = |start: &String| {
            Tag::QUARANTINE.starts_with(start.as_str()) || start.starts_with(Tag::QUARANTINE)
        };
        starts.peek().is_some() && starts.all(|start| may_match(&start))
    }
}
