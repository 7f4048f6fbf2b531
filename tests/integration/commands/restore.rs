//! `tagwarden restore` asks the worker for what a person names or chooses, and for nothing else,
//! and tells what became of each image.

use std::sync::{Arc, Mutex};

use aws_sim::{FaultRule, ScanResult};
use rustix::process::{Pid, kill_process};
use serde_json::{Value, json};
use tagwarden::domain::record::Record;

use super::operator::{Answer, Quarantine, attach};
use super::support::{ACCOUNT, QUEUE, REGION, Shown};
use crate::process::{Signal, tagwarden, within_deadline};

const HOLD: [&str; 4] = ["--reason", "SEC-99", "--owner", "me@example.com"];

/// The images of the document: first tag, outcome and problem.
fn outcomes(shown: &Shown) -> Vec<(String, String, String)> {
    let document = shown.json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let images = document["images"].as_array().expect("images").iter();
    images
        .map(|image| (text(&image["tags"][0]), text(&image["outcome"]), text(&image["problem"])))
        .collect()
}

fn last_line(shown: &Shown) -> &str {
    shown.stdout.lines().last().unwrap_or_default()
}

/// The first tags of the images that a dry run names.
async fn chosen(quarantine: &Quarantine, filters: &[&str]) -> Vec<String> {
    let arguments = [&["--dry-run", "--format", "json"], filters].concat();
    let shown = quarantine.restore(&arguments).await;
    assert_eq!(shown.code, 0, "{filters:?} {shown:?}");
    let mut tags: Vec<_> = outcomes(&shown).into_iter().map(|(tag, ..)| tag).collect();
    tags.sort();
    tags
}

#[tokio::test]
async fn image_is_given_back_by_a_tag_that_it_has_lost() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["0.9"]);
    let digest = quarantine.image(&["1.0", "latest"]);
    let shown = quarantine.answered(&["team/app:1.0"], &[Answer::Restores]).await;
    assert_eq!((shown.code, last_line(&shown)), (0, "1 restored"), "{shown:?}");
    assert!(shown.stdout.contains(&format!("{digest}  1.0, latest  restored\n")), "{shown:?}");
    let requests = quarantine.requests();
    let request = &requests[0];
    let id = request["request"].as_str().expect("an id");
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let expected = json!({
        "account": ACCOUNT, "region": REGION, "repository": "team/app", "digest": digest,
        "request": id,
    });
    assert_eq!(requests, [expected], "the worker knows the tags from its records");
    // The worker's log has it, and the terminal only if somebody wants it.
    assert!(!shown.stderr.contains("asking the worker"), "{shown:?}");
    // The command itself has changed nothing.
    let mut called = quarantine.world.changes();
    called.retain(|operation| operation != "ListImageReferrers");
    assert_eq!(called, ["SendMessageBatch"]);
}

#[tokio::test]
async fn image_is_named_in_every_way_that_explain_takes() {
    let quarantine = Quarantine::new().await;
    let digest = quarantine.image(&["1.0"]);
    let host = format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com");
    let mark = digest.replace("sha256:", "quarantine-");
    for name in [
        "team/app:1.0".to_owned(),
        format!("team/app@{digest}"),
        format!("team/app:{mark}"),
        format!("{host}/team/app:1.0"),
        format!("{host}/team/app@{digest}"),
        format!("team/app@{}", &digest[..15]),
        format!("team/app@{}", &digest[7..19]),
        format!("{host}/team/app:{}", &mark[..23]),
    ] {
        let shown = quarantine.restore(&[&name, "--dry-run", "--format", "json"]).await;
        assert_eq!(shown.code, 0, "{name} {shown:?}");
        let image = &shown.json()["images"][0];
        assert_eq!(image["digest"], digest, "{name}");
        assert_eq!((&image["state"], &image["rule"]), (&json!("askable"), &json!("base")));
    }
    let twice = ["team/app:1.0", &format!("team/app:{mark}"), "--dry-run", "--format", "json"];
    let shown = quarantine.restore(&twice).await;
    assert_eq!(outcomes(&shown).len(), 1, "two names of one image: {shown:?}");
}

