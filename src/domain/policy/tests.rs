use super::*;
use crate::domain::names::RepositoryName;

fn globs(patterns: &[&str]) -> Globs {
    Globs::new(patterns.iter().map(ToString::to_string)).unwrap()
}

fn repository(account: &str, region: &str, name: &str) -> Repository {
    Repository {
        account: AccountId::parse(account).unwrap(),
        region: Region::parse(region).unwrap(),
        name: RepositoryName::parse(name).unwrap(),
    }
}

fn own() -> RegistryId {
    RegistryId {
        account: AccountId::parse("111122223333").unwrap(),
        region: Region::parse("eu-west-1").unwrap(),
    }
}

fn counts(list: &[(Severity, u64)]) -> SeverityCounts {
    list.iter().copied().collect()
}

#[test]
fn reach_defaults_to_own_account_in_all_regions() {
    let policy = Policy::default();
    assert_eq!(policy.check_scope(&repository("111122223333", "us-east-1", "a"), &own()), Ok(()));
    assert_eq!(
        policy.check_scope(&repository("444455556666", "eu-west-1", "a"), &own()),
        Err(OutOfScope::Account)
    );

    let policy = Policy {
        accounts: Some([AccountId::parse("444455556666").unwrap()].into()),
        regions: Some([Region::parse("eu-west-1").unwrap()].into()),
        include: globs(&["team/*"]),
        exclude: globs(&["team/secret*"]),
        own_images: [repository("444455556666", "eu-west-1", "team/own")].into(),
        ..Policy::default()
    };
    let reach =
        |account, region, name| policy.check_scope(&repository(account, region, name), &own());
    assert_eq!(reach("444455556666", "eu-west-1", "team/a/b"), Ok(()));
    assert_eq!(reach("111122223333", "eu-west-1", "team/a"), Err(OutOfScope::Account));
    assert_eq!(reach("444455556666", "us-east-1", "team/a"), Err(OutOfScope::Region));
    assert_eq!(reach("444455556666", "eu-west-1", "other"), Err(OutOfScope::Repository));
    assert_eq!(reach("444455556666", "eu-west-1", "team/secret"), Err(OutOfScope::Repository));
    assert_eq!(reach("444455556666", "eu-west-1", "team/own"), Err(OutOfScope::OwnImages));
}

#[test]
fn counts_clear_an_image_only_if_every_limited_severity_is_reported() {
    let terms = RuleSettings::default();
    let none = counts(&[]);
    assert!(terms.clear(&none, Reporting::AbsentIsZero));
    assert!(!terms.clear(&none, Reporting::AbsentIsUnknown));
    let zeros = counts(&[(Severity::Critical, 0), (Severity::High, 0)]);
    assert!(terms.clear(&zeros, Reporting::AbsentIsUnknown));
    let low = RuleSettings { limits: Limits::new([(Severity::Low, 0)]), ..RuleSettings::default() };
    assert!(!low.clear(&zeros, Reporting::AbsentIsUnknown));
    assert!(!terms.clear(&counts(&[(Severity::High, 1)]), Reporting::AbsentIsZero));
}

#[test]
fn first_matching_rule_sets_the_terms() {
    let rule = |name: &str, repositories: &[&str]| Rule {
        name: name.to_owned(),
        repositories: globs(repositories),
        registries: Registries::default(),
        sets_mode: false,
        terms: RuleSettings::default(),
    };
    let policy = Policy {
        rules: [rule("legacy", &["legacy/*", "old"]), rule("all", &["*"])].into_iter().collect(),
        ..Policy::default()
    };
    let here = |name: &str| repository("111122223333", "eu-west-1", name);
    let by = |name: &str| policy.terms(&here(name)).0.to_owned();
    assert_eq!(
        (by("legacy/a"), by("old"), by("team")),
        ("legacy".into(), "old".replace("old", "legacy"), "all".into())
    );
    assert_eq!(Policy::default().terms(&here("a")).0, "base");
}

#[test]
fn rule_of_other_registries_leaves_the_repository_to_the_next_rule() {
    let rule = |name: &str, account: Option<&str>, region: Option<&str>| Rule {
        name: name.to_owned(),
        repositories: globs(&["*"]),
        registries: Registries {
            accounts: account.map(|one| [AccountId::parse(one).unwrap()].into()),
            regions: region.map(|one| [Region::parse(one).unwrap()].into()),
        },
        sets_mode: false,
        terms: RuleSettings::default(),
    };
    let rules = [
        rule("sandbox", Some("444455556666"), None),
        rule("america", None, Some("us-east-1")),
        rule("all", None, None),
    ];
    let policy = Policy { rules: rules.into_iter().collect(), ..Policy::default() };
    let by = |account, region| policy.terms(&repository(account, region, "a")).0.to_owned();
    assert_eq!(by("444455556666", "us-east-1"), "sandbox");
    assert_eq!(by("111122223333", "us-east-1"), "america");
    assert_eq!(by("111122223333", "eu-west-1"), "all");
}
