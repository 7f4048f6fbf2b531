//! Repositories and the settings of registries.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::misuse;
use crate::ecr::{ReplicationRule, RepoKey, Repository};
use crate::manifest::EMPTY_DIGEST;
use crate::sim::Sim;

impl Sim {
    /// Creates a repository in the simulation's own account and region.
    pub fn create_repository(&self, name: &str) -> RepoKey {
        self.create_repository_in(&self.config().account, &self.config().region, name)
    }

    /// Creates a repository of any account and region.
    pub fn create_repository_in(&self, account: &str, region: &str, name: &str) -> RepoKey {
        let key = RepoKey::new(account, region, name);
        self.change(|world| {
            let now = world.now;
            world
                .repositories
                .entry(key.clone())
                .or_insert_with_key(|key| Repository::new(key.clone(), now));
        });
        key
    }

    /// Deletes a repository with everything in it.
    pub fn delete_repository(&self, repository: &RepoKey) {
        self.change(|world| world.repositories.remove(repository));
    }

    /// Sets the tag mutability, such as `IMMUTABLE`, with the exclusion filters of the `_WITH_EXCLUSION` kinds.
    #[track_caller]
    pub fn set_tag_mutability(&self, repository: &RepoKey, mutability: &str, exclusions: &[&str]) {
        self.with_repository(repository, |repository| {
            repository.mutability = mutability.to_owned();
            repository.exclusions = exclusions.iter().map(|filter| (*filter).to_owned()).collect();
        });
    }

    /// Sets whether a pushed image is scanned.
    #[track_caller]
    pub fn set_scan_on_push(&self, repository: &RepoKey, scan_on_push: bool) {
        self.with_repository(repository, |repository| repository.scan_on_push = scan_on_push);
    }

    /// Sets how many images and artifacts a push may fill a repository to: 100,000 until then. Set-up and replication
    /// do not mind.
    #[track_caller]
    pub fn set_image_limit(&self, repository: &RepoKey, limit: usize) {
        self.with_repository(repository, |repository| repository.image_limit = limit);
    }

    /// Uploads the empty blob, so that artifacts which name no other can be attached at once, as in a repository that
    /// has had one before.
    #[track_caller]
    pub fn upload_empty_blob(&self, repository: &RepoKey) {
        let names_it = format!(r#"{{"config":{{"digest":"{EMPTY_DIGEST}","size":2}}}}"#);
        self.with_repository(repository, |repository| repository.layers.assume(&names_it));
    }

    /// Sets how long artifacts outlive the image that they are attached to, in all repositories, for images that are
    /// deleted from now on. Until then they go at once; AWS takes up to 24 hours.
    pub fn set_referrer_cleanup(&self, after: Duration) {
        self.change(|world| world.cleanup_after = after);
    }

    /// Sets the text of a repository's lifecycle policy. Nothing expires here.
    pub fn set_lifecycle_policy(&self, repository: &RepoKey, text: &str) {
        self.change(|world| world.lifecycle_policies.insert(repository.clone(), text.to_owned()));
    }

    /// Creates a pull-through cache rule: repositories whose names start with the prefix are copies of an upstream's.
    /// Nothing is pulled through here.
    pub fn create_pull_through_cache_rule(&self, account: &str, region: &str, prefix: &str) {
        let key = (account.to_owned(), region.to_owned(), prefix.to_owned());
        self.change(|world| {
            let now = world.now;
            world.cache_rules.entry(key).or_insert(now);
        });
    }

    /// Replicates what happens in a registry from now on, each change after a time between these two, drawn by the seed:
    /// changes overtake one another.
    pub fn set_replication(
        &self,
        account: &str,
        region: &str,
        rules: Vec<ReplicationRule>,
        takes: RangeInclusive<Duration>,
    ) {
        let registry = (account.to_owned(), region.to_owned());
        self.change(|world| {
            world.replication.rules.insert(registry, rules);
            world.replication.takes = takes;
        });
    }

    #[track_caller]
    pub(super) fn with_repository(&self, key: &RepoKey, act: impl FnOnce(&mut Repository)) {
        if self.change(|world| world.repositories.get_mut(key).map(act)).is_none() {
            misuse(format_args!("no repository {key}"));
        }
    }
}
