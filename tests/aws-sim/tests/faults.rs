//! Faults and the connector: what goes wrong, and how the real SDK sees it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_sqs::error::ProvideErrorMetadata as _;
use aws_sim::{CallOutcome, Fault, FaultRule, RandomFaults, RepoKey, Service, Sim};
use serde_json::json;
use tokio::time::Instant;

struct Scene {
    sim: Sim,
    repo: RepoKey,
    digest: String,
    ecr: aws_sdk_ecr::Client,
    sqs: aws_sdk_sqs::Client,
    url: String,
}

/// One image with tags a and b, one queue; clients that do not retry and wait for 30 seconds.
fn scene() -> Scene {
    let sim = Sim::default();
    let repo = sim.create_repository("team/app");
    let digest = sim.push_image(&repo, &["a", "b"], "one");
    let url = sim.create_queue("q", &[]);
    let config = sim
        .sdk_config()
        .into_builder()
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(30)).build(),
        )
        .build();
    Scene {
        ecr: aws_sdk_ecr::Client::new(&config),
        sqs: aws_sdk_sqs::Client::new(&config),
        sim,
        repo,
        digest,
        url,
    }
}

impl Scene {
    async fn untag(
        &self,
        tags: &[&str],
    ) -> Result<
        aws_sdk_ecr::operation::batch_delete_image::BatchDeleteImageOutput,
        aws_sdk_ecr::error::SdkError<
            aws_sdk_ecr::operation::batch_delete_image::BatchDeleteImageError,
        >,
    > {
        let id = |tag: &&str| {
            ImageIdentifier::builder().image_tag(*tag).image_digest(&self.digest).build()
        };
        let ids = tags.iter().map(id).collect();
        self.ecr
            .batch_delete_image()
            .repository_name("team/app")
            .set_image_ids(Some(ids))
            .send()
            .await
    }

    fn tags(&self) -> Vec<String> {
        self.sim.tags(&self.repo, &self.digest).unwrap_or_default()
    }

