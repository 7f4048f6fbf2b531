//! The policies of `examples/policies`: each is correct, and decides about a sample of images what
//! its comments say.
//!
//! The days on which exceptions end are moved, so that no fact here depends on today's date.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_sim::{Finding, RepoKey, ScanResult};
use serde_json::Value;
use tagwarden::clock::Clock;
use tempfile::TempDir;

use crate::commands::held;
use crate::commands::support::{ACCOUNT, World, bare, run};
use crate::python::Python;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/policies")
}

fn now() -> SystemTime {
    Clock::of_this_machine().now()
}

/// A policy, and a registry that it is asked about.
struct Example {
    world: World,
    /// The policy with other days.
    file: String,
    text: String,
    _folder: TempDir,
}

impl Example {
    /// The policy of this name while its exceptions apply.
    async fn new(name: &str) -> Self {
        Self::until(name, now() + 60 * DAY).await
    }

    /// The policy of this name, whose exceptions end on this day.
    async fn until(name: &str, day: SystemTime) -> Self {
        let text = fs::read_to_string(folder().join(name)).expect("a policy");
        let day = &humantime::format_rfc3339(day).to_string()[..10];
        let moved = |line: &str| match line.starts_with("expires = ") {
            true => format!("expires = {day}\n"),
            false => format!("{line}\n"),
        };
        let moved: String = text.lines().map(moved).collect();
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(name).to_string_lossy().into_owned();
        fs::write(&file, moved).expect("a file");
        let mut world = World::new().await;
        world.variables.retain(|name, _| !name.starts_with("TAGWARDEN"));
        // From the stack, like the queue and the topic. It would serve nobody without senders.
        if text.contains("\n[restore]\n") {
            world.variables.insert("TAGWARDEN__RESTORE__KEY".to_owned(), held::KEY.to_owned());
        }
        if text.contains("\n[[notify.topics]]\n") {
            let topic = "arn:aws:sns:eu-west-1:111122223333:tagwarden".to_owned();
            world.variables.insert("TAGWARDEN__NOTIFY__TOPIC_ARN".to_owned(), topic);
        }
        Self { world, file, text, _folder: folder }
    }

    fn repository(&self, name: &str) -> RepoKey {
        self.world.sim.create_repository(name)
    }

    /// Pushes an image with these tags, such as `team/app:1.0,latest`.
    fn push(&self, image: &str, scan: ScanResult) {
        let (name, tags) = image.split_once(':').expect("a tag");
        let tags: Vec<_> = tags.split(',').collect();
        let repository = self.repository(name);
        let digest = self.world.sim.push_image(&repository, &tags, &format!("{image} {scan:?}"));
        self.world.sim.set_findings(&repository, &digest, scan);
    }

    /// Pushes an image, and asserts what the policy decides about it, in the words of
    /// [`in_short`], and that this is among the reasons.
    async fn judges(&self, image: &str, scan: ScanResult, decision: &str, reason: &str) {
        self.push(image, scan);
        self.decides(image, decision, reason).await;
    }

    /// The same for an image that is there.
    async fn decides(&self, image: &str, decision: &str, reason: &str) {
        let (image, _) = image.split_once(',').unwrap_or((image, ""));
        let arguments = ["explain", image, "--config", &self.file, "--format", "json"];
        let shown = self.world.run(&arguments, "").await;
        let explanation = shown.json();
        assert_eq!(in_short(&explanation), decision, "{image}: {explanation:#}");
        assert!(reasons(&explanation).contains(reason), "{image}: {explanation:#}");
        assert_eq!(self.world.changes(), [] as [&str; 0]);
    }
}

/// The verdict, the tags that are removed, the tags that stay, and the rule.
fn in_short(explanation: &Value) -> String {
    let word = |name: &str| explanation[name].as_str().unwrap_or_default();
    let tags = |name: &str| {
        let tags = explanation["images"][0][name].as_array().into_iter().flatten();
        let tags: Vec<_> = tags.filter_map(Value::as_str).collect();
        if tags.is_empty() { String::new() } else { format!(" {}", tags.join(" ")) }
    };
    let kept = tags("kept");
    let kept = if kept.is_empty() { kept } else { format!(", keep{kept}") };
    format!("{}{}{kept} by {}", word("verdict"), tags("untag"), word("rule"))
}

