//! Exceptions: findings that a team has looked at and accepted, for a time.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use super::findings::FindingRef;
use super::globs::{GlobIndex, Globs};
use super::image::{Digest, RepositoryName};

/// How long before its end an exception is about to expire.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// A calendar day in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    text: String,
    start: SystemTime,
}

impl Day {
    /// Reads a date such as `2026-12-31`; `None` for anything else.
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

/// Where an exception stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Active,
    /// It counts, and stops within 14 days.
    Expiring,
    /// It counts no more.
    Expired,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 3] = [Self::Active, Self::Expiring, Self::Expired];

    /// The word of metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
        }
    }
}

/// Findings that do not count, and until when. It names an id, a digest, or both; what it leaves out may be anything.
#[derive(Clone, Debug)]
pub struct Exception {
    /// The finding's id; none means any finding.
    pub id: Globs,
    /// The image, or the index that holds it; none means any image.
    pub digest: Option<Digest>,
    /// The package; none means any package.
    pub package: Globs,
    /// The repositories; none means all.
    pub repositories: Globs,
    /// Why.
    pub reason: String,
    /// Who answers for it.
    pub owner: String,
    /// The day from whose start (UTC) it counts no more.
    pub expires: Day,
}

impl Exception {
    /// Where it stands at this time.
    #[must_use]
    pub fn standing(&self, now: SystemTime) -> Standing {
        match self.expires.start.duration_since(now) {
            Ok(left) if left.is_zero() => Standing::Expired,
            Ok(left) if left <= SOON => Standing::Expiring,
            Ok(_) => Standing::Active,
            Err(_) => Standing::Expired,
        }
    }

    /// Whether it is about this image at this time; `digests` are the image's and that of the index that it is judged for.
    pub(super) fn concerns(
        &self,
        repository: &RepositoryName,
        digests: &[&Digest],
        now: SystemTime,
    ) -> bool {
        self.standing(now) != Standing::Expired
            && self.digest.as_ref().is_none_or(|digest| digests.contains(&digest))
            && self.repositories.admit(repository.as_str())
    }

    /// Whether it is for whatever is found in one image.
    pub(super) fn is_for_the_image(&self) -> bool {
        self.digest.is_some() && self.id.is_empty() && self.package.is_empty()
    }
}

impl fmt::Display for Exception {
    /// What it is about, as metrics and reasons name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.id.patterns().to_vec();
        parts.extend(self.digest.as_ref().map(ToString::to_string));
        parts.extend(self.package.patterns().iter().map(|package| format!("in {package}")));
        f.write_str(&parts.join(" "))
    }
}

/// A policy's exceptions, found by what they name: neither an image nor a finding costs a look at
/// each of them.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    all: Vec<Exception>,
    by_id: GlobIndex,
    by_package: GlobIndex,
    /// Those that name an image and no finding.
    by_digest: HashMap<Digest, Vec<usize>>,
    /// Every image that is named.
    digests: HashSet<Digest>,
}

impl Exceptions {
    /// The exceptions as they were written.
    #[must_use]
    pub fn as_slice(&self) -> &[Exception] {
        &self.all
    }

    /// Whether any exception names this very image, or index.
    #[must_use]
    pub fn name(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// The exceptions as they concern one image at one time.
    pub(super) fn concerning<'a>(
        &'a self,
        repository: &'a RepositoryName,
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

/// The packages of one image of which it is remembered which exceptions name them.
const MAX_PACKAGES: usize = 10_000;

/// The exceptions that concern one image, as far as anybody asked.
#[derive(Debug)]
pub(super) struct Concerning<'a> {
    exceptions: &'a Exceptions,
    repository: &'a RepositoryName,
    digests: &'a [&'a Digest],
    now: SystemTime,
    /// Those that concern the image and name no finding.
    for_any: Vec<usize>,
    /// By position, whether an exception concerns the image.
    known: Vec<Option<bool>>,
    /// Those that name a package.
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

    /// The first exception for whatever is found in the image.
    pub(super) fn whole_image(&self) -> Option<usize> {
        let all = &self.exceptions.all;
        let is_whole = |at: &usize| all.get(*at).is_some_and(Exception::is_for_the_image);
        self.for_any.iter().copied().find(is_whole)
    }

