//! The real binary as a child process: started with its own environment, watched by its log, asked
//! over HTTP, stopped by signals. It is killed when its handle is dropped.
//!
//! Nothing sleeps here. [`DEADLINE`] bounds every wait, and only a failing test reaches it.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "a module of a test crate")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

/// How long anything may take before the test gives up.
const DEADLINE: Duration = Duration::from_secs(120);
/// A text that must never be printed.
const SECRET: &str = "secret-access-key-of-the-tests";

/// The environment of a process.
pub type Variables = BTreeMap<String, String>;

/// The environment of a worker that uses the AWS at `endpoint`.
pub fn variables(endpoint: &str, region: &str, queue_url: &str, topic_arn: &str) -> Variables {
    let path = std::env::var("PATH").unwrap_or_default();
    [
        ("PATH", path.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKIATEST"),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", region),
        ("AWS_ENDPOINT_URL", endpoint),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("TAGWARDEN__POLICY__MODE", "enforce"),
        ("TAGWARDEN__QUEUE__URL", queue_url),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", topic_arn),
        ("TAGWARDEN__NOTIFY__FORMAT", "json"),
        ("TAGWARDEN__HTTP__LISTEN", "127.0.0.1:0"),
        // An idle worker that is stopped waits for its long poll, which is no longer than the time
        // for work.
        ("TAGWARDEN__SHUTDOWN__GRACE", "8s"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Waits until the deadline at most.
pub async fn within_deadline<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match timeout(DEADLINE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("waited {} s for {what}", DEADLINE.as_secs()),
    }
}

/// Sends one request on its own connection.
pub async fn ask(address: SocketAddr, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let what = format!("an answer of {address} to {} {}", request.method(), request.uri());
    let exchange = async {
        let stream = TcpStream::connect(address).await.expect("somebody listens");
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        let mut connections = JoinSet::new();
        connections.spawn(connection);
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    within_deadline(&what, exchange).await
}

/// The output of a process, line by line. Reading continues whether or not anybody waits, so a full
/// pipe never stops the process. It ends when this is dropped.
pub struct Lines {
    seen: Vec<String>,
    coming: mpsc::UnboundedReceiver<String>,
    _reader: JoinSet<()>,
}

impl Lines {
    /// Reads this output.
    pub fn of(output: impl AsyncRead + Unpin + Send + 'static) -> Self {
        let (sender, coming) = mpsc::unbounded_channel();
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                drop(sender.send(line));
            }
        });
        Self { seen: Vec::new(), coming, _reader: reader }
    }

    /// The first line of the output for which `pick` returns something.
    pub async fn find<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> T {
        let mut next = 0;
        let deadline = Instant::now() + DEADLINE;
        loop {
            while let Some(line) = self.seen.get(next) {
                if let Some(found) = pick(line) {
                    return found;
                }
                next += 1;
            }
            match timeout_at(deadline, self.coming.recv()).await {
                Ok(Some(line)) => self.seen.push(line),
                Ok(None) => panic!("the output ended without {what}:\n{}", self.seen.join("\n")),
                Err(_) => panic!("waited in vain for {what}:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Everything that was printed until the process closed its output.
    async fn all(mut self) -> Vec<String> {
        while let Some(line) = within_deadline("the end of the output", self.coming.recv()).await {
            self.seen.push(line);
        }
        self.seen
    }
}

/// The binary with this command line and this environment, killed when it is dropped. It is Cargo's
/// own binary, or the one that `TAGWARDEN_TEST_BINARY` names: `tests/image/run` tests the image's
/// binary in this way.
pub fn tagwarden(arguments: &[&str], variables: &Variables) -> Command {
    let binary = std::env::var_os("TAGWARDEN_TEST_BINARY");
    let mut command = Command::new(binary.unwrap_or(env!("CARGO_BIN_EXE_tagwarden").into()));
    command.args(arguments).env_clear().envs(variables).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running worker.
pub struct Worker {
    child: Child,
    log: Lines,
    /// The address of its health checks and metrics.
    pub address: SocketAddr,
}

/// A worker that has ended.
pub struct Ended {
    /// Its exit code, or `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its log.
    pub log: Vec<Value>,
    /// What it printed on standard error.
    pub stderr: String,
}

impl Worker {
    /// Starts `tagwarden run` and waits until it listens.
    pub async fn start(variables: &Variables) -> Self {
        let mut child = tagwarden(&["run"], variables).spawn().expect("the binary can be started");
        let mut log = Lines::of(child.stdout.take().expect("a pipe"));
        let address = log.find("the line \"listening\"", |line| {
            let line = parsed(line);
            is(&line, "listening").then(|| line["address"].as_str()?.parse().ok()).flatten()
        });
        let address = address.await;
        Self { child, log, address }
    }

    /// Waits for the first line of the log that has this message and all of these members.
    pub async fn logged(&mut self, message: &str, matches: impl Fn(&Value) -> bool) -> Value {
        let what = format!("a log line {message:?} as it should be");
        let pick =
            |line: &str| Some(parsed(line)).filter(|line| is(line, message) && matches(line));
        self.log.find(&what, pick).await
    }

    /// Waits for the line that says that the worker is ready.
    pub async fn ready(&mut self) -> Value {
        self.logged("ready", |_| true).await
    }

    /// Gets a path of the worker's own server.
    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).header(header::HOST, self.address.to_string());
        let answer = ask(self.address, request.body(Full::default()).expect("a request")).await;
        if path != "/readyz" {
            return answer;
        }
        // Its last line is the fingerprint of the policy.
        let (ready, policy) = answer.1.trim_end().rsplit_once('\n').expect("two lines");
        assert!(policy.strip_prefix("policy ").is_some_and(|it| it.len() == 64), "{policy}");
        (answer.0, format!("{ready}\n"))
    }

    /// The value of one sample of `/metrics`, by its name there.
    pub async fn metric(&self, sample: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let value = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {sample}:\n{text}"))
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("a process that runs")
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        send_signal(self.id(), signal);
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> Ended {
        let mut stderr = String::new();
        let mut pipe = self.child.stderr.take().expect("a pipe");
        let log = self.log.all().await;
        within_deadline("standard error", pipe.read_to_string(&mut stderr)).await.expect("text");
        let status = within_deadline("the end", self.child.wait()).await.expect("a child");
        assert!(!log.iter().any(|line| line.contains(SECRET)), "a secret in the log: {log:#?}");
        let log = log.iter().map(|line| parsed(line)).collect();
        Ended { code: status.code(), log, stderr }
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stopped(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }
}

/// Sends a signal to the process with this id.
pub fn send_signal(process: u32, signal: Signal) {
    let id = process.try_into().ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process that runs"), signal).expect("a signal that arrives");
}

/// Returns whether a log line has this message.
pub fn is(line: &Value, message: &str) -> bool {
    line["message"] == message
}

fn parsed(line: &str) -> Value {
    match serde_json::from_str(line) {
        Ok(line) => line,
        Err(error) => panic!("not a line of JSON ({error}): {line}"),
    }
}
