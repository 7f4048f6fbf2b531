//! `tagwarden plan` shows what would be done, and changes nothing.

use std::sync::{Arc, Mutex};

use aws_sim::{FaultRule, Finding, ReplicationRule, ScanResult};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};

use super::filled::{Filled, clean, critical, verdicts};
use super::support::{ACCOUNT, REGION, Shown, World};
use crate::process::{Signal, tagwarden, within_deadline};

/// A plan without what differs from run to run.
fn settled(shown: &Shown) -> Value {
    let mut document = shown.json();
    assert!(document["made_at"].take().is_string(), "{document:#}");
    document
}

#[tokio::test]
async fn plan_shows_its_removals_and_changes_nothing() {
    let filled = Filled::new().await;
    let before = filled.tags();
    let shown = filled.plan(&[]).await;
    assert_eq!(shown.stderr, "", "only a terminal gets a bar");
    insta::assert_snapshot!(format!("{}exit code {}\n", shown.stdout, shown.code));
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
    assert_eq!(filled.tags(), before);
}

#[tokio::test]
async fn plan_needs_neither_queue_nor_topic_nor_configuration() {
    let mut filled = Filled::new().await;
    filled.world.variables.retain(|name, _| !name.starts_with("TAGWARDEN"));
    let shown = filled.plan(&[]).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (3, ""), "{shown:?}");
    let policy =
        "policy     defaults (critical 0, high 0) - no file given; --config to use yours\n";
    assert!(shown.stdout.starts_with(policy), "{shown:?}");
    assert!(
        shown.stdout.contains("\nregistry   111122223333 eu-west-1   2 repositories   6 images\n")
    );
    assert!(
        shown.stdout.ends_with(
            "\nPlan: 3 images, 4 tags in 2 repositories. Nothing was changed.\n\
             Save with --out plan.json, then: tagwarden apply plan.json\n\
             That needs policy.mode = \"enforce\".\n"
        ),
        "{shown:?}"
    );
    // Of STS it only asks who calls.
    assert_eq!(filled.world.sim.calls_of("GetCallerIdentity").len(), 1);
    // The Region is that of the command line, and else that of the environment.
    filled.world.variables.remove("AWS_REGION");
    let shown = filled.plan(&["--region", "us-east-1"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("registry   111122223333 us-east-1   0 repositories"));
    let shown = filled.plan(&["--region", "nowhere!"]).await;
    assert_eq!(shown.code, 2, "{shown:?}");
    let shown = filled.plan(&[]).await;
    assert!(shown.complaint(2).contains("no AWS Region"), "{shown:?}");
}

#[tokio::test]
async fn plan_says_which_policy_made_it() {
    let mut filled = Filled::new().await;
    let file = filled.file("mine.toml");
    std::fs::write(&file, "policy.protected_tags = ['latest']").expect("a file");
    let shown = filled.plan(&["--config", &file, "--format", "json"]).await;
    let with_file = shown.json()["policy"].clone();
    assert_eq!((&with_file["source"], &with_file["mode"]), (&json!(file), &json!("enforce")));
    let shown = filled.plan(&["--config", &file]).await;
    let digits = &with_file["fingerprint"].as_str().expect("a fingerprint")[..12];
    assert!(shown.stdout.starts_with(&format!("policy     {file} (sha256 {digits})\n")));
    assert!(shown.stdout.contains(&format!("then: tagwarden --config {file} apply plan.json\n")));
    filled.set("TAGWARDEN__POLICY__KEEP_AT_LEAST", "2");
    let shown = filled.plan(&["--config", &file, "--format", "json"]).await;
    let with_variable = shown.json()["policy"].clone();
    let source = format!("{file} and TAGWARDEN__POLICY__KEEP_AT_LEAST");
    assert_eq!(with_variable["source"], source);
    assert_ne!(with_variable["fingerprint"], with_file["fingerprint"]);
}

