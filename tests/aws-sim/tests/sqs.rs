//! SQS through the real SDK: visibility, receive counts, redrive, stale handles, batches and long polls.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName,
    SendMessageBatchRequestEntry,
};
use aws_sim::{CallOutcome, Sim};
use tokio::time::{Instant, sleep};

fn client(sim: &Sim) -> Client {
    Client::new(&sim.sdk_config())
}

async fn receive(client: &Client, url: &str) -> Vec<Message> {
    let output: ReceiveMessageOutput = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .send()
        .await
        .unwrap();
    output.messages.unwrap_or_default()
}

async fn receive_one(client: &Client, url: &str) -> Message {
    receive(client, url).await.pop().unwrap()
}

fn receive_count(message: &Message) -> &str {
    &message.attributes().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount]
}

async fn delete(client: &Client, url: &str, message: &Message) {
    client
        .delete_message()
        .queue_url(url)
        .set_receipt_handle(message.receipt_handle.clone())
        .send()
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_sent_message_is_received_with_what_was_asked_for() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = client.create_queue().queue_name("q").send().await.unwrap().queue_url.unwrap();
    let sent = client.send_message().queue_url(&url).message_body("hello").send().await.unwrap();
    assert_eq!(sent.md5_of_message_body(), Some("5d41402abc4b2a76b9719d911017c592"));

    let plain =
        client.receive_message().queue_url(&url).visibility_timeout(0).send().await.unwrap();
    assert!(plain.messages()[0].attributes().is_none());

    let message = receive_one(&client, &url).await;
    assert_eq!(message.message_id, sent.message_id);
    assert_eq!(message.body(), Some("hello"));
    assert_eq!(receive_count(&message), "2");
    let sent_at = &message.attributes().unwrap()[&MessageSystemAttributeName::SentTimestamp];
    assert!(sent_at.starts_with("17673230450"), "{sent_at}");
}

