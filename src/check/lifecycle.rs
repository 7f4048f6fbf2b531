//! Warns of lifecycle policies that may expire records, or images in quarantine.

use crate::domain::names::Repository;
use crate::registry::{Expiring, ExpiringRule};

/// The most rules that are named one by one.
const MAX_NAMED: usize = 10;

/// What the lifecycle policies of the covered repositories may expire.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    /// Each rule with its repository.
    pub(crate) rules: Vec<(Repository, ExpiringRule)>,
    /// The number of repositories whose policy was not read.
    pub(crate) unread: usize,
}

impl Lifecycle {
    /// Returns a warning for each rule, up to a number.
    pub(super) fn warnings(&self) -> Vec<String> {
        let named = self.rules.iter().take(MAX_NAMED).map(|(repository, rule)| {
            let Repository { account, region, name } = repository;
            let ExpiringRule { priority, expires } = rule;
            let what = match expires {
                Expiring::Untagged => {
                    "untagged images. It may expire records too, which have no tag (AWS does not \
                     say): such an image can no longer be listed or restored"
                }
                Expiring::Any => {
                    "images with any tags or none. It may expire images in quarantine, and records"
                }
                Expiring::Marks => {
                    "images with a quarantine tag, the oldest push first, even if it was \
                     quarantined a minute ago"
                }
            };
            format!(
                "rule {priority} of the lifecycle policy of repository {name} in {account} \
                 {region} expires {what}"
            )
        });
        let more = self.rules.len().saturating_sub(MAX_NAMED);
        let more = (more > 0).then(|| {
            format!("{more} more rules of lifecycle policies may expire records or such images")
        });
        let unread = (self.unread > 0)
            .then(|| format!("number of lifecycle policies that were not read: {}", self.unread));
        named.chain(more).chain(unread).collect()
    }
}
