use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use super::*;
use crate::domain::findings::{Severity, SeverityCounts};
use crate::domain::names::sample::repository;
use crate::domain::names::{Digest, Repository, Tag};

const KEY_A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const KEY_B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const DAY: Duration = Duration::from_secs(86_400);

fn digest(of: char) -> Digest {
    Digest::parse(format!("sha256:{}", of.to_string().repeat(64))).unwrap()
}

fn tags(tags: &[&str]) -> BTreeSet<Tag> {
    tags.iter().map(|tag| Tag::parse(*tag).unwrap()).collect()
}

fn keys(text: &str) -> RestoreKeys {
    RestoreKeys::parse(text).unwrap()
}

fn at(day: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * u32::try_from(20_000 + day).unwrap()
}

fn subject() -> SubjectDescriptor {
    SubjectDescriptor { digest: digest('a'), media_type: MANIFEST_TYPE.to_owned(), size: 1234 }
}

fn quarantined(of: &[&str], after_outcomes: u64) -> Record {
    let mut counts = SeverityCounts::default();
    counts.add(Severity::Critical, 1);
    Record::Quarantine(Box::new(Quarantined {
        tags: tags(of),
        delete: false,
        rule: "base".to_owned(),
        reasons: vec!["critical 1 > 0".to_owned()],
        counts,
        findings: vec![RecordedFinding {
            id: "CVE-2026-0001".to_owned(),
            severity: "CRITICAL".to_owned(),
            package: Some("openssl".to_owned()),
            installed: None,
            fixed: Some("3.0.2".to_owned()),
        }],
        cause: Some(digest('c')),
        platform: Some("linux/arm64".to_owned()),
        event: "event-1".to_owned(),
        event_time: Some("2026-11-30T00:00:00Z".to_owned()),
        notice: "notice-1".to_owned(),
        policy: "fingerprint".to_owned(),
        after_outcomes,
    }))
}

fn hold(request: &str, until: u64) -> Record {
    Record::Hold(Hold {
        until: at(until),
        issued: at(0),
        reason: "prod down".to_owned(),
        owner: "me@example.com".to_owned(),
        request: request.to_owned(),
        sender: "AROA1:me".to_owned(),
    })
}

fn withdrawal(of: &str) -> Record {
    Record::Withdrawal(Withdrawal {
        withdraws: of.to_owned(),
        request: "later".to_owned(),
        sender: "AROA1:me".to_owned(),
    })
}

/// The artifact as the registry gives it back.
fn stored(record: &Record, at: &Repository, keys: Option<&RestoreKeys>) -> Artifact {
    let manifest = RecordManifest::new(record, at, &subject(), keys);
    let attached = read_manifest(&manifest.text).unwrap();
    assert_eq!(attached.subject, digest('a'));
    Artifact { digest: manifest.digest, annotations: attached.annotations, pushed_at: None }
}

fn read(artifacts: &[Artifact], keys: Option<&RestoreKeys>) -> History {
    History::read(&repository("team/app"), &digest('a'), artifacts.to_vec(), keys)
}

fn open(history: &History) -> Vec<String> {
    history.open_tags().iter().map(|open| open.tag.to_string()).collect()
}

fn closing(of: &[&Artifact], restored: &[&str]) -> Record {
    Record::Outcome(Closing {
        request: Some("request-1".to_owned()),
        sender: Some("AROA1:me".to_owned()),
        closes: of.iter().map(|artifact| artifact.id()).collect(),
        restored: tags(restored),
        ..Closing::default()
    })
}

#[test]
fn every_record_is_read_back_as_it_was_written() {
    let refused = Record::Outcome(Closing {
        refused: Some(Refusal("it still violates the policy".to_owned())),
        superseded: tags(&["b"]),
        present: tags(&["c"]),
        ..Closing::default()
    });
    let part = Record::Outcome(Closing {
        part_of: Some("request-1".to_owned()),
        restored: tags(&["a"]),
        ..Closing::default()
    });
    let notification = Record::Notification(Notification {
        request: "request-1".to_owned(),
        outcomes: [digest('b')].into(),
        at: at(1),
    });
    let removal = quarantined(&["1.0", "latest"], 2);
    for record in [removal, refused, part, hold("r", 3), withdrawal("r"), notification] {
        for keys in [None, Some(keys(KEY_A))] {
            let artifact = stored(&record, &repository("team/app"), keys.as_ref());
            assert_eq!(Record::read(&artifact.annotations), Ok(record.clone()));
        }
    }
}