#[tokio::test(start_paused = true)]
async fn a_received_message_is_invisible_until_its_timeout_ends() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[("VisibilityTimeout", "60")]);
    sim.send("q", "m");
    assert_eq!(receive_count(&receive_one(&client, &url).await), "1");

    sleep(Duration::from_secs(59)).await;
    assert!(receive(&client, &url).await.is_empty());
    assert_eq!(sim.queue("q").in_flight, 1);

    sleep(Duration::from_secs(1)).await;
    assert_eq!(sim.queue("q").visible, 1);
    assert_eq!(receive_count(&receive_one(&client, &url).await), "2");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_exceeds_its_receives_moves_to_the_dead_letter_queue_at_the_next_receive() {
    let sim = Sim::default();
    let client = client(&sim);
    let (url, dead_url) = sim.create_queue_with_redrive("q", 2, &[("VisibilityTimeout", "0")]);
    let id = sim.send("q", "poison");
    assert_eq!(receive_count(&receive_one(&client, &url).await), "1");
    assert_eq!(receive_count(&receive_one(&client, &url).await), "2");
    assert_eq!(sim.queue("q-dlq").visible, 0);

    assert!(receive(&client, &url).await.is_empty());
    let dead = receive_one(&client, &dead_url).await;
    assert_eq!(dead.message_id(), Some(id.as_str()));
    let source = &dead.attributes().unwrap()[&MessageSystemAttributeName::DeadLetterQueueSourceArn];
    assert_eq!(*source, sim.queue_arn("q"));
    assert!(sim.queue("q").messages.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_move_to_the_dead_letter_queue_by_a_poll_that_goes_on_waiting_is_seen_at_once() {
    let sim = Sim::default();
    let client = client(&sim);
    let (url, _) = sim.create_queue_with_redrive("q", 1, &[("VisibilityTimeout", "3")]);
    sim.send("q", "poison");
    receive_one(&client, &url).await;
    let poll = client.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let moved = sim.wait_until(|sim| sim.queue("q-dlq").visible == 1);
    tokio::select! {
        biased;
        // First, so that it looks before the poll has moved anything.
        () = moved => {}
        answer = poll => panic!("{answer:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_handle_deletes_nothing_and_says_it_did() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[("VisibilityTimeout", "1")]);
    sim.send("q", "m");
    let first = receive_one(&client, &url).await;
    sleep(Duration::from_secs(1)).await;
    let second = receive_one(&client, &url).await;

    delete(&client, &url, &first).await;
    assert_eq!(sim.queue("q").messages.len(), 1);
    delete(&client, &url, &second).await;
    assert!(sim.queue("q").messages.is_empty());
    // Once more: deleting is idempotent.
    delete(&client, &url, &second).await;
}

#[tokio::test(start_paused = true)]
async fn visibility_is_changed_only_of_a_message_in_flight_by_its_latest_handle() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[("VisibilityTimeout", "10")]);
    sim.send("q", "m");
    let change = |handle: Option<String>, seconds| {
        client
            .change_message_visibility()
            .queue_url(&url)
            .set_receipt_handle(handle)
            .visibility_timeout(seconds)
            .send()
    };
    let first = receive_one(&client, &url).await;
    change(first.receipt_handle.clone(), 100).await.unwrap();
    sleep(Duration::from_secs(99)).await;
    assert_eq!(sim.queue("q").in_flight, 1);

    sleep(Duration::from_secs(1)).await;
    let expired = change(first.receipt_handle.clone(), 10).await.unwrap_err().into_service_error();
    assert!(expired.is_message_not_inflight(), "{expired:?}");

    let second = receive_one(&client, &url).await;
    let stale = change(first.receipt_handle.clone(), 10).await.unwrap_err().into_service_error();
    assert_eq!(stale.meta().code(), Some("InvalidParameterValue"));
    let garbage = change(Some("garbage".into()), 10).await.unwrap_err().into_service_error();
    assert!(garbage.is_receipt_handle_is_invalid(), "{garbage:?}");

    // Twelve hours count from the receive.
    change(second.receipt_handle.clone(), 43_190).await.unwrap();
    sleep(Duration::from_secs(20)).await;
    let beyond =
        change(second.receipt_handle.clone(), 43_190).await.unwrap_err().into_service_error();
    assert_eq!(beyond.meta().code(), Some("InvalidParameterValue"));

    change(second.receipt_handle.clone(), 0).await.unwrap();
    assert_eq!(sim.queue("q").visible, 1);
}

#[tokio::test(start_paused = true)]
async fn batches_are_checked_as_a_whole_and_answered_by_entry() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[]);
    let entry =
        |id: &str| SendMessageBatchRequestEntry::builder().id(id).message_body(id).build().unwrap();
    let send = |ids: Vec<String>| {
        let entries: Vec<_> = ids.iter().map(|id| entry(id)).collect();
        client.send_message_batch().queue_url(&url).set_entries(Some(entries)).send()
    };
    let ids = |count: usize| (0..count).map(|n| format!("id{n}")).collect::<Vec<_>>();

    let none = send(Vec::new()).await.unwrap_err().into_service_error();
    assert!(none.is_empty_batch_request(), "{none:?}");
    let many = send(ids(11)).await.unwrap_err().into_service_error();
    assert!(many.is_too_many_entries_in_batch_request(), "{many:?}");
    let twice = send(vec!["a".into(), "a".into()]).await.unwrap_err().into_service_error();
    assert!(twice.is_batch_entry_ids_not_distinct(), "{twice:?}");
    assert!(sim.queue("q").messages.is_empty());

    assert_eq!(send(ids(10)).await.unwrap().successful().len(), 10);
    let received = receive(&client, &url).await;
    assert_eq!(received.len(), 10);

    let change = ChangeMessageVisibilityBatchRequestEntry::builder()
        .id("c")
        .receipt_handle(received[0].receipt_handle().unwrap())
        .visibility_timeout(0)
        .build()
        .unwrap();
    let changed = client
        .change_message_visibility_batch()
        .queue_url(&url)
        .entries(change)
        .send()
        .await
        .unwrap();
    assert_eq!(changed.successful()[0].id(), "c");
    assert_eq!(sim.queue("q").visible, 1);

    let entry = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder().id(id).receipt_handle(handle).build().unwrap()
    };
    let deleted = client
        .delete_message_batch()
        .queue_url(&url)
        .entries(entry("good", received[1].receipt_handle().unwrap()))
        .entries(entry("bad", "garbage"))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful()[0].id(), "good");
    assert_eq!(deleted.failed()[0].id(), "bad");
    assert_eq!(deleted.failed()[0].code(), "ReceiptHandleIsInvalid");
    assert_eq!(sim.queue("q").messages.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_wakes_when_a_message_is_sent() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[]);
    let poll = client.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let sender = async {
        sim.wait_until(|sim| sim.calls_of("ReceiveMessage").len() == 1).await;
        sleep(Duration::from_secs(5)).await;
        sim.send("q", "m");
        Instant::now()
    };
    let (output, sent_at) = tokio::join!(poll, sender);
    assert_eq!(output.unwrap().messages().len(), 1);
    assert_eq!(sent_at.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_message_can_be_delivered_twice_while_it_is_in_hand() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[]);
    let id = sim.send("q", "m");
    receive_one(&client, &url).await;
    assert!(receive(&client, &url).await.is_empty());
    sim.make_visible("q", &id);
    assert_eq!(receive_count(&receive_one(&client, &url).await), "2");
}

