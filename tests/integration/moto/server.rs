//! moto's server, installed once from PyPI under `target/`, started on a free port, and killed when
//! its handle is dropped.
#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]
#![expect(unreachable_pub, reason = "a module of a test crate")]

use std::net::SocketAddr;
use std::process::Stdio;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use serde_json::Value;
use tokio::process::Child;

use super::REGION;
use crate::process::{Lines, ask};
use crate::python::Python;

/// A running moto.
pub struct Moto {
    address: SocketAddr,
    _child: Child,
    _log: Lines,
}

impl Moto {
    /// Starts moto. Returns `None` if the environment says that these tests are skipped.
    pub async fn start() -> Option<Self> {
        let python = Python::with(&["moto[server]==5.2.5"])?;
        let mut command = tokio::process::Command::from(python.command());
        command.args(["-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().expect("moto can be started");
        let mut log = Lines::of(child.stderr.take().expect("a pipe"));
        let address = log.find("moto's address", |line| {
            line.split_once("Running on http://")?.1.trim().parse().ok()
        });
        let address = address.await;
        Some(Self { address, _child: child, _log: log })
    }

    /// The value for the SDK's endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Configuration for clients of this moto.
    pub async fn sdk(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new("AKIATEST", "secret", None, None, "test"))
            .endpoint_url(self.endpoint())
            .load()
            .await
    }

    /// One EventBridge call. moto recognizes a service by the credential scope and checks no
    /// signature.
    pub async fn events(&self, operation: &str, input: &Value) {
        let scope =
            format!("AWS4-HMAC-SHA256 Credential=AKIATEST/20260102/{REGION}/events/aws4_request");
        let headers = [
            (header::AUTHORIZATION.as_str(), scope),
            (header::CONTENT_TYPE.as_str(), "application/x-amz-json-1.1".to_owned()),
            ("x-amz-target", format!("AWSEvents.{operation}")),
        ];
        let answer = self.post("/", &headers, input, StatusCode::OK).await;
        if let Ok(answer) = serde_json::from_str::<Value>(&answer) {
            assert!(
                answer["FailedEntryCount"].as_i64().is_none_or(|failed| failed == 0),
                "{answer}"
            );
        }
    }

    /// Sets the answer of `DescribeImageScanFindings`.
    pub async fn set_findings(&self, answer: &Value) {
        let input = serde_json::json!({"region": REGION, "results": [answer]});
        let path = "/moto-api/static/ecr/scan-finding-results";
        self.post(path, &[], &input, StatusCode::CREATED).await;
    }

    async fn post(
        &self,
        path: &str,
        headers: &[(&str, String)],
        input: &Value,
        expected: StatusCode,
    ) -> String {
        let mut request = Request::post(path).header(header::HOST, self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::from(input.to_string())).expect("a request");
        let (status, answer) = ask(self.address, request).await;
        assert_eq!(status, expected, "{path} {headers:?}: {answer}");
        answer
    }
}
