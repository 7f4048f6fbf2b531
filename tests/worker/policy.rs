//! Each key of the policy alone changes the outcome, in the base policy and in a rule.

use std::time::Duration;

use aws_sim::{FaultRule, Finding, ScanResult};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::support::{World, critical, in_repository, quarantine};

const HOUR: Duration = Duration::from_secs(3600);

/// The result of one image: the notice's action, or `kept`, and the notice's reasons.
type Verdict = (String, Vec<String>);

/// Assesses one image in `team/app` with this configuration.
async fn judged(toml: &str, scan: ScanResult) -> Verdict {
    let world = World::configured(toml);
    let digest = world.image(&["1.0"], scan);
    world.scanned(&digest);
    world.run_to_the_end().await;
    verdict(&world, &digest)
}

fn verdict(world: &World, digest: &str) -> Verdict {
    let notices = world.notices();
    let tags = world.sim.tags(&world.repository, digest);
    let Some(notice) = notices.last() else {
        assert_eq!(tags.unwrap(), ["1.0"]);
        assert!(world.changes().is_empty(), "{:#?}", world.story());
        return ("kept".to_owned(), Vec::new());
    };
    assert_eq!(notices.len(), 1, "{notices:#?}");
    let action = notice["action"].as_str().unwrap();
    match action {
        "quarantined" => assert_eq!(tags.unwrap(), [quarantine(digest)]),
        "deleted" => assert_eq!(tags, None),
        _ => {
            assert_eq!(tags.unwrap(), ["1.0"], "{action}");
            assert!(world.changes().is_empty(), "{action}: {:#?}", world.story());
        }
    }
    let reasons = notice["reasons"].as_array().unwrap().iter();
    (action.to_owned(), reasons.map(|reason| reason.as_str().unwrap().to_owned()).collect())
}

fn is(action: &str, reasons: &[&str]) -> Verdict {
    (action.to_owned(), reasons.iter().map(ToString::to_string).collect())
}

fn kept() -> Verdict {
    is("kept", &[])
}

/// An enhanced scan with this one finding.
fn with(finding: Finding) -> ScanResult {
    ScanResult::enhanced(&[]).with(finding)
}

fn finding() -> Finding {
    Finding::new("CVE-2026-0001", "CRITICAL")
}

const ONE_CRITICAL: &str = "critical 1 exceeds the limit of 0";

