//! Records: every tag is named on the image before it is removed (invariant 18).

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sim::manifest;
use aws_sim::{Fault, FaultRule, Finding, Referrer, ScanResult, SimConfig};
use serde_json::{Value, json};
use tagwarden::domain::names::Digest;
use tagwarden::domain::record::{Closing, Quarantined, Record, record_id};
use tokio::time::sleep;

use super::support::{QUEUE, World, basic, critical, is_record, quarantine, settled};

const HOUR: Duration = Duration::from_secs(3600);

/// The tags of an event or a record, as text.
fn strings<'a>(tags: impl IntoIterator<Item = &'a tagwarden::domain::names::Tag>) -> Vec<String> {
    tags.into_iter().map(ToString::to_string).collect()
}

/// The records on an image with their ids, oldest first, as the worker reads them.
pub(crate) fn records(world: &World, digest: &str) -> Vec<(Digest, Record)> {
    let mut referrers = world.sim.referrers(&world.repository, digest);
    referrers.sort_by_key(|referrer| referrer.pushed_at);
    let read =
        |one: &Referrer| (record_id(&one.annotations), Record::read(&one.annotations).unwrap());
    referrers.iter().map(read).collect()
}

/// The records of removals on an image.
pub(crate) fn quarantines(world: &World, digest: &str) -> Vec<Quarantined> {
    let records = records(world, digest).into_iter();
    records
        .filter_map(|(_, record)| match record {
            Record::Quarantine(record) => Some(*record),
            _ => None,
        })
        .collect()
}

fn outcomes(world: &World, digest: &str) -> Vec<Closing> {
    let records = records(world, digest).into_iter();
    records
        .filter_map(|(_, record)| match record {
            Record::Outcome(record) => Some(record),
            _ => None,
        })
        .collect()
}

fn puts_of_records(world: &World) -> usize {
    world.sim.calls().iter().filter(|call| is_record(call)).count()
}

fn count(world: &World, operation: &str) -> usize {
    world.sim.calls_of(operation).len()
}

/// A world whose repository has had no artifact yet.
fn fresh() -> World {
    let mut world = World::new();
    world.repository = world.sim.create_repository("team/new");
    world
}

/// A worker that tells its own records from others.
fn keyed() -> World {
    World::new().set("RESTORE__KEY", super::holds::KEY)
}

fn event_of(world: &World, digest: &str, tags: &[&str]) -> Value {
    let event = basic(digest, tags, &json!({"CRITICAL": 1}));
    super::support::in_repository(event, &world.repository.name)
}

fn violating(world: &World, tags: &[&str]) -> String {
    let digest = world.image(tags, critical());
    world.send(&event_of(world, &digest, tags));
    digest
}