#[tokio::test]
async fn names_that_do_not_say_which_image_are_refused_with_what_could_be_meant() {
    let quarantine = Quarantine::new().await;
    let (one, other) = (quarantine.image_by(&["1.0"], "a"), quarantine.image_by(&["1.0"], "b"));
    let unrecorded = quarantine.marked(&quarantine.world.repository, "before records");
    let active = quarantine.world.image(&["2.0"], ScanResult::basic(&[]));
    for (name, parts) in [
        ("team/app:1.0", vec!["several images", one.as_str(), &other, "(removed 20"]),
        ("team/app:9.9", vec!["no record says", "before there were records", &unrecorded]),
        ("team/other:1.0", vec!["no image in 111122223333 eu-west-1 has this tag"]),
        ("team/app:2.0", vec!["is not in quarantine"]),
        (&format!("team/app@{active}"), vec!["is not in quarantine"]),
        ("team/app@sha256:0123abc", vec!["8 digits or more", "tagwarden list"]),
        ("team/app@sha256:00000000", vec!["begins so; for another image give the whole digest"]),
        (&format!("team/app@sha256:{}", "9".repeat(64)), vec!["no such image"]),
        ("team/app", vec!["neither a tag nor a digest"]),
        (&one, vec!["names no repository"]),
        ("localhost:5000/team/app:1", vec!["is not the host"]),
        ("Team/App:1", vec!["Team/App"]),
    ] {
        let shown = quarantine.restore(&[name]).await;
        let problem = shown.complaint(2);
        for part in parts {
            assert!(problem.contains(part), "{name}: {part} in {problem}");
        }
    }
    assert!(quarantine.requests().is_empty());
}

#[tokio::test]
async fn nothing_is_chosen_by_what_is_empty_or_mistyped() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    for (arguments, part) in [
        (&[][..], "nothing is named"),
        (&["--yes"], "nothing is named"),
        (&["--dry-run"], "nothing is named"),
        (&[""], "IMAGE: is empty"),
        (&["team/app:1.0", " "], "IMAGE: is empty"),
        (&["--repository", ""], "--repository: is empty"),
        (&["--repository", "team/*", "--repository", ""], "--repository: is empty"),
        (&["--repository", "[", "--yes"], "--repository: "),
        (&["--repository", "taem/*", "--yes"], "matches no repository"),
        (&["--rule", ""], "--rule: is empty"),
        (&["--rule", "bsae", "--yes"], "\"bsae\"; there are: base"),
        (&["--cve", ""], "--cve: is empty"),
        (&["--notice", ""], "--notice: is empty"),
        (&["--since", ""], "--since: is empty"),
        (&["--since", "yesterday"], "\"yesterday\" is not a time"),
        (&["--since", "2999-01-01"], "still to come; now is "),
        (&["--since", "2999-01-01"], "in UTC; give an age such as 8h, or the date too"),
        (&["team/app:1.0", "--rule", "base"], "give one or the other"),
        (&["team/app:1.0", "--since", "1h"], "give one or the other"),
        (&["team/app:1.0", "--tag", ""], "--tag: is empty"),
        (&["team/app:1.0", "--tag", "a b"], "--tag: "),
        (&["team/app:1.0", "--tag", "2.0"], "no record says that 2.0 was removed from team/app@"),
        (&["team/app:1.0", "--timeout", "soon"], "--timeout: "),
        (&["team/app:1.0", "--timeout", "0"], "or --no-follow"),
        (&["team/app:1.0", "--timeout", "0s"], "or --no-follow"),
        (&["team/app:1.0", "--until", "tomorrow", "--reason", "x", "--owner", "y"], "--until: "),
        (&["team/app:1.0", "--until", "2020-01-01", "--reason", "x", "--owner", "y"], "has passed"),
        (
            &["team/app:1.0", "--until", "1d", "--reason", "", "--owner", "y"],
            "--reason: is empty; everybody who meets the held image reads it in records and \
             notices, such as --reason 'prod down, SEC-99'",
        ),
        (
            &["team/app:1.0", "--until", "1d", "--reason", "x", "--owner", ""],
            "such as --owner me@example.com",
        ),
        (&["team/app:1.0", "--until", "", "--reason", "x", "--owner", "y"], "such as --until 3d"),
        (&["--repository", "teem/app", "--yes"], "did you mean `team/app`?"),
        (&["--rule", "bas", "--yes"], "there are: base; did you mean `base`?"),
    ] {
        let shown = quarantine.restore(arguments).await;
        let problem = shown.complaint(2);
        assert!(problem.contains(part), "{arguments:?}: {part} in {problem}");
    }
    // Clap refuses these.
    for arguments in [
        &["--tag", "1.0"][..],
        &["--withdraw"],
        &["--withdraw", "--rule", "base"],
        &["team/app:1.0", "--until", "1d"],
        &["team/app:1.0", "--until", "1d", "--reason", "x"],
        &["team/app:1.0", "--owner", "x"],
        &["team/app:1.0", "--withdraw", "--tag", "1.0"],
        &["team/app:1.0", "--no-follow", "--dry-run"],
    ] {
        let shown = quarantine.restore(arguments).await;
        assert_eq!((shown.code, shown.stdout.as_str()), (2, ""), "{arguments:?} {shown:?}");
    }
    assert!(quarantine.requests().is_empty());
}

