//! The surroundings of the real binary: a simulated AWS over HTTP, a gate before it that holds
//! answers back, and checks of a worker that has ended.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]
#![expect(unreachable_pub, reason = "a module of a test crate")]

use std::net::SocketAddr;
use std::process::Output;

use aws_sim::{Call, CallOutcome, RepoKey, ScanResult, ServerGuard, Sim};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::process::{Ended, Variables, Worker, is, tagwarden, variables, within_deadline};

pub const ACCOUNT: &str = "111122223333";
pub const REGION: &str = "eu-west-1";
pub const QUEUE: &str = "tagwarden";
pub const DEAD_LETTERS: &str = "tagwarden-dlq";

pub const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A simulated AWS with queue, dead-letter queue, rule, topic and repository, and the environment
/// of a worker for it.
pub struct World {
    pub sim: Sim,
    pub repository: RepoKey,
    pub topic: String,
    pub variables: Variables,
    _server: Option<ServerGuard>,
}

impl World {
    /// A world that is served on a free port.
    pub async fn new() -> Self {
        let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
        let mut world = Self::at(listener.local_addr().expect("an address"));
        world.serve(listener).await;
        world
    }

    /// A world at an address that is not served yet.
    pub fn at(address: SocketAddr) -> Self {
        Self::with_receives(address, 2)
    }

    /// A world whose queue permits this many receives of a message.
    pub fn with_receives(address: SocketAddr, receives: u32) -> Self {
        Self::with_sim(address, receives, Sim::default())
    }

    /// A world in the given simulation.
    pub fn with_sim(address: SocketAddr, receives: u32, sim: Sim) -> Self {
        let (url, _) = sim.create_queue_with_redrive(QUEUE, receives, &[]);
        let topic = sim.create_topic("team");
        let scans = json!({"source": ["aws.ecr"], "detail-type": ["ECR Image Scan"]});
        sim.put_rule("scans", scans, QUEUE);
        let repository = sim.create_repository("team/app");
        let variables = variables(&format!("http://{address}"), REGION, &url, &topic);
        Self { sim, repository, topic, variables, _server: None }
    }

    /// Serves the world.
    pub async fn serve(&mut self, listener: TcpListener) {
        self._server = Some(self.sim.serve(listener).await.expect("a listener"));
    }

    /// Sets a variable of the worker's environment.
    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a variable from the worker's environment.
    pub fn unset(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// Starts a worker and waits until it is ready.
    pub async fn worker(&self) -> Worker {
        let mut worker = Worker::start(&self.variables).await;
        worker.ready().await;
        worker
    }

    /// Runs a command to its end.
    pub async fn output(&self, arguments: &[&str]) -> Output {
        let run = tagwarden(arguments, &self.variables).output();
        within_deadline("the end of a command", run).await.expect("the binary can be started")
    }

    /// Pushes an image with a critical finding, and sends its scan event. Returns the image's
    /// digest.
    pub fn violation(&self, tags: &[&str]) -> String {
        let digest = self.sim.push_image(&self.repository, tags, &tags.join(" "));
        let scan = ScanResult::basic(&[("CRITICAL", 1), ("HIGH", 2)]);
        self.sim.set_findings(&self.repository, &digest, scan);
        self.sim.emit_scan_event(&self.repository, &digest);
        digest
    }

    /// The tags of an image of the repository.
    pub fn tags(&self, digest: &str) -> Vec<String> {
        self.sim.tags(&self.repository, digest).expect("an image that is there")
    }

    /// Waits until a call of this operation has arrived, answered or not.
    pub async fn called(&self, operation: &str) {
        let wait = self.sim.wait_until(|sim| !sim.calls_of(operation).is_empty());
        within_deadline(operation, wait).await;
    }

    /// Waits until no receive is in flight that may still take a message. A killed worker leaves
    /// one behind, for a second if it had work in hand.
    pub async fn receives_are_over(&self) {
        // A call that hangs before its effect takes nothing. One that hangs after it takes its
        // messages.
        let is_open = |call: &Call| {
            let hangs = call.faults.iter().any(|fault| fault == "hang");
            call.outcome == CallOutcome::Unanswered && !call.applied && !hangs
        };
        let over = self.sim.wait_until(|sim| !sim.calls_of("ReceiveMessage").iter().any(is_open));
        within_deadline("the end of all receives", over).await;
    }

    /// The image has lost its tags, the team was notified once, and the queue is empty.
    #[track_caller]
    pub fn assert_quarantined(&self, digest: &str) {
        assert_eq!(self.tags(digest), [quarantine_tag(digest)]);
        assert_eq!(self.sim.notices(&self.topic).len(), 1);
        assert_eq!(self.sim.queue(QUEUE).messages, []);
    }

    /// Another task can receive the only message at once.
    #[track_caller]
    pub fn assert_released(&self) {
        let queue = self.sim.queue(QUEUE);
        assert_eq!((queue.visible, queue.in_flight), (1, 0), "{queue:?}");
    }
}

/// A loopback port that is reserved for us, on which nobody listens yet.
pub fn silent_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(LOOPBACK).expect("a free port");
    let address = socket.local_addr().expect("an address");
    (socket, address)
}

/// The mark of an image.
pub fn quarantine_tag(digest: &str) -> String {
    digest.replace("sha256:", "quarantine-")
}

/// A way to the simulation that can hold answers back.
pub struct Gate {
    /// The value for the SDK's endpoint.
    pub endpoint: String,
    /// Whether answers pass.
    pub open: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Gate {
    /// An open gate before this world.
    pub async fn before(world: &World) -> Self {
        let upstream = world.variables["AWS_ENDPOINT_URL"].trim_start_matches("http://");
        let upstream: SocketAddr = upstream.parse().expect("an address");
        let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (open, opened) = watch::channel(true);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(pass(stream, upstream, opened.clone()));
            }
        });
        Self { endpoint: format!("http://{address}"), open, _serving: serving }
    }
}

/// Passes requests on at once, and answers while the gate is open.
async fn pass(client: TcpStream, upstream: SocketAddr, mut open: watch::Receiver<bool>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a socket");
    }
    let (mut requests, mut to_client) = client.into_split();
    let (mut answers, mut to_server) = server.into_split();
    let forward = tokio::io::copy(&mut requests, &mut to_server);
    let back = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = answers.read(&mut buffer).await {
            let opened = open.wait_for(|open| *open).await.is_ok();
            if !opened || to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        _ = forward => {}
        () = back => {}
    }
}

/// The worker has ended with 0 and without an error, and its last line says that it stopped.
#[track_caller]
pub fn assert_in_order(ended: &Ended) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{:#?}", ended.log);
    assert!(ended.log.last().is_some_and(|line| is(line, "stopped")), "{:#?}", ended.log);
}

/// The lines of the log with this message.
pub fn lines<'a>(ended: &'a Ended, message: &str) -> Vec<&'a Value> {
    ended.log.iter().filter(|line| is(line, message)).collect()
}

/// Every member of `expected` is in `actual`.
#[track_caller]
pub fn assert_holds(actual: &Value, expected: &Value) {
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&actual[name], value, "{name} of {actual:#}");
    }
}
