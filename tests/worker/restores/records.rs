//! Only records that a key of the worker has signed count.

use super::*;
use tagwarden::domain::record::record_id;

/// An image without a tag but the quarantine tag, and nothing that says which it had.
fn bare(world: &World, content: &str) -> String {
    let digest = world.sim.push_image(&world.repository, &[], content);
    world.sim.tag_image(&world.repository, &quarantine(&digest), &digest);
    world.sim.set_findings(&world.repository, &digest, clean());
    digest
}

async fn nothing_is_given_back(world: &World, digest: &str) -> String {
    ask(world, OPERATOR, digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(digest), [quarantine(digest)]);
    world.notice()["answer"]["refused"].to_string()
}

#[tokio::test(start_paused = true)]
async fn record_that_is_unsigned_forged_copied_or_altered_gives_no_tag_back() {
    let forged: [fn(&World, &str); 6] = [
        |world, digest| drop(attach(world, digest, &removal(&["1.0"]), None)),
        |world, digest| drop(attach(world, digest, &removal(&["1.0"]), keys(OTHER_KEY).as_ref())),
        // Of another image.
        |world, digest| {
            let other = Digest::parse(format!("sha256:{}", "b".repeat(64))).unwrap();
            let place = place(&world.repository);
            let text = manifest(&place, other.as_str(), &removal(&["1.0"]), keys(KEY).as_ref());
            let text = text.replace(other.as_str(), digest);
            world.sim.push_manifest(&world.repository, &[], &text);
        },
        // Of another repository.
        |world, digest| {
            let mut place = place(&world.repository);
            place.name = RepositoryName::parse("team/web").unwrap();
            let text = manifest(&place, digest, &removal(&["1.0"]), keys(KEY).as_ref());
            world.sim.push_manifest(&world.repository, &[], &text);
        },
        // With another tag.
        |world, digest| {
            let place = place(&world.repository);
            let text = manifest(&place, digest, &removal(&["1.0"]), keys(KEY).as_ref());
            world.sim.push_manifest(&world.repository, &[], &text.replace("1.0", "2.0"));
        },
        // With more than was signed.
        |world, digest| {
            let place = place(&world.repository);
            let text = manifest(&place, digest, &removal(&["1.0"]), keys(KEY).as_ref());
            let text = text.replace("\"annotations\":{", "\"annotations\":{\"a\":\"b\",");
            world.sim.push_manifest(&world.repository, &[], &text);
        },
    ];
    for forge in forged {
        let world = world();
        let digest = bare(&world, "bare");
        forge(&world, &digest);
        let why = nothing_is_given_back(&world, &digest).await;
        assert!(why.contains("1 records of it are not signed with a key of this worker"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn forged_outcome_neither_closes_a_tag_nor_answers_a_request() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    let record = record_id(&world.sim.referrers(&world.repository, &digest)[0].annotations);
    let outcome = tagwarden::domain::record::Closing {
        request: Some("one".to_owned()),
        closes: BTreeSet::from([record]),
        restored: tags(&["1.0"]),
        ..Default::default()
    };
    attach(&world, &digest, &Record::Outcome(outcome), keys(OTHER_KEY).as_ref());
    ask(&world, OPERATOR, &digest, &json!({"request": "one"}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
}

#[tokio::test(start_paused = true)]
async fn keys_rotate() {
    // The record is signed with the old key, which the worker still knows.
    let world = world().set("RESTORE__KEY", &format!("{OTHER_KEY} {KEY}"));
    let digest = removed(&world, &["1.0"], clean());
    ask(&world, OPERATOR, &digest, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), ["1.0", &quarantine(&digest)]);
    let quarantined = &records(&world, &digest, "quarantine")[0]["key"];
    assert_ne!(records(&world, &digest, "outcome")[0]["key"], *quarantined);

    // The worker knows it no longer.
    let world = super::world().set("RESTORE__KEY", OTHER_KEY);
    let digest = removed(&world, &["1.0"], clean());
    nothing_is_given_back(&world, &digest).await;
}

#[tokio::test(start_paused = true)]
async fn stolen_key_signs_nothing_that_is_pushed_after_its_end() {
    let world = world();
    let end = world.sim.now() + Duration::from_secs(60);
    let end = humantime::format_rfc3339_seconds(end);
    let world = world.set("RESTORE__KEY", &format!("{OTHER_KEY} {KEY}@{end}"));
    let before = removed(&world, &["1.0"], clean());
    tokio::time::sleep(Duration::from_secs(61)).await;
    let after = removed(&world, &["2.0"], clean());
    ask(&world, OPERATOR, &before, &json!({}));
    ask(&world, OPERATOR, &after, &json!({}));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&before), ["1.0", &quarantine(&before)]);
    assert_eq!(world.tags(&after), [quarantine(&after)]);
}

#[tokio::test(start_paused = true)]
async fn image_with_more_artifacts_than_are_read_is_refused() {
    let world = world();
    let digest = removed(&world, &["1.0"], clean());
    let artifact = |at: u32| {
        let number = at.to_string();
        let kind = tagwarden::domain::record::ARTIFACT_TYPE;
        world.sim.push_referrer(&world.repository, &digest, kind, &[("n", &number)]);
    };
    (0..1_000).for_each(artifact);
    ask(&world, HOLDER, &digest, &hold(&world, 1));
    world.run_to_the_end().await;
    assert_eq!(world.tags(&digest), [quarantine(&digest)]);
    assert!(world.changes().is_empty());
    let why = world.notice()["answer"]["refused"].to_string();
    assert!(why.contains("too many artifacts"), "{why}");
}
