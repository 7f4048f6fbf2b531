//! The test's own idea of the registry: which tag is on which image, and which tags are on record
//! as removed. It is kept from what the test itself does and from the calls in the order of their
//! effects, and knows nothing of the worker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_sim::{Call, CallOutcome, Moment, RepoKey, Sim, manifest};
use serde_json::Value;

/// A repository and the digest of an image in it.
pub(super) type ImageKey = (RepoKey, String);

/// A repository and a tag of it.
pub(super) type Place = (RepoKey, String);

/// What a record says became of the tags of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) request: String,
    /// Given back, or found on the image.
    pub(super) back: BTreeSet<String>,
    pub(super) superseded: BTreeSet<String>,
    pub(super) is_refused: bool,
}

/// The registry as the calls make it.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) tags: BTreeMap<Place, String>,
    /// The removed tags that a record of the image names and that no later outcome closes.
    pub(super) open: BTreeMap<ImageKey, BTreeSet<String>>,
    /// All tags that a record of the image has ever named.
    named: BTreeMap<ImageKey, BTreeSet<String>>,
    pub(super) outcomes: BTreeMap<ImageKey, Vec<Outcome>>,
    pub(super) holds: BTreeMap<ImageKey, usize>,
    /// How many tags were removed by workers.
    pub(super) removed: usize,
    /// How often workers put a tag back that they had removed.
    pub(super) put_back: usize,
    /// What no worker may do.
    pub(super) wrong: Vec<String>,
}

/// A model that follows a simulation, and the simulation.
#[derive(Clone)]
pub(super) struct Registry {
    pub(super) sim: Sim,
    model: Arc<Mutex<Model>>,
}

impl Registry {
    /// Follows the calls from now on.
    pub(super) fn of(sim: &Sim) -> Self {
        let model = Arc::<Mutex<Model>>::default();
        let followed = Arc::clone(&model);
        sim.watch(move |_, call, moment| {
            if moment == Moment::After {
                followed.lock().unwrap().follow(call);
            }
        });
        Self { sim: sim.clone(), model }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    /// Somebody else puts a tag on an image.
    pub(super) fn tag(&self, repository: &RepoKey, tag: &str, digest: &str) {
        self.sim.tag_image(repository, tag, digest);
        self.model().tags.insert((repository.clone(), tag.to_owned()), digest.to_owned());
    }

    /// Something else takes a tag away.
    pub(super) fn untag(&self, repository: &RepoKey, tag: &str) {
        self.sim.untag_image(repository, tag);
        self.model().tags.remove(&(repository.clone(), tag.to_owned()));
    }
}

impl Model {
    fn follow(&mut self, call: &Call) {
        if !["PutImage", "BatchDeleteImage"].contains(&call.operation.as_str()) {
            return;
        }
        let name = call.request["repositoryName"].as_str().unwrap();
        let (account, region) = (call.account.clone(), call.region.clone());
        let repository = RepoKey { account, region, name: name.to_owned() };
        match call.operation.as_str() {
            "BatchDeleteImage" => self.delete(&repository, call),
            _ if call.outcome != CallOutcome::Ok => {}
            _ if call.request["imageTag"].is_null() => self.record(&repository, call),
            _ => self.put(&repository, call),
        }
    }

    /// A tag is put on an image: a mark, or a tag that is given back.
    fn put(&mut self, repository: &RepoKey, call: &Call) {
        let tag = call.request["imageTag"].as_str().unwrap();
        let digest = manifest::digest(call.request["imageManifest"].as_str().unwrap());
        let place = (repository.clone(), tag.to_owned());
        if let Some(other) = self.tags.get(&place).filter(|other| **other != digest) {
            self.wrong.push(format!("{tag} was moved from {other} to {digest}: {}", call.caller));
        }
        if tag != mark(&digest) {
            self.put_back += 1;
            let image = (repository.clone(), digest.clone());
            // The second look at an image that is held gives back what an outcome has closed.
            let records = if self.holds.contains_key(&image) { &self.named } else { &self.open };
            if !records.get(&image).is_some_and(|named| named.contains(tag)) {
                self.wrong.push(format!("{tag} was put on {digest}, and no record names it"));
            }
        }
        self.tags.insert(place, digest);
    }

    fn delete(&mut self, repository: &RepoKey, call: &Call) {
        for id in call.request["imageIds"].as_array().unwrap() {
            let (Some(tag), Some(digest)) = (id["imageTag"].as_str(), id["imageDigest"].as_str())
            else {
                self.wrong.push(format!("removed without both tag and digest: {id}"));
                continue;
            };
            let named = self.open.get(&(repository.clone(), digest.to_owned()));
            if !named.is_some_and(|named| named.contains(tag)) {
                self.wrong.push(format!("{tag} of {digest} was removed before it was recorded"));
            }
            let place = (repository.clone(), tag.to_owned());
            if self.tags.get(&place).is_some_and(|target| target == digest) {
                self.tags.remove(&place);
                self.removed += 1;
            }
        }
    }

    fn record(&mut self, repository: &RepoKey, call: &Call) {
        let text = call.request["imageManifest"].as_str().unwrap();
        let record: Value = serde_json::from_str(text).unwrap();
        let image = (repository.clone(), record["subject"]["digest"].as_str().unwrap().to_owned());
        let fact = |name: &str| record["annotations"][format!("tagwarden.{name}")].as_str();
        let tags = |name: &str| -> BTreeSet<String> {
            fact(name).map(|tags| serde_json::from_str(tags).unwrap()).unwrap_or_default()
        };
        match fact("kind").unwrap() {
            "quarantine" => {
                self.named.entry(image.clone()).or_default().extend(tags("tags"));
                self.open.entry(image).or_default().extend(tags("tags"));
            }
            "outcome" => {
                let back = tags("restored").into_iter().chain(tags("present")).collect();
                let outcome = Outcome {
                    request: fact("request").unwrap_or_default().to_owned(),
                    back,
                    superseded: tags("superseded"),
                    is_refused: fact("refused").is_some(),
                };
                if let Some(open) = self.open.get_mut(&image) {
                    open.retain(|tag| {
                        !outcome.back.contains(tag) && !outcome.superseded.contains(tag)
                    });
                }
                self.outcomes.entry(image).or_default().push(outcome);
            }
            "hold" => *self.holds.entry(image).or_default() += 1,
            // It closes nothing and keeps nothing.
            "notification" => {}
            kind => self.wrong.push(format!("a record of the kind {kind}")),
        }
    }
}

/// The mark of an image in quarantine.
pub(super) fn mark(digest: &str) -> String {
    digest.replace("sha256:", "quarantine-")
}
