//! The document of `tagwarden plan` says what was found, as text, as JSON, or as a page. It is also
//! what `tagwarden apply` reads back. A plan may have been edited or written by anybody, so every
//! name in it is parsed like input, and the worker decides again before it acts.
//!
//! It is bounded by what needs action or attention: images that violate the policy are listed, each
//! with at most ten findings, and all others are counted, unless a person asks for all of them.

mod csv;
mod entry;
mod html;
mod planned;
mod refusal;
mod text;

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::domain::coverage::Coverage;
use crate::domain::names::{InvalidName, RegistryId, Repository};

pub(super) use self::entry::Tally;
pub use self::entry::{Entry, ListedFinding, Place, PolicyNote, RepositoryCounts, Totals, Unread};
pub use self::html::plan_page;
pub(super) use self::planned::Planned;
pub(crate) use self::refusal::Refusal;
pub(crate) use self::text::DEFAULTS;

/// The document's name and version.
pub const SCHEMA: &str = "tagwarden.plan/1";

/// The images that were found, and what the policy asks for.
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
    /// Whether every image is listed (`--all`).
    #[serde(default)]
    pub all: bool,
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

/// The numbers of what a plan removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removals {
    /// The images that lose tags.
    pub images: u64,
    /// The tags that are removed.
    pub tags: u64,
    /// The repositories of these images.
    pub repositories: u64,
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
            all: false,
            registries: Vec::new(),
            complete: true,
            totals: Totals::default(),
            repositories: Vec::new(),
            images: Vec::new(),
            failed: Vec::new(),
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
        let planned = self.images.iter().enumerate().filter(|(_, entry)| entry.is_planned());
        let planned = planned.map(|(at, entry)| Planned::new(at, entry));
        let mut planned = planned.collect::<Result<Vec<_>, _>>()?;
        planned.sort_by_key(|one| !one.is_index());
        Ok(planned)
    }

    /// Returns the numbers of what it removes.
    #[must_use]
    pub fn removals(&self) -> Removals {
        let planned = || self.images.iter().filter(|entry| entry.is_planned());
        Removals {
            images: planned().count() as u64,
            tags: planned().map(|entry| entry.untag.len() as u64).sum(),
            repositories: planned().map(Entry::place).collect::<BTreeSet<_>>().len() as u64,
        }
    }

    /// Returns the accounts and Regions of the images that lose tags.
    #[must_use]
    pub fn places_of_removals(&self) -> BTreeSet<[&str; 2]> {
        let planned = self.images.iter().filter(|entry| entry.is_planned());
        planned.map(|entry| [entry.account.as_str(), entry.region.as_str()]).collect()
    }

    /// Returns the number of images that are deleted with their tags.
    #[must_use]
    pub fn deletions(&self) -> u64 {
        let deleted = |entry: &&Entry| entry.is_planned() && entry.delete;
        self.images.iter().filter(deleted).count() as u64
    }

    /// Sorts everything by account, Region and repository, because inspections that run side by
    /// side end in any order.
    pub fn sort(&mut self) {
        self.images.sort_by(|one, other| one.order().cmp(&other.order()));
        self.repositories.sort_by(|one, other| one.place().cmp(&other.place()));
        self.failed.sort_by(|one, other| one.place().cmp(&other.place()));
        self.registries.sort();
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

    /// Returns whether everything could be inspected.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let unread = entry::sum(&self.totals.census, |coverage| coverage == Coverage::Failed);
        self.complete && unread == 0 && self.failed.is_empty()
    }

    /// Returns the document as JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Returns the images as CSV, one row an image.
    ///
    /// # Errors
    /// The writer's error.
    pub fn csv(&self) -> Result<String, ::csv::Error> {
        csv::csv(self)
    }

    /// Returns the document for people, in lines of at most this width. `None` means that nothing
    /// is shortened, because a program reads it.
    #[must_use]
    pub fn text(&self, width: Option<u16>) -> String {
        text::text(self, width)
    }
}
