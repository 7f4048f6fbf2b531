//! SNS, EventBridge and STS: publishing, delivery to queues, rules, and assumed roles.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use aws_sdk_sns::Client;
use aws_sdk_sns::types::MessageAttributeValue;
use aws_sim::{Request, Sim};
use serde_json::{Value, json};

fn text(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
}

fn body(sim: &Sim, queue: &str) -> Value {
    serde_json::from_str(&sim.queue(queue).messages.last().unwrap().body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_published_message_reaches_its_queues_in_an_envelope_or_raw() {
    let sim = Sim::default();
    let client = Client::new(&sim.sdk_config());
    let topic = client.create_topic().name("team").send().await.unwrap().topic_arn.unwrap();
    sim.create_queue("wrapped", &[]);
    sim.create_queue("raw", &[]);
    sim.subscribe_queue(&topic, "wrapped", false);
    let raw = client.subscribe().topic_arn(&topic).protocol("sqs").endpoint(sim.queue_arn("raw"));
    raw.attributes("RawMessageDelivery", "true").send().await.unwrap();

    let publish = client.publish().topic_arn(&topic).subject("Tags & <more>").message("gone");
    let id = publish
        .message_attributes("severity", text("CRITICAL"))
        .send()
        .await
        .unwrap()
        .message_id
        .unwrap();

    let envelope = body(&sim, "wrapped");
    assert_eq!(envelope["Type"], "Notification");
    assert_eq!(envelope["MessageId"], id);
    assert_eq!(envelope["TopicArn"], topic);
    assert_eq!(envelope["Subject"], "Tags & <more>");
    assert_eq!(envelope["Message"], "gone");
    assert_eq!(
        envelope["MessageAttributes"]["severity"],
        json!({"Type": "String", "Value": "CRITICAL"})
    );
    let raw = sim.queue("raw").messages.pop().unwrap();
    assert_eq!(raw.body, "gone");
    assert_eq!(raw.attributes["severity"], "CRITICAL");

    let notice = sim.notices(&topic).pop().unwrap();
    assert_eq!(notice.subject.as_deref(), Some("Tags & <more>"));
    assert_eq!(notice.attributes["severity"], "CRITICAL");
    let listed = client.list_subscriptions_by_topic().topic_arn(&topic).send().await.unwrap();
    assert_eq!(listed.subscriptions().len(), 2);
    let topics = client.list_topics().send().await.unwrap();
    assert_eq!(topics.topics()[0].topic_arn(), Some(topic.as_str()));
    let attributes = client.get_topic_attributes().topic_arn(&topic).send().await.unwrap();
    assert_eq!(attributes.attributes().unwrap()["SubscriptionsConfirmed"], "2");
}

#[tokio::test(start_paused = true)]
async fn a_filter_policy_keeps_messages_from_a_queue() {
    let sim = Sim::default();
    let client = Client::new(&sim.sdk_config());
    let topic = sim.create_topic("team");
    sim.create_queue("critical", &[]);
    sim.subscribe_queue(&topic, "critical", true);
    let listed = client.list_subscriptions_by_topic().topic_arn(&topic).send().await.unwrap();
    let subscription = listed.subscriptions()[0].subscription_arn().unwrap();
    let policy = client
        .set_subscription_attributes()
        .subscription_arn(subscription)
        .attribute_name("FilterPolicy");
    policy.attribute_value(r#"{"severity": ["CRITICAL"]}"#).send().await.unwrap();
    for severity in ["HIGH", "CRITICAL"] {
        let publish = client.publish().topic_arn(&topic).message(severity);
        publish.message_attributes("severity", text(severity)).send().await.unwrap();
    }
    assert_eq!(sim.queue("critical").visible, 1);
    assert_eq!(sim.notices(&topic).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_topic_is_not_found() {
    let sim = Sim::default();
    let client = Client::new(&sim.sdk_config());
    let unknown = client
        .publish()
        .topic_arn("arn:aws:sns:eu-west-1:111122223333:gone")
        .message("m")
        .send()
        .await;
    let error = unknown.unwrap_err().into_service_error();
    assert!(error.is_not_found_exception(), "{error:?}");
    let unknown = client
        .get_topic_attributes()
        .topic_arn("arn:aws:sns:eu-west-1:111122223333:gone")
        .send()
        .await;
    assert!(unknown.unwrap_err().into_service_error().is_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_refused_for_its_subject_or_its_size() {
    let sim = Sim::default();
    let client = Client::new(&sim.sdk_config());
    let topic = sim.create_topic("team");
    let publish = |subject: String, message: String| {
        client.publish().topic_arn(&topic).subject(subject).message(message).send()
    };
    publish("x".repeat(99), "x".repeat(262_144)).await.unwrap();
    for (subject, message) in [
        ("x".repeat(100), "m".to_owned()),
        ("two\nlines".to_owned(), "m".to_owned()),
        ("s".to_owned(), "x".repeat(262_145)),
        ("s".to_owned(), String::new()),
    ] {
        let error = publish(subject, message).await.unwrap_err().into_service_error();
        assert!(error.is_invalid_parameter_exception(), "{error:?}");
    }
    let attributes = client.publish().topic_arn(&topic).message("x".repeat(262_140));
    let error = attributes
        .message_attributes("key", text("value"))
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_invalid_parameter_exception(), "{error:?}");
    assert_eq!(sim.notices(&topic).len(), 1);
}

/// There is no EventBridge SDK among the dependencies: the wire is written by hand.
async fn event_bridge(sim: &Sim, operation: &str, input: Value) -> (u16, Value) {
    let request = Request {
        method: "POST".to_owned(),
        uri: "/".to_owned(),
        headers: vec![("x-amz-target".to_owned(), format!("AWSEvents.{operation}"))],
        body: input.to_string().into_bytes(),
    };
    let response = sim.handle(request).await.unwrap();
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_the_queues_of_the_rules_that_it_matches() {
    let sim = Sim::default();
    sim.create_queue("q", &[]);
    let pattern =
        json!({"source": ["team.app"], "detail": {"state": [{"prefix": "ok"}]}}).to_string();
    let (status, _) =
        event_bridge(&sim, "PutRule", json!({"Name": "r", "EventPattern": pattern})).await;
    assert_eq!(status, 200);
    let target = json!({"Rule": "r", "Targets": [{"Id": "q", "Arn": sim.queue_arn("q")}]});
    assert_eq!(event_bridge(&sim, "PutTargets", target).await.1["FailedEntryCount"], 0);
    let entry = |state: &str| json!({"Source": "team.app", "DetailType": "State", "Detail": json!({"state": state}).to_string()});
    let (_, answer) =
        event_bridge(&sim, "PutEvents", json!({"Entries": [entry("ok-1"), entry("bad"), {}]}))
            .await;
    assert_eq!(answer["FailedEntryCount"], 1);

    assert_eq!(sim.queue("q").visible, 1);
    let event = body(&sim, "q");
    assert_eq!(event["id"], answer["Entries"][0]["EventId"]);
    assert_eq!(event["account"], "111122223333");
    assert_eq!(event["detail-type"], "State");
    assert_eq!(event["detail"], json!({"state": "ok-1"}));
    assert_eq!(sim.events().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn malformed_rules_and_unknown_operations_are_refused() {
    let sim = Sim::default();
    let (status, error) =
        event_bridge(&sim, "PutRule", json!({"Name": "r", "EventPattern": "{\"source\": 1}"}))
            .await;
    assert_eq!((status, &error["__type"]), (400, &json!("InvalidEventPatternException")));
    let (status, error) = event_bridge(&sim, "PutPartner", json!({})).await;
    assert_eq!((status, &error["__type"]), (400, &json!("UnknownOperationException")));
    let (_, error) = event_bridge(&sim, "PutTargets", json!({"Rule": "gone"})).await;
    assert_eq!(error["__type"], "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn an_event_of_another_account_goes_by_the_rules_of_that_account() {
    let sim = Sim::default();
    sim.create_queue("q", &[]);
    sim.put_rule_in("444455556666", "us-east-1", "r", json!({"source": ["aws.ecr"]}), "q");
    sim.put_event(json!({"source": "aws.ecr", "account": "444455556666", "region": "us-east-1", "exactly": [1, 2]}));
    sim.put_event(json!({"source": "aws.ecr"}));
    assert_eq!(sim.queue("q").visible, 1);
    assert_eq!(body(&sim, "q")["exactly"], json!([1, 2]));
}

#[tokio::test(start_paused = true)]
async fn an_assumed_role_acts_as_its_account() {
    let sim = Sim::default();
    let repo = sim.create_repository_in("444455556666", "eu-west-1", "team/app");
    sim.push_image(&repo, &["v1"], "one");
    let config = sim.sdk_config();
    let role =
        aws_config::sts::AssumeRoleProvider::builder("arn:aws:iam::444455556666:role/tagwarden")
            .session_name("test")
            .configure(&config)
            .build()
            .await;
    let config = config
        .into_builder()
        .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(role))
        .build();
    let client = aws_sdk_ecr::Client::new(&config);
    let output = client.list_images().repository_name("team/app").send().await.unwrap();
    assert_eq!(output.image_ids()[0].image_tag(), Some("v1"));
    assert_eq!(sim.calls_of("ListImages")[0].account, "444455556666");
}

#[tokio::test(start_paused = true)]
async fn a_rule_has_its_tags_and_goes_after_its_targets() {
    let sim = Sim::default();
    sim.create_queue("q", &[]);
    let tags = json!([{"Key": "team", "Value": "platform"}]);
    let rule = json!({"Name": "r", "EventPattern": r#"{"source": ["team.app"]}"#, "Tags": tags});
    let (_, made) = event_bridge(&sim, "PutRule", rule).await;
    let named = json!({"ResourceARN": made["RuleArn"]});
    let target = json!({"Rule": "r", "Targets": [{"Id": "q", "Arn": sim.queue_arn("q")}]});
    event_bridge(&sim, "PutTargets", target).await;
    let (_, listed) = event_bridge(&sim, "ListTagsForResource", named.clone()).await;
    assert_eq!(listed["Tags"], tags);

    let delete = json!({"Name": "r"});
    let (status, error) = event_bridge(&sim, "DeleteRule", delete.clone()).await;
    assert_eq!((status, &error["__type"]), (400, &json!("ValidationException")));
    let targets = json!({"Rule": "r", "Ids": ["q", "gone"]});
    let (_, removed) = event_bridge(&sim, "RemoveTargets", targets.clone()).await;
    assert_eq!(
        (&removed["FailedEntryCount"], &removed["FailedEntries"][0]["TargetId"]),
        (&json!(1), &json!("gone"))
    );
    sim.put_event(json!({"source": "team.app"}));
    assert_eq!(sim.queue("q").visible, 0);

    // Deleting what is not there is no error; asking about it is.
    for _ in 0..2 {
        assert_eq!(event_bridge(&sim, "DeleteRule", delete.clone()).await.0, 200);
    }
    assert_eq!(sim.resources(), [sim.queue_arn("q")]);
    for (operation, input) in [("RemoveTargets", targets), ("ListTagsForResource", named)] {
        let (_, error) = event_bridge(&sim, operation, input).await;
        assert_eq!(error["__type"], "ResourceNotFoundException");
    }
}
