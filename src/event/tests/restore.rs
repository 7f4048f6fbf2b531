//! Tests of requests to restore an image.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::*;
use crate::domain::names::RepositoryName;
use crate::event::restore::{RestoreAction, RestoreOrder};

fn request(detail: Value) -> Value {
    json!({"source": "tagwarden", "detail-type": "Restore Image", "detail": detail})
}

fn plain() -> Value {
    request(json!({"repository": "team/app", "digest": format!("sha256:{HEX}")}))
}

fn hold() -> Value {
    let hold = json!({
        "repository": "team/app", "digest": format!("sha256:{HEX}"), "until": "2026-12-07",
        "reason": "prod down", "owner": "me@example.com",
    });
    request(hold)
}

fn and(mut event: Value, field: &str, value: Value) -> Value {
    event["detail"][field] = value;
    event
}

fn order(event: &Value) -> RestoreOrder {
    match parse(&event.to_string(), &own()) {
        Ok(Parsed::Restore { order, .. }) => *order,
        other => panic!("{other:?}"),
    }
}

fn at(text: &str) -> SystemTime {
    humantime::parse_rfc3339(text).unwrap()
}

#[test]
fn what_a_request_does_not_name_is_the_workers_own() {
    let bare = order(&plain());
    assert_eq!((bare.request, bare.action), (None, RestoreAction::GiveBack { tags: None }));
    assert_eq!(bare.repository.registry_id(), own());
    let place = and(and(plain(), "account", json!("444455556666")), "region", json!("eu-west-1"));
    let named = order(&and(and(place, "request", json!("r-1")), "tags", json!(["b", "a", "a"])));
    assert_eq!(named.request.as_deref(), Some("r-1"));
    assert_eq!(named.repository.account.as_str(), "444455556666");
    assert_eq!(named.repository.region.as_str(), "eu-west-1");
    let tags = ["a", "b"].map(|tag| Tag::parse(tag).unwrap());
    assert_eq!(named.action, RestoreAction::GiveBack { tags: Some(BTreeSet::from(tags)) });
}

#[test]
fn hold_ends_at_a_time_or_at_the_start_of_a_day() {
    for (text, end) in [
        ("2026-12-07", "2026-12-07T00:00:00Z"),
        ("2026-12-07T18:30:00Z", "2026-12-07T18:30:00Z"),
        ("2026-12-07T18:30:00.9Z", "2026-12-07T18:30:00Z"),
    ] {
        let RestoreAction::Hold { until, reason, owner, .. } =
            order(&and(hold(), "until", json!(text))).action
        else {
            panic!("it asks for a hold")
        };
        assert_eq!(until, at(end));
        assert_eq!((reason.as_str(), owner.as_str()), ("prod down", "me@example.com"));
    }
    let withdrawal = order(&and(plain(), "withdraw", json!(true)));
    assert_eq!(withdrawal.action, RestoreAction::Withdraw);
    let none = order(&and(plain(), "withdraw", json!(false)));
    assert_eq!(none.action, RestoreAction::GiveBack { tags: None });
}

