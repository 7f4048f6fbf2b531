//! The face inside the process: an HTTP connector under the real AWS SDK. No socket, no real time.

use std::io;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use tokio::time::{sleep, timeout};

use crate::clock::http_date;
use crate::sim::Sim;
use crate::sts::OWN_ACCESS_KEY;
use crate::wire::{Request, Response};

impl Sim {
    /// The SDK configuration whose clients reach this simulation inside the process: static credentials, virtual
    /// time, tokio's sleep, and no stalled-stream protection, which would end a held request.
    ///
    /// The retry quota of an SDK client is shared by all clients of the process with the same service and region, and
    /// a run that has used it up leaves none for the next. It can be set on a service's configuration only: a run that
    /// is to be the same every time gives each client a `RetryPartition::custom` of its own.
    pub fn sdk_config(&self) -> SdkConfig {
        self.sdk_config_as(OWN_ACCESS_KEY)
    }

    /// The same as [`Sim::sdk_config`] for a caller with an access key of its own, which its calls carry as
    /// [`Call::caller`](crate::Call::caller).
    pub fn sdk_config_as(&self, access_key: &str) -> SdkConfig {
        let credentials = Credentials::new(access_key, "simulated", None, None, "aws-sim");
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.config().region.clone()))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .http_client(self.http_client())
            .time_source(self.callers_clock())
            .sleep_impl(TokioSleep::new())
            .stalled_stream_protection(
                aws_config::stalled_stream_protection::StalledStreamProtectionConfig::disabled(),
            )
            .build()
    }

    /// The HTTP client that reaches this simulation inside the process.
    pub fn http_client(&self) -> SharedHttpClient {
        SharedHttpClient::new(SimHttpClient(self.clone()))
    }
}

#[derive(Debug)]
struct SimHttpClient(Sim);

impl HttpClient for SimHttpClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(SimConnector {
            sim: self.0.clone(),
            read_timeout: settings.read_timeout(),
        })
    }
}

#[derive(Debug)]
struct SimConnector {
    sim: Sim,
    read_timeout: Option<Duration>,
}

impl HttpConnector for SimConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (sim, read_timeout) = (self.sim.clone(), self.read_timeout);
        HttpConnectorFuture::new(async move {
            let answer = exchange(&sim, request);
            match read_timeout {
                None => answer.await,
                Some(limit) => timeout(limit, answer)
                    .await
                    .unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into()))),
            }
        })
    }
}

async fn exchange(sim: &Sim, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = read(request).await?;
    let latency = sim.config().latency;
    if !latency.is_zero() {
        sleep(latency).await;
    }
    let response = sim.answer(request, true).await.map_err(|fault| {
        ConnectorError::io(io::Error::new(io::ErrorKind::ConnectionReset, fault).into())
    })?;
    write(response, sim.now())
}

async fn read(request: HttpRequest) -> Result<Request, ConnectorError> {
    let method = request.method().to_owned();
    let uri = request.uri().to_owned();
    let headers = request.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let body = request.into_body().collect().await.map_err(ConnectorError::user)?;
    Ok(Request { method, uri, headers, body: body.to_bytes().to_vec() })
}

/// The date is AWS's, from which the SDK learns how far its own clock is off.
fn write(response: Response, now: SystemTime) -> Result<HttpResponse, ConnectorError> {
    let status =
        response.status.try_into().map_err(|error| ConnectorError::other(Box::new(error), None))?;
    let mut answer = HttpResponse::new(status, SdkBody::from(response.body));
    for (name, value) in response.headers {
        answer.headers_mut().insert(name, value);
    }
    answer.headers_mut().insert("date", http_date(now));
    Ok(answer)
}
