//! The real binary against moto, the widely used AWS emulator. What aws-sim and the worker assume
//! about the wire is compared with an independent implementation.

mod conformance;
mod server;

use std::collections::BTreeSet;

use aws_sdk_ecr::types::ImageIdentifier;
use aws_sdk_sqs::types::QueueAttributeName;
use hyper::StatusCode;
use serde_json::{Value, json};
use server::Moto;

use crate::process::{Variables, Worker, variables, within_deadline};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "123456789012";
const REPOSITORY: &str = "team/app";

/// moto with a repository, a queue with a dead-letter queue behind an EventBridge rule, and a topic
/// with a queue.
struct World {
    moto: Moto,
    ecr: aws_sdk_ecr::Client,
    sqs: aws_sdk_sqs::Client,
    queue: String,
    dead_letters: String,
    notices: String,
    variables: Variables,
}

impl World {
    /// Returns `None` if these tests are skipped.
    async fn new() -> Option<Self> {
        let moto = Moto::start().await?;
        let sdk = moto.sdk().await;
        let ecr = aws_sdk_ecr::Client::new(&sdk);
        let sqs = aws_sdk_sqs::Client::new(&sdk);
        let sns = aws_sdk_sns::Client::new(&sdk);
        ecr.create_repository().repository_name(REPOSITORY).send().await.expect("a repository");

        let create = async |name: &str, redrive: Option<Value>| {
            let redrive = redrive.map(|policy| policy.to_string());
            let attributes = redrive.map(|policy| (QueueAttributeName::RedrivePolicy, policy));
            let request = sqs.create_queue().queue_name(name);
            let request = request.set_attributes(attributes.map(|attribute| [attribute].into()));
            request.send().await.expect("a queue").queue_url.expect("its URL")
        };
        let dead_letters = create("tagwarden-dlq", None).await;
        let redrive =
            json!({"deadLetterTargetArn": queue_arn("tagwarden-dlq"), "maxReceiveCount": 2});
        let queue = create("tagwarden", Some(redrive)).await;
        let notices = create("team", None).await;

        let topic = sns.create_topic().name("team").send().await.expect("a topic");
        let topic = topic.topic_arn.expect("its ARN");
        let subscribe = sns.subscribe().topic_arn(&topic).protocol("sqs");
        let subscribe =
            subscribe.endpoint(queue_arn("team")).attributes("RawMessageDelivery", "true");
        subscribe.send().await.expect("a subscription");

        let pattern = json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Scan"]});
        let rule = json!({"Name": "scans", "EventPattern": pattern.to_string()});
        moto.events("PutRule", &rule).await;
        let target = json!({"Id": "queue", "Arn": queue_arn("tagwarden")});
        moto.events("PutTargets", &json!({"Rule": "scans", "Targets": [target]})).await;

        let mut variables = variables(&moto.endpoint(), REGION, &queue, &topic);
        variables.insert("TAGWARDEN__POLICY__PROTECTED_TAGS".to_owned(), "release-*".to_owned());
        // moto knows no artifacts with a subject.
        variables.insert("TAGWARDEN__REGISTRY__RECORDS".to_owned(), "off".to_owned());
        Some(Self { moto, ecr, sqs, queue, dead_letters, notices, variables })
    }

    fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    async fn worker(&self) -> Worker {
        let mut worker = Worker::start(&self.variables).await;
        worker.ready().await;
        worker
    }

    /// Pushes an image with these tags and scans it. Returns its digest. By default moto's scan
    /// finds one HIGH.
    async fn push(&self, tags: &[&str]) -> String {
        let manifest = aws_sim::manifest::image(&tags.join(" "));
        let mut digest = String::new();
        for tag in tags {
            let put = self.ecr.put_image().repository_name(REPOSITORY).image_manifest(&manifest);
            let image = put.image_tag(*tag).send().await.expect("an image").image;
            digest = image.and_then(|image| image.image_id?.image_digest).expect("its digest");
        }
        let id = ImageIdentifier::builder().image_digest(&digest).build();
        let scan = self.ecr.start_image_scan().repository_name(REPOSITORY).image_id(id);
        scan.send().await.expect("a scan");
        digest
    }

