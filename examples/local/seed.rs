//! Images that the events of a file name, so that the worker has something to judge.
//!
//! An event names an image and says what was found in it, which is all that is known here. The
//! simulated registry gets an image of that digest with such findings. What an event does not say
//! is not invented; a remark says so.

use std::collections::{BTreeMap, BTreeSet};

use aws_sim::{Finding, RepoKey, ScanResult};
use serde_json::Value;
use tagwarden::domain::findings::{Severity, SeverityCounts};
use tagwarden::domain::names::{AccountId, Region, RegistryId, Repository};
use tagwarden::domain::text::escaped;
use tagwarden::event::{self, Claim, ImageEvent, Kind, Parsed};

use crate::bus::short;
use crate::stage::Stage;

/// The most findings of one severity that an image gets.
const MOST: u64 = 1_000;

/// Accounts and Regions of a file's events: the policy has to cover them.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// The accounts.
    pub(crate) accounts: BTreeSet<String>,
    /// The Regions.
    pub(crate) regions: BTreeSet<String>,
}

/// An image to make.
struct Seed {
    repository: RepoKey,
    digest: String,
    tags: Vec<String>,
    /// Which event it was that named it first.
    number: usize,
    is_enhanced: bool,
    counts: Option<SeverityCounts>,
    named: Vec<(Severity, Finding)>,
    has_failed: bool,
}

/// The image that a body is about, if it is an event about one.
fn event(stage: &Stage, body: &str) -> Option<ImageEvent> {
    let RepoKey { account, region, .. } = &stage.repository;
    let account = AccountId::parse(account.clone()).ok()?;
    let own = RegistryId { account, region: Region::parse(region.clone()).ok()? };
    match event::parse(body, &own) {
        Ok(Parsed::Assess(event)) => Some(*event),
        _ => None,
    }
}

/// How people refer to the image that a body is about.
pub(crate) fn image_of(stage: &Stage, body: &str) -> Option<String> {
    let ImageEvent { repository, digest, tags, .. } = event(stage, body)?;
    let name = repository.name.as_str();
    Some(match (tags.as_slice(), digest) {
        ([tag], _) => format!("{name}:{tag}"),
        ([tag, rest @ ..], _) => format!("{name}:{tag} (+{})", rest.len()),
        ([], Some(digest)) => format!("{name} {}", short(digest.as_str())),
        ([], None) => name.to_owned(),
    })
}

/// The events that are about an image, with their numbers and bodies.
fn events<'a>(
    stage: &'a Stage,
    bodies: &'a [String],
) -> impl Iterator<Item = (usize, &'a str, ImageEvent)> {
    let numbered = (1..).zip(bodies);
    numbered.filter_map(|(number, body)| Some((number, body.as_str(), event(stage, body)?)))
}

/// Whether an event says that its image is an index.
fn is_index(body: &str) -> bool {
    let event: Value = serde_json::from_str(body).unwrap_or_default();
    let media_type = event.pointer("/detail/manifest-media-type").and_then(Value::as_str);
    media_type.is_some_and(|text| text.contains("index") || text.contains("manifest.list"))
}

/// The accounts and Regions of the events, and the worker's own.
pub(crate) fn scope(stage: &Stage, bodies: &[String]) -> Scope {
    let mut scope = Scope::default();
    let RepoKey { account, region, .. } = &stage.repository;
    scope.accounts.insert(account.clone());
    scope.regions.insert(region.clone());
    for (_, _, event) in events(stage, bodies) {
        let Repository { account, region, .. } = event.repository;
        scope.accounts.insert(account.as_str().to_owned());
        scope.regions.insert(region.as_str().to_owned());
    }
    scope
}

