//! A watched configuration file: which changes are used, when, and which are refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_sim::{FaultRule, ScanResult, SimConfig};
use serde_json::{Value, json};
use tagwarden::app::App;
use tagwarden::shutdown::Shutdown;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::support::{World, basic, quarantine};

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a changed file to be used or refused.
const A_WHILE: Duration = Duration::from_secs(8);

/// A configuration file in a folder of its own.
struct ConfigFile {
    _folder: TempDir,
    path: PathBuf,
}

impl ConfigFile {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tagwarden.toml");
        fs::write(&path, text).unwrap();
        Self { _folder: folder, path }
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).unwrap();
    }

    /// Puts a new file in the place of the old one.
    fn replace(&self, text: &str) {
        let new = self.path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.path).unwrap();
    }
}

/// A whole file with this in it.
fn whole(toml: &str) -> String {
    format!("{toml}\n# end\n")
}

/// A policy that allows this many critical findings.
fn allowing(critical: usize) -> String {
    whole(&format!("[policy.max_findings]\ncritical = {critical}"))
}

fn metric(app: &App, sample: &str) -> String {
    let metrics = app.instruments().render().unwrap();
    let found = metrics.lines().find_map(|line| line.strip_prefix(sample));
    found.expect(sample).trim().to_owned()
}

/// The fingerprint of the policy in use.
fn in_use(app: &App) -> String {
    let text = metric(app, "tagwarden_policy_info{fingerprint=\"");
    text.strip_suffix("\"} 1").unwrap().to_owned()
}

fn is_refused(app: &App) -> bool {
    metric(app, "tagwarden_config_refused ") == "1"
}

/// The notices that a configuration file is refused.
fn refusals(world: &World) -> Vec<Value> {
    let is_one = |notice: &Value| notice["schema"] == "tagwarden.config/1";
    world.notices().into_iter().filter(is_one).collect()
}

fn one_critical() -> ScanResult {
    ScanResult::basic(&[("CRITICAL", 1)])
}

/// Pushes an image with a critical finding, and returns whether the worker removes its tag.
async fn loses_tag(world: &World, tag: &str) -> bool {
    let digest = world.image(&[tag], one_critical());
    world.scanned(&digest);
    world.done().await;
    world.tags(&digest) == [quarantine(&digest)]
}

/// Runs a worker that watches the file while `test` runs.
async fn run(world: &World, app: &App, test: impl Future<Output = ()>) {
    world.work(app, &Shutdown::default(), test).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn changed_file_is_used_once_it_was_the_same_for_five_seconds() {
    let (world, file) = (World::new(), ConfigFile::new(&allowing(1)));
    let app = world.app_watching(&file.path);
    let before = in_use(&app);
    let test = async {
        assert!(!loses_tag(&world, "1.0").await);
        file.replace(&allowing(0));
        let changed = Instant::now();
        sleep(Duration::from_millis(4_900)).await;
        assert_eq!(in_use(&app), before);
        sleep(changed + 7 * SECOND - Instant::now()).await;
        assert_ne!(in_use(&app), before);
        assert!(loses_tag(&world, "2.0").await);
        assert_eq!(world.notice()["policy"], in_use(&app));
    };
    run(&world, &app, test).await;
    assert_eq!(metric(&app, "tagwarden_config_changes_total{outcome=\"used\"} "), "1");
    assert!(!is_refused(&app));
}

#[tokio::test(start_paused = true)]
async fn file_that_goes_on_changing_is_not_used_before_it_rests() {
    let (world, file) = (World::new(), ConfigFile::new(&allowing(9)));
    let app = world.app_watching(&file.path);
    let before = in_use(&app);
    let test = async {
        for round in 0..10 {
            file.write(&allowing(round % 3));
            sleep(4 * SECOND).await;
            assert_eq!(in_use(&app), before, "{round}");
        }
        sleep(A_WHILE).await;
        assert_ne!(in_use(&app), before);
    };
    run(&world, &app, test).await;
}

#[tokio::test(start_paused = true)]
async fn switched_link_of_a_mounted_volume_is_a_change() {
    let (world, file) = (World::new(), ConfigFile::new(&allowing(1)));
    let folder = file.path.parent().unwrap();
    // As a ConfigMap is mounted: the file is a link through a link to a folder.
    for (version, critical) in [("v1", 1), ("v2", 0)] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("tagwarden.toml"), allowing(critical)).unwrap();
    }
    let link = |to: &str| {
        let new = folder.join("data_tmp");
        std::os::unix::fs::symlink(to, &new).unwrap();
        fs::rename(new, folder.join("data")).unwrap();
    };
    link("v1");
    fs::remove_file(&file.path).unwrap();
    std::os::unix::fs::symlink("data/tagwarden.toml", &file.path).unwrap();
    let app = world.app_watching(&file.path);
    let before = in_use(&app);
    let test = async {
        link("v2");
        sleep(A_WHILE).await;
        assert_ne!(in_use(&app), before);
        assert!(loses_tag(&world, "1.0").await);
    };
    run(&world, &app, test).await;
}

