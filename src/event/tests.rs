use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::findings::Severity;
use crate::domain::names::{AccountId, Region};

mod ecr_image_action;
mod inspector2_finding;
mod notification;
mod restore;
mod sweep;

const HEX: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn own() -> RegistryId {
    RegistryId {
        account: AccountId::parse("999988887777").unwrap(),
        region: Region::parse("us-east-1").unwrap(),
    }
}

fn fixture(name: &str) -> String {
    let path = format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// Reads a body of the fuzzer's corpus.
fn case(name: &str) -> String {
    let path = format!("{}/tests/fuzz/corpus/event/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn event(name: &str) -> Value {
    serde_json::from_str(&fixture(name)).unwrap()
}

fn basic() -> Value {
    event("basic.complete.critical_high")
}

fn inspector() -> Value {
    event("inspector2_scan.critical")
}

fn assess(event: &Value) -> ImageEvent {
    match parse(&event.to_string(), &own()) {
        Ok(Parsed::Assess(event)) => *event,
        other => panic!("{other:?}"),
    }
}

fn ignored(event: &Value) -> &'static str {
    match parse(&event.to_string(), &own()) {
        Ok(Parsed::Ignored { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

fn malformed(event: &Value) -> String {
    parse(&event.to_string(), &own()).unwrap_err().to_string()
}

fn with(mut event: Value, pointer: &str, value: Value) -> Value {
    *event.pointer_mut(pointer).unwrap() = value;
    event
}

fn without(mut event: Value, parent: &str, key: &str) -> Value {
    event.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    event
}

fn counts(event: &ImageEvent) -> Option<Vec<(Severity, u64)>> {
    match &event.claim {
        Claim::Complete { counts, .. } => counts.as_ref().map(|counts| counts.iter().collect()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tags_count_once_and_too_many_without_a_digest_are_malformed() {
    let tags = |count: usize| json!((0..count).map(|at| format!("t{at}")).collect::<Vec<_>>());
    let tagged = |tags| with(basic(), "/detail/image-tags", tags);
    let twice = assess(&tagged(json!(["a", "b", "a", "a", "b"])));
    assert_eq!(twice.tags, ["a", "b"].map(|tag| Tag::parse(tag).unwrap()));

    let by_tag = |tags| without(tagged(tags), "/detail", "image-digest");
    assert_eq!(assess(&by_tag(json!(vec!["a"; 20_000]))).tags.len(), 1);
    assert_eq!(assess(&by_tag(tags(1_000))).tags.len(), 1_000);
    let problem = malformed(&by_tag(tags(1_001)));
    assert_eq!(problem, "the event names 1001 tags and no digest; an image has at most 1000 tags");
    assert_eq!(assess(&tagged(tags(1_001))).tags.len(), 1_001, "a digest is enough");
}

#[test]
fn every_fixture_is_read_as_its_family_says() {
    let mut lines = Vec::new();
    let mut names: Vec<_> =
        std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
    names.sort();
    for name in names {
        let name = name.strip_suffix(".json").unwrap();
        let line = match parse(&fixture(name), &own()) {
            Ok(Parsed::Assess(event)) => format!(
                "{} {} {} tags {} {:?}",
                event.kind.as_str(),
                event.repository,
                event.digest.as_ref().map_or("-", |digest| &digest.hex()[..4]),
                event.tags.len(),
                event.claim,
            ),
            Ok(Parsed::Ignored { kind, reason, .. }) => {
                format!("{} ignored: {reason}", kind.as_str())
            }
            Ok(Parsed::Sweep(order)) => format!("sweep: {:?}", order.step),
            Ok(Parsed::Restore { order, .. }) => format!("restore: {:?}", order.action),
            Err(error) => format!("malformed: {error}"),
        };
        lines.push(format!("{name}\n  {line}"));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn repository_can_be_a_name_an_arn_or_an_arn_with_digest() {
    let digest = format!("sha256:{HEX}");
    let arn = "arn:aws:ecr:eu-west-1:444455556666:repository/team/app";
    for name in ["team/app".to_owned(), arn.to_owned(), format!("{arn}/{digest}")] {
        let event = with(basic(), "/detail/repository-name", json!(name));
        let event = with(event, "/resources", json!([arn]));
        let event = assess(&event);
        assert_eq!(event.repository.to_string(), "444455556666/eu-west-1/team/app");
        assert_eq!(event.digest.unwrap().as_str(), digest);
    }
}

#[test]
fn account_and_region_come_from_arn_then_envelope_then_worker() {
    let place = |event: Value| assess(&event).repository.to_string();
    let arn = with(basic(), "/account", json!("444455556666"));
    assert_eq!(place(arn), "111122223333/eu-west-1/team/app");
    let envelope = with(basic(), "/resources", json!([]));
    assert_eq!(place(envelope.clone()), "111122223333/eu-west-1/team/app");
    for nothing in [json!(null), json!("")] {
        let event = with(envelope.clone(), "/account", nothing.clone());
        let event = with(event, "/region", nothing);
        assert_eq!(place(event), "999988887777/us-east-1/team/app");
    }
    let missing = without(without(envelope, "", "account"), "", "region");
    assert_eq!(place(missing), "999988887777/us-east-1/team/app");
    let other_repository = json!(["arn:aws:ecr:eu-west-1:444455556666:repository/other", null]);
    assert_eq!(
        place(with(basic(), "/resources", other_repository)),
        "111122223333/eu-west-1/team/app",
        "an ARN of another repository says nothing of this one"
    );
}

#[test]
fn digest_and_tags_can_be_missing_null_or_empty() {
    for nothing in [json!(null), json!("")] {
        assert_eq!(assess(&with(basic(), "/detail/image-digest", nothing)).digest, None);
    }
    for nothing in [json!(null), json!([]), json!([""]), json!([null])] {
        assert!(assess(&with(basic(), "/detail/image-tags", nothing)).tags.is_empty());
    }
    let neither = without(without(basic(), "/detail", "image-digest"), "/detail", "image-tags");
    assert_eq!(ignored(&neither), "the event names neither a digest nor a tag");
}

#[test]
fn counts_can_be_missing_null_empty_zero_or_unknown() {
    let of = |value| counts(&assess(&with(basic(), "/detail/finding-severity-counts", value)));
    assert_eq!(of(json!(null)), None);
    assert_eq!(of(json!({})), Some(vec![]));
    assert_eq!(of(json!({"CRITICAL": null})), None, "null is not zero");
    assert_eq!(of(json!({"CRITICAL": 0})), Some(vec![(Severity::Critical, 0)]));
    assert_eq!(
        of(json!({"TOTAL": 9, "GRAVE": 0, "critical": 2})),
        Some(vec![(Severity::Critical, 2)])
    );
    assert_eq!(of(json!({"GRAVE": 2})), None, "what is new to us is looked up");
    assert_eq!(
        of(json!({"HIGH": u64::MAX, "CRITICAL": 1})),
        Some(vec![(Severity::Critical, 1), (Severity::High, u64::MAX)])
    );
}

#[test]
fn counts_that_name_a_severity_twice_are_dropped() {
    let once = fixture("basic.complete.critical_high");
    for again in ["\"HIGH\": 0", "\"HIGH\": 2", "\"high\": 0", "\"CRITICAL\": null"] {
        let body = once.replace("\"HIGH\": 2", &format!("\"HIGH\": 2, {again}"));
        assert_ne!(body, once);
        let Ok(Parsed::Assess(event)) = parse(&body, &own()) else { panic!("{again}") };
        assert_eq!(counts(&event), None, "{again}");
    }
}

#[test]
fn error_names_the_field_and_its_position_in_the_whole_body() {
    let body = case("counts_as_strings");
    let line = body.lines().position(|line| line.contains("\"CRITICAL\"")).unwrap() + 1;
    let expected = format!(
        "detail.finding-severity-counts.CRITICAL: invalid type: a string, expected a whole number \
         at line {line} column 18"
    );
    assert_eq!(parse(&body, &own()).unwrap_err().to_string(), expected);
    let one_line = serde_json::from_str::<Value>(&body).unwrap().to_string();
    let column = one_line.find("\"CRITICAL\":\"1\"").unwrap() + "\"CRITICAL\":\"1\"".len();
    let error = parse(&one_line, &own()).unwrap_err().to_string();
    assert!(error.ends_with(&format!("at line 1 column {column}")), "{error}");
    let tags = with(basic(), "/detail/image-tags", json!(["a", 5]));
    assert!(malformed(&tags).starts_with("detail.image-tags[1]: "), "{}", malformed(&tags));
}

#[test]
fn byte_order_mark_is_ignored() {
    let body = case("byte_order_mark");
    assert!(body.starts_with('\u{feff}'));
    let read = parse(&body, &own());
    assert_eq!(read, parse(&body[3..], &own()));
    assert!(matches!(read, Ok(Parsed::Assess(_))));
    assert_eq!(parse(&in_sns(&body), &own()), read);
    assert_eq!(parse(&format!("\u{feff}{}", in_sns(&body)), &own()), read);
}

#[test]
fn body_that_wraps_an_event_is_malformed_and_the_error_names_its_shape() {
    for (body, looks) in [
        (case("sqs_record_by_pipes"), "; the body looks like a record of SQS"),
        (case("put_events_entries"), "; the body looks like entries of PutEvents"),
        (json!({"Entries": [{"Source": "aws.ecr"}]}).to_string(), "entries of PutEvents"),
        (json!({"Records": [{"body": "{}"}]}).to_string(), "an event of Lambda"),
        (json!([{"messageId": "m", "receiptHandle": "AQ"}]).to_string(), "a record of SQS"),
        (json!([basic()]).to_string(), "several events"),
        (json!(basic().to_string()).to_string(), "a JSON text"),
    ] {
        let error = parse(&body, &own()).unwrap_err().to_string();
        assert!(error.contains(looks), "{error}");
        assert_eq!(
            parse(&in_sns(&body), &own()).unwrap_err().to_string(),
            format!("in an SNS notification: {error}")
        );
    }
    assert!(!malformed(&json!({"a": 1})).contains("looks like"));
}

#[test]
fn other_sources_and_types_are_ignored_not_malformed() {
    assert!(ignored(&json!({"source": "aws.ec2", "detail-type": "x"})).contains("not for us"));
    let odd =
        json!({"source": "a", "detail-type": "b\n", "id": 5, "resources": "none", "time": {}});
    assert!(ignored(&odd).contains("not for us"));
    assert!(
        ignored(&with(basic(), "/detail-type", json!("ECR Replication Action")))
            .contains("not for us")
    );
    for (source, kind) in [("aws.ecr", "Inspector2 Scan"), ("aws.inspector2", "ECR Image Action")] {
        let mixed = with(with(basic(), "/source", json!(source)), "/detail-type", json!(kind));
        assert!(ignored(&mixed).contains("not for us"));
    }
    let instance = json!({
        "source": "aws.inspector2", "detail-type": "Inspector2 Scan",
        "resources": ["i-0123456789abcdef0"],
        "detail": {"scan-status": "INITIAL_SCAN_COMPLETE", "instance-id": "i-0123456789abcdef0"},
    });
    assert_eq!(ignored(&instance), "the scan is not of a container image");
}

#[test]
fn unknown_scan_state_makes_no_claim() {
    for status in ["ACTIVE", "SOMETHING_NEW", "complete"] {
        let event = assess(&with(basic(), "/detail/scan-status", json!(status)));
        assert_eq!(event.claim, Claim::Nothing, "{status}");
    }
}

#[test]
fn image_with_only_a_quarantine_tag_is_assessed() {
    let only_mark = json!([format!("quarantine-{HEX}")]);
    let event = with(basic(), "/detail/image-tags", only_mark);
    assert_eq!(assess(&event).tags.len(), 1);
    assert_eq!(assess(&without(event, "/detail", "image-digest")).tags.len(), 1);
    let and_another = json!([format!("quarantine-{HEX}"), "latest"]);
    assert_eq!(assess(&with(basic(), "/detail/image-tags", and_another)).tags.len(), 2);
}

#[test]
fn unknown_shapes_are_malformed_and_the_error_names_the_place() {
    let cases = [
        json!(null),
        json!(["aws.ecr", "ECR Image Scan"]),
        json!("text"),
        json!({}),
        json!({"source": "aws.ecr"}),
        json!({"source": 1, "detail-type": "x"}),
        without(basic(), "", "detail"),
        with(basic(), "/detail", json!("{}")),
        with(basic(), "/detail", json!(["COMPLETE", "team/app"])),
        without(basic(), "/detail", "repository-name"),
        without(basic(), "/detail", "scan-status"),
        with(basic(), "/detail/repository-name", json!("")),
        with(basic(), "/detail/repository-name", json!("team/\u{7}app")),
        with(basic(), "/detail/repository-name", json!("arn:aws:s3:::bucket")),
        with(basic(), "/detail/image-digest", json!("sha256:xyz")),
        with(basic(), "/detail/image-digest", json!(5)),
        with(basic(), "/detail/image-tags", json!("latest")),
        with(basic(), "/detail/image-tags", json!(["a b"])),
        with(basic(), "/detail/finding-severity-counts", json!({"HIGH": -1})),
        with(basic(), "/detail/finding-severity-counts", json!({"HIGH": 1.5})),
        with(basic(), "/detail/finding-severity-counts", json!({"HIGH": "1"})),
        with(basic(), "/detail/finding-severity-counts", json!([1])),
        with(basic(), "/account", json!(111_122_223_333_u64)),
        with(with(basic(), "/account", json!("me")), "/resources", json!([])),
        with(with(basic(), "/region", json!("x.example")), "/resources", json!([])),
        with(basic(), "/id", json!("a\nb")),
        with(basic(), "/id", json!("x".repeat(300))),
        with(inspector(), "/detail/repository-name", json!(null)),
        with(
            inspector(),
            "/detail/repository-name",
            json!(format!("arn:aws:ecr:eu-west-1:111122223333:repository/a/sha256:{HEX}")),
        ),
    ];
    let lines: Vec<_> = cases.iter().map(malformed).collect();
    assert!(lines.iter().all(|line| line.len() <= 200 && !line.contains(char::is_control)));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn error_quotes_nothing_of_the_body() {
    for secret in ["s3cr3t \", expected", "arn:aws:ecr:s3cr3t", "s3cr3t!\n"] {
        for event in ONE_OF_EACH.map(event) {
            for place in places(&event) {
                let changed = with(event.clone(), &place, json!(secret));
                let error = parse(&changed.to_string(), &own());
                assert!(!error.is_err_and(|error| error.to_string().contains("s3cr3t")), "{place}");
                let error = parse(&in_sns(&changed.to_string()), &own());
                assert!(!error.is_err_and(|error| error.to_string().contains("s3cr3t")), "{place}");
            }
        }
    }
    assert!(
        !malformed(&with(basic(), "/detail/image-tags", json!(["s3cr3t!"]))).contains("s3cr3t")
    );
}

#[test]
fn too_large_numbers_are_malformed() {
    let body = fixture("basic.complete.critical_high").replace("\"HIGH\": 2", "\"HIGH\": 1e99");
    assert!(parse(&body, &own()).is_err());
    let body = body.replace("1e99", "99999999999999999999999999");
    assert!(parse(&body, &own()).is_err());
}

#[test]
fn deep_nesting_and_large_bodies_never_overflow_the_stack() {
    for depth in [100, 10_000, 500_000] {
        let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        let body =
            format!(r#"{{"source":"aws.ecr","detail-type":"ECR Image Scan","detail":{nested}}}"#);
        assert!(parse(&body, &own()).is_err());
    }
    let large = format!(r#"{{"source":"x","detail-type":"y","detail":"{}"}}"#, "a".repeat(1 << 20));
    assert!(matches!(parse(&large, &own()), Ok(Parsed::Ignored { .. })));
    let large = with(basic(), "/detail/scan-status", json!("a".repeat(1 << 20)));
    assert_eq!(assess(&large).claim, Claim::Nothing);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["COMPLETE", "ACTIVE", "PUSH", "SUCCESS", "", "Notification"])
            .prop_map(Value::from),
        Just(json!("arn:aws:ecr:eu-west-1:111122223333:repository/a")),
        Just(json!(format!("sha256:{HEX}"))),
        Just(json!(format!("arn:aws:ecr:eu-west-1:111122223333:repository/a/sha256:{HEX}"))),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map("[a-z-]{1,12}|CRITICAL|HIGH", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// One fixture of each family and of each form of wrapping.
const ONE_OF_EACH: [&str; 7] = [
    "basic.complete.critical_high",
    "ecr_image_action.push.tag",
    "ecr_image_action.restored",
    "inspector2_scan.critical",
    "inspector2_finding.active.critical",
    "inspector2_finding.active.neutral_image_only",
    "sns_envelope_over_eventbridge",
];

/// Returns the JSON pointers of all values inside this one.
fn places(value: &Value) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, inner)| (key.clone(), inner)).collect(),
        Value::Array(list) => {
            list.iter().enumerate().map(|(at, inner)| (at.to_string(), inner)).collect()
        }
        _ => Vec::new(),
    };
    let mut found = Vec::new();
    for (key, inner) in inner {
        found.extend(places(inner).into_iter().map(|place| format!("/{key}{place}")));
        found.push(format!("/{key}"));
    }
    found
}

/// Returns this message in the notification of a topic.
fn in_sns(message: &str) -> String {
    with(event("sns_envelope_over_eventbridge"), "/Message", json!(message)).to_string()
}

proptest! {
    #[test]
    fn any_text_is_parsed_without_panic(body in ".*") {
        let _ = parse(&body, &own());
        let _ = parse(&in_sns(&body), &own());
    }

    #[test]
    fn any_bytes_are_parsed_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..512),
    ) {
        let body = String::from_utf8_lossy(&bytes);
        let _ = parse(&body, &own());
        let _ = parse(&in_sns(&body), &own());
    }

    #[test]
    fn truncated_event_is_malformed(
        which in 0..ONE_OF_EACH.len(),
        at in any::<prop::sample::Index>(),
    ) {
        let whole = fixture(ONE_OF_EACH[which]);
        prop_assert!(parse(&whole[..at.index(whole.trim_end().len())], &own()).is_err());
    }

    #[test]
    fn event_with_any_json_in_any_place_never_panics(
        which in 0..ONE_OF_EACH.len(),
        wrapped in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4),
    ) {
        let mut event = event(ONE_OF_EACH[which]);
        for (at, value) in changes {
            let places = places(&event);
            let place: &String = at.get(&places);
            *event.pointer_mut(place).unwrap() = value;
        }
        let body = if wrapped { in_sns(&event.to_string()) } else { event.to_string() };
        if let Err(error) = parse(&body, &own()) {
            let text = error.to_string();
            prop_assert!(text.len() < 1000 && !text.contains(char::is_control), "{}", text);
        }
    }
}
