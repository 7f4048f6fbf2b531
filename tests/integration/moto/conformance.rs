//! The simulated AWS and moto agree on everything that both support. The crate documentation of
//! aws-sim lists the known differences.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "a module of a test crate")]

use aws_config::SdkConfig;
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};

/// A record of the steps, without ids, digests and times.
pub async fn story(config: &SdkConfig) -> Vec<String> {
    let mut story = queue(config).await;
    story.extend(registry(config).await);
    story.extend(topic(config).await);
    story
}

fn code<T, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.code().unwrap_or("no code").to_owned(),
    }
}

/// Receives without waiting. Returns the bodies and receive counts, and the last handle.
async fn receive(client: &aws_sdk_sqs::Client, url: &str) -> (String, String) {
    let answer = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .wait_time_seconds(0)
        .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
        .send()
        .await
        .unwrap();
    let mut handle = String::new();
    let mut seen = Vec::new();
    for message in answer.messages.unwrap_or_default() {
        handle = message.receipt_handle.clone().unwrap();
        seen.push(format!(
            "{:?} {:?}",
            message.body,
            message.attributes.map(|all| all.into_values().collect::<Vec<_>>())
        ));
    }
    (seen.join("; "), handle)
}

async fn queue(config: &SdkConfig) -> Vec<String> {
    let client = aws_sdk_sqs::Client::new(config);
    let create = async |name: &str, policy: Option<String>| {
        let mut request = client.create_queue().queue_name(name);
        if let Some(policy) = policy {
            request = request.attributes(QueueAttributeName::RedrivePolicy, policy);
        }
        request.send().await.unwrap().queue_url.unwrap()
    };
    let dead = create("dead", None).await;
    let attributes = client.get_queue_attributes().queue_url(&dead);
    let attributes = attributes.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
    let arn = attributes.attributes.unwrap().remove(&QueueAttributeName::QueueArn).unwrap();
    let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":2}}"#);
    let url = create("live", Some(policy)).await;
    let mut story = Vec::new();

    client.send_message().queue_url(&url).message_body("one").send().await.unwrap();
    let (seen, handle) = receive(&client, &url).await;
    story.push(format!("first receive: {seen}"));
    story.push(format!("while invisible: {}", receive(&client, &url).await.0));
    let visible = client.change_message_visibility().queue_url(&url).visibility_timeout(0);
    story.push(format!("made visible: {}", code(visible.receipt_handle(&handle).send().await)));
    let (seen, handle) = receive(&client, &url).await;
    story.push(format!("second receive: {seen}"));
    let visible = client.change_message_visibility().queue_url(&url).visibility_timeout(0);
    story.push(format!("made visible: {}", code(visible.receipt_handle(&handle).send().await)));
    story.push(format!("once more than allowed: {}", receive(&client, &url).await.0));
    story.push(format!(
        "dead letters: {}",
        receive(&client, &dead).await.0.split(' ').next().unwrap()
    ));

    client.send_message().queue_url(&url).message_body("two").send().await.unwrap();
    let (_, handle) = receive(&client, &url).await;
    let delete = client.delete_message().queue_url(&url).receipt_handle(&handle);
    story.push(format!("deleted: {}", code(delete.send().await)));
    story.push(format!("after that: {}", receive(&client, &url).await.0));
    let gone = client.receive_message().queue_url(format!("{url}-gone")).send().await;
    story
        .push(format!("no such queue: {}", code(gone.map_err(|error| error.into_service_error()))));
    story
}

async fn registry(config: &SdkConfig) -> Vec<String> {
    let client = aws_sdk_ecr::Client::new(config);
    let manifest = aws_sim::manifest::image("conformance");
    client.create_repository().repository_name("team/app").send().await.unwrap();
    let put = async |tag: &str| {
        let request = client.put_image().repository_name("team/app").image_tag(tag);
        code(request.image_manifest(&manifest).send().await)
    };
    let mut story = Vec::new();
    for tag in ["a", "b", "b"] {
        story.push(format!("put {tag}: {}", put(tag).await));
    }
    let by_tag = |tag: &str| ImageIdentifier::builder().image_tag(tag).build();
    let described = client.describe_images().repository_name("team/app").image_ids(by_tag("a"));
    let details = described.send().await.unwrap().image_details.unwrap();
    let mut tags = details[0].image_tags().to_vec();
    tags.sort();
    story.push(format!("tags: {tags:?} of {}", details.len()));
    let got = client.batch_get_image().repository_name("team/app").image_ids(by_tag("b"));
    let got = got.send().await.unwrap();
    story.push(format!("same manifest: {}", got.images()[0].image_manifest() == Some(&manifest)));

    let unknown = client.describe_images().repository_name("team/app").image_ids(by_tag("c"));
    story.push(format!("unknown tag: {}", code(unknown.send().await)));
    let unknown = client.describe_images().repository_name("team/none").image_ids(by_tag("a"));
    story.push(format!("unknown repository: {}", code(unknown.send().await)));
    let scan = client.describe_image_scan_findings().repository_name("team/app");
    story.push(format!("unscanned: {}", code(scan.image_id(by_tag("a")).send().await)));

    for ids in [
        vec![by_tag("a")],
        vec![by_tag("a")],
        vec![ImageIdentifier::builder().build()],
        vec![by_tag("b")],
    ] {
        let request = client.batch_delete_image().repository_name("team/app");
        let answer = request.set_image_ids(Some(ids)).send().await.unwrap();
        let deleted: Vec<_> = answer.image_ids().iter().map(|id| id.image_tag()).collect();
        let failed: Vec<_> = answer
            .failures()
            .iter()
            .map(|failure| failure.failure_code().unwrap().as_str())
            .collect();
        story.push(format!("deleted {deleted:?}, failed {failed:?}"));
    }
    let left = client.list_images().repository_name("team/app").send().await.unwrap();
    story.push(format!("left: {}", left.image_ids().len()));
    story
}

async fn topic(config: &SdkConfig) -> Vec<String> {
    let sns = aws_sdk_sns::Client::new(config);
    let sqs = aws_sdk_sqs::Client::new(config);
    let url = sqs.create_queue().queue_name("inbox").send().await.unwrap().queue_url.unwrap();
    let attributes = sqs.get_queue_attributes().queue_url(&url);
    let attributes = attributes.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
    let queue = attributes.attributes.unwrap().remove(&QueueAttributeName::QueueArn).unwrap();
    let topic = sns.create_topic().name("team").send().await.unwrap().topic_arn.unwrap();
    sns.subscribe().topic_arn(&topic).protocol("sqs").endpoint(queue).send().await.unwrap();
    let mut story = Vec::new();

    let publish = |topic: &str, subject: &str| {
        sns.publish().topic_arn(topic).subject(subject).message("hello").send()
    };
    story.push(format!("published: {}", code(publish(&topic, "news").await)));
    let answer = sqs.receive_message().queue_url(&url).send().await.unwrap();
    let body: serde_json::Value =
        serde_json::from_str(answer.messages()[0].body().unwrap()).unwrap();
    story.push(format!("delivered: {} {} {}", body["Type"], body["Subject"], body["Message"]));
    story.push(format!("no such topic: {}", code(publish(&format!("{topic}-gone"), "news").await)));
    story.push(format!("subject too long: {}", code(publish(&topic, &"x".repeat(101)).await)));
    story
}
