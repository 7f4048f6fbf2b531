//! The images of a seed, and what lies about on them that nobody with a key has written.

use std::time::Duration;

use aws_sim::{RepoKey, ScanResult};
use fastrand::Rng;
use serde_json::{Value, json};
use tagwarden::domain::names::Digest;
use tagwarden::domain::record::{Hold, Record};
use tagwarden::event::restore::{RestoreAction, RestoreOrder};

use super::model::{ImageKey, Registry, mark};
use crate::restores::{HOLDER, KEY, OTHER_KEY, clean, keys, manifest, place, removal};
use crate::support::{World, basic, critical, in_repository};

/// The images that violate the corrected policy too, of each kind.
const BAD: usize = 8;

/// What is to become of an image whose tags were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Every tag comes back.
    Back,
    /// Its first tag is pushed anew, on another image, before anybody asks.
    PushedBefore,
    /// Its first tag is pushed anew just before the worker reads the records.
    PushedAtRead,
    /// Its first tag, which is immutable, is pushed anew just before the worker puts it.
    PushedAtPut,
    /// It violates the corrected policy, and only a forged record says that it is held.
    Refused,
    /// It violates the corrected policy, and a hold is asked for.
    Held,
}

impl Fate {
    pub(super) fn is_pushed_anew(self) -> bool {
        matches!(self, Self::PushedBefore | Self::PushedAtRead | Self::PushedAtPut)
    }
}

/// An image, index or child that has tags.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) key: ImageKey,
    pub(super) tags: Vec<String>,
    pub(super) fate: Fate,
    /// The id of the request that asks for it.
    pub(super) request: String,
}

/// What there is at the start, and the scan events of it.
pub(super) struct Scene {
    pub(super) images: Vec<Image>,
    pub(super) events: Vec<Value>,
    /// How many images are given back.
    count: usize,
}

/// Some findings that violate the corrected policy too.
fn bad() -> ScanResult {
    ScanResult::basic(&[("CRITICAL", 50)])
}

impl Scene {
    pub(super) fn new(world: &World, registry: &Registry, rng: &mut Rng, count: usize) -> Self {
        let names = ["team/app", "team/web", "shop/api", "shop/pay"];
        let repositories: Vec<_> =
            names.iter().map(|name| world.sim.create_repository(name)).collect();
        for (at, repository) in repositories.iter().enumerate() {
            let mutability = if at % 2 == 0 { "MUTABLE" } else { "IMMUTABLE" };
            world.sim.set_tag_mutability(repository, mutability, &[]);
        }
        let mut scene = Self { images: Vec::new(), events: Vec::new(), count };
        while scene.images.len() < count {
            let at = rng.usize(..repositories.len());
            let fate = match scene.images.len() {
                0..=5 => Fate::PushedBefore,
                6..=11 => Fate::PushedAtRead,
                12..=17 if at % 2 == 1 => Fate::PushedAtPut,
                _ => Fate::Back,
            };
            scene.add(world, registry, rng, &repositories[at], fate);
        }
        for number in 0..2 * BAD {
            let fate = if number % 2 == 0 { Fate::Refused } else { Fate::Held };
            let at = rng.usize(..repositories.len());
            scene.add_single(world, registry, rng, &repositories[at], fate);
        }
        rng.shuffle(&mut scene.events);
        scene
    }

    fn add(
        &mut self,
        world: &World,
        registry: &Registry,
        rng: &mut Rng,
        repository: &RepoKey,
        fate: Fate,
    ) {
        // One in six is an index.
        match rng.u8(..6) {
            0 => self.add_index(world, registry, rng, repository, fate),
            _ => drop(self.add_single(world, registry, rng, repository, fate)),
        }
    }

    fn add_single(
        &mut self,
        world: &World,
        registry: &Registry,
        rng: &mut Rng,
        repository: &RepoKey,
        fate: Fate,
    ) -> String {
        let scan = match fate {
            Fate::Refused | Fate::Held => bad(),
            _ => critical(),
        };
        let tags = self.tags(rng);
        let names: Vec<_> = tags.iter().map(String::as_str).collect();
        let digest = world.image_in(repository, &names, scan);
        self.event(repository, &digest, &names);
        self.image(registry, repository, &digest, tags, fate);
        digest
    }