#[tokio::test]
async fn whoever_may_not_ask_is_refused_at_once_if_the_list_is_known() {
    let mut quarantine = Quarantine::with("restore.senders = ['AROAEXAMPLEID12345678']").await;
    quarantine.image(&["1.0"]);
    let shown = quarantine.restore(&["team/app:1.0"]).await;
    let id = shown.stderr.split(' ').find(|word| word.starts_with("AIDA")).expect("an id");
    let id = id.trim_end_matches(';').to_owned();
    let said = format!("you ask as {id}; the worker looks for it in restore.senders\n");
    assert!(shown.stderr.starts_with(&said), "{shown:?}");
    let problem = shown.complaint(2);
    let refused = format!(
        "nothing was sent: the worker would refuse: restore.senders does not list {id} \
         (TAGWARDEN_CONFIG_TEXT); use a role that it lists, or have {id} added to it"
    );
    assert!(problem.starts_with(&refused), "{problem}");
    assert!(quarantine.world.sim.calls_of("DescribeImages").is_empty(), "nothing was read");
    assert_eq!(quarantine.world.sim.calls_of("GetCallerIdentity").len(), 1);
    let shown = quarantine.restore(&["team/app:1.0", "--dry-run"]).await;
    assert!(
        shown.code == 0 && shown.stderr.contains("\nnote: the worker would refuse"),
        "{shown:?}"
    );
    let variables = &mut quarantine.world.variables;
    variables.insert("TAGWARDEN__RESTORE__SENDERS".to_owned(), id.clone());
    let shown = quarantine.answered(&["team/app:1.0"], &[Answer::Restores]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    // Another list says who may hold.
    let variables = &mut quarantine.world.variables;
    let other = "AROAEXAMPLEID12345678".to_owned();
    variables.insert("TAGWARDEN__RESTORE__HOLD_SENDERS".to_owned(), other);
    for arguments in [
        [&["team/app:1.0", "--until", "1d"], &HOLD[..]].concat(),
        vec!["team/app:1.0", "--withdraw"],
    ] {
        let shown = quarantine.restore(&arguments).await;
        let problem = shown.complaint(2);
        assert!(problem.contains("restore.hold_senders does not list"), "{problem}");
    }
    assert_eq!(quarantine.requests().len(), 1);
}

#[tokio::test]
async fn filter_that_nothing_fits_says_what_was_looked_through() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    quarantine.image_by(&["2.0"], "strict");
    for (arguments, said) in [
        (
            &["--cve", "CVE-2026-bass"][..],
            "nothing to restore: looked through 2 images in quarantine in 1 repository, and none \
             fits --cve CVE-2026-bass (`tagwarden list` shows them); did you mean `CVE-2026-base`?\n",
        ),
        (
            &["--rule", "strict", "--notice", "notice-base"],
            "fits --rule strict --notice notice-base (",
        ),
        (&["--notice", "notice-strikt"], "; did you mean `notice-strict`?\n"),
        (&["--since", "1m"], "none fits --since 20"),
    ] {
        let shown = quarantine.restore(arguments).await;
        assert_eq!((shown.code, shown.stdout.as_str()), (0, ""), "{shown:?}");
        assert!(shown.stderr.contains(said), "{said} in {shown:?}");
    }
    let both = ["--repository", "team/app", "--repository", "teem/app", "--dry-run"];
    let shown = quarantine.restore(&both).await;
    let note = "note: --repository: \"teem/app\" matches no repository that the policy covers (it \
                covers 1); did you mean `team/app`?\n";
    assert!(shown.code == 0 && shown.stderr.contains(note), "{shown:?}");
}

