//! The HTTP listener against clients that are slow, greedy, broken or hostile. After each of them
//! `/healthz` answers.
//!
//! Most tests use streams in this process under paused time, which hits every limit to the
//! millisecond.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::future::pending;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use futures_util::FutureExt as _;
use tagwarden::http::serve::{
    ACCEPT_PAUSE, Accept, CONNECTION_TIME, HEAD_TIME, MAX_BODY_BYTES, MAX_CONNECTIONS,
    MAX_HEAD_BYTES, MAX_HEADERS, STOP_TIME, serve,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// More bytes than the metrics of a worker have.
const LONG_ANSWER: usize = 1 << 20;
/// The time that the slowest handler takes.
const SLOW_ANSWER: Duration = Duration::from_millis(400);
/// The smallest step of paused time.
const MOMENT: Duration = Duration::from_millis(1);
const ASK: &str = "GET /healthz HTTP/1.1\r\nhost: worker\r\n\r\n";

/// The connections of a test.
struct Line(mpsc::UnboundedReceiver<io::Result<DuplexStream>>);

impl Accept for Line {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<DuplexStream> {
        match self.0.recv().await {
            Some(stream) => stream,
            None => pending().await,
        }
    }
}

fn router() -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/metrics", get(|| async { "m".repeat(LONG_ANSWER) }))
        .route(
            "/slow",
            get(|| async {
                sleep(SLOW_ANSWER).await;
                "slow\n"
            }),
        )
        .route("/panic", get(|| async { panic!("planted") as &'static str }))
}

/// A running server.
struct Server {
    line: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Server {
    fn start() -> Self {
        let (line, coming) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(Line(coming), router(), stop.clone()));
        Self { line, stop, task }
    }

    /// A connection on which this many bytes fit between client and server.
    fn connect_by(&self, buffer: usize) -> DuplexStream {
        let (ours, theirs) = duplex(buffer);
        self.line.send(Ok(theirs)).expect("a server");
        ours
    }

    fn connect(&self) -> DuplexStream {
        self.connect_by(1 << 16)
    }

    /// Sends this on a new connection and reads until the server ends it.
    async fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        // A refused client does not have to send everything.
        drop(stream.write_all(request.as_ref()).await);
        rest(&mut stream).await
    }

    /// The health check is answered without any wait.
    async fn is_healthy(&self) {
        let asked = Instant::now();
        let answer = self.ask(ASK).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok\n"), "{answer}");
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }

    /// Stops the server, and returns the time that it took.
    async fn stopped(mut self) -> Duration {
        let stopped = Instant::now();
        self.stop.cancel();
        self.task.join_next().await.expect("a task").expect("an end without a panic");
        stopped.elapsed()
    }
}

/// All that comes until the connection ends.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("an end");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns whether the server has ended this connection, from which nothing was read.
fn is_over(stream: &mut DuplexStream) -> bool {
    // Unconstrained, because tokio otherwise polls only some of them before the next yield.
    let mut byte = [0];
    let read = unconstrained(stream.read(&mut byte)).now_or_never();
    read.is_some_and(|read| read.expect("an end") == 0)
}

/// Lets the server do everything that it can do now.
async fn settle() {
    sleep(MOMENT).await;
}

#[tokio::test(start_paused = true)]
async fn slow_head_ends_when_its_time_is_over() {
    let server = Server::start();
    let begun = Instant::now();
    let mut stream = server.connect();
    for byte in ASK.bytes().cycle() {
        // Never two line ends, so the head never ends.
        if byte != b'\n' && stream.write_all(&[byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() <= HEAD_TIME + Duration::from_millis(200), "{:?}", begun.elapsed());
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn incomplete_and_empty_heads_end_when_their_time_is_over() {
    let server = Server::start();
    for sent in ["", "G", "GET /healthz HTTP/1.1\r\nhost: wor", "\r\n\r\n\r\n"] {
        let begun = Instant::now();
        assert_eq!(server.ask(sent).await, "");
        assert_eq!(begun.elapsed().as_secs(), HEAD_TIME.as_secs(), "{sent:?}");
    }
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn connection_beyond_the_cap_replaces_the_oldest_silent_one() {
    let server = Server::start();
    let mut silent: Vec<_> = (0..MAX_CONNECTIONS).map(|_| server.connect()).collect();
    settle().await;
    assert_eq!(silent.iter_mut().filter_map(|one| is_over(one).then_some(())).count(), 0);
    server.is_healthy().await;
    let over: Vec<_> = silent.iter_mut().map(is_over).collect();
    assert!(over.first().is_some_and(|over| *over), "the oldest is closed");
    assert_eq!(over.iter().filter(|over| **over).count(), 1, "{over:?}");
    // There is room now, so no connection has to be closed for the next one.
    server.is_healthy().await;
    assert_eq!(silent.iter_mut().map(is_over).filter(|over| *over).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn flood_of_connections_stays_within_the_cap_and_excludes_nobody() {
    let server = Server::start();
    let mut flood = Vec::new();
    for _ in 0..20 {
        flood.extend((0..50).map(|_| server.connect()));
        server.is_healthy().await;
    }
    settle().await;
    let open = flood.iter_mut().map(is_over).filter(|over| !over).count();
    assert!((MAX_CONNECTIONS - 1..=MAX_CONNECTIONS).contains(&open), "{open}");
}

#[tokio::test(start_paused = true)]
async fn oversized_head_is_refused() {
    let server = Server::start();
    let with = |headers: String| format!("GET /healthz HTTP/1.1\r\n{headers}\r\n");
    let many = |count: usize| with((0..count).map(|at| format!("h{at}: v\r\n")).collect());
    let frame = with("a: \r\n".to_owned()).len();
    let long = |bytes: usize| with(format!("a: {}\r\n", "v".repeat(bytes - frame)));
    for (request, status) in [
        (many(MAX_HEADERS), "200 OK"),
        (many(MAX_HEADERS + 1), "431 Request Header Fields Too Large"),
        (many(100_000), "431 Request Header Fields Too Large"),
        (long(MAX_HEAD_BYTES - 1), "200 OK"),
        (long(MAX_HEAD_BYTES + 1), "431 Request Header Fields Too Large"),
        (long(10 << 20), "431 Request Header Fields Too Large"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(10 << 20)), "431"),
    ] {
        let answer = server.ask(&request).await;
        let length = request.len();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
    }
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn body_is_never_read_and_an_oversized_one_is_refused() {
    let server = Server::start();
    let with = |headers: &str, body: &str| {
        format!("GET /healthz HTTP/1.1\r\nhost: worker\r\n{headers}\r\n\r\n{body}")
    };
    for (request, status) in [
        (with(&format!("content-length: {MAX_BODY_BYTES}"), ""), "200 OK"),
        (with(&format!("content-length: {}", MAX_BODY_BYTES + 1), ""), "413"),
        (with("content-length: 10000000000", &"b".repeat(10 << 20)), "413"),
        (with("transfer-encoding: chunked", "5\r\nhello\r\n"), "413"),
        (with("content-length: 5000\r\nexpect: 100-continue", ""), "413"),
        (with("content-length: 5\r\nexpect: 100-continue", ""), "200 OK"),
        (with("content-length: 5\r\ncontent-length: 6", "hello!"), "400"),
        (with("content-length: -1", ""), "400"),
        (with("content-length: 5\r\ntransfer-encoding: chunked", "0\r\n\r\n"), "413"),
    ] {
        let asked = Instant::now();
        let answer = server.ask(&request).await;
        let start = request.chars().take(120).collect::<String>();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{start}: {answer}");
        assert_eq!(asked.elapsed(), Duration::ZERO, "{start}");
    }
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn methods_other_than_get_and_head_are_refused() {
    let server = Server::start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PURGE"] {
        for path in ["/healthz", "/metrics", "/nothing"] {
            let answer = server
                .ask(format!("{method} {path} HTTP/1.1\r\ncontent-length: 99999\r\n\r\nbody"))
                .await;
            assert!(answer.starts_with("HTTP/1.1 405 "), "{method} {path}: {answer}");
            assert!(answer.contains("\r\nallow: GET, HEAD\r\n"), "{answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        }
    }
    let answer = server.ask("CONNECT evil.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let head = server.ask(ASK.replace("GET", "HEAD")).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let nothing = server.ask(ASK.replace("healthz", "nothing")).await;
    assert!(nothing.starts_with("HTTP/1.1 404 "), "{nothing}");
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn connection_serves_one_request() {
    let server = Server::start();
    let answer = server.ask(ASK.repeat(1000)).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let old = server.ask("GET /healthz HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 200 ") && old.ends_with("ok\n"), "{old}");
    let kept =
        server.ask("GET /healthz HTTP/1.0\r\nconnection: keep-alive\r\n\r\n".repeat(3)).await;
    assert_eq!(kept.matches("HTTP/1.0 200").count(), 1, "{kept}");
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn malformed_request_ends_its_connection() {
    let server = Server::start();
    let tls = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    let noise: Vec<u8> = (0..100_000_u32).map(|at| ((at * 7919) >> 3) as u8).collect();
    for bytes in [
        &b"\x00\x00\x00\x00"[..],
        &tls,
        &noise,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /healthz HTTP/3.0\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nx: a\x00b\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\n\r\n",
    ] {
        let asked = Instant::now();
        let answer = server.ask(bytes).await;
        let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
        assert!(refused, "{:?}: {answer}", String::from_utf8_lossy(bytes));
        assert_eq!(asked.elapsed(), Duration::ZERO);
    }
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn client_that_does_not_read_its_answer_loses_its_connection() {
    let server = Server::start();
    let begun = Instant::now();
    let request = ASK.replace("healthz", "metrics");
    let mut deaf: Vec<_> = (0..MAX_CONNECTIONS).map(|_| server.connect_by(1024)).collect();
    for stream in &mut deaf {
        stream.write_all(request.as_bytes()).await.unwrap();
    }
    let mut slow = server.connect_by(1024);
    slow.write_all(request.as_bytes()).await.unwrap();
    let mut taken = 0;
    while slow.read(&mut [0]).await.unwrap() > 0 {
        taken += 1;
        sleep(Duration::from_millis(100)).await;
    }
    assert!(taken < 2000, "{taken}");
    assert!(begun.elapsed() < CONNECTION_TIME * 20);
    for stream in &mut deaf {
        assert!(rest(stream).await.len() < LONG_ANSWER);
    }
    // The time limit ends the connection, however much is left to send.
    let begun = Instant::now();
    let mut deaf = server.connect_by(1024);
    deaf.write_all(request.as_bytes()).await.unwrap();
    sleep(CONNECTION_TIME - Duration::from_millis(1)).await;
    assert!(deaf.write_all(b"x").await.is_ok(), "open until then");
    sleep(Duration::from_millis(2)).await;
    assert!(deaf.write_all(b"x").await.is_err(), "over after {:?}", begun.elapsed());
    let whole = server.ask(&request).await;
    assert!(whole.len() > LONG_ANSWER, "{}", whole.len());
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn panicking_handler_ends_only_its_own_connection() {
    let server = Server::start();
    assert_eq!(server.ask(ASK.replace("healthz", "panic")).await, "");
    server.is_healthy().await;
}

#[tokio::test(start_paused = true)]
async fn failed_accept_is_retried_without_spinning() {
    let server = Server::start();
    let begun = Instant::now();
    for _ in 0..50 {
        server.line.send(Err(io::Error::from_raw_os_error(24))).unwrap();
    }
    let answer = server.ask(ASK).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(begun.elapsed().as_millis(), (ACCEPT_PAUSE * 50).as_millis());
    server.is_healthy().await;
    server.line.send(Err(io::Error::from_raw_os_error(24))).unwrap();
    settle().await;
    assert_eq!(server.stopped().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn stop_closes_idle_connections_and_answers_requests_in_hand() {
    let server = Server::start();
    assert_eq!(server.stopped().await, Duration::ZERO);

    let server = Server::start();
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(ASK.replace("healthz", "slow").as_bytes()).await.unwrap();
    settle().await;
    let line = server.line.clone();
    assert_eq!(server.stopped().await, SLOW_ANSWER - MOMENT);
    assert!(is_over(&mut silent));
    assert!(rest(&mut slow).await.ends_with("slow\n"));
    assert!(line.send(Ok(duplex(1).0)).is_err(), "the server accepts no connection");

    let server = Server::start();
    let mut half = server.connect();
    half.write_all(b"GET /hea").await.unwrap();
    let mut deaf = server.connect_by(16);
    deaf.write_all(&ASK.replace("healthz", "metrics").as_bytes()[..16]).await.unwrap();
    settle().await;
    assert_eq!(server.stopped().await, STOP_TIME);
    assert!(is_over(&mut half));
}

/// A server on a real socket.
async fn listening() -> (std::net::SocketAddr, CancellationToken, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let mut task = JoinSet::new();
    task.spawn(serve(listener, router(), stop.clone()));
    (address, stop, task)
}

#[tokio::test]
async fn real_socket_passes_the_health_check_while_clients_occupy_it() {
    let (address, stop, mut task) = listening().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 10 {
        silent.push(TcpStream::connect(address).await.unwrap());
        // The listener has accepted it, so the order of all connections is known.
        tagwarden::http::healthcheck(address).await.unwrap();
    }
    let mut oldest = silent.remove(0);
    let ended = oldest.read(&mut [0]).await;
    assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
    stop.cancel();
    task.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn real_socket_refuses_too_many_headers() {
    let (address, _stop, _task) = listening().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let headers: String = (0..=MAX_HEADERS).map(|at| format!("h{at}: v\r\n")).collect();
    stream.write_all(format!("GET /healthz HTTP/1.1\r\n{headers}\r\n").as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 431 "));
    tagwarden::http::healthcheck(address).await.unwrap();
}
