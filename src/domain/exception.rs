//! Exceptions: findings that a team has looked at and accepted until a day.
//!
//! An exception names a finding, an image, a package, or several of these, and covers only what
//! matches all of them. When a finding is in several packages, it is covered only if every package
//! is covered, each by any exception. A package that the scanner does not name is covered only by
//! an exception that names no package. So data that a scanner leaves out never makes an image
//! clean.
//!
//! A policy may have thousands of exceptions and an image tens of thousands of findings.
//! [`Exceptions`] therefore finds exceptions by id, by package and by digest, and `Concerning`
//! remembers for one image which of them apply, so exceptions that do not match cost nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use super::findings::FindingRef;
use super::globs::{GlobIndex, Globs};
use super::names::{Digest, Repository};
use super::registries::Registries;

/// An exception is about to expire when it ends within this time.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// A calendar day in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    text: String,
    start: SystemTime,
}

impl Day {
    /// Parses a date such as `2026-12-31`. Returns `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let start = humantime::parse_rfc3339(&format!("{text}T00:00:00Z")).ok()?;
        Some(Self { text: text.to_owned(), start })
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether an exception still applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// The exception applies for more than 14 days.
    Active,
    /// The exception applies, and ends within 14 days.
    Expiring,
    /// The exception no longer applies.
    Expired,
}

impl Standing {
    /// All values.
    pub const ALL: [Self; 3] = [Self::Active, Self::Expiring, Self::Expired];

    /// Returns the word that metrics and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
        }
    }
}

/// Findings that do not count until a day. An exception names an id, a digest, or both; a field
/// that is empty matches anything.
#[derive(Clone, Debug)]
pub struct Exception {
    /// The ids of findings; empty matches any finding.
    pub id: Globs,
    /// The image, or the index that holds it; `None` matches any image.
    pub digest: Option<Digest>,
    /// The names of packages; empty matches any package, named or not.
    pub package: Globs,
    /// The names of repositories; empty matches all.
    pub repositories: Globs,
    /// The registries in which it applies.
    pub registries: Registries,
    /// The reason for the exception, for people.
    pub reason: String,
    /// The person or team that is responsible for the exception.
    pub owner: String,
    /// The day on which the exception ends, at 00:00 UTC.
    pub expires: Day,
}

impl Exception {
    /// Returns whether the exception applies at this time.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Standing {
        match self.expires.start.duration_since(now) {
            Ok(left) if left.is_zero() => Standing::Expired,
            Ok(left) if left <= SOON => Standing::Expiring,
            Ok(_) => Standing::Active,
            Err(_) => Standing::Expired,
        }
    }

    /// Returns whether the exception applies to this image at this time. `digests` are the digests
    /// of the image and of the index that it is judged for.
    pub(super) fn concerns(
        &self,
        repository: &Repository,
        digests: &[&Digest],
        now: SystemTime,
    ) -> bool {
        self.standing(now) != Standing::Expired
            && self.digest.as_ref().is_none_or(|digest| digests.contains(&digest))
            && self.repositories.admit(repository.name.as_str())
            && self.registries.admit(repository)
    }

    /// Returns whether the exception covers all findings of one image, listed or not.
    pub(super) fn is_for_the_image(&self) -> bool {
        self.digest.is_some() && self.id.is_empty() && self.package.is_empty()
    }
}

impl fmt::Display for Exception {
    /// Writes what the exception names, as metrics and reasons show it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.id.patterns().to_vec();
        parts.extend(self.digest.as_ref().map(ToString::to_string));
        parts.extend(self.package.patterns().iter().map(|package| format!("in {package}")));
        f.write_str(&parts.join(" "))
    }
}

/// Which exception of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExceptionId(usize);

impl ExceptionId {
    #[cfg(test)]
    pub(crate) fn sample() -> Self {
        Self(0)
    }

    /// Returns its position in the configuration, which people and metrics know it by.
    #[must_use]
    pub fn position(self) -> usize {
        self.0
    }
}

/// The exceptions of a policy, with indexes that find them by what they name.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    all: Vec<Exception>,
    by_id: GlobIndex,
    by_package: GlobIndex,
    /// The positions of exceptions that name an image and no finding.
    by_digest: HashMap<Digest, Vec<usize>>,
    /// The digests that any exception names.
    digests: HashSet<Digest>,
}

impl Exceptions {
    /// Returns an exception; `None` if it is one of another policy.
    #[must_use]
    pub fn get(&self, id: ExceptionId) -> Option<&Exception> {
        self.all.get(id.0)
    }

    /// Returns the exceptions in the order of the configuration.
    #[must_use]
    pub fn as_slice(&self) -> &[Exception] {
        &self.all
    }

