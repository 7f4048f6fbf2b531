//! `tagwarden explain IMAGE` answers "why did my tag vanish" by the records on images.

use aws_sim::FaultRule;
use serde_json::{Value, json};
use tagwarden::domain::record::{Closing, Record, Refusal};

use super::quarantine::{
    a_minute_passes, digest, finding, given_back, hold, manifest, mark, night, removal, settled,
    tags, vulnerable, withdrawal,
};
use super::support::{ACCOUNT, REGION, Shown, World};

async fn explain(world: &World, image: &str) -> Shown {
    let shown = world.run(&["explain", image], "").await;
    assert_eq!(world.changes(), [] as [&str; 0]);
    shown
}

async fn document(world: &World, image: &str) -> Value {
    world.run(&["explain", "--format", "json", image], "").await.json()
}

/// The text without the day until which an image can be held, which is not the same tomorrow.
fn timeless(shown: &Shown) -> String {
    let text = settled(&shown.text());
    let words = text.split(' ').scan("", |before, word| {
        let word = if *before == "--until" { "DAY" } else { word };
        *before = word;
        Some(word)
    });
    words.collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn says(shown: &Shown, all: &[&str]) {
    for expected in all {
        let text = settled(&shown.stdout);
        assert!(text.contains(expected), "{expected:?} is missing:\n{text}");
    }
}

#[tokio::test]
async fn vanished_tag_is_explained_by_its_record() {
    let world = night().await;
    let (image, _) = world.quarantined(&world.repository, &["3.0.0", "3"]);
    // Others are in quarantine too, and have nothing to do with it.
    world.quarantined(&world.repository, &["2.0"]);
    let shown = explain(&world, "team/app:3.0.0").await;
    insta::assert_snapshot!(timeless(&shown).replace(&image[19..], "..."));
    for line in shown.stdout.lines() {
        assert!(line.chars().count() <= 80 || line.contains(&image), "{line:?}");
    }
    let document = document(&world, "team/app:3.0.0").await;
    let history = &document["history"][0];
    assert_eq!(document["history"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&history["digest"], &history["tag_now"], &history["open"], &history["signed"]),
        (&json!(image), &json!("removed"), &json!(["3", "3.0.0"]), &json!(true))
    );
    assert_eq!(history["restore"], "tagwarden restore team/app:3.0.0");
    let today =
        json!({"verdict": "removed_again", "because": ["critical 1 exceeds the limit of 0"]});
    assert_eq!(history["if_given_back"], today);
    assert_eq!(
        (&document["verdict"], &document["images"][0]["verdict"], &document["images"][0]["digest"]),
        (&json!("absent"), &json!("already_quarantined"), &json!(image))
    );
    let removal = &history["removals"][0];
    assert_eq!(
        (&removal["rule"], &removal["notice"]),
        (&json!("base"), &json!("9f4d8a36e1c25b70"))
    );
    assert_eq!(removal["findings"][0]["id"], "CVE-2021-44228");
}

#[tokio::test]
async fn digest_and_mark_lead_to_the_history_of_the_image() {
    let world = night().await;
    let child = world.image(&[], vulnerable());
    let index =
        world.sim.push_index(&world.repository, &["2.0"], &[(child.as_str(), "linux/arm64")]);
    world.mark(&world.repository, &index, &["2.0"]);
    let mut record = removal(&["2.0"]);
    record.cause = Some(digest(&child));
    record.platform = Some("linux/arm64".to_owned());
    record.findings =
        (0..9).map(|at| finding(&format!("CVE-2026-000{at}"), "HIGH", "openssl")).collect();
    world.record(&world.repository, &index, Record::Quarantine(Box::new(record)));
    let host = format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com");
    for image in [
        format!("team/app@{index}"),
        format!("team/app:{}", mark(&index)),
        format!("{host}/team/app:{}", mark(&index)),
    ] {
        let shown = explain(&world, &image).await;
        says(
            &shown,
            &[
                &format!("tags were removed from team/app@{} on 2026-11-30", &index[..19]),
                &format!("  because of linux/arm64, {}", &child[..19]),
                "  HIGH       CVE-2026-0004 openssl 2.14.1, fixed in 2.17.1\n",
                "             and 4 more findings that count\n",
                "  now        quarantined; missing: 2.0; pull by digest works:\n",
                &format!("             {host}/team/app@{index}\n"),
                &format!("hold it    tagwarden restore team/app@{index} \\\n"),
            ],
        );
    }
}

#[tokio::test]
async fn several_images_that_had_the_tag_are_all_told_the_newest_first() {
    let world = night().await;
    let (first, record) = world.quarantined(&world.repository, &["latest", "1"]);
    let moved = Closing {
        closes: [digest(&record)].into(),
        superseded: tags(&["latest"]),
        ..Closing::default()
    };
    world.record(&world.repository, &first, Record::Outcome(moved));
    a_minute_passes().await;
    let (second, _) = world.quarantined(&world.repository, &["latest", "2"]);
    let shown = explain(&world, "team/app:latest").await;
    let at = |digest: &str| {
        let head = format!("team/app:latest was removed from {}", &digest[..19]);
        shown.stdout.find(&head).unwrap_or_else(|| panic!("{head}: {}", shown.stdout))
    };
    assert!(at(&second) < at(&first), "{}", shown.stdout);
    says(&shown, &["  had moved  latest: 2026-11-30", "the tag was given back or had moved"]);
    // The tag is on a third image now.
    let third = world.image(&["latest"], aws_sim::ScanResult::basic(&[]));
    let shown = explain(&world, "team/app:latest").await;
    says(&shown, &[&format!("the tag is on another image, {}", &third[..19])]);
    assert!(!shown.stdout.contains("tagwarden restore team/app:latest"), "{}", shown.stdout);
    let document = document(&world, "team/app:latest").await;
    assert_eq!(document["history"][0]["tag_is_on"], json!(third));
    assert_eq!(document["history"][1]["tag_now"], "moved");
}

#[tokio::test]
async fn what_became_of_a_tag_is_told() {
    let world = night().await;
    let (image, record) = world.quarantined(&world.repository, &["1.0", "1"]);
    let refused = Closing {
        request: Some("request-0".to_owned()),
        refused: Some(Refusal("it still violates the policy".to_owned())),
        ..Closing::default()
    };
    world.record(&world.repository, &image, Record::Outcome(refused));
    world.record(&world.repository, &image, hold("one", 5));
    let shown = explain(&world, "team/app:1.0").await;
    says(
        &shown,
        &[
            "  refused    2026-11-30 01:12:--Z (request request-0): it still violates the policy\n",
            "by me@example.com (prod down, SEC-99); not verified here",
        ],
    );
    world.record(&world.repository, &image, withdrawal("one"));
    world.record(&world.repository, &image, Record::Outcome(given_back(&[&record], &["1.0"])));
    world.sim.tag_image(&world.repository, "1.0", &image);
    let shown = explain(&world, "team/app:1.0").await;
    says(
        &shown,
        &[
            "team/app:1.0 was removed from ",
            "  given back 1.0: 2026-11-30 01:12:--Z (request request-1)\n",
            "(prod down, SEC-99); withdrawn\n",
            "the tag is on this image again",
        ],
    );
    let shown = explain(&world, "team/app:1").await;
    says(&shown, &["hold it    tagwarden restore team/app:1 \\\n"]);
}

#[tokio::test]
async fn vanished_tag_is_judged_by_the_policy_of_today() {
    let mut world = night().await;
    let (image, _) = world.quarantined(&world.repository, &["1.0"]);
    let order = |shown: &Shown, parts: &[&str]| {
        let at: Vec<_> = parts.iter().map(|part| shown.stdout.find(part)).collect();
        assert!(at.iter().all(Option::is_some) && at.is_sorted(), "{parts:?} {}", shown.stdout);
    };
    let shown = explain(&world, "team/app:1.0").await;
    let still = "\nverdict    removed; it still violates the policy, and would be removed again\n";
    assert!(shown.stdout.contains(still), "{shown:?}");
    let history = "team/app:1.0 was removed from ";
    order(
        &shown,
        &["because    critical 1", "best       rebuild it", "hold it", "judged", history],
    );
    let set = |world: &mut World, text: &str| {
        world.variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), text.to_owned());
    };
    let unlimited = "policy.max_findings = { critical = 'unlimited', high = 'unlimited' }";
    for (config, why) in [
        (unlimited, "no limit is exceeded"),
        ("policy.protected_tags = ['1.*']", "1.0 is protected"),
    ] {
        set(&mut world, config);
        let shown = explain(&world, "team/app:1.0").await;
        let stays = "\nverdict    removed; the policy of today lets it stay\n";
        assert!(shown.stdout.contains(stays), "{shown:?}");
        order(&shown, &[why, "give back  tagwarden restore team/app:1.0\n", "hold it", history]);
    }
    world.variables.remove("TAGWARDEN_CONFIG_TEXT");
    let unread = FaultRule::on("DescribeImageScanFindings").error("AccessDeniedException");
    world.sim.set_faults(unread);
    let shown = explain(&world, "team/app:1.0").await;
    let unknown = "\nverdict    removed; whether the policy of today lets it stay is not known\n";
    assert!(shown.code == 0 && shown.stdout.contains(unknown), "{shown:?}");
    world.sim.clear_faults();
    // The first digits of its digest are enough.
    for name in [format!("team/app@{}", &image[7..19]), format!("team/app:{}", &mark(&image)[..19])]
    {
        says(&explain(&world, &name).await, &["already quarantined", &image]);
    }
    let shown = world.run(&["explain", "team/app@sha256:00000000"], "").await;
    assert!(shown.complaint(2).contains("give the whole digest"), "{shown:?}");
}

