//! Whoever takes the messages: a child process on a core of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::aws::Place;
use crate::core::Cores;
use crate::process::Taken;

/// The worker, built as this test was, or what `TAGWARDEN_TEST_BINARY` names.
pub(crate) fn binary() -> PathBuf {
    let other = std::env::var_os("TAGWARDEN_TEST_BINARY");
    other.unwrap_or(env!("CARGO_BIN_EXE_tagwarden").into()).into()
}

/// Who takes the messages.
#[derive(Clone, Debug)]
pub(crate) enum Contender {
    /// So many bare loops of the SDK.
    Bare(usize),
    /// The worker, with these variables besides.
    Worker(Vec<(&'static str, String)>),
    /// A program that does the same job, with its arguments and its variables.
    Script(Vec<String>, Vec<(String, String)>),
}

impl Contender {
    /// The worker as it comes.
    pub(crate) fn worker() -> Self {
        Self::Worker(Vec::new())
    }

    /// The worker with one setting.
    pub(crate) fn worker_with(name: &'static str, value: impl ToString) -> Self {
        Self::Worker(vec![(name, value.to_string())])
    }

    /// A program of another language.
    pub(crate) fn script<const N: usize>(
        words: [&str; N],
        variables: impl Into<Vec<(String, String)>>,
    ) -> Self {
        Self::Script(words.map(str::to_owned).into(), variables.into())
    }

    fn command(&self, place: &Place) -> Command {
        let mut command = match self {
            Self::Bare(loops) => {
                let itself = std::env::current_exe().expect("a path");
                let mut command = Command::new(itself);
                command.args(["--role", &loops.to_string()]);
                command
            }
            Self::Worker(_) => {
                let mut command = Command::new(binary());
                command.arg("run");
                command
            }
            Self::Script(words, _) => {
                let (program, arguments) = words.split_first().expect("a program");
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
        };
        command.env_clear().envs(variables(place));
        match self {
            Self::Bare(_) => &mut command,
            Self::Worker(more) => command.envs(more.iter().map(|(name, value)| (name, value))),
            Self::Script(_, more) => command.envs(more.iter().map(|(name, value)| (name, value))),
        };
        command
    }
}

fn variables(place: &Place) -> BTreeMap<&'static str, String> {
    let path = std::env::var("PATH").unwrap_or_default();
    [
        ("PATH", path.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKIALOADTEST"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL", &place.endpoint),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("TAGWARDEN__POLICY__MODE", "enforce"),
        ("TAGWARDEN__QUEUE__URL", &place.queue),
        ("TAGWARDEN__NOTIFY__TOPIC_ARN", &place.topic),
        ("TAGWARDEN__HTTP__LISTEN", "127.0.0.1:0"),
        // The end of a measurement waits for a long poll, which is so three seconds long.
        ("TAGWARDEN__SHUTDOWN__GRACE", "4s"),
        ("QUEUE_URL", &place.queue),
        ("TOPIC_ARN", &place.topic),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

/// A contender that is ready. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    /// What it prints is read and thrown away, as by a container runtime that is not in the way.
    output: JoinHandle<u64>,
    started: Instant,
    /// From its start until it said that it was ready, in seconds.
    pub(crate) until_ready: f64,
}

impl Running {
    /// Starts it and waits until it says that it is ready.
    pub(crate) async fn start(contender: &Contender, place: &Place, cores: &Cores) -> Self {
        let mut command = contender.command(place);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let started = Instant::now();
        let mut child = cores.start_contender(|| command.spawn()).expect("a program that starts");
        let mut output = BufReader::with_capacity(1 << 16, child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        while !line.contains("ready") {
            line.clear();
            let read = output.read_line(&mut line).await.expect("text");
            assert!(read > 0, "{contender:?} ended before it was ready");
        }
        let until_ready = started.elapsed().as_secs_f64();
        Self { child, output: tokio::task::spawn_local(drain(output)), started, until_ready }
    }

    /// What it has taken so far.
    pub(crate) fn taken(&self) -> Taken {
        Taken::by(self.child.id().expect("a process that runs"))
    }

    /// Sends SIGTERM and waits for the end: how long that took, in seconds, and how many bytes it had printed.
    pub(crate) async fn stop(mut self) -> (f64, u64) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let signalled = self.started.elapsed();
        kill_process(id.expect("a process that runs"), Signal::TERM)
            .expect("a signal that arrives");
        self.child.wait().await.expect("an end");
        let took = self.started.elapsed() - signalled;
        (took.as_secs_f64(), self.output.await.expect("a task that ends"))
    }
}

async fn drain(mut output: BufReader<ChildStdout>) -> u64 {
    let (mut bytes, mut buffer) = (0, vec![0; 1 << 16]);
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        bytes += read as u64;
    }
    bytes
}

/// The size of the program, in bytes.
pub(crate) fn binary_size() -> u64 {
    binary().metadata().expect("the program").len()
}
