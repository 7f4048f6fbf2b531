//! `tagwarden sweep`: what was seen and done, as a document that is also a plan, and as a table.

mod render;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::coverage::{Census, Coverage};
use crate::domain::image::{AccountId, Digest, Home, InvalidName, Region, Repository};
use crate::domain::image::{RepositoryName, Tag};
use crate::domain::plan::Kind;
use crate::domain::policy::Mode;
use crate::worker::survey::Surveyed;

/// The document's name and version.
pub const SCHEMA: &str = "tagwarden.sweep_plan/1";

/// What a sweep saw, and what it did about it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    schema: String,
    /// The version of tagwarden that wrote it.
    tagwarden: String,
    account: String,
    region: String,
    /// The base policy's mode.
    mode: String,
    /// Whether everything was looked at, as far as it could be.
    pub complete: bool,
    /// What each image of note is like.
    pub images: Vec<Entry>,
    /// What could not be looked at.
    #[serde(default)]
    pub failed: Vec<Unread>,
    /// How many images stand where, those that are not listed too.
    census: BTreeMap<String, u64>,
    /// Whether it was to act.
    #[serde(skip)]
    applied: bool,
}

/// One image of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    account: String,
    region: String,
    repository: String,
    digest: String,
    #[serde(default)]
    kind: String,
    /// All tags that it has.
    tags: Vec<String>,
    /// Those that go, or would but for audit mode.
    untag: Vec<String>,
    /// Whether the image itself goes with them (`policy.action`).
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    kept: Vec<String>,
    verdict: String,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    worst: Option<Worst>,
    /// What was done, in a word; only where something was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Worst {
    severity: String,
    id: Option<String>,
}

/// A repository, or a whole registry, that could not be looked at.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unread {
    account: String,
    region: String,
    /// `None`: its repositories cannot be listed.
    repository: Option<String>,
    problem: String,
}

/// An image whose tags a plan takes off, its names checked.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Where it is.
    pub repository: Repository,
    /// Which it is.
    pub digest: Digest,
    /// All tags that it had.
    pub tags: Vec<Tag>,
    /// Those that go.
    pub untag: Vec<Tag>,
    /// Whether the image itself goes with them.
    pub delete: bool,
    /// Whether they went then, not only but for audit mode.
    pub goes: bool,
    is_index: bool,
    at: usize,
}

impl Planned {
    /// Its place in the document.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }
}

fn tags(names: &[String]) -> Result<Vec<Tag>, InvalidName> {
    let mut tags = names.iter().map(Tag::parse).collect::<Result<Vec<_>, _>>()?;
    tags.sort();
    Ok(tags)
}

impl Document {
    /// One that lists nothing yet.
    #[must_use]
    pub fn new(own: &Home, mode: Mode, applied: bool) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            tagwarden: env!("CARGO_PKG_VERSION").to_owned(),
            account: own.account.to_string(),
            region: own.region.to_string(),
            mode: mode.as_str().to_owned(),
            complete: true,
            images: Vec::new(),
            failed: Vec::new(),
            census: BTreeMap::new(),
            applied,
        }
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if document.schema != SCHEMA {
            return Err(format!("its schema is {:?}, not {SCHEMA:?}", document.schema));
        }
        document.planned().map_err(|error| error.to_string())?;
        Ok(document)
    }

    /// Whether it was made by a worker that lives there.
    #[must_use]
    pub fn is_of(&self, own: &Home) -> bool {
        self.account == own.account.as_str() && self.region == own.region.as_str()
    }

    /// The images whose tags go. Indexes first: with an image goes every index that holds it.
    ///
    /// # Errors
    /// A name that is none.
    pub fn planned(&self) -> Result<Vec<Planned>, InvalidName> {
        let goes = |(_, entry): &(usize, &Entry)| !entry.untag.is_empty();
        let planned = self.images.iter().enumerate().filter(goes).map(|(at, entry)| {
            Ok(Planned {
                repository: Repository {
                    account: AccountId::parse(&entry.account)?,
                    region: Region::parse(&entry.region)?,
                    name: RepositoryName::parse(&entry.repository)?,
                },
                digest: Digest::parse(&entry.digest)?,
                tags: tags(&entry.tags)?,
                untag: tags(&entry.untag)?,
                delete: entry.delete,
                goes: entry.verdict == Coverage::Untag.as_str(),
                is_index: entry.kind == "index",
                at,
            })
        });
        let mut planned = planned.collect::<Result<Vec<_>, _>>()?;
        planned.sort_by_key(|one| !one.is_index);
        Ok(planned)
    }

    /// The same images, of which nothing is done yet.
    #[must_use]
    pub fn to_apply(self, own: &Home, mode: Mode) -> Self {
        let mut images = self.images;
        for entry in &mut images {
            (entry.outcome, entry.problem) = (None, None);
        }
        images.retain(|entry| !entry.untag.is_empty());
        let mut document = Self { images, ..Self::new(own, mode, true) };
        for entry in &document.images {
            *document.census.entry(entry.verdict.clone()).or_default() += 1;
        }
        document
    }

    /// Lists an image.
    pub fn add(&mut self, repository: &Repository, surveyed: &Surveyed) {
        let Surveyed { image, coverage, untag, delete, kept, reasons, worst, .. } = surveyed;
        let names = |tags: &[Tag]| tags.iter().map(ToString::to_string).collect();
        self.images.push(Entry {
            account: repository.account.to_string(),
            region: repository.region.to_string(),
            repository: repository.name.to_string(),
            digest: image.digest.to_string(),
            kind: match image.kind {
                Kind::Image => "image",
                Kind::Index => "index",
                Kind::Artifact => "artifact",
            }
            .to_owned(),
            tags: names(&image.tags),
            untag: names(untag),
            delete: *delete,
            kept: names(kept),
            verdict: coverage.as_str().to_owned(),
            reasons: reasons.clone(),
            worst: worst.clone().map(|(severity, id)| Worst { severity: severity.to_string(), id }),
            outcome: None,
            problem: None,
        });
    }

    /// Puts the images that were listed from there on in order.
    pub fn sort_from(&mut self, at: usize) {
        let listed = self.images.get_mut(at..).unwrap_or_default();
        listed.sort_by(|one, other| (&one.tags, &one.digest).cmp(&(&other.tags, &other.digest)));
    }

    /// Counts images that were looked at.
    pub fn count(&mut self, census: &Census) {
        for (coverage, images) in census.iter() {
            *self.census.entry(coverage.as_str().to_owned()).or_default() += images;
        }
    }

    /// Notes what could not be looked at.
    pub fn failed(&mut self, home: &Home, repository: Option<&Repository>, problem: String) {
        self.failed.push(Unread {
            account: home.account.to_string(),
            region: home.region.to_string(),
            repository: repository.map(|repository| repository.name.to_string()),
            problem,
        });
    }

    /// Notes what became of an image.
    pub fn done(&mut self, at: usize, outcome: &str, problem: Option<String>) {
        if let Some(entry) = self.images.get_mut(at) {
            (entry.outcome, entry.problem) = (Some(outcome.to_owned()), problem);
        }
    }

    /// Whether everything could be looked at, and done if it was to be.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let failed = self.census.get(Coverage::Failed.as_str()).is_some_and(|images| *images > 0);
        let undone = self.images.iter().any(|entry| entry.problem.is_some());
        self.complete && !failed && !undone && self.failed.is_empty()
    }

    /// How many images have tags that go, or would.
    #[must_use]
    pub fn to_go(&self) -> usize {
        self.images.iter().filter(|entry| !entry.untag.is_empty()).count()
    }

    /// The document as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