#[tokio::test]
async fn plan_document_is_stable_and_equals_the_file() {
    let filled = Filled::new().await;
    let file = filled.file("plan.json");
    let first = filled.plan(&["--format", "json", "--out", &file]).await;
    let second = filled.plan(&["--format", "json"]).await;
    assert_eq!((first.code, settled(&first)), (3, settled(&second)));
    assert_eq!(std::fs::read_to_string(&file).expect("a plan"), first.stdout);
    assert!(first.stderr.contains(&format!("Saved as {file}")), "{first:?}");
    let document = first.json();
    assert_eq!(document["schema"], "tagwarden.plan/1");
    let to_remove = [
        ("team/app", "1.0", "untag"),
        ("team/app", "2.0", "untag"),
        ("team/other", "1.0", "untag"),
    ];
    assert_eq!(verdicts(&document), to_remove);
    let bad = &document["images"][0];
    assert_eq!((&bad["digest"], &bad["untag"]), (&json!(filled.bad), &json!(["1.0", "latest"])));
    let finding = json!({
        "severity": "critical", "id": "CVE-2026-CRITICAL-0001", "package": "openssl",
        "installed": "3.0.0", "fixed": null, "score": null,
        "link": "https://cve.example/CVE-2026-CRITICAL-0001",
    });
    assert_eq!((&bad["rule"], &bad["counts"]), (&json!("base"), &json!({"critical": 1})));
    assert_eq!((&bad["findings"], &bad["more_findings"]), (&json!([finding]), &json!(0)));
    assert!(bad["pushed_at"].is_string() && bad["size"].is_number(), "{bad:#}");
    assert_eq!(
        document["totals"],
        json!({
            "repositories": 2,
            "images": 6,
            "census": {"clean": 1, "never_scanned": 1, "untag": 3, "unsupported": 1},
            "findings": {"critical": 2, "high": 3, "low": 2},
            "worst": {"critical": 2, "high": 1, "low": 1},
        })
    );
    assert_eq!(document["registries"], json!([{"account": ACCOUNT, "region": REGION}]));
    let repositories = document["repositories"].as_array().expect("repositories");
    let names: Vec<_> = repositories.iter().map(|one| &one["repository"]).collect();
    assert_eq!(names, ["team/app", "team/other"]);
    let all = filled.plan(&["--format", "json", "--all"]).await.json();
    assert_eq!((all["images"].as_array().map(Vec::len), &all["all"]), (Some(6), &json!(true)));
    let one = filled.plan(&["--format", "json", "--repository", "*/other"]).await.json();
    assert_eq!(verdicts(&one), to_remove[2..]);
    assert_eq!(one["only"], json!(["*/other"]));
}

#[tokio::test]
async fn image_lists_its_ten_worst_findings_and_counts_the_others() {
    let world = World::new().await;
    let mut scan = ScanResult::enhanced(&[]);
    for at in 0..25 {
        let id = format!("CVE-2026-{at:04}");
        scan = scan.with(Finding::new(&id, "CRITICAL").in_package("openssl", "3.0.0"));
    }
    world.image(&["1.0"], scan);
    let document = world.run(&["plan", "--format", "json"], "").await.json();
    let image = &document["images"][0];
    assert_eq!(image["findings"].as_array().map(Vec::len), Some(10));
    assert_eq!((&image["more_findings"], &image["counts"]), (&json!(15), &json!({"critical": 25})));
}

#[tokio::test]
async fn uncovered_images_are_counted_and_only_listed_on_request() {
    let filled = Filled::new().await;
    let shown = filled.plan(&[]).await;
    let line = "\n+ 2 images that no scan covers (team/app 2)   --all lists them\n";
    assert!(shown.stdout.contains(line), "{shown:?}");
    assert!(!shown.stdout.contains("0.9"), "{shown:?}");
    let shown = filled.plan(&["--all"]).await;
    assert!(shown.stdout.contains("ECR's scan status is UNSUPPORTED_IMAGE"), "{shown:?}");
    assert!(shown.stdout.contains("\n+ 2 images that no scan covers (team/app 2)\n"), "{shown:?}");
}

