//! Who sent a message: `SenderId`, as SQS tells it, and the same of STS.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use aws_config::SdkConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sdk_sqs::types::{
    Message, MessageSystemAttributeName, MessageSystemAttributeNameForSends,
    MessageSystemAttributeValue, SendMessageBatchRequestEntry,
};
use aws_sim::{Request, Sim};
use serde_json::json;

const ROLE: &str = "arn:aws:iam::444455556666:role/operators";

/// A simulation with the queue `q`, and its URL.
fn scene() -> (Sim, String) {
    let sim = Sim::default();
    let url = sim.create_queue("q", &[]);
    (sim, url)
}

/// Receives messages that have not been received, asking for these system attributes.
async fn receive(sim: &Sim, url: &str, names: &[MessageSystemAttributeName]) -> Vec<Message> {
    let receive = Client::new(&sim.sdk_config()).receive_message().queue_url(url);
    let receive = receive.max_number_of_messages(10);
    let output = receive.set_message_system_attribute_names(Some(names.to_vec())).send().await;
    output.unwrap().messages.unwrap_or_default()
}

fn sender(message: &Message) -> String {
    message.attributes().unwrap()[&MessageSystemAttributeName::SenderId].clone()
}

/// Who sent each message, in order.
async fn senders(sim: &Sim, url: &str) -> Vec<String> {
    let messages = receive(sim, url, &[MessageSystemAttributeName::SenderId]).await;
    messages.iter().map(sender).collect()
}

async fn send(config: &SdkConfig, url: &str) {
    let send = Client::new(config).send_message().queue_url(url).message_body("m");
    send.send().await.unwrap();
}

async fn assume(config: &SdkConfig, role: &str, session: &str) -> SdkConfig {
    let role = AssumeRoleProvider::builder(role).session_name(session).configure(config);
    let role = SharedCredentialsProvider::new(role.build().await);
    config.clone().into_builder().credentials_provider(role).build()
}

