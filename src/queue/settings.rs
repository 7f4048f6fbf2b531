//! The settings of the queue.

use std::time::Duration;

use axum::http::Uri;

use crate::domain::names::{AccountId, Region, RegistryId};

/// The settings of `queue.*`.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The queue's URL.
    pub url: String,
    /// The number of messages that are worked on at once.
    pub max_in_flight: usize,
    /// The time that a received message stays invisible unless its lease is extended.
    pub visibility_timeout: Duration,
}

impl QueueSettings {
    /// Returns the account and the Region that the URL names, as every queue at AWS does. If the
    /// host names no Region, it is `elsewhere`.
    #[must_use]
    pub fn registry_id(&self, elsewhere: Option<&Region>) -> Option<RegistryId> {
        registry_of(&self.url, elsewhere)
    }

    /// Returns the queue's name, the last part of its URL.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.url.rsplit('/').find(|part| !part.is_empty()).map(str::to_owned)
    }
}

/// Returns the account and the Region that a queue's URL names. The URL of an emulator names no
/// Region, so the Region is `elsewhere`. The same holds for the oldest host of all,
/// `queue.amazonaws.com`: it names no Region, and the SDK calls `elsewhere`.
#[must_use]
pub(crate) fn registry_of(url: &str, elsewhere: Option<&Region>) -> Option<RegistryId> {
    let uri = url.parse::<Uri>().ok()?;
    let account = uri.path().split('/').find(|part| !part.is_empty())?;
    let region = region_of(uri.host()?).or_else(|| elsewhere.cloned())?;
    Some(RegistryId { account: AccountId::parse(account).ok()?, region })
}

/// Returns the Region in a host name of SQS (AWS General Reference, "Amazon SQS endpoints and
/// quotas"). It follows the name of the service or, in legacy host names, precedes `queue`.
fn region_of(host: &str) -> Option<Region> {
    let labels: Vec<_> = host.split('.').collect();
    // The host of an interface VPC endpoint has the endpoint's id before the service.
    let after = labels.iter().skip_while(|label| !["sqs", "sqs-fips"].contains(label)).nth(1);
    let region = match (after, labels.as_slice()) {
        (Some(region), _) => region,
        (None, [region, "queue", "amazonaws", ..]) => region,
        _ => return None,
    };
    Region::parse(*region).ok()
}
