//! The simulated AWS: what is in it, where it listens, and how to look at it from outside.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_sim::{MessageView, RepoKey, ServerGuard, Sim, SimConfig, manifest};
use aws_smithy_async::time::{SystemTimeSource, TimeSource as _};
use serde_json::json;
use tokio::net::TcpListener;

use crate::Error;
use crate::delivery::example;

/// The queue that the worker reads.
pub(crate) const QUEUE: &str = "scan-events";
/// Where messages go that could not be understood or done.
pub(crate) const DEAD_LETTERS: &str = "scan-events-dlq";
/// After how many receives they do.
pub(crate) const MAX_RECEIVE_COUNT: u32 = 2;
/// The queue by which the team hears of notices; in earnest it would be e-mail or a chat channel.
pub(crate) const TEAM: &str = "team-inbox";
/// Tags that the worker never touches.
pub(crate) const PROTECTED: &str = "prod-*";

const TOPIC: &str = "image-quarantine";
const REPOSITORY: &str = "team/app";

/// How long one step of the show may take before something must be wrong. Most take milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The simulated AWS with a repository, a queue and a topic. It is served until this is dropped.
pub(crate) struct Stage {
    /// The simulation itself, to set and to look at.
    pub(crate) sim: Sim,
    /// The repository.
    pub(crate) repository: RepoKey,
    /// The URL of [`QUEUE`].
    pub(crate) queue_url: String,
    /// The ARN of the topic.
    pub(crate) topic_arn: String,
    /// Where every service answers.
    pub(crate) endpoint: String,
    _server: ServerGuard,
}

impl Stage {
    /// Starts the simulation on a free port of the loopback interface. Nothing connects scans to the queue yet.
    pub(crate) async fn build() -> Result<Self, Error> {
        let sim =
            Sim::new(SimConfig { epoch: SystemTimeSource::new().now(), ..SimConfig::default() });
        let repository = sim.create_repository(REPOSITORY);
        sim.set_scan_on_push(&repository, true);
        let (queue_url, _) = sim.create_queue_with_redrive(QUEUE, MAX_RECEIVE_COUNT, &[]);
        let topic_arn = sim.create_topic(TOPIC);
        sim.create_queue(TEAM, &[]);
        sim.subscribe_queue(&topic_arn, TEAM, false);
        let server = sim.serve(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?).await?;
        let endpoint = server.endpoint();
        Ok(Self { sim, repository, queue_url, topic_arn, endpoint, _server: server })
    }

    /// Creates the EventBridge rule: from now on, scans that end send their events to the queue.
    pub(crate) fn connect_scans(&self) {
        let pattern = json!({
            "source": ["aws.ecr", "aws.inspector2"],
            "detail-type": ["ECR Image Scan", "Inspector2 Scan"],
        });
        self.sim.put_rule("scans-to-tagwarden", pattern, QUEUE);
    }

    /// Pushes an image whose scan finds so much, such as `CRITICAL=1,HIGH=2`; its digest.
    pub(crate) fn push(&self, tags: &[&str], findings: &str) -> String {
        let content = tags.join(" ");
        let manifest = manifest::annotated_image(&content, &[("aws-sim.findings", findings)]);
        self.sim.push_manifest(&self.repository, tags, &manifest)
    }

    /// What is here.
    pub(crate) fn introduction(&self) -> String {
        let RepoKey { account, region, name } = &self.repository;
        let endpoint = &self.endpoint;
        format!(
            "\
tagwarden on one machine: the real worker, and AWS simulated at {endpoint}

  the worker  decides about an image, marks it with a quarantine tag, takes its other tags off (untag),
              tells the team, and settles the message that was about it
  repository  {name} in {account}, {region}, scanned on push
  queue       {QUEUE}, filled by an EventBridge rule with the events of scans;
              a message that fails {MAX_RECEIVE_COUNT} times goes to {DEAD_LETTERS}
  topic       {TOPIC}; the team subscribes to it with the queue {TEAM}
  policy      tags go off an image with critical or high findings, but never {PROTECTED}"
        )
    }

    /// How to use it from another terminal.
    pub(crate) fn invitation(&self, worker: SocketAddr) -> String {
        let RepoKey { region, name, .. } = &self.repository;
        let Self { endpoint, queue_url, .. } = self;
        let event = example("1.0.0");
        let manifest = manifest::annotated_image("try", &[("aws-sim.findings", "CRITICAL=1")]);
        format!(
            "
Staying up until Ctrl-C. In another terminal, point the AWS command line here:

export AWS_ENDPOINT_URL={endpoint} AWS_REGION={region} AWS_DEFAULT_REGION={region} \\
  AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local

# Push an image in which a scan finds what the annotation says, and look back here (for another, change a digit)
aws ecr put-image --repository-name {name} --image-tag try --image-manifest \\
  '{manifest}'

# See what is in the repository
aws ecr describe-images --repository-name {name}

# Fetch an image by its tag; of a quarantined one, only the quarantine tag is left
aws ecr batch-get-image --repository-name {name} --image-ids imageTag=1.0.0

# Put an event on the queue by hand (version 1 of the command line heeds the variable for every service but SQS)
aws sqs send-message --endpoint-url $AWS_ENDPOINT_URL --queue-url {queue_url} --message-body \\
  '{event}'

The worker's own pages: http://{worker}/metrics and http://{worker}/readyz

From here on:"
        )
    }
}

/// How long a message of [`QUEUE`] stays invisible, in whole seconds.
pub(crate) fn wait_of(sim: &Sim, message_id: &str) -> Duration {
    let messages = sim.queue(QUEUE).messages;
    let left = messages
        .iter()
        .find(|message| message.id == message_id)
        .and_then(|message| message.visible_at.duration_since(sim.now()).ok())
        .unwrap_or_default();
    Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
}

/// Whether a message is in [`DEAD_LETTERS`], or has had all its receives, so that the next one moves it there.
pub(crate) fn is_dead(sim: &Sim, message_id: &str) -> bool {
    let now = sim.now();
    let exhausted = |message: &MessageView| {
        message.receive_count >= MAX_RECEIVE_COUNT && message.visible_at <= now
    };
    let waiting = sim.queue(QUEUE).messages.into_iter().filter(exhausted);
    waiting.chain(sim.queue(DEAD_LETTERS).messages).any(|message| message.id == message_id)
}