#[test]
fn the_same_record_has_the_same_bytes() {
    let manifest = |record: &Record| {
        RecordManifest::new(record, &repository("team/app"), &subject(), Some(&keys(KEY_A)))
    };
    let one = manifest(&quarantined(&["b", "a"], 0));
    assert_eq!(one, manifest(&quarantined(&["a", "b"], 0)));
    assert_ne!(one.digest, manifest(&quarantined(&["a", "b"], 1)).digest);
    let json: serde_json::Value = serde_json::from_str(&one.text).unwrap();
    assert_eq!(json["artifactType"], ARTIFACT_TYPE);
    assert_eq!(json["subject"]["size"], 1234);
    assert_eq!(json["layers"][0]["digest"], EMPTY_DIGEST);
    assert_eq!(json["annotations"]["tagwarden.tags"], r#"["a","b"]"#);
}

#[test]
fn a_signature_holds_only_where_it_was_made() {
    let key = keys(KEY_A);
    let record = quarantined(&["1.0"], 0);
    let ours = stored(&record, &repository("team/app"), Some(&key));
    let count = |history: History| history.quarantines().len();
    assert_eq!(count(read(std::slice::from_ref(&ours), Some(&key))), 1);
    let elsewhere = |repository: &Repository, image: Digest| {
        count(History::read(repository, &image, [ours.clone()], Some(&key)))
    };
    let here = repository("team/app");
    assert_eq!(elsewhere(&here, digest('b')), 0, "copied to another image");
    assert_eq!(elsewhere(&repository("team/web"), digest('a')), 0, "to another repository");
    let account = crate::domain::names::AccountId::parse("222222222222").unwrap();
    assert_eq!(elsewhere(&Repository { account, ..here.clone() }, digest('a')), 0, "account");
    let region = crate::domain::names::Region::parse("eu-west-2").unwrap();
    assert_eq!(elsewhere(&Repository { region, ..here }, digest('a')), 0, "Region");
}

#[test]
fn nothing_that_was_altered_counts() {
    let key = keys(KEY_A);
    let ours = stored(&hold("request-1", 3), &repository("team/app"), Some(&key));
    for name in ours.annotations.keys() {
        let mut altered = ours.clone();
        altered.annotations.insert(name.clone(), "2030-01-01T00:00:00Z".to_owned());
        assert!(read(&[altered], Some(&key)).holds().is_empty(), "{name} is altered");
        let mut altered = ours.clone();
        altered.annotations.remove(name);
        assert!(read(&[altered], Some(&key)).holds().is_empty(), "{name} is missing");
    }
    let mut added = ours.clone();
    added.annotations.insert("other".to_owned(), "x".to_owned());
    let history = read(&[added], Some(&key));
    assert!(history.holds().is_empty());
    assert_eq!(history.unverified()[0].why, InvalidRecord::NotSigned);
    let unsigned = stored(&hold("request-1", 3), &repository("team/app"), None);
    let history = read(&[unsigned], Some(&key));
    assert_eq!(history.unverified()[0].why, InvalidRecord::NotSigned);
    assert!(history.hold(at(1), DAY * 7).is_none());
}

#[test]
fn keys_that_nobody_has_drawn_at_random_are_known() {
    for text in [
        "A".repeat(43),
        "abcdefgh".repeat(6),
        "0123456789abc".repeat(4),
        "ChangeMe0123456789abcdefghijklmnopqrstuvwxyz".to_owned(),
    ] {
        assert_eq!(keys(&text).guessable(), [1], "{text}");
    }
    let random = "q9Zr3Xv7kTn1Lw0bYc8HsFu5GdJm2PaEo4RiQxVtKyNe";
    let hex = "8d0f1c9b7a3e5d2c4b6a8f0e1d3c5b7a9f8e6d4c2b0a";
    assert_eq!(keys(&format!("{random},{hex}")).guessable(), [0; 0]);
    assert_eq!(keys(&format!("{random} {}", "x".repeat(43))).guessable(), [2]);
}

#[test]
fn keys_rotate_and_a_stolen_one_ends() {
    let old = stored(&hold("r", 3), &repository("team/app"), Some(&keys(KEY_A)));
    let both = keys(&format!("{KEY_B}, {KEY_A}"));
    assert_eq!(read(std::slice::from_ref(&old), Some(&both)).holds().len(), 1);
    assert!(read(std::slice::from_ref(&old), Some(&keys(KEY_B))).holds().is_empty());
    let stolen = keys(&format!("{KEY_B} {KEY_A}@{}", humantime::format_rfc3339(at(1))));
    assert!(stolen.need_push_times());
    for (pushed_at, counts) in [(None, 0), (Some(at(0)), 1), (Some(at(1)), 0), (Some(at(2)), 0)] {
        let old = Artifact { pushed_at, ..old.clone() };
        assert_eq!(read(&[old], Some(&stolen)).holds().len(), counts, "{pushed_at:?}");
    }
}

#[test]
fn a_text_that_is_no_key_is_refused_without_showing_it() {
    let short = "secret-but-short";
    for (text, why) in [
        ("", InvalidKeys::Empty),
        (" , ", InvalidKeys::Empty),
        (short, InvalidKeys::NotAKey(1)),
        (&format!("{KEY_A} {KEY_A}"), InvalidKeys::Twice(2)),
        (&format!("{KEY_A}@2030-01-01T00:00:00Z"), InvalidKeys::SigningKeyEnds),
        (&format!("{KEY_A},{KEY_B}@soon"), InvalidKeys::NotATime(2)),
        (&format!("{KEY_A}!"), InvalidKeys::NotAKey(1)),
    ] {
        let error = RestoreKeys::parse(text).unwrap_err();
        assert_eq!(error, why);
        assert!(!error.to_string().contains(short));
    }
    let debug = format!("{:?}", keys(KEY_A));
    assert!(!debug.contains("AAAA"), "{debug}");
}

#[test]
fn a_tag_is_open_until_an_outcome_closes_the_record_that_names_it() {
    let here = repository("team/app");
    let first = stored(&quarantined(&["1.0", "1.1"], 0), &here, None);
    let restore = stored(&closing(&[&first], &["1.0"]), &here, None);
    let history = read(&[first.clone(), restore.clone()], None);
    assert_eq!(open(&history), ["1.1"]);
    assert!(history.is_answered("request-1"));
    // The same tag is removed again: the record says that it comes after an outcome.
    let second = stored(&quarantined(&["1.0"], history.outcome_count()), &here, None);
    let history = read(&[second.clone(), restore, first.clone()], None);
    assert_eq!(open(&history), ["1.0", "1.1"]);
    assert_eq!(history.open_records_of(&tags(&["1.0"])), BTreeSet::from([second.id()]));
    assert_eq!(history.open_records_of(&tags(&["1.1"])), BTreeSet::from([first.id()]));
}

#[test]
fn a_record_that_is_copied_in_other_bytes_is_the_same_record() {
    let (here, key) = (repository("team/app"), keys(KEY_A));
    let first = stored(&quarantined(&["1.0"], 0), &here, Some(&key));
    let first = Artifact { pushed_at: Some(at(1)), ..first };
    // The manifest has one blank more, and the signature is written in other letters.
    let mut copy = Artifact { digest: digest('0'), pushed_at: Some(at(2)), ..first.clone() };
    copy.annotations.entry("tagwarden.mac".to_owned()).and_modify(|mac| mac.make_ascii_uppercase());
    let restore = stored(&closing(&[&first], &["1.0"]), &here, Some(&key));
    let again = Artifact { digest: digest('1'), ..restore.clone() };
    for artifacts in [[&first, &copy, &restore, &again], [&again, &restore, &copy, &first]] {
        let history = read(&artifacts.map(Clone::clone), Some(&key));
        assert!(history.unverified().is_empty());
        assert_eq!(open(&history), Vec::<String>::new(), "a closed tag stays closed");
        let [noted] = history.quarantines() else { panic!("{history:?}") };
        assert_eq!((noted.pushed_at, &noted.id), (Some(at(1)), &first.id()));
        assert_eq!(history.outcome_count(), 1);
    }
}

#[test]
fn what_strangers_write_is_not_read_where_there_is_a_key() {
    let annotations = BTreeMap::from([("tagwarden.tags".to_owned(), "[".repeat(100))]);
    let artifact = Artifact { digest: digest('1'), annotations, pushed_at: None };
    let history = read(std::slice::from_ref(&artifact), Some(&keys(KEY_A)));
    assert_eq!(history.unverified()[0].why, InvalidRecord::NotSigned);
    let history = read(&[artifact], None);
    assert_eq!(history.unverified()[0].why, InvalidRecord::Missing("tagwarden.kind"));
}

#[test]
fn a_record_that_is_larger_than_any_of_ours_is_not_read() {
    let many = |of: usize, text: &str| serde_json::to_string(&vec![text; of]).unwrap();
    let names = |of: usize| {
        let names: Vec<_> = (0..of).map(|at| format!("v{at}")).collect();
        serde_json::to_string(&names).unwrap()
    };
    let ids = |of: usize| {
        let ids: Vec<_> = (0..of).map(|at| format!("sha256:{at:064x}")).collect();
        serde_json::to_string(&ids).unwrap()
    };
    let finding = r#"{"id":"CVE-1","severity":"HIGH"}"#;
    let findings = |of: usize| format!("[{}]", vec![finding; of].join(","));
    let long = format!(r#"[{{"id":"{}","severity":"HIGH"}}]"#, "x".repeat(129));
    let outcome = Record::Outcome(Closing::default());
    for (record, name, fits, exceeds) in [
        (quarantined(&["1"], 0), "tags", names(1_000), names(1_001)),
        (quarantined(&["1"], 0), "findings", findings(20), findings(21)),
        (quarantined(&["1"], 0), "findings", findings(1), long),
        (quarantined(&["1"], 0), "reasons", many(20, "why"), many(21, "why")),
        (quarantined(&["1"], 0), "reasons", many(1, "why"), many(1, &"x".repeat(257))),
        (quarantined(&["1"], 0), "rule", "x".repeat(256), "x".repeat(257)),
        (quarantined(&["1"], 0), "platform", "x".repeat(256), "x".repeat(257)),
        (outcome.clone(), "closes", ids(1_000), ids(1_001)),
        (outcome.clone(), "restored", names(1_000), names(1_001)),
        (outcome, "refused", "x".repeat(256), "x".repeat(257)),
        (hold("r", 3), "reason", "x".repeat(256), "x".repeat(257)),
    ] {
        let key = format!("tagwarden.{name}");
        let with = |value: String| {
            let mut annotations = record.annotations();
            annotations.insert(key.clone(), value);
            Record::read(&annotations)
        };
        assert!(with(fits).is_ok(), "{key}");
        assert!(matches!(with(exceeds), Err(InvalidRecord::Invalid(_))), "{key}");
    }
}

#[test]
fn a_tag_counts_as_recorded_only_by_a_record_of_the_same_removal() {
    let here = repository("team/app");
    let old = stored(&quarantined(&["1.0"], 0), &here, None);
    let history = read(&[old], None);
    let known =
        KnownRecords::of(&history, false, &tags(&["1.0", "2.0"]).into_iter().collect::<Vec<_>>());
    let Record::Quarantine(same) = quarantined(&["1.0", "2.0"], 1) else { panic!() };
    let other_event = || Quarantined { event: "event-2".to_owned(), ..*same.clone() };
    assert_eq!(known.unrecorded(&same), tags(&["2.0"]), "the same event");
    assert_eq!(known.unrecorded(&other_event()), tags(&["2.0"]), "the same reasons");
    let rule = Quarantined { rule: "prod".to_owned(), ..other_event() };
    let policy = Quarantined { policy: "another".to_owned(), ..other_event() };
    let reasons = Quarantined { reasons: vec!["high 1 > 0".to_owned()], ..other_event() };
    for other in [rule, policy, reasons] {
        assert_eq!(known.unrecorded(&other), tags(&["1.0", "2.0"]), "{other:?}");
    }
}

#[test]
fn a_refusal_closes_nothing() {
    let here = repository("team/app");
    let first = stored(&quarantined(&["1.0"], 0), &here, None);
    let refused = Record::Outcome(Closing {
        request: Some("request-1".to_owned()),
        closes: BTreeSet::from([first.id()]),
        refused: Some(Refusal("no".to_owned())),
        ..Closing::default()
    });
    let history = read(&[first, stored(&refused, &here, None)], None);
    assert_eq!(open(&history), ["1.0"]);
    assert!(history.is_answered("request-1"));
}

#[test]
fn a_hold_is_in_force_until_it_ends_is_withdrawn_or_is_too_long() {
    let here = repository("team/app");
    let key = keys(KEY_A);
    let held = stored(&hold("r", 3), &here, Some(&key));
    let history = read(std::slice::from_ref(&held), Some(&key));
    assert!(history.hold(at(1), DAY * 7).is_some());
    assert!(history.hold(at(3), DAY * 7).is_none(), "it has ended");
    assert!(history.hold(at(1), DAY * 2).is_none(), "longer than holds may be");
    assert!(history.hold(at(0) - DAY, DAY * 7).is_none(), "from the future");
    let ended = stored(&withdrawal("r"), &here, Some(&key));
    let history = read(&[ended, held], Some(&key));
    assert!(history.hold(at(1), DAY * 7).is_none(), "withdrawn");
    assert!(history.is_answered("r") && history.is_answered("later"));
}

#[test]
fn a_manifest_that_is_no_record_is_not_read() {
    for text in [
        "",
        "[]",
        r#"{"artifactType":"application/vnd.tagwarden.record.v1+json"}"#,
        r#"{"artifactType":"other","subject":{"digest":"sha256:00"}}"#,
        r#"{"artifactType":"application/vnd.tagwarden.record.v1+json","subject":{"digest":"x"}}"#,
    ] {
        assert_eq!(read_manifest(text), None, "{text}");
    }
    assert_eq!(Record::read(&BTreeMap::new()), Err(InvalidRecord::Missing("tagwarden.kind")));
}