    /// Sets the findings of an image's scan.
    async fn set_findings(&self, digest: &str, severities: &[&str]) {
        let finding =
            |severity: &&str| json!({"name": format!("CVE-2026-{severity}"), "severity": severity});
        let findings: Vec<_> = severities.iter().map(finding).collect();
        let counts = severities.iter().map(|severity| ((*severity).to_owned(), json!(1)));
        let answer = json!({
            "registryId": ACCOUNT,
            "repositoryName": REPOSITORY,
            "imageId": {"imageDigest": digest},
            "imageScanStatus": {"status": "COMPLETE"},
            "imageScanFindings": {
                "findings": findings,
                "findingSeverityCounts": counts.collect::<serde_json::Map<_, _>>(),
            },
        });
        self.moto.set_findings(&answer).await;
    }

    /// Puts the scan event of an image on the bus, as ECR would.
    async fn scanned(&self, digest: &str, tags: &[&str]) {
        let detail = json!({
            "scan-status": "COMPLETE",
            "repository-name": REPOSITORY,
            "image-digest": digest,
            "image-tags": tags,
        });
        let entry = json!({
            "Source": "aws.ecr",
            "DetailType": "ECR Image Scan",
            "Resources": [format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{REPOSITORY}")],
            "Detail": detail.to_string(),
        });
        self.moto.events("PutEvents", &json!({"Entries": [entry]})).await;
    }

    /// The tags of an image.
    async fn tags(&self, digest: &str) -> BTreeSet<String> {
        let id = ImageIdentifier::builder().image_digest(digest).build();
        let describe = self.ecr.describe_images().repository_name(REPOSITORY).image_ids(id);
        let answer = describe.send().await.expect("an image that is there");
        let details = answer.image_details.unwrap_or_default();
        details.into_iter().flat_map(|image| image.image_tags.unwrap_or_default()).collect()
    }

    /// Receives one message and deletes it.
    async fn take(&self, queue: &str) -> String {
        let taken = async {
            loop {
                let receive = self.sqs.receive_message().queue_url(queue).wait_time_seconds(10);
                let messages =
                    receive.send().await.expect("a receive").messages.unwrap_or_default();
                if let Some(message) = messages.into_iter().next() {
                    let delete = self.sqs.delete_message().queue_url(queue);
                    let receipt = message.receipt_handle.expect("a receipt handle");
                    delete.receipt_handle(receipt).send().await.expect("a delete");
                    return message.body.expect("a body");
                }
            }
        };
        within_deadline("a message", taken).await
    }

    async fn notice(&self) -> Value {
        let notice: Value = serde_json::from_str(&self.take(&self.notices).await).expect("JSON");
        assert_eq!(notice["schema"], "tagwarden.notice/1");
        assert_eq!(notice["image"]["account"], ACCOUNT);
        assert_eq!(notice["image"]["region"], REGION);
        assert_eq!(notice["image"]["repository"], REPOSITORY);
        notice
    }

    /// The number of visible messages of the queue, and of those in flight.
    async fn depth(&self) -> (String, String) {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.sqs.get_queue_attributes().queue_url(&self.queue);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await;
        let attributes = answer.expect("attributes").attributes.unwrap_or_default();
        let [visible, in_flight] = names.map(|name| attributes[&name].clone());
        (visible, in_flight)
    }
}

fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

fn quarantine_tag(digest: &str) -> String {
    digest.replace("sha256:", "quarantine-")
}

fn set<const N: usize>(tags: [&str; N]) -> BTreeSet<String> {
    tags.map(str::to_owned).into()
}

#[tokio::test]
async fn tags_over_the_limit_are_removed_and_everything_else_stays() {
    let Some(world) = World::new().await else { return };
    // moto has no compare-and-delete of a tag; the other test covers it.
    let world = world.set("TAGWARDEN__REGISTRY__UNTAG", "tag");
    let critical = world.push(&["1.0", "latest"]).await;
    world.set_findings(&critical, &["CRITICAL"]).await;
    let high = world.push(&["2.0", "release-2"]).await;
    let clean = world.push(&["3.0"]).await;
    world.set_findings(&clean, &["MEDIUM"]).await;
    let silent = world.push(&["4.0"]).await;

    let mut worker = world.worker().await;
    world.scanned(&critical, &["1.0", "latest"]).await;
    world.scanned(&high, &["2.0", "release-2"]).await;
    world.scanned(&clean, &["3.0"]).await;
    let poison = "no event at all";
    world.sqs.send_message().queue_url(&world.queue).message_body(poison).send().await.unwrap();

    for (digest, outcome) in [(&critical, "quarantined"), (&high, "quarantined"), (&clean, "clean")]
    {
        let line = worker.logged("assessed", |line| line["digest"] == digest.as_str()).await;
        assert_eq!(line["outcome"], outcome, "{line:#}");
        assert_eq!((&line["account"], &line["region"]), (&json!(ACCOUNT), &json!(REGION)));
    }
    assert_eq!(world.tags(&critical).await, set([&quarantine_tag(&critical)]));
    assert_eq!(world.tags(&high).await, set([&quarantine_tag(&high), "release-2"]));
    assert_eq!(world.tags(&clean).await, set(["3.0"]));
    assert_eq!(world.tags(&silent).await, set(["4.0"]));

    let notices = [world.notice().await, world.notice().await];
    let notified: BTreeSet<_> =
        notices.iter().map(|notice| notice["image"]["digest"].as_str().unwrap()).collect();
    assert_eq!(notified, BTreeSet::from([critical.as_str(), high.as_str()]));
    for notice in &notices {
        assert_eq!(notice["action"], "quarantined", "{notice:#}");
        let is_high = notice["image"]["digest"] == high.as_str();
        let untagged = if is_high { json!(["2.0"]) } else { json!(["1.0", "latest"]) };
        assert_eq!(notice["tags"]["untagged"], untagged, "{notice:#}");
    }

    assert_eq!(world.take(&world.dead_letters).await, poison);
    assert_eq!(worker.get("/readyz").await.0, StatusCode::OK);
    assert_eq!(worker.metric("tagwarden_overreach_total").await, 0.0);
    let ended = worker.stopped().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{:#?}", ended.log);
    assert_eq!(world.depth().await, ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn over_reach_of_the_registry_is_noticed_repaired_and_not_repeated() {
    let Some(world) = World::new().await else { return };
    let first = world.push(&["1.0", "release-1"]).await;
    let second = world.push(&["2.0", "release-2"]).await;
    world.scanned(&first, &["1.0", "release-1"]).await;
    let mut worker = world.worker().await;

    let line = worker.logged("assessed", |line| line["digest"] == first.as_str()).await;
    assert_eq!(line["outcome"], "overreach", "{line:#}");
    world.scanned(&second, &["2.0", "release-2"]).await;
    assert_eq!(world.tags(&first).await, set([&quarantine_tag(&first), "release-1"]));
    let (ready, why) = worker.get("/readyz").await;
    assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("over-reach"), "{why}");
    assert_eq!(worker.get("/healthz").await.0, StatusCode::OK);
    assert_eq!(worker.metric("tagwarden_overreach_total").await, 1.0);
    let notice = world.notice().await;
    assert_eq!(notice["action"], "failed", "{notice:#}");
    assert_eq!(notice["image"]["digest"], first.as_str());
    let deletes = "tagwarden_aws_requests_total{operation=\"BatchDeleteImage\",outcome=\"ok\",service=\"ecr\"}";
    assert_eq!(worker.metric(deletes).await, 1.0);

    let ended = worker.stopped().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{:#?}", ended.log);
    assert_eq!(world.tags(&second).await, set(["2.0", "release-2"]));
    // A receive in flight may or may not have taken the message, so it waits for a restart.
    let (visible, in_flight) = world.depth().await;
    assert!(visible == "1" || in_flight == "1", "{visible} visible, {in_flight} in flight");
}

#[tokio::test]
async fn moto_and_the_simulated_aws_agree_on_what_both_support() {
    let Some(moto) = Moto::start().await else { return };
    let sim = aws_sim::Sim::default();
    let of_moto = within_deadline("moto's story", conformance::story(&moto.sdk().await)).await;
    let of_sim = conformance::story(&sim.sdk_config()).await;
    assert_eq!(of_sim, of_moto);
}
