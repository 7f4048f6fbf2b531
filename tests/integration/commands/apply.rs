//! `tagwarden apply` does what its plan shows, and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sim::FaultRule;
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tagwarden::clock::Clock;

use super::filled::{Filled, clean, critical};
use super::support::{QUEUE, Shown};
use crate::process::{Signal, tagwarden, within_deadline};

/// What became of the images of a plan: first tag to remove, outcome and problem.
fn outcomes(shown: &Shown) -> Vec<(String, String, String)> {
    let document = shown.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let images = document["images"].as_array().expect("images").iter();
    images
        .map(|image| (text(&image["untag"][0]), text(&image["outcome"]), text(&image["problem"])))
        .collect()
}

fn last_line(shown: &Shown) -> &str {
    shown.stdout.lines().last().unwrap_or_default()
}

#[tokio::test]
async fn apply_does_what_the_plan_showed_and_leaves_nothing_to_do() {
    let filled = Filled::new().await;
    let mut expected = filled.tags();
    let file = filled.saved().await;
    let plan: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("a plan")).expect("a document");
    for image in plan["images"].as_array().expect("images") {
        let tags = &mut expected[usize::from(image["repository"] == "team/other")];
        let digest = image["digest"].as_str().expect("a digest");
        for tag in image["untag"].as_array().expect("tags") {
            tags.remove(tag.as_str().expect("a tag"));
            tags.insert(digest.replace("sha256:", "quarantine-"), digest.to_owned());
        }
    }
    let applied = filled.apply(&file, &[]).await;
    assert_eq!((applied.code, last_line(&applied)), (0, "3 done now"), "{applied:?}");
    assert_eq!(filled.tags(), expected);
    let notified = filled.world.sim.notices(&filled.world.topic).len();
    assert_eq!(notified, 3, "the team is notified of each");
    let again = filled.apply(&file, &[]).await;
    assert_eq!((again.code, last_line(&again)), (0, "3 done before, 0 done now"), "{again:?}");
    let again = filled.plan(&[]).await;
    assert_eq!(again.code, 0, "{again:?}");
    assert!(again.stdout.ends_with("\nPlan: no tags to remove. Nothing was changed.\n"));
    assert_eq!(filled.tags(), expected);
    assert_eq!(filled.world.sim.notices(&filled.world.topic).len(), notified);
    assert!(filled.world.sim.queue(QUEUE).messages.is_empty());
}

#[tokio::test]
async fn apply_says_what_it_will_do_before_it_acts() {
    let filled = Filled::with("limits.untags_per_hour = 500").await;
    let file = filled.saved().await;
    let shown = filled.apply(&file, &[]).await;
    let said = format!(
        "3 images, 4 tags, 2 repositories in 111122223333 eu-west-1\n  plan    {file}, made "
    );
    assert!(shown.stderr.starts_with(&said), "{shown:?}");
    assert!(shown.stderr.contains("\n  policy  TAGWARDEN_CONFIG_TEXT (sha256 "), "{shown:?}");
    assert!(shown.stderr.contains("\n  limits  500 tags an hour\n"), "{shown:?}");
}

#[tokio::test]
async fn apply_skips_only_what_changed_since_the_plan() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let world = &filled.world;
    // Somebody moves a tag to another image, and pushes a new bad image.
    world.image(&["latest"], clean());
    world.image(&["3.0"], critical());
    let shown = filled.apply(&file, &["--format", "json"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "3.0", "latest"]);
    assert_eq!(filled.pulled()[1], [] as [&str; 0]);
    let outcomes = outcomes(&shown);
    let words: Vec<_> =
        outcomes.iter().map(|(tag, word, _)| (tag.as_str(), word.as_str())).collect();
    assert_eq!(words, [("1.0", "refused"), ("2.0", "quarantined"), ("1.0", "quarantined")]);
    assert_eq!(outcomes[0].2, "its tags differ from the plan: 1.0");
    // Again: what is done stays done, and what has moved on stays refused.
    let shown = filled.apply(&file, &[]).await;
    let expected = (1, "2 done before, 0 done now, 1 not done");
    assert_eq!((shown.code, last_line(&shown)), expected, "{shown:?}");
}

