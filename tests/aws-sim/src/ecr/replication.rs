//! Replication: what happens to a repository happens to its copies in other registries, some time
//! later.
//!
//! Each change travels by itself and takes a time of its own, so that changes overtake one another.
//! Of one tag the last change counts, whatever comes when. A removal that is repeated takes the
//! image with its last tag, as anywhere.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Image, RepoKey, Repository, no_such_image};
use crate::api::{ApiCall, Input, Outcome};
use crate::world::{Scheduled, World};

/// An account and a region.
pub(crate) type RegistryKey = (String, String);

/// A rule of a registry: where its repositories are copied to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicationRule {
    destinations: Vec<RegistryKey>,
    prefixes: Vec<String>,
    deletes: Option<bool>,
}

impl ReplicationRule {
    /// Copies every repository to these registries, each an account and a region. Removals are not
    /// repeated.
    pub fn to(destinations: &[(&str, &str)]) -> Self {
        let own = |(account, region): &(&str, &str)| ((*account).to_owned(), (*region).to_owned());
        Self { destinations: destinations.iter().map(own).collect(), ..Self::default() }
    }

    /// Only of repositories whose names begin with this, or with another prefix that was given.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefixes.push(prefix.to_owned());
        self
    }

    /// Whether removals of tags and images are repeated.
    #[must_use]
    pub fn deletes(mut self, deletes: bool) -> Self {
        self.deletes = Some(deletes);
        self
    }

    fn covers(&self, name: &str) -> bool {
        self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    fn describe(&self) -> Value {
        let destinations = self
            .destinations
            .iter()
            .map(|(account, region)| json!({"registryId": account, "region": region}));
        let mut rule = json!({"destinations": destinations.collect::<Vec<_>>()});
        if !self.prefixes.is_empty() {
            let filters = self.prefixes.iter();
            let filters =
                filters.map(|prefix| json!({"filter": prefix, "filterType": "PREFIX_MATCH"}));
            rule.set("repositoryFilters", filters.collect());
        }
        if let Some(enabled) = self.deletes {
            rule.set("deleteReplication", json!({"enabled": enabled}));
        }
        rule
    }
}

/// The rules of all registries, and what their copies have come to.
#[derive(Debug)]
pub(crate) struct Replication {
    pub(crate) rules: BTreeMap<RegistryKey, Vec<ReplicationRule>>,
    /// How long a change takes.
    pub(crate) takes: RangeInclusive<Duration>,
    /// Apart from the identifiers, which are so the same with and without replication.
    rng: fastrand::Rng,
    changes: u64,
    /// The last change of each tag of a copy.
    seen: BTreeMap<(RepoKey, String), u64>,
    /// Images that a repeated removal took while the registry that they come from still has them.
    pub(crate) lost: Vec<(RepoKey, String)>,
}

impl Replication {
    pub(crate) fn with_seed(seed: u64) -> Self {
        Self {
            rules: BTreeMap::new(),
            takes: Duration::ZERO..=Duration::ZERO,
            rng: fastrand::Rng::with_seed(seed ^ 0x0C09_1E5F),
            changes: 0,
            seen: BTreeMap::new(),
            lost: Vec::new(),
        }
    }

    fn delay(&mut self) -> Duration {
        let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(self.rng.u64(millis(self.takes.start())..=millis(self.takes.end())))
    }
}

/// A change on its way to a copy.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    from: RepoKey,
    to: RepoKey,
    digest: String,
    tag: Option<String>,
    /// Manifest and media type of what was pushed; nothing where something was removed.
    pushed: Option<(String, String)>,
    change: u64,
}

impl World {
    /// An image was pushed, or a tag put on it.
    pub(super) fn replicate_push(&mut self, key: &RepoKey, digest: &str, tag: Option<&str>) {
        self.replicate(key, digest, tag, true);
    }

    /// A tag, or an image without tags, was removed.
    pub(super) fn replicate_removal(&mut self, key: &RepoKey, digest: &str, tag: Option<&str>) {
        self.replicate(key, digest, tag, false);
    }