#[tokio::test]
async fn filters_choose_what_fits_all_of_them() {
    let mut quarantine = Quarantine::new().await;
    quarantine.image_by(&["1.0"], "strict");
    quarantine.image_by(&["2.0"], "base");
    let other = quarantine.world.sim.create_repository("team/other");
    let digest = quarantine.marked(&other, "other");
    let record = Quarantine::record(&["3.0"], "strict");
    quarantine.attach(&other, &digest, &Record::Quarantine(record.into()));
    for (filters, expected) in [
        (&["--repository", "*"][..], &["1.0", "2.0", "3.0"][..]),
        (&["--repository", "team/other"], &["3.0"]),
        (&["--repository", "*/app", "--repository", "*/other"], &["1.0", "2.0", "3.0"]),
        (&["--rule", "strict"], &["1.0", "3.0"]),
        (&["--rule", "strict", "--repository", "*/app"], &["1.0"]),
        (&["--cve", "cve-2026-BASE"], &["2.0"]),
        (&["--cve", "CVE-2026-bas"], &[]),
        (&["--notice", "notice-strict", "--rule", "base"], &[]),
        (&["--notice", "notice-base"], &["2.0"]),
        (&["--since", "10h"], &["1.0", "2.0", "3.0"]),
        (&["--since", "10h", "--cve", "CVE-2026-strict", "--repository", "*/app"], &["1.0"]),
    ] {
        assert_eq!(chosen(&quarantine, filters).await, expected, "{filters:?}");
    }
    assert!(quarantine.requests().is_empty(), "a dry run sends nothing");
    // A dry run needs no queue.
    quarantine.world.variables.remove("TAGWARDEN__QUEUE__URL");
    assert_eq!(chosen(&quarantine, &["--rule", "base"]).await, ["2.0"]);
}

