//! The two faces: the same simulation over a socket, and the same bytes from the same seed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_sns::types::MessageAttributeValue;
use aws_sim::{CallOutcome, FaultRule, Request, ScanResult, Sim, SimConfig};
use serde_json::json;
use tokio::net::TcpListener;

async fn over_http(endpoint: String) -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("AKIASIM", "simulated", None, None, "test"))
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .load()
        .await
}

async fn loopback() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

#[tokio::test]
async fn the_real_sdk_reaches_every_service_over_a_socket() {
    let sim = Sim::default();
    let server = sim.serve(loopback().await).await.unwrap();
    let config = over_http(server.endpoint()).await;

    let repo = sim.create_repository("team/app");
    let digest = sim.push_image(&repo, &["a", "b"], "one");
    let id = ImageIdentifier::builder().image_tag("a").image_digest(&digest).build();
    let delete = aws_sdk_ecr::Client::new(&config).batch_delete_image().repository_name("team/app");
    assert_eq!(delete.image_ids(id).send().await.unwrap().image_ids().len(), 1);

    let sqs = aws_sdk_sqs::Client::new(&config);
    // The URL names AWS, the endpoint wins: as for a program that is given both.
    let url = sim.create_queue("q", &[]);
    sqs.send_message().queue_url(&url).message_body("m").send().await.unwrap();
    let received =
        sqs.receive_message().queue_url(&url).wait_time_seconds(20).send().await.unwrap();
    assert_eq!(received.messages().len(), 1);

    let sns = aws_sdk_sns::Client::new(&config);
    let topic = sim.create_topic("team");
    sns.publish().topic_arn(&topic).message("m").send().await.unwrap();
    let unknown = sns.publish().topic_arn(format!("{topic}-gone")).message("m").send().await;
    assert!(unknown.unwrap_err().into_service_error().is_not_found_exception());
    assert_eq!(sim.notices(&topic).len(), 1);
}

#[tokio::test]
async fn over_a_socket_a_reset_is_a_lost_connection_and_the_server_goes_on() {
    let sim = Sim::default();
    let server = sim.serve(loopback().await).await.unwrap();
    let sqs = aws_sdk_sqs::Client::new(&over_http(server.endpoint()).await);
    sim.set_faults(vec![
        FaultRule::on("ListQueues").once().reset(),
        FaultRule::on("CreateQueue").once().reset_after(),
    ]);
    let failed = sqs.list_queues().send().await.unwrap_err();
    assert!(matches!(failed, aws_sdk_sqs::error::SdkError::DispatchFailure(_)), "{failed:?}");
    let failed = sqs.create_queue().queue_name("q").send().await.unwrap_err();
    assert!(matches!(failed, aws_sdk_sqs::error::SdkError::DispatchFailure(_)), "{failed:?}");
    assert_eq!(sqs.list_queues().send().await.unwrap().queue_urls().len(), 1);
    assert_eq!(sim.calls_of("CreateQueue")[0].outcome, CallOutcome::ConnectionReset);
}

