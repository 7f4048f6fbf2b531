//! Reads the rules by which ECR repeats removals of tags in other registries.
//!
//! With `deleteReplication`, ECR repeats the removal of a tag at the rule's destinations, and
//! nothing says in which order the removal and our mark arrive there. With the last tag ECR deletes
//! the image, so the worker must know these rules before it removes a tag. Therefore an answer that
//! is not understood is an error and never "no rule", and a rule that is not understood counts in
//! full.

use std::sync::Arc;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::{
    Intercept, context::AfterDeserializationInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use parking_lot::Mutex;
use serde::Deserialize;

use super::EcrRegistry;
use crate::aws::{AwsError, Operation};
use crate::domain::names::{AccountId, InvalidName, Region, RegistryId};
use crate::domain::replication::{RepeatedRemovals, Replication};

/// Keeps the bytes of an answer, because `deleteReplication` is in ECR's service model (botocore
/// 1.44.8, ReplicationRule) but not in that of aws-sdk-ecr 1.138, which drops fields that it does
/// not know.
#[derive(Clone, Debug, Default)]
struct KeepBody(Arc<Mutex<Vec<u8>>>);

impl Intercept for KeepBody {
    fn name(&self) -> &'static str {
        "KeepBody"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        *self.0.lock() = body.to_vec();
        Ok(())
    }
}

/// DescribeRegistry's answer (ECR API reference, DescribeRegistryResponse).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    registry_id: Option<String>,
    replication_configuration: Option<Configuration>,
}