#[tokio::test]
async fn missing_or_differently_judged_image_is_refused() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let plan = std::fs::read_to_string(&file).expect("a plan");
    let gone = "9".repeat(64);
    let other = filled.file("other.json");
    std::fs::write(&other, plan.replace(&filled.bad["sha256:".len()..], &gone)).expect("a file");
    let shown = filled.apply(&other, &["--format", "json"]).await;
    assert_eq!(outcomes(&shown)[0].2, "the image no longer exists", "{shown:?}");
    assert_eq!(shown.code, 1);
    // A later scan finds nothing bad any more.
    filled.world.sim.set_findings(&filled.world.repository, &filled.bad, clean());
    let shown = filled.apply(&file, &["--format", "json"]).await;
    let problem = "the evaluation differs from the plan: clean none";
    assert_eq!(outcomes(&shown)[0].2, problem, "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "latest"]);
}

#[tokio::test]
async fn edited_plan_removes_no_tag_that_the_policy_keeps() {
    let filled = Filled::with("policy.protected_tags = ['latest']").await;
    let file = filled.saved().await;
    let plan = std::fs::read_to_string(&file).expect("a plan");
    let mut plan: Value = serde_json::from_str(&plan).expect("a document");
    plan["images"][0]["untag"] = json!(["1.0", "latest"]);
    std::fs::write(&file, plan.to_string()).expect("a file");
    let shown = filled.apply(&file, &["--format", "json"]).await;
    let problem = "the evaluation differs from the plan: untag 1.0";
    assert_eq!(outcomes(&shown)[0].2, problem, "{shown:?}");
    assert!(filled.pulled()[0].contains(&"latest".to_owned()));
}

#[tokio::test]
async fn index_missing_from_the_plan_keeps_its_child() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let world = &filled.world;
    world.sim.push_index(&world.repository, &["4.0"], &[(filled.bad.as_str(), "linux/amd64")]);
    let shown = filled.apply(&file, &[]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stdout.contains("is not in the plan, and would lose tags too"), "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "4.0", "latest"]);
}

#[tokio::test]
async fn plan_of_audit_mode_is_applied_after_the_mode_changes() {
    let mut filled = Filled::new().await;
    filled.set("TAGWARDEN__POLICY__MODE", "audit");
    let file = filled.saved().await;
    let shown = filled.apply(&file, &[]).await;
    assert!(shown.complaint(2).contains("policy.mode = \"enforce\""), "{shown:?}");
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
    filled.set("TAGWARDEN__POLICY__MODE", "enforce");
    let shown = filled.apply(&file, &[]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.1"]);
}

#[tokio::test]
async fn repository_in_audit_mode_is_left_alone() {
    let rule = "[[policy.rules]]\nname = 'strict'\nrepositories = ['*/other']\nmode = 'enforce'";
    let mut filled = Filled::with(rule).await;
    let file = filled.saved().await;
    filled.set("TAGWARDEN__POLICY__MODE", "audit");
    let shown = filled.apply(&file, &["--format", "json"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let outcomes = outcomes(&shown);
    assert_eq!(outcomes[0].2, "the mode of base is audit, which changes nothing");
    assert_eq!(outcomes[2].1, "quarantined");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "2.0", "latest"]);
}

#[tokio::test]
async fn images_over_the_limit_are_left_over() {
    let filled = Filled::with("limits.untags_per_hour = 2").await;
    let shown = filled.plan_and_apply().await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stdout.contains("limited"), "{shown:?}");
    assert!(shown.stdout.contains("limits.untags_per_hour of 2 is reached"), "{shown:?}");
    let left: usize = filled.pulled().iter().map(Vec::len).sum();
    assert_eq!(left, 5, "of seven tags four violate, and the limit allows two removals");
}

#[tokio::test]
async fn over_reach_ends_the_work() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    // The registry says that it has removed one tag more than it was asked to.
    let more = FaultRule::on("BatchDeleteImage").replace(|answer| {
        let mut removed = answer["imageIds"][0].clone();
        removed["imageTag"] = json!("one-more");
        answer["imageIds"].as_array_mut().expect("image ids").push(removed);
    });
    filled.world.sim.set_faults(more);
    let shown = filled.apply(&file, &[]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stdout.contains("overreach"), "{shown:?}");
    assert_eq!(last_line(&shown), "stopped: 0 done now, 1 not done, 2 not begun", "{shown:?}");
    let why = "error: stopped: the registry removed more than requested; find the cause before you \
               run it again\n";
    assert!(shown.stderr.ends_with(why), "{shown:?}");
    assert!(!shown.stderr.contains("to go on"), "{shown:?}");
    assert_eq!(filled.pulled()[1], ["1.0"]);
}

