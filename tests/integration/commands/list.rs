//! `tagwarden list` shows what is in quarantine, by the registry alone, and changes nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sim::{FaultRule, RepoKey};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tagwarden::domain::record::{ARTIFACT_TYPE, EMPTY_TYPE, Record};
use tokio::time::Instant;

use super::quarantine::{
    a_minute_passes, finding, given_back, hold, listed, manifest, mark, night, removal, settled,
    withdrawal,
};
use super::support::{ACCOUNT, REGION, Shown, World};
use crate::process::{Signal, tagwarden, within_deadline};

async fn list(world: &World, arguments: &[&str]) -> Shown {
    let shown = world.run(&[&["list"], arguments].concat(), "").await;
    assert_eq!(world.changes(), [] as [&str; 0]);
    shown
}

async fn document(world: &World, arguments: &[&str]) -> Value {
    let shown = list(world, &[&["--format", "json"], arguments].concat()).await;
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
    shown.json()
}

/// The number of calls of each operation that reads records.
fn calls(world: &World) -> [usize; 3] {
    ["DescribeImages", "BatchGetImage", "ListImageReferrers"]
        .map(|operation| world.sim.calls_of(operation).len())
}

/// Two repositories with an image of every kind that a list knows.
async fn filled() -> (World, RepoKey) {
    let world = night().await;
    let other = world.sim.create_repository("team/other");
    let app = world.repository.clone();
    world.quarantined(&app, &["1.2.0", "stable"]);
    a_minute_passes().await;
    // An index, because of one of its images, under another rule.
    let child = world.image(&[], super::quarantine::vulnerable());
    let index = world.sim.push_index(&app, &["2.0"], &[(child.as_str(), "linux/arm64")]);
    world.mark(&app, &index, &["2.0"]);
    let mut of_index = removal(&["2.0"]);
    of_index.rule = "strict".to_owned();
    of_index.cause = Some(super::quarantine::digest(&child));
    of_index.platform = Some("linux/arm64".to_owned());
    of_index.findings = vec![finding("CVE-2026-0001", "CRITICAL", "openssl")];
    world.record(&app, &index, Record::Quarantine(Box::new(of_index)));
    // From before there were records.
    world.marked(&app, &["0.1"]);
    // Given back, with the mark that stays.
    let (back, record) = world.quarantined(&other, &["3.0"]);
    world.record(&other, &back, Record::Outcome(given_back(&[&record], &["3.0"])));
    world.sim.tag_image(&other, "3.0", &back);
    a_minute_passes().await;
    // One of two tags is open.
    let (half, record) = world.quarantined(&other, &["4.0", "4"]);
    world.record(&other, &half, Record::Outcome(given_back(&[&record], &["4.0"])));
    world.sim.tag_image(&other, "4.0", &half);
    // An image that was never marked, and one with the mark of another image.
    world.image(&["clean"], super::quarantine::vulnerable());
    let foreign = world.image(&["foreign"], super::quarantine::vulnerable());
    world.sim.tag_image(&app, &mark(&back), &foreign);
    (world, other)
}

#[tokio::test]
async fn list_shows_what_is_in_quarantine_and_changes_nothing() {
    let (world, _) = filled().await;
    let shown = list(&world, &[]).await;
    assert_eq!(shown.stderr, "", "only a terminal gets a bar");
    insta::assert_snapshot!(format!("{}exit code {}\n", shown.stdout, shown.code));
}

#[tokio::test]
async fn document_has_everything_that_the_records_say() {
    let (world, _) = filled().await;
    let mut document = document(&world, &[]).await;
    assert!(document["made_at"].take().is_string() && document["tagwarden"].take().is_string());
    let text = format!("{document:#}").replace("T01:", " 01:");
    insta::assert_snapshot!(settled(&text));
    let one = self::document(&world, &["--repository", "*/other"]).await;
    assert_eq!(listed(&one), [("team/other", vec!["4"])]);
    assert_eq!(
        (&one["only"], &one["totals"]["repositories_read"]),
        (&json!(["*/other"]), &json!(1))
    );
}

