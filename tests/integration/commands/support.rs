//! Commands that run to their end, and the simulated AWS that some of them use.

use std::process::Stdio;

use aws_sim::{RepoKey, ScanResult, ServerGuard, Sim, SimConfig};
use serde_json::{Value, json};
use tagwarden::clock::Clock;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::process::{Variables, tagwarden, variables, within_deadline};

pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const REGION: &str = "eu-west-1";
pub(crate) const QUEUE: &str = "tagwarden";

/// The result of a command.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Shown {
    /// Its output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The only error, without its place; standard output is empty.
    #[track_caller]
    pub(crate) fn complaint(&self, code: i32) -> &str {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        let mut errors = self.stderr.lines().filter_map(|line| line.strip_prefix("error: "));
        let (error, more) = (errors.next().unwrap_or_default(), errors.next());
        assert!(!error.is_empty() && more.is_none(), "{self:?}");
        error
    }

    /// For snapshots.
    pub(crate) fn text(&self) -> String {
        assert_eq!(self.stderr, "", "{self:?}");
        format!("{}exit code {}\n", self.stdout, self.code)
    }
}

/// An environment with this configuration, without AWS, network or queue.
pub(crate) fn bare(config: &str) -> Variables {
    if config.is_empty() {
        return Variables::new();
    }
    [("TAGWARDEN_CONFIG_TEXT".to_owned(), config.to_owned())].into()
}

/// Runs a command with this text on its standard input.
pub(crate) async fn run(
    arguments: &[&str],
    variables: &Variables,
    input: impl AsRef<[u8]>,
) -> Shown {
    let mut command = tagwarden(arguments, variables);
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the binary can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    let exchange = async {
        // A program that ends before it has read everything is fine here.
        drop(stdin.write_all(input.as_ref()).await);
        drop(stdin);
        child.wait_with_output().await.expect("an end")
    };
    let output = within_deadline("the end of a command", exchange).await;
    Shown {
        code: output.status.code().expect("no signal"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// The path of a fixture.
pub(crate) fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

/// A simulated AWS over HTTP with queue, topic and repository, and the environment that a command
/// needs for it.
pub(crate) struct World {
    pub(crate) sim: Sim,
    pub(crate) repository: RepoKey,
    pub(crate) topic: String,
    pub(crate) variables: Variables,
    _server: ServerGuard,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// Uses this configuration text.
    pub(crate) async fn with(config: &str) -> Self {
        // The worker measures by its own clock how long a message has waited.
        let epoch = Clock::of_this_machine().now();
        Self::beginning(config, SimConfig { epoch, ..SimConfig::default() }).await
    }

    /// Uses this configuration text and these settings of the simulation.
    pub(crate) async fn beginning(config: &str, settings: SimConfig) -> Self {
        let sim = Sim::new(settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let server = sim.serve(listener).await.expect("a listener");
        let (url, _) = sim.create_queue_with_redrive(QUEUE, 5, &[]);
        let topic = sim.create_topic("team");
        let repository = sim.create_repository("team/app");
        let mut variables = variables(&server.endpoint(), REGION, &url, &topic);
        if config.contains("policy.mode") {
            variables.remove("TAGWARDEN__POLICY__MODE");
        }
        if !config.is_empty() {
            variables.insert("TAGWARDEN_CONFIG_TEXT".to_owned(), config.to_owned());
        }
        Self { sim, repository, topic, variables, _server: server }
    }

    /// Runs a command.
    pub(crate) async fn run(&self, arguments: &[&str], input: &str) -> Shown {
        run(arguments, &self.variables, input).await
    }

    /// Pushes an image with this scan result.
    pub(crate) fn image(&self, tags: &[&str], scan: ScanResult) -> String {
        let digest = self.sim.push_image(&self.repository, tags, &format!("{tags:?} {scan:?}"));
        self.sim.set_findings(&self.repository, &digest, scan);
        digest
    }

    /// The operations that were called, without those that only read.
    pub(crate) fn changes(&self) -> Vec<String> {
        let reads = ["AssumeRole", "Describe", "Get", "BatchGet", "List"];
        let all = self.sim.calls().into_iter().map(|call| call.operation);
        all.filter(|operation| !reads.iter().any(|read| operation.starts_with(read))).collect()
    }
}

/// The event of a basic scan that found these severities.
pub(crate) fn scanned(digest: &str, tags: &[&str], counts: &Value) -> Value {
    json!({
        "version": "0",
        "id": "8a2c8a4b-0000-4000-8000-000000000000",
        "source": "aws.ecr",
        "detail-type": "ECR Image Scan",
        "account": ACCOUNT,
        "region": REGION,
        "time": "2026-11-22T03:00:00Z",
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
