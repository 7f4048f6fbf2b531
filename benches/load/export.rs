//! A collector that takes whatever is exported and keeps nothing.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Serves until it is dropped.
pub(crate) struct Collector {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Collector {
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// A collector on a free port.
pub(crate) async fn collector() -> Collector {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(take));
            connections.spawn(async move { drop(connection.await) });
        }
    });
    Collector { address, _serving: serving }
}

async fn take(request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
    drop(request.into_body().collect().await);
    Ok(Response::new(Empty::new()))
}