/// Makes the images that the events name and that are not there, and returns a remark about each.
pub(crate) fn plant(stage: &Stage, bodies: &[String]) -> Vec<String> {
    let mut seeds: BTreeMap<(String, String), Seed> = BTreeMap::new();
    let mut remarks = Vec::new();
    for (number, body, event) in events(stage, bodies) {
        let Repository { account, region, name, .. } = &event.repository;
        let repository = RepoKey::new(account.as_str(), region.as_str(), name.as_str());
        let Some(digest) = event.digest.as_ref().map(|digest| digest.as_str().to_owned()) else {
            let is_there = |tag: &str| stage.sim.tag_target(&repository, tag).is_some();
            if !event.tags.iter().any(|tag| is_there(tag.as_str())) {
                remarks.push(format!("event {number}: no image, because it names no digest"));
            }
            continue;
        };
        if stage.sim.tags(&repository, &digest).is_some() {
            continue;
        }
        if is_index(body) {
            let why = "is an index of images that it does not name";
            remarks.push(format!("event {number}: no image, because {} {why}", short(&digest)));
            continue;
        }
        let seed = seeds.entry((repository.to_string(), digest.clone())).or_insert_with(|| Seed {
            repository,
            digest,
            tags: Vec::new(),
            number,
            is_enhanced: false,
            counts: None,
            named: Vec::new(),
            has_failed: false,
        });
        seed.learn(&event);
    }
    let mut seeds: Vec<_> = seeds.into_values().collect();
    seeds.sort_by_key(|seed| seed.number);
    remarks.extend(seeds.iter().map(|seed| seed.push(stage)));
    remarks
}

impl Seed {
    fn learn(&mut self, event: &ImageEvent) {
        self.tags.extend(event.tags.iter().map(|tag| tag.as_str().to_owned()));
        self.is_enhanced |= matches!(event.kind, Kind::Inspector2Scan | Kind::Inspector2Finding);
        match &event.claim {
            Claim::Complete { counts: Some(counts), .. } => {
                let known = self.counts.take().unwrap_or_default();
                self.counts = Some(known.at_least(counts));
            }
            Claim::Active(finding) => {
                let mut named = Finding::new(&finding.id, finding.severity.as_word());
                if let Some(package) = finding.packages.first() {
                    let version = package.installed.as_deref().unwrap_or_default();
                    named = named.in_package(&package.name, version);
                    named.fixed.clone_from(&package.fixed);
                }
                if self.named.iter().all(|(_, known)| known.id != named.id) {
                    self.named.push((finding.severity, named));
                }
            }
            Claim::Failed => self.has_failed = true,
            Claim::Complete { counts: None, .. } | Claim::Nothing => {}
        }
    }

    /// Pushes the image, and says what is in it.
    fn push(&self, stage: &Stage) -> String {
        let Self { repository, digest, tags, number, .. } = self;
        let RepoKey { account, region, name } = repository;
        stage.sim.create_repository_in(account, region, name);
        let (result, found) = self.result();
        if let Some(result) = result {
            stage.sim.set_findings(repository, digest, result);
        }
        let tags: Vec<_> = tags.iter().map(String::as_str).collect();
        stage.sim.push_image_as(repository, &tags, digest);
        let tags = match tags.as_slice() {
            [] => " without a tag".to_owned(),
            [tag] => format!(":{tag}"),
            [tag, rest @ ..] => format!(":{tag} (+{})", rest.len()),
        };
        escaped(&format!("event {number}: {name}{tags}, image {}, {found}", short(digest)), &[])
            .into_owned()
    }

    fn result(&self) -> (Option<ScanResult>, String) {
        if self.counts.is_none() && self.named.is_empty() {
            if self.has_failed {
                return (Some(ScanResult::status("FAILED")), "its scan failed".to_owned());
            }
            return (None, "not scanned, because no findings are counted".to_owned());
        }
        let mut counts = self.counts.clone().unwrap_or_default();
        let is_large = counts.iter().any(|(_, count)| count > MOST);
        // Findings that are named are among those that are counted.
        for (severity, _) in &self.named {
            let mut one = SeverityCounts::default();
            one.add(*severity, 1);
            counts = counts.without(&one);
        }
        let at_most = |count: u64| usize::try_from(count.min(MOST)).unwrap_or_default();
        let counted = counts.iter().map(|(severity, count)| (severity.as_word(), at_most(count)));
        let numbers: Vec<_> = counted.collect();
        let result = match self.is_enhanced {
            true => ScanResult::enhanced(&numbers),
            false => ScanResult::basic(&numbers),
        };
        let named = || self.named.iter().map(|(_, finding)| finding);
        let result = named().cloned().fold(result, ScanResult::with);
        let mut found: Vec<_> = named().map(|finding| finding.id.clone()).collect();
        let some = numbers.iter().filter(|(_, count)| *count > 0);
        found.extend(some.map(|(severity, count)| format!("{count} {}", severity.to_lowercase())));
        if found.is_empty() {
            found.push("nothing found".to_owned());
        }
        let cut = if is_large { format!(" (at most {MOST} of each)") } else { String::new() };
        (Some(result), format!("{}{cut}", found.join(", ")))
    }
}
