//! Pull-through cache rules: which repository prefixes belong to an upstream registry. Nothing is pulled through here.

use serde_json::{Value, json};

use super::page::Page;
use crate::api::{ApiCall, ApiError, Input, Outcome};
use crate::clock::unix_seconds;
use crate::world::World;

/// What identifies a rule: account, region and repository prefix.
pub(crate) type CacheRuleKey = (String, String, String);

/// The upstream of every rule.
const UPSTREAM: &str = "public.ecr.aws";

impl World {
    pub(super) fn describe_pull_through_cache_rules(&self, call: &ApiCall) -> Outcome {
        let account = call.target_account();
        let describe = |prefix: &str| -> Option<Value> {
            let key = (account.to_owned(), call.region.clone(), prefix.to_owned());
            let created_at = self.cache_rules.get(&key)?;
            Some(json!({
                "ecrRepositoryPrefix": prefix,
                "upstreamRegistryUrl": UPSTREAM,
                "registryId": account,
                "createdAt": unix_seconds(*created_at),
            }))
        };
        let prefixes = call.input.texts("ecrRepositoryPrefixes");
        if prefixes.is_empty() {
            let page = Page::of(&call.input)?;
            let ours = self
                .cache_rules
                .keys()
                .filter(|(owner, region, _)| owner == account && *region == call.region);
            let rows = ours.map(|(_, _, prefix)| (prefix.clone(), prefix));
            return Ok(page.reply("pullThroughCacheRules", rows, |prefix| {
                describe(prefix).unwrap_or_default()
            }));
        }
        let rules: Result<Vec<Value>, ApiError> = prefixes
            .into_iter()
            .map(|prefix| describe(prefix).ok_or_else(|| no_such_rule(prefix, account)))
            .collect();
        Ok(json!({"pullThroughCacheRules": rules?}))
    }
}

fn no_such_rule(prefix: &str, account: &str) -> ApiError {
    let message = format!(
        "The pull through cache rule with ecrRepositoryPrefix '{prefix}' does not exist in the registry with id \
         '{account}'"
    );
    ApiError::new("PullThroughCacheRuleNotFoundException", message)
}