    /// Returns whether any exception names this image or index by its digest.
    #[must_use]
    pub fn name(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// Returns the exceptions that apply to one image at one time.
    pub(super) fn concerning<'a>(
        &'a self,
        repository: &'a Repository,
        digests: &'a [&'a Digest],
        now: SystemTime,
    ) -> Concerning<'a> {
        let of_image = digests.iter().filter_map(|digest| self.by_digest.get(digest)).flatten();
        let of_image: BTreeSet<_> = of_image.copied().collect();
        let known = vec![None; self.all.len()];
        let (for_any, packages) = Default::default();
        let mut concerning =
            Concerning { exceptions: self, repository, digests, now, for_any, known, packages };
        concerning.for_any = of_image.into_iter().filter(|at| concerning.concerns(*at)).collect();
        concerning
    }
}

impl FromIterator<Exception> for Exceptions {
    fn from_iter<T: IntoIterator<Item = Exception>>(exceptions: T) -> Self {
        let all: Vec<_> = exceptions.into_iter().collect();
        let by_id = GlobIndex::new(all.iter().map(|one| &one.id).enumerate());
        let by_package = GlobIndex::new(all.iter().map(|one| &one.package).enumerate());
        let mut by_digest: HashMap<_, Vec<_>> = HashMap::new();
        for (at, one) in all.iter().enumerate().filter(|(_, one)| one.id.is_empty()) {
            if let Some(digest) = &one.digest {
                by_digest.entry(digest.clone()).or_default().push(at);
            }
        }
        let digests = all.iter().filter_map(|one| one.digest.clone()).collect();
        Self { all, by_id, by_package, by_digest, digests }
    }
}

/// The most package names of one image for which the exceptions that name them are remembered.
const MAX_PACKAGES: usize = 10_000;

/// The exceptions that apply to one image, computed on demand and remembered.
#[derive(Debug)]
pub(super) struct Concerning<'a> {
    exceptions: &'a Exceptions,
    repository: &'a Repository,
    digests: &'a [&'a Digest],
    now: SystemTime,
    /// The positions of exceptions that apply to the image and name no finding.
    for_any: Vec<usize>,
    /// By position, whether an exception applies to the image; `None` if nobody has asked yet.
    known: Vec<Option<bool>>,
    /// By package, the positions of the exceptions that name it.
    packages: HashMap<String, Vec<usize>>,
}

impl Concerning<'_> {
    fn concerns(&mut self, at: usize) -> bool {
        let Self { exceptions, repository, digests, now, .. } = *self;
        let Some(known) = self.known.get_mut(at) else { return false };
        *known.get_or_insert_with(|| {
            exceptions.all.get(at).is_some_and(|one| one.concerns(repository, digests, now))
        })
    }

    /// Returns the first exception that covers all findings of the image.
    pub(super) fn whole_image(&self) -> Option<ExceptionId> {
        let all = &self.exceptions.all;
        let is_whole = |at: &usize| all.get(*at).is_some_and(Exception::is_for_the_image);
        self.for_any.iter().copied().find(is_whole).map(ExceptionId)
    }

    /// Returns the exceptions that together cover a finding in all of its packages. If a package is
    /// not covered, the finding counts, and the result is empty.
    pub(super) fn covering(&mut self, finding: FindingRef<'_>) -> Vec<ExceptionId> {
        let mut named = self.exceptions.by_id.matching(finding.id());
        named.retain(|at| self.concerns(*at));
        named.extend(&self.for_any);
        if named.is_empty() {
            return Vec::new();
        }
        named.sort_unstable();
        let mut covering = Vec::new();
        for package in finding.packages() {
            match self.first_of(&named, package.name) {
                Some(at) => covering.push(ExceptionId(at)),
                None => return Vec::new(),
            }
        }
        // Only an exception that names no package covers a package without a name.
        if finding.has_unnamed_package() || covering.is_empty() {
            match named.into_iter().find(|at| self.is_for_any_package(*at)) {
                Some(at) => covering.push(ExceptionId(at)),
                None => return Vec::new(),
            }
        }
        covering
    }

    fn is_for_any_package(&self, at: usize) -> bool {
        self.exceptions.all.get(at).is_some_and(|one| one.package.is_empty())
    }

    /// Returns the first of these exceptions that covers a package of this name.
    fn first_of(&mut self, named: &[usize], package: &str) -> Option<usize> {
        if !self.packages.contains_key(package) {
            if self.packages.len() >= MAX_PACKAGES {
                self.packages.clear();
            }
            let matching = self.exceptions.by_package.matching(package);
            self.packages.insert(package.to_owned(), matching);
        }
        let for_it = self.packages.get(package).map(Vec::as_slice).unwrap_or_default();
        let covers = |at: &usize| self.is_for_any_package(*at) || for_it.binary_search(at).is_ok();
        named.iter().copied().find(covers)
    }
}

#[cfg(test)]
pub(in crate::domain) mod tests;