/// A file that has something of every kind that may change.
fn sample() -> String {
    let exception = |number| {
        format!(
            "[[policy.exceptions]]\nid = \"CVE-2026-000{number}\"\nreason = \"a test\"\n\
             owner = \"tests\"\nexpires = \"2026-12-31\"\n"
        )
    };
    let exceptions: String = (1..4).map(exception).collect();
    whole(&format!(
        "[limits]\nuntags_per_hour = 100\n\n[policy]\nprotected_tags = [\n  \"prod-*\",\n  \
         \"live\",\n]\n\n[policy.max_findings]\nhigh = 3\n\n[[policy.rules]]\n\
         repositories = [\"legacy/*\"]\nmax_findings = {{ critical = 5 }}\n\n{exceptions}"
    ))
}

#[tokio::test(start_paused = true)]
async fn file_that_is_cut_at_any_line_is_refused() {
    let (world, file) = (World::new(), ConfigFile::new(&sample()));
    let app = world.app_watching(&file.path);
    let before = in_use(&app);
    let text = sample();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    let test = async {
        for kept in 0..lines.len() {
            file.write(&lines[..kept].concat());
            sleep(A_WHILE).await;
            assert_eq!(in_use(&app), before, "{kept} lines");
            assert!(is_refused(&app), "{kept} lines");
        }
        file.write(&text);
        sleep(A_WHILE).await;
        assert!(!is_refused(&app));
    };
    run(&world, &app, test).await;
    let wholly_cut = "the watched configuration file does not end with the line `# end`";
    let cut = refusals(&world).into_iter().filter(|notice| {
        notice["problems"]
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it.as_str().unwrap().starts_with(wholly_cut))
    });
    // The others are no TOML.
    assert!(cut.count() > 10);
}

#[tokio::test(start_paused = true)]
async fn file_that_cannot_be_used_changes_nothing_and_is_reported_once() {
    let (world, file) = (World::new(), ConfigFile::new(&allowing(0)));
    let app = world.app_watching(&file.path);
    let before = in_use(&app);
    let too_large = format!("# {}\n{}", "x".repeat(1 << 20), allowing(1));
    let contents = [
        ("", "does not end with the line"),
        ("[policy\n# end\n", "is not valid TOML"),
        ("policy.mod = \"audit\"\n# end\n", "no such key"),
        ("policy.max_findings.critical = -1\n# end\n", "policy.max_findings.critical"),
        ("# end\n[policy.max_findings]\ncritical = 9\n# end\n", "before its end"),
        (too_large.as_str(), "exceeds 1 MiB"),
        ("\u{feff}\u{0}", "is not valid TOML"),
    ];
    let test = async {
        for (number, (content, why)) in contents.into_iter().enumerate() {
            file.write(content);
            sleep(60 * SECOND).await;
            let refusals = refusals(&world);
            assert_eq!(refusals.len(), number + 1, "{content:.40} {refusals:#?}");
            let refusal = &refusals[number];
            let problems = refusal["problems"].to_string();
            assert!(problems.contains(why), "{content:.40}: {problems}");
            assert_eq!(refusal["policy"], before);
            assert!(is_refused(&app));
        }
        fs::remove_file(&file.path).unwrap();
        sleep(60 * SECOND).await;
        let last = refusals(&world).pop().unwrap();
        assert!(last["problems"].to_string().contains("cannot be read"), "{last:#}");
        assert_eq!(refusals(&world).len(), contents.len() + 1);
        assert_eq!(in_use(&app), before);
        assert!(loses_tag(&world, "1.0").await);

        file.write(&allowing(1));
        sleep(A_WHILE).await;
        assert_ne!(in_use(&app), before);
        assert!(!is_refused(&app));
        assert!(!loses_tag(&world, "2.0").await);
    };
    run(&world, &app, test).await;
}