#[test]
fn what_cannot_be_carried_out_as_it_is_written_is_malformed() {
    let many: Vec<_> = (0..1_001).map(|at| format!("t{at}")).collect();
    for (event, problem) in [
        (
            and(plain(), "tag", json!("1.0")),
            "detail.tag: an unknown field, expected one of `request`",
        ),
        (and(plain(), "digest", json!("1.0")), "detail.digest is not"),
        (and(plain(), "digest", Value::Null), "detail.digest: invalid type: null"),
        (and(plain(), "repository", json!("Team")), "detail.repository is not"),
        (and(plain(), "account", json!("1")), "detail.account is not"),
        (and(plain(), "region", json!("x y")), "detail.region is not"),
        (and(plain(), "request", json!("")), "detail.request is not an id of 1 to 128"),
        (and(plain(), "request", json!("a b")), "detail.request is not an id"),
        (and(plain(), "request", json!("x".repeat(129))), "detail.request is not an id"),
        (and(plain(), "tags", json!([])), "detail.tags has 0 tags, expected 1 to 1000"),
        (and(plain(), "tags", json!(many)), "detail.tags has 1001 tags"),
        (and(plain(), "tags", json!(["a b"])), "a tag of detail.tags is not"),
        (and(plain(), "tags", json!([null])), "detail.tags[0]: invalid type: null"),
        (and(hold(), "until", json!("tomorrow")), "detail.until is not a time such as"),
        (and(hold(), "until", json!("1969-12-31")), "detail.until is not a time such as"),
        (and(hold(), "reason", json!(" ")), "detail.reason is not a line of 1 to 256"),
        (and(hold(), "reason", json!("...")), "detail.reason is not a line of 1 to 256"),
        (and(hold(), "owner", json!("...")), "detail.owner is not a line of 1 to 128"),
        (and(hold(), "reason", json!("a\nb")), "detail.reason is not a line"),
        (and(hold(), "owner", json!("a\u{202e}b")), "detail.owner is not a line of 1 to 128"),
        (and(hold(), "owner", json!("x".repeat(129))), "detail.owner is not a line"),
        (and(hold(), "reason", Value::Null), "detail.until, detail.reason and detail.owner"),
        (and(plain(), "owner", json!("me")), "detail.until, detail.reason and detail.owner"),
        (and(hold(), "withdraw", json!(true)), "detail.withdraw excludes"),
        (and(and(plain(), "tags", json!(["a"])), "withdraw", json!(true)), "detail.withdraw"),
        (and(plain(), "withdraw", json!("yes")), "detail.withdraw: invalid type"),
        (without(plain(), "", "detail"), "detail is missing"),
        (request(json!("{}")), "detail is not a JSON object"),
    ] {
        let error = malformed(&event);
        assert!(error.starts_with(problem), "{error}");
    }
    let secret = malformed(&and(plain(), "`, expected\n secret", json!(1)));
    assert!(!secret.contains("secret"), "{secret}");
    let twice = plain().to_string().replace("\"detail\":{", "\"detail\":{\"repository\":\"a\",");
    assert!(parse(&twice, &own()).unwrap_err().to_string().contains("duplicate field"));
}

#[test]
fn request_counts_only_as_the_plain_body_of_a_message() {
    let error = parse(&in_sns(&plain().to_string()), &own()).unwrap_err().to_string();
    let problem = "in an SNS notification: a request to restore an image counts only as the plain";
    assert!(error.starts_with(problem), "{error}");
    for (field, value) in [
        ("account", json!("999988887777")),
        ("region", json!("us-east-1")),
        ("id", json!("1")),
        ("time", json!("2026-11-30T00:00:00Z")),
        ("resources", json!([])),
        ("version", json!("0")),
        ("anything", json!(1)),
    ] {
        let mut event = plain();
        event[field] = value;
        let error = malformed(&event);
        assert!(error.starts_with("a request to restore an image has other fields"), "{error}");
    }
    for other in [("source", "aws.ecr"), ("detail-type", "restore image")] {
        let event = with(plain(), &format!("/{}", other.0), json!(other.1));
        assert_eq!(ignored(&event), "events of this source and type are not for us");
    }
}

fn any_action() -> impl Strategy<Value = RestoreAction> {
    let tags = || {
        let tag = "[a-z0-9][a-z0-9.]{0,8}".prop_map(|text| Tag::parse(text).unwrap());
        prop::option::of(prop::collection::btree_set(tag, 1..4))
    };
    let hold = (tags(), 0..4_000_000_000_u64, "[ -~é]{0,20}x", "[!-~]{0,19}[a-z0-9]");
    prop_oneof![
        tags().prop_map(|tags| RestoreAction::GiveBack { tags }),
        Just(RestoreAction::Withdraw),
        hold.prop_map(|(tags, seconds, reason, owner)| RestoreAction::Hold {
            tags,
            until: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            reason,
            owner,
        }),
    ]
}

proptest! {
    #[test]
    fn every_request_is_read_as_it_was_written(
        action in any_action(),
        request in prop::option::of("[!-~]{1,128}"),
    ) {
        let RegistryId { account, region } = own();
        let repository =
            Repository { account, region, name: RepositoryName::parse("team/app").unwrap() };
        let digest = Digest::parse(format!("sha256:{HEX}")).unwrap();
        let written = RestoreOrder { request, repository, digest, action };
        let body: Value = serde_json::from_str(&written.body()).unwrap();
        prop_assert_eq!(order(&body), written);
    }

    #[test]
    fn request_with_any_json_in_any_place_never_panics(
        wrapped in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..3),
    ) {
        let mut event = hold();
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
