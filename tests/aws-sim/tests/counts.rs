//! A simulation that only counts its calls: the same answers, and no record of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sim::{FaultRule, Record, Request, Response, ScanResult, Sim, SimConfig};
use serde_json::{Value, json};

fn counting() -> SimConfig {
    SimConfig { record: Record::Counts, ..SimConfig::default() }
}

async fn call(sim: &Sim, target: &str, input: &Value) -> Response {
    let headers = vec![("x-amz-target".to_owned(), target.to_owned())];
    let body = input.to_string().into_bytes();
    let request = Request { method: "POST".to_owned(), uri: "/".to_owned(), headers, body };
    sim.handle(request).await.unwrap()
}

/// Sends messages, receives all but the last and deletes what was received; every answer.
async fn run(sim: &Sim) -> Vec<Response> {
    let (url, _) = sim.create_queue_with_redrive("q", 2, &[]);
    sim.send_with("q", "traced", &[("AWSTraceHeader", "Root=1")]);
    let input = json!({"QueueUrl": url, "MessageBody": "<a \"quoted\" body>", "MessageAttributes": {
        "traceparent": {"DataType": "String", "StringValue": "00-1"},
        "other": {"DataType": "String", "StringValue": "not asked for"},
    }});
    let mut answers = vec![call(sim, "AmazonSQS.SendMessage", &input).await];
    sim.send("q", "the last");
    let input = json!({
        "QueueUrl": url,
        "MaxNumberOfMessages": 2,
        "MessageSystemAttributeNames": ["All"],
        "MessageAttributeNames": ["trace.*", "traceparent"],
    });
    let received = call(sim, "AmazonSQS.ReceiveMessage", &input).await;
    let reply: Value = serde_json::from_slice(&received.body).unwrap();
    let messages = reply.get("Messages").and_then(Value::as_array).unwrap();
    let entry = |(id, message): (usize, &Value)| json!({"Id": id.to_string(), "ReceiptHandle": message.get("ReceiptHandle")});
    let entries: Vec<_> = messages.iter().enumerate().map(entry).collect();
    assert_eq!(entries.len(), 2);
    let input = json!({"QueueUrl": url, "Entries": entries});
    let deleted = call(sim, "AmazonSQS.DeleteMessageBatch", &input).await;
    answers.extend([received, deleted]);
    answers
}

#[tokio::test(start_paused = true)]
async fn the_answers_are_the_same_as_where_every_call_is_recorded() {
    let (counted, recorded) = (Sim::new(counting()), Sim::default());
    let answers = run(&counted).await;
    assert_eq!(answers, run(&recorded).await);
    assert!(String::from_utf8_lossy(&answers[1].body).contains("MD5OfMessageAttributes"));
    assert_eq!(counted.queue("q"), recorded.queue("q"));
    assert_eq!(counted.queue("q").messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn received_messages_read_the_same_in_an_answer_in_the_record_and_after_an_edit() {
    let plain = Sim::default();
    let answers = run(&plain).await;
    for (answer, call) in answers.iter().zip(plain.calls()) {
        assert_eq!(String::from_utf8_lossy(&answer.body), call.reply.unwrap().to_string());
    }
    let edited = Sim::default();
    edited.set_faults(FaultRule::always().replace(|_| ()));
    assert_eq!(answers, run(&edited).await);
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_by_operation_whatever_becomes_of_them() {
    for config in [counting(), SimConfig::default()] {
        let sim = Sim::new(config);
        sim.set_faults(FaultRule::on("SendMessage").error("ThrottlingException"));
        let url = sim.create_queue("q", &[]);
        let input = json!({"QueueUrl": url, "MessageBody": "m"});
        assert_eq!(call(&sim, "AmazonSQS.SendMessage", &input).await.status, 400);
        sim.clear_faults();
        assert_eq!(call(&sim, "AmazonSQS.SendMessage", &input).await.status, 200);
        let input = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
        call(&sim, "AmazonSQS.ReceiveMessage", &input).await;
        // The second waits in vain.
        let poll = call(&sim, "AmazonSQS.ReceiveMessage", &input);
        let counted = sim.wait_until(|sim| sim.call_counts().get("ReceiveMessage") == Some(&2));
        tokio::select! {
            biased;
            () = counted => {}
            answer = poll => panic!("{answer:?}"),
        }
        let expected = [("ReceiveMessage".to_owned(), 2), ("SendMessage".to_owned(), 2)];
        assert_eq!(sim.call_counts(), BTreeMap::from(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_is_answered_as_soon_as_there_is_a_message() {
    let sim = Sim::new(counting());
    let url = sim.create_queue("q", &[]);
    let input = json!({"QueueUrl": url, "WaitTimeSeconds": 20});
    let sending = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        sim.send("q", "m");
    };
    let (answer, ()) = tokio::join!(call(&sim, "AmazonSQS.ReceiveMessage", &input), sending);
    assert!(String::from_utf8_lossy(&answer.body).contains("ReceiptHandle"));
    assert_eq!(sim.age(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn an_event_reaches_its_queue() {
    let sim = Sim::new(counting());
    let repository = sim.create_repository("team/app");
    sim.create_queue("q", &[]);
    sim.put_rule("scans", json!({"detail-type": ["ECR Image Scan"]}), "q");
    let digest = sim.push_image(&repository, &["v1"], "one");
    sim.set_findings(&repository, &digest, ScanResult::basic(&[("HIGH", 3)]));
    sim.emit_scan_event(&repository, &digest);
    assert_eq!(sim.queue_length("q"), 1);
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "calls_of needs Record::Calls")]
async fn calls_that_were_only_counted_cannot_be_looked_at() {
    Sim::new(counting()).calls_of("SendMessage");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "events needs Record::Calls")]
async fn events_that_were_not_recorded_cannot_be_looked_at() {
    Sim::new(counting()).events();
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "wait_for_calls needs Record::Calls")]
async fn calls_that_are_only_counted_cannot_be_waited_for() {
    Sim::new(counting()).wait_for_calls("SendMessage", 1).await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a watcher needs Record::Calls")]
async fn calls_that_are_only_counted_cannot_be_watched() {
    Sim::new(counting()).watch(|_, _, _| ());
}