#[tokio::test(start_paused = true)]
async fn attributes_of_a_message_travel_with_it() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[]);
    let value =
        MessageAttributeValue::builder().data_type("String").string_value("v").build().unwrap();
    client
        .send_message()
        .queue_url(&url)
        .message_body("m")
        .message_attributes("k", value)
        .send()
        .await
        .unwrap();
    sim.send_with("q", "traced", &[("AWSTraceHeader", "Root=1-5759e988-bd862e3fe1be46a994272793")]);
    let receive = client
        .receive_message()
        .queue_url(&url)
        .max_number_of_messages(10)
        .message_attribute_names("All");
    let receive =
        receive.message_system_attribute_names(MessageSystemAttributeName::AwsTraceHeader);
    let messages = receive.send().await.unwrap().messages.unwrap();
    assert_eq!(messages[0].message_attributes().unwrap()["k"].string_value(), Some("v"));
    assert!(messages[0].attributes().is_none());
    let system = messages[1].attributes().unwrap();
    assert_eq!(system.len(), 1);
    assert!(system[&MessageSystemAttributeName::AwsTraceHeader].starts_with("Root=1-"));
}

#[tokio::test(start_paused = true)]
async fn arguments_out_of_range_are_refused() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[]);
    let receive = || client.receive_message().queue_url(&url);
    for call in [
        receive().max_number_of_messages(11),
        receive().wait_time_seconds(21),
        receive().visibility_timeout(-1),
    ] {
        let error = call.send().await.unwrap_err().into_service_error();
        assert_eq!(error.meta().code(), Some("InvalidParameterValue"));
    }
    let send = |body: String| client.send_message().queue_url(&url).message_body(body).send();
    send("x".repeat(1_048_576)).await.unwrap();
    assert!(send("x".repeat(1_048_577)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_wakes_when_a_message_becomes_visible() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[("VisibilityTimeout", "7")]);
    sim.send("q", "m");
    receive_one(&client, &url).await;
    let start = Instant::now();
    let output =
        client.receive_message().queue_url(&url).wait_time_seconds(20).send().await.unwrap();
    assert_eq!(output.messages().len(), 1);
    assert_eq!(start.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_empty_at_its_wait() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[]);
    let start = Instant::now();
    let output =
        client.receive_message().queue_url(&url).wait_time_seconds(20).send().await.unwrap();
    assert!(output.messages.is_none());
    assert_eq!(start.elapsed().as_secs(), 20);
}

/// A queue with a long poll that its caller gave up after a second.
async fn with_an_abandoned_poll() -> (Sim, Client, String) {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[("VisibilityTimeout", "30")]);
    let poll = client.receive_message().queue_url(&url).wait_time_seconds(20).send();
    assert!(tokio::time::timeout(Duration::from_secs(1), poll).await.is_err());
    assert_eq!(sim.abandoned_polls(), 1);
    (sim, client, url)
}

#[tokio::test(start_paused = true)]
async fn a_poll_whose_caller_has_gone_away_takes_what_comes_during_its_wait() {
    let (sim, client, url) = with_an_abandoned_poll().await;
    sleep(Duration::from_secs(18)).await;
    sim.send("q", "m");
    assert!(receive(&client, &url).await.is_empty());
    assert_eq!((sim.queue("q").in_flight, sim.abandoned_polls()), (1, 0));
    let call = &sim.calls_of("ReceiveMessage")[0];
    assert_eq!((call.applied, &call.outcome), (true, &CallOutcome::Unanswered));

    sim.wait_until(|sim| sim.queue("q").visible == 1).await;
    assert_eq!(receive_count(&receive_one(&client, &url).await), "2");
}

