//! The listener for health and metrics: read-only, and bounded in connections, time and bytes, so
//! that a slow or hostile client cannot shut out the load balancer and have a healthy task
//! replaced.
//!
//! If there are too many connections, the oldest is closed. To refuse the newest, or to leave it in
//! the kernel's backlog, would shut out the load balancer's health check while slow clients hold
//! the others. A connection serves one request, because a request every few seconds gains nothing
//! from an open connection, and so no rule for idle connections is needed.

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

/// Most open connections. If one more comes, the oldest is closed. A request that is sent at once
/// is answered at once, so only a slow client loses its connection.
pub const MAX_CONNECTIONS: usize = 64;
/// Longest time in which a client sends the head of its request.
pub const HEAD_TIME: Duration = Duration::from_secs(5);
/// Longest life of a connection, until the client has taken the last byte of the answer.
pub const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Most bytes of a request's head. This is also the least buffer of hyper.
pub const MAX_HEAD_BYTES: usize = 8192;
/// Most headers of a request.
pub const MAX_HEADERS: usize = 64;
/// Most bytes that a request may announce as its body. The body is never read, because no route
/// takes one.
pub const MAX_BODY_BYTES: u64 = 1024;
/// Longest time in which answers are finished after the server is told to stop.
pub const STOP_TIME: Duration = Duration::from_millis(500);
/// Pause after a connection could not be accepted, for example because the process has no file
/// descriptor left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Source of connections.
pub trait Accept {
    /// Connection of this source.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Waits for the next connection. Dropping the future loses no connection.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Serves these routes, one request per connection, until `stop` is cancelled.
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
                connections.add(serve_one(stream, router.clone(), stop.clone()));
            }
            Err(error) => {
                if !std::mem::replace(&mut refused, true) {
                    warn!(
                        %error,
                        "cannot accept a connection for health and metrics; trying again"
                    );
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

    /// Closes the oldest connection if there is no room for one more.
    async fn make_room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        self.oldest.retain(|connection| !connection.is_finished());
        if self.tasks.len() < MAX_CONNECTIONS {
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

/// Serves one connection from its first byte to its end.
async fn serve_one(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    stop: CancellationToken,
) {
    let router = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_headers(MAX_HEADERS)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(MAX_HEAD_BYTES)
        // Prometheus and load balancers seldom ask. A connection that ends with its answer needs no
        // rule for idle time.
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

/// Answers one request. The router never sees its body.
async fn answer(
    router: TowerToHyperService<Router>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    match refusal(&request) {
        Some(refusal) => Ok(refusal),
        None => router.call(request.map(|_| Body::empty())).await,
    }
}

/// Returns the refusal of a request with another method or with a large body, or `None` if the
/// router may answer it.
fn refusal(request: &Request<Incoming>) -> Option<Response<Body>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED);
        refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(refusal);
    }
    let bytes = request.body().size_hint().upper();
    bytes.is_none_or(|bytes| bytes > MAX_BODY_BYTES).then(|| plain(StatusCode::PAYLOAD_TOO_LARGE))
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