/// Everything that the explanation gives as a reason.
fn reasons(explanation: &Value) -> String {
    let image = &explanation["images"][0];
    ["reasons", "set_aside", "kept_because", "exceptions"]
        .map(|name| image[name].to_string())
        .join("\n")
}

fn basic(severity: &str, count: usize) -> ScanResult {
    ScanResult::basic(&[(severity, count)])
}

fn enhanced(finding: Finding) -> ScanResult {
    ScanResult::enhanced(&[]).with(finding)
}

/// A finding that was first seen so many days ago.
fn seen(days: u32, severity: &str) -> Finding {
    let since = (now() - days * DAY).duration_since(SystemTime::UNIX_EPOCH).expect("a date");
    Finding::new("CVE-2026-0001", severity).with_score(9.8).first_observed(since.as_secs_f64())
}

#[tokio::test]
async fn every_policy_passes_check_and_begins_with_its_schema() {
    let audit = "policy.mode is audit: notices say which tags would be removed, and no tag is \
                 removed";
    let examples: [(&str, u64, u64, &[&str]); 6] = [
        ("exceptions-with-owners.toml", 0, 3, &[]),
        ("fixable-only.toml", 0, 0, &[]),
        ("many-accounts.toml", 3, 1, &[]),
        ("protected-releases.toml", 1, 0, &[]),
        ("start-in-audit.toml", 0, 0, &[audit]),
        ("strict-and-loose.toml", 3, 0, &[]),
    ];
    let files = fs::read_dir(folder()).expect("policies");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("UTF-8"));
    let names: BTreeSet<_> = names.filter(|name| name.ends_with(".toml")).collect();
    assert!(names.iter().eq(examples.map(|(name, ..)| name).iter()), "{names:?}");
    for (name, rules, exceptions, warnings) in examples {
        let example = Example::new(name).await;
        assert!(example.text.starts_with("#:schema ./tagwarden.schema.json\n\n# "), "{name}");
        let shown = example.world.run(&["check", &example.file, "--format", "json"], "").await;
        let report = shown.json();
        assert_eq!(shown.code, 0, "{shown:?}");
        assert_eq!((&report["rules"], &report["exceptions"]), (&rules.into(), &exceptions.into()));
        let said = report["warnings"].as_array().expect("warnings").iter();
        let said: Vec<_> = said.map(|warning| warning["message"].as_str().expect("text")).collect();
        assert_eq!(said, warnings, "{name}");
    }
}

