//! Policy documents, as IAM reads them.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Value, json};

/// The longest managed policy, and the longest that all inline policies of a role may be together,
/// in characters without white space (IAM user guide, "IAM and AWS STS quotas").
const MANAGED_LIMIT: usize = 6_144;
const INLINE_LIMIT: usize = 10_240;

/// A policy document. Its members are in the order in which people write them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    version: &'static str,
    statement: Vec<Statement>,
}

impl Document {
    /// Returns IAM's objection to the document's length, if it has one.
    #[must_use]
    pub fn too_long(&self) -> Option<String> {
        let length = serde_json::to_string(self).unwrap_or_default().len();
        let more = (length > INLINE_LIMIT).then(|| {
            format!(
                "{length} characters, and IAM allows at most {INLINE_LIMIT}: name fewer accounts, \
                 Regions or repositories"
            )
        });
        let inline = (length > MANAGED_LIMIT).then(|| {
            format!(
                "{length} characters, and IAM allows {MANAGED_LIMIT} in a managed policy: make it \
                 an inline policy"
            )
        });
        more.or(inline)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<&'static str>,
    resource: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

/// Returns the permission to use keys through these services only.
pub(super) fn by_service(
    sid: &'static str,
    actions: &[&'static str],
    keys: BTreeSet<String>,
    services: BTreeSet<String>,
) -> Statement {
    let exact = services.iter().all(|service| !service.contains('*'));
    let operator = if exact { "StringEquals" } else { "StringLike" };
    Statement {
        condition: Some(json!({operator: {"kms:ViaService": services}})),
        ..allow(sid, actions, keys)
    }
}

/// Returns the permission for these actions on these resources.
pub(super) fn allow(
    sid: &'static str,
    actions: &[&'static str],
    resources: impl IntoIterator<Item = String>,
) -> Statement {
    let resource = resources.into_iter().collect();
    Statement { sid, effect: "Allow", action: actions.to_vec(), resource, condition: None }
}

/// Returns the document of these statements.
pub(super) fn document(statement: Vec<Statement>) -> Document {
    Document { version: "2012-10-17", statement }
}