#[tokio::test]
async fn signal_ends_the_work_after_the_current_image_and_the_next_run_finishes_it() {
    for signal in [Signal::INT, Signal::TERM] {
        let filled = Filled::new().await;
        let world = &filled.world;
        let (saved, file) = (filled.saved().await, filled.file("my plan.json"));
        std::fs::rename(saved, &file).expect("a file");
        let audit = filled.file("audit.jsonl");
        let process = Arc::new(Mutex::new(None));
        let to_stop = Arc::clone(&process);
        let stop = FaultRule::on("PutImage").matching(move |_| {
            let pid: Option<Pid> = to_stop.lock().expect("no panic").take();
            pid.is_some_and(|pid| kill_process(pid, signal).is_err())
        });
        world.sim.set_faults(stop);
        let ended = {
            let mut process = process.lock().expect("no panic");
            let child =
                tagwarden(&["apply", &file, "--yes", "--audit-log", &audit], &world.variables)
                    .spawn();
            let child = child.expect("the binary can be started");
            *process = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            child.wait_with_output()
        };
        let ended = within_deadline("the end of the work", ended).await.expect("an end");
        let shown = String::from_utf8(ended.stdout).expect("UTF-8");
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        assert_eq!(ended.status.code(), Some(1), "{shown}");
        assert!(shown.ends_with("\ninterrupted: 1 done now, 2 not begun\n"), "{shown}");
        let again = format!("to go on: tagwarden apply '{file}' --audit-log {audit}\n");
        assert!(said.ends_with(&again), "{said}");
        assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "latest"]);
        assert_eq!(world.sim.notices(&world.topic).len(), 1, "the team was notified");
        world.sim.set_faults(FaultRule::on("PutImage").first(0));
        let shown = filled.apply(&file, &[]).await;
        assert_eq!((shown.code, last_line(&shown)), (0, "1 done before, 2 done now"), "{shown:?}");
        assert_eq!(filled.pulled(), [vec!["0.8", "0.9", "1.1"], vec![]]);
    }
}

#[tokio::test]
async fn topic_that_refuses_to_publish_is_found_before_the_first_write() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let tags = filled.tags();
    filled.world.sim.set_faults(FaultRule::on("Publish").error("AuthorizationError"));
    let shown = filled.apply(&file, &[]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let topic = &filled.world.topic;
    let said = format!("error: nothing was changed: sns:Publish is missing on the topic {topic}; ");
    assert!(shown.stderr.contains(&said), "{shown:?}");
    assert_eq!(filled.tags(), tags);
}