#[tokio::test]
async fn editor_that_knows_the_schema_finds_no_fault() {
    let Some(python) = Python::with(&["check-jsonschema==0.39.0"]) else { return };
    let schema = tempfile::NamedTempFile::new().expect("a file");
    let written = run(&["schema"], &bare(""), "").await;
    fs::write(schema.path(), written.stdout).expect("a file");
    let files = fs::read_dir(folder()).expect("policies");
    let files = files.map(|file| file.expect("a file").path());
    let files: Vec<_> =
        files.filter(|file| file.extension().is_some_and(|e| e == "toml")).collect();
    let mut command = python.command();
    command.args(["-m", "check_jsonschema", "--schemafile"]).arg(schema.path()).args(files);
    let output = command.output().expect("Python can be started");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn start_in_audit_reports_and_removes_nothing() {
    let mut example = Example::new("start-in-audit.toml").await;
    let limit = "high 1 exceeds the limit of 0";
    example.judges("team/app:1.0", basic("HIGH", 1), "would_untag 1.0 by base", limit).await;
    example.judges("team/app:1.1", basic("MEDIUM", 9), "keep by base", "").await;
    let unsupported = ScanResult::status("UNSUPPORTED_IMAGE");
    example.judges("team/app:0.9", unsupported, "unscanned by base", "").await;
    example.judges("tagwarden:0.1.0", basic("CRITICAL", 1), "out_of_reach by base", "").await;
    let (mode, enforce) = ("TAGWARDEN__POLICY__MODE".to_owned(), "enforce".to_owned());
    example.world.variables.insert(mode, enforce);
    example.decides("team/app:1.0", "untag 1.0 by base", limit).await;
}

#[tokio::test]
async fn fixable_only_counts_what_can_be_mended_and_was_known_for_a_week() {
    let example = Example::new("fixable-only.toml").await;
    let fixed = || seen(10, "CRITICAL").fixed_in("3.0.2");
    for (image, finding, decision, reason) in [
        ("1.0", fixed(), "untag 1.0 by base", "critical 1 exceeds the limit of 0"),
        ("1.1", seen(10, "CRITICAL"), "keep by base", "no fix is available (fixable_only)"),
        (
            "1.2",
            seen(10, "HIGH").and_package("libssl", "3.0.0").partly_fixed("3.0.2"),
            "untag 1.2 by base",
            "high 1 exceeds the limit of 0",
        ),
        ("1.3", seen(6, "CRITICAL").fixed_in("3.0.2"), "keep by base", "less than 7days (grace)"),
        ("1.4", fixed().with_score(6.9), "keep by base", "the score is below 7.0 (min_score)"),
    ] {
        example.judges(&format!("team/app:{image}"), enhanced(finding), decision, reason).await;
    }
    // Basic scanning says nothing of fixes, and the grace begins with the push.
    example.judges("team/app:2.0", basic("HIGH", 1), "keep by base", "less than 7days").await;
}

#[tokio::test]
async fn strict_and_loose_repositories_have_limits_of_their_own() {
    let example = Example::new("strict-and-loose.toml").await;
    let exploited = Finding::new("CVE-2026-0002", "CRITICAL").exploited();
    let unexploited = Finding::new("CVE-2026-0002", "CRITICAL");
    for (image, scan, decision, reason) in [
        ("edge/proxy:1", basic("HIGH", 1), "untag 1 by internet-facing", "high 1"),
        ("team/gateway:1", basic("MEDIUM", 10), "keep by internet-facing", ""),
        ("team/gateway:2", basic("MEDIUM", 11), "untag 2 by internet-facing", "limit of 10"),
        ("team/app:1", basic("HIGH", 3), "keep by base", ""),
        ("team/app:2", basic("HIGH", 4), "untag 2 by base", "high 4 exceeds the limit of 3"),
        ("legacy/billing:1", basic("CRITICAL", 1), "would_untag 1 by legacy", "critical 1"),
        ("sandbox/a:1", enhanced(unexploited), "keep by playground", "no exploit is known"),
        ("sandbox/a:2", enhanced(exploited), "untag 2 by playground", "critical 1"),
        ("team/playground:1", basic("HIGH", 50), "keep by playground", ""),
        ("team/playground:2", basic("CRITICAL", 1), "untag 2 by playground", "critical 1"),
        // It matches two rules, and the first counts.
        ("sandbox/gateway:1", basic("HIGH", 1), "untag 1 by internet-facing", "high 1"),
    ] {
        example.judges(image, scan, decision, reason).await;
    }
}

#[tokio::test]
async fn exceptions_excuse_what_they_name_until_their_day_and_holds_three_days() {
    let name = "exceptions-with-owners.toml";
    let example = Example::new(name).await;
    let log4j = || Finding::new("CVE-2021-44228", "CRITICAL").in_package("log4j-core", "2.14.1");
    let more = || log4j().and_package("log4j-api", "2.14.1");
    let headers = Finding::new("CVE-2026-0003", "HIGH").in_package("linux-libc-dev", "6.1");
    let excess = "critical 1 exceeds the limit of 0";
    for (image, finding, decision, reason) in [
        ("team/search-ui:1", log4j(), "keep by base", "search team, #search"),
        ("team/app:1", log4j(), "untag 1 by base", excess),
        ("team/search-ui:2", more(), "untag 2 by base", excess),
        ("team/app:2", headers, "keep by base", "platform security, #platform-security"),
    ] {
        example.judges(image, enhanced(finding), decision, reason).await;
    }
    let digest = example.text.split('"').find(|text| text.starts_with("sha256:"));
    let digest = digest.expect("a digest").to_owned();
    let vendor = example.repository("vendor/appliance");
    example.world.sim.push_image_as(&vendor, &["1"], &digest);
    example.world.sim.set_findings(&vendor, &digest, basic("CRITICAL", 7));
    example.decides("vendor/appliance:1", "keep by base", "purchasing").await;
    example.judges("vendor/appliance:2", basic("HIGH", 7), "untag 2 by base", "high 7").await;

    // What somebody holds keeps its tags, for three days at most (restore.max_hold).
    for (tag, days, decision, reason) in
        [("3", 2, "held, keep 3 by base", "held until "), ("4", 4, "untag 4 by base", excess)]
    {
        let digest = example.world.image(&[tag], basic("CRITICAL", 1));
        held::hold(&example.world, &digest, days * DAY);
        example.decides(&format!("team/app:{tag}"), decision, reason).await;
    }

    let ended = Example::until(name, now()).await;
    ended.judges("team/search-ui:1", enhanced(log4j()), "untag 1 by base", excess).await;
}

#[tokio::test]
async fn protected_releases_keep_what_runs_and_what_to_roll_back_to() {
    let example = Example::new("protected-releases.toml").await;
    for tag in ["1.0", "1.1", "1.2"] {
        example.push(&format!("team/app:{tag}"), basic("LOW", 2));
    }
    let critical = || basic("CRITICAL", 1);
    let running = enhanced(Finding::new("CVE-2026-0004", "CRITICAL")).in_use(2);
    for (image, scan, decision, reason) in [
        (
            "team/app:1.4.0,prod-eu",
            critical(),
            "untag 1.4.0, keep prod-eu by base",
            "tag prod-eu is protected by",
        ),
        ("team/app:release-7", critical(), "blocked, keep release-7 by base", "is protected by"),
        ("team/app:1.3", running, "blocked, keep 1.3 by base", "it is in use in 2 places (in_use)"),
        ("team/new:1.0", critical(), "blocked, keep 1.0 by base", "(keep_at_least)"),
        ("nightly/app:prod-eu", critical(), "untag prod-eu by nightly", "critical 1"),
    ] {
        example.judges(image, scan, decision, reason).await;
    }
}

#[tokio::test]
async fn many_accounts_are_judged_by_the_rules_and_exceptions_of_each() {
    const PRODUCTION: &str = "012345678901";
    const SANDBOX: &str = "444455556666";
    let example = Example::new("many-accounts.toml").await;
    let log4j =
        || enhanced(Finding::new("CVE-2021-44228", "CRITICAL").in_package("log4j-core", "2.14.1"));
    let excess = "critical 1 exceeds the limit of 0";
    for (account, region, tag, scan, decision, reason) in [
        (ACCOUNT, "eu-west-1", "1", basic("HIGH", 3), "keep by base", ""),
        (PRODUCTION, "us-east-1", "2", basic("HIGH", 1), "untag 2 by production", "limit of 0"),
        (PRODUCTION, "eu-west-1", "3", log4j(), "keep by production", "accounts 012345678901"),
        (PRODUCTION, "us-east-1", "4", log4j(), "untag 4 by production", excess),
        (ACCOUNT, "eu-west-1", "5", log4j(), "untag 5 by base", excess),
        (SANDBOX, "eu-west-1", "6", basic("CRITICAL", 5), "keep by sandbox", ""),
        (SANDBOX, "us-east-1", "7", log4j(), "would_untag 7 by sandbox-in-america", excess),
        ("777788889999", "eu-west-1", "8", log4j(), "out_of_reach by base", ""),
    ] {
        let repository = example.world.sim.create_repository_in(account, region, "team/app");
        let digest = example.world.sim.push_image(&repository, &[tag], tag);
        example.world.sim.set_findings(&repository, &digest, scan);
        let image = format!("{account}.dkr.ecr.{region}.amazonaws.com/team/app");
        example.decides(&format!("{image}:{tag}"), decision, reason).await;
        if account == SANDBOX {
            let arguments = ["explain", &format!("{image}:{tag}"), "--config", &example.file];
            let shown = example.world.run(&arguments, "").await;
            assert!(shown.stdout.contains(", for accounts 444455556666"), "{shown:?}");
        }
    }
}
