//! `tagwarden sweep` does what its plan shows.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use aws_sim::{FaultRule, Finding, ReplicationRule, RepoKey, ScanResult};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::support::{ACCOUNT, QUEUE, REGION, Shown, World};
use crate::process::{Signal, tagwarden, within_deadline};

fn critical() -> ScanResult {
    ScanResult::basic(&[("CRITICAL", 1)])
}

fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 2)])
}

/// A registry that was filled before the worker existed.
struct Filled {
    world: World,
    other: RepoKey,
    folder: TempDir,
    bad: String,
}

impl Filled {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(config: &str) -> Self {
        let world = World::with(config).await;
        let other = world.sim.create_repository("team/other");
        let bad = world.image(&["1.0", "latest"], critical());
        world.image(&["1.1"], clean());
        world.image(&["0.9"], ScanResult::status("UNSUPPORTED_IMAGE"));
        world.sim.push_image(&world.repository, &["0.8"], "never scanned");
        let child = world.image(&[], critical());
        world.sim.push_index(&world.repository, &["2.0"], &[(child.as_str(), "linux/amd64")]);
        let last = world.sim.push_image(&other, &["1.0"], "another one");
        world.sim.set_findings(&other, &last, ScanResult::basic(&[("HIGH", 3)]));
        let folder = tempfile::tempdir().expect("a folder");
        Self { world, other, folder, bad }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_string_lossy().into_owned()
    }

    async fn sweep(&self, arguments: &[&str]) -> Shown {
        self.world.run(&[&["sweep"], arguments].concat(), "").await
    }

    /// Every tag of both repositories, with the image that it refers to.
    fn tags(&self) -> Vec<BTreeMap<String, String>> {
        let of = |repository| self.world.sim.repository_tags(repository).into_iter().collect();
        [&self.world.repository, &self.other].map(of).into()
    }

    /// The tags that people pull.
    fn pulled(&self) -> Vec<Vec<String>> {
        let ours = |tag: &String| !tag.starts_with("quarantine-");
        self.tags().into_iter().map(|tags| tags.into_keys().filter(ours).collect()).collect()
    }
}

fn verdicts(document: &Value) -> Vec<(&str, &str, &str)> {
    let images = document["images"].as_array().expect("images");
    images
        .iter()
        .map(|image| {
            let word = |name: &str| image[name].as_str().unwrap_or_default();
            (word("repository"), image["tags"][0].as_str().unwrap_or_default(), word("verdict"))
        })
        .collect()
}

#[tokio::test]
async fn plan_shows_its_removals_and_changes_nothing() {
    let filled = Filled::new().await;
    let before = filled.tags();
    let shown = filled.sweep(&[]).await;
    assert_eq!(shown.stderr.lines().count(), 2, "one line for each repository: {shown:?}");
    insta::assert_snapshot!(format!("{}exit code {}\n", shown.stdout, shown.code));
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
    assert_eq!(filled.tags(), before);
}

#[tokio::test]
async fn plan_document_is_stable_and_equals_the_file() {
    let filled = Filled::new().await;
    let file = filled.file("plan.json");
    let first = filled.sweep(&["--format", "json", "--plan", &file]).await;
    let second = filled.sweep(&["--format", "json"]).await;
    let later = |shown: &Shown| {
        let mut document = shown.json();
        assert!(document["made_at"].take().is_string(), "{document:#}");
        document
    };
    assert_eq!((first.code, later(&first)), (3, later(&second)));
    assert_eq!(std::fs::read_to_string(file).expect("a plan"), first.stdout);
    let document = first.json();
    assert_eq!(document["schema"], "tagwarden.plan/1");
    assert_eq!(
        verdicts(&document),
        [
            ("team/app", "0.8", "never_scanned"),
            ("team/app", "0.9", "unsupported"),
            ("team/app", "1.0", "untag"),
            ("team/app", "2.0", "untag"),
            ("team/other", "1.0", "untag"),
        ]
    );
    let bad = &document["images"][2];
    assert_eq!((&bad["digest"], &bad["untag"]), (&json!(filled.bad), &json!(["1.0", "latest"])));
    assert_eq!(
        document["totals"]["census"],
        json!({"clean": 1, "never_scanned": 1, "untag": 3, "unsupported": 1})
    );
    let finding = json!({
        "severity": "critical", "id": "CVE-2026-CRITICAL-0001", "package": "openssl",
        "installed": "3.0.0", "fixed": null, "score": null,
        "link": "https://cve.example/CVE-2026-CRITICAL-0001",
    });
    assert_eq!((&bad["rule"], &bad["counts"]), (&json!("base"), &json!({"critical": 1})));
    assert_eq!((&bad["findings"], &bad["more_findings"]), (&json!([finding]), &json!(0)));
    assert!(bad["pushed_at"].is_string() && bad["size"].is_number(), "{bad:#}");
    let all = filled.sweep(&["--format", "json", "--all"]).await.json();
    assert_eq!(all["images"].as_array().map(Vec::len), Some(6));
    let one = filled.sweep(&["--format", "json", "--repository", "*/other"]).await.json();
    assert_eq!(verdicts(&one), [("team/other", "1.0", "untag")]);
}

