//! The document of `tagwarden sweep` says what was found and done. It is also a plan, which
//! `--apply` reads back. A plan may have been edited or written by anybody, so every name in it is
//! parsed like input, and the worker decides again before it acts. `table` prints the document as a
//! table.

mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::InventoryEntry;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::image::ImageKind;
use crate::domain::names::{
    AccountId, Digest, InvalidName, Region, RegistryId, Repository, RepositoryName, Tag,
};
use crate::domain::policy::Mode;

/// The document's name and version.
pub(super) const SCHEMA: &str = "tagwarden.sweep_plan/1";

/// The images that a sweep found, and what it did about them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    schema: String,
    /// The version of tagwarden that wrote the document.
    tagwarden: String,
    account: String,
    region: String,
    /// The base policy's mode.
    mode: String,
    /// Whether the sweep ran to its end. It is false after an interruption.
    pub complete: bool,
    /// The images that need action or attention, or all with `--all`.
    pub images: Vec<Entry>,
    /// The repositories and registries that could not be inspected.
    #[serde(default)]
    pub failed: Vec<Unread>,
    /// The number of images with each verdict, including images that are not listed.
    census: BTreeMap<String, u64>,
    /// Whether the sweep was to act.
    #[serde(skip)]
    applied: bool,
}

/// Why a text is no plan.
#[derive(Debug, thiserror::Error)]
pub enum NoPlan {
    /// It is no such JSON document.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is a document of another schema.
    #[error("its schema is {0:?}, not {SCHEMA:?}")]
    Schema(String),
    /// It names something that cannot exist.
    #[error(transparent)]
    Name(#[from] InvalidName),
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
    /// The tags to remove, also in audit mode.
    untag: Vec<String>,
    /// Whether the image is deleted with its tags (`policy.action`).
    #[serde(default)]
    delete: bool,
    #[serde(default)]
    kept: Vec<String>,
    verdict: String,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    worst: Option<Worst>,
    /// The word of the outcome, if anything was to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    /// The reason why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Worst {
    severity: String,
    id: Option<String>,
}

/// A repository, or a whole registry, that could not be inspected.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unread {
    account: String,
    region: String,
    /// The repository. `None` means that the repositories of the registry cannot be listed.
    repository: Option<String>,
    problem: String,
}

/// An image whose tags a plan removes, after its names have been checked.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The image's repository.
    pub repository: Repository,
    /// The image's digest.
    pub digest: Digest,
    /// All tags that it had when the plan was made.
    pub tags: Vec<Tag>,
    /// The tags to remove.
    pub untag: Vec<Tag>,
    /// Whether the image is deleted with them.
    pub delete: bool,
    /// Whether the plan was made to be carried out. It is false in audit mode.
    pub goes: bool,
    is_index: bool,
    at: usize,
}

impl Planned {
    /// Returns its position in the document.
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
    /// Makes a document without images.
    #[must_use]
    pub fn new(own: &RegistryId, mode: Mode, applied: bool) -> Self {
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
    /// [`NoPlan`] says why the text is no plan.
    pub fn read(text: &str) -> Result<Self, NoPlan> {
        let document: Self = serde_json::from_str(text)?;
        if document.schema != SCHEMA {
            return Err(NoPlan::Schema(document.schema));
        }
        document.planned()?;
        Ok(document)
    }

    /// Returns whether a worker in this account and Region made it.
    #[must_use]
    pub fn is_of(&self, own: &RegistryId) -> bool {
        self.account == own.account.as_str() && self.region == own.region.as_str()
    }

    /// Returns the images whose tags are to be removed. Indexes come first, because assessing an
    /// image also removes the tags of every index that contains it.
    ///
    /// # Errors
    /// The name that is not valid.
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

    /// Returns a document with the images that have tags to remove, and without outcomes.
    #[must_use]
    pub fn into_applied(self, own: &RegistryId, mode: Mode) -> Self {
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
    pub fn add(&mut self, repository: &Repository, entry: &InventoryEntry) {
        let InventoryEntry { image, coverage, untag, delete, kept, reasons, worst, .. } = entry;
        let names = |tags: &[Tag]| tags.iter().map(ToString::to_string).collect();
        self.images.push(Entry {
            account: repository.account.to_string(),
            region: repository.region.to_string(),
            repository: repository.name.to_string(),
            digest: image.digest.to_string(),
            kind: match image.kind {
                ImageKind::Image => "image",
                ImageKind::Index => "index",
                ImageKind::Artifact => "artifact",
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

    /// Sorts the images from this position on.
    pub fn sort_from(&mut self, at: usize) {
        let listed = self.images.get_mut(at..).unwrap_or_default();
        listed.sort_by(|one, other| (&one.tags, &one.digest).cmp(&(&other.tags, &other.digest)));
    }

    /// Adds the counts of images that were inspected.
    pub fn count(&mut self, census: &Census) {
        for (coverage, images) in census.iter() {
            *self.census.entry(coverage.as_str().to_owned()).or_default() += images;
        }
    }

    /// Records a repository or registry that could not be inspected.
    pub fn failed(
        &mut self,
        registry_id: &RegistryId,
        repository: Option<&Repository>,
        problem: String,
    ) {
        self.failed.push(Unread {
            account: registry_id.account.to_string(),
            region: registry_id.region.to_string(),
            repository: repository.map(|repository| repository.name.to_string()),
            problem,
        });
    }

    /// Records the outcome for an image.
    pub fn done(&mut self, at: usize, outcome: &str, problem: Option<String>) {
        if let Some(entry) = self.images.get_mut(at) {
            (entry.outcome, entry.problem) = (Some(outcome.to_owned()), problem);
        }
    }

    /// Returns whether everything could be inspected and, if it was to be, done.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let failed = self.census.get(Coverage::Failed.as_str()).is_some_and(|images| *images > 0);
        let undone = self.images.iter().any(|entry| entry.problem.is_some());
        self.complete && !failed && !undone && self.failed.is_empty()
    }

    /// Returns the number of images with tags to remove, also in audit mode.
    #[must_use]
    pub fn to_go(&self) -> usize {
        self.images.iter().filter(|entry| !entry.untag.is_empty()).count()
    }

    /// Returns the document as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}