#[tokio::test]
async fn csv_has_a_row_for_each_image_and_no_formulas() {
    let world = World::new().await;
    let finding = Finding::new("=HYPERLINK(\"http://x\")", "CRITICAL").in_package("a,\"b\"", "1");
    world.image(&["1.0", "latest"], ScanResult::enhanced(&[]).with(finding));
    world.image(&["1.1"], clean());
    let shown = world.run(&["plan", "--format", "csv", "--all"], "").await;
    assert_eq!(shown.code, 3, "{shown:?}");
    let mut rows = csv::Reader::from_reader(shown.stdout.as_bytes());
    let header = rows.headers().expect("a header").clone();
    let rows: Vec<_> = rows.records().map(|row| row.expect("a row")).collect();
    assert_eq!(rows.len(), 2, "{shown:?}");
    let cell = |name: &str| {
        let at = header.iter().position(|column| column == name).expect("a column");
        rows[0][at].to_owned()
    };
    assert_eq!(cell("tags"), "1.0 latest");
    assert_eq!((cell("verdict"), cell("critical")), ("untag".to_owned(), "1".to_owned()));
    assert_eq!(cell("worst_package"), "a,\"b\"");
    assert_eq!(cell("worst_finding"), "'=HYPERLINK(\"http://x\")");
}

#[tokio::test]
async fn page_shows_the_plan() {
    let filled = Filled::new().await;
    let (page, file) = (filled.file("plan.html"), filled.file("plan.json"));
    let shown = filled.plan(&["--html", &page, "--out", &file]).await;
    assert_eq!(shown.code, 3, "{shown:?}");
    let page = std::fs::read_to_string(&page).expect("a page");
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"), "{page}");
    for text in ["111122223333", "team/other", "CVE-2026-CRITICAL-0001", "openssl", "latest"] {
        assert!(page.contains(text), "{text} {page}");
    }
    assert_eq!(filled.files(), ["plan.html", "plan.json"]);
}