    fn replicate(&mut self, key: &RepoKey, digest: &str, tag: Option<&str>, is_push: bool) {
        let registry = (key.account.clone(), key.region.clone());
        let Some(rules) = self.replication.rules.get(&registry) else { return };
        let mut copies: Vec<RegistryKey> = Vec::new();
        for rule in rules.iter().filter(|rule| rule.covers(&key.name)) {
            if is_push || rule.deletes == Some(true) {
                copies.extend(rule.destinations.iter().cloned());
            }
        }
        copies.sort();
        copies.dedup();
        self.replication.changes += 1;
        let image = self.repositories.get(key).and_then(|repository| repository.image(digest));
        let bytes = image.map(|image| (image.manifest.clone(), image.media_type.clone()));
        let pushed = bytes.filter(|_| is_push);
        for (account, region) in copies {
            let change = Change {
                from: key.clone(),
                to: RepoKey::new(&account, &region, &key.name),
                digest: digest.to_owned(),
                tag: tag.map(str::to_owned),
                pushed: pushed.clone(),
                change: self.replication.changes,
            };
            let delay = self.replication.delay();
            self.schedule(delay, Scheduled::Replicated(change));
        }
    }

    /// A change arrives. Copies are not copied further.
    pub(crate) fn replicated(&mut self, arrived: Change) {
        let Change { from, to, digest, tag, pushed, change } = arrived;
        if let Some(tag) = &tag {
            let seen = self.replication.seen.entry((to.clone(), tag.clone())).or_default();
            if *seen > change {
                return;
            }
            *seen = change;
        }
        let now = self.now;
        let is_at_home =
            self.repositories.get(&from).is_some_and(|home| home.image(&digest).is_some());
        let Some((manifest, media_type)) = pushed else {
            let Some(repository) = self.repositories.get_mut(&to) else { return };
            match &tag {
                Some(tag) if repository.tag_target(tag) == Some(digest.as_str()) => {
                    repository.untag(tag);
                }
                Some(_) => return,
                None => {}
            }
            let is_held = repository.parents_of(&digest).next().is_some();
            let is_tagged = !repository.tags_of(&digest).is_empty();
            if repository.image(&digest).is_some() && !is_held && !is_tagged {
                self.remove_image(&to, &digest);
                if is_at_home {
                    self.replication.lost.push((to, digest));
                }
            }
            return;
        };
        let new = || Repository::new(to.clone(), now);
        let repository = self.repositories.entry(to.clone()).or_insert_with(new);
        if repository.image(&digest).is_none() {
            repository.insert(&digest, Image::new(manifest, media_type, now));
        }
        if let Some(tag) = &tag {
            repository.tag(tag, &digest);
        }
    }

    pub(super) fn describe_registry(&self, call: &ApiCall) -> Outcome {
        // It takes no registry id: whoever asks is told of its own.
        let registry = (call.account.clone(), call.region.clone());
        let rules = self.replication.rules.get(&registry).into_iter().flatten();
        let rules: Vec<_> = rules.map(ReplicationRule::describe).collect();
        Ok(json!({"registryId": call.account, "replicationConfiguration": {"rules": rules}}))
    }

    /// Of the image alone: which tags it has there is not said.
    pub(super) fn describe_image_replication_status(&self, call: &ApiCall) -> Outcome {
        let repository = self.repository(call)?;
        let id = call.input.get("imageId").cloned().unwrap_or_default();
        let digest = repository.resolve(&id).ok_or_else(|| no_such_image(&repository.key, &id))?;
        let key = &repository.key;
        let registry = (key.account.clone(), key.region.clone());
        let rules = self.replication.rules.get(&registry).into_iter().flatten();
        let places =
            rules.filter(|rule| rule.covers(&key.name)).flat_map(|rule| &rule.destinations);
        let statuses = places.map(|(account, region)| {
            let there = self.repositories.get(&RepoKey::new(account, region, &key.name));
            let is_there = there.is_some_and(|there| there.image(&digest).is_some());
            let status = if is_there { "COMPLETE" } else { "IN_PROGRESS" };
            json!({"region": region, "registryId": account, "status": status})
        });
        Ok(json!({
            "repositoryName": key.name,
            "imageId": id,
            "replicationStatuses": statuses.collect::<Vec<_>>(),
        }))
    }
}