#[tokio::test]
async fn topic_that_refuses_after_a_removal_ends_the_work() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    // The permission is taken away after it was tried.
    let refuse = FaultRule::on("Publish").skip(1).error("AuthorizationError");
    filled.world.sim.set_faults(refuse);
    let shown = filled.apply(&file, &["--format", "json"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let outcomes = outcomes(&shown);
    let problem = "tags were removed and nobody was notified; a new run does not repeat the notice";
    assert!(outcomes[1].2.starts_with(problem), "{shown:?}");
    let words = [0, 1, 2].map(|at: usize| outcomes[at].1.as_str());
    assert_eq!(words, ["", "not_told", ""], "the others are not begun: {shown:?}");
    assert_eq!(shown.json()["stopped"], "unnotified", "{shown:?}");
    assert!(shown.stderr.contains("error: stopped: the team could not be notified; "), "{shown:?}");
}

#[tokio::test]
async fn index_that_was_not_handled_keeps_its_child() {
    let filled = Filled::new().await;
    let world = &filled.world;
    let children = [(filled.bad.as_str(), "linux/amd64")];
    let index = world.sim.push_index(&world.repository, &["4.0"], &children);
    let file = filled.saved().await;
    world.sim.tag_image(&world.repository, "4.1", &index);
    let shown = filled.apply(&file, &["--format", "json"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let problem = format!("the index {index} contains it, is in the plan and was not handled");
    assert!(outcomes(&shown).iter().any(|(_, _, why)| *why == problem), "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.0", "1.1", "4.0", "4.1", "latest"]);
}

#[tokio::test]
async fn deletion_that_an_index_prevents_is_not_done() {
    let config = "policy.action = 'delete'\npolicy.protected_tags = ['stable']";
    let filled = Filled::with(config).await;
    let world = &filled.world;
    let children = [(filled.bad.as_str(), "linux/amd64")];
    world.sim.push_index(&world.repository, &["stable"], &children);
    let file = filled.saved().await;
    let problem = "tags removed; the image is kept, because an index holds it";
    for _ in 0..2 {
        let shown = filled.apply(&file, &["--format", "json"]).await;
        assert_eq!(shown.code, 1, "{shown:?}");
        let outcomes = outcomes(&shown);
        let of_bad = outcomes.iter().find(|(tag, ..)| tag == "1.0").expect("the image");
        assert_eq!(of_bad.2, problem, "{shown:?}");
        assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.1", "stable"]);
    }
}

#[tokio::test]
async fn tag_pushed_between_the_comparison_and_the_act_stays() {
    let mut refused_at_the_act = 0;
    // Somebody pushes the tag before one of the calls that read the image, from the call that the
    // comparison makes to the last one before the act.
    for skipped in 4..8 {
        let filled = Filled::new().await;
        let file = filled.saved().await;
        let (repository, bad) = (filled.world.repository.clone(), filled.bad.clone());
        let push = FaultRule::on("DescribeImages")
            .skip(skipped)
            .once()
            .act(move |sim| sim.tag_image(&repository, "new", &bad));
        filled.world.sim.set_faults(push);
        let shown = filled.apply(&file, &["--format", "json"]).await;
        let pulled = &filled.pulled()[0];
        assert!(pulled.contains(&"new".to_owned()), "{skipped}: {shown:?}");
        let outcomes = outcomes(&shown);
        if outcomes[0].2 == "its tags differ from the plan" {
            refused_at_the_act += 1;
            assert_eq!(*pulled, ["0.8", "0.9", "1.0", "1.1", "latest", "new"], "{shown:?}");
            assert_eq!((shown.code, outcomes[0].1.as_str()), (1, "refused"), "{shown:?}");
        }
    }
    assert!(refused_at_the_act > 0);
}

#[tokio::test]
async fn tag_pushed_to_an_index_between_the_comparison_and_the_act_stays() {
    let mut refused_at_the_act = 0;
    for skipped in 4..9 {
        let filled = Filled::with("policy.protected_tags = ['stable']").await;
        let world = &filled.world;
        let children = [(filled.bad.as_str(), "linux/amd64")];
        let index = world.sim.push_index(&world.repository, &["stable"], &children);
        let file = filled.saved().await;
        let (repository, holder) = (world.repository.clone(), index.clone());
        let push = FaultRule::on("DescribeImages")
            .skip(skipped)
            .once()
            .act(move |sim| sim.tag_image(&repository, "new", &holder));
        world.sim.set_faults(push);
        let shown = filled.apply(&file, &["--format", "json"]).await;
        let pulled = &filled.pulled()[0];
        assert!(pulled.contains(&"new".to_owned()), "{skipped}: {shown:?}");
        let problem = format!("the tags of the index {index} differ from the plan");
        if outcomes(&shown).iter().any(|(_, _, why)| *why == problem) {
            refused_at_the_act += 1;
            let all = ["0.8", "0.9", "1.0", "1.1", "latest", "new", "stable"];
            assert_eq!((shown.code, &pulled[..]), (1, &all.map(str::to_owned)[..]), "{shown:?}");
        }
    }
    assert!(refused_at_the_act > 0);
}

#[tokio::test]
async fn second_run_removes_the_tags_that_the_first_left() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let world = &filled.world;
    // An earlier run was killed between two removals: the image is marked, and one tag is gone.
    let mark = filled.bad.replace("sha256:", "quarantine-");
    world.sim.tag_image(&world.repository, &mark, &filled.bad);
    world.sim.untag_image(&world.repository, "1.0");
    let shown = filled.apply(&file, &[]).await;
    assert_eq!((shown.code, last_line(&shown)), (0, "3 done now"), "{shown:?}");
    assert_eq!(filled.pulled()[0], ["0.8", "0.9", "1.1"]);
}

#[tokio::test]
async fn deletions_are_announced_and_done_once() {
    let filled = Filled::with("policy.action = 'delete'").await;
    let file = filled.saved().await;
    let shown = filled.apply(&file, &[]).await;
    assert!(shown.stderr.contains("\n  DELETE  "), "{shown:?}");
    assert_eq!((shown.code, last_line(&shown)), (0, "3 done now"), "{shown:?}");
    let after = filled.tags();
    let again = filled.apply(&file, &[]).await;
    assert_eq!((again.code, last_line(&again)), (0, "3 done before, 0 done now"), "{again:?}");
    assert_eq!(filled.tags(), after);
}

#[tokio::test]
async fn audit_records_go_to_the_file_and_never_between_rows() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let audit = filled.file("audit.jsonl");
    std::fs::write(&audit, "{\"an\": \"older line\"}\n").expect("a file");
    let shown = filled.apply(&file, &["--audit-log", &audit]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(!shown.stderr.contains("audit: plan "), "{shown:?}");
    let lines = std::fs::read_to_string(&audit).expect("a file");
    let lines: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[0]["an"], "older line");
    let plans = lines[1..].iter().filter(|line| line["message"] == "plan").count();
    assert_eq!(plans, 3, "{lines:#?}");
    assert!(lines[1..].iter().all(|line| line["target"] == "tagwarden::audit"), "{lines:#?}");

    let filled = Filled::new().await;
    let shown = filled.plan_and_apply().await;
    assert!(shown.stderr.contains("audit: plan "), "{shown:?}");
    assert!(!shown.stdout.contains("audit: "), "{shown:?}");
}

