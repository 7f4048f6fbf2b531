//! Holds: a signed, dated promise to leave an image alone although it violates the policy.

use std::time::{Duration, SystemTime};

use aws_sim::{FaultRule, RepoKey, SimConfig};
use serde_json::{Value, json};
use tagwarden::domain::names::{AccountId, Digest, Region, Repository, RepositoryName};
use tagwarden::domain::record::{
    ARTIFACT_TYPE, Hold, MANIFEST_TYPE, Record, RecordManifest, RestoreKeys, SubjectDescriptor,
    Withdrawal,
};
use tokio::time::sleep;

use super::records::records;
use super::support::{
    ACCOUNT, Log, REGION, World, basic, critical, is_record, quarantine, settled,
};

pub(crate) const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const OTHER_KEY: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn keys(text: &str) -> RestoreKeys {
    RestoreKeys::parse(text).unwrap()
}

fn named(key: &RepoKey) -> Repository {
    Repository {
        account: AccountId::parse(&key.account).unwrap(),
        region: Region::parse(&key.region).unwrap(),
        name: RepositoryName::parse(&key.name).unwrap(),
    }
}

/// The text of a record about an image, as the worker of this repository would write it.
fn written(of: &RepoKey, digest: &str, record: &Record, keys: Option<&RestoreKeys>) -> String {
    let digest = Digest::parse(digest).unwrap();
    let subject = SubjectDescriptor { digest, media_type: MANIFEST_TYPE.to_owned(), size: 100 };
    RecordManifest::new(record, &named(of), &subject, keys).text
}

/// Attaches a record to an image of the default repository.
pub(crate) fn attach(world: &World, digest: &str, record: &Record, keys: Option<&RestoreKeys>) {
    let text = written(&world.repository, digest, record, keys);
    world.sim.push_manifest(&world.repository, &[], &text);
}

fn now(world: &World) -> SystemTime {
    SimConfig::default().epoch + world.sim.age()
}

fn hold_for(world: &World, time: Duration) -> Hold {
    Hold {
        until: now(world) + time,
        issued: now(world),
        reason: "prod down".to_owned(),
        owner: "me@example.com".to_owned(),
        request: "request-1".to_owned(),
        sender: "AROA1:me".to_owned(),
    }
}

fn keyed() -> World {
    World::new().set("RESTORE__KEY", KEY)
}

fn event(digest: &str, tags: &[&str]) -> Value {
    basic(digest, tags, &json!({"CRITICAL": 1}))
}

/// An image that violates the policy, bears our mark and has a tag again. Its event is not sent.
fn marked(world: &World) -> String {
    world.image(&["1.0"], critical());
    let digest = world.sim.tag_target(&world.repository, "1.0").unwrap();
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    digest
}

fn audit_line(log: &Log, word: &str) -> Option<Value> {
    log.lines()
        .into_iter()
        .find(|line| line["message"] == word || line["fields"]["message"] == word)
}

