//! A client for each account and Region, with its own retry quota and pacing.

use std::convert::Infallible;
use std::sync::Arc;

use aws_sdk_ecr::{Client, config};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use crate::aws::{Aws, CountAttempts};
use crate::domain::names::RegistryId;

/// The most clients that are kept.
const MAX_CLIENTS: usize = 256;

/// The registry of one account and Region: its client, and the pacing of its calls.
#[derive(Debug)]
pub(super) struct RegistryClient {
    pub(super) client: Client,
    pub(super) aws: Aws,
}

/// The clients that are in use.
#[derive(Debug)]
pub(super) struct Clients {
    aws: Aws,
    own: RegistryId,
    /// Clients that were not used for long give way first, each with the state of its pacing.
    places: Cache<RegistryId, Arc<RegistryClient>>,
}

impl Clients {
    /// Creates no client yet; `own` is the worker's own account and Region.
    pub(super) fn new(aws: Aws, own: RegistryId) -> Self {
        Self { aws, own, places: cache() }
    }

    /// The means to call AWS, as the worker itself.
    pub(super) fn aws(&self) -> &Aws {
        &self.aws
    }

    /// The worker's own account and Region.
    pub(super) fn own(&self) -> &RegistryId {
        &self.own
    }

    /// Returns the client of an account and Region.
    pub(super) async fn at(&self, registry_id: &RegistryId) -> Arc<RegistryClient> {
        let new = async {
            let config = config::Builder::from(&self.aws.at(registry_id, &self.own).await);
            let config = config.retry_partition(Aws::retry_quota()).interceptor(CountAttempts);
            let client = Client::from_conf(config.build());
            Ok::<_, Infallible>(Arc::new(RegistryClient {
                client,
                aws: self.aws.paced(registry_id),
            }))
        };
        let Ok(place) = self.places.get_or_insert_async(registry_id, new).await;
        place
    }
}

/// Returns a cache of one shard, because a shard that is full gives way to others although the
/// whole is not, and a client that gave way too early would take its pacing with it.
fn cache() -> Cache<RegistryId, Arc<RegistryClient>> {
    let options = OptionsBuilder::new()
        .shards(1)
        .estimated_items_capacity(MAX_CLIENTS)
        .weight_capacity(MAX_CLIENTS as u64)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            UnitWeighter,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        Err(_) => Cache::new(MAX_CLIENTS),
    }
}
