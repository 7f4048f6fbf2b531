//! Watching calls take their course, and what the record says of who called and what struck.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use aws_sim::{Call, CallOutcome, Fault, FaultRule, Moment, Sim};
use serde_json::json;

/// What a watcher saw: the moment, the outcome at it, and the messages in the queue then.
type Seen = Arc<Mutex<Vec<(Moment, CallOutcome, usize)>>>;

struct Scene {
    sim: Sim,
    sqs: aws_sdk_sqs::Client,
    url: String,
    seen: Seen,
}

/// A queue with one message, and a watcher; a client that does not retry and waits for 30 seconds.
fn scene() -> Scene {
    let sim = Sim::default();
    let url = sim.create_queue("q", &[]);
    sim.send("q", "m");
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    sim.watch(move |sim, call, moment| {
        let messages = sim.queue("q").messages.len();
        log.lock().unwrap().push((moment, call.outcome.clone(), messages));
    });
    Scene { sqs: client(&sim, "AKIASIM"), sim, url, seen }
}

fn client(sim: &Sim, access_key: &str) -> aws_sdk_sqs::Client {
    let timeouts =
        TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(30)).build();
    let config = sim.sdk_config_as(access_key).into_builder();
    let config = config.retry_config(RetryConfig::disabled()).timeout_config(timeouts).build();
    aws_sdk_sqs::Client::new(&config)
}

impl Scene {
    async fn send(&self) -> bool {
        self.sqs.send_message().queue_url(&self.url).message_body("n").send().await.is_ok()
    }

    fn seen(&self) -> Vec<(Moment, CallOutcome, usize)> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    fn moments(&self) -> Vec<Moment> {
        self.seen().into_iter().map(|(moment, ..)| moment).collect()
    }
}

