//! Chooses images: those that a person names, or all in quarantine that fit some filters.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::request::{Chosen, Standing};
use crate::domain::image::StorageStatus;
use crate::domain::names::Tag;
use crate::domain::record::RecordedFinding;
use crate::quarantined::{Facts, QuarantinedImage, RemovedTag};

/// Which images of those in quarantine are chosen: those that fit all that is given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    /// Only tags that were removed since this time.
    pub since: Option<SystemTime>,
    /// Only images that this rule judged.
    pub rule: Option<String>,
    /// Only images whose record names this finding.
    pub cve: Option<String>,
    /// Only images of this notice.
    pub notice: Option<String>,
}

impl Filters {
    /// Returns the image as it is chosen, or `None` if it does not fit. What nobody recorded fits
    /// no filter.
    #[must_use]
    pub(crate) fn choose(&self, image: &QuarantinedImage) -> Option<Chosen> {
        let Self { since, rule, cve, notice } = self;
        let names = |facts: &Facts, id: &str| {
            facts.finding_ids.iter().any(|one| one.eq_ignore_ascii_case(id))
        };
        let fits = |facts: &Facts| {
            rule.as_ref().is_none_or(|rule| facts.rule == *rule)
                && cve.as_ref().is_none_or(|cve| names(facts, cve))
                && notice.as_ref().is_none_or(|notice| facts.notice == *notice)
        };
        let is_filtered = rule.is_some() || cve.is_some() || notice.is_some();
        if is_filtered && !image.facts.as_ref().is_some_and(fits) {
            return None;
        }
        let Some(since) = since else { return Some(Chosen::of(image, |_| true)) };
        let is_recent = |one: &RemovedTag| one.since.is_some_and(|at| at >= *since);
        image.removed.iter().any(is_recent).then(|| Chosen::of(image, is_recent))
    }
}

impl Chosen {
    /// Chooses those tags of an image that `keep` returns true for.
    #[must_use]
    pub(super) fn of(image: &QuarantinedImage, keep: impl Fn(&RemovedTag) -> bool) -> Self {
        let kept: Vec<_> = image.removed.iter().filter(|one| keep(one)).collect();
        let signed: BTreeSet<Tag> =
            kept.iter().filter(|one| one.is_signed).map(|one| one.tag.clone()).collect();
        let standing = match image.storage {
            StorageStatus::Archived | StorageStatus::Activating => Standing::Archived,
            StorageStatus::Active if image.is_cut => Standing::TooManyArtifacts,
            StorageStatus::Active if image.removed.is_empty() => Standing::Unrecorded,
            StorageStatus::Active if kept.is_empty() => Standing::Closed,
            StorageStatus::Active if signed.is_empty() => Standing::NotSigned,
            StorageStatus::Active => Standing::Askable,
        };
        let facts = image.facts.as_ref();
        Self {
            repository: image.repository.clone(),
            digest: image.digest.clone(),
            is_narrowed: kept.len() < image.removed.len(),
            // The worker gives back what it has signed.
            tags: match standing {
                Standing::Askable => signed,
                _ => kept.iter().map(|one| one.tag.clone()).collect(),
            },
            since: kept.iter().filter_map(|one| one.since).min(),
            rule: facts.map(|facts| facts.rule.clone()),
            worst: facts.and_then(|facts| facts.worst.as_ref()).map(in_words),
            standing,
        }
    }
}

/// Returns a finding with its id first, because that is what is looked for.
fn in_words(finding: &RecordedFinding) -> String {
    let RecordedFinding { id, severity, package, .. } = finding;
    let package = package.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{id} {severity}{package}")
}