#[tokio::test]
async fn a_server_that_is_dropped_answers_no_more() {
    let sim = Sim::default();
    let server = sim.serve(loopback().await).await.unwrap();
    let sqs = aws_sdk_sqs::Client::new(&over_http(server.endpoint()).await);
    sqs.list_queues().send().await.unwrap();
    drop(server);
    assert!(sqs.list_queues().send().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_request_to_nothing_simulated_is_answered_with_an_error() {
    let sim = Sim::default();
    for headers in
        [vec![], vec![("x-amz-target".to_owned(), "DynamoDB_20120810.GetItem".to_owned())]]
    {
        let request = Request { method: "POST".to_owned(), headers, ..Request::default() };
        let response = sim.handle(request).await.unwrap();
        assert_eq!(response.status, 400);
        assert!(String::from_utf8_lossy(&response.body).contains("UnknownOperationException"));
    }
}

/// A run with every source of chance in it: ids, receipt handles, retries with jitter, and attributes in a hash map.
fn run(seed: u64) -> String {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let sim = Sim::new(SimConfig { seed, ..SimConfig::default() });
        let config = sim.sdk_config();
        let (sqs, sns, ecr) = (
            aws_sdk_sqs::Client::new(&config),
            aws_sdk_sns::Client::new(&config),
            aws_sdk_ecr::Client::new(&config),
        );
        let repo = sim.create_repository("team/app");
        let url = sim.create_queue("q", &[]);
        let topic = sim.create_topic("team");
        sim.put_rule("scans", json!({"source": ["aws.ecr"]}), "q");
        let digest = sim.push_image(&repo, &["v1"], "one");
        sim.set_findings(&repo, &digest, ScanResult::basic(&[("HIGH", 3)]));
        sim.emit_scan_event(&repo, &digest);
        sim.set_faults(FaultRule::always().skip(1).first(3).error("ThrottlingException"));

        let received =
            sqs.receive_message().queue_url(&url).max_number_of_messages(10).send().await.unwrap();
        for message in received.messages() {
            let mut publish = sns.publish().topic_arn(&topic).message(message.body().unwrap());
            for n in 0..5 {
                let value = MessageAttributeValue::builder()
                    .data_type("String")
                    .string_value("x")
                    .build()
                    .unwrap();
                publish = publish.message_attributes(format!("attribute{n}"), value);
            }
            drop(publish.send().await);
            let delete = sqs.delete_message().queue_url(&url);
            delete.receipt_handle(message.receipt_handle().unwrap()).send().await.unwrap();
        }
        ecr.describe_images().repository_name("team/app").send().await.unwrap();
        serde_json::to_string(&sim.calls()).unwrap()
    })
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let first = run(7);
    assert!(first.contains("ReceiptHandle") && first.contains("ThrottlingException"));
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

#[test]
fn a_simulation_outlives_the_runtime_that_crashed_and_its_time_goes_on() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let hour = Duration::from_secs(3600);
    let sim = runtime().block_on(async {
        let sim = Sim::default();
        let url = sim.create_queue("q", &[("VisibilityTimeout", "7200")]);
        sim.send("q", "m");
        aws_sdk_sqs::Client::new(&sim.sdk_config())
            .receive_message()
            .queue_url(url)
            .send()
            .await
            .unwrap();
        tokio::time::sleep(hour).await;
        assert_eq!(sim.queue("q").in_flight, 1);
        sim
    });
    runtime().block_on(async {
        sim.resume();
        let before = sim.now();
        sim.wait_until(|sim| sim.queue("q").visible == 1).await;
        let waited = sim.now().duration_since(before).unwrap();
        assert!(waited <= hour && waited > hour - Duration::from_secs(1), "{waited:?}");
    });
}

#[test]
fn a_poll_outlives_the_runtime_of_its_caller_and_takes_what_comes_in_the_next() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let wait = Duration::from_secs(20);
    for (later, taken) in [(wait - Duration::from_secs(2), 1), (wait, 0)] {
        let sim = runtime().block_on(async {
            let sim = Sim::default();
            let url = sim.create_queue("q", &[("VisibilityTimeout", "30")]);
            let client = aws_sdk_sqs::Client::new(&sim.sdk_config());
            let poll = client.receive_message().queue_url(url).wait_time_seconds(20).send();
            assert!(tokio::time::timeout(Duration::from_secs(1), poll).await.is_err());
            // The simulation sees what time it is.
            assert_eq!(sim.queue("q").in_flight, 0);
            sim
        });
        runtime().block_on(async {
            sim.resume();
            tokio::time::sleep(later).await;
            sim.send("q", "m");
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(sim.queue("q").in_flight, taken);
        });
    }
}

/// Over a socket, going away is closing the connection.
#[tokio::test]
async fn a_poll_whose_connection_is_closed_takes_what_comes() {
    let sim = Sim::default();
    let server = sim.serve(loopback().await).await.unwrap();
    let sqs = aws_sdk_sqs::Client::new(&over_http(server.endpoint()).await);
    let url = sim.create_queue("q", &[]);
    let receive = sqs.receive_message().queue_url(&url).wait_time_seconds(20).send();
    tokio::select! {
        answer = receive => panic!("{answer:?}"),
        () = sim.wait_until(|sim| sim.calls_of("ReceiveMessage").len() == 1) => {}
    }
    sim.wait_until(|sim| sim.abandoned_polls() == 1).await;
    sim.send("q", "m");
    sim.wait_until(|sim| sim.queue("q").in_flight == 1).await;
}
