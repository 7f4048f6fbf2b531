//! Requests to give tags back, to hold an image, and to end a hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sim::{FaultRule, RepoKey, ScanResult, SimConfig};
use serde_json::{Value, json};
use tagwarden::domain::findings::SeverityCounts;
use tagwarden::domain::names::{AccountId, Digest, Region, Repository, RepositoryName, Tag};
use tagwarden::domain::record::{
    Hold, Quarantined, Record, RecordManifest, RestoreKeys, SubjectDescriptor,
};

use super::support::{QUEUE, World, critical, quarantine, settled};

mod holds;
mod interrupted;
mod judged;
mod records;
mod refused;
mod whole;

pub(crate) const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
pub(crate) const OTHER_KEY: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
/// May ask for tags.
pub(crate) const OPERATOR: &str = "AROAOPERATOR00000001";
/// May also ask for holds.
pub(crate) const HOLDER: &str = "AROAHOLDER0000000001";

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn world() -> World {
    configured(World::new())
}

pub(crate) fn configured(world: World) -> World {
    let senders = [OPERATOR, HOLDER].join(",");
    world
        .set("RESTORE__KEY", KEY)
        .set("RESTORE__SENDERS", &senders)
        .set("RESTORE__HOLD_SENDERS", HOLDER)
}

pub(crate) fn clean() -> ScanResult {
    ScanResult::basic(&[("LOW", 3)])
}

fn tags(names: &[&str]) -> BTreeSet<Tag> {
    names.iter().map(|tag| Tag::parse(*tag).unwrap()).collect()
}

pub(crate) fn keys(text: &str) -> Option<RestoreKeys> {
    Some(RestoreKeys::parse(text).unwrap())
}

pub(crate) fn place(repository: &RepoKey) -> Repository {
    Repository {
        account: AccountId::parse(repository.account.as_str()).unwrap(),
        region: Region::parse(repository.region.as_str()).unwrap(),
        name: RepositoryName::parse(repository.name.as_str()).unwrap(),
    }
}

pub(crate) fn removal(of: &[&str]) -> Record {
    Record::Quarantine(Box::new(Quarantined {
        tags: tags(of),
        delete: false,
        rule: "base".to_owned(),
        reasons: vec!["critical 1 > 0".to_owned()],
        counts: SeverityCounts::default(),
        findings: Vec::new(),
        cause: None,
        platform: None,
        event: "event-1".to_owned(),
        event_time: None,
        notice: "notice-1".to_owned(),
        policy: "fingerprint".to_owned(),
        after_outcomes: 0,
    }))
}

/// The manifest of a record about an image, signed with these keys.
pub(crate) fn manifest(
    repository: &Repository,
    digest: &str,
    record: &Record,
    keys: Option<&RestoreKeys>,
) -> String {
    let digest = Digest::parse(digest).unwrap();
    let subject = SubjectDescriptor { digest, media_type: MANIFEST.to_owned(), size: 1 };
    RecordManifest::new(record, repository, &subject, keys).text
}

fn attach(world: &World, digest: &str, record: &Record, keys: Option<&RestoreKeys>) -> String {
    let text = manifest(&place(&world.repository), digest, record, keys);
    world.sim.push_manifest(&world.repository, &[], &text)
}

/// An image that lost these tags, with a record of it.
pub(crate) fn removed(world: &World, names: &[&str], scan: ScanResult) -> String {
    let digest = world.image(names, scan);
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    attach(world, &digest, &removal(names), keys(KEY).as_ref());
    names.iter().for_each(|tag| world.sim.untag_image(&world.repository, tag));
    digest
}

fn request(digest: &str, fields: &Value) -> Value {
    let mut detail = json!({"repository": "team/app", "digest": digest});
    detail.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"source": "tagwarden", "detail-type": "Restore Image", "detail": detail})
}

/// The fields of a request to hold an image for some hours.
pub(crate) fn hold(world: &World, hours: u64) -> Value {
    let until = world.sim.now() + Duration::from_secs(hours * 3600);
    json!({
        "until": humantime::format_rfc3339_seconds(until).to_string(),
        "reason": "prod down, SEC-99",
        "owner": "me@example.com",
    })
}

