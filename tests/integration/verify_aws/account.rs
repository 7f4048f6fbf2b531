//! A simulated AWS account, and the script running in it.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::PathBuf;
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use aws_sim::{ServerGuard, Sim, SimConfig};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::python::Python;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/verify-aws.sh");
/// Starts a program that reacts to Ctrl-C even if the tests run in the background. Background
/// processes ignore Ctrl-C, and so would the programs that they start.
const HEEDING_CTRL_C: &str = "import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])";
/// How long anything may take before the test gives up. Only a failing test reaches it.
const DEADLINE: Duration = Duration::from_secs(900);

/// An account of a simulated AWS, behind a real socket.
pub(crate) struct Account {
    pub(crate) sim: Sim,
    server: ServerGuard,
    path: String,
    python_path: Option<PathBuf>,
    home: TempDir,
}

impl Account {
    /// Returns `None` if these tests are skipped.
    pub(crate) async fn new(config: SimConfig) -> Option<Self> {
        let (programs, python_path) = Python::with(&["awscli==1.46.3"])?.programs();
        if std::process::Command::new("jq").arg("--version").output().is_err() {
            println!("skipped: jq is not installed");
            return None;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sim = Sim::new(config);
        let server = sim.serve(listener).await.expect("a listener");
        let home = TempDir::new().expect("a directory");
        let path = format!("{}:{path}", programs.display());
        Some(Self { sim, server, path, python_path, home })
    }

    /// The script with this command line, in its own process group, as a shell would start it.
    fn script(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command
            .args(["-c", HEEDING_CTRL_C, SCRIPT])
            .args(arguments)
            .env_clear()
            .kill_on_drop(true)
            .process_group(0);
        command
            .env("PATH", &self.path)
            .env("HOME", self.home.path())
            .env("TMPDIR", self.home.path())
            .env("AWS_ENDPOINT_URL", self.server.endpoint())
            .env("AWS_ACCESS_KEY_ID", "AKIATEST")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", &self.sim.config().region);
        command.envs(self.python_path.iter().map(|path| ("PYTHONPATH", path)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the script to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let ended = timeout(DEADLINE, self.script(arguments).output()).await;
        let ended = Ended::of(ended.expect("an end").expect("the script can be started"));
        self.assert_tidy();
        ended
    }

    /// Lets it delete what a run has left behind.
    pub(crate) async fn cleanup(&self, name: &str) -> Ended {
        let ended = timeout(DEADLINE, self.script(&["--yes", "--cleanup", name]).output()).await;
        Ended::of(ended.expect("an end").expect("the script can be started"))
    }

    /// Starts the script. Sends a signal to it and to its current command while a call of this
    /// operation waits for its answer.
    pub(crate) async fn interrupt(&self, operation: &str, signal: Signal) -> ExitStatus {
        let child = self.script(&["--yes"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child: Child = child.expect("the script can be started");
        let called = self.sim.wait_until(|sim| !sim.calls_of(operation).is_empty());
        timeout(DEADLINE, called).await.expect("the call");
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        kill_process_group(group.expect("a process that runs"), signal).expect("a signal");
        timeout(DEADLINE, child.wait()).await.expect("an end").expect("a child")
    }

    /// Nothing is left in the directory for temporary files.
    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        let left = std::fs::read_dir(self.home.path()).expect("a directory");
        let left: Vec<_> = left.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
        assert!(left.iter().all(|name| name == ".aws"), "{left:?}");
    }

    /// The name of the last scratch repository.
    pub(crate) fn scratch(&self) -> String {
        let calls = self.sim.calls_of("CreateRepository");
        let name = calls.last().and_then(|call| call.request.get("repositoryName")?.as_str());
        name.expect("a scratch repository").to_owned()
    }
}

/// A run that has ended.
pub(crate) struct Ended {
    /// Its exit code.
    pub(crate) code: Option<i32>,
    /// What it printed: the table.
    pub(crate) stdout: String,
    /// Its progress messages.
    pub(crate) stderr: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes| match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => panic!("{error}"),
        };
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}