#[tokio::test(start_paused = true)]
async fn notice_of_a_refusal_is_repeated_until_the_topic_accepts_it() {
    let (world, file) = (World::new(), ConfigFile::new(&allowing(0)));
    let app = world.app_watching(&file.path);
    let test = async {
        world.sim.set_faults(FaultRule::on("Publish").error("AuthorizationError"));
        file.write("");
        sleep(60 * SECOND).await;
        assert_eq!(refusals(&world).len(), 0);
        world.sim.clear_faults();
        sleep(120 * SECOND).await;
        assert_eq!(refusals(&world).len(), 1);
    };
    run(&world, &app, test).await;
}

#[tokio::test(start_paused = true)]
async fn what_needs_a_deployment_is_refused_as_a_whole_and_by_name() {
    const BASE: &str = "policy.mode = \"enforce\"\nlimits.untags_per_hour = 100\n\
                        limits.tasks = 2\n";
    const RULES: &str = "[[policy.rules]]\nrepositories = [\"a/*\"]\nmode = \"audit\"\n\
                         [[policy.rules]]\nrepositories = [\"b/*\"]\nexploit_only = true\n";
    let replaced = |from: &str, to: &str| format!("{BASE}{RULES}").replace(from, to);
    let added = |line: &str| format!("{line}\n{BASE}{RULES}");
    let files = [
        (replaced("enforce", "audit"), "policy.mode"),
        (added("policy.action = \"delete\""), "policy.action"),
        (added("policy.replicated = \"follow\""), "policy.replicated"),
        (added("policy.accounts = [\"111122223333\", \"444455556666\"]"), "policy.accounts"),
        (added("policy.regions = [\"eu-west-1\"]"), "policy.regions"),
        (added("policy.repositories.include = [\"*\"]"), "policy.repositories.include"),
        (added("policy.repositories.exclude = [\"x\"]"), "policy.repositories.exclude"),
        (replaced("a/*", "*"), "policy.rules[0]"),
        (replaced("mode = \"audit\"\n[", "["), "policy.rules[0]"),
        (replaced("exploit_only = true", "action = \"delete\""), "policy.rules[1]"),
        (replaced("= 100", "= 101"), "limits.untags_per_hour"),
        (replaced("= 100", "= \"unlimited\""), "limits.untags_per_hour"),
        (replaced("tasks = 2", "tasks = 1"), "limits.tasks"),
        (added("queue.max_in_flight = 8"), "queue.max_in_flight"),
        (added("notify.contact = \"#other\""), "notify.contact"),
        (added("restore.max_hold = \"3d\""), "restore.max_hold"),
        (added("watch = true"), "shutdown.grace"),
    ];
    let file = ConfigFile::new(&whole(&format!("{BASE}{RULES}")));
    let world = World::new();
    let app = world.app_watching(&file.path);
    let before = in_use(&app);
    let test = async {
        for (number, (text, key)) in files.iter().enumerate() {
            // The change that is allowed is refused with the other.
            let text = match *key {
                "shutdown.grace" => format!("shutdown.grace = \"30s\"\n{text}"),
                _ => format!("policy.protected_tags = [\"kept\"]\n{text}"),
            };
            file.write(&whole(&text));
            sleep(A_WHILE).await;
            let all = refusals(&world);
            assert_eq!(all.len(), number + 1, "{text}");
            let problems = all[number]["problems"].as_array().unwrap();
            let named = format!("{key}: ");
            assert!(problems[0].as_str().unwrap().starts_with(&named), "{key} {problems:?}");
            assert!(problems[0].as_str().unwrap().ends_with("a new deployment is needed"));
            assert_eq!((problems.len(), in_use(&app)), (1, before.clone()), "{problems:?}");
        }
        // What comes after the last rule with its own mode is free.
        file.write(&whole(&replaced("b/*", "c/*")));
        sleep(A_WHILE).await;
        assert_ne!(in_use(&app), before);
        assert!(!is_refused(&app));
    };
    run(&world, &app, test).await;
}