fn error(code: &str) -> CallOutcome {
    CallOutcome::Error(code.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_call_is_watched_from_its_arrival_to_its_answer() {
    let scene = scene();
    assert!(scene.send().await);
    let expected = [
        (Moment::Arrived, CallOutcome::Unanswered, 1),
        (Moment::Before, CallOutcome::Unanswered, 1),
        (Moment::After, CallOutcome::Ok, 2),
        (Moment::Answered, CallOutcome::Ok, 2),
    ];
    assert_eq!(scene.seen(), expected);
}

#[tokio::test(start_paused = true)]
async fn after_its_effect_a_call_shows_the_services_own_answer_whatever_the_caller_gets() {
    let scene = scene();
    let after = |fault| FaultRule::on("SendMessage").once().fault(fault);
    let fault = |code: &str| match Fault::error(code) {
        Fault::ErrorBefore(error) => Fault::ErrorAfter(error),
        other => other,
    };
    for (fault, last) in [
        (fault("InternalFailure"), Some(error("InternalFailure"))),
        (Fault::ConnectionResetAfter, Some(CallOutcome::ConnectionReset)),
        (Fault::HangAfter, None),
    ] {
        scene.sim.set_faults(after(fault));
        assert!(!scene.send().await);
        let mut seen =
            scene.seen().into_iter().skip(2).map(|(moment, outcome, _)| (moment, outcome));
        assert_eq!(seen.next(), Some((Moment::After, CallOutcome::Ok)));
        assert_eq!(seen.next(), last.map(|outcome| (Moment::Answered, outcome)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_reply_is_the_services_own_after_the_effect_and_the_callers_when_answered() {
    let scene = scene();
    let replies = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&replies);
    scene.sim.watch(move |_, call, moment| {
        if matches!(moment, Moment::After | Moment::Answered) {
            let reply = call.reply.clone().unwrap();
            log.lock().unwrap().push((call.applied, reply["MessageId"] == json!("forged")));
        }
    });
    let forge = |reply: &mut serde_json::Value| reply["MessageId"] = json!("forged");
    scene.sim.set_faults(FaultRule::on("SendMessage").replace(forge));
    assert!(scene.send().await);
    assert_eq!(*replies.lock().unwrap(), [(true, false), (true, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_kept_from_its_effect_has_no_before_and_no_after() {
    let scene = scene();
    for fault in [Fault::error("ThrottlingException"), Fault::ConnectionReset] {
        scene.sim.set_faults(FaultRule::on("SendMessage").fault(fault));
        assert!(!scene.send().await);
        assert_eq!(scene.moments(), [Moment::Arrived, Moment::Answered]);
    }
    scene.sim.set_faults(FaultRule::on("SendMessage").hang());
    assert!(!scene.send().await);
    assert_eq!(scene.moments(), [Moment::Arrived]);

    scene.sim.set_faults(FaultRule::on("DeleteMessageBatch").fail_entries("InternalError"));
    let entry = DeleteMessageBatchRequestEntry::builder().id("x").receipt_handle("h").build();
    let delete = scene.sqs.delete_message_batch().queue_url(&scene.url).entries(entry.unwrap());
    delete.send().await.unwrap();
    assert_eq!(scene.moments(), [Moment::Arrived, Moment::Answered]);
}

#[tokio::test(start_paused = true)]
async fn what_the_service_refuses_is_watched_as_an_effect() {
    let scene = scene();
    let gone = format!("{}-gone", scene.url);
    assert!(scene.sqs.receive_message().queue_url(gone).send().await.is_err());
    let refused = error("QueueDoesNotExist");
    let seen: Vec<_> =
        scene.seen().into_iter().map(|(moment, outcome, _)| (moment, outcome)).collect();
    let expected = [
        (Moment::Arrived, CallOutcome::Unanswered),
        (Moment::Before, CallOutcome::Unanswered),
        (Moment::After, refused.clone()),
        (Moment::Answered, refused),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_waits_is_watched_around_the_look_that_answers_it() {
    let scene = scene();
    let receive = || scene.sqs.receive_message().queue_url(&scene.url).wait_time_seconds(20);
    receive().send().await.unwrap();
    scene.seen();

    let later = async {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(scene.moments(), [Moment::Arrived]);
        scene.sim.send("q", "n");
        assert_eq!(scene.moments(), []);
    };
    let (received, ()) = tokio::join!(receive().send(), later);
    assert_eq!(received.unwrap().messages().len(), 1);
    assert_eq!(scene.moments(), [Moment::Before, Moment::After, Moment::Answered]);

    // Nothing comes: the look at the end of the wait answers it, the first message being in flight until then.
    let url = scene.sim.create_queue("empty", &[]);
    scene.sqs.receive_message().queue_url(url).wait_time_seconds(20).send().await.unwrap();
    let all = [Moment::Arrived, Moment::Before, Moment::After, Moment::Answered];
    assert_eq!(scene.moments(), all);
}

#[tokio::test(start_paused = true)]
async fn watching_changes_nothing_for_the_callers() {
    async fn trace(watched: bool) -> Vec<Call> {
        let sim = Sim::default();
        if watched {
            sim.watch(|sim, _, _| drop(sim.queue("q")));
        }
        let (url, _) = sim.create_queue_with_redrive("q", 2, &[("VisibilityTimeout", "7")]);
        sim.send("q", "m");
        let sqs = client(&sim, "AKIASIM");
        for _ in 0..4 {
            sqs.receive_message().queue_url(&url).wait_time_seconds(10).send().await.unwrap();
        }
        sim.calls()
    }
    assert_eq!(trace(true).await, trace(false).await);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_acts_before_a_call_acts_before_it_is_watched() {
    let scene = scene();
    let act = |sim: &Sim| drop(sim.send("q", "somebody else's"));
    scene.sim.set_faults(FaultRule::on("SendMessage").act(act));
    scene.send().await;
    let counts: Vec<_> = scene.seen().into_iter().map(|(.., count)| count).collect();
    assert_eq!(counts, [1, 2, 3, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_can_end_its_own_watch() {
    let scene = scene();
    let count = Arc::new(Mutex::new(0));
    let log = Arc::clone(&count);
    scene.sim.watch(move |sim, _, moment| {
        *log.lock().unwrap() += 1;
        if moment == Moment::Before {
            sim.unwatch();
        }
    });
    scene.send().await;
    assert_eq!(*count.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_rule_may_look_at_the_simulation() {
    let scene = scene();
    let sim = scene.sim.clone();
    let full = move |_: &aws_sim::ApiCall| sim.queue("q").messages.len() >= 2;
    scene.sim.set_faults(FaultRule::on("SendMessage").matching(full).error("OverLimit"));
    assert!(scene.send().await);
    assert!(!scene.send().await);
}

#[tokio::test(start_paused = true)]
async fn the_record_says_who_called() {
    let sim = Sim::default();
    let url = sim.create_queue("q", &[]);
    for caller in ["AKIAONE", "AKIATWO"] {
        client(&sim, caller).receive_message().queue_url(&url).send().await.unwrap();
    }
    let own = aws_sdk_sqs::Client::new(&sim.sdk_config());
    own.receive_message().queue_url(&url).send().await.unwrap();
    let callers: Vec<_> = sim.calls().into_iter().map(|call| call.caller).collect();
    assert_eq!(callers, ["AKIAONE", "AKIATWO", "AKIASIM"]);

    sim.set_faults(FaultRule::always().caller("AKIATWO").error("AccessDeniedException"));
    client(&sim, "AKIAONE").receive_message().queue_url(&url).send().await.unwrap();
    client(&sim, "AKIATWO").receive_message().queue_url(&url).send().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_role_acts_as_its_account_and_shows_who_assumed_it() {
    let sim = Sim::default();
    let config = sim.sdk_config_as("AKIAONE");
    let role = AssumeRoleProvider::builder("arn:aws:iam::444455556666:role/untag")
        .session_name("test")
        .configure(&config)
        .build()
        .await;
    let config =
        config.into_builder().credentials_provider(SharedCredentialsProvider::new(role)).build();
    drop(aws_sdk_ecr::Client::new(&config).describe_repositories().send().await.unwrap());
    let call = sim.calls_of("DescribeRepositories").pop().unwrap();
    assert_eq!(call.account, "444455556666");
    assert_eq!(call.caller, "ASIASIM0444455556666AKIAONE");
}

#[tokio::test(start_paused = true)]
async fn the_record_says_what_struck() {
    let scene = scene();
    let sends = || FaultRule::on("SendMessage");
    scene.sim.set_faults(vec![
        sends().delay(Duration::from_millis(1500)),
        sends().act(|_| ()),
        sends().fail_entries("InternalError"),
        sends().replace(|_| ()),
        sends().redeliver(Duration::ZERO),
        sends().fault(Fault::DelayReply(Duration::from_secs(2))),
        sends().error_after("InternalFailure"),
        sends().reset_after(),
        sends().fault(Fault::HangAfter),
        sends().error("ThrottlingException"),
        sends().hang(),
    ]);
    assert!(!scene.send().await);
    let expected = [
        "delay 1.5s",
        "act",
        "fail entries InternalError",
        "replace",
        "redeliver 0ns",
        "delay reply 2s",
        "error after InternalFailure",
        "reset after",
        "hang after",
        "error ThrottlingException",
    ];
    assert_eq!(scene.sim.calls()[0].faults, expected);
    scene.sim.set_faults(vec![sends().hang(), sends().reset()]);
    scene.send().await;
    assert_eq!(scene.sim.calls()[1].faults, ["hang"]);
    scene.sim.clear_faults();
    scene.send().await;
    assert_eq!(scene.sim.calls()[2].faults, [] as [&str; 0]);
}
