//! The document of `tagwarden plan` says what was found, as text, as JSON, or as a page. It is also
//! what `tagwarden apply` reads back. A plan may have been edited or written by anybody, so every
//! name in it is parsed like input, and the worker decides again before it acts.
//!
//! It is bounded by what needs action or attention: images that violate the policy are listed, each
//! with at most ten findings, and all others are counted, unless a person asks for all of them.

mod entry;
mod html;
mod table;

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::InventoryEntry;
use crate::domain::coverage::Coverage;
use crate::domain::names::{
    AccountId, Digest, InvalidName, Region, RegistryId, Repository, RepositoryName, Tag,
};

pub use self::entry::{
    Entry, ListedFinding, Place, PolicyNote, RepositoryCounts, Tally, Totals, Unread,
};
pub use self::html::plan_page;

/// The document's name and version.
pub const SCHEMA: &str = "tagwarden.plan/1";

/// The images that a sweep found, and what it did about them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// The version of tagwarden that wrote the document.
    pub tagwarden: String,
    /// When it was made (RFC 3339).
    pub made_at: String,
    /// The account of the caller.
    pub account: String,
    /// The Region of the caller.
    pub region: String,
    /// The policy by which it was made.
    pub policy: PolicyNote,
    /// The globs of `--repository`. If there are none, all repositories of the policy were
    /// inspected.
    #[serde(default)]
    pub only: Vec<String>,
    /// Every account and Region that it covers.
    #[serde(default)]
    pub registries: Vec<Place>,
    /// Whether everything was inspected. It is false after an interruption.
    pub complete: bool,
    /// The numbers over all images.
    #[serde(default)]
    pub totals: Totals,
    /// The repositories with images that violate the policy or that cannot be judged.
    #[serde(default)]
    pub repositories: Vec<RepositoryCounts>,
    /// The images that need action or attention, or all with `--all`.
    pub images: Vec<Entry>,
    /// The repositories and registries that could not be inspected.
    #[serde(default)]
    pub failed: Vec<Unread>,
    /// Whether the sweep was to act.
    #[serde(skip)]
    pub(super) applied: bool,
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
    /// Makes a document without images, of a plan that is made now.
    #[must_use]
    pub fn new(own: &RegistryId, policy: PolicyNote, now: SystemTime) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            tagwarden: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: humantime::format_rfc3339_seconds(now).to_string(),
            account: own.account.to_string(),
            region: own.region.to_string(),
            policy,
            only: Vec::new(),
            registries: Vec::new(),
            complete: true,
            totals: Totals::default(),
            repositories: Vec::new(),
            images: Vec::new(),
            failed: Vec::new(),
            applied: false,
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
    pub fn to_apply(mut self) -> Self {
        for entry in &mut self.images {
            (entry.outcome, entry.problem) = (None, None);
        }
        self.images.retain(|entry| !entry.untag.is_empty());
        self.totals.census.clear();
        for entry in &self.images {
            *self.totals.census.entry(entry.verdict.clone()).or_default() += 1;
        }
        self.applied = true;
        self
    }

    /// Lists an image, which this rule judged.
    pub fn add(&mut self, repository: &Repository, rule: &str, entry: &InventoryEntry) {
        self.images.push(Entry::new(repository, rule, entry));
    }

    /// Sorts the images from this position on.
    pub fn sort_from(&mut self, at: usize) {
        let listed = self.images.get_mut(at..).unwrap_or_default();
        listed.sort_by(|one, other| (&one.tags, &one.digest).cmp(&(&other.tags, &other.digest)));
    }

    /// Adds the counts of a repository that was inspected. It is listed if any of its images needs
    /// action or attention.
    pub fn count(&mut self, repository: &Repository, tally: &Tally) {
        self.totals.add(tally);
        let is_of_note = |coverage: Coverage| {
            coverage.violates() || coverage.is_gap() || coverage == Coverage::Scanning
        };
        if tally.census.sum(is_of_note) > 0 {
            self.repositories.push(tally.of(repository));
        }
    }

    /// Records an account and Region whose repositories were inspected.
    pub fn covers(&mut self, registry_id: &RegistryId) {
        self.registries.push(Place::new(registry_id));
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
        let failed =
            self.totals.census.get(Coverage::Failed.as_str()).is_some_and(|images| *images > 0);
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
