//! The callers' clocks: jumps, signatures that have expired, and what the SDK makes of them.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sim::{CallOutcome, Fault, FaultRule, Moment, Sim};

/// A configuration that neither retries nor learns how far its clock is off.
fn stubborn(sim: &Sim) -> SdkConfig {
    let config = sim.sdk_config().into_builder().retry_config(RetryConfig::disabled());
    config.disable_clock_skew_correction(true).build()
}

fn outcomes(sim: &Sim) -> Vec<CallOutcome> {
    sim.calls().into_iter().map(|call| call.outcome).collect()
}

#[tokio::test(start_paused = true)]
async fn the_callers_clock_jumps_and_that_of_aws_goes_on() {
    let sim = Sim::default();
    let source = sim.sdk_config().time_source().unwrap();
    let aws = sim.now();
    for (ahead, expected) in [(0, aws), (90, aws + Duration::from_secs(90))] {
        sim.set_callers_clock(ahead);
        assert_eq!((source.now(), sim.now()), (expected, aws));
    }
    sim.set_callers_clock(-3600);
    assert_eq!(source.now(), aws - Duration::from_secs(3600));
}

#[tokio::test(start_paused = true)]
async fn a_signature_more_than_five_minutes_off_is_refused_without_effect() {
    let sim = Sim::default();
    let config = stubborn(&sim);
    let (sqs, ecr) = (aws_sdk_sqs::Client::new(&config), aws_sdk_ecr::Client::new(&config));
    let sns = aws_sdk_sns::Client::new(&config);
    let url = sim.create_queue("q", &[]);
    let topic = sim.create_topic("team");
    sim.watch(|_, _, moment| assert!(!matches!(moment, Moment::Before | Moment::After)));

    for (ahead, message) in [
        (-302, "Signature expired: 20260102T025903Z is now earlier than 20260102T025905Z"),
        (302, "Signature not yet current: 20260102T030907Z is still later than 20260102T030905Z"),
    ] {
        sim.set_callers_clock(ahead);
        let refused = sqs.send_message().queue_url(&url).message_body("m").send().await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Some("InvalidSignatureException"));
        assert!(refused.message().unwrap().starts_with(message), "{refused:?}");
        let refused = ecr.describe_repositories().send().await.unwrap_err();
        assert_eq!(refused.code(), Some("InvalidSignatureException"));
        let refused = sns.publish().topic_arn(&topic).message("m").send().await.unwrap_err();
        assert_eq!(refused.code(), Some("SignatureDoesNotMatch"));
    }
    assert!(sim.queue("q").messages.is_empty() && sim.notices(&topic).is_empty());
    assert!(sim.calls().iter().all(|call| !call.applied));

    sim.unwatch();
    for within in [-298, 298] {
        sim.set_callers_clock(within);
        sqs.send_message().queue_url(&url).message_body("m").send().await.unwrap();
    }
    assert_eq!(sim.queue("q").messages.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_sdk_learns_the_right_time_from_the_refusal_and_keeps_it() {
    let sim = Sim::default();
    sim.set_callers_clock(-7200);
    let ecr = aws_sdk_ecr::Client::new(&sim.sdk_config());
    ecr.describe_repositories().send().await.unwrap();
    ecr.describe_repositories().send().await.unwrap();
    let refused = CallOutcome::Error("InvalidSignatureException".to_owned());
    assert_eq!(outcomes(&sim), [refused, CallOutcome::Ok, CallOutcome::Ok]);
}

#[tokio::test(start_paused = true)]
async fn what_strikes_on_the_way_strikes_before_the_signature_is_looked_at() {
    let sim = Sim::default();
    let url = sim.create_queue("q", &[]);
    let sqs = aws_sdk_sqs::Client::new(&stubborn(&sim));
    sim.set_callers_clock(600);
    sim.set_faults(FaultRule::on("SendMessage").once().fault(Fault::ConnectionReset));
    for _ in 0..2 {
        drop(sqs.send_message().queue_url(&url).message_body("m").send().await);
    }
    let refused = CallOutcome::Error("InvalidSignatureException".to_owned());
    assert_eq!(outcomes(&sim), [CallOutcome::ConnectionReset, refused]);
}
