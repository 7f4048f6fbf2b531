//! Indexes that are too large, too deep, or incomplete are judged by the known images, and never
//! count as clean.

use aws_sim::manifest::{self, Entry};
use aws_sim::{FaultRule, ScanResult};
use serde_json::{Value, json};

use super::{child, clean, push_of, scanned};
use crate::support::{World, critical, quarantine, settled};

fn push(world: &World, tags: &[&str], entries: &[Entry]) -> String {
    world.sim.push_manifest(&world.repository, tags, &manifest::index_of(entries))
}

/// This many images without a tag.
fn many(world: &World, count: usize, scan: &ScanResult) -> Vec<Entry> {
    let digests = (0..count).map(|at| child(world, &format!("child {at}"), Some(scan.clone())));
    digests.map(|digest| Entry::image(&digest)).collect()
}

/// Nested indexes with this many levels. The outermost has the tag.
fn chain(world: &World, tag: &str, levels: usize, innermost: &str) -> String {
    let inner = (1..levels)
        .fold(Entry::image(innermost), |entry, _| Entry::index(&push(world, &[], &[entry])));
    push(world, &[tag], &[inner])
}

fn digest_of_nothing() -> String {
    format!("sha256:{}", "f".repeat(64))
}

/// Each kind of incompletely known index, by the text of its reason.
fn uncertain(world: &World, known: &Entry) -> Vec<(String, &'static str)> {
    let leaf = child(world, "deep", Some(clean()));
    let deep = chain(world, "deep", 4, &leaf);
    let mut large = vec![known.clone()];
    large.extend(many(world, 510, &clean()));
    let gone = Entry::index(&digest_of_nothing());
    let strange = Entry::image("sha512:abc");
    let push = |tag, entries: &[Entry]| push(world, &[tag], entries);
    vec![
        (push("large", &large), "11 of its entries exceed the limit of 500"),
        (push("deeper", &[known.clone(), Entry::index(&deep)]), "are deeper than 4 levels"),
        (push("gone", &[gone, known.clone()]), "missing or cannot be read, such as sha256:fff"),
        (push("strange", &[strange, known.clone()]), "1 of its entries cannot be understood"),
    ]
}

fn sweep() -> Value {
    json!({"source": "tagwarden", "detail-type": "Sweep Registry", "detail": {}})
}