#[tokio::test(start_paused = true)]
async fn every_name_is_on_the_image_before_it_is_removed_with_the_reasons() {
    let world = World::new();
    let digest = violating(&world, &["1.0", "latest"]);

    let app = world.run_to_the_end().await;

    let order: Vec<_> =
        world.changes().iter().map(|call| (is_record(call), call.operation.clone())).collect();
    let put = |record| (record, "PutImage".to_owned());
    assert_eq!(order, [put(false), put(true), (false, "BatchDeleteImage".to_owned())]);
    let [record] = &quarantines(&world, &digest)[..] else { panic!() };
    assert_eq!(strings(&record.tags), ["1.0", "latest"]);
    assert!(!record.delete);
    assert_eq!(record.rule, "base");
    assert_eq!(record.reasons[0], "critical 1 exceeds the limit of 0");
    assert_eq!(record.event, "00000000-0000-4000-8000-000000000001");
    assert_eq!(record.event_time.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(json!(record.notice), world.notice()["id"]);
    assert_eq!(record.policy.len(), 64);
    assert_eq!(record.after_outcomes, 0);
    let metrics = app.instruments().render().unwrap();
    let line = r#"tagwarden_image_actions_total{action="record",mode="enforce",outcome="done"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn never_marked_image_costs_one_put_and_a_new_repository_one_upload() {
    let world = fresh();
    let uploads = ["InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"];
    let count_all = |world: &World| uploads.map(|operation| count(world, operation));
    violating(&world, &["1.0"]);
    world.run_to_the_end().await;
    assert_eq!(count_all(&world), [1, 1, 1]);
    // The mark, the record that lacks its blob, and the record.
    assert_eq!(count(&world, "PutImage"), 3);

    violating(&world, &["2.0"]);
    world.run_to_the_end().await;
    assert_eq!(count_all(&world), [1, 1, 1]);
    assert_eq!(count(&world, "PutImage"), 3 + 2);
    assert_eq!(count(&world, "ListImageReferrers"), 0, "nothing is read without a mark");
}

#[tokio::test(start_paused = true)]
async fn record_names_the_twenty_worst_findings_that_count() {
    let world = World::new();
    let findings = (10..50).map(|at| Finding::new(&format!("CVE-2026-{at}"), "CRITICAL"));
    let scan = findings.fold(ScanResult::basic(&[]), ScanResult::with);
    let digest = world.image(&["1.0"], scan);
    world.scanned(&digest);

    world.run_to_the_end().await;

    let [record] = &quarantines(&world, &digest)[..] else { panic!() };
    let ids: Vec<_> = record.findings.iter().map(|finding| finding.id.clone()).collect();
    assert_eq!(ids, (10..30).map(|at| format!("CVE-2026-{at}")).collect::<Vec<_>>());
    assert_eq!(world.notice()["worst"].as_array().unwrap().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn repeated_pass_after_a_crash_leaves_one_record() {
    // The mark is the first PutImage and the record the second.
    for (operation, number) in [("PutImage", 2), ("BatchDeleteImage", 1), ("Publish", 1)] {
        for fault in [Fault::Hang, Fault::HangAfter] {
            let world = World::new();
            let digest = violating(&world, &["1.0", "latest"]);
            world.crash_at_call(operation, number, fault.clone()).await;
            world.run_to_the_end().await;
            let case = format!("{operation} {fault:?}");
            let [record] = &quarantines(&world, &digest)[..] else { panic!("{case}") };
            assert_eq!(strings(&record.tags), ["1.0", "latest"], "{case}");
            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{case}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn crash_in_the_upload_of_the_blob_is_mended_by_the_next_process() {
    for operation in ["InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload"] {
        for fault in [Fault::Hang, Fault::HangAfter] {
            let world = fresh();
            let digest = violating(&world, &["1.0"]);
            world.crash_at(operation, fault).await;
            assert_eq!(world.tags(&digest).len(), 2, "nothing is removed yet");
            world.run_to_the_end().await;
            assert_eq!(quarantines(&world, &digest).len(), 1, "{operation}");
            assert_eq!(world.tags(&digest), [quarantine(&digest)], "{operation}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn pass_that_finds_more_tags_writes_another_record_of_these() {
    let world = World::new();
    let digest = violating(&world, &["1.0"]);
    world.run_to_the_end().await;
    world.sim.tag_image(&world.repository, "2.0", &digest);
    world.send(&event_of(&world, &digest, &["2.0"]));

    world.run_to_the_end().await;

    let tags: Vec<_> = quarantines(&world, &digest).iter().map(|one| strings(&one.tags)).collect();
    assert_eq!(tags, [["1.0"], ["2.0"]]);
    assert_eq!(count(&world, "ListImageReferrers"), 1, "a marked image is read once");
}

/// Removes a tag, puts it back by hand, and lets the same policy remove it again for another event,
/// with other findings if there are any.
async fn removed_twice(world: &World, other: Option<ScanResult>) -> Vec<Quarantined> {
    let digest = violating(world, &["1.0"]);
    world.run_to_the_end().await;
    world.sim.tag_image(&world.repository, "1.0", &digest);
    if let Some(other) = other {
        world.sim.set_findings(&world.repository, &digest, other);
    }
    let mut event = event_of(world, &digest, &["1.0"]);
    event["id"] = json!("00000000-0000-4000-8000-000000000002");
    world.send(&event);
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    quarantines(world, &digest)
}

#[tokio::test(start_paused = true)]
async fn tag_that_is_open_on_a_record_of_the_same_removal_is_not_recorded_again() {
    let again = removed_twice(&keyed(), None).await;
    assert_eq!(again.len(), 1);
    let other = ScanResult::basic(&[("CRITICAL", 2)]);
    let for_another_reason = removed_twice(&keyed(), Some(other)).await;
    let reasons: Vec<_> = for_another_reason.iter().map(|one| one.reasons[0].clone()).collect();
    let reason = |count: usize| format!("critical {count} exceeds the limit of 0");
    assert_eq!(reasons, [reason(1), reason(2)]);
}

#[tokio::test(start_paused = true)]
async fn forged_record_does_not_suppress_ours_where_there_is_no_key() {
    let world = World::new();
    let digest = violating(&world, &["1.0"]);
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    let forged = Quarantined {
        tags: [tagwarden::domain::names::Tag::parse("1.0").unwrap()].into(),
        delete: false,
        rule: "base".to_owned(),
        reasons: vec!["critical 1 exceeds the limit of 0".to_owned()],
        counts: Default::default(),
        findings: Vec::new(),
        cause: None,
        platform: None,
        event: "00000000-0000-4000-8000-000000000001".to_owned(),
        event_time: None,
        notice: "none".to_owned(),
        policy: "none".to_owned(),
        after_outcomes: 0,
    };
    super::holds::attach(&world, &digest, &Record::Quarantine(forged.into()), None);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(puts_of_records(&world), 1);
    assert!(quarantines(&world, &digest).iter().any(|one| one.policy.len() == 64));
}

#[tokio::test(start_paused = true)]
async fn thousand_tags_are_in_one_record() {
    let world = World::new();
    let tags: Vec<_> = (0..999).map(|at| format!("v{at:03}")).collect();
    let tags: Vec<_> = tags.iter().map(String::as_str).collect();
    let digest = world.image(&tags, critical());
    world.scanned(&digest);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(puts_of_records(&world), 1);
    assert_eq!(strings(&quarantines(&world, &digest)[0].tags), tags);
}

#[tokio::test(start_paused = true)]
async fn slices_of_the_hour_share_one_record() {
    let world = keyed().set("LIMITS__UNTAGS_PER_HOUR", "2");
    let digest = violating(&world, &["a", "b", "c", "d", "e"]);
    let test = async {
        sleep(5 * HOUR).await;
        world.done().await;
    };

    world.run_while(test).await;

    assert_eq!(count(&world, "BatchDeleteImage"), 3);
    assert_eq!(puts_of_records(&world), 1);
    assert_eq!(strings(&quarantines(&world, &digest)[0].tags), ["a", "b", "c", "d", "e"]);
}

#[tokio::test(start_paused = true)]
async fn index_and_its_image_have_a_record_each() {
    let world = World::new();
    let child = world.image(&["1.0-amd64"], critical());
    let index = manifest::index(&[(&child, "linux/amd64")]);
    let index = world.sim.push_manifest(&world.repository, &["1.0"], &index);
    world.scanned(&child);

    world.run_to_the_end().await;

    let of_index = &quarantines(&world, &index)[0];
    assert_eq!(strings(&of_index.tags), ["1.0"]);
    assert_eq!(of_index.cause.as_ref().unwrap().to_string(), child);
    assert_eq!(of_index.platform.as_deref(), Some("linux/amd64"));
    let of_child = &quarantines(&world, &child)[0];
    assert_eq!(
        (strings(&of_child.tags), of_child.cause.as_ref()),
        (vec!["1.0-amd64".into()], None)
    );
}

#[tokio::test(start_paused = true)]
async fn audit_mode_records_nothing() {
    let world = World::new().set("POLICY__MODE", "audit");
    let digest = violating(&world, &["1.0"]);
    world.run_to_the_end().await;
    assert_eq!(world.notice()["action"], "would_untag");
    assert!(records(&world, &digest).is_empty());
}

#[tokio::test(start_paused = true)]
async fn deletion_is_recorded_before_too() {
    let world = World::new().set("POLICY__ACTION", "delete");
    let digest = violating(&world, &["1.0"]);
    world.run_to_the_end().await;
    let put = world.changes().into_iter().find(is_record).unwrap();
    let text = put.request["imageManifest"].as_str().unwrap();
    let record: Value = serde_json::from_str(text).unwrap();
    assert_eq!(record["annotations"]["tagwarden.action"], "delete");
    assert_eq!(record["subject"]["digest"], json!(digest));
    assert!(world.sim.images(&world.repository).is_empty(), "the record goes with the image");
}

/// Pushes an image to which somebody moves the tag `latest` right before it is removed. Returns the
/// image's digest, and the move.
fn latest_moves(world: &World) -> (String, FaultRule) {
    let new = world.sim.push_image(&world.repository, &[], "new");
    let (repository, to) = (world.repository.clone(), new.clone());
    let moves = FaultRule::on("BatchDeleteImage")
        .once()
        .act(move |sim| sim.tag_image(&repository, "latest", &to));
    (new, moves)
}

#[tokio::test(start_paused = true)]
async fn tags_that_had_moved_are_closed_on_the_records_that_name_them() {
    let world = World::new();
    let old = violating(&world, &["1.0", "latest"]);
    let (new, moves) = latest_moves(&world);
    world.sim.set_faults(vec![moves]);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&new), ["latest"]);
    let all = records(&world, &old);
    let [closing] = &outcomes(&world, &old)[..] else { panic!("{all:?}") };
    assert_eq!(strings(&closing.superseded), ["latest"]);
    assert_eq!(closing.closes, BTreeSet::from([all[0].0.clone()]));
    assert_eq!((&closing.request, &closing.refused), (&None, &None));
}

#[tokio::test(start_paused = true)]
async fn outcome_that_cannot_be_written_undoes_nothing() {
    let world = World::new();
    let old = violating(&world, &["1.0", "latest"]);
    let (_, moves) = latest_moves(&world);
    let fails = FaultRule::on("PutImage").skip(2).error("AccessDeniedException");
    world.sim.set_faults(vec![moves, fails]);

    let app = world.run_to_the_end().await;

    assert_eq!(settled(&app), [("delete quarantined".to_owned(), 1)]);
    assert_eq!(world.notice()["tags"]["untagged"], json!(["1.0"]));
    assert!(outcomes(&world, &old).is_empty());
}

#[tokio::test(start_paused = true)]
async fn record_after_an_outcome_says_so() {
    let world = World::new();
    let digest = violating(&world, &["1.0"]);
    world.run_to_the_end().await;
    let (record, _) = records(&world, &digest).remove(0);
    let outcome = Record::Outcome(Closing {
        closes: [record].into(),
        restored: [tagwarden::domain::names::Tag::parse("1.0").unwrap()].into(),
        ..Closing::default()
    });
    super::holds::attach(&world, &digest, &outcome, None);
    world.sim.tag_image(&world.repository, "1.0", &digest);
    // The same event comes again.
    world.send(&event_of(&world, &digest, &["1.0"]));

    world.run_to_the_end().await;

    let after: Vec<_> = quarantines(&world, &digest).iter().map(|one| one.after_outcomes).collect();
    assert_eq!(after, [0, 1]);
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn full_repository_is_notified_with_all_names_before_any_is_removed() {
    let world = World::new();
    let digest = violating(&world, &["1.0", "latest"]);
    world.sim.set_image_limit(&world.repository, 1);

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert!(records(&world, &digest).is_empty());
    let [first, second] = &world.notices()[..] else { panic!("{:?}", world.notices()) };
    assert_eq!((&first["action"], &second["action"]), (&json!("blocked"), &json!("quarantined")));
    assert_eq!(first["tags"]["kept"], json!(["1.0", "latest"]));
    let reason = first["reasons"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(reason.contains("the repository is full"), "{reason}");
    assert!(!first.to_string().contains("removed nothing"), "{first}");
    let story = world.story();
    let place = |operation: &str| story.iter().position(|one| one == operation).unwrap();
    assert!(place("Publish") < place("BatchDeleteImage"), "{story:?}");
    let metrics = app.instruments().render().unwrap();
    let line = r#"tagwarden_image_actions_total{action="record",mode="enforce",outcome="full"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn later_slices_say_too_that_nothing_was_recorded() {
    let world = super::restores::configured(World::new()).set("LIMITS__UNTAGS_PER_HOUR", "2");
    let digest = violating(&world, &["a", "b", "c", "d", "e"]);
    // The first slice finds that a tag has moved, so that there is room for another one.
    world.sim.set_faults(vec![super::support::moves_tag(&world, "a")]);
    world.sim.set_image_limit(&world.repository, 1);
    let test = async {
        world.sim.wait_until(|sim| sim.calls_of("BatchDeleteImage").len() == 2).await;
        sleep(Duration::from_secs(60)).await;
    };

    world.run_while(test).await;

    let removed = world.notices().into_iter().filter(|one| one["action"] == "quarantined");
    let removed: Vec<_> = removed.collect();
    let untagged: Vec<_> = removed.iter().map(|one| one["tags"]["untagged"].clone()).collect();
    assert_eq!(untagged, [json!(["b"]), json!(["c"])]);
    for notice in &removed {
        assert_eq!(notice["undo"]["command"], Value::Null, "no record, no restore: {notice}");
    }
    assert!(records(&world, &digest).is_empty());
}

#[tokio::test(start_paused = true)]
async fn full_repository_loses_no_tag_while_nobody_can_be_notified() {
    let world = World::new();
    let digest = violating(&world, &["1.0"]);
    world.sim.set_image_limit(&world.repository, 1);
    world.sim.set_faults(FaultRule::on("Publish").error("InternalError"));
    world.run_while(sleep(HOUR / 2)).await;
    assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn refused_record_is_a_refusal_and_nothing_is_removed() {
    for code in ["AccessDeniedException", "KmsException"] {
        let world = World::new();
        let digest = violating(&world, &["1.0"]);
        world.sim.set_faults(FaultRule::on("PutImage").skip(1).error(code));
        let test = async {
            sleep(HOUR / 3).await;
            assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine(&digest)], "{code}");
            assert_eq!(world.sim.queue(QUEUE).messages.len(), 1, "{code}");
            world.sim.clear_faults();
            world.done().await;
        };
        world.run_while(test).await;
        assert_eq!(world.tags(&digest), [quarantine(&digest)], "{code}");
        assert_eq!(quarantines(&world, &digest).len(), 1, "{code}");
        assert_eq!(world.dead_letters(), 0, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn record_that_ecr_rejects_is_notified_and_nothing_is_removed() {
    let world = World::new();
    let digest = violating(&world, &["1.0"]);
    world.sim.set_faults(FaultRule::on("PutImage").skip(1).error("InvalidParameterException"));

    let app = world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine(&digest)]);
    assert_eq!(settled(&app), [("delete blocked".to_owned(), 1)]);
    let notice = world.notice();
    assert_eq!(notice["action"], "blocked");
    let reason = notice["reasons"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(reason.starts_with("the record is refused: "), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn refused_blob_is_a_refusal_too() {
    let world = fresh();
    let digest = violating(&world, &["1.0"]);
    world.sim.set_faults(FaultRule::on("InitiateLayerUpload").error("AccessDeniedException"));
    let test = async {
        sleep(HOUR / 3).await;
        assert_eq!(world.tags(&digest), ["1.0".to_owned(), quarantine(&digest)]);
        world.sim.clear_faults();
        world.done().await;
    };
    world.run_while(test).await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn blob_whose_upload_breaks_off_or_comes_late_blocks_nothing() {
    let lost = || FaultRule::on("UploadLayerPart").fault(Fault::ConnectionResetAfter).once();
    // The first put finds no blob, and the second one comes before ECR knows of it.
    let late = || FaultRule::on("PutImage").skip(2).error("LayersNotFoundException").once();
    for fault in [lost(), late()] {
        let world = fresh();
        let digest = violating(&world, &["1.0"]);
        world.sim.set_faults(fault);

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), [quarantine(&digest)]);
        assert_eq!(world.notice()["action"], "quarantined");
        let all = ["delete quarantined", "redrive rejected"].map(|one| (one.to_owned(), 1));
        assert_eq!(settled(&app), all);
        assert_eq!(world.dead_letters(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn records_that_are_off_are_not_written_and_the_notice_says_so() {
    let world = World::new().set("REGISTRY__RECORDS", "off");
    let digest = violating(&world, &["1.0"]);

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(puts_of_records(&world), 0);
    let notice = world.notice();
    let reason = notice["reasons"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(
        reason.contains("nothing is recorded on the image (registry.records is off)"),
        "{reason}"
    );
}

#[tokio::test(start_paused = true)]
async fn events_of_our_own_records_cost_no_call() {
    let world = World::with(SimConfig::default());
    world.route(json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Action"]}));
    let digest = violating(&world, &["1.0"]);

    let app = world.run_to_the_end().await;

    assert_eq!(quarantines(&world, &digest).len(), 1);
    assert_eq!(count(&world, "DescribeImageScanFindings"), 1);
    let ignored = settled(&app).into_iter().find(|(what, _)| what == "delete ignored");
    // The push of the mark, that of the record, and the removal.
    assert!(ignored.is_some_and(|(_, messages)| messages >= 3), "{:?}", settled(&app));
}
