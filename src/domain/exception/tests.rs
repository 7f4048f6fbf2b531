use super::super::findings::{Finding, FindingList, Package, Severity};
use super::*;
use crate::domain::names::sample::repository;
use crate::domain::names::{AccountId, Region};

/// Returns an exception for an id that ends on 2026-12-01.
pub(in crate::domain) fn exception(id: &str) -> Exception {
    Exception {
        id: Globs::new([id.to_owned()]).unwrap(),
        digest: None,
        package: Globs::default(),
        repositories: Globs::default(),
        registries: Registries::default(),
        reason: "not reachable".to_owned(),
        owner: "security".to_owned(),
        expires: Day::parse("2026-12-01").unwrap(),
    }
}

fn at(time: &str) -> SystemTime {
    humantime::parse_rfc3339(time).unwrap()
}

#[test]
fn exception_expires_at_the_start_of_its_day() {
    let exception = exception("CVE-1");
    assert_eq!(exception.standing(at("2026-11-16T23:59:59Z")), Standing::Active);
    assert_eq!(exception.standing(at("2026-11-17T00:00:00Z")), Standing::Expiring);
    assert_eq!(exception.standing(at("2026-11-30T23:59:59Z")), Standing::Expiring);
    assert_eq!(exception.standing(at("2026-12-01T00:00:00Z")), Standing::Expired);
}

#[test]
fn day_parses_only_dates() {
    for bad in ["", "2026-13-01", "2026-02-30", "1.12.2026", "2026-12-01T00:00:00Z", "tomorrow"] {
        assert_eq!(Day::parse(bad), None, "{bad:?}");
    }
}

#[test]
fn finding_is_covered_only_if_every_package_is() {
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
        let repository = repository("team/app");
        let now = at("2026-11-01T00:00:00Z");
        let mut concerning = exceptions.concerning(&repository, &[], now);
        let covering = list.iter().flat_map(|finding| concerning.covering(finding));
        covering.map(ExceptionId::position).collect::<Vec<_>>()
    };
    assert_eq!(covering(&finding, &[&openssl]), NONE, "no package is named");
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

#[test]
fn exception_counts_only_in_its_accounts_and_regions() {
    let concerned = |accounts: Option<&str>, regions: Option<&str>| {
        let registries = Registries {
            accounts: accounts.map(|one| [AccountId::parse(one).unwrap()].into()),
            regions: regions.map(|one| [Region::parse(one).unwrap()].into()),
        };
        let exception = Exception { registries, ..exception("CVE-1") };
        exception.concerns(&repository("team/app"), &[], at("2026-11-01T00:00:00Z"))
    };
    assert!(concerned(Some("111122223333"), Some("eu-west-1")));
    assert!(!concerned(Some("444455556666"), None));
    assert!(!concerned(None, Some("us-east-1")));
}