#[tokio::test]
async fn apply_does_what_the_plan_showed_and_leaves_nothing_to_do() {
    let filled = Filled::new().await;
    let mut expected = filled.tags();
    let plan = filled.sweep(&["--format", "json"]).await.json();
    for image in plan["images"].as_array().expect("images") {
        let tags = &mut expected[usize::from(image["repository"] == "team/other")];
        let digest = image["digest"].as_str().expect("a digest");
        for tag in image["untag"].as_array().expect("tags") {
            tags.remove(tag.as_str().expect("a tag"));
            tags.insert(digest.replace("sha256:", "quarantine-"), digest.to_owned());
        }
    }
    let applied = filled.sweep(&["--apply"]).await;
    assert_eq!(applied.code, 0, "{applied:?}");
    let not_judged = "2 images cannot be judged: 1 never scanned, 1 unsupported";
    assert!(applied.stdout.ends_with(&format!("\n3 images done; {not_judged}\n")), "{applied:?}");
    assert_eq!(filled.tags(), expected);
    let notified = filled.world.sim.notices(&filled.world.topic).len();
    assert_eq!(notified, 3, "the team is notified of each");
    for arguments in [&["--apply"][..], &[]] {
        let again = filled.sweep(arguments).await;
        assert_eq!(again.code, 0, "{again:?}");
        let last = format!("\nno tags to remove; {not_judged}\n");
        assert!(again.stdout.ends_with(&last), "{again:?}");
    }
    assert_eq!(filled.tags(), expected);
    assert_eq!(filled.world.sim.notices(&filled.world.topic).len(), notified);
    assert!(filled.world.sim.queue(QUEUE).messages.is_empty());
}

#[tokio::test]
async fn apply_skips_only_what_changed_since_the_plan() {
    let filled = Filled::new().await;
    let file = filled.file("plan.json");
    assert_eq!(filled.sweep(&["--plan", &file]).await.code, 3);
    let world = &filled.world;
    // Somebody moves a tag to another image, and pushes a new bad image.
    world.image(&["latest"], clean());
    world.image(&["3.0"], critical());
    let shown = filled.sweep(&["--apply", &file, "--format", "json"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "3.0", "latest"]);
    assert_eq!(filled.pulled()[1], [] as [&str; 0]);
    let document = shown.json();
    let outcomes: Vec<_> = document["images"]
        .as_array()
        .expect("images")
        .iter()
        .map(|image| (image["tags"][0].as_str().unwrap_or_default(), &image["outcome"]))
        .collect();
    let (done, refused) = (json!("quarantined"), json!("refused"));
    assert_eq!(outcomes, [("1.0", &refused), ("2.0", &done), ("1.0", &done)]);
    let problem = &document["images"][0]["problem"];
    assert_eq!(problem, "its tags differ from the plan: 1.0");
}