#[tokio::test(start_paused = true)]
async fn incompletely_known_index_is_blocked_with_one_notice() {
    for rule in ["any", "all"] {
        let world = World::new().set("POLICY__INDEX", rule);
        let known = Entry::image(&child(&world, "known", Some(clean())));
        world.route(push_of("large"));
        for tag in ["deeper", "gone", "strange"] {
            world.sim.put_rule(tag, push_of(tag), crate::support::QUEUE);
        }
        let uncertain = uncertain(&world, &known);
        // Sends the event of each of them a second time.
        for event in world.sim.events() {
            let tag = event["detail"]["image-tag"].as_str().unwrap_or_default();
            if ["large", "deeper", "gone", "strange"].contains(&tag) {
                world.send(&event);
            }
        }

        let app = world.run_to_the_end().await;

        assert!(world.changes().is_empty(), "{rule}");
        let notices = world.notices();
        assert_eq!(notices.len(), 4, "{rule}: {notices:#?}");
        for (index, what) in &uncertain {
            let of = |notice: &&Value| notice["image"]["digest"] == index.as_str();
            let notice = notices.iter().find(of).unwrap();
            assert_eq!(notice["action"], "blocked", "{rule} {what}");
            let reason = notice["reasons"][0].as_str().unwrap();
            assert!(reason.contains(what), "{rule} {what}: {reason}");
            assert_eq!(notice["tags"]["kept"].as_array().unwrap().len(), 1, "{rule} {what}");
        }
        let count: u64 = settled(&app).iter().map(|(_, count)| count).sum();
        assert_eq!(count, 8, "{:?}", settled(&app));
        assert_eq!(world.dead_letters(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn bad_image_within_the_bounds_untags_an_incompletely_known_index() {
    let world = World::new();
    let known = Entry::image(&child(&world, "known", Some(critical())));
    world.route(json!({"detail-type": ["ECR Image Action"]}));
    let uncertain = uncertain(&world, &known);

    world.run_to_the_end().await;

    let (mut gone, mut blocked) = (0, 0);
    for (index, what) in &uncertain {
        let notices = world.notices();
        let of = |notice: &&Value| notice["image"]["digest"] == index.as_str();
        let notice = notices.iter().find(of).unwrap();
        if world.tags(index) == [quarantine(index)] {
            gone += 1;
            assert_eq!(notice["action"], "quarantined", "{what}");
        } else {
            blocked += 1;
            let reasons = notice["reasons"].to_string();
            // ECR accepts no mark on an index with missing parts.
            assert!(reasons.contains("the quarantine tag is refused"), "{what}: {reasons}");
        }
    }
    assert_eq!((gone, blocked), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn incompletely_known_index_keeps_its_tags_by_the_rule_all_with_a_notice() {
    let world = World::new().set("POLICY__INDEX", "all");
    let bad = child(&world, "known", Some(critical()));
    let index = push(&world, &["gone"], &[Entry::index(&digest_of_nothing()), Entry::image(&bad)]);
    world.send(&scanned(&bad));

    world.run_to_the_end().await;

    assert_eq!(world.tags(&index), ["gone"]);
    assert_eq!(world.notice()["action"], "blocked");
}

#[tokio::test(start_paused = true)]
async fn sweep_counts_incompletely_known_indexes_and_notifies_each_by_name() {
    for mode in ["enforce", "audit"] {
        let world = World::new().set("POLICY__MODE", mode).set("SWEEP__RESCAN_AFTER", "never");
        let known = Entry::image(&child(&world, "known", Some(clean())));
        let uncertain = uncertain(&world, &known);
        world.send(&sweep());

        world.run_to_the_end().await;

        let (summary, notices): (Vec<_>, Vec<_>) =
            world.notices().into_iter().partition(|one| one["schema"] == "tagwarden.sweep/1");
        assert_eq!(summary[0]["images"]["index_only"], 4, "{mode}");
        let notified: Vec<_> = notices.iter().map(|notice| &notice["image"]["digest"]).collect();
        // Audit mode counts the images, and sends no messages about them.
        let expected = if mode == "audit" { 0 } else { uncertain.len() };
        assert_eq!(notified.len(), expected, "{mode}");
        for (index, what) in uncertain.iter().take(expected) {
            assert!(notified.contains(&&json!(index)), "{mode} {what}");
        }
        assert!(world.changes().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn four_levels_are_followed_and_a_fifth_is_not() {
    for levels in [4, 5] {
        let world = World::new();
        let bad = child(&world, "bad", Some(critical()));
        world.route(push_of("1.0"));
        let index = chain(&world, "1.0", levels, &bad);

        world.run_to_the_end().await;

        let gone = world.tags(&index) == [quarantine(&index)];
        assert_eq!(gone, levels == 4);
        let action = if gone { "quarantined" } else { "blocked" };
        assert_eq!(world.notice()["action"], action, "{levels}");
    }
}

#[tokio::test(start_paused = true)]
async fn missing_or_archived_images_do_not_affect_the_others() {
    for bad in [false, true] {
        let world = World::new();
        let scan = if bad { critical() } else { clean() };
        let there = child(&world, "there", Some(scan));
        let archived = child(&world, "archived", Some(critical()));
        world.sim.archive_image(&world.repository, &archived);
        world.route(push_of("1.0"));
        let gone = Entry::image(&digest_of_nothing());
        let entries = [Entry::image(&archived), gone, Entry::image(&there)];
        let index = push(&world, &["1.0"], &entries);

        let app = world.run_to_the_end().await;

        // ECR accepts no mark on an index with missing parts.
        assert_eq!(world.tags(&index), ["1.0"]);
        let outcome = if bad { "delete blocked" } else { "delete clean" };
        assert_eq!(settled(&app), [(outcome.to_owned(), 1)]);
        let calls = world.sim.calls_of("DescribeImages").len();
        assert_eq!(calls, 4, "not one for each image");
    }
}

#[tokio::test(start_paused = true)]
async fn manifests_too_large_for_one_answer_are_read_in_halves() {
    let world = World::new();
    let bad = child(&world, "bad", Some(critical()));
    let padding = "x".repeat(400_000);
    let indexes: Vec<_> = (0..5)
        .map(|number| {
            let entry = Entry::image(&bad).with("annotations", json!({"padding": padding}));
            push(&world, &[&format!("v{number}")], &[entry.with("size", json!(number))])
        })
        .collect();
    world.send(&scanned(&bad));

    world.run_to_the_end().await;

    for index in &indexes {
        assert_eq!(world.tags(index), [quarantine(index)]);
    }
    assert_eq!(world.dead_letters(), 0);
    let asked = world.sim.calls_of("BatchGetImage").into_iter();
    let asked: Vec<_> =
        asked.map(|call| call.request["imageIds"].as_array().unwrap().len()).collect();
    // In halves until an answer fits, and then a read before each mark: its digest and ten tags.
    assert_eq!(asked, [5, 3, 2, 1, 2, 11, 11, 11, 11, 11]);
}

#[tokio::test(start_paused = true)]
async fn temporary_failure_to_read_an_inner_index_is_no_gap() {
    let world = World::new();
    let good = child(&world, "good", Some(clean()));
    let inner = push(&world, &[], &[Entry::image(&good)]);
    world.route(push_of("1.0"));
    push(&world, &["1.0"], &[Entry::index(&inner)]);
    // The outer index is read, and the inner one fails for all attempts of the SDK.
    world.sim.set_faults(FaultRule::on("BatchGetImage").skip(1).first(4).error("ServerException"));

    let app = world.run_to_the_end().await;

    assert!(world.notices().is_empty(), "{:#?}", world.notices());
    let outcomes = settled(&app);
    assert!(outcomes.contains(&("delete clean".to_owned(), 1)), "{outcomes:?}");
}