#[tokio::test]
async fn neither_queue_nor_configuration_is_needed() {
    let (mut world, _) = filled().await;
    world.variables.retain(|name, _| !name.starts_with("TAGWARDEN"));
    assert_eq!(document(&world, &[]).await["totals"]["images"], 4);
    world.variables.remove("AWS_REGION");
    assert_eq!(document(&world, &["--region", "us-east-1"]).await["totals"]["images"], 0);
    let shown = list(&world, &["--region", "us-east-1"]).await;
    let doubt = "\nNo repository was read. Is it the right account and Region?\n";
    assert!(shown.stdout.ends_with(doubt), "{shown:?}");
}

#[tokio::test]
async fn image_whose_tags_are_back_is_listed_only_on_request() {
    let (world, other) = filled().await;
    // Somebody has pushed the tag again by hand, to the same image.
    let (by_hand, _) = world.quarantined(&other, &["5.0"]);
    world.sim.tag_image(&other, "5.0", &by_hand);
    world.record(&other, &by_hand, hold("one", 5));
    assert_eq!(document(&world, &[]).await["images"].as_array().map(Vec::len), Some(4));
    let all = document(&world, &["--all"]).await;
    assert_eq!((&all["totals"]["images"], &all["totals"]["tags"]), (&json!(4), &json!(4)));
    let images = all["images"].as_array().expect("images").iter();
    let back: Vec<_> = images.filter(|image| image["in_quarantine"] == false).collect();
    let tags: Vec<_> = back.iter().map(|image| &image["tags"]).collect();
    assert_eq!(tags, [&json!(["5.0"]), &json!(["3.0"])]);
    assert_eq!(back[0]["hold"]["owner"], "me@example.com");
    let text = list(&world, &["--all"]).await.stdout;
    assert!(text.contains("none of its tags is missing; held until "), "{text}");
    assert!(text.contains("\n4 images in quarantine, 4 tags, 2 repositories"), "{text}");
}

#[tokio::test]
async fn interrupted_list_shows_what_it_has_found() {
    let (world, _) = filled().await;
    let process = Arc::new(Mutex::new(None));
    let to_stop = Arc::clone(&process);
    let stop = FaultRule::on("ListImageReferrers").matching(move |_| {
        let pid: Option<Pid> = to_stop.lock().expect("no panic").take();
        pid.is_some_and(|pid| kill_process(pid, Signal::INT).is_ok())
    });
    world.sim.set_faults(stop.delay(Duration::from_secs(1)));
    let ended = {
        let mut process = process.lock().expect("no panic");
        let child = tagwarden(&["list"], &world.variables).spawn();
        let child = child.expect("the binary can be started");
        *process = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        child.wait_with_output()
    };
    let ended = within_deadline("the end of a list", ended).await.expect("an end");
    let shown = String::from_utf8(ended.stdout).expect("UTF-8");
    assert_eq!(ended.status.code(), Some(1), "{shown}");
    assert!(shown.contains("Interrupted: this is what was found so far."), "{shown}");
}

#[tokio::test]
async fn hold_is_shown_until_it_ends_or_is_withdrawn() {
    let world = night().await;
    let (digest, _) = world.quarantined(&world.repository, &["1.0"]);
    let held = |document: &Value| document["images"][0]["hold"].clone();
    world.record(&world.repository, &digest, hold("one", 8));
    assert_eq!(held(&document(&world, &[]).await), json!(null), "longer than restore.max_hold");
    world.record(&world.repository, &digest, hold("two", 5));
    let shown = held(&document(&world, &[]).await);
    assert_eq!(
        (&shown["owner"], &shown["reason"], &shown["verified"]),
        (&json!("me@example.com"), &json!("prod down, SEC-99"), &json!(false))
    );
    let text = list(&world, &[]).await.stdout;
    assert!(text.contains(" by me@example.com (prod down, SEC-99), not verified here"), "{text}");
    world.record(&world.repository, &digest, withdrawal("two"));
    assert_eq!(held(&document(&world, &[]).await), json!(null), "withdrawn");
}