#[tokio::test]
async fn missing_or_differently_judged_image_is_refused() {
    let mut filled = Filled::new().await;
    let file = filled.file("plan.json");
    filled.sweep(&["--plan", &file]).await;
    let plan = std::fs::read_to_string(&file).expect("a plan");
    let gone = "9".repeat(64);
    let plan = plan.replace(&filled.bad["sha256:".len()..], &gone);
    let other = filled.file("other.json");
    std::fs::write(&other, plan).expect("a file");
    let config = "policy.protected_tags = ['latest']\npolicy.repositories.exclude = ['*/other']";
    filled.world.variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), config.to_owned());
    let before = filled.tags();
    let shown = filled.sweep(&["--apply", &other, "--format", "json"]).await;
    assert_eq!(shown.json()["images"][0]["problem"], "the image no longer exists", "{shown:?}");
    let shown = filled.sweep(&["--apply", &file, "--repository", "*"]).await;
    assert!(shown.complaint(2).contains("carries out a plan as it is"), "{shown:?}");
    let shown = filled.sweep(&["--apply", &file]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    for problem in [
        "the evaluation differs from the plan: untag 1.0",
        "the repository is left out by policy.repositories",
        "its tags differ from the plan: quarantine-",
        "0 images done, 3 images not",
    ] {
        assert!(shown.stdout.contains(problem), "{problem} {shown:?}");
    }
    let after = filled.tags();
    assert_eq!(after[1], before[1]);
    assert!(after[0].contains_key("1.0") && !after[0].contains_key("2.0"), "{after:?}");
}

