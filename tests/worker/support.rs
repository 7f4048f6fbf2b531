//! The worker in this process against the simulated AWS, under paused time.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sim::{Call, Fault, FaultRule, RepoKey, ScanResult, Sim, SimConfig};
use serde_json::{Value, json};
use tagwarden::app::{App, RunError};
use tagwarden::config::{Settings, Sources};
use tagwarden::shutdown::Shutdown;
use tagwarden::telemetry::logs::{LogFormat, subscriber};
use tracing_subscriber::EnvFilter;

pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "eu-west-1";
pub const QUEUE: &str = "tagwarden";
pub const DEAD_LETTERS: &str = "tagwarden-dlq";

/// Calls that change an image.
const CHANGES: [&str; 2] = ["PutImage", "BatchDeleteImage"];

/// A simulated AWS with queue, topic and one repository, and the settings of a worker for it.
pub struct World {
    pub sim: Sim,
    pub repository: RepoKey,
    pub topic: String,
    variables: HashMap<String, String>,
}

impl World {
    pub fn new() -> Self {
        Self::with(SimConfig::default())
    }

    pub fn with(config: SimConfig) -> Self {
        fastrand::seed(config.seed);
        let sim = Sim::new(config);
        let (url, _) = sim.create_queue_with_redrive(QUEUE, 4, &[]);
        let topic = sim.create_topic("team");
        let repository = sim.create_repository("team/app");
        // The repository has had a record before.
        sim.upload_empty_blob(&repository);
        let variables = [
            ("TAGWARDEN__POLICY__MODE", "enforce"),
            ("TAGWARDEN__QUEUE__URL", url.as_str()),
            ("TAGWARDEN__NOTIFY__TOPIC_ARN", topic.as_str()),
            ("TAGWARDEN__NOTIFY__FORMAT", "json"),
        ];
        let variables =
            variables.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
        Self { sim, repository, topic, variables }
    }