#[tokio::test]
async fn records_are_verified_only_where_the_key_is() {
    let mut world = night().await;
    let (digest, _) = world.quarantined(&world.repository, &["1.0"]);
    let forged = Record::Quarantine(Box::new(removal(&["forged"])));
    let forged = manifest(&world.repository, &digest, &forged, None);
    world.sim.push_manifest(&world.repository, &[], &forged);
    let seen = document(&world, &[]).await;
    assert_eq!(listed(&seen), [("team/app", vec!["1.0", "forged"])]);
    let image = &seen["images"][0];
    assert_eq!((&image["verified"], &image["signed"]), (&json!(false), &json!(false)));
    assert_eq!(image["removed"][0]["signed"], json!(true));
    assert_eq!(image["removed"][1]["signed"], json!(false));
    world.variables.insert("TAGWARDEN__RESTORE__KEY".to_owned(), super::quarantine::KEY.to_owned());
    let seen = document(&world, &[]).await;
    assert_eq!(listed(&seen), [("team/app", vec!["1.0"])]);
    let image = &seen["images"][0];
    assert_eq!((&image["verified"], &image["signed"]), (&json!(true), &json!(true)));
    assert_eq!(image["unverified_records"], json!(1));
}

#[tokio::test]
async fn few_images_are_asked_for_one_by_one() {
    let world = night().await;
    for at in 0..20 {
        world.quarantined(&world.repository, &[&format!("1.{at}")]);
    }
    let seen = document(&world, &[]).await;
    assert_eq!(seen["totals"]["tags"], 20);
    assert!(seen["images"][19]["since"].is_string(), "{seen:#}");
    // One page, and the times of the records of sixteen images together.
    assert_eq!(calls(&world), [1 + 2, 0, 20]);
}

/// More images than are asked for one by one: 120 with a record each.
async fn many() -> (World, Vec<String>) {
    let mut world = night().await;
    let fast = ("TAGWARDEN__SWEEP__CALLS_PER_SECOND".to_owned(), "1000".to_owned());
    world.variables.extend([fast]);
    let images = (0..120).map(|at| world.quarantined(&world.repository, &[&format!("1.{at}")]).0);
    let images = images.collect();
    (world, images)
}

#[tokio::test]
async fn records_of_many_images_are_read_in_bulk() {
    let (world, images) = many().await;
    // What is attached to an image besides counts for nothing, and costs no call of its own.
    for digest in images.iter().take(30) {
        world.sim.push_referrer(&world.repository, digest, "application/spdx+json", &[]);
        world.sim.push_referrer(&world.repository, digest, EMPTY_TYPE, &[]);
    }
    // So does what is attached to an image that is gone, or to one without a mark.
    let (gone, _) = world.quarantined(&world.repository, &["gone"]);
    world.sim.delete_image(&world.repository, &gone);
    let free = world.image(&["free"], super::quarantine::vulnerable());
    world.record(&world.repository, &free, Record::Quarantine(Box::new(removal(&["x"]))));
    let seen = document(&world, &[]).await;
    assert_eq!((&seen["totals"]["images"], &seen["totals"]["tags"]), (&json!(120), &json!(120)));
    assert!(seen["images"][119]["since"].is_string(), "{seen:#}");
    assert_eq!(calls(&world), [2, 2, 0]);
}

#[tokio::test]
async fn what_cannot_be_read_in_bulk_is_asked_for() {
    let (world, images) = many().await;
    let app = &world.repository;
    // A record in the archive, an image with more artifacts than fit in a call, and one without a
    // record.
    world.record(app, &images[0], Record::Quarantine(Box::new(removal(&["late"]))));
    let late = world.sim.referrers(app, &images[0]).pop().expect("a record");
    world.sim.archive_image(app, &late.digest);
    for at in 0..110 {
        let note = at.to_string();
        world.sim.push_referrer(app, &images[1], ARTIFACT_TYPE, &[("note", &note)]);
    }
    world.marked(app, &["0.1"]);
    let seen = document(&world, &[]).await;
    let of = |digest: &str| {
        let images = seen["images"].as_array().expect("images").iter();
        let mut of = images.filter(|image| image["digest"] == digest);
        of.next().expect("an image").clone()
    };
    let removed: Vec<_> = of(&images[0])["removed"].as_array().expect("tags").clone();
    let names: Vec<_> = removed.iter().map(|one| one["tag"].as_str().expect("a tag")).collect();
    assert_eq!(names, ["1.0", "late"]);
    assert!(removed.iter().all(|one| one["since"].is_string()), "{removed:?}");
    assert_eq!(of(&images[1])["unverified_records"], 110);
    assert_eq!(seen["totals"]["images"], 121);
    let [_, batches, asked] = calls(&world);
    assert_eq!((batches, asked), (2, 1 + 3 + 1), "three pages of fifty");
}

