//! The face on a socket: HTTP/1.1 on a listener that the caller bound, for programs and in real time.

use std::io;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::sim::Sim;
use crate::wire::{ConnectionFault, Request, Response};

/// Serves until it is dropped.
#[derive(Debug)]
pub struct ServerGuard {
    address: SocketAddr,
    /// The accept loop, which owns the connections. Dropping the set ends it, and them with it.
    _serving: JoinSet<()>,
}

impl ServerGuard {
    /// What to set as the SDK's endpoint: `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Sim {
    /// Serves this simulation on a listener until the guard is dropped. Every service answers at the same endpoint.
    ///
    /// # Errors
    ///
    /// Where the listener has no local address.
    pub async fn serve(&self, listener: TcpListener) -> io::Result<ServerGuard> {
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(accept(self.clone(), listener));
        Ok(ServerGuard { address, _serving: serving })
    }
}

async fn accept(sim: Sim, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(connection(sim.clone(), stream))),
            // Out of descriptors, or the peer left already: the next one may do better.
            Err(_) => tokio::task::yield_now().await,
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Serves one connection. A connection fault is an error of the service function, on which hyper drops the connection
/// without an answer; resets by either side are part of the simulation.
async fn connection(sim: Sim, stream: TcpStream) {
    // Without this, small answers wait for the delayed acknowledgement of the one before.
    drop(stream.set_nodelay(true));
    let service = service_fn(|request| {
        let sim = sim.clone();
        async move { answer(&sim, request).await }
    });
    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

/// Why a request goes without an answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error(transparent)]
    Fault(#[from] ConnectionFault),
    #[error("failed to read the request")]
    Request(#[from] hyper::Error),
    #[error("failed to write the answer")]
    Answer(#[from] hyper::http::Error),
}

async fn answer(
    sim: &Sim,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Unanswered> {
    let (head, body) = request.into_parts();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers =
        head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
    let request = Request {
        method: head.method.to_string(),
        uri: head.uri.to_string(),
        headers: headers.collect(),
        body: body.collect().await?.to_bytes().to_vec(),
    };
    let Response { status, headers, body } = sim.handle(request).await?;
    let mut answer = hyper::Response::builder().status(status);
    for (name, value) in headers {
        answer = answer.header(name, value);
    }
    Ok(answer.body(Full::new(Bytes::from(body)))?)
}
