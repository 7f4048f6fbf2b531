//! Health and metrics over HTTP, for load balancers, Prometheus and the container's health check.
//!
//! `/healthz` answers whether the polling loop still runs (invariant 13), `/readyz` whether
//! anything stands in the way of work and which policy is in use, and `/metrics` what the
//! instruments have counted. Target groups use `/healthz` and never `/readyz`, because a paused
//! worker is alive, and to replace it would mend nothing. `serve` is the listener, and
//! [`healthcheck`] is the client behind the container's health check.

pub mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::health::Health;
use crate::in_use::PolicyInUse;
use crate::telemetry::instruments::Instruments;

pub use serve::serve;

/// State that the handlers show.
#[derive(Clone, Debug)]
struct Shown {
    health: Arc<Health>,
    instruments: Arc<Instruments>,
    policy: PolicyInUse,
}

/// Returns the routes.
pub(crate) fn router(
    health: Arc<Health>,
    instruments: Arc<Instruments>,
    policy: PolicyInUse,
) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shown { health, instruments, policy })
}

async fn healthz(State(shown): State<Shown>) -> impl IntoResponse {
    match shown.health.live() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(silent) => {
            let seconds = silent.as_secs();
            let text = format!("the polling loop has not completed a turn for {seconds} s\n");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

async fn readyz(State(shown): State<Shown>) -> impl IntoResponse {
    let (status, word) = match shown.health.ready() {
        Ok(()) => (StatusCode::OK, "ready"),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
    };
    let policy = shown.policy.current();
    (status, format!("{word}\npolicy {}\n", policy.fingerprint().as_str()))
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    match shown.instruments.render() {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        ),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain; charset=utf-8")],
            format!("{error}\n"),
        ),
    }
}

/// Why a worker is not known to be healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// It does not answer in time.
    #[error("http://{0}/healthz did not answer within 3 s")]
    Silent(SocketAddr),
    /// It cannot be asked.
    #[error("http://{address}/healthz: {source}")]
    Unreachable {
        /// The worker's address.
        address: SocketAddr,
        /// The failure of the request.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers that it is not healthy.
    #[error("http://{address}/healthz answered {status}: {body}")]
    Answered {
        /// The worker's address.
        address: SocketAddr,
        /// The status of the answer.
        status: StatusCode,
        /// Its text.
        body: String,
    },
}

/// Asks a running worker for `/healthz`.
///
/// # Errors
/// [`Unhealthy`] if the worker is not healthy or does not answer.
pub async fn healthcheck(listen: SocketAddr) -> Result<(), Unhealthy> {
    let mut address = listen;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let answer = timeout(Duration::from_secs(3), ask(address)).await;
    match answer {
        Err(_) => Err(Unhealthy::Silent(address)),
        Ok(Err(source)) => Err(Unhealthy::Unreachable { address, source }),
        Ok(Ok((StatusCode::OK, _))) => Ok(()),
        Ok(Ok((status, body))) => {
            Err(Unhealthy::Answered { address, status, body: body.trim().to_owned() })
        }
    }
}

async fn ask(
    address: SocketAddr,
) -> Result<(StatusCode, String), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get("/healthz")
        .header(header::HOST, address.to_string())
        .body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), 4096).collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        // The connection has ended, so the answer holds everything that it brought.
        _ = connection => answer.await,
    }
}