#[tokio::test]
async fn subjects_that_ecr_does_not_tell_are_asked_for() {
    let (world, _) = many().await;
    world.sim.set_faults(FaultRule::on("DescribeImages").replace(|answer| {
        for image in answer["imageDetails"].as_array_mut().into_iter().flatten() {
            image.as_object_mut().expect("an image").remove("subjectManifestDigest");
        }
    }));
    let seen = document(&world, &[]).await;
    assert_eq!(seen["totals"]["tags"], 120);
    assert_eq!(calls(&world), [2 + 8, 0, 120]);
}

#[tokio::test]
async fn image_with_too_many_artifacts_is_pointed_out() {
    let world = night().await;
    let (digest, _) = world.quarantined(&world.repository, &["1.0"]);
    for at in 0..1_001 {
        let note = at.to_string();
        world.sim.push_referrer(&world.repository, &digest, ARTIFACT_TYPE, &[("note", &note)]);
    }
    let seen = document(&world, &[]).await;
    assert_eq!(seen["images"][0]["too_many_artifacts"], json!(true));
    assert_eq!(world.sim.calls_of("ListImageReferrers").len(), 20);
}

#[tokio::test]
async fn list_goes_on_when_a_part_cannot_be_read_and_says_so() {
    let (world, other) = filled().await;
    let refused = FaultRule::on("ListImageReferrers").repository(&other.name);
    world.sim.set_faults(refused.error("AccessDeniedException"));
    let shown = list(&world, &["--format", "json"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let seen = shown.json();
    assert_eq!((&seen["totals"]["images"], &seen["complete"]), (&json!(3), &json!(true)));
    assert_eq!(seen["failed"][0]["repository"], "team/other");
    assert!(shown.stderr.contains("failed: 111122223333/eu-west-1/team/other: "), "{shown:?}");
    let text = list(&world, &[]).await;
    assert!(text.code == 1 && text.stdout.contains("team/other"), "{text:?}");
    assert!(text.stdout.contains("1 part could not be read"), "{text:?}");
    world.sim.set_faults(FaultRule::on("DescribeRepositories").error("ExpiredTokenException"));
    let shown = list(&world, &[]).await;
    assert_eq!((shown.code, shown.stdout.as_str()), (1, ""), "{shown:?}");
}

#[tokio::test]
async fn unusable_command_line_is_refused_before_any_call() {
    let world = night().await;
    for arguments in [&["--repository", "["][..], &["--repository", ""], &["--region", "x!"]] {
        let shown = list(&world, arguments).await;
        assert_eq!(shown.code, 2, "{shown:?}");
    }
    assert_eq!(world.sim.calls().len(), 0);
    let shown = list(&world, &["--repository", "nothing/*"]).await;
    assert!(shown.code == 2 && shown.stderr.contains("matches no repository"), "{shown:?}");
    assert_eq!(world.sim.calls_of("DescribeRepositories").len(), 1);
    let shown = list(&world, &["--repository", "teem/app"]).await;
    let problem = "--repository: \"teem/app\" matches no repository that the policy covers (it \
                   covers 1); did you mean `team/app`?";
    assert_eq!(shown.complaint(2), problem);
    let shown = list(&world, &["--repository", "team/*", "--repository", "teem/app"]).await;
    assert_eq!((shown.code, shown.stderr), (0, format!("note: {problem}\n")));
}

#[tokio::test]
async fn restore_is_advised_only_where_the_worker_gives_tags_back() {
    let world = night().await;
    let unsigned = world.marked(&world.repository, &["0.9"]);
    let record = Record::Quarantine(Box::new(removal(&["0.9"])));
    let record = manifest(&world.repository, &unsigned, &record, None);
    world.sim.push_manifest(&world.repository, &[], &record);
    let shown = list(&world, &[]).await;
    let by_hand = "\nBack: by hand, because nothing here is signed by the worker; the commands:\n\
                   \x20     tagwarden restore team/app:0.9\n";
    assert!(shown.stdout.ends_with(by_hand), "{shown:?}");
    world.quarantined(&world.repository, &["1.0"]);
    let shown = list(&world, &[]).await;
    assert!(shown.stdout.contains("not signed: no worker gives its tags back"), "{shown:?}");
    assert!(shown.stdout.contains("\nBack: tagwarden restore team/app:1.0\n"), "{shown:?}");
    let doubt =
        "\n      which is refused if the policy would remove it again: explain says whether\n";
    assert!(shown.stdout.ends_with(doubt), "{shown:?}");
}

#[tokio::test]
async fn texts_of_records_reach_the_terminal_and_spreadsheets_as_plain_text() {
    let world = night().await;
    let digest = world.marked(&world.repository, &["1.0"]);
    let mut hostile = removal(&["1.0"]);
    let text = "=x\u{1b}[2J\nb \u{202e}c";
    hostile.rule = text.to_owned();
    hostile.reasons = vec![text.to_owned(); 500];
    hostile.findings = vec![finding(text, text, text)];
    hostile.notice = text.to_owned();
    world.record(&world.repository, &digest, Record::Quarantine(Box::new(hostile)));
    for format in ["text", "json", "csv"] {
        let shown = list(&world, &["--format", format]).await;
        assert_eq!(shown.code, 0, "{shown:?}");
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.stdout.contains(acts), "{shown:?}");
        assert!(!shown.stdout.lines().any(|line| line.starts_with("b ")), "{shown:?}");
        if format == "csv" {
            let row = shown.stdout.lines().nth(1).expect("a row");
            assert!(
                row.starts_with(&format!("{ACCOUNT},{REGION},team/app,{digest},image,true,1.0,"))
            );
            assert!(!row.contains(",=") && row.contains(",'=x"), "{row}");
        }
    }
}

/// Makes a repository with this many images in quarantine, each with a record.
fn fill(world: &World, name: &str, images: usize) {
    let repository = world.sim.create_repository(name);
    let images = (0..images).map(|at| (format!("1.{at}"), format!("{name} {at}")));
    let digests = world.sim.push_images(&repository, images);
    for (at, digest) in digests.iter().enumerate() {
        let tag = format!("1.{at}");
        world.sim.tag_image(&repository, &mark(digest), digest);
        world.sim.untag_image(&repository, &tag);
        let record = Record::Quarantine(Box::new(removal(&[&tag])));
        world.record(&repository, digest, record);
    }
}

#[tokio::test]
async fn number_of_calls_follows_pages_and_not_images() {
    let (world, _) = many().await;
    for name in ["team/b", "team/c"] {
        fill(&world, name, 700);
    }
    let seen = document(&world, &[]).await;
    assert_eq!(seen["totals"]["images"], 1_520);
    // A page of tagged images and one of untagged manifests each, and a call for a hundred records.
    assert_eq!(calls(&world), [3 * 2, 2 + 7 + 7, 0]);
}

/// The measurement of docs/performance.md: every answer of ECR takes as long as a full page does.
#[tokio::test]
#[ignore = "a measurement, which takes a minute; docs/performance.md has its result"]
async fn ten_thousand_images_are_listed_in_seconds() {
    let world = night().await;
    for name in ["team/b", "team/c", "team/d", "team/e"] {
        fill(&world, name, 2_500);
    }
    world.sim.set_faults(FaultRule::always().delay(Duration::from_millis(300)));
    let begun = Instant::now();
    let shown = list(&world, &["--format", "csv"]).await;
    let took = begun.elapsed();
    assert_eq!((shown.code, shown.stdout.lines().count()), (0, 10_001), "{}", shown.stderr);
    assert_eq!(calls(&world), [1 + 4 * 2 * 3, 4 * 25, 0]);
    eprintln!("10,000 images in {:.1} s", took.as_secs_f64());
}