    /// Sets one key, by the name of its variable without the prefix.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.variables.insert(format!("TAGWARDEN__{key}"), value.to_owned());
        self
    }

    /// A world whose worker has this configuration file, in TOML.
    pub fn configured(toml: &str) -> Self {
        Self::new().with_file(toml)
    }

    /// Adds to the configuration file. A mode of its policy is the worker's mode.
    pub fn with_file(mut self, toml: &str) -> Self {
        let mut tables = toml.split("\n[").map(|table| table.trim_start_matches(['\n', ' ', '[']));
        let gives_mode = toml.contains("policy.mode")
            || tables.any(|table| table.starts_with("policy]") && table.contains("mode ="));
        if gives_mode {
            self.variables.remove("TAGWARDEN__POLICY__MODE");
        }
        let text = self.variables.entry("TAGWARDEN_CONFIG_TEXT".to_owned()).or_default();
        text.push_str(toml);
        text.push('\n');
        self
    }

    /// Notifies these topics instead of the default one. Each is a name and the rest of its table.
    pub fn with_topics(self, topics: &[(&str, &str)]) -> Self {
        let tables = topics.iter().map(|(name, keys)| {
            let arn = self.sim.create_topic(name);
            format!("[[notify.topics]]\narn = {arn:?}\n{keys}\n")
        });
        let tables: String = tables.collect();
        let mut world = self.with_file(&tables);
        world.variables.remove("TAGWARDEN__NOTIFY__TOPIC_ARN");
        world
    }

    pub fn app(&self) -> App {
        let sources = Sources { file: None, environment: self.variables.clone() };
        App::new(Settings::load(&sources).unwrap(), &self.sim.sdk_config()).unwrap()
    }

    /// A worker with another value for one key.
    pub fn app_with(&self, key: &str, value: &str) -> App {
        let mut environment = self.variables.clone();
        environment.insert(format!("TAGWARDEN__{key}"), value.to_owned());
        let sources = Sources { file: None, environment };
        App::new(Settings::load(&sources).unwrap(), &self.sim.sdk_config()).unwrap()
    }

    /// A worker whose calls are recognized by their access key.
    pub fn app_as(&self, access_key: &str) -> App {
        let sources = Sources { file: None, environment: self.variables.clone() };
        let sdk = self.sim.sdk_config_as(access_key);
        App::new(Settings::load(&sources).unwrap(), &sdk).unwrap()
    }

    /// A worker that watches this file. A mode of its policy is the worker's mode.
    pub fn app_watching(&self, file: &Path) -> App {
        let mut environment = self.variables.clone();
        environment.insert("TAGWARDEN__WATCH".to_owned(), "true".to_owned());
        if std::fs::read_to_string(file).unwrap().contains("mode = ") {
            environment.remove("TAGWARDEN__POLICY__MODE");
        }
        let sources = Sources { file: Some(file.to_owned()), environment };
        let (settings, file) = Settings::load_watched(&sources).unwrap();
        App::new(settings, &self.sim.sdk_config()).unwrap().watching(file)
    }

    /// Pushes an image with this scan result, without an event.
    pub fn image(&self, tags: &[&str], scan: ScanResult) -> String {
        self.image_in(&self.repository, tags, scan)
    }

    pub fn image_in(&self, repository: &RepoKey, tags: &[&str], scan: ScanResult) -> String {
        let digest = self.sim.push_image(repository, tags, &tags.join(","));
        self.sim.set_findings(repository, &digest, scan);
        digest
    }

    pub fn send(&self, event: &Value) -> String {
        self.sim.send(QUEUE, &event.to_string())
    }

    /// Runs a new worker until `done`, then drains it. Returns the worker for checks of its health
    /// and metrics.
    pub async fn run_until(&self, done: impl FnMut(&Sim) -> bool) -> App {
        self.run_while(self.sim.wait_until(done)).await
    }

    /// Runs a new worker until the queue is empty.
    pub async fn run_to_the_end(&self) -> App {
        self.run_until(|sim| sim.queue(QUEUE).messages.is_empty()).await
    }

    /// Runs a new worker while `test` runs, then drains it.
    pub async fn run_while(&self, test: impl Future<Output = ()>) -> App {
        let app = self.app();
        let shutdown = Shutdown::default();
        let ended = self.work(&app, &shutdown, test).await;
        ended.unwrap();
        app
    }

    pub async fn work(
        &self,
        app: &App,
        shutdown: &Shutdown,
        test: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let mut work = pin!(app.work(shutdown));
        let test = tokio::time::timeout(Duration::from_secs(7 * 24 * 3600), test);
        tokio::select! {
            biased;
            ended = &mut work => panic!("the worker ended by itself: {ended:?}"),
            test = test => assert!(test.is_ok(), "nothing happened for a week: {:#?}", self.story()),
        }
        shutdown.drain();
        work.await
    }

    /// Sends the scan event of an image of the default repository, without counts, so that the
    /// image has to be inspected.
    pub fn scanned(&self, digest: &str) -> String {
        self.send(&basic(digest, &[], &Value::Null))
    }

    /// Pushes an image that violates the default policy, and sends its event.
    pub fn violating(&self, tags: &[&str]) -> String {
        let digest = self.image(tags, critical());
        self.send(&basic(&digest, tags, &json!({"CRITICAL": 1})));
        digest
    }

    /// Waits until the queue is empty.
    pub async fn done(&self) {
        self.sim.wait_until(|sim| sim.queue(QUEUE).messages.is_empty()).await;
    }

    /// The operations that were called, without polling and without reads of a registry's rules.
    pub fn story(&self) -> Vec<String> {
        let calls = self.sim.calls();
        let relevant = calls.iter().filter(|call| {
            ![
                "GetQueueAttributes",
                "GetTopicAttributes",
                "ReceiveMessage",
                "DescribePullThroughCacheRules",
                "DescribeRegistry",
            ]
            .contains(&call.operation.as_str())
        });
        relevant.map(|call| call.operation.clone()).collect()
    }

    /// Runs a worker until it makes this call, which is never answered, and ends it there as in a
    /// crash. The fault says whether the call has its effect.
    pub async fn crash_at(&self, operation: &str, fault: Fault) {
        self.crash_at_call(operation, 1, fault).await;
    }

    /// The same at one of several calls, counted from 1.
    pub async fn crash_at_call(&self, operation: &str, number: usize, fault: Fault) {
        self.sim.set_faults(FaultRule::on(operation).skip(number - 1).fault(fault));
        let (app, shutdown) = (self.app(), Shutdown::default());
        tokio::select! {
            biased;
            ended = app.work(&shutdown) => panic!("the worker ended by itself: {ended:?}"),
            () = self.sim.wait_until(|sim| sim.calls_of(operation).len() == number) => {}
        }
        self.sim.clear_faults();
    }

    /// Sends the matching events of the default bus to the queue.
    pub fn route(&self, pattern: Value) {
        self.sim.put_rule("to-tagwarden", pattern, QUEUE);
    }

    /// How often the findings of an image were read.
    pub fn looks(&self, digest: &str) -> usize {
        let calls = self.sim.calls_of("DescribeImageScanFindings").into_iter();
        calls.filter(|call| call.request["imageId"]["imageDigest"] == digest).count()
    }

    pub fn changes(&self) -> Vec<Call> {
        let calls = self.sim.calls().into_iter();
        calls.filter(|call| CHANGES.contains(&call.operation.as_str())).collect()
    }

    /// The calls that put a tag on an image.
    pub fn tag_puts(&self) -> Vec<Call> {
        let calls = self.sim.calls_of("PutImage").into_iter();
        calls.filter(|call| !is_record(call)).collect()
    }

    /// Every notice that was published, parsed.
    pub fn notices(&self) -> Vec<Value> {
        self.notices_of(&self.topic)
    }

    /// The notices of another topic that uses JSON.
    pub fn notices_of(&self, topic: &str) -> Vec<Value> {
        let published = self.sim.notices(topic);
        published.iter().map(|notice| serde_json::from_str(&notice.message).unwrap()).collect()
    }

    /// The one notice that was published.
    pub fn notice(&self) -> Value {
        let mut notices = self.notices();
        assert_eq!(notices.len(), 1, "{notices:#?}");
        notices.remove(0)
    }

    pub fn tags(&self, digest: &str) -> Vec<String> {
        let mut tags = self.sim.tags(&self.repository, digest).expect("no such image");
        tags.sort();
        tags
    }

    pub fn dead_letters(&self) -> usize {
        self.sim.queue(DEAD_LETTERS).messages.len()
    }
}