/// What `GetCallerIdentity` answers a caller, in XML.
async fn identity(sim: &Sim, access_key: &str) -> String {
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={access_key}/20260102/eu-west-1/sts/aws4_request");
    let response = sim.handle(Request {
        method: "POST".to_owned(),
        uri: "/".to_owned(),
        headers: vec![("authorization".to_owned(), authorization)],
        body: b"Action=GetCallerIdentity&Version=2011-06-15".to_vec(),
    });
    String::from_utf8(response.await.unwrap().body).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_sender_is_told_only_to_who_asks() {
    let (sim, url) = scene();
    for (asked, told) in [
        (MessageSystemAttributeName::SenderId, true),
        (MessageSystemAttributeName::All, true),
        (MessageSystemAttributeName::SentTimestamp, false),
    ] {
        sim.send("q", "m");
        let messages = receive(&sim, &url, &[asked]).await;
        let attributes = messages[0].attributes().unwrap();
        assert_eq!(attributes.contains_key(&MessageSystemAttributeName::SenderId), told);
    }
    sim.send("q", "m");
    assert!(receive(&sim, &url, &[]).await[0].attributes().is_none());
}

#[tokio::test(start_paused = true)]
async fn the_sender_of_a_message_is_who_sts_says_that_the_caller_is() {
    let (sim, url) = scene();
    sim.set_sender("AKIAOPERATOR", "AROAOPERATORS00000000:alice");
    for key in ["AKIASIM", "AKIAOTHER", "AKIAOPERATOR"] {
        send(&sim.sdk_config_as(key), &url).await;
        let id = sim.user_id(key);
        assert_eq!(senders(&sim, &url).await, [id.as_str()]);
        assert!(identity(&sim, key).await.contains(&format!("<UserId>{id}</UserId>")));
    }
    assert_eq!(sim.user_id("AKIAOPERATOR"), "AROAOPERATORS00000000:alice");
    let operator = identity(&sim, "AKIAOPERATOR").await;
    assert!(
        operator.contains("arn:aws:sts::111122223333:assumed-role/aws-sim/alice"),
        "{operator}"
    );
    let user = identity(&sim, "AKIAOTHER").await;
    assert!(user.contains("arn:aws:iam::111122223333:user/aws-sim"), "{user}");
}

#[tokio::test(start_paused = true)]
async fn callers_who_are_not_set_are_users_of_their_own() {
    let sim = Sim::default();
    let ids = ["AKIASIM", "AKIAOTHER"].map(|key| sim.user_id(key));
    assert_ne!(ids[0], ids[1]);
    for id in &ids {
        assert!(id.starts_with("AIDA") && id.len() == 21, "{id}");
        assert!(id.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_sends_as_its_session() {
    let (sim, _) = scene();
    let operator = assume(&sim.sdk_config(), ROLE, "alice").await;
    // A queue of the role's own account.
    let made = Client::new(&operator).create_queue().queue_name("q").send().await.unwrap();
    let url = made.queue_url.unwrap();
    send(&operator, &url).await;
    let expected = format!("{}:alice", Sim::role_id(ROLE));
    assert_eq!(senders(&sim, &url).await, [expected.as_str()]);
    assert_ne!(Sim::role_id(ROLE), Sim::role_id("arn:aws:iam::444455556666:role/others"));
    assert!(Sim::role_id(ROLE).starts_with("AROA"));

    let key = sim.calls_of("SendMessage")[0].caller.clone();
    let told = identity(&sim, &key).await;
    assert!(told.contains(&format!("<UserId>{expected}</UserId>")), "{told}");
    assert!(told.contains("arn:aws:sts::444455556666:assumed-role/operators/alice"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_the_sender() {
    let (sim, url) = scene();
    let entry = |id: &str| {
        SendMessageBatchRequestEntry::builder().id(id).message_body("m").build().unwrap()
    };
    let batch = Client::new(&sim.sdk_config_as("AKIAOTHER")).send_message_batch().queue_url(&url);
    batch.entries(entry("1")).entries(entry("2")).send().await.unwrap();
    let id = sim.user_id("AKIAOTHER");
    assert_eq!(senders(&sim, &url).await, [id.as_str(), id.as_str()]);
}

#[tokio::test(start_paused = true)]
async fn what_set_up_sends_has_the_sender_that_it_says_or_one_who_makes_no_calls() {
    let (sim, url) = scene();
    sim.send_message_as("q", "m", "AROASOMEBODY000000000:session");
    assert_eq!(senders(&sim, &url).await, ["AROASOMEBODY000000000:session"]);
    sim.send("q", "m");
    assert_ne!(senders(&sim, &url).await, [sim.user_id("AKIASIM")]);
}

#[tokio::test(start_paused = true)]
async fn topics_and_rules_send_as_their_services() {
    let (sim, url) = scene();
    let topic = sim.create_topic("t");
    sim.subscribe_queue(&topic, "q", true);
    sim.put_rule("r", json!({"source": ["team.app"]}), "q");
    sim.set_sender("AKIASIM", "AROAOPERATORS00000000:alice");
    let publish = aws_sdk_sns::Client::new(&sim.sdk_config()).publish().topic_arn(&topic);
    publish.message("m").send().await.unwrap();
    sim.put_event(json!({"source": "team.app"}));
    let expected = ["AIDAIT2UOQQY3AUEKVGXU", "AIDAJXNJGGKNS7OSV23OI"];
    assert_eq!(senders(&sim, &url).await, expected);
}

#[tokio::test(start_paused = true)]
async fn nobody_says_for_themselves_who_they_are() {
    let (sim, url) = scene();
    let forged = |name: &str| {
        let value = MessageSystemAttributeValue::builder().data_type("String");
        let value = value.string_value("AROAOPERATORS00000000:alice").build().unwrap();
        let send = Client::new(&sim.sdk_config()).send_message().queue_url(&url);
        let name = MessageSystemAttributeNameForSends::from(name);
        send.message_body("m").message_system_attributes(name, value).send()
    };
    let refused = forged("SenderId").await.unwrap_err().into_service_error();
    assert_eq!(refused.code(), Some("InvalidParameterValue"));
    forged("AWSTraceHeader").await.unwrap();
    assert_eq!(senders(&sim, &url).await, [sim.user_id("AKIASIM")]);
}

#[tokio::test(start_paused = true)]
async fn a_message_keeps_its_sender_in_the_dead_letter_queue() {
    let sim = Sim::default();
    let (url, dead) = sim.create_queue_with_redrive("q", 1, &[("VisibilityTimeout", "0")]);
    sim.send_message_as("q", "m", "AROASOMEBODY000000000:session");
    assert_eq!(senders(&sim, &url).await.len(), 1);
    assert!(senders(&sim, &url).await.is_empty());
    assert_eq!(senders(&sim, &dead).await, ["AROASOMEBODY000000000:session"]);
}
