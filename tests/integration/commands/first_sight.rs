//! What a person sees who meets the commands for the first time, or who holds them wrongly.

use tagwarden::domain::record::Record;

use super::filled::Filled;
use super::operator::Quarantine;
use super::quarantine::{a_minute_passes, night, removal, vulnerable};
use super::support::World;
use super::terminal::interrupted_at_the_question;

#[tokio::test]
async fn explanation_begins_with_the_source_of_the_policy() {
    let mut world = World::new().await;
    world.image(&["1.0"], vulnerable());
    let explain = ["explain", "team/app:1.0"];
    let shown = world.run(&explain, "").await;
    let default = "policy     the default policy; the worker's may differ\nverdict ";
    assert!(shown.stdout.starts_with(default), "{shown:?}");
    let text = "policy.max_findings.critical = 'unlimited'".to_owned();
    world.variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), text);
    let shown = world.run(&explain, "").await;
    let source = "policy     TAGWARDEN_CONFIG_TEXT (sha256 ";
    assert!(shown.stdout.starts_with(source), "{shown:?}");
    let document = world.run(&["explain", "team/app:1.0", "--format", "json"], "").await.json();
    let source = document["policy_source"].as_str().expect("a source");
    assert!(source.starts_with("TAGWARDEN_CONFIG_TEXT (sha256 "), "{source}");
}

#[tokio::test]
async fn plan_of_an_empty_registry_asks_whether_it_is_the_right_one() {
    let world = World::new().await;
    let doubt = "\nNo repository was read. Is it the right account and Region?\nPlan: no tags ";
    let shown = world.run(&["plan", "--region", "us-east-1"], "").await;
    assert!(shown.code == 0 && shown.stdout.contains(doubt), "{shown:?}");
    let shown = world.run(&["plan"], "").await;
    assert!(!shown.stdout.contains("Is it the right account"), "{shown:?}");
}

#[tokio::test]
async fn image_of_a_repository_that_does_not_exist_is_not_explained() {
    let world = World::new().await;
    let shown = world.run(&["explain", "teem/app:1"], "").await;
    assert_eq!(
        shown.complaint(2),
        "there is no repository teem/app in 111122223333 eu-west-1; is it the right account and \
         Region?; did you mean `team/app`?"
    );
    let shown = world.run(&["explain", "team/app:nope"], "").await;
    assert!(shown.code == 0 && shown.stdout.contains("\nverdict    absent: "), "{shown:?}");
}

#[tokio::test]
async fn protected_tag_of_a_quarantined_image_is_judged_itself() {
    let mut world = night().await;
    let (image, _) = world.quarantined(&world.repository, &["1.0"]);
    world.sim.tag_image(&world.repository, "prod-eu", &image);
    let text = "policy.protected_tags = ['prod-*']".to_owned();
    world.variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), text);
    let shown = world.run(&["explain", "team/app:prod-eu"], "").await;
    let kept =
        "\nverdict    kept: tag prod-eu is protected by \"prod-*\"; the image has lost other";
    assert!(shown.stdout.contains(kept), "{shown:?}");
    let refused = "\ngive back  is refused without a hold or an exception\n";
    assert!(shown.stdout.contains(refused), "{shown:?}");
    assert!(!shown.stdout.contains("give back  tagwarden"), "{shown:?}");
}

#[tokio::test]
async fn other_removals_are_told_in_order_of_time() {
    let world = night().await;
    let (image, _) = world.quarantined(&world.repository, &["1.0"]);
    for tag in ["2.0", "3.0"] {
        a_minute_passes().await;
        world.record(&world.repository, &image, Record::Quarantine(Box::new(removal(&[tag]))));
    }
    let shown = world.run(&["explain", "team/app:1.0"], "").await;
    let also: Vec<_> = shown.stdout.lines().filter(|line| line.starts_with("  also ")).collect();
    assert!(also.len() == 2 && also.is_sorted(), "{also:?}");
    assert!(also[0].contains(": 2.0 (rule ") && also[1].contains(": 3.0 (rule "), "{also:?}");
    assert!(!shown.stdout.contains("\n  before "), "{shown:?}");
}