#[derive(Debug, Default, Deserialize)]
struct Configuration {
    rules: Option<Vec<ReplicationRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReplicationRule {
    destinations: Option<Vec<Destination>>,
    repository_filters: Option<Vec<Filter>>,
    delete_replication: Option<DeleteReplication>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    region: String,
    registry_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    filter: Option<String>,
    filter_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DeleteReplication {
    enabled: Option<bool>,
}

impl ReplicationRule {
    /// Returns whether the rule repeats removals, which is off by default. A setting that is not
    /// understood counts as on.
    fn repeats_removals(&self) -> bool {
        self.delete_replication.as_ref().is_some_and(|delete| delete.enabled != Some(false))
    }

    /// Returns the prefixes of the rule's repositories. A filter of another kind becomes the empty
    /// prefix, because it may match any repository.
    fn prefixes(&self) -> Vec<String> {
        let filters = self.repository_filters.as_deref().unwrap_or_default();
        let prefix = |filter: &Filter| {
            let is_prefix = filter.filter_type.as_deref().is_none_or(|kind| kind == "PREFIX_MATCH");
            filter.filter.clone().filter(|_| is_prefix).unwrap_or_default()
        };
        filters.iter().map(prefix).collect()
    }
}

/// Why an answer about a registry cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Misunderstood {
    #[error("{0}")]
    Json(String),
    #[error(transparent)]
    Name(#[from] InvalidName),
}

/// Parses the rules from an answer, or returns `None` if the answer is about another registry.
fn rules_of(body: &[u8], registry_id: &RegistryId) -> Result<Option<Replication>, Misunderstood> {
    let json = |error: serde_json::Error| Misunderstood::Json(error.to_string());
    let answer: Answer = serde_json::from_slice(body).map_err(json)?;
    if answer.registry_id.is_some_and(|id| id != registry_id.account.as_str()) {
        return Ok(None);
    }
    let rules = answer.replication_configuration.unwrap_or_default().rules.unwrap_or_default();
    let rules = rules.into_iter().filter(ReplicationRule::repeats_removals).map(|rule| {
        let prefixes = rule.prefixes();
        let destinations = rule.destinations.unwrap_or_default().into_iter().map(|destination| {
            Ok(RegistryId {
                account: AccountId::parse(destination.registry_id)?,
                region: Region::parse(destination.region)?,
            })
        });
        Ok(RepeatedRemovals {
            prefixes,
            destinations: destinations.collect::<Result<_, Misunderstood>>()?,
        })
    });
    Ok(Some(Replication::new(rules.collect::<Result<_, Misunderstood>>()?)))
}

/// Returns the rules of a registry, or `None` if ECR answers about another one.
/// DescribeRegistry takes no registry id: it describes the registry of the account that calls
/// (ECR API reference, DescribeRegistryRequest).
pub(super) async fn describe_registry(
    registry: &EcrRegistry,
    registry_id: &RegistryId,
) -> Result<Option<Replication>, AwsError> {
    let operation = Operation::DescribeRegistry;
    let place = registry.place_at(registry_id).await;
    let body = KeepBody::default();
    let request = place.client.describe_registry().customize().interceptor(body.clone());
    place.aws.call(operation, request.send()).await?;
    let body = std::mem::take(&mut *body.0.lock());
    rules_of(&body, registry_id)
        .map_err(|problem| AwsError::unexpected(operation, problem.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry_id() -> RegistryId {
        RegistryId {
            account: AccountId::parse("111122223333").unwrap(),
            region: Region::parse("eu-west-1").unwrap(),
        }
    }

    fn rules(rules: &str) -> Result<Option<Replication>, Misunderstood> {
        let body = format!(
            r#"{{"registryId": "111122223333", "replicationConfiguration": {{"rules": {rules}}}}}"#
        );
        rules_of(body.as_bytes(), &registry_id())
    }

    fn repeated(prefixes: &[&str]) -> Result<Option<Replication>, Misunderstood> {
        let far = RegistryId { region: Region::parse("us-east-1").unwrap(), ..registry_id() };
        let prefixes = prefixes.iter().map(ToString::to_string).collect();
        let rule = RepeatedRemovals { prefixes, destinations: vec![far] };
        Ok(Some(Replication::new(vec![rule])))
    }

    #[test]
    fn rule_counts_only_if_it_repeats_removals() {
        let rule = |more: &str| {
            rules(&format!(
                r#"[{{"destinations": [{{"region": "us-east-1", "registryId": "111122223333"}}]{more}}}]"#
            ))
        };
        let none = Ok(Some(Replication::default()));
        assert_eq!(rule(""), none);
        assert_eq!(rule(r#", "deleteReplication": null"#), none);
        assert_eq!(rule(r#", "deleteReplication": {"enabled": false}"#), none);
        assert_eq!(rule(r#", "deleteReplication": {"enabled": true}"#), repeated(&[]));
        assert_eq!(
            rule(r#", "deleteReplication": {}"#),
            repeated(&[]),
            "nothing says that it is off"
        );
        let on = r#", "deleteReplication": {"enabled": true}, "repositoryFilters""#;
        let filters = r#"[{"filter": "team/", "filterType": "PREFIX_MATCH"}]"#;
        assert_eq!(rule(&format!("{on}: {filters}")), repeated(&["team/"]));
        assert_eq!(rule(&format!("{on}: []")), repeated(&[]));
        assert_eq!(rule(&format!("{on}: null")), repeated(&[]));
        let other = r#"[{"filter": "*/app", "filterType": "GLOB"}]"#;
        assert_eq!(
            rule(&format!("{on}: {other}")),
            repeated(&[""]),
            "the empty prefix matches every repository"
        );
    }

    #[test]
    fn malformed_answer_is_an_error_and_not_an_empty_list() {
        let destination = r#"[{"destinations": [{"region": "", "registryId": "111122223333"}], "deleteReplication": {"enabled": true}}]"#;
        assert!(rules(destination).is_err());
        assert!(rules("7").is_err());
        for body in ["", "{", "[]"] {
            assert!(rules_of(body.as_bytes(), &registry_id()).is_err(), "{body}");
        }
        let other = r#"{"registryId": "444455556666", "replicationConfiguration": {"rules": []}}"#;
        assert_eq!(rules_of(other.as_bytes(), &registry_id()), Ok(None));
        assert_eq!(
            rules_of(b"{}", &registry_id()),
            Ok(Some(Replication::default())),
            "an emulator"
        );
    }
}