#[tokio::test(start_paused = true)]
async fn limits_become_tighter_and_not_wider_again() {
    let limit = |untags: usize| whole(&format!("limits.untags_per_hour = {untags}"));
    let (world, file) = (World::new(), ConfigFile::new(&limit(3)));
    let app = world.app_watching(&file.path);
    let test = async {
        assert!(loses_tag(&world, "1.0").await);
        file.write(&limit(1));
        sleep(A_WHILE).await;
        assert!(!is_refused(&app));
        let digest = world.image(&["2.0"], one_critical());
        world.scanned(&digest);
        world.sim.wait_until(|_| world.notices().len() == 2).await;
        assert!(world.notices()[1].to_string().contains("untags_per_hour of 1 is reached"));
        file.write(&limit(3));
        sleep(A_WHILE).await;
        assert!(is_refused(&app));
        assert_eq!(world.tags(&digest), ["2.0"]);
    };
    run(&world, &app, test).await;
}

#[tokio::test(start_paused = true)]
async fn topics_of_a_changed_file_receive_the_next_notices() {
    let world = World::new();
    let arn = world.sim.create_topic("second");
    let file = ConfigFile::new(&whole(""));
    let app = world.app_watching(&file.path);
    let topic = format!("arn = \"{arn}\"\nrepositories = [\"team/*\"]");
    let test = async {
        assert!(loses_tag(&world, "1.0").await);
        file.write(&whole(&format!("[[notify.topics]]\n{topic}")));
        sleep(A_WHILE).await;
        assert!(loses_tag(&world, "2.0").await);
        file.write(&whole(""));
        sleep(A_WHILE).await;
        assert!(loses_tag(&world, "3.0").await);
    };
    run(&world, &app, test).await;
    assert_eq!(world.notices().len(), 3);
    let second = world.notices_of(&arn);
    assert_eq!(second.len(), 1);
    assert_eq!(second[0]["tags"]["untagged"], json!(["2.0"]));
}

/// A policy that is recognized by the name of its rule, by its limit and by the tag that it keeps.
fn named(name: &str, limit: usize) -> String {
    whole(&format!(
        "[[policy.rules]]\nname = \"{name}\"\nrepositories = [\"team/*\"]\n\
         max_findings = {{ critical = {limit} }}\nprotected_tags = [\"{name}-*\"]"
    ))
}

/// Checks that one policy alone made a notice: its rule, its limit, its protected tags and its
/// fingerprint.
fn is_of_one_policy(notice: &Value, fingerprints: &[(&str, usize, String)]) {
    let rule = notice["rule"].as_str().unwrap();
    let (name, limit, fingerprint) = fingerprints.iter().find(|(name, ..)| *name == rule).unwrap();
    assert_eq!(notice["policy"], *fingerprint, "{notice:#}");
    assert_eq!(notice["exceeded"][0]["limit"], *limit, "{notice:#}");
    let kept = notice["tags"]["kept"].as_array().unwrap();
    assert_eq!(kept.len(), 1, "{notice:#}");
    assert!(kept[0].as_str().unwrap().starts_with(&format!("{name}-")), "{notice:#}");
    assert_eq!(notice["tags"]["untagged"].as_array().unwrap().len(), 2, "{notice:#}");
}