#[tokio::test]
async fn plan_of_other_circumstances_is_refused_by_name_before_any_write() {
    let mut filled = Filled::new().await;
    let file = filled.saved().await;
    let plan: Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("a plan")).expect("a document");
    let at = |offset: i64| {
        let now = Clock::of_this_machine().now();
        let offset_by = Duration::from_secs(offset.unsigned_abs());
        let at = if offset < 0 { now - offset_by } else { now + offset_by };
        json!(humantime::format_rfc3339_seconds(at).to_string())
    };
    for (key, value, expected) in [
        ("made_at", at(-25 * 3600), "ago, and a plan is applied within 24h"),
        ("made_at", at(360), "from now: one of the clocks is wrong"),
        ("made_at", json!("yesterday"), "\"yesterday\" is not a time"),
        ("complete", json!(false), "is incomplete"),
        ("account", json!("444455556666"), "is of 444455556666 eu-west-1, and you are in"),
        ("region", json!("us-east-1"), "is of 111122223333 us-east-1, and you are in"),
        ("schema", json!("tagwarden.plan/2"), "is no plan: its schema is"),
    ] {
        let mut changed = plan.clone();
        changed[key] = value;
        std::fs::write(&file, changed.to_string()).expect("a file");
        let shown = filled.apply(&file, &[]).await;
        let complaint = shown.complaint(2);
        assert!(complaint.contains(expected) && complaint.contains(&file), "{shown:?}");
    }
    // Time within the bounds is no reason.
    for offset in [-23 * 3600, 240] {
        let mut changed = plan.clone();
        changed["made_at"] = at(offset);
        changed["images"] = json!([]);
        std::fs::write(&file, changed.to_string()).expect("a file");
        assert_eq!(filled.apply(&file, &[]).await.code, 0);
    }
    std::fs::write(&file, plan.to_string()).expect("a file");
    filled.set("TAGWARDEN__POLICY__KEEP_AT_LEAST", "1");
    let shown = filled.apply(&file, &[]).await;
    let made_by = &plan["policy"]["fingerprint"].as_str().expect("a fingerprint")[..12];
    let complaint = shown.complaint(2);
    assert!(complaint.contains(&format!("another policy: sha256 {made_by} (defaults)")));
    assert!(complaint.contains("defaults and TAGWARDEN__POLICY__KEEP_AT_LEAST is sha256 "));
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
}

#[tokio::test]
async fn plan_names_its_region_if_nothing_else_does() {
    let mut filled = Filled::new().await;
    let file = filled.saved().await;
    filled.world.variables.remove("AWS_REGION");
    let shown = filled.apply(&file, &[]).await;
    assert_eq!((shown.code, last_line(&shown)), (0, "3 done now"), "{shown:?}");
}

#[tokio::test]
async fn malformed_plan_is_refused_in_one_line() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let plan = std::fs::read_to_string(&file).expect("a plan");
    for (text, expected) in [
        ("{}".to_owned(), "is no plan: missing field"),
        (String::new(), "is empty"),
        (plan.replace("team/other", "Team"), "is not an ECR repository name"),
    ] {
        std::fs::write(&file, text).expect("a file");
        let shown = filled.apply(&file, &[]).await;
        assert!(shown.complaint(2).contains(expected), "{shown:?}");
    }
    let shown = filled.apply("/nonexistent", &[]).await;
    assert!(shown.complaint(2).contains("cannot be read"), "{shown:?}");
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
}
