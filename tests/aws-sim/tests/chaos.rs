//! What comes of chance: double deliveries, random orders, random faults, and runs that repeat to the byte.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sns::types::MessageAttributeValue;
use aws_sdk_sqs::config::retry::RetryPartition;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message};
use aws_sim::{
    Call, CallOutcome, Fault, FaultRule, RandomFaults, RepoKey, Service, Sim, SimConfig,
};
use tokio::task::JoinSet;

const MINUTE: Duration = Duration::from_secs(60);

async fn receive(sqs: &aws_sdk_sqs::Client, url: &str, wait: i32) -> Vec<Message> {
    let receive = sqs.receive_message().queue_url(url).max_number_of_messages(10);
    let received = receive.wait_time_seconds(wait).visibility_timeout(60).send().await.unwrap();
    received.messages.unwrap_or_default()
}

/// A queue with one message.
fn queue_with_one(sim: &Sim) -> (String, aws_sdk_sqs::Client) {
    let url = sim.create_queue("q", &[]);
    sim.send("q", "m");
    (url, aws_sdk_sqs::Client::new(&sim.sdk_config()))
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_message_is_visible_again_before_its_visibility_timeout_is_over() {
    let sim = Sim::default();
    let (url, sqs) = queue_with_one(&sim);
    sim.set_faults(FaultRule::on("ReceiveMessage").once().redeliver(Duration::from_secs(5)));
    let first = receive(&sqs, &url, 0).await;
    let start = sim.now();
    assert_eq!(receive(&sqs, &url, 0).await, []);
    let second = receive(&sqs, &url, 20).await;
    assert_eq!(sim.now().duration_since(start).unwrap().as_secs(), 5);
    assert_eq!(first[0].message_id, second[0].message_id);
    assert_ne!(first[0].receipt_handle, second[0].receipt_handle);
    assert_eq!(sim.queue("q").messages[0].receive_count, 2);

    // The first handle is stale: it deletes nothing, and extends nothing.
    let stale = first[0].receipt_handle().unwrap();
    sqs.delete_message().queue_url(&url).receipt_handle(stale).send().await.unwrap();
    let extend = sqs.change_message_visibility().queue_url(&url).visibility_timeout(60);
    extend.clone().receipt_handle(stale).send().await.unwrap_err();
    extend.receipt_handle(second[0].receipt_handle().unwrap()).send().await.unwrap();
    assert_eq!(sim.queue("q").in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn redelivery_can_be_at_once_and_is_not_kept_off_by_an_extension() {
    let sim = Sim::default();
    let (url, sqs) = queue_with_one(&sim);
    sim.set_faults(FaultRule::on("ReceiveMessage").once().redeliver(Duration::ZERO));
    assert_eq!(receive(&sqs, &url, 0).await.len(), 1);
    assert_eq!(sim.queue("q").visible, 1);

    sim.set_faults(FaultRule::on("ReceiveMessage").once().redeliver(Duration::from_secs(5)));
    let second = receive(&sqs, &url, 0).await;
    let extend = sqs.change_message_visibility().queue_url(&url).visibility_timeout(600);
    extend.receipt_handle(second[0].receipt_handle().unwrap()).send().await.unwrap();
    assert_eq!(receive(&sqs, &url, 10).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_or_received_again_is_not_redelivered() {
    let sim = Sim::default();
    let (url, sqs) = queue_with_one(&sim);
    sim.set_faults(FaultRule::on("ReceiveMessage").once().redeliver(Duration::from_secs(5)));
    let first = receive(&sqs, &url, 0).await;
    sim.make_all_visible("q");
    let second = receive(&sqs, &url, 0).await;
    assert_eq!(first[0].message_id, second[0].message_id);
    assert_eq!(receive(&sqs, &url, 20).await, []);

    sim.set_faults(FaultRule::on("ReceiveMessage").once().redeliver(Duration::from_secs(5)));
    sim.make_all_visible("q");
    let third = receive(&sqs, &url, 0).await;
    let handle = third[0].receipt_handle().unwrap();
    sqs.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    assert_eq!(receive(&sqs, &url, 20).await, []);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_receive_makes_handles_stale() {
    let sim = Sim::default();
    let (url, sqs) = queue_with_one(&sim);
    let first = receive(&sqs, &url, 0).await;
    sim.receive_elsewhere("q", first[0].message_id().unwrap(), MINUTE);
    let handle = first[0].receipt_handle().unwrap();
    sqs.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    let queue = sim.queue("q");
    assert_eq!((queue.in_flight, queue.messages[0].receive_count), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn messages_come_in_order_unless_the_order_is_random() {
    async fn bodies(seed: u64, reorder: bool) -> Vec<String> {
        let sim = Sim::new(SimConfig { seed, reorder, ..SimConfig::default() });
        let url = sim.create_queue("q", &[]);
        (0..20).for_each(|n| drop(sim.send("q", &format!("{n:02}"))));
        let sqs = aws_sdk_sqs::Client::new(&sim.sdk_config());
        let mut bodies = Vec::new();
        for _ in 0..2 {
            bodies.extend(receive(&sqs, &url, 0).await.into_iter().filter_map(|m| m.body));
        }
        bodies
    }
    let in_order: Vec<_> = (0..20).map(|n| format!("{n:02}")).collect();
    assert_eq!(bodies(1, false).await, in_order);
    let random = bodies(1, true).await;
    assert_eq!(random, bodies(1, true).await);
    assert_ne!(random, bodies(2, true).await);
    assert_ne!(random, in_order);
    assert_eq!(random.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from_iter(in_order));
}

/// Calls a service with the real SDK; the code and the HTTP status that come back.
async fn failure(sim: &Sim, service: Service) -> (Option<String>, u16) {
    macro_rules! failure {
        ($module:ident, $call:ident) => {{
            use $module::error::ProvideErrorMetadata as _;
            let config = sim.sdk_config().into_builder().retry_config(RetryConfig::disabled());
            let error = $module::Client::new(&config.build()).$call().send().await.unwrap_err();
            let status = error.raw_response().unwrap().status().as_u16();
            (error.code().map(str::to_owned), status)
        }};
    }
    match service {
        Service::Sqs => failure!(aws_sdk_sqs, list_queues),
        Service::Ecr => failure!(aws_sdk_ecr, describe_repositories),
        Service::Sns => failure!(aws_sdk_sns, list_topics),
        Service::Events | Service::Sts => unreachable!("no SDK for {service} here"),
    }
}

#[tokio::test(start_paused = true)]
async fn every_service_has_its_own_codes_and_the_sdk_knows_them() {
    let sim = Sim::default();
    for service in [Service::Sqs, Service::Ecr, Service::Sns] {
        let denied = [service.access_denied_code()];
        for (codes, statuses) in [
            (service.throttling_codes(), 400..=429),
            (service.server_error_codes(), 500..=503),
            (service.expired_credentials_codes(), 400..=403),
            (&denied[..], 400..=403),
            (service.key_refusal_codes(), 400..=403),
            (service.key_outage_codes(), 400..=403),
        ] {
            for code in codes {
                sim.set_faults(FaultRule::on_service(service).error(code));
                let (seen, status) = failure(&sim, service).await;
                let seen = seen.unwrap();
                let code = code.split(' ').next().unwrap();
                let query = code.strip_prefix("Kms").map(|rest| format!("KMS.{rest}"));
                let is_query = query.is_some_and(|query| seen.starts_with(&query[..8]));
                assert!(seen == code || is_query, "{service} {code}: {seen}");
                assert!(statuses.contains(&status), "{service} {code} {status}");
            }
        }
    }
    assert!(!Service::Ecr.throttling_codes().contains(&"LimitExceededException"));
}

#[tokio::test(start_paused = true)]
async fn what_one_rule_draws_does_not_depend_on_the_others() {
    /// The calls that were refused, of forty to ECR and SQS in turn.
    async fn refused(plan: RandomFaults) -> Vec<usize> {
        let sim = Sim::default();
        sim.set_faults(plan);
        for n in 0..40 {
            let service = if n % 2 == 0 { Service::Ecr } else { Service::Sqs };
            let config = sim.sdk_config().into_builder().retry_config(RetryConfig::disabled());
            let config = config.build();
            match service {
                Service::Ecr => {
                    drop(aws_sdk_ecr::Client::new(&config).describe_repositories().send().await);
                }
                _ => drop(aws_sdk_sqs::Client::new(&config).list_queues().send().await),
            }
        }
        let refused = |call: &Call| call.faults.contains(&"error ServerException".to_owned());
        sim.calls().into_iter().filter(refused).map(|call| call.seq).collect()
    }
    let plan = || RandomFaults::new(3, 100);
    let ecr = || FaultRule::on_service(Service::Ecr).error("ServerException");
    let sqs = |fault: Fault| FaultRule::on_service(Service::Sqs).fault(fault);
    let alone = refused(plan().chance(0.3, ecr())).await;
    assert!(alone.len() > 2);
    let late = sqs(Fault::DelayReply(MINUTE));
    assert_eq!(refused(plan().chance(0.3, ecr()).chance(0.5, late)).await, alone);

    let second = |rule| plan().chance(0.3, rule).chance(0.3, ecr());
    let with_resets = refused(second(sqs(Fault::ConnectionReset))).await;
    assert_eq!(refused(second(sqs(Fault::Hang).once().skip(100))).await, with_resets);
}

/// A rule for every throttling and server error of the services that the run calls.
fn errors() -> impl Iterator<Item = FaultRule> {
    [Service::Sqs, Service::Ecr, Service::Sns].into_iter().flat_map(|service| {
        let codes = service.throttling_codes().iter().chain(service.server_error_codes());
        codes.map(move |code| FaultRule::on_service(service).error(code))
    })
}

/// Something of everything that can go wrong.
fn mixture(seed: u64, repo: &RepoKey, digest: &str) -> RandomFaults {
    let second = Duration::from_secs(1);
    let (moved, digest, gone) = (repo.clone(), digest.to_owned(), repo.clone());
    RandomFaults::new(seed, 60)
        .chances(0.02, errors())
        .chance(0.2, FaultRule::on("ReceiveMessage").redeliver(Duration::ZERO))
        .chance(0.2, FaultRule::on("ReceiveMessage").redeliver(20 * second))
        .chance(0.2, FaultRule::on("DeleteMessageBatch").fail_entries("InternalError"))
        .chance(0.03, FaultRule::always().delay(3 * second))
        .chance(0.03, FaultRule::always().delay(40 * second))
        .chance(0.03, FaultRule::always().fault(Fault::DelayReply(2 * second)))
        .chance(0.03, FaultRule::always().hang())
        .chance(0.03, FaultRule::always().fault(Fault::HangAfter))
        .chance(0.03, FaultRule::always().reset())
        .chance(0.03, FaultRule::always().reset_after())
        .chance(0.03, FaultRule::always().error_after("InternalFailure"))
        .chance(0.05, FaultRule::always().act(|sim| sim.set_callers_clock(900)))
        .chance(0.05, FaultRule::always().act(|sim| sim.set_callers_clock(-900)))
        .chance(0.05, FaultRule::always().act(move |sim| sim.tag_image(&moved, "v2", &digest)))
        .chance(0.1, FaultRule::always().act(move |sim| sim.untag_image(&gone, "v1")))
}

/// The clients of one caller. Each has a retry quota of its own: the default one is the process's.
struct Caller {
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
    ecr: aws_sdk_ecr::Client,
}

impl Caller {
    fn new(sim: &Sim, access_key: &str) -> Self {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(MINUTE / 2).build();
        let config = sim.sdk_config_as(access_key).into_builder().timeout_config(timeouts).build();
        macro_rules! client {
            ($module:ident) => {{
                let config = $module::config::Builder::from(&config);
                let own = RetryPartition::custom("own").build();
                $module::Client::from_conf(config.retry_partition(own).build())
            }};
        }
        Self { sqs: client!(aws_sdk_sqs), sns: client!(aws_sdk_sns), ecr: client!(aws_sdk_ecr) }
    }

    /// Polls for a while, and does something to every service for each message.
    async fn work(self, url: String, topic: String) {
        for _ in 0..12 {
            let receive = self.sqs.receive_message().queue_url(&url).max_number_of_messages(3);
            let received = receive.wait_time_seconds(5).visibility_timeout(10).send().await;
            let messages = received.ok().and_then(|received| received.messages);
            for message in messages.unwrap_or_default() {
                drop(self.ecr.describe_images().repository_name("team/app").send().await);
                let mut publish = self.sns.publish().topic_arn(&topic).message("m");
                for n in 0..5 {
                    let value = MessageAttributeValue::builder().data_type("String");
                    let value = value.string_value("x").build().unwrap();
                    publish = publish.message_attributes(format!("attribute{n}"), value);
                }
                drop(publish.send().await);
                let entry = DeleteMessageBatchRequestEntry::builder().id("x");
                let entry = entry.receipt_handle(message.receipt_handle().unwrap()).build();
                let delete = self.sqs.delete_message_batch().queue_url(&url);
                drop(delete.entries(entry.unwrap()).send().await);
            }
        }
    }
}

/// Two callers under everything that can go wrong; the record of their calls.
fn run(seed: u64) -> Vec<Call> {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let sim = Sim::new(SimConfig { seed, reorder: true, ..SimConfig::default() });
        let (url, _) = sim.create_queue_with_redrive("q", 6, &[]);
        let topic = sim.create_topic("team");
        let repo = sim.create_repository("team/app");
        sim.push_image(&repo, &["v1", "v2"], "one");
        let other = sim.push_image(&repo, &["v3"], "two");
        (0..15).for_each(|n| drop(sim.send("q", &format!("message {n}"))));
        sim.set_faults(mixture(seed, &repo, &other));
        let mut callers = JoinSet::new();
        for access_key in ["AKIAONE", "AKIATWO"] {
            callers.spawn(Caller::new(&sim, access_key).work(url.clone(), topic.clone()));
        }
        while let Some(done) = callers.join_next().await {
            done.unwrap();
        }
        sim.calls()
    })
}

#[test]
fn the_same_seed_gives_the_same_bytes_whatever_goes_wrong() {
    let bytes = |seed| serde_json::to_string(&run(seed)).unwrap();
    let first: Vec<_> = (1..=8).map(bytes).collect();
    let again: Vec<_> = (1..=8).map(bytes).collect();
    for (seed, (first, again)) in (1..).zip(first.iter().zip(&again)) {
        assert!(first == again, "seed {seed} does not repeat");
    }
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 8);
}

#[test]
fn everything_that_can_go_wrong_does_so_in_some_run() {
    let calls: Vec<_> = (1..=8).flat_map(run).collect();
    let struck: BTreeSet<_> = calls.iter().flat_map(|call| &call.faults).collect();
    for fault in [
        "act",
        "delay 3s",
        "delay 40s",
        "delay reply 2s",
        "error RequestThrottled",
        "error ServerException",
        "error after InternalFailure",
        "fail entries InternalError",
        "hang",
        "hang after",
        "redeliver 0ns",
        "redeliver 20s",
        "reset",
        "reset after",
    ] {
        assert!(struck.contains(&fault.to_owned()), "{fault} never struck: {struck:?}");
    }
    let refused = CallOutcome::Error("InvalidSignatureException".to_owned());
    assert!(calls.iter().any(|call| call.outcome == refused));
}
