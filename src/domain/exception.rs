//! Exceptions: findings that a team has looked at and accepted, for a time.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::findings::Finding;
use super::globs::Globs;
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

    /// Whether it covers a finding in this package, where the finding names one.
    pub(super) fn covers(&self, finding: &Finding, package: Option<&str>) -> bool {
        self.id.admit(&finding.id)
            && match package {
                Some(package) => self.package.admit(package),
                None => self.package.is_empty(),
            }
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

/// The positions of the exceptions that together cover a finding: every package that has it must be covered. Empty: it
/// counts.
pub(super) fn covering(finding: &Finding, exceptions: &[(usize, &Exception)]) -> Vec<usize> {
    let covers = |package: Option<&str>| {
        let mut covering = exceptions.iter().filter(|(_, one)| one.covers(finding, package));
        covering.next().map(|&(at, _)| at)
    };
    if finding.packages.is_empty() {
        return covers(None).into_iter().collect();
    }
    let names = finding.packages.iter().map(|package| Some(package.name.as_str()));
    names.map(covers).collect::<Option<Vec<_>>>().unwrap_or_default()
}

#[cfg(test)]
pub(in crate::domain) mod tests {
    use super::super::findings::{Package, Severity};
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
        assert_eq!(covering(&finding, &[(0, &openssl)]), NONE, "no package is not this package");
        finding.packages = vec![package("openssl"), package("libssl3")];
        assert_eq!(covering(&finding, &[(0, &openssl)]), NONE);
        assert_eq!(covering(&finding, &[(0, &openssl), (4, &libssl)]), [0, 4]);
        assert_eq!(covering(&finding, &[(2, &exception("CVE-1"))]), [2, 2]);
        assert_eq!(covering(&finding, &[(2, &exception("CVE-2"))]), NONE);
    }
}