#[tokio::test]
async fn placeholders_of_an_example_make_no_hold() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    for (reason, owner, name) in [("...", "me", "--reason"), ("prod down", "...", "--owner")] {
        let hold = ["team/app:1.0", "--until", "3d", "--reason", reason, "--owner", owner];
        let shown = quarantine.restore(&hold).await;
        let problem = format!("{name}: has neither a letter nor a digit; ");
        assert!(shown.complaint(2).starts_with(&problem), "{shown:?}");
    }
    assert!(quarantine.requests().is_empty());
}

#[tokio::test]
async fn apply_without_the_key_says_that_nothing_can_be_given_back() {
    let mut filled = Filled::new().await;
    let file = filled.saved().await;
    let warning = "no restore.key here: what this removes can be given back only by hand";
    let shown = filled.world.run(&["apply", &file], "").await;
    assert!(shown.code == 2 && shown.stderr.contains(warning), "{shown:?}");
    filled.set("TAGWARDEN__RESTORE__KEY", super::quarantine::KEY);
    let shown = filled.world.run(&["apply", &file], "").await;
    assert!(shown.code == 2 && !shown.stderr.contains(warning), "{shown:?}");
}

#[tokio::test]
async fn apply_of_nothing_has_nothing_to_do() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("plan.json").to_string_lossy().into_owned();
    world.run(&["plan", "--out", &file], "").await;
    let shown = world.run(&["apply", &file, "--yes"], "").await;
    assert_eq!((shown.code, shown.stdout.as_str()), (0, "nothing to do\n"), "{shown:?}");
}

#[tokio::test]
async fn signal_at_the_question_of_apply_changes_nothing() {
    let filled = Filled::new().await;
    let file = filled.saved().await;
    let arguments = ["apply", file.as_str()];
    let (code, said) = interrupted_at_the_question(&arguments, &filled.world.variables).await;
    let expected = (Some(2), "\nerror: nothing was changed: interrupted\n");
    assert_eq!((code, said.as_str()), expected);
    assert_eq!(filled.world.changes(), [] as [&str; 0]);
}

#[tokio::test]
async fn file_of_another_command_is_named_as_what_it_is() {
    let mut filled = Filled::new().await;
    let plan = filled.saved().await;
    let shown = filled.world.run(&["check", &plan], "").await;
    let said =
        format!("{plan} is a plan, no configuration; to carry it out: tagwarden apply {plan}");
    assert_eq!(shown.complaint(2), said);
    let config = filled.file("a.toml");
    std::fs::write(&config, "[policy]\nmode = 'audit'\n").expect("a file");
    let shown = filled.world.run(&["explain", &config], "").await;
    assert!(
        shown.complaint(2).ends_with("; this is a configuration: `tagwarden check FILE` checks it"),
        "{shown:?}"
    );
    filled.set("TAGWARDEN_CONFIG_TEXT", "policy.mode = 'audit'");
    let shown = filled.world.run(&["check", &config], "").await;
    let said = format!(
        "{config} is given, and TAGWARDEN_CONFIG_TEXT is set; to check {config}: unset \
         TAGWARDEN_CONFIG_TEXT"
    );
    assert_eq!(shown.complaint(2), said);
}

#[tokio::test]
async fn new_configuration_takes_no_empty_value() {
    let filled = Filled::new().await;
    let file = filled.file("new.toml");
    for name in ["--queue-url", "--topic-arn"] {
        let shown = filled.world.run(&["init", &file, name, ""], "").await;
        assert!(shown.complaint(2).starts_with(&format!("{name}: is empty, ")), "{shown:?}");
    }
    assert_eq!(filled.files(), [] as [&str; 0]);
}

#[tokio::test]
async fn empty_region_is_named() {
    let mut world = World::new().await;
    world.variables.insert("AWS_REGION".to_owned(), String::new());
    for command in [&["plan"][..], &["list"], &["explain", "team/app:1.0"]] {
        let shown = world.run(command, "").await;
        assert!(
            shown
                .complaint(2)
                .starts_with("no AWS Region: set AWS_REGION, which is missing or empty")
        );
    }
}
