//! The fingerprint of a policy is that of its meaning, whatever wrote it down.

use std::collections::HashMap;

use super::{load, load_file, load_toml};
use crate::config::{Settings, TEXT_VARIABLE};
use crate::domain::policy::{Fingerprint, Mode};

/// A file that sets nothing.
const NONE: &str = "# nothing";
/// Every key of the policy, each with a value other than its default.
const FULL: &str = "
[policy]
mode = 'audit'
action = 'delete'
protected_tags = ['prod-*', 'latest']
index = 'all'
keep_at_least = 5
in_use = 'block'
replicated = 'follow'
fixable_only = ['high', 'medium']
min_score = 7.5
exploit_only = true
grace = '7d'
unscanned = 'ignore'
accounts = ['111122223333']
regions = ['eu-west-1']
pull_through = ['cache/*']
[policy.max_findings]
critical = 1
high = 'unlimited'
[policy.repositories]
include = ['team/*']
exclude = ['team/secret']
[[policy.rules]]
name = 'legacy'
repositories = ['team/legacy*']
tags = ['v*']
mode = 'enforce'
[[policy.rules]]
repositories = ['team/*']
[[policy.exceptions]]
id = 'CVE-2021-44228'
package = 'log4j*'
repositories = ['team/app']
reason = 'not reachable'
owner = 'team'
expires = 2026-12-31
[[policy.exceptions]]
digest = 'sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'
reason = 'a'
owner = 'b'
expires = 2027-01-31
";

fn of(settings: &Settings) -> String {
    Fingerprint::of(&settings.policy).as_str().to_owned()
}

fn of_toml(text: &str) -> String {
    of(&load_toml(text))
}

#[test]
fn fingerprint_of_a_policy_is_stable() {
    assert_eq!(
        [of_toml(NONE), of_toml(FULL)],
        [
            "be9324749b2508c377a6d4f530e5bd466308907f597b723579698c5a6d9bea59",
            "49ccfaded55a36c32488826b4d7bcf714253211b48826f230d32895a838df01c",
        ]
    );
}

#[test]
fn every_change_of_the_policy_changes_the_fingerprint() {
    let mut known = HashMap::from([(of_toml(NONE), ""), (of_toml(FULL), "full")]);
    for (from, to) in [
        ("action = 'delete'", "action = 'quarantine'"),
        ("'prod-*', 'latest'", "'prod-*'"),
        ("'prod-*', 'latest'", "'prod-*, latest'"),
        ("index = 'all'", "index = 'any'"),
        ("keep_at_least = 5", "keep_at_least = 6"),
        ("in_use = 'block'", "in_use = 'untag'"),
        ("replicated = 'follow'", "replicated = 'block'"),
        ("['high', 'medium']", "['high']"),
        ("min_score = 7.5", "min_score = 7.6"),
        ("min_score = 7.5", "min_score = 'none'"),
        ("exploit_only = true", "exploit_only = false"),
        ("grace = '7d'", "grace = '8d'"),
        ("grace = '7d'", "grace = 'none'"),
        ("unscanned = 'ignore'", "unscanned = 'tell'"),
        ("accounts = ['111122223333']", "accounts = ['111122223333', '444455556666']"),
        ("accounts = ['111122223333']", ""),
        ("regions = ['eu-west-1']", "regions = ['us-east-1']"),
        ("regions = ['eu-west-1']", ""),
        ("pull_through = ['cache/*']", ""),
        ("critical = 1", "critical = 2"),
        ("critical = 1", "critical = 'unlimited'"),
        ("high = 'unlimited'", "high = 0"),
        ("include = ['team/*']", "include = ['team/a*']"),
        ("exclude = ['team/secret']", ""),
        (
            "exclude = ['team/secret']",
            "own_images = ['arn:aws:ecr:eu-west-1:111122223333:repository/a']",
        ),
        ("name = 'legacy'", "name = 'old'"),
        ("repositories = ['team/legacy*']", "repositories = ['team/old*']"),
        ("tags = ['v*']", ""),
        ("mode = 'enforce'", "mode = 'audit'"),
        ("mode = 'enforce'", ""),
        ("repositories = ['team/*']\n[[", "repositories = ['team/*']\nkeep_at_least = 1\n[["),
        ("id = 'CVE-2021-44228'", "id = 'CVE-2021-44229'"),
        ("package = 'log4j*'", ""),
        ("repositories = ['team/app']", ""),
        ("reason = 'not reachable'", "reason = 'other'"),
        ("owner = 'team'", "owner = 'others'"),
        ("expires = 2026-12-31", "expires = 2026-12-30"),
        ("tags = ['v*']", "tags = ['v*']\naccounts = ['111122223333']"),
        ("tags = ['v*']", "tags = ['v*']\naccounts = ['444455556666']"),
        ("tags = ['v*']", "tags = ['v*']\nregions = ['eu-west-1']"),
        ("owner = 'team'", "owner = 'team'\naccounts = ['111122223333']"),
        ("owner = 'team'", "owner = 'team'\nregions = ['eu-west-1']"),
        ("owner = 'team'", "owner = 'team'\nregions = ['us-east-1']"),
        ("sha256:aa", "sha256:ab"),
    ] {
        assert!(FULL.contains(from), "{from}");
        let changed = of_toml(&FULL.replacen(from, to, 1));
        assert_eq!(known.insert(changed, to), None, "{from} to {to}");
    }
}