/// Sends a request as somebody's session; its message id.
pub(crate) fn ask(world: &World, sender: &str, digest: &str, fields: &Value) -> String {
    send(world, sender, &request(digest, fields).to_string())
}

/// Sends a message as somebody's session; its id.
pub(crate) fn send(world: &World, sender: &str, body: &str) -> String {
    world.sim.send_message_as(QUEUE, body, &format!("{sender}:session"))
}

/// Writes a hold of some hours, as if somebody had asked for it.
pub(crate) fn held(world: &World, digest: &str, request: &str) {
    let hold = Hold {
        until: world.sim.now() + Duration::from_secs(24 * 3600),
        issued: world.sim.now(),
        reason: "prod down".to_owned(),
        owner: "me@example.com".to_owned(),
        request: request.to_owned(),
        sender: HOLDER.to_owned(),
    };
    attach(world, digest, &Record::Hold(hold), keys(KEY).as_ref());
}

/// The annotations of the records of this kind, oldest first, without the prefix of their names.
fn records(world: &World, digest: &str, kind: &str) -> Vec<BTreeMap<String, String>> {
    let referrers = world.sim.referrers(&world.repository, digest).into_iter();
    let annotations = referrers.map(|referrer| {
        let named = referrer.annotations.into_iter();
        named.map(|(name, value)| (name.replace("tagwarden.", ""), value)).collect()
    });
    annotations.filter(|record: &BTreeMap<_, _>| record["kind"] == kind).collect()
}

/// The tags of the PutImage calls, in order; none for a record.
fn puts(world: &World) -> Vec<Option<String>> {
    let calls = world.sim.calls_of("PutImage").into_iter();
    calls.map(|call| call.request["imageTag"].as_str().map(str::to_owned)).collect()
}

/// The acts of the metric that were counted, such as `restore done 2`.
fn acts(app: &tagwarden::app::App) -> Vec<String> {
    let metrics = app.instruments().render().unwrap();
    let lines = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix("tagwarden_image_actions_total{action=\"")?;
        let (action, rest) = labels.split_once("\",mode=\"")?;
        let (_, rest) = rest.split_once("\",outcome=\"")?;
        let (outcome, count) = rest.split_once("\"} ")?;
        (count != "0").then(|| format!("{action} {outcome} {count}"))
    });
    lines.collect()
}

fn settled_as(app: &tagwarden::app::App) -> Vec<String> {
    settled(app).into_iter().map(|(word, _)| word).collect()
}

