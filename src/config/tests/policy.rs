use super::*;
use crate::domain::exception::Standing;

/// Returns the settings that the rules and exceptions give in each of the formats.
fn in_each_format(toml: &str, yaml: &str, json: &str) -> Vec<Settings> {
    [(".toml", toml), (".yaml", yaml), (".json", json)]
        .map(|(extension, text)| load_file(extension, text).unwrap())
        .into()
}

#[test]
fn a_file_can_set_every_key_of_policy_and_limits() {
    let toml = r#"
        [policy]
        mode = "audit"
        action = "delete"
        max_findings = { critical = 2, high = "unlimited", low = "7" }
        protected_tags = ["prod-*"]
        index = "all"
        keep_at_least = 3
        in_use = "block"
        fixable_only = ["high", "medium"]
        min_score = 7.5
        exploit_only = true
        grace = "7d"
        unscanned = "ignore"
        [limits]
        untags_per_hour = 200
        untags_per_hour_per_repository = "20"
        tasks = 4
    "#;
    let yaml = "
policy:
  mode: audit
  action: delete
  max_findings: {critical: 2, high: unlimited, low: '7'}
  protected_tags: [prod-*]
  index: all
  keep_at_least: 3
  in_use: block
  fixable_only: high, medium
  min_score: 7.5
  exploit_only: true
  grace: 7d
  unscanned: ignore
limits: {untags_per_hour: 200, untags_per_hour_per_repository: 20, tasks: 4}
";
    let json = r#"{"policy": {
        "mode": "audit", "action": "delete",
        "max_findings": {"critical": 2, "high": "unlimited", "low": 7},
        "protected_tags": ["prod-*"], "index": "all", "keep_at_least": "3", "in_use": "block",
        "fixable_only": ["medium", "high"], "min_score": "7.5", "exploit_only": "true",
        "grace": "7d", "unscanned": "ignore"
    }, "limits": {"untags_per_hour": 200.0, "untags_per_hour_per_repository": 20, "tasks": "4"}}"#;
    for settings in in_each_format(toml, yaml, json) {
        let base = &settings.policy.base;
        assert_eq!((base.mode, base.action), (Mode::Audit, Action::Delete));
        assert_eq!(base.limits.of(Severity::Critical), Some(2));
        assert_eq!(base.limits.of(Severity::High), None);
        assert_eq!(base.limits.of(Severity::Low), Some(7));
        assert_eq!(base.protected_tags.patterns(), ["prod-*"]);
        assert_narrowed(base);
        assert_eq!(settings.limits.untags_per_hour, Some(200));
        assert_eq!(settings.limits.untags_per_hour_per_repository, Some(20));
        assert_eq!(settings.limits.tasks.get(), 4);
    }
}

#[test]
fn fixable_only_is_a_word_or_a_list() {
    let set =
        |value: &str| load_toml(&format!("policy.fixable_only = {value}")).policy.base.fixable_only;
    assert_eq!(set("'all'"), Severity::ALL.into());
    assert_eq!(set("['all']"), Severity::ALL.into());
    assert_eq!(set("'none'"), [].into());
    assert_eq!(set("[]"), [].into());
    assert_eq!(set("'low'"), [Severity::Low].into());
}

#[test]
fn a_rule_inherits_the_keys_that_it_does_not_give() {
    let settings = load_toml(
        r#"
        [policy]
        action = "delete"
        index = "all"
        in_use = "block"
        keep_at_least = 2
        protected_tags = ["prod-*"]
        fixable_only = "all"
        min_score = 4
        exploit_only = true
        grace = "7d"
        unscanned = "ignore"
        max_findings = { high = 5, medium = 50 }

        [[policy.rules]]
        repositories = ["legacy/*"]

        [[policy.rules]]
        name = "lifted"
        repositories = ["lifted"]
        tags = ["pr-*"]
        mode = "audit"
        action = "quarantine"
        index = "any"
        in_use = "untag"
        keep_at_least = 0
        protected_tags = []
        fixable_only = "none"
        min_score = "none"
        exploit_only = false
        grace = "none"
        unscanned = "tell"
        max_findings = { high = 0, medium = "unlimited", low = 1 }
        "#,
    );
    let (name, legacy) = terms(&settings, "legacy/app");
    assert_eq!(name, "rules[0]");
    assert_eq!(format!("{legacy:?}"), format!("{:?}", settings.policy.base));

    let (name, lifted) = terms(&settings, "lifted");
    assert_eq!(name, "lifted");
    let expected = RuleSettings {
        mode: Mode::Audit,
        tags: crate::domain::globs::Globs::new(["pr-*".to_owned()]).unwrap(),
        limits: crate::domain::limits::Limits::new([
            (Severity::Critical, 0),
            (Severity::High, 0),
            (Severity::Low, 1),
        ]),
        ..RuleSettings::default()
    };
    assert_eq!(format!("{lifted:?}"), format!("{expected:?}"));
    assert_eq!(terms(&settings, "other").0, "base");
}

#[test]
fn limits_of_a_rule_merge_severity_by_severity() {
    let settings = load(&[
        (
            TEXT_VARIABLE,
            "[policy.max_findings]\nhigh = 3\n[[policy.rules]]\nrepositories = ['strict']\n\
             max_findings = { medium = 0 }",
        ),
        ("TAGWARDEN__POLICY__MAX_FINDINGS__CRITICAL", "1"),
    ])
    .unwrap();
    let violates = |severity, count| violates_in(&settings, "strict", severity, count);
    assert!(
        !violates(Severity::Critical, 1),
        "a rule also stands on the base that variables change"
    );
    assert!(violates(Severity::Critical, 2));
    assert!(!violates(Severity::High, 3));
    assert!(violates(Severity::High, 4));
    assert!(violates(Severity::Medium, 1));
    assert!(!violates_in(&settings, "other", Severity::Medium, 1));
}