/// Pushes an image of which each policy keeps another tag, and sends its event.
fn send_one(world: &World, number: usize) -> String {
    let tags = [format!("x-{number}"), format!("a-{number}"), format!("b-{number}")];
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let digest = world.image(&tags, ScanResult::basic(&[("CRITICAL", 3)]));
    let mut event = basic(&digest, &[], &Value::Null);
    event["id"] = json!(format!("event-{number}"));
    world.send(&event);
    digest
}

#[tokio::test(start_paused = true)]
async fn message_under_way_ends_by_the_policy_with_which_it_began() {
    for operation in ["DescribeImages", "DescribeImageScanFindings", "PutImage", "BatchDeleteImage"]
    {
        let (world, file) = (World::new(), ConfigFile::new(&named("a", 1)));
        let app = world.app_watching(&file.path);
        let first = in_use(&app);
        // The call begins under the old policy, and its answer comes under the new one.
        world.sim.set_faults(FaultRule::on(operation).once().delay(4 * SECOND));
        let test = async {
            file.replace(&named("b", 2));
            sleep(4 * SECOND).await;
            send_one(&world, 0);
            sleep(3 * SECOND).await;
            assert_ne!(in_use(&app), first, "{operation}");
            assert_eq!(world.notices().len(), 0, "{operation}");
            send_one(&world, 1);
            world.done().await;
        };
        run(&world, &app, test).await;
        let known = [("a", 1, first), ("b", 2, in_use(&app))];
        let notices = world.notices();
        let rule = |of: &str| notices.iter().find(|notice| notice["event"]["id"] == of).unwrap();
        assert_eq!(rule("event-0")["rule"], "a", "{operation}");
        assert_eq!(rule("event-1")["rule"], "b", "{operation}");
        notices.iter().for_each(|notice| is_of_one_policy(notice, &known));
    }
}

#[tokio::test(start_paused = true)]
async fn no_image_is_judged_by_half_a_policy_while_the_file_changes_under_load() {
    const MESSAGES: usize = 300;
    let latency = Duration::from_millis(700);
    let world = World::with(SimConfig { latency, ..SimConfig::default() });
    let file = ConfigFile::new(&named("a", 1));
    let app = world.app_watching(&file.path);
    let mut known = vec![("a", 1, in_use(&app))];
    let test = async {
        for number in 0..MESSAGES {
            send_one(&world, number);
            if number % 20 == 19 {
                match number / 20 % 3 {
                    0 => file.replace(&named("b", 2)),
                    1 => file.write(&named("b", 2).replace("# end", "")),
                    _ => file.write(&named("a", 1)),
                }
                sleep(7 * SECOND).await;
                if known.len() == 1 && in_use(&app) != known[0].2 {
                    known.push(("b", 2, in_use(&app)));
                }
            }
        }
        world.done().await;
    };
    run(&world, &app, test).await;
    let notices = world.notices();
    let removed = notices.iter().filter(|notice| notice["schema"] == "tagwarden.notice/1");
    let removed: Vec<_> = removed.collect();
    assert_eq!(removed.len(), MESSAGES);
    removed.iter().for_each(|notice| is_of_one_policy(notice, &known));
    for name in ["a", "b"] {
        let count = removed.iter().filter(|notice| notice["rule"] == name).count();
        assert!(count > MESSAGES / 10, "{name}: {count}");
    }
}

#[test]
fn file_is_whole_at_the_start_too() {
    let (file, world) = (ConfigFile::new("[policy]\nmode = \"audit\"\n"), World::new());
    let start = |path: &Path| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.app_watching(path))).is_ok()
    };
    assert!(!start(&file.path));
    file.write(&whole("[policy]\nmode = \"audit\"\n"));
    assert!(start(&file.path));
    let json = file.path.with_extension("json");
    fs::write(&json, "{\"policy\": {}}").unwrap();
    assert!(start(&json));
}