#[tokio::test(start_paused = true)]
async fn tags_come_back_to_an_image_that_is_within_the_policy() {
    for mutability in ["MUTABLE", "IMMUTABLE"] {
        let world = world();
        world.sim.set_tag_mutability(&world.repository, mutability, &[]);
        let digest = removed(&world, &["1.0", "latest"], clean());
        let id = ask(&world, OPERATOR, &digest, &json!({}));

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
        assert_eq!(settled_as(&app), ["delete restored"]);
        assert_eq!(acts(&app), ["restore done 2"]);
        let notice = world.notice();
        assert_eq!(notice["action"], "restored");
        assert_eq!(notice["answer"]["restored"], json!(["1.0", "latest"]));
        assert_eq!(notice["answer"]["request"], json!(id));
        assert_eq!(notice["answer"]["sender"], json!(format!("{OPERATOR}:session")));
        let outcomes = records(&world, &digest, "outcome");
        assert_eq!(outcomes.len(), 1);
        assert_eq!(outcomes[0]["restored"], r#"["1.0","latest"]"#);
        assert_eq!(outcomes[0]["request"], id);
        assert!(outcomes[0].contains_key("mac"));
        // The image is read, and then each tag once before it is put.
        let reads = world.sim.calls_of("DescribeImages").into_iter();
        let of_tags = reads.filter(|call| call.request["imageIds"][0]["imageTag"].is_string());
        assert_eq!(of_tags.count(), 2);
        let kept = &notice["tags"]["kept"];
        assert_eq!(*kept, json!(["1.0", "latest"]), "the quarantine tag is not one of them");
        // Each tag is put once, and the outcome comes last.
        let tags = [Some("1.0".to_owned()), Some("latest".to_owned()), None];
        assert_eq!(puts(&world), tags, "{mutability}");
    }
}

#[tokio::test(start_paused = true)]
async fn tags_come_back_to_an_index_whose_images_are_within_the_policy() {
    let world = world();
    let child = world.image(&[], clean());
    let digest =
        world.sim.push_index(&world.repository, &["1.0"], &[(child.as_str(), "linux/amd64")]);
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    attach(&world, &digest, &removal(&["1.0"]), keys(KEY).as_ref());
    world.sim.untag_image(&world.repository, "1.0");
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn request_narrows_the_tags_and_adds_none() {
    let world = world();
    let digest = removed(&world, &["1.0", "latest"], clean());
    ask(&world, OPERATOR, &digest, &json!({"tags": ["1.0", "never"]}));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    let answer = &world.notice()["answer"];
    assert_eq!(answer["restored"], json!(["1.0"]));
    assert_eq!(answer["left"][0]["tag"], "never");
    let outcome = &records(&world, &digest, "outcome")[0];
    assert_eq!(outcome["restored"], r#"["1.0"]"#);
    assert!(outcome["refused"].starts_with("never: no open record"), "{outcome:?}");

    // The rest is still open.
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", "latest", &quarantine(&digest)]);
    assert_eq!(world.notices()[1]["answer"]["restored"], json!(["latest"]));
}

#[tokio::test(start_paused = true)]
async fn tag_that_somebody_pushed_anew_is_left_alone() {
    for mutability in ["MUTABLE", "IMMUTABLE"] {
        let world = world();
        world.sim.set_tag_mutability(&world.repository, mutability, &[]);
        let digest = removed(&world, &["1.0", "latest"], clean());
        let newer = world.sim.push_image(&world.repository, &["latest"], "newer");
        ask(&world, OPERATOR, &digest, &json!({}));

        let app = world.run_to_the_end().await;

        assert_eq!(world.tags(&newer), ["latest"]);
        assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
        assert_eq!(acts(&app), ["restore done 1", "restore superseded 1"]);
        let answer = &world.notice()["answer"];
        assert_eq!(answer["superseded"], json!(["latest"]), "{mutability}");
        let outcome = &records(&world, &digest, "outcome")[0];
        assert_eq!(outcome["superseded"], r#"["latest"]"#);
    }
}

#[tokio::test(start_paused = true)]
async fn tag_that_is_pushed_between_the_read_and_the_put_stays_where_tags_are_immutable() {
    let world = world();
    world.sim.set_tag_mutability(&world.repository, "IMMUTABLE", &[]);
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    let repository = world.repository.clone();
    let push = move |sim: &aws_sim::Sim| drop(sim.push_image(&repository, &["1.0"], "newer"));
    world.sim.set_faults(FaultRule::on("PutImage").once().act(push));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(world.notice()["answer"]["superseded"], json!(["1.0"]));
}

#[tokio::test(start_paused = true)]
async fn put_whose_answer_is_lost_is_not_repeated_but_read() {
    for (takes_effect, puts) in [(true, 1), (false, 2)] {
        let world = world();
        let digest = removed(&world, &["1.0"], clean());
        ask(&world, OPERATOR, &digest, &json!({}));
        let rule = FaultRule::on("PutImage").once();
        world.sim.set_faults(if takes_effect { rule.reset_after() } else { rule.reset() });

        world.run_to_the_end().await;

        assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
        let of_tag = super::restores::puts(&world).into_iter().flatten().count();
        assert_eq!(of_tag, puts, "without an effect the message comes again");
        assert_eq!(records(&world, &digest, "outcome").len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn image_that_violates_the_policy_stays_in_quarantine_until_the_policy_is_corrected() {
    let world = world();
    let digest = removed(&world, &["1.0"], critical());
    ask(&world, OPERATOR, &digest, &json!({"request": "one"}));
    let app = world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert_eq!(settled_as(&app), ["delete restore_refused"]);
    assert_eq!(acts(&app), ["restore refused 1"]);
    let notice = world.notice();
    assert_eq!(notice["action"], "refused");
    let why = notice["answer"]["refused"].as_str().unwrap();
    assert!(
        why.starts_with("the image still violates the policy: critical 1 exceeds the limit of 0"),
        "{why}"
    );
    let outcome = &records(&world, &digest, "outcome")[0];
    assert_eq!((outcome["request"].as_str(), outcome["refused"].as_str()), ("one", why));
    assert_eq!(outcome["closes"], "[]");

    let world = world.with_file("[policy.max_findings]\ncritical = 9\nhigh = 9\n");
    // The same request is answered already; a new one is carried out.
    ask(&world, OPERATOR, &digest, &json!({"request": "one"}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    ask(&world, OPERATOR, &digest, &json!({"request": "two"}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn policy_that_leaves_the_repository_out_gives_its_tags_back() {
    let world = world().set("POLICY__REPOSITORIES__EXCLUDE", "team/*");
    let digest = removed(&world, &["1.0"], critical());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn request_is_carried_out_in_audit_mode_too() {
    let world = world().set("POLICY__MODE", "audit");
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    assert_eq!(world.notice()["mode"], "audit");
}

#[tokio::test(start_paused = true)]
async fn request_that_is_sent_twice_does_nothing_twice() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({"request": "one"}));
    ask(&world, OPERATOR, &digest, &json!({"request": "one"}));
    let app = world.run_to_the_end().await;
    assert_eq!(settled(&app), [("delete restored".to_owned(), 2)]);
    assert_eq!(puts(&world).len(), 2, "the tag and the outcome");
    assert_eq!(world.notices().len(), 1);

    // Nor when the tag is removed again: that needs a new request.
    world.sim.untag_image(&world.repository, "1.0");
    ask(&world, OPERATOR, &digest, &json!({"request": "one"}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn two_workers_carry_out_one_request_together() {
    let world = configured(World::with(SimConfig::default())).set("QUEUE__MAX_IN_FLIGHT", "1");
    let digest = removed(&world, &["1.0", "1.1", "latest"], clean());
    let id = ask(&world, OPERATOR, &digest, &json!({}));
    let (one, other) = (world.app(), world.app());
    let sim = world.sim.clone();
    // The second delivery is in work at the other worker while the first one puts tags.
    let shown = async {
        sim.wait_until(|sim| !sim.calls_of("PutImage").is_empty()).await;
        sim.make_visible(QUEUE, &id);
        sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty()).await;
    };
    let shutdown = tagwarden::shutdown::Shutdown::default();
    tokio::select! {
        biased;
        ended = one.work(&shutdown) => panic!("{ended:?}"),
        ended = other.work(&shutdown) => panic!("{ended:?}"),
        () = shown => {}
    }
    assert_eq!(world.tags(&digest), ["1.0", "1.1", "latest", &quarantine(&digest)]);
    let ids: BTreeSet<_> = world.notices().iter().map(|notice| notice["id"].to_string()).collect();
    assert_eq!(ids.len(), 1, "both tell of one request");
    assert_eq!(world.dead_letters(), 0);
}

#[tokio::test(start_paused = true)]
async fn request_and_event_about_one_image_do_not_work_at_once() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.scanned(&digest);
    let slow = FaultRule::on("ListImageReferrers").delay(Duration::from_secs(5));
    world.sim.set_faults(slow);
    world.run_to_the_end().await;
    // The findings are read once between the records and the outcome: for the request itself.
    let story = world.story();
    let (first, last) = (
        story.iter().position(|call| call == "ListImageReferrers").unwrap(),
        story.iter().rposition(|call| call == "PutImage").unwrap(),
    );
    let looks = story[first..last].iter().filter(|call| *call == "DescribeImageScanFindings");
    assert_eq!(looks.count(), 1, "{story:?}");
}