    /// An index of a bad image and of a good one. The bad one may have a tag of its own.
    fn add_index(
        &mut self,
        world: &World,
        registry: &Registry,
        rng: &mut Rng,
        repository: &RepoKey,
        fate: Fate,
    ) {
        let content = |name: &str| format!("{name} {}", self.images.len());
        let good = world.sim.push_image(repository, &[], &content("arm64"));
        world.sim.set_findings(repository, &good, clean());
        let bad = match rng.bool() && self.images.len() + 1 < self.count {
            true => self.add_single(world, registry, rng, repository, Fate::Back),
            false => {
                let bad = world.sim.push_image(repository, &[], &content("amd64"));
                world.sim.set_findings(repository, &bad, critical());
                self.event(repository, &bad, &[]);
                bad
            }
        };
        let tags = self.tags(rng);
        let names: Vec<_> = tags.iter().map(String::as_str).collect();
        let children = [(bad.as_str(), "linux/amd64"), (good.as_str(), "linux/arm64")];
        let digest = world.sim.push_index(repository, &names, &children);
        self.image(registry, repository, &digest, tags, fate);
    }

    /// One tag, or several.
    fn tags(&self, rng: &mut Rng) -> Vec<String> {
        let count = if rng.u8(..3) == 0 { rng.usize(2..6) } else { 1 };
        (0..count).map(|at| format!("v{}.{at}", self.images.len())).collect()
    }

    fn event(&mut self, repository: &RepoKey, digest: &str, tags: &[&str]) {
        let mut event = basic(digest, tags, &json!({"CRITICAL": 1}));
        event["id"] = json!(format!("event-{}", self.events.len()));
        self.events.push(in_repository(event, &repository.name));
    }

    fn image(
        &mut self,
        registry: &Registry,
        repository: &RepoKey,
        digest: &str,
        tags: Vec<String>,
        fate: Fate,
    ) {
        for tag in &tags {
            let place = (repository.clone(), tag.clone());
            registry.model().tags.insert(place, digest.to_owned());
        }
        let key = (repository.clone(), digest.to_owned());
        let request = format!("request-{}", self.images.len());
        self.images.push(Image { key, tags, fate, request });
    }
}

impl Image {
    /// The message that asks for its tags, as the command sends it.
    pub(super) fn order(&self, world: &World) -> String {
        let hold = RestoreAction::Hold {
            tags: None,
            until: world.sim.now() + Duration::from_secs(24 * 3600),
            reason: "prod down".to_owned(),
            owner: "me@example.com".to_owned(),
        };
        let (repository, digest) = &self.key;
        let order = RestoreOrder {
            request: Some(self.request.clone()),
            repository: place(repository),
            digest: Digest::parse(digest.as_str()).unwrap(),
            action: match self.fate {
                Fate::Held => hold,
                _ => RestoreAction::GiveBack { tags: None },
            },
        };
        order.body()
    }

    /// The mark that it bears in quarantine.
    pub(super) fn marked(&self) -> String {
        mark(&self.key.1)
    }
}

/// Attaches what looks like a record and is none: unsigned, signed with another key, copied from
/// another image or repository, or altered. Anybody who can push can do that.
pub(super) fn forge(world: &World, key: &ImageKey, record: &Record, how: usize) {
    let (repository, digest) = key;
    let (sim, here) = (&world.sim, place(repository));
    let ours = keys(KEY);
    let text = match how % 5 {
        0 => manifest(&here, digest, record, None),
        1 => manifest(&here, digest, record, keys(OTHER_KEY).as_ref()),
        2 => {
            let other = format!("sha256:{}", "b".repeat(64));
            manifest(&here, &other, record, ours.as_ref()).replace(&other, digest)
        }
        3 => {
            let elsewhere = RepoKey { name: "other/app".to_owned(), ..repository.clone() };
            manifest(&place(&elsewhere), digest, record, ours.as_ref())
        }
        _ => {
            let text = manifest(&here, digest, record, ours.as_ref());
            let text = text.replace("forged", "altered");
            text.replace("\"annotations\":{", "\"annotations\":{\"a\":\"b\",")
        }
    };
    sim.push_manifest(repository, &[], &text);
}

/// A hold that nobody has granted.
pub(super) fn hold(world: &World, request: &str) -> Record {
    Record::Hold(Hold {
        until: world.sim.now() + Duration::from_secs(24 * 3600),
        issued: world.sim.now(),
        reason: "forged".to_owned(),
        owner: "nobody@example.com".to_owned(),
        request: request.to_owned(),
        sender: HOLDER.to_owned(),
    })
}

/// A removal that never was.
pub(super) fn invented() -> Record {
    removal(&["forged"])
}