#[test]
fn mode_of_the_base_policy_is_not_part_of_the_fingerprint() {
    let with = |mode| load(&[(TEXT_VARIABLE, FULL), ("TAGWARDEN__POLICY__MODE", mode)]).unwrap();
    let [audits, enforces] = ["audit", "enforce"].map(with);
    assert_eq!(of(&audits), of(&enforces));
    // The second rule follows the base policy, and the first does not.
    let mode = |settings: &Settings| {
        settings.policy.rules.as_slice().iter().map(|rule| rule.terms.mode).collect::<Vec<_>>()
    };
    assert_eq!(mode(&audits), [Mode::Enforce, Mode::Audit]);
    assert_eq!(mode(&enforces), [Mode::Enforce, Mode::Enforce]);
    let full = Fingerprint::of(&audits.policy.clone().enforced());
    assert_eq!(full, Fingerprint::of(&audits.policy));
}

#[test]
fn form_of_the_file_and_place_of_a_value_make_no_difference() {
    let toml = "policy.keep_at_least = 5\npolicy.min_score = 7\npolicy.in_use = 'block'\n\
                policy.max_findings = {high = 1, critical = 0}\nqueue.max_in_flight = 3";
    let expected = of_toml(toml);
    let same = [
        "policy.in_use = 'block'\npolicy.min_score = '7.0'\npolicy.keep_at_least = '5'\n\
         policy.max_findings = {critical = '0', high = '1'}",
        "[policy]\nmax_findings.high = 1\nkeep_at_least = 5\nmin_score = 7.0\nin_use = 'block'\n\
         action = 'quarantine'\nprotected_tags = []",
    ];
    for text in same {
        assert_eq!(of_toml(text), expected, "{text}");
    }
    let yaml = "policy:\n  in_use: block\n  keep_at_least: 5\n  min_score: 7\n  max_findings:\n    \
                high: 1\n";
    assert_eq!(of(&load_file(".yaml", yaml).unwrap()), expected);
    let json = r#"{"policy": {"max_findings": {"high": 1}, "min_score": 7, "keep_at_least": 5,
                  "in_use": "block"}}"#;
    assert_eq!(of(&load_file(".json", json).unwrap()), expected);
    let variables = [
        (TEXT_VARIABLE, "policy.max_findings.high = 1"),
        ("TAGWARDEN__POLICY__KEEP_AT_LEAST", "5"),
        ("TAGWARDEN__POLICY__MIN_SCORE", "7"),
        ("TAGWARDEN__POLICY__IN_USE", "block"),
    ];
    assert_eq!(of(&load(&variables).unwrap()), expected);
}