    fn last_outcome(&self) -> CallOutcome {
        self.sim.calls().pop().unwrap().outcome
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_before_has_no_effect() {
    let scene = scene();
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").once().error("ThrottlingException"));
    let refused = scene.untag(&["a"]).await.unwrap_err();
    assert_eq!(refused.code(), Some("ThrottlingException"));
    assert_eq!(scene.tags(), ["a", "b"]);
    assert_eq!(scene.last_outcome(), CallOutcome::Error("ThrottlingException".into()));
    assert!(!scene.sim.calls()[0].applied);

    scene.untag(&["a"]).await.unwrap();
    assert_eq!(scene.tags(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn an_error_after_has_its_effect() {
    let scene = scene();
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").error_after("ServerException"));
    let failed = scene.untag(&["a"]).await.unwrap_err();
    assert!(failed.into_service_error().is_server_exception());
    assert_eq!(scene.tags(), ["b"]);
    assert!(scene.sim.calls()[0].applied);
}

#[tokio::test(start_paused = true)]
async fn modelled_errors_of_a_fault_reach_the_sdk_as_such() {
    let scene = scene();
    scene.sim.set_faults(FaultRule::on_service(Service::Sqs).once().error("QueueDoesNotExist"));
    let refused = scene.sqs.receive_message().queue_url(&scene.url).send().await.unwrap_err();
    assert!(refused.into_service_error().is_queue_does_not_exist());
}

#[tokio::test(start_paused = true)]
async fn connection_resets_are_io_failures_before_or_after_the_effect() {
    let scene = scene();
    scene.sim.set_faults(vec![
        FaultRule::on("BatchDeleteImage").once().reset(),
        FaultRule::on("BatchDeleteImage").skip(1).once().reset_after(),
    ]);
    for expected in [&["a", "b"][..], &["b"][..]] {
        let failed = scene.untag(&["a"]).await.unwrap_err();
        let failure = match failed {
            aws_sdk_ecr::error::SdkError::DispatchFailure(failure) => failure,
            other => unreachable!("{other:?}"),
        };
        assert!(failure.is_io());
        assert_eq!(scene.tags(), expected);
        assert_eq!(scene.last_outcome(), CallOutcome::ConnectionReset);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hang_ends_in_the_callers_timeout() {
    let scene = scene();
    scene.sim.set_faults(vec![
        FaultRule::on("BatchDeleteImage").once().hang(),
        FaultRule::on("BatchDeleteImage").skip(1).once().fault(Fault::HangAfter),
    ]);
    for expected in [&["a", "b"][..], &["b"][..]] {
        let start = Instant::now();
        let failed = scene.untag(&["a"]).await.unwrap_err();
        assert!(matches!(failed, aws_sdk_ecr::error::SdkError::TimeoutError(_)), "{failed:?}");
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!(scene.tags(), expected);
        assert_eq!(scene.last_outcome(), CallOutcome::Unanswered);
    }
}

#[tokio::test(start_paused = true)]
async fn the_connector_keeps_the_read_timeout() {
    let scene = scene();
    let timeouts = TimeoutConfig::builder().read_timeout(Duration::from_secs(3)).build();
    let config = scene
        .sim
        .sdk_config()
        .into_builder()
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    let ecr = aws_sdk_ecr::Client::new(&config.build());
    scene.sim.set_faults(FaultRule::always().hang());
    let start = Instant::now();
    match ecr.list_images().repository_name("team/app").send().await.unwrap_err() {
        aws_sdk_ecr::error::SdkError::DispatchFailure(failure) => assert!(failure.is_timeout()),
        other => unreachable!("{other:?}"),
    }
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_delay_comes_before_the_effect_and_a_delayed_reply_after_it() {
    let scene = scene();
    let (early, late) = (Duration::from_secs(5), Duration::from_secs(5));
    scene.sim.set_faults(vec![
        FaultRule::on("BatchDeleteImage").once().delay(early),
        FaultRule::on("BatchDeleteImage").skip(1).once().fault(Fault::DelayReply(late)),
    ]);
    let watch = |tags: &'static [&'static str], scene: &Scene| {
        let (sim, repo, digest) = (scene.sim.clone(), scene.repo.clone(), scene.digest.clone());
        async move {
            let start = Instant::now();
            sim.wait_until(|sim| sim.tags(&repo, &digest).unwrap_or_default() == tags).await;
            start.elapsed().as_secs()
        }
    };
    let (seen, _) = tokio::join!(watch(&["b"], &scene), scene.untag(&["a"]));
    assert_eq!(seen, 5);
    let start = Instant::now();
    let (seen, _) = tokio::join!(watch(&[], &scene), scene.untag(&["b"]));
    assert_eq!((seen, start.elapsed().as_secs()), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_late_call_has_its_effect_after_its_caller_gave_it_up() {
    let scene = scene();
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").delay(Duration::from_secs(40)));
    let failed = scene.untag(&["a"]).await.unwrap_err();
    assert!(matches!(failed, aws_sdk_ecr::error::SdkError::TimeoutError(_)), "{failed:?}");
    assert_eq!(scene.tags(), ["a", "b"]);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert_eq!(scene.tags(), ["b"]);
    assert_eq!(scene.last_outcome(), CallOutcome::Unanswered);
}

#[tokio::test(start_paused = true)]
async fn entries_of_a_batch_fail_without_effect() {
    let scene = scene();
    let only_b = |entry: &serde_json::Value| entry["imageTag"] == "b";
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").fail_entries_where("KmsError", only_b));
    let output = scene.untag(&["a", "b"]).await.unwrap();
    assert_eq!(output.image_ids().len(), 1);
    assert_eq!(output.failures()[0].failure_code().unwrap().as_str(), "KmsError");
    assert_eq!(output.failures()[0].image_id().unwrap().image_tag(), Some("b"));
    assert_eq!(scene.tags(), ["b"]);

    scene.sim.send("q", "m");
    scene.sim.set_faults(FaultRule::on("DeleteMessageBatch").fail_entries("InternalError"));
    let received = scene.sqs.receive_message().queue_url(&scene.url).send().await.unwrap();
    let entry = aws_sdk_sqs::types::DeleteMessageBatchRequestEntry::builder()
        .id("x")
        .receipt_handle(received.messages()[0].receipt_handle().unwrap())
        .build()
        .unwrap();
    let output =
        scene.sqs.delete_message_batch().queue_url(&scene.url).entries(entry).send().await.unwrap();
    assert_eq!(output.failed()[0].code(), "InternalError");
    assert!(output.successful().is_empty());
    assert_eq!(scene.sim.queue("q").messages.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_can_be_forged() {
    let scene = scene();
    let forged = json!({"imageDigest": scene.digest, "imageTag": "never-asked-for"});
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").replace(move |reply| {
        reply["imageIds"].as_array_mut().unwrap().push(forged.clone());
    }));
    let output = scene.untag(&["a"]).await.unwrap();
    assert_eq!(output.image_ids()[1].image_tag(), Some("never-asked-for"));
}

#[tokio::test(start_paused = true)]
async fn somebody_can_move_a_tag_just_before_a_call() {
    let scene = scene();
    let repo = scene.repo.clone();
    let moved = move |sim: &Sim| {
        sim.push_image(&repo, &["a"], "two");
    };
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").once().act(moved));
    let output = scene.untag(&["a"]).await.unwrap();
    assert_eq!(output.failures()[0].failure_code().unwrap().as_str(), "ImageTagDoesNotMatchDigest");
    assert!(scene.sim.tag_target(&scene.repo, "a").is_some_and(|target| target != scene.digest));
}

#[tokio::test(start_paused = true)]
async fn somebody_can_delete_the_image_or_the_repository_between_any_two_calls() {
    let scene = scene();
    let (repo, digest) = (scene.repo.clone(), scene.digest.clone());
    let delete = move |sim: &Sim| sim.delete_image(&repo, &digest);
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").once().act(delete));
    let output = scene.untag(&["a"]).await.unwrap();
    assert_eq!(output.failures()[0].failure_code().unwrap().as_str(), "ImageNotFound");

    let repo = scene.repo.clone();
    let delete = move |sim: &Sim| sim.delete_repository(&repo);
    scene.sim.set_faults(FaultRule::on("BatchDeleteImage").once().act(delete));
    let refused = scene.untag(&["a"]).await.unwrap_err();
    assert!(refused.into_service_error().is_repository_not_found_exception());
}

#[tokio::test(start_paused = true)]
async fn a_receive_whose_answer_is_lost_or_late_has_taken_its_messages() {
    let scene = scene();
    scene.sim.send("q", "m");
    let receive = || {
        let receive = scene.sqs.receive_message().queue_url(&scene.url);
        receive.wait_time_seconds(20).visibility_timeout(10).send()
    };
    scene.sim.set_faults(FaultRule::on("ReceiveMessage").once().fault(Fault::HangAfter));
    receive().await.unwrap_err();
    assert_eq!(scene.sim.queue("q").messages[0].receive_count, 1);

    let late = Fault::DelayReply(Duration::from_secs(12));
    scene.sim.set_faults(FaultRule::on("ReceiveMessage").once().fault(late));
    let first = receive().await.unwrap();
    assert_eq!(scene.sim.queue("q").visible, 1, "the visibility timeout ran while the answer came");
    let second = receive().await.unwrap();
    assert_eq!(first.messages()[0].message_id(), second.messages()[0].message_id());
    assert_ne!(first.messages()[0].receipt_handle(), second.messages()[0].receipt_handle());
}

#[tokio::test(start_paused = true)]
async fn rules_pick_calls_by_service_and_content() {
    let scene = scene();
    scene.sim.create_repository("other");
    scene.sim.set_faults(vec![
        FaultRule::on_service(Service::Sqs).error("AccessDeniedException"),
        FaultRule::on("ListImages").repository("other").error("AccessDeniedException"),
    ]);
    scene.ecr.list_images().repository_name("team/app").send().await.unwrap();
    let refused = scene.ecr.list_images().repository_name("other").send().await.unwrap_err();
    assert_eq!(refused.code(), Some("AccessDeniedException"));
    let refused = scene.sqs.receive_message().queue_url(&scene.url).send().await.unwrap_err();
    assert_eq!(refused.code(), Some("AccessDeniedException"));
}

#[tokio::test(start_paused = true)]
async fn random_faults_are_the_same_for_the_same_seed_and_come_to_an_end() {
    async fn outcomes(seed: u64) -> Vec<CallOutcome> {
        let scene = scene();
        let plan = RandomFaults::new(seed, 5)
            .chance(0.3, FaultRule::on("ListImages").error("ThrottlingException"))
            .chance(0.3, FaultRule::always().reset());
        scene.sim.set_faults(plan);
        for _ in 0..40 {
            drop(scene.ecr.list_images().repository_name("team/app").send().await);
        }
        scene.sim.calls().into_iter().map(|call| call.outcome).collect()
    }
    let first = outcomes(1).await;
    assert_eq!(first, outcomes(1).await);
    assert_ne!(first, outcomes(2).await);
    assert_eq!(first.iter().filter(|outcome| **outcome != CallOutcome::Ok).count(), 5);
}

#[tokio::test(start_paused = true)]
async fn the_sdk_retries_over_a_fault_in_virtual_time() {
    let scene = scene();
    let ecr = aws_sdk_ecr::Client::new(&scene.sim.sdk_config());
    scene.sim.set_faults(FaultRule::on("ListImages").first(2).error("ThrottlingException"));
    ecr.list_images().repository_name("team/app").send().await.unwrap();
    assert_eq!(scene.sim.wait_for_calls("ListImages", 3).await.len(), 3);
}
