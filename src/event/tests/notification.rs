use super::*;

fn notification() -> Value {
    event("sns_envelope_over_eventbridge")
}

#[test]
fn event_in_a_notification_reads_like_the_bare_event() {
    for name in ONE_OF_EACH.into_iter().filter(|name| !name.starts_with("sns")) {
        assert_eq!(parse(&in_sns(&fixture(name)), &own()), parse(&fixture(name), &own()));
    }
    assert_eq!(assess(&notification()).kind, Kind::EcrImageScan);
    let other = json!({"source": "aws.ec2", "detail-type": "x"}).to_string();
    assert!(matches!(parse(&in_sns(&other), &own()), Ok(Parsed::Ignored { .. })));
}

#[test]
fn exactly_one_notification_is_unwrapped() {
    let twice = event("sns_envelope_twice");
    assert!(malformed(&twice).starts_with("an SNS message inside an SNS notification"));
    let thrice = in_sns(&twice.to_string());
    assert!(parse(&thrice, &own()).unwrap_err().to_string().starts_with("an SNS message inside"));
    let confirmation = in_sns(&fixture("sns_subscription_confirmation"));
    assert!(parse(&confirmation, &own()).is_err());
}

#[test]
fn confirmations_are_malformed_and_the_error_says_what_to_do() {
    let confirmation = event("sns_subscription_confirmation");
    assert_eq!(
        malformed(&confirmation),
        "an SNS subscription confirmation, not an event: \
         the subscription has to be confirmed by hand"
    );
    let error = malformed(&with(confirmation, "/Type", json!("UnsubscribeConfirmation")));
    assert!(error.starts_with("an SNS unsubscribe confirmation"), "{error}");
    assert!(error.ends_with("has to be confirmed by hand"), "{error}");
}

#[test]
fn error_in_a_notification_mentions_the_notification() {
    for (message, problem) in [
        ("hello", "in an SNS notification: the body is not a JSON object"),
        ("", "in an SNS notification: the body is not a JSON object"),
        ("{}", "in an SNS notification: missing field `source` at line 1 column 2"),
        (
            r#"{"source":"aws.ecr","detail-type":"ECR Image Scan"}"#,
            "in an SNS notification: detail is missing",
        ),
    ] {
        assert_eq!(parse(&in_sns(message), &own()).unwrap_err().to_string(), problem);
    }
}

#[test]
fn incomplete_notification_is_not_unwrapped() {
    for (pointer, value) in [
        ("/Type", json!("Other")),
        ("/Type", json!(5)),
        ("/Message", json!({"source": "aws.ecr"})),
        ("/TopicArn", json!(null)),
    ] {
        let error = malformed(&with(notification(), pointer, value));
        assert!(error.starts_with("missing field `source`"), "{error}");
    }
    let array = json!(["Notification", "arn:aws:sns:eu-west-1:111122223333:x", "{}"]);
    assert_eq!(malformed(&array), "the body is not a JSON object");
    let mut event = basic();
    for (key, value) in notification().as_object().unwrap() {
        event[key] = value.clone();
    }
    event["Message"] = json!("not read");
    assert_eq!(assess(&event), assess(&basic()), "an event stays one");
}

#[test]
fn replay_of_an_archive_reads_like_the_original() {
    let replay = event("replay_of_an_archive");
    let mut original = assess(&basic());
    original.origin.id = assess(&replay).origin.id;
    assert_eq!(assess(&replay), original);
}