    /// The positions of the exceptions that together cover a finding: every package that has it
    /// must be covered. Empty: it counts.
    pub(super) fn covering(&mut self, finding: FindingRef<'_>) -> Vec<usize> {
        let mut named = self.exceptions.by_id.matching(finding.id());
        named.retain(|at| self.concerns(*at));
        named.extend(&self.for_any);
        if named.is_empty() {
            return named;
        }
        named.sort_unstable();
        let mut covering = Vec::new();
        for package in finding.packages() {
            match self.first_of(&named, package.name) {
                Some(at) => covering.push(at),
                None => return Vec::new(),
            }
        }
        // What has no name is covered only by an exception that names no package.
        if finding.has_unnamed_package() || covering.is_empty() {
            match named.into_iter().find(|at| self.is_for_any_package(*at)) {
                Some(at) => covering.push(at),
                None => return Vec::new(),
            }
        }
        covering
    }

    fn is_for_any_package(&self, at: usize) -> bool {
        self.exceptions.all.get(at).is_some_and(|one| one.package.is_empty())
    }

    /// The first of these exceptions that covers a package of this name.
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
pub(in crate::domain) mod tests {
    use super::super::findings::{Finding, FindingList, Package, Severity};
    use super::*;

    /// An exception for an id, until 2026-12-01.
    pub(in crate::domain) fn exception(id: &str) -> Exception {
        Exception {
            id: Globs::new([id.to_owned()]).unwrap(),
            digest: None,
            package: Globs::default(),
            repositories: Globs::default(),
            reason: "not reachable".to_owned(),
            owner: "security".to_owned(),
            expires: Day::parse("2026-12-01").unwrap(),
        }
    }

    fn at(time: &str) -> SystemTime {
        humantime::parse_rfc3339(time).unwrap()
    }

    #[test]
    fn an_exception_stops_counting_at_the_start_of_its_day() {
        let exception = exception("CVE-1");
        assert_eq!(exception.standing(at("2026-11-16T23:59:59Z")), Standing::Active);
        assert_eq!(exception.standing(at("2026-11-17T00:00:00Z")), Standing::Expiring);
        assert_eq!(exception.standing(at("2026-11-30T23:59:59Z")), Standing::Expiring);
        assert_eq!(exception.standing(at("2026-12-01T00:00:00Z")), Standing::Expired);
    }

    #[test]
    fn a_day_is_a_date_and_nothing_else() {
        for bad in ["", "2026-13-01", "2026-02-30", "1.12.2026", "2026-12-01T00:00:00Z", "tomorrow"]
        {
            assert_eq!(Day::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_finding_in_several_packages_is_covered_when_all_of_them_are() {
        const NONE: [usize; 0] = [];
        let package = |name: &str| Package { name: name.to_owned(), installed: None, fixed: None };
        let mut finding = Finding::new("CVE-1", Severity::High);
        let of = |package: &str| {
            let mut exception = exception("CVE-*");
            exception.package = Globs::new([package.to_owned()]).unwrap();
            exception
        };
        let (openssl, libssl) = (of("openssl"), of("libssl*"));
        let covering = |finding: &Finding, exceptions: &[&Exception]| {
            let exceptions: Exceptions = exceptions.iter().copied().cloned().collect();
            let list: FindingList = [finding.clone()].into_iter().collect();
            let repository = RepositoryName::parse("team/app").unwrap();
            let now = at("2026-11-01T00:00:00Z");
            let mut concerning = exceptions.concerning(&repository, &[], now);
            list.iter().flat_map(|finding| concerning.covering(finding)).collect::<Vec<_>>()
        };
        assert_eq!(covering(&finding, &[&openssl]), NONE, "no package is not this package");
        finding.packages = vec![package("openssl"), package("libssl3")];
        assert_eq!(covering(&finding, &[&openssl]), NONE);
        let other = exception("CVE-2");
        assert_eq!(covering(&finding, &[&openssl, &other, &libssl]), [0, 2]);
        assert_eq!(covering(&finding, &[&other, &exception("CVE-1")]), [1, 1]);
        assert_eq!(covering(&finding, &[&other]), NONE);
        finding.unnamed_package = true;
        assert_eq!(covering(&finding, &[&openssl, &libssl]), NONE, "one has no name");
        assert_eq!(covering(&finding, &[&openssl, &libssl, &exception("*")]), [0, 1, 2]);
    }
}