#[tokio::test]
async fn plan_is_made_in_any_mode_and_says_the_same() {
    let mut filled = Filled::with(
        "[[policy.rules]]\nname = 'trial'\nrepositories = ['*/other']\nmode = 'audit'",
    )
    .await;
    let mut plans = Vec::new();
    for mode in ["enforce", "audit"] {
        filled.set("TAGWARDEN__POLICY__MODE", mode);
        let mut document = settled(&filled.plan(&["--format", "json"]).await);
        assert_eq!(document["policy"]["mode"].take(), mode);
        plans.push(document);
    }
    assert_eq!(plans[0], plans[1]);
    // A rule with a mode of its own keeps it.
    let verdicts = verdicts(&plans[0]);
    assert_eq!(verdicts[1..], [("team/app", "2.0", "untag"), ("team/other", "1.0", "would_untag")]);
    let shown = filled.plan(&[]).await;
    assert!(shown.stdout.contains("\nPlan: 2 images, 3 tags in 1 repository."), "{shown:?}");
    let shown = filled.plan(&["--repository", "*/other"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.ends_with("\nPlan: no tags to remove. Nothing was changed.\n"));
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
}

#[tokio::test]
async fn images_with_replicated_removals_are_counted_as_blocked() {
    for (config, blocked) in [("", 2), ("policy.replicated = 'follow'", 0)] {
        let filled = Filled::with(config).await;
        let rule = ReplicationRule::to(&[(ACCOUNT, "us-east-1")]).prefix("team/app").deletes(true);
        let at_once = std::time::Duration::ZERO;
        filled.world.sim.set_replication(ACCOUNT, REGION, vec![rule], at_once..=at_once);
        let document = filled.plan(&["--format", "json"]).await.json();
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
    let file = filled.file("plan.json");
    let shown = filled.plan(&["--out", &file]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let line = shown.stdout.lines().find(|line| line.starts_with("team/app "));
    let said = |line: &str| line.contains("failed") && line.contains("AccessDenied");
    assert!(line.is_some_and(said), "{shown:?}");
    assert!(shown.stdout.contains("\nteam/other "), "{shown:?}");
    assert!(shown.stdout.contains("\n1 repository or registry could not be inspected\n"));
    assert!(shown.stdout.contains("\nPlan: 1 image, 1 tag in 1 repository."), "{shown:?}");
    // What was found can be applied.
    assert_eq!(filled.apply(&file, &[]).await.code, 0);
    assert_eq!(filled.pulled()[1], [] as [&str; 0]);
    assert!(filled.tags()[0].contains_key("latest"));
}

#[tokio::test]
async fn every_account_and_region_of_the_policy_is_inspected_page_by_page() {
    let filled = Filled::with(
        "[policy]
        accounts = ['111122223333', '444455556666', '777788889999']
        regions = ['eu-west-1', 'us-east-1']
        [aws]
        assume_role = 'arn:aws:iam::{account}:role/tagwarden'
        [sweep]
        calls_per_second = 1000",
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
    let file = filled.file("plan.json");
    let shown = filled.plan(&["--format", "json", "--out", &file]).await;
    let document = shown.json();
    assert_eq!((shown.code, &document["complete"]), (1, &json!(true)), "{document:#}");
    let there: Vec<_> = document["images"]
        .as_array()
        .expect("images")
        .iter()
        .filter(|image| image["region"] == "us-east-1")
        .map(|image| (image["account"].as_str(), image["verdict"].as_str()))
        .collect();
    assert_eq!(there, [(Some("444455556666"), Some("untag"))]);
    let census = &document["totals"]["census"];
    assert_eq!((&census["clean"], &census["archived"]), (&json!(251), &json!(1)));
    assert_eq!(document["registries"].as_array().map(Vec::len), Some(6));
    let failed = document["failed"].as_array().expect("failed");
    assert_eq!(failed.len(), 2, "both Regions of the refusing account: {failed:?}");
    assert!(failed.iter().all(|one| one["repository"].is_null()), "{failed:?}");
    let pages = sim.calls_of("DescribeImages").into_iter();
    assert_eq!(pages.filter(|call| call.account == "444455556666").count(), 3);
    let one = filled.plan(&["--format", "json", "--region", "us-east-1"]).await.json();
    assert_eq!(one["registries"].as_array().map(Vec::len), Some(3));
    let shown = filled.plan(&["--region", "ap-south-1"]).await;
    assert!(shown.complaint(2).contains("is not in policy.regions"), "{shown:?}");
    let shown = filled.apply(&file, &[]).await;
    let line = shown
        .stdout
        .lines()
        .find(|line| line.contains("/us-east-1/team/app  ") && line.contains(" 1.0 "));
    assert!(line.is_some_and(|line| line.contains("quarantined")), "{shown:?}");
    assert!(shown.stderr.contains("places  111122223333 eu-west-1, 444455556666 us-east-1"));
    let quarantine = bad.replace("sha256:", "quarantine-");
    assert_eq!(sim.tags(&far, &bad).expect("an image"), [quarantine]);
}

#[tokio::test]
async fn registries_are_inspected_side_by_side() {
    let regions: Vec<_> = (1..=4).map(|number| format!("eu-west-{number}")).collect();
    let world = World::with(&format!("policy.regions = {regions:?}")).await;
    for region in &regions {
        let repository = world.sim.create_repository_in(ACCOUNT, region, "team/app");
        let digest = world.sim.push_image(&repository, &["1.0"], region);
        world.sim.set_findings(&repository, &digest, critical());
    }
    // Each registry waits for an answer until all four have asked.
    let asked = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
    let to_ask = Arc::clone(&asked);
    let early = FaultRule::on("DescribeRepositories").matching(move |call| {
        let mut asked = to_ask.lock().expect("no panic");
        asked.insert(call.region.clone());
        asked.len() < 4
    });
    world.sim.set_faults(early.error("ThrottlingException"));
    let shown = world.run(&["plan", "--format", "json"], "").await;
    assert_eq!(shown.code, 3, "{shown:?}");
    assert_eq!(verdicts(&shown.json()).len(), 4);
}

#[tokio::test]
async fn plan_says_that_there_is_nothing_to_do() {
    let world = World::new().await;
    world.image(&["1.0"], clean());
    let shown = world.run(&["plan"], "").await;
    let last = "\n1 image: 1 clean\nPlan: no tags to remove. Nothing was changed.\n";
    assert!(shown.code == 0 && shown.stdout.ends_with(last), "{shown:?}");
    let dark = world.sim.push_image(&world.repository, &[], "dark");
    world.sim.push_index(&world.repository, &["multi"], &[(dark.as_str(), "linux/amd64")]);
    world.sim.push_image(&world.repository, &["never"], "never");
    world.image(&["failed"], ScanResult::status("FAILED"));
    world.image(&["pending"], ScanResult::status("PENDING"));
    let shown = world.run(&["plan"], "").await;
    let last = "\n+ 3 images that no scan covers (team/app 3)   --all lists them\n\n\
                5 images: 1 clean, 1 index only, 1 never scanned, 1 scan failed, 1 scanning\n\
                Plan: no tags to remove. Nothing was changed.\n";
    assert!(shown.code == 0 && shown.stdout.ends_with(last), "{shown:?}");
}

#[tokio::test]
async fn finding_texts_reach_the_terminal_as_plain_text() {
    let world = World::new().await;
    let finding = Finding::new("CVE\u{1b}[2J\nb \u{202e}c", "CRITICAL");
    world.image(&["1.0"], ScanResult::enhanced(&[]).with(finding));
    for format in ["text", "json", "csv"] {
        let shown = world.run(&["plan", "--format", format], "").await;
        assert_eq!(shown.code, 3, "{shown:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.stdout.contains(acts), "{shown:?}");
        assert!(!shown.stdout.lines().any(|line| line.starts_with("b ")), "{shown:?}");
    }
}

#[tokio::test]
async fn interrupted_or_failed_plan_leaves_the_saved_one_alone() {
    let filled = Filled::new().await;
    let world = &filled.world;
    let file = filled.file("plan.json");
    let page = filled.file("plan.html");
    std::fs::write(&file, "an older plan").expect("a file");
    for format in ["text", "json"] {
        let process = Arc::new(Mutex::new(None));
        let to_stop = Arc::clone(&process);
        let stop = FaultRule::on("DescribeImageScanFindings").matching(move |_| {
            let pid: Option<Pid> = to_stop.lock().expect("no panic").take();
            pid.is_some_and(|pid| kill_process(pid, Signal::INT).is_err())
        });
        world.sim.set_faults(stop);
        let ended = {
            let mut process = process.lock().expect("no panic");
            let arguments = ["plan", "--out", &file, "--html", &page, "--format", format];
            let child = tagwarden(&arguments, &world.variables).spawn();
            let child = child.expect("the binary can be started");
            *process = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            child.wait_with_output()
        };
        let ended = within_deadline("the end of a plan", ended).await.expect("an end");
        let shown = String::from_utf8(ended.stdout).expect("UTF-8");
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        assert_eq!(ended.status.code(), Some(1), "{shown} {said}");
        assert!(said.contains("interrupted; no plan was saved"), "{shown} {said}");
        match format {
            "text" => {
                assert!(shown.contains("Interrupted: this is what was found so far."), "{shown}");
                assert!(!shown.contains("Plan:"), "{shown}");
            }
            _ => assert!(shown.contains("\"complete\": false"), "{shown}"),
        }
    }
    world.sim.set_faults(FaultRule::on("DescribeRepositories").error("ExpiredTokenException"));
    let shown = filled.plan(&["--out", &file]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    world.sim.set_faults(FaultRule::on("GetCallerIdentity").error("ExpiredTokenException"));
    let shown = filled.plan(&["--out", &file]).await;
    assert_eq!((shown.code, shown.stdout.as_str()), (1, ""), "{shown:?}");
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "an older plan");
    assert_eq!(filled.files(), ["plan.json"], "no temporary file is left");
}

#[tokio::test]
async fn unusable_command_line_is_refused_before_any_call() {
    let filled = Filled::new().await;
    let shown = filled.plan(&["--repository", "[", "--format", "json"]).await;
    assert!(shown.complaint(2).contains("--repository"), "{shown:?}");
    let shown = filled.plan(&["--out", "/nonexistent/plan.json"]).await;
    assert!(shown.complaint(2).contains("/nonexistent/plan.json cannot be written"), "{shown:?}");
    assert_eq!(filled.world.sim.calls().len(), 0);
}

#[tokio::test]
async fn queue_of_another_account_is_pointed_out() {
    let mut filled = Filled::new().await;
    let queue = "https://sqs.eu-west-1.amazonaws.com/999988887777/tagwarden";
    filled.set("TAGWARDEN__QUEUE__URL", queue);
    let shown = filled.plan(&[]).await;
    assert_eq!(shown.code, 3, "{shown:?}");
    assert!(shown.stderr.contains("queue.url names account 999988887777"), "{shown:?}");
    assert!(shown.stdout.contains("registry   111122223333 eu-west-1"), "{shown:?}");
}