#[tokio::test(start_paused = true)]
async fn held_image_keeps_its_tags_until_the_hold_ends() {
    let (log, _guard) = Log::of_this_thread();
    let world = keyed();
    let digest = marked(&world);
    attach(&world, &digest, &Record::Hold(hold_for(&world, DAY)), Some(&keys(KEY)));
    world.send(&event(&digest, &["1.0"]));
    let test = async {
        world.done().await;
        assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine(&digest)]);
        assert!(world.changes().is_empty());
        assert!(world.notices().is_empty());
        sleep(2 * DAY).await;
        world.send(&event(&digest, &["1.0"]));
        world.done().await;
    };

    let app = world.run_while(test).await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let expected = [("delete held".to_owned(), 1), ("delete quarantined".to_owned(), 1)];
    assert_eq!(settled(&app), expected);
    let metrics = app.instruments().render().unwrap();
    assert!(metrics.contains(r#"tagwarden_decisions_total{verdict="held"} 1"#), "{metrics}");
    let line = audit_line(&log, "held").unwrap().to_string();
    for part in ["me@example.com", "prod down", "1.0"] {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn hold_that_comes_while_the_image_is_marked_is_seen_before_a_tag_is_removed() {
    for call in ["BatchGetImage", "PutImage"] {
        let world = keyed();
        let digest = world.violating(&["1.0"]);
        let hold = Record::Hold(hold_for(&world, DAY));
        let text = written(&world.repository, &digest, &hold, Some(&keys(KEY)));
        let repository = world.repository.clone();
        let comes = FaultRule::on(call)
            .once()
            .act(move |sim| drop(sim.push_manifest(&repository, &[], &text)));
        world.sim.set_faults(vec![comes]);

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine(&digest)], "{call}");
        assert_eq!(settled(&app), [("delete held".to_owned(), 1)], "{call}");
        assert!(world.sim.calls_of("BatchDeleteImage").is_empty(), "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn hold_that_comes_between_two_slices_keeps_the_rest() {
    let world = keyed().set("LIMITS__UNTAGS_PER_HOUR", "2");
    let digest = world.violating(&["a", "b", "c", "d", "e"]);
    let hold = Record::Hold(hold_for(&world, DAY));
    let text = written(&world.repository, &digest, &hold, Some(&keys(KEY)));
    // A tag has moved, so that the hour has room for another slice.
    let moves = super::support::moves_tag(&world, "a");
    let repository = world.repository.clone();
    let comes = FaultRule::on("Publish")
        .once()
        .act(move |sim| drop(sim.push_manifest(&repository, &[], &text)));
    world.sim.set_faults(vec![moves, comes]);

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["c", "d", "e", &quarantine(&digest)]);
    assert_eq!(settled(&app), [("delete held".to_owned(), 1)]);
    assert_eq!(world.sim.calls_of("BatchDeleteImage").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn hold_that_comes_while_a_topic_is_waited_for_keeps_the_tags() {
    let world = keyed();
    let digest = world.violating(&["1.0"]);
    let text = {
        let hold = Record::Hold(hold_for(&world, DAY));
        written(&world.repository, &digest, &hold, Some(&keys(KEY)))
    };
    // The repository is full, so the removal waits for its notice, and then has room for the hold.
    world.sim.set_image_limit(&world.repository, 1);
    let repository = world.repository.clone();
    let comes = FaultRule::on("Publish").once().act(move |sim| {
        sim.set_image_limit(&repository, 2);
        drop(sim.push_manifest(&repository, &[], &text));
    });
    world.sim.set_faults(vec![comes]);

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine(&digest)]);
    assert_eq!(settled(&app), [("delete held".to_owned(), 1)]);
    assert!(world.sim.calls_of("BatchDeleteImage").is_empty());
}

#[tokio::test(start_paused = true)]
async fn hold_counts_for_nothing_unless_it_is_ours_and_in_force() {
    type Attach = fn(&World, &str);
    let cases: [(&str, Attach); 9] = [
        ("unsigned", |world, digest| {
            attach(world, digest, &Record::Hold(hold_for(world, DAY)), None);
        }),
        ("forged", |world, digest| {
            let forged = keys(OTHER_KEY);
            attach(world, digest, &Record::Hold(hold_for(world, DAY)), Some(&forged));
        }),
        ("of another image", |world, digest| {
            let hold = Record::Hold(hold_for(world, DAY));
            let other = format!("sha256:{}", "e".repeat(64));
            let text = written(&world.repository, &other, &hold, Some(&keys(KEY)));
            let text = text.replace(&other, digest);
            world.sim.push_manifest(&world.repository, &[], &text);
        }),
        ("of another repository", |world, digest| {
            let hold = Record::Hold(hold_for(world, DAY));
            let other = RepoKey::new(ACCOUNT, REGION, "team/web");
            let text = written(&other, digest, &hold, Some(&keys(KEY)));
            world.sim.push_manifest(&world.repository, &[], &text);
        }),
        ("of another account", |world, digest| {
            let hold = Record::Hold(hold_for(world, DAY));
            let other = RepoKey::new("444455556666", REGION, "team/app");
            let text = written(&other, digest, &hold, Some(&keys(KEY)));
            world.sim.push_manifest(&world.repository, &[], &text);
        }),
        ("altered", |world, digest| {
            let hold = Record::Hold(hold_for(world, DAY));
            let text = written(&world.repository, digest, &hold, Some(&keys(KEY)));
            let text = text.replace("prod down", "no reason");
            world.sim.push_manifest(&world.repository, &[], &text);
        }),
        ("expired", |world, digest| {
            let mut hold = hold_for(world, DAY);
            (hold.issued, hold.until) = (hold.issued - 2 * DAY, hold.until - 2 * DAY);
            attach(world, digest, &Record::Hold(hold), Some(&keys(KEY)));
        }),
        ("too long", |world, digest| {
            attach(world, digest, &Record::Hold(hold_for(world, 8 * DAY)), Some(&keys(KEY)));
        }),
        ("withdrawn", |world, digest| {
            attach(world, digest, &Record::Hold(hold_for(world, DAY)), Some(&keys(KEY)));
            let withdrawal = Withdrawal {
                withdraws: "request-1".to_owned(),
                request: "request-2".to_owned(),
                sender: "AROA1:me".to_owned(),
            };
            attach(world, digest, &Record::Withdrawal(withdrawal), Some(&keys(KEY)));
        }),
    ];
    for (case, attach) in cases {
        let world = keyed();
        let digest = marked(&world);
        attach(&world, &digest);
        world.send(&event(&digest, &["1.0"]));

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{case}");
        assert_eq!(settled(&app), [("delete quarantined".to_owned(), 1)], "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_key_no_hold_counts() {
    let world = World::new();
    let digest = marked(&world);
    attach(&world, &digest, &Record::Hold(hold_for(&world, DAY)), None);
    world.send(&event(&digest, &["1.0"]));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn too_many_artifacts_make_no_image_immune() {
    let world = keyed();
    let digest = marked(&world);
    attach(&world, &digest, &Record::Hold(hold_for(&world, DAY)), Some(&keys(KEY)));
    for at in 0..1_000 {
        let at = at.to_string();
        world.sim.push_referrer(&world.repository, &digest, ARTIFACT_TYPE, &[("n", &at)]);
    }
    world.send(&event(&digest, &["1.0"]));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    let reasons = world.notice()["reasons"].to_string();
    assert!(reasons.contains("too many artifacts"), "{reasons}");
}

#[tokio::test(start_paused = true)]
async fn hold_of_an_index_does_not_hold_its_image_nor_the_reverse() {
    for held in ["index", "image"] {
        let world = keyed();
        let image = world.image(&["1.0-amd64"], critical());
        let index = aws_sim::manifest::index(&[(&image, "amd64")]);
        let index = world.sim.push_manifest(&world.repository, &["1.0"], &index);
        let (kept, lost) = if held == "index" { (&index, &image) } else { (&image, &index) };
        world.sim.tag_image(&world.repository, &quarantine(kept), kept);
        attach(&world, kept, &Record::Hold(hold_for(&world, DAY)), Some(&keys(KEY)));
        world.scanned(&image);

        world.run_to_the_end().await;

        assert_eq!(world.tags(kept).len(), 2, "{held}");
        assert_eq!(world.tags(lost), [quarantine(lost)], "{held}");
    }
}

#[tokio::test(start_paused = true)]
async fn held_image_is_not_deleted() {
    let world = keyed().set("POLICY__ACTION", "delete");
    let digest = marked(&world);
    attach(&world, &digest, &Record::Hold(hold_for(&world, DAY)), Some(&keys(KEY)));
    world.send(&event(&digest, &["1.0"]));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn held_image_would_lose_nothing_in_audit_mode() {
    let world = keyed().set("POLICY__MODE", "audit");
    let digest = marked(&world);
    attach(&world, &digest, &Record::Hold(hold_for(&world, DAY)), Some(&keys(KEY)));
    world.send(&event(&digest, &["1.0"]));
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), [("delete held".to_owned(), 1)]);
    assert!(world.notices().is_empty());
}

#[tokio::test(start_paused = true)]
async fn sweep_leaves_a_held_image_alone() {
    let world = keyed();
    let digest = marked(&world);
    attach(&world, &digest, &Record::Hold(hold_for(&world, DAY)), Some(&keys(KEY)));
    world.send(&json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": {}}));

    world.run_to_the_end().await;

    assert!(world.changes().is_empty());
    assert_eq!(world.tags(&digest).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn end_of_a_hold_is_warned_of_once_a_day_from_two_weeks_before() {
    for (days, soon, very_soon) in
        [(16, [0, 0, 0], [0, 0, 0]), (13, [1, 1, 2], [0, 0, 0]), (2, [0, 0, 0], [1, 1, 2])]
    {
        let (log, _guard) = Log::of_this_thread();
        let world = keyed().set("RESTORE__MAX_HOLD", "30d");
        let digest = marked(&world);
        attach(&world, &digest, &Record::Hold(hold_for(&world, days * DAY)), Some(&keys(KEY)));
        let warnings = |within: u32| {
            let text = format!("a hold ends within {within} days");
            log.lines().iter().filter(|line| line.to_string().contains(&text)).count()
        };
        let test = async {
            for (at, wait) in [Duration::ZERO, DAY / 2, DAY / 2].into_iter().enumerate() {
                sleep(wait).await;
                world.send(&event(&digest, &["1.0"]));
                world.done().await;
                let expected = (soon[at], very_soon[at]);
                assert_eq!((warnings(14), warnings(3)), expected, "{days} days, event {at}");
            }
        };
        world.run_while(test).await;
        assert_eq!(world.tags(&digest).len(), 2);
        let warning = log.lines().into_iter().find(|line| line["prolong"].is_string());
        let Some(warning) = warning else { continue };
        assert_eq!(warning["repository"], "team/app");
        assert_eq!(warning["tags"], "1.0");
        assert_eq!(warning["owner"], "me@example.com");
        assert_eq!(warning["reason"], "prod down");
        let image = format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/team/app@{digest}");
        let prolong =
            format!("tagwarden restore {image} --until 3d --reason \"...\" --owner \"...\"");
        assert_eq!(warning["prolong"], prolong);
    }
}

#[tokio::test(start_paused = true)]
async fn tags_that_were_removed_before_a_hold_are_notified() {
    let world = keyed();
    let digest = world.violating(&["1.0", "2.0"]);
    world.crash_at("Publish", aws_sim::Fault::Hang).await;
    world.sim.tag_image(&world.repository, "2.0", &digest);
    attach(&world, &digest, &Record::Hold(hold_for(&world, DAY)), Some(&keys(KEY)));

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete held".to_owned(), 1)]);
    let notice = world.notice();
    assert_eq!(notice["tags"]["claimed"], json!(["1.0"]));
    assert_eq!(notice["tags"]["kept"], json!(["2.0"]));
    let puts = world.sim.calls().iter().filter(|call| is_record(call)).count();
    assert_eq!((puts, records(&world, &digest).len()), (1, 2));
}