#[tokio::test]
async fn forged_record_is_not_taken_for_ours() {
    let mut world = night().await;
    let image = world.marked(&world.repository, &["1.0"]);
    let forged = Record::Quarantine(Box::new(removal(&["1.0"])));
    let forged = manifest(&world.repository, &image, &forged, None);
    world.sim.push_manifest(&world.repository, &[], &forged);
    let shown = explain(&world, "team/app:1.0").await;
    says(
        &shown,
        &[
            "  certainty  not verified: anybody who can push",
            "\ngive back  not by the worker: no record of it is signed\n",
            "\n           this prints the commands to give it back by hand:\n",
            "\n           tagwarden restore team/app:1.0\n",
            "\nfirst      have an exception, or it is removed again\n",
        ],
    );
    assert!(!shown.stdout.contains("--until"), "{shown:?}");
    let key = ("TAGWARDEN__RESTORE__KEY".to_owned(), super::quarantine::KEY.to_owned());
    world.variables.extend([key]);
    let shown = explain(&world, &format!("team/app@{image}")).await;
    says(&shown, &["1 artifacts with the type of a record count for nothing"]);
    assert!(!shown.stdout.contains("was removed from"), "{}", shown.stdout);
}

#[tokio::test]
async fn unreadable_records_do_not_spoil_the_verdict() {
    let world = night().await;
    let (image, _) = world.quarantined(&world.repository, &["1.0"]);
    world.sim.set_faults(FaultRule::on("ListImageReferrers").error("AccessDeniedException"));
    let shown = explain(&world, &format!("team/app@{image}")).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    says(&shown, &["already quarantined", "its records could not be read: ", "pull by digest"]);
}

#[tokio::test]
async fn texts_of_records_reach_the_terminal_as_plain_text() {
    let world = night().await;
    let image = world.marked(&world.repository, &["1.0"]);
    let text = "x\u{1b}[2J\nverdict FORGED \u{202e}c";
    let mut hostile = removal(&["1.0"]);
    (hostile.rule, hostile.notice, hostile.event) = (text.into(), text.into(), text.into());
    hostile.reasons = vec![text.to_owned(); 500];
    hostile.findings = vec![finding(text, text, text)];
    hostile.event_time = Some(text.to_owned());
    hostile.platform = Some(text.to_owned());
    world.record(&world.repository, &image, Record::Quarantine(Box::new(hostile)));
    let refused = Closing { refused: Some(Refusal(text.into())), ..Closing::default() };
    world.record(&world.repository, &image, Record::Outcome(refused));
    for format in ["text", "json"] {
        let shown = world.run(&["explain", "--format", format, "team/app:1.0"], "").await;
        let acts = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!shown.stdout.contains(acts), "{shown:?}");
        assert!(!shown.stdout.contains("\nverdict FORGED"), "{shown:?}");
    }
}