/// The answer of `/readyz` without its last line, which is the fingerprint of the policy.
pub fn without_policy(text: &str) -> String {
    let (ready, policy) = text.trim_end().rsplit_once('\n').unwrap();
    let fingerprint = policy.strip_prefix("policy ").unwrap();
    assert!(
        fingerprint.len() == 64 && fingerprint.chars().all(|c| c.is_ascii_hexdigit()),
        "{text}"
    );
    format!("{ready}\n")
}

/// The log at level `info`.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Logs what happens in this thread until the guard is dropped.
    pub fn of_this_thread() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let info = EnvFilter::new("info");
        let all = subscriber(LogFormat::Json, info, move || writer.clone(), false);
        (log, tracing::subscriber::set_default(all))
    }

    /// The lines, parsed.
    pub fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Returns whether a call puts a record on an image: an artifact without a tag.
pub fn is_record(call: &Call) -> bool {
    call.operation == "PutImage" && call.request["imageTag"].is_null()
}

pub fn quarantine(digest: &str) -> String {
    digest.replace("sha256:", "quarantine-")
}

/// An "ECR Image Scan" of a completed scan in the default repository.
pub fn basic(digest: &str, tags: &[&str], counts: &Value) -> Value {
    json!({
        "version": "0",
        "id": "00000000-0000-4000-8000-000000000001",
        "detail-type": "ECR Image Scan",
        "source": "aws.ecr",
        "account": ACCOUNT,
        "time": "2026-01-02T03:04:05Z",
        "region": REGION,
        "resources": [format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/team/app")],
        "detail": {
            "scan-status": "COMPLETE",
            "repository-name": "team/app",
            "image-digest": digest,
            "image-tags": tags,
            "finding-severity-counts": counts,
        },
    })
}

/// The same event about another repository of the same registry.
pub fn in_repository(mut event: Value, name: &str) -> Value {
    event["detail"]["repository-name"] = json!(name);
    event["resources"] = json!([]);
    event
}

/// An "Inspector2 Scan" of a first scan.
pub fn enhanced(repository: &RepoKey, digest: &str, tags: &[&str], counts: &Value) -> Value {
    json!({
        "version": "0",
        "id": "00000000-0000-4000-8000-000000000002",
        "detail-type": "Inspector2 Scan",
        "source": "aws.inspector2",
        "account": repository.account,
        "time": "2026-01-02T03:04:05Z",
        "region": repository.region,
        "resources": [repository.arn()],
        "detail": {
            "scan-status": "INITIAL_SCAN_COMPLETE",
            "repository-name": repository.arn(),
            "image-digest": digest,
            "image-tags": tags,
            "finding-severity-counts": counts,
            "version": "1.0",
        },
    })
}

pub fn critical() -> ScanResult {
    ScanResult::basic(&[("CRITICAL", 1), ("HIGH", 2)])
}

/// The settled messages by disposition and reason, such as `delete quarantined`.
pub fn settled(app: &App) -> Vec<(String, u64)> {
    let metrics = app.instruments().render().unwrap();
    let lines = metrics.lines().filter_map(|line| {
        let labels = line.strip_prefix("tagwarden_messages_settled_total{disposition=\"")?;
        let (disposition, rest) = labels.split_once("\",reason=\"")?;
        let (reason, count) = rest.split_once("\"} ")?;
        Some((format!("{disposition} {reason}"), count.parse().unwrap()))
    });
    let mut settled: Vec<_> = lines.filter(|(_, count)| *count > 0).collect();
    settled.sort();
    settled
}

/// Moves a tag to another image right before tags are removed for the first time.
pub fn moves_tag(world: &World, tag: &str) -> FaultRule {
    let other = world.sim.push_image(&world.repository, &[], "another");
    let (repository, tag) = (world.repository.clone(), tag.to_owned());
    FaultRule::on("BatchDeleteImage")
        .once()
        .act(move |sim| sim.tag_image(&repository, &tag, &other))
}
