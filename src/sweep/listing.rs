//! The repositories that a command reads: those of the policy that the command line asks for.

use futures_util::{StreamExt as _, stream};

use super::inventory::Inventory;
use crate::aws::AwsError;
use crate::domain::globs::Globs;
use crate::domain::names::{Region, RegistryId, Repository};
use crate::domain::policy::Policy;
use crate::registry::Registry;

/// The accounts and Regions that are read at the same time.
pub(crate) const REGISTRIES_AT_ONCE: usize = 8;

/// What a command reads.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// The repositories to read. If there are none, all of the policy are read.
    pub repositories: Globs,
    /// The only Region to read. `None` means every Region of the policy.
    pub region: Option<Region>,
    /// Whether every image is listed, also those that need no action or attention.
    pub all: bool,
}

/// The progress of a command over many images.
#[derive(Debug)]
pub(crate) enum Advance {
    /// This many more repositories, or images of a plan, will be handled.
    More(usize),
    /// More images of a repository have been read.
    Images(usize),
    /// A repository has been read.
    Repository,
    /// An image of a plan has been handled.
    Image,
    /// A registry or repository could not be read, for this reason.
    Failed(String),
}

/// Is called with every step of the work.
pub(crate) type OnAdvance<'a> = &'a (dyn Fn(Advance) + Sync);

/// The repositories to read of one account and Region.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The account and Region.
    pub registry_id: RegistryId,
    /// Its repositories, or the reason why they cannot be listed.
    pub repositories: Result<Vec<Repository>, AwsError>,
    /// Those of the policy that are not selected.
    pub left_out: Vec<Repository>,
}

/// Lists the repositories of the policy that are selected. `own` is the caller's account and
/// Region.
pub(crate) async fn listed<R: Registry>(
    inventory: &Inventory<R>,
    policy: &Policy,
    own: &RegistryId,
    selection: &Selection,
    on: OnAdvance<'_>,
) -> Vec<Listed> {
    let Selection { repositories: only, region, .. } = selection;
    let registries = policy.registries(own).into_iter();
    let registries =
        registries.filter(|one| region.as_ref().is_none_or(|region| one.region == *region));
    let lists = registries.map(|registry_id| async move {
        let is_selected = |one: &Repository| only.admit(one.name.as_str());
        match inventory.covered(policy, &registry_id).await {
            Ok(all) => {
                let (selected, left_out) = all.into_iter().partition::<Vec<_>, _>(is_selected);
                on(Advance::More(selected.len()));
                Listed { registry_id, repositories: Ok(selected), left_out }
            }
            Err(error) => {
                let RegistryId { account, region } = &registry_id;
                let problem = format!("{account}/{region}: {error}{}", error.advice());
                on(Advance::Failed(problem));
                Listed { registry_id, repositories: Err(error), left_out: Vec::new() }
            }
        }
    });
    stream::iter(lists).buffer_unordered(REGISTRIES_AT_ONCE).collect().await
}
