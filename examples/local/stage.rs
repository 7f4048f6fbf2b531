//! The simulated AWS: what is in it, where it listens, and how to look at it from outside.

use std::net::Ipv4Addr;
use std::time::Duration;

use aws_sim::{MessageView, RepoKey, ServerGuard, Sim, SimConfig};
use aws_smithy_async::time::{SystemTimeSource, TimeSource as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::Error;
use crate::bus::{News, RecordKind};

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

/// What the team has accepted, as the worker's configuration says it.
pub(crate) const EXCEPTIONS: &str = r#"
[[policy.exceptions]]
id = "CVE-2021-44228"
package = "log4j-core"
repositories = ["team/search"]
reason = "lookups are switched off"
owner = "search team"
expires = 2099-12-31
"#;

/// Somebody who makes calls: by this access key, which the simulation knows as a session of this role.
pub(crate) struct Identity {
    /// The access key.
    pub(crate) access_key: &'static str,
    /// The unique id of the role.
    pub(crate) role_id: &'static str,
}

/// The worker. Its own role may not ask for a restore, whatever the lists say.
pub(crate) const WORKER: Identity =
    Identity { access_key: "worker", role_id: "AROADEMOWORKER000001" };
/// The visitor in the other terminal, who may.
pub(crate) const VISITOR: Identity =
    Identity { access_key: "you", role_id: "AROADEMOOPERATOR0001" };

const TOPIC: &str = "image-quarantine";
const REPOSITORY: &str = "team/app";
/// The others.
const REPOSITORIES: [&str; 3] = ["team/web", "team/shop", "team/search"];

/// How long a scan takes: long enough that the worker has heard of the push before.
const SCAN_TIME: Duration = Duration::from_millis(200);

/// How long one step of the show may take before something must be wrong. Most take milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The simulated AWS with repositories, a queue and a topic. It is served until this is dropped.
pub(crate) struct Stage {
    /// The simulation itself, to set and to look at.
    pub(crate) sim: Sim,
    /// The repository for visitors, and of most scenes.
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
    /// Starts the simulation on a free port of the loopback interface. Nothing connects the registry to the queue yet.
    pub(crate) async fn build() -> Result<Self, Error> {
        let epoch = SystemTimeSource::new().now();
        let sim = Sim::new(SimConfig { epoch, scan_time: SCAN_TIME, ..SimConfig::default() });
        for Identity { access_key, role_id } in [WORKER, VISITOR] {
            sim.set_sender(access_key, &format!("{role_id}:{access_key}"));
        }
        let repository = sim.create_repository(REPOSITORY);
        sim.set_scan_on_push(&repository, true);
        for name in REPOSITORIES {
            sim.set_scan_on_push(&sim.create_repository(name), true);
        }
        let (queue_url, _) = sim.create_queue_with_redrive(QUEUE, MAX_RECEIVE_COUNT, &[]);
        let topic_arn = sim.create_topic(TOPIC);
        sim.create_queue(TEAM, &[]);
        sim.subscribe_queue(&topic_arn, TEAM, false);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(|error| format!("cannot listen on 127.0.0.1: {error}"))?;
        let server = sim.serve(listener).await?;
        let endpoint = server.endpoint();
        Ok(Self { sim, repository, queue_url, topic_arn, endpoint, _server: server })
    }

    /// Creates the EventBridge rules: from now on, pushes, scans and findings send their events to the queue.
    pub(crate) fn connect(&self) {
        for (name, pattern) in [
            ("scans", json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Scan"]})),
            (
                "findings",
                json!({
                    "source": ["aws.inspector2"],
                    "detail-type": ["Inspector2 Scan", "Inspector2 Finding"],
                }),
            ),
            (
                "pushes",
                json!({
                    "source": ["aws.ecr"],
                    "detail-type": ["ECR Image Action"],
                    "detail": {"action-type": ["PUSH", "UPDATE_STORAGE_CLASS"]},
                }),
            ),
        ] {
            self.sim.put_rule(&format!("{name}-to-tagwarden"), pattern, QUEUE);
        }
    }

    /// A repository of the same account and Region.
    pub(crate) fn repository(&self, name: &str) -> RepoKey {
        let RepoKey { account, region, .. } = &self.repository;
        RepoKey::new(account, region, name)
    }

    /// What is here.
    pub(crate) fn introduction(&self) -> String {
        let RepoKey { account, region, name } = &self.repository;
        let endpoint = &self.endpoint;
        let others = REPOSITORIES.join(", ");
        format!(
            "\
tagwarden on one machine: the real worker, and AWS simulated at {endpoint}

  the worker  decides about an image, marks it with a quarantine tag, records its
              other tags on it, takes them off (untag), notifies the team, and
              settles the message that was about it
  registry    {account} in {region}, with {name},
              {others}; scanned on push
  queue       {QUEUE}, filled by EventBridge rules with the events of
              pushes, scans and findings; a message that fails {MAX_RECEIVE_COUNT} times goes to
              {DEAD_LETTERS}
  topic       {TOPIC}; the team subscribes to it by the queue {TEAM}
  policy      tags go off an image with critical or high findings, but never
              {PROTECTED}; in team/search, an exception accepts CVE-2021-44228"
        )
    }
}

/// Whether an event on the bus goes to the queue by the rules of [`Stage::connect`]: all do, but those of deletions.
pub(crate) fn is_connected(event: &Value) -> bool {
    event.pointer("/detail/action-type").and_then(Value::as_str) != Some("DELETE")
}

/// Whether the scan of an image has ended.
pub(crate) fn is_scanned(sim: &Sim, digest: &str) -> bool {
    let is_its = |news| matches!(news, News::Scanned(scan) if scan.image_digest == digest);
    sim.events().iter().filter_map(News::of).any(is_its)
}

/// For which platform an image is, by the indexes that the worker has read.
pub(crate) fn platform_of(sim: &Sim, digest: &str) -> Option<String> {
    let replies = sim.calls_of("BatchGetImage").into_iter().filter_map(|call| call.reply);
    let images: Vec<_> = replies.filter_map(|reply| reply.get("images").cloned()).collect();
    let images = images.iter().filter_map(Value::as_array).flatten();
    let manifests = images.filter_map(|image| image.get("imageManifest")?.as_str());
    for index in manifests.filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
        let children = index.get("manifests").and_then(Value::as_array);
        let child = children
            .into_iter()
            .flatten()
            .find(|child| child.get("digest").and_then(Value::as_str) == Some(digest));
        if let Some(platform) = child.and_then(|child| child.get("platform")) {
            let part = |name| platform.get(name).and_then(Value::as_str);
            return Some(format!("{}/{}", part("os")?, part("architecture")?));
        }
    }
    None
}

/// Of which kind a record is, and to which image it is attached, by how it was put into the registry.
pub(crate) fn record_of(sim: &Sim, digest: &str) -> Option<RecordKind> {
    let is_it = |reply: &Value| {
        reply.pointer("/image/imageId/imageDigest").and_then(Value::as_str) == Some(digest)
    };
    let calls = sim.calls_of("PutImage");
    let call = calls.iter().rev().find(|call| call.reply.as_ref().is_some_and(is_it))?;
    RecordKind::of(call.request.get("imageManifest")?.as_str()?)
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