#[tokio::test]
async fn since_chooses_only_the_tags_that_were_removed_then() {
    let quarantine = Quarantine::new().await;
    let digest = quarantine.image_by(&["old", "older"], "base");
    quarantine.image_by(&["long-ago"], "base");
    quarantine.marked(&quarantine.world.repository, "before records");
    quarantine.hours_pass(6).await;
    let record = Quarantine::record(&["new"], "base");
    let repository = &quarantine.world.repository;
    quarantine.attach(repository, &digest, &Record::Quarantine(record.into()));
    let arguments = ["--since", "4h", "--format", "json"];
    let shown = quarantine.answered(&arguments, &[Answer::Restores]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(shown.json()["images"][0]["restored"], json!(["new"]), "{shown:?}");
    assert!(shown.stderr.starts_with("since 20"), "how it was read: {shown:?}");
    let note = "note: 1 image was quarantined before there were records, and fits no filter\n";
    assert!(shown.stderr.contains(note), "{shown:?}");
    assert_eq!(quarantine.requests()[0]["tags"], json!(["new"]));
}

#[tokio::test]
async fn only_the_tag_that_is_asked_for_is_given_back() {
    let quarantine = Quarantine::new().await;
    let digest = quarantine.image(&["1.0", "latest"]);
    let arguments = ["team/app:1.0", "--tag", "1.0"];
    let shown = quarantine.answered(&arguments, &[Answer::Restores]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert_eq!(quarantine.requests()[0]["tags"], json!(["1.0"]));
    let tags = quarantine.world.sim.tags(&quarantine.world.repository, &digest);
    assert_eq!(tags.expect("an image")[0], "1.0");
    let named = format!("team/app@{digest}");
    let again = quarantine.restore(&[&named, "--tag", "1.0"]).await;
    assert_eq!((again.code, last_line(&again)), (0, "1 done before"), "{again:?}");
    assert_eq!(quarantine.requests().len(), 1);
}

#[tokio::test]
async fn each_result_is_named_and_a_refusal_is_no_success() {
    let quarantine = Quarantine::new().await;
    for tag in ["a", "b", "c", "d"] {
        quarantine.image_by(&[tag], tag);
    }
    let answers = [Answer::Restores, Answer::Finds, Answer::LeavesAlone, Answer::Refuses];
    let arguments = ["--repository", "*", "--yes"];
    let shown = quarantine.answered(&arguments, &answers).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let counts = "1 restored, 1 there by now, 1 left alone, 1 refused";
    assert_eq!(last_line(&shown), counts, "{shown:?}");
    for words in ["  restored\n", "  there by now\n", "  left alone: pushed anew\n", "  refused\n"]
    {
        assert!(shown.stdout.contains(words), "{words} {shown:?}");
    }
    assert!(shown.stdout.contains("it would be removed again"), "{shown:?}");
    let next = "\nRefused: push the tag again with the fixes, or add an exception to the policy,\n\
                or hold it; and what the policy says of it now:\n  tagwarden restore team/app:";
    assert!(shown.stdout.contains(next), "{shown:?}");
    // What is closed is not asked for again, and what was refused is.
    let again = quarantine.answered(&arguments, &[Answer::Restores]).await;
    assert_eq!((again.code, last_line(&again)), (0, "1 restored"), "{again:?}");
    let again = quarantine.restore(&arguments).await;
    assert_eq!((again.code, again.stdout.as_str()), (0, ""), "{again:?}");
    assert!(again.stderr.contains("nothing to restore"), "{again:?}");
    assert_eq!(quarantine.requests().len(), 5);
}

#[tokio::test]
async fn document_names_every_image_and_what_became_of_it() {
    let quarantine = Quarantine::new().await;
    let digest = quarantine.image(&["1.0"]);
    let arguments = ["team/app:1.0", "--format", "json"];
    let shown = quarantine.answered(&arguments, &[Answer::Restores]).await;
    let mut document = shown.json();
    let image = &mut document["images"][0];
    let since = image["since"].take();
    assert!(since.as_str().is_some_and(|at| at.starts_with("20")), "{since}");
    assert_eq!(image["request"].take(), quarantine.requests()[0]["request"]);
    let expected = json!({
        "schema": "tagwarden.restored/1", "tagwarden": env!("CARGO_PKG_VERSION"),
        "account": ACCOUNT, "region": REGION, "asks": "give_back", "until": null,
        "dry_run": false, "stopped": null,
        "images": [{
            "account": ACCOUNT, "region": REGION, "repository": "team/app", "digest": digest,
            "tags": ["1.0"], "since": null, "rule": "base",
            "worst": "CVE-2026-base CRITICAL openssl", "state": "askable", "request": null,
            "outcome": "restored", "restored": ["1.0"], "present": [], "superseded": [],
            "held_until": null, "problem": null,
        }],
    });
    assert_eq!(document, expected);
}

#[tokio::test]
async fn image_without_a_signed_record_is_left_to_people_with_the_commands_for_it() {
    let quarantine = Quarantine::new().await;
    let repository = quarantine.world.repository.clone();
    let unrecorded = quarantine.marked(&repository, "before records");
    let unsigned = quarantine.marked(&repository, "not signed");
    let record = Record::Quarantine(Quarantine::record(&["1.0", "latest"], "base").into());
    attach(&quarantine.world.sim, &repository, &unsigned, &record, None);
    let shown = quarantine.restore(&["--repository", "*"]).await;
    assert_eq!((shown.code, last_line(&shown)), (1, "# give_back TAG..."), "{shown:?}");
    let place = format!("ACCOUNT={ACCOUNT} REGION={REGION} REPOSITORY=team/app\nDIGEST=");
    assert!(shown.stdout.contains(&format!("{place}{unsigned}\ngive_back 1.0 latest\n")));
    assert!(shown.stdout.contains(&format!("{place}{unrecorded}\n# give_back TAG...\n")));
    let said = "Nothing to ask the worker for.\n\
                Not asked about: 1 without a record that the worker has signed: by hand, as below.\n\
                Not asked about: 1 quarantined before there were records: by hand, as below.\n";
    assert!(shown.stderr.contains(said), "{shown:?}");
    assert!(quarantine.requests().is_empty());
    // The same for one that is named.
    let shown = quarantine.restore(&["team/app:1.0"]).await;
    assert_eq!((shown.code, last_line(&shown)), (1, "give_back 1.0 latest"), "{shown:?}");
    let named = quarantine.restore(&[&format!("team/app@{unrecorded}")]).await;
    assert_eq!((named.code, last_line(&named)), (1, "# give_back TAG..."), "{named:?}");
}

#[tokio::test]
async fn archived_image_is_not_asked_about() {
    let quarantine = Quarantine::new().await;
    let digest = quarantine.image(&["1.0"]);
    quarantine.world.sim.archive_image(&quarantine.world.repository, &digest);
    for which in [&["--repository", "*"][..], &["--rule", "base"], &["team/app:1.0"]] {
        let shown = quarantine.restore(which).await;
        assert_eq!(shown.code, 1, "{shown:?}");
        assert!(shown.stderr.contains("  archived"), "{shown:?}");
        assert!(shown.stderr.contains("aws ecr update-image-storage-class"), "{shown:?}");
        assert!(!shown.stdout.contains("give_back"), "{shown:?}");
    }
    assert!(quarantine.requests().is_empty());
}

#[tokio::test]
async fn hold_is_asked_for_with_its_end_reason_and_owner() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let arguments = [&["team/app:1.0", "--until", "3d"], &HOLD[..]].concat();
    let shown = quarantine.answered(&arguments, &[Answer::Restores]).await;
    assert_eq!((shown.code, last_line(&shown)), (0, "1 restored"), "{shown:?}");
    let request = &quarantine.requests()[0];
    let until = request["until"].as_str().expect("a time");
    assert!(shown.stderr.starts_with(&format!("until {until}\n")), "{shown:?}");
    assert!(shown.stdout.contains(&format!("held until {until}\n")), "{shown:?}");
    assert_eq!((&request["reason"], &request["owner"]), (&json!(HOLD[1]), &json!(HOLD[3])));
    // An image that has its tags can be held longer, and the hold can be ended.
    let arguments = [&["team/app:1.0", "--until", "4d"], &HOLD[..]].concat();
    let shown = quarantine.answered(&arguments, &[Answer::Finds]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let withdraw = ["team/app:1.0", "--withdraw"];
    let shown = quarantine.answered(&withdraw, &[Answer::Restores]).await;
    assert_eq!((shown.code, last_line(&shown)), (0, "1 no longer held"), "{shown:?}");
    let said = "No tag is removed now. If the image violates the policy, its tags are removed\n\
                at the next event about it, or by the next sweep. ";
    assert!(shown.stdout.contains(said), "{shown:?}");
    assert_eq!(quarantine.requests()[2]["withdraw"], true);
}

#[tokio::test]
async fn hold_longer_than_the_worker_allows_is_refused_if_its_settings_are_known() {
    let mut quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let arguments = [&["team/app:1.0", "--until", "8d", "--dry-run"], &HOLD[..]].concat();
    let shown = quarantine.restore(&arguments).await;
    assert_eq!(shown.code, 0, "the worker may allow it: {shown:?}");
    let variables = &mut quarantine.world.variables;
    variables.insert("TAGWARDEN__RESTORE__MAX_HOLD".to_owned(), "2d".to_owned());
    let shown = quarantine.restore(&arguments).await;
    let problem = shown.complaint(2);
    assert!(problem.contains("restore.max_hold is 2days, which is until 20"), "{problem}");
    quarantine.world.variables.remove("TAGWARDEN__RESTORE__MAX_HOLD");
    quarantine
        .world
        .variables
        .insert("TAGWARDEN_CONFIG_TEXT".to_owned(), "restore.max_hold = '9d'".to_owned());
    assert_eq!(quarantine.restore(&arguments).await.code, 0);
}

#[tokio::test]
async fn only_an_image_that_is_held_has_a_hold_to_end() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let shown = quarantine.restore(&["team/app:1.0", "--withdraw"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let said = "\nNot asked about: 1 not held, so there is no hold to end; `tagwarden explain";
    assert!(shown.stderr.contains(said), "{shown:?}");
    assert!(quarantine.requests().is_empty());
}

#[tokio::test]
async fn queue_that_is_missing_or_refuses_is_named() {
    let mut quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let refused = FaultRule::on("SendMessageBatch").error("AccessDenied");
    quarantine.world.sim.set_faults(refused);
    let shown = quarantine.restore(&["team/app:1.0"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let url = quarantine.world.variables["TAGWARDEN__QUEUE__URL"].clone();
    let part = format!("whoever restores needs sqs:SendMessage on {url}");
    assert!(shown.stderr.contains("error: 0 of 1 message sent, then: "), "{shown:?}");
    assert!(shown.stderr.contains(&part), "{shown:?}");
    assert_eq!(last_line(&shown), "1 not sent", "{shown:?}");
    quarantine.world.sim.clear_faults();
    let variables = &mut quarantine.world.variables;
    variables.insert("TAGWARDEN__QUEUE__URL".to_owned(), format!("{url}-mistyped"));
    let shown = quarantine.restore(&["team/app:1.0"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    assert!(shown.stderr.contains(&format!("{url}-mistyped")), "{shown:?}");
    quarantine.world.variables.remove("TAGWARDEN__QUEUE__URL");
    let shown = quarantine.restore(&["team/app:1.0"]).await;
    assert!(shown.complaint(2).starts_with("queue.url: is missing; "), "{shown:?}");
}

#[tokio::test]
async fn worker_that_does_not_answer_ends_the_wait() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let shown = quarantine.restore(&["team/app:1.0", "--timeout", "1ms"]).await;
    assert_eq!((shown.code, last_line(&shown)), (1, "1 without an answer"), "{shown:?}");
    let said = "error: 1 of 1 message sent, and no answer for 1ms; ";
    assert!(shown.stderr.contains(said), "{shown:?}");
    let request = quarantine.requests()[0]["request"].as_str().expect("an id").to_owned();
    let named = format!(" say more (request {request}); ");
    assert!(shown.stderr.contains(&named), "{shown:?}");
    assert_eq!(shown.stderr.matches("no answer yet; is AIDA").count(), 1, "{shown:?}");
    for reason in
        [" in restore.senders?\n", "is gone", "is full", "too many refusals", "too old", "stopped"]
    {
        assert!(shown.stderr.contains(reason), "{reason} in {shown:?}");
    }
    let shown = quarantine.restore(&["team/app:1.0", "--no-follow"]).await;
    assert_eq!((shown.code, last_line(&shown)), (0, "1 without an answer"), "{shown:?}");
}

#[tokio::test]
async fn answers_that_cannot_be_read_end_the_wait() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let refused = FaultRule::on("ListImageReferrers").skip(1).error("AccessDeniedException");
    quarantine.world.sim.set_faults(refused);
    let shown = quarantine.restore(&["team/app:1.0"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let said = "the worker goes on, but its answers cannot be read: ";
    assert!(shown.stderr.contains(said) && shown.stderr.contains("ecr:BatchGetImage"), "{shown:?}");
    // One failed look is not the end.
    let failing = FaultRule::on("ListImageReferrers").skip(1).first(4).error("ServerException");
    quarantine.world.sim.set_faults(failing);
    let shown = quarantine.answered(&["team/app:1.0"], &[Answer::Restores]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
}

#[tokio::test]
async fn many_images_are_asked_for_in_batches_of_ten() {
    let quarantine = Quarantine::new().await;
    for at in 0..25 {
        quarantine.image(&[&format!("v{at}")]);
    }
    let shown = quarantine.restore(&["--rule", "base"]).await;
    let problem = "nothing was sent: standard input is no terminal; --yes goes on without asking";
    assert_eq!(shown.complaint(2), problem, "more than one image needs an agreement");
    assert!(shown.stderr.contains("\n25 images, 25 tags in 1 repository to ask"), "{shown:?}");
    assert!(quarantine.requests().is_empty());
    let arguments = ["--rule", "base", "--yes"];
    let shown = quarantine.answered(&arguments, &[Answer::Restores; 25]).await;
    assert_eq!((shown.code, last_line(&shown)), (0, "25 restored"), "{shown:?}");
    assert_eq!(quarantine.world.sim.calls_of("SendMessageBatch").len(), 3);
    let ids: std::collections::BTreeSet<_> =
        quarantine.requests().iter().map(|request| request["request"].to_string()).collect();
    assert_eq!(ids.len(), 25, "each request has an id of its own");
}

#[tokio::test]
async fn signal_ends_the_wait_and_says_that_the_worker_goes_on() {
    for (operation, sent) in [("SendMessageBatch", "10 of 25"), ("ListImageReferrers", "25 of 25")]
    {
        let quarantine = Quarantine::new().await;
        for at in 0..25 {
            quarantine.image(&[&format!("v{at}")]);
        }
        let sim = &quarantine.world.sim;
        let process = Arc::new(Mutex::new(None));
        let to_stop = Arc::clone(&process);
        let begun = sim.clone();
        let stop = FaultRule::on(operation).matching(move |_| {
            if operation == "ListImageReferrers" && begun.queue_length(QUEUE) == 0 {
                return false;
            }
            let pid: Option<Pid> = to_stop.lock().expect("no panic").take();
            pid.is_some_and(|pid| kill_process(pid, Signal::INT).is_err())
        });
        sim.set_faults(stop);
        let arguments = ["restore", "--rule", "base", "--yes"];
        let ended = {
            let mut process = process.lock().expect("no panic");
            let child = tagwarden(&arguments, &quarantine.world.variables).spawn();
            let child = child.expect("the binary can be started");
            *process = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
            child.wait_with_output()
        };
        let ended = within_deadline("the end of the work", ended).await.expect("an end");
        let said = String::from_utf8(ended.stderr).expect("UTF-8");
        assert_eq!(ended.status.code(), Some(1), "{said}");
        let end =
            format!("error: interrupted: {sent} messages sent; the worker goes on with those; ");
        assert!(said.contains(&end), "{said}");
        // The worker goes on, and a second run asks for the rest.
        sim.clear_faults();
        let first = sim.queue_length(QUEUE);
        let answers = vec![Answer::Restores; first];
        // The first requests are answered by now.
        quarantine.answer_from(0, &answers).await;
        let left = 25 - first;
        let arguments = ["--rule", "base", "--yes"];
        let shown = quarantine.answered(&arguments, &vec![Answer::Restores; left]).await;
        assert_eq!(shown.code, 0, "{shown:?}");
        assert_eq!(sim.queue_length(QUEUE), 25, "nothing is asked for twice: {shown:?}");
    }
}

#[tokio::test]
async fn credentials_of_another_account_than_the_queue_are_noted() {
    let mut quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let variables = &mut quarantine.world.variables;
    let url = variables["TAGWARDEN__QUEUE__URL"].replace(ACCOUNT, "999988887777");
    variables.insert("TAGWARDEN__QUEUE__URL".to_owned(), url);
    let shown = quarantine.restore(&["team/app:1.0"]).await;
    assert_eq!(shown.code, 1, "{shown:?}");
    let note = "note: queue.url names account 999988887777, which is another one\n";
    assert!(shown.stderr.contains(note), "{shown:?}");
    assert!(quarantine.requests().is_empty());
}

#[tokio::test]
async fn command_needs_no_mode_and_no_topic() {
    let mut quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    quarantine.world.variables.remove("TAGWARDEN__POLICY__MODE");
    quarantine.world.variables.remove("TAGWARDEN__NOTIFY__TOPIC_ARN");
    let shown = quarantine.answered(&["team/app:1.0"], &[Answer::Restores]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
}

#[tokio::test]
async fn audit_log_has_a_line_for_every_message() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["2.0"]);
    let shown = quarantine.answered(&["-v", "team/app:2.0"], &[Answer::Restores]).await;
    assert!(shown.stderr.contains("asking the worker"), "{shown:?}");
    let digest = quarantine.image(&["1.0"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl").to_string_lossy().into_owned();
    let arguments = [&["team/app:1.0", "--until", "3d", "--audit-log", &file], &HOLD[..]].concat();
    let shown = quarantine.answered(&arguments, &[Answer::Restores]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    let lines = std::fs::read_to_string(&file).expect("a log");
    let line: Value = serde_json::from_str(lines.trim()).expect("one line of JSON");
    for (name, value) in [
        ("message", "asking the worker"),
        ("repository", "team/app"),
        ("digest", &digest),
        ("tags", "1.0"),
        ("asks", "give back and hold"),
        ("reason", "SEC-99"),
        ("owner", "me@example.com"),
    ] {
        assert_eq!(line[name], value, "{name} of {line:#}");
    }
    assert_eq!(line["request"], quarantine.requests()[1]["request"]);
}

#[tokio::test]
async fn part_that_cannot_be_read_is_said_and_the_rest_is_asked_for() {
    let quarantine = Quarantine::new().await;
    quarantine.image(&["1.0"]);
    let other = quarantine.world.sim.create_repository("team/other");
    quarantine.marked(&other, "other");
    let refused = FaultRule::on("DescribeImages").error("AccessDeniedException");
    let refused = refused.matching(|call| call.input["repositoryName"] == "team/other");
    quarantine.world.sim.set_faults(refused);
    let arguments = ["--repository", "*", "--yes"];
    let shown = quarantine.answered(&arguments, &[Answer::Restores]).await;
    assert_eq!((shown.code, last_line(&shown)), (1, "1 restored"), "{shown:?}");
    assert!(shown.stderr.contains("failed: "), "{shown:?}");
    assert!(shown.stderr.ends_with("could not be read; run it again for the rest\n"), "{shown:?}");
}