#[tokio::test]
async fn index_missing_from_the_plan_keeps_its_child() {
    let filled = Filled::new().await;
    let file = filled.file("plan.json");
    filled.sweep(&["--plan", &file]).await;
    let world = &filled.world;
    world.sim.push_index(&world.repository, &["4.0"], &[(filled.bad.as_str(), "linux/amd64")]);
    let shown = filled.sweep(&["--apply", &file]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stdout.contains("is not in the plan, and would lose tags too"), "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "4.0", "latest"]);
}

#[tokio::test]
async fn audit_mode_only_shows() {
    let mut filled = Filled::with("policy.mode = 'audit'").await;
    let file = filled.file("plan.json");
    let shown = filled.sweep(&["--plan", &file]).await;
    assert_eq!(shown.code, 3, "{shown:?}");
    assert!(shown.stdout.contains("would_untag"), "{shown:?}");
    for arguments in [&["--apply"][..], &["--apply", &file]] {
        let shown = filled.sweep(arguments).await;
        assert!(shown.complaint(2).contains("policy.mode = \"enforce\""), "{shown:?}");
    }
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
    // Audit mode changes nothing, so the plan of audit mode is carried out after the mode changes.
    filled.world.variables.remove("TAGWARDEN_CONFIG_TEXT");
    filled.world.variables.insert("TAGWARDEN__POLICY__MODE".to_owned(), "enforce".to_owned());
    let shown = filled.sweep(&["--apply", &file]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.1"]);
}

#[tokio::test]
async fn images_with_replicated_removals_are_counted_as_blocked() {
    for (config, blocked) in [("", 2), ("policy.replicated = 'follow'", 0)] {
        let filled = Filled::with(config).await;
        let rule = ReplicationRule::to(&[(ACCOUNT, "us-east-1")]).prefix("team/app").deletes(true);
        let at_once = std::time::Duration::ZERO;
        filled.world.sim.set_replication(ACCOUNT, REGION, vec![rule], at_once..=at_once);
        let document = filled.sweep(&["--format", "json"]).await.json();
        let census = &document["totals"]["census"];
        let found = [census["blocked"].as_u64(), census["untag"].as_u64()];
        assert_eq!(found.map(Option::unwrap_or_default), [blocked, 3 - blocked], "{census}");
        let reasons = document["images"].to_string();
        assert_eq!(reasons.contains("ECR repeats removals in 111122223333 us-east-1"), blocked > 0);
    }
}

#[tokio::test]
async fn refused_repository_does_not_affect_the_others() {
    let filled = Filled::new().await;
    let refused = || FaultRule::always().repository("team/app").error("AccessDeniedException");
    filled.world.sim.set_faults(refused());
    for arguments in [&[][..], &["--apply"]] {
        let shown = filled.sweep(arguments).await;
        assert_eq!(shown.code, 1, "{shown:?}");
        let line = shown.stdout.lines().find(|line| line.starts_with("team/app "));
        let said = |line: &str| line.contains("failed") && line.contains("AccessDenied");
        assert!(line.is_some_and(said), "{shown:?}");
        assert!(shown.stdout.contains("team/other"), "{shown:?}");
    }
    assert_eq!(filled.pulled()[1], [] as [&str; 0]);
    assert!(filled.tags()[0].contains_key("latest"));
}

#[tokio::test]
async fn every_account_and_region_of_the_policy_is_swept_page_by_page() {
    let filled = Filled::with(
        "policy.accounts = ['111122223333', '444455556666', '777788889999']
        policy.regions = ['eu-west-1', 'us-east-1']
        aws.assume_role = 'arn:aws:iam::{account}:role/tagwarden'
        sweep.calls_per_second = 1000",
    )
    .await;
    let sim = &filled.world.sim;
    let far = sim.create_repository_in("444455556666", "us-east-1", "team/app");
    let many: Vec<_> = (0..250).map(|number| (format!("b{number}"), number.to_string())).collect();
    for digest in sim.push_images(&far, many) {
        sim.set_findings(&far, &digest, clean());
    }
    let bad = sim.push_image(&far, &["1.0"], "bad");
    sim.set_findings(&far, &bad, critical());
    let archived = sim.push_image(&far, &["0.1"], "old");
    sim.archive_image(&far, &archived);
    let denied = FaultRule::always().account("777788889999").error("AccessDeniedException");
    sim.set_faults(denied);
    let shown = filled.sweep(&["--format", "json"]).await;
    let document = shown.json();
    assert_eq!((shown.code, &document["complete"]), (1, &json!(true)), "{document:#}");
    let there: Vec<_> = document["images"]
        .as_array()
        .expect("images")
        .iter()
        .filter(|image| image["region"] == "us-east-1")
        .map(|image| (image["account"].as_str(), image["verdict"].as_str()))
        .collect();
    let of = |verdict| (Some("444455556666"), Some(verdict));
    assert_eq!(there, [of("archived"), of("untag")]);
    assert_eq!(document["totals"]["census"]["clean"], 251);
    let failed = document["failed"].as_array().expect("failed");
    assert_eq!(failed.len(), 2, "both Regions of the refusing account: {failed:?}");
    assert!(failed.iter().all(|one| one["repository"].is_null()), "{failed:?}");
    let pages = sim.calls_of("DescribeImages").into_iter();
    assert_eq!(pages.filter(|call| call.account == "444455556666").count(), 3);
    let shown = filled.sweep(&["--apply"]).await;
    let line = shown
        .stdout
        .lines()
        .find(|line| line.contains("/us-east-1/team/app  ") && line.contains(" 1.0 "));
    assert!(line.is_some_and(|line| line.contains("quarantined")), "{shown:?}");
    let quarantine = bad.replace("sha256:", "quarantine-");
    assert_eq!(sim.tags(&far, &bad).expect("an image"), [quarantine]);
}

#[tokio::test]
async fn last_line_says_nothing_to_do_only_if_every_image_is_judged() {
    let world = World::new().await;
    world.image(&["1.0"], clean());
    let shown = world.run(&["sweep"], "").await;
    assert_eq!((shown.code, shown.stdout.as_str()), (0, "1 image: 1 clean\nnothing to do\n"));
    let dark = world.sim.push_image(&world.repository, &[], "dark");
    world.sim.push_index(&world.repository, &["multi"], &[(dark.as_str(), "linux/amd64")]);
    world.sim.push_image(&world.repository, &["never"], "never");
    world.image(&["failed"], ScanResult::status("FAILED"));
    world.image(&["pending"], ScanResult::status("PENDING"));
    let shown = world.run(&["sweep"], "").await;
    let last = "no tags to remove; 4 images cannot be judged: 1 never scanned, 1 scanning, 1 scan \
                failed, 1 index only";
    assert_eq!((shown.code, shown.stdout.lines().last()), (0, Some(last)), "{shown:?}");
}

#[tokio::test]
async fn finding_texts_reach_the_terminal_as_plain_text() {
    let world = World::new().await;
    let finding = Finding::new("CVE\u{1b}[2J\nb \u{202e}c", "CRITICAL");
    world.image(&["1.0"], ScanResult::enhanced(&[]).with(finding));
    for format in ["text", "json"] {
        let shown = world.run(&["sweep", "--format", format], "").await;
        assert_eq!(shown.code, 3, "{shown:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.stdout.contains(acts), "{shown:?}");
        assert!(!shown.stdout.lines().any(|line| line.starts_with("b ")), "{shown:?}");
    }
}

#[tokio::test]
async fn images_over_the_limit_are_left_over() {
    let filled = Filled::with("limits.untags_per_hour = 2").await;
    let shown = filled.sweep(&["--apply"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stdout.contains("limited"), "{shown:?}");
    assert!(shown.stdout.contains("limits.untags_per_hour of 2 is reached"), "{shown:?}");
    let left: usize = filled.pulled().iter().map(Vec::len).sum();
    assert_eq!(left, 5, "of seven tags four violate, and the limit allows two removals");
}

#[tokio::test]
async fn signal_ends_the_sweep_after_the_current_image_and_loses_nothing() {
    for signal in [Signal::INT, Signal::TERM] {
        let filled = Filled::new().await;
        let world = &filled.world;
        let process = Arc::new(Mutex::new(None));
        let to_stop = Arc::clone(&process);
        let stop = FaultRule::on("PutImage").matching(move |_| {
            let pid: Option<Pid> = to_stop.lock().expect("no panic").take();
            pid.is_some_and(|pid| kill_process(pid, signal).is_err())
        });
        world.sim.set_faults(stop);
        let ended = {
            let mut process = process.lock().expect("no panic");
            let child = tagwarden(&["sweep", "--apply"], &world.variables).spawn();
            let child = child.expect("the binary can be started");
            *process = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            child.wait_with_output()
        };
        let ended = within_deadline("the end of a sweep", ended).await.expect("an end");
        let shown = String::from_utf8(ended.stdout).expect("UTF-8");
        assert_eq!(ended.status.code(), Some(1), "{shown}");
        assert!(shown.contains("\ninterrupted: 1 image done,"), "{shown}");
        assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "latest"]);
        assert_eq!(world.sim.notices(&world.topic).len(), 1, "the team was notified");
        world.sim.set_faults(FaultRule::on("PutImage").first(0));
        assert_eq!(filled.sweep(&["--apply"]).await.code, 0);
        assert_eq!(filled.pulled(), [vec!["0.8", "0.9", "1.1"], vec![]]);
    }
}

#[tokio::test]
async fn malformed_plan_is_refused_in_one_line() {
    let filled = Filled::new().await;
    let file = filled.file("plan.json");
    filled.sweep(&["--plan", &file]).await;
    let plan = std::fs::read_to_string(&file).expect("a plan");
    for (text, expected) in [
        ("{}".to_owned(), "is no plan: missing field"),
        (plan.replace("tagwarden.plan/1", "tagwarden.plan/2"), "its schema is"),
        (plan.replace("team/other", "Team"), "is not an ECR repository name"),
        (plan.replace("111122223333", "444455556666"), "another account"),
    ] {
        std::fs::write(&file, text).expect("a file");
        let shown = filled.sweep(&["--apply", &file]).await;
        assert!(shown.complaint(2).contains(expected), "{shown:?}");
    }
    let shown = filled.sweep(&["--apply", "/nonexistent"]).await;
    assert!(shown.complaint(2).contains("cannot be read"), "{shown:?}");
    let shown = filled.sweep(&["--repository", "[", "--format", "json"]).await;
    assert!(shown.complaint(2).contains("--repository"), "{shown:?}");
    let shown = filled.sweep(&["--plan", "/nonexistent/plan.json"]).await;
    assert!(shown.complaint(2).contains("cannot be written"), "{shown:?}");
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
}

#[tokio::test]
async fn plan_that_removes_tags_deletes_no_image_under_another_action() {
    let mut filled = Filled::new().await;
    let file = filled.file("plan.json");
    filled.sweep(&["--plan", &file]).await;
    let config = "policy.action = 'delete'";
    filled.world.variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), config.to_owned());
    let before = filled.tags();
    let shown = filled.sweep(&["--apply", &file]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(
        shown.stdout.contains("the image itself would be deleted, and the plan keeps it"),
        "{shown:?}"
    );
    assert_eq!(filled.tags(), before);
}