#[tokio::test(start_paused = true)]
async fn every_severity_can_be_limited_on_its_own() {
    for word in ["critical", "high", "medium", "low", "informational", "untriaged", "undefined"] {
        let toml = format!("policy.max_findings.{word} = 1");
        let severity = word.to_uppercase();
        let scan = |count| ScanResult::basic(&[(&severity, count)]);
        assert_eq!(judged(&toml, scan(1)).await, kept(), "{word}");
        let reason = format!("{word} 2 exceeds the limit of 1");
        assert_eq!(judged(&toml, scan(2)).await, is("quarantined", &[&reason]), "{word}");

        let toml = format!("policy.max_findings.{word} = \"unlimited\"");
        assert_eq!(judged(&toml, scan(50)).await, kept(), "{word}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_exceeded_limit_is_a_reason_and_the_worst_comes_first() {
    let scan = ScanResult::basic(&[("LOW", 4), ("HIGH", 2), ("MEDIUM", 1), ("CRITICAL", 1)]);
    let reasons = [ONE_CRITICAL, "high 2 exceeds the limit of 0", "low 4 exceeds the limit of 3"];
    let verdict = judged("policy.max_findings.low = 3", scan).await;
    assert_eq!(verdict, is("quarantined", &reasons));
}

#[tokio::test(start_paused = true)]
async fn mode_and_action_determine_the_changes() {
    let scan = || ScanResult::basic(&[("CRITICAL", 1)]);
    for (toml, action) in [
        (r#"policy.mode = "enforce""#, "quarantined"),
        (r#"policy.mode = "audit""#, "would_untag"),
        (r#"policy.action = "quarantine""#, "quarantined"),
        (r#"policy.action = "delete""#, "deleted"),
        ("policy.mode = \"audit\"\npolicy.action = \"delete\"", "would_untag"),
    ] {
        assert_eq!(judged(toml, scan()).await, is(action, &[ONE_CRITICAL]), "{toml}");
    }
}

#[tokio::test(start_paused = true)]
async fn protected_tag_stays_and_is_a_reason_if_no_tag_can_be_removed() {
    let scan = || ScanResult::basic(&[("CRITICAL", 1)]);
    let protected = r#"policy.protected_tags = ["prod-*", "1.*"]"#;
    let reasons = [ONE_CRITICAL, r#"tag 1.0 is protected by "1.*""#];
    assert_eq!(judged(protected, scan()).await, is("blocked", &reasons));
    let other = r#"policy.protected_tags = ["prod-*"]"#;
    assert_eq!(judged(other, scan()).await, is("quarantined", &[ONE_CRITICAL]));
}

#[tokio::test(start_paused = true)]
async fn unfixable_findings_can_be_excluded_by_severity() {
    let only = r#"policy.fixable_only = ["critical"]"#;
    let goes = is("quarantined", &[ONE_CRITICAL]);
    assert_eq!(judged(only, with(finding().fixed_in("3.0.1"))).await, goes);
    assert_eq!(judged(only, with(finding().partly_fixed("3.0.1"))).await, goes, "PARTIAL is a fix");
    assert_eq!(judged(only, with(finding())).await, kept());
    assert_eq!(judged("", with(finding())).await, goes, "fixable_only is off by default");
    // Basic scanning does not report fixes.
    assert_eq!(judged(only, ScanResult::basic(&[]).with(finding())).await, goes);

    let high = || with(Finding::new("CVE-2026-0002", "HIGH"));
    let high_goes = is("quarantined", &["high 1 exceeds the limit of 0"]);
    assert_eq!(judged(only, high()).await, high_goes, "another severity");
    assert_eq!(judged(r#"policy.fixable_only = ["all"]"#, high()).await, kept());
    assert_eq!(judged(r#"policy.fixable_only = ["none"]"#, high()).await, high_goes);
}

#[tokio::test(start_paused = true)]
async fn fix_of_a_package_counts_if_inspector_gives_none_for_the_finding() {
    let cases = [(finding().fixed_in("3.0.1"), "quarantined"), (finding(), "kept")];
    for (finding, action) in cases {
        let world = World::configured(r#"policy.fixable_only = ["all"]"#);
        let digest = world.image(&["1.0"], with(finding));
        world.sim.set_faults(FaultRule::on("DescribeImageScanFindings").replace(|reply| {
            let finding = &mut reply["imageScanFindings"]["enhancedFindings"][0];
            finding.as_object_mut().unwrap().remove("fixAvailable").unwrap();
            let package = &mut finding["packageVulnerabilityDetails"]["vulnerablePackages"][0];
            if package["fixedInVersion"].is_null() {
                package["fixedInVersion"] = json!("NotAvailable");
            }
        }));
        world.scanned(&digest);
        world.run_to_the_end().await;
        assert_eq!(verdict(&world, &digest).0, action);
    }
}

#[tokio::test(start_paused = true)]
async fn findings_that_do_not_count_are_reported_beside_those_that_do() {
    let toml = "[policy]\nfixable_only = [\"all\"]\nmin_score = 7\nexploit_only = true";
    let exploited = || finding().exploited().fixed_in("2").with_score(9.8);
    let scan = with(exploited())
        .with(Finding { fixed: None, ..exploited() })
        .with(exploited().with_score(6.9))
        .with(Finding { exploit: false, ..exploited() });
    let reasons = [
        ONE_CRITICAL,
        "critical 1 does not count: no fix is available (fixable_only)",
        "critical 1 does not count: the score is below 7.0 (min_score)",
        "critical 1 does not count: no exploit is known (exploit_only)",
    ];
    assert_eq!(judged(toml, scan).await, is("quarantined", &reasons));
}

#[tokio::test(start_paused = true)]
async fn findings_below_a_score_can_be_excluded_but_not_those_without_one() {
    let least = "policy.min_score = 7.5";
    let goes = is("quarantined", &[ONE_CRITICAL]);
    let basic = |finding| ScanResult::basic(&[]).with(finding);
    for scan in [with, basic] {
        assert_eq!(judged(least, scan(finding().with_score(7.5))).await, goes);
        assert_eq!(judged(least, scan(finding().with_score(7.4))).await, kept());
        assert_eq!(judged(least, scan(finding())).await, goes, "no score is known");
    }
    assert_eq!(judged("policy.min_score = 7", with(finding().with_score(0.1))).await, kept());
    let none = r#"policy.min_score = "none""#;
    assert_eq!(judged(none, with(finding().with_score(0.1))).await, goes);
}

#[tokio::test(start_paused = true)]
async fn findings_without_a_known_exploit_can_be_excluded() {
    let only = "policy.exploit_only = true";
    let goes = is("quarantined", &[ONE_CRITICAL]);
    assert_eq!(judged(only, with(finding().exploited())).await, goes);
    assert_eq!(judged(only, with(finding())).await, kept());
    assert_eq!(judged("policy.exploit_only = false", with(finding())).await, goes);
    // Basic scanning does not report exploits.
    assert_eq!(judged(only, ScanResult::basic(&[]).with(finding())).await, goes);
}

#[tokio::test(start_paused = true)]
async fn finding_counts_at_the_first_event_after_its_grace() {
    // With enhanced scanning the grace starts at the first observation, with basic scanning at the
    // push of the image.
    for scan in [with(finding()), ScanResult::basic(&[]).with(finding())] {
        let world = World::configured(r#"policy.grace = "2h""#);
        let digest = world.image(&["1.0"], scan);
        let test = async {
            for wait in [Duration::ZERO, 2 * HOUR - Duration::from_secs(5)] {
                sleep(wait).await;
                world.scanned(&digest);
                world.done().await;
                assert_eq!(verdict(&world, &digest), kept());
            }
            sleep(HOUR).await;
            assert_eq!(verdict(&world, &digest), kept(), "until the next event");
            world.scanned(&digest);
            world.done().await;
        };
        world.run_while(test).await;
        assert_eq!(verdict(&world, &digest), is("quarantined", &[ONE_CRITICAL]));
    }
}

#[tokio::test(start_paused = true)]
async fn old_finding_has_no_grace_in_a_new_image() {
    let day = 24.0 * 3600.0;
    let pushed = 1_767_323_045.0;
    let known_since = |seconds: f64| with(finding().first_observed(seconds));
    let grace = r#"policy.grace = "7d""#;
    assert_eq!(judged(grace, known_since(pushed - 6.9 * day)).await, kept());
    let goes = is("quarantined", &[ONE_CRITICAL]);
    assert_eq!(judged(grace, known_since(pushed - 7.0 * day)).await, goes);
    assert_eq!(judged(r#"policy.grace = "none""#, known_since(pushed)).await, goes);
}

#[tokio::test(start_paused = true)]
async fn unjudged_image_is_notified_or_ignored() {
    let failed = || ScanResult::status("FAILED");
    let notified = is("unscanned", &["ECR's scan status is FAILED"]);
    assert_eq!(judged("", failed()).await, notified);
    assert_eq!(judged(r#"policy.unscanned = "tell""#, failed()).await, notified);
    assert_eq!(judged(r#"policy.unscanned = "ignore""#, failed()).await, kept());
}

/// The actions for the same image in `legacy/app`, which a rule covers, and in `team/app`, which no
/// rule covers.
async fn there_and_elsewhere(toml: &str, scan: ScanResult) -> [Value; 2] {
    let world = World::configured(toml);
    let legacy = world.sim.create_repository("legacy/app");
    for repository in [&legacy, &world.repository] {
        let digest = world.image_in(repository, &["1.0"], scan.clone());
        let event = super::support::basic(&digest, &[], &Value::Null);
        world.send(&in_repository(event, &repository.name));
    }
    world.run_to_the_end().await;
    let notices = world.notices();
    ["legacy/app", "team/app"].map(|name| {
        let mut of = notices.iter().filter(|notice| notice["image"]["repository"] == name);
        let action = of.next().map(|notice| notice["action"].clone());
        assert_eq!(of.next(), None);
        action.unwrap_or_else(|| json!("kept"))
    })
}

#[tokio::test(start_paused = true)]
async fn rule_overrides_each_key_for_its_repositories_alone() {
    let one = || with(finding().with_score(5.0));
    let cases = [
        (r#"mode = "audit""#, one(), ["would_untag", "quarantined"]),
        (r#"action = "delete""#, one(), ["deleted", "quarantined"]),
        ("max_findings.critical = 1", one(), ["kept", "quarantined"]),
        (r#"protected_tags = ["1.*"]"#, one(), ["blocked", "quarantined"]),
        (r#"tags = ["nightly-*"]"#, one(), ["blocked", "quarantined"]),
        ("keep_at_least = 1", one(), ["blocked", "quarantined"]),
        (r#"in_use = "block""#, one().in_use(1), ["blocked", "quarantined"]),
        (r#"fixable_only = ["critical"]"#, one(), ["kept", "quarantined"]),
        ("min_score = 9", one(), ["kept", "quarantined"]),
        ("exploit_only = true", one(), ["kept", "quarantined"]),
        (r#"grace = "7d""#, one(), ["kept", "quarantined"]),
        (r#"unscanned = "ignore""#, ScanResult::status("FAILED"), ["kept", "unscanned"]),
    ];
    for (key, scan, expected) in cases {
        let toml = format!("[[policy.rules]]\nrepositories = [\"legacy/*\"]\n{key}");
        assert_eq!(there_and_elsewhere(&toml, scan.clone()).await, expected, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_clears_settings_of_the_base_policy_and_inherits_the_others() {
    let one = || with(finding().with_score(5.0)).in_use(1);
    let cases = [
        (r#"mode = "audit""#, r#"mode = "enforce""#, "would_untag"),
        (r#"protected_tags = ["1.*"]"#, "protected_tags = []", "blocked"),
        ("keep_at_least = 1", "keep_at_least = 0", "blocked"),
        (r#"in_use = "block""#, r#"in_use = "untag""#, "blocked"),
        (r#"fixable_only = ["all"]"#, r#"fixable_only = ["none"]"#, "kept"),
        ("min_score = 9", r#"min_score = "none""#, "kept"),
        ("exploit_only = true", "exploit_only = false", "kept"),
        (r#"grace = "7d""#, r#"grace = "none""#, "kept"),
        ("max_findings.critical = 1", "max_findings.critical = 0", "kept"),
    ];
    for (base, lifted, elsewhere) in cases {
        let rule = |key: &str| {
            format!("[policy]\n{base}\n[[policy.rules]]\nrepositories = [\"legacy/*\"]\n{key}")
        };
        let both = there_and_elsewhere(&rule(lifted), one()).await;
        assert_eq!(both, ["quarantined", elsewhere], "{lifted}");
        let both = there_and_elsewhere(&rule("max_findings.low = 9"), one()).await;
        assert_eq!(both, [elsewhere, elsewhere], "{base} is inherited");
    }
}

#[tokio::test(start_paused = true)]
async fn rule_changes_single_limits_and_inherits_the_others() {
    let toml = "[policy]\nmax_findings.medium = 5\n\
        [[policy.rules]]\nname = \"legacy\"\nrepositories = [\"team/*\"]\nmax_findings.high = 2";
    let scan = ScanResult::basic(&[("HIGH", 2), ("MEDIUM", 5)]);
    assert_eq!(judged(toml, scan).await, kept());
    let scan = ScanResult::basic(&[("CRITICAL", 1), ("HIGH", 3), ("MEDIUM", 6)]);
    let reasons =
        [ONE_CRITICAL, "high 3 exceeds the limit of 2", "medium 6 exceeds the limit of 5"];
    assert_eq!(judged(toml, scan).await, is("quarantined", &reasons));
}

#[tokio::test(start_paused = true)]
async fn first_matching_rule_judges_and_the_notice_names_it() {
    let rules = "[[policy.rules]]\nname = \"other\"\nrepositories = [\"other/*\"]\n\
        [[policy.rules]]\nname = \"first\"\nrepositories = [\"x\", \"team/*\"]\nmode = \"audit\"\n\
        [[policy.rules]]\nrepositories = [\"team/app\"]\naction = \"delete\"\n";
    let unnamed = "[[policy.rules]]\nrepositories = [\"team/*\"]\nmode = \"audit\"";
    let cases = [("", "base", "quarantined"), (rules, "first", "would_untag")];
    for (toml, rule, action) in cases.into_iter().chain([(unnamed, "rules[0]", "would_untag")]) {
        let world = World::configured(toml);
        let digest = world.image(&["1.0"], critical());
        world.scanned(&digest);
        world.run_to_the_end().await;
        let notice = world.notice();
        assert_eq!((&notice["rule"], &notice["action"]), (&json!(rule), &json!(action)));
        let mode = if action == "would_untag" { "audit" } else { "enforce" };
        assert_eq!(notice["mode"], mode);
        assert_eq!(world.changes().is_empty(), mode == "audit", "{:#?}", world.story());
    }
}

#[tokio::test(start_paused = true)]
async fn rule_for_some_tags_keeps_the_others() {
    let toml = "[[policy.rules]]\nrepositories = [\"team/*\"]\ntags = [\"nightly-*\", \"pr-*\"]\n\
        protected_tags = [\"pr-1\"]";
    let world = World::configured(toml);
    let digest = world.image(&["1.0", "nightly-7", "pr-1", "pr-2"], critical());
    world.scanned(&digest);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0".to_owned(), "pr-1".to_owned(), quarantine(&digest)]);
    let tags = &world.notice()["tags"];
    assert_eq!(tags["untagged"], json!(["nightly-7", "pr-2"]));
    assert_eq!(tags["kept"], json!(["1.0", "pr-1"]));
}

#[tokio::test(start_paused = true)]
async fn rule_judges_indexes_in_its_own_way() {
    for (name, action) in [("legacy/*", "quarantined"), ("team/*", "kept")] {
        let toml = format!("[[policy.rules]]\nrepositories = [{name:?}]\nindex = \"all\"");
        let world = World::configured(&toml);
        let bad = world.image(&[], with(finding()));
        let good = world.sim.push_image(&world.repository, &[], "good");
        world.sim.set_findings(&world.repository, &good, ScanResult::enhanced(&[("LOW", 1)]));
        let both = [(bad.as_str(), "linux/amd64"), (good.as_str(), "linux/arm64")];
        let index = world.sim.push_index(&world.repository, &["1.0"], &both);
        world.scanned(&bad);
        world.run_to_the_end().await;
        assert_eq!(verdict(&world, &index).0, action, "{name}");
    }
}
