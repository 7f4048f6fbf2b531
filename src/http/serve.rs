//! The listener: read-only and bounded, so that nobody who can reach it takes it from the load balancer.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// The most connections that are open at once. Where one more comes, the oldest gives way: a request that is sent at
/// once is answered at once, and whoever holds a connection open holds it only as long as nobody needs the room.
pub const MOST_CONNECTIONS: usize = 64;
/// How long a client may take to send the head of its request.
pub const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may last, from its beginning to the last byte of the answer that the client takes.
pub const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The most bytes of a request's head; also hyper's least buffer.
pub const MOST_HEAD_BYTES: usize = 8192;
/// The most headers of a request.
pub const MOST_HEADERS: usize = 64;
/// The most bytes that a request may announce as its body. No body is ever read: nothing here takes one.
pub const MOST_BODY_BYTES: u64 = 1024;
/// How long answers in hand may take once the server is told to stop.
pub const STOP_TIME: Duration = Duration::from_millis(500);
/// The pause after a connection could not be accepted, as when the process has no file descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where connections come from.
pub trait Accept {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// The next connection. Giving up the wait loses none.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Serves these routes until it is told to stop, one request a connection.
pub async fn serve(mut listener: impl Accept, router: Router, stop: CancellationToken) {
    let mut connections = Connections::default();
    let mut refused = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                refused = false;
                connections.make_room().await;
                connections.add(converse(stream, router.clone(), stop.clone()));
            }
            Err(error) => {
                if !std::mem::replace(&mut refused, true) {
                    warn!(%error, "cannot accept a connection for health and metrics; trying again");
                }
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    let _ = timeout(STOP_TIME, connections.ended()).await;
}

/// The open connections, the oldest first.
#[derive(Debug, Default)]
struct Connections {
    tasks: JoinSet<()>,
    oldest: VecDeque<AbortHandle>,
}

impl Connections {
    fn add(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        self.oldest.push_back(self.tasks.spawn(connection));
    }

    /// Closes the oldest, if there is no room for one more.
    async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest.retain(|connection| !connection.is_finished());
        if self.tasks.len() < MOST_CONNECTIONS {
            return;
        }
        if let Some(oldest) = self.oldest.pop_front() {
            oldest.abort();
        }
        self.tasks.join_next().await;
    }

    async fn ended(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// One connection, from its first byte to its end.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MOST_HEADERS)
        .max_header_size(MOST_HEAD_BYTES)
        .max_buf_size(MOST_HEAD_BYTES)
        // Prometheus and load balancers ask seldom. A connection that ends with its answer needs no rule for idleness.
        .keep_alive(false)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(|request| answer(router.clone(), request)),
        );
    let mut connection = std::pin::pin!(connection);
    let whole = async {
        tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    match timeout(CONNECTION_TIME, whole).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an HTTP connection ended early"),
        Err(_) => debug!("an HTTP connection took too long"),
    }
}

/// The answer to one request. The router never sees its body.
async fn answer(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    match refusal(&request) {
        Some(refusal) => Ok(refusal),
        None => router.call(request.map(|_| Body::empty())).await,
    }
}

/// What is said to a request that is none of those that are served here.
fn refusal(request: &Request<Incoming>) -> Option<Response<Body>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED);
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(refusal);
    }
    let bytes = request.body().size_hint().upper();
    bytes.is_none_or(|bytes| bytes > MOST_BODY_BYTES).then(|| plain(StatusCode::PAYLOAD_TOO_LARGE))
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