#[test]
fn the_first_rule_that_matches_counts() {
    let toml = "[[policy.rules]]\nname = 'one'\nrepositories = ['team/a*']\n\
                [[policy.rules]]\nname = 'two'\nrepositories = ['team/*', 'b']\nmode = 'audit'";
    let yaml = "
policy:
  rules:
    - {name: one, repositories: ['team/a*']}
    - name: two
      repositories: team/*, b
      mode: audit
";
    let json = r#"{"policy": {"rules": [
        {"name": "one", "repositories": ["team/a*"]},
        {"name": "two", "repositories": ["team/*", "b"], "mode": "audit"}]}}"#;
    for settings in in_each_format(toml, yaml, json) {
        let by = |repository| {
            let (name, terms) = terms(&settings, repository);
            (name.to_owned(), terms.mode)
        };
        assert_eq!(by("team/app"), ("one".to_owned(), Mode::Enforce));
        assert_eq!(by("team/other"), ("two".to_owned(), Mode::Audit));
        assert_eq!(by("b"), ("two".to_owned(), Mode::Audit));
        assert_eq!(by("c"), ("base".to_owned(), Mode::Enforce));
    }
}

#[test]
fn an_exception_is_read_in_every_format_with_its_date_in_quotes_or_without() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let toml = |date: &str| {
        format!(
            "[[policy.exceptions]]\nid = 'CVE-2021-44228'\ndigest = '{digest}'\n\
             package = 'log4j*'\nrepositories = ['team/*']\n\
             reason = 'not reachable, see TICKET-1'\n\
             owner = 'security@example.com'\nexpires = {date}"
        )
    };
    let yaml = |date: &str| {
        format!(
            "policy:\n  exceptions:\n    - id: CVE-2021-44228\n      digest: {digest}\n      \
             package: log4j*\n      repositories: [team/*]\n      \
             reason: not reachable, see TICKET-1\n      owner: security@example.com\n      \
             expires: {date}\n"
        )
    };
    let json = format!(
        r#"{{"policy": {{"exceptions": [{{"id": "CVE-2021-44228", "digest": "{digest}",
        "package": "log4j*", "repositories": ["team/*"], "reason": "not reachable, see TICKET-1",
        "owner": "security@example.com", "expires": "2026-12-31"}}]}}}}"#
    );
    for (extension, text) in [
        (".toml", toml("2026-12-31")),
        (".toml", toml("\"2026-12-31\"")),
        (".yaml", yaml("2026-12-31")),
        (".yaml", yaml("'2026-12-31'")),
        (".json", json),
    ] {
        let settings = load_file(extension, &text).unwrap();
        let [exception] = settings.policy.exceptions.as_slice() else { panic!("one exception") };
        assert_eq!(exception.id.patterns(), ["CVE-2021-44228"]);
        assert_eq!(exception.digest.as_ref().unwrap().as_str(), digest);
        assert_eq!(exception.package.patterns(), ["log4j*"]);
        assert_eq!(exception.repositories.patterns(), ["team/*"]);
        assert_eq!(exception.reason, "not reachable, see TICKET-1");
        assert_eq!(exception.owner, "security@example.com");
        assert_eq!(exception.expires.to_string(), "2026-12-31");
        let standing = |time: &str| exception.standing(humantime::parse_rfc3339(time).unwrap());
        assert_ne!(standing("2026-12-30T23:59:59Z"), Standing::Expired);
        assert_eq!(standing("2026-12-31T00:00:00Z"), Standing::Expired);
    }
}

#[test]
fn an_exception_needs_an_id_or_a_digest_and_matches_any_otherwise() {
    let exception = |line: &str| {
        let text = format!(
            "[[policy.exceptions]]\n{line}\nreason = 'a'\nowner = 'b'\nexpires = 2026-12-31"
        );
        load_toml(&text).policy.exceptions.as_slice()[0].clone()
    };
    let by_id = exception("id = 'CVE-2021-*'");
    assert!(by_id.digest.is_none() && by_id.package.is_empty() && by_id.repositories.is_empty());
    let by_digest = exception(&format!("digest = 'sha256:{}'", "a".repeat(64)));
    assert!(by_digest.id.is_empty() && by_digest.digest.is_some());
}

#[test]
fn a_rule_and_an_exception_are_limited_to_accounts_and_regions() {
    let text = "[[policy.rules]]\nrepositories = ['*']\naccounts = ['444455556666']\n\
                [[policy.exceptions]]\nid = 'CVE-1'\nregions = ['us-east-1']\nreason = 'a'\n\
                owner = 'b'\nexpires = 2026-12-31";
    let policy = load_toml(text).policy;
    let rule = &policy.rules.as_slice()[0].registries;
    assert_eq!(rule.accounts.as_ref().map(|all| all.len()), Some(1));
    assert_eq!(rule.regions, None);
    let exception = &policy.exceptions.as_slice()[0].registries;
    assert_eq!(exception.accounts, None);
    assert_eq!(exception.regions.as_ref().map(|all| all.len()), Some(1));
}