#[tokio::test(start_paused = true)]
async fn a_poll_whose_caller_has_gone_away_takes_nothing_after_its_wait() {
    let (sim, client, url) = with_an_abandoned_poll().await;
    sleep(Duration::from_secs(20)).await;
    assert_eq!(sim.abandoned_polls(), 0);
    sim.send("q", "m");
    assert_eq!(receive_count(&receive_one(&client, &url).await), "1");
}

#[tokio::test(start_paused = true)]
async fn an_abandoned_poll_that_is_ended_takes_nothing() {
    let (sim, client, url) = with_an_abandoned_poll().await;
    sim.end_abandoned_polls();
    sim.send("q", "m");
    assert_eq!(receive_count(&receive_one(&client, &url).await), "1");
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_found_whatever_the_host_of_its_url_and_a_missing_one_is_an_error() {
    let sim = Sim::default();
    let client = client(&sim);
    sim.create_queue("q", &[]);
    sim.send("q", "m");
    assert_eq!(receive(&client, "http://localhost:4566/111122223333/q").await.len(), 1);
    let missing = client.receive_message().queue_url("http://x/111122223333/other").send().await;
    assert!(missing.unwrap_err().into_service_error().is_queue_does_not_exist());
    let missing = client.get_queue_url().queue_name("other").send().await;
    assert!(missing.unwrap_err().into_service_error().is_queue_does_not_exist());
}

#[tokio::test(start_paused = true)]
async fn queue_attributes_are_set_and_counted() {
    let sim = Sim::default();
    let client = client(&sim);
    let (url, _) = sim.create_queue_with_redrive("q", 5, &[]);
    sim.send("q", "a");
    sim.send("q", "b");
    client
        .send_message()
        .queue_url(&url)
        .message_body("later")
        .delay_seconds(60)
        .send()
        .await
        .unwrap();
    client.receive_message().queue_url(&url).send().await.unwrap();
    let set = client
        .set_queue_attributes()
        .queue_url(&url)
        .attributes(QueueAttributeName::VisibilityTimeout, "90");
    set.send().await.unwrap();

    let all =
        client.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::All);
    let attributes = all.send().await.unwrap().attributes.unwrap();
    let expected = [
        (QueueAttributeName::ApproximateNumberOfMessages, "1"),
        (QueueAttributeName::ApproximateNumberOfMessagesNotVisible, "1"),
        (QueueAttributeName::ApproximateNumberOfMessagesDelayed, "1"),
        (QueueAttributeName::VisibilityTimeout, "90"),
        (QueueAttributeName::MessageRetentionPeriod, "345600"),
        (QueueAttributeName::CreatedTimestamp, "1767323045"),
        (QueueAttributeName::QueueArn, "arn:aws:sqs:eu-west-1:111122223333:q"),
    ];
    for (name, value) in expected {
        assert_eq!(attributes[&name], value, "{name}");
    }
    assert!(attributes[&QueueAttributeName::RedrivePolicy].contains("q-dlq"));

    let unknown = client
        .set_queue_attributes()
        .queue_url(&url)
        .attributes("Nonsense".into(), "1")
        .send()
        .await;
    assert!(unknown.unwrap_err().into_service_error().is_invalid_attribute_name());
    client.purge_queue().queue_url(&url).send().await.unwrap();
    assert!(sim.queue("q").messages.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_older_than_the_retention_period_is_gone() {
    let sim = Sim::default();
    let client = client(&sim);
    let url = sim.create_queue("q", &[("MessageRetentionPeriod", "60")]);
    sim.send("q", "m");
    sleep(Duration::from_secs(60)).await;
    assert!(receive(&client, &url).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_queue_keeps_the_tags_that_it_was_made_with_until_it_goes() {
    let sim = Sim::default();
    let client = client(&sim);
    for expected in [Some("platform"), None] {
        let create = client.create_queue().queue_name("q");
        let create =
            create.set_tags(expected.map(|team| [("team".to_owned(), team.to_owned())].into()));
        let url = create.send().await.unwrap().queue_url.unwrap();
        let listed = client.list_queue_tags().queue_url(&url).send().await.unwrap();
        assert_eq!(listed.tags().and_then(|tags| tags.get("team")).map(String::as_str), expected);
        client.delete_queue().queue_url(&url).send().await.unwrap();
        let gone = client.list_queue_tags().queue_url(&url).send().await.unwrap_err();
        assert!(gone.into_service_error().is_queue_does_not_exist());
    }
}
