//! An OTLP receiver over HTTP, and the metadata endpoint of an ECS task.
#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::{get, post};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1 as otlp;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Status;
use prost::Message as _;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::world::{ACCOUNT, LOOPBACK, REGION};

/// A span as it arrived over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    /// The ids of the spans that it links to.
    pub(crate) links: Vec<String>,
    pub(crate) failed: bool,
    attributes: Map<String, Value>,
}

impl Span {
    fn of(span: otlp::Span) -> Self {
        use otlp::span::SpanKind;
        let kind = match span.kind() {
            SpanKind::Internal => "internal",
            SpanKind::Client => "client",
            SpanKind::Consumer => "consumer",
            kind => panic!("{kind:?}"),
        };
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{span:?}");
        Self {
            kind,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
            failed: span.status.is_some_and(|status| status.code() == Status::Error),
            attributes: object(span.attributes),
            name: span.name,
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// The raw value of an attribute.
    pub(crate) fn value(&self, name: &str) -> Value {
        self.attributes.get(name).cloned().unwrap_or_default()
    }

    /// An attribute as text.
    #[track_caller]
    pub(crate) fn attribute(&self, name: &str) -> String {
        match self.attributes.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => panic!("no {name} in {self:#?}"),
        }
    }
}

/// Everything that was exported so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exported {
    pub(crate) spans: Vec<Span>,
    /// The points of each metric in its last export, with their labels. A histogram is reduced to
    /// its count.
    pub(crate) metrics: BTreeMap<String, Vec<(Value, f64)>>,
    /// The resources of the exports, each once.
    pub(crate) resources: Vec<Value>,
}

impl Exported {
    pub(crate) fn all(&self, name: &str) -> Vec<&Span> {
        self.spans.iter().filter(|span| span.name == name).collect()
    }

    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &Span {
        match self.all(name).as_slice() {
            [one] => one,
            all => panic!("{} of {name}: {all:#?}", all.len()),
        }
    }

    #[track_caller]
    pub(crate) fn by_id(&self, id: &str) -> &Span {
        let found = self.spans.iter().find(|span| span.id == id);
        found.unwrap_or_else(|| panic!("no span {id} in {:#?}", self.spans))
    }

    fn resource(&mut self, attributes: Vec<KeyValue>) {
        let resource = Value::Object(object(attributes));
        if !self.resources.contains(&resource) {
            self.resources.push(resource);
        }
    }

    fn traces(&mut self, request: ExportTraceServiceRequest) {
        for of in request.resource_spans {
            self.resource(of.resource.expect("a resource").attributes);
            let spans = of.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.extend(spans.map(Span::of));
        }
    }

    fn metrics(&mut self, request: ExportMetricsServiceRequest) {
        for of in request.resource_metrics {
            self.resource(of.resource.expect("a resource").attributes);
            for metric in of.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let number = |value| match value {
                    Some(Number::AsDouble(value)) => value,
                    #[expect(clippy::cast_precision_loss, reason = "small counts")]
                    Some(Number::AsInt(value)) => value as f64,
                    None => panic!("a point without a value"),
                };
                let points = match metric.data.expect("points") {
                    Data::Gauge(gauge) => gauge.data_points,
                    Data::Sum(sum) => sum.data_points,
                    #[expect(clippy::cast_precision_loss, reason = "small counts")]
                    Data::Histogram(histogram) => {
                        let points = histogram.data_points.into_iter();
                        let points = points
                            .map(|point| (object(point.attributes).into(), point.count as f64));
                        self.metrics.insert(metric.name, points.collect());
                        continue;
                    }
                    data => panic!("{data:?}"),
                };
                let points = points.into_iter();
                let points =
                    points.map(|point| (object(point.attributes).into(), number(point.value)));
                self.metrics.insert(metric.name, points.collect());
            }
        }
    }
}

/// A collector. It listens until it is dropped.
pub(crate) struct Receiver {
    pub(crate) endpoint: String,
    exported: Arc<Mutex<Exported>>,
    /// The metrics of each export.
    exports: tokio::sync::Mutex<mpsc::UnboundedReceiver<Vec<String>>>,
    refuses: Arc<AtomicBool>,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind(LOOPBACK).await.expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let exported = Arc::<Mutex<Exported>>::default();
        let (traces, metrics) = (Arc::clone(&exported), Arc::clone(&exported));
        let (sender, exports) = mpsc::unbounded_channel();
        let refuses = Arc::<AtomicBool>::default();
        let (refuse_traces, refuse_metrics) = (Arc::clone(&refuses), Arc::clone(&refuses));
        let router = Router::new()
            .route(
                "/v1/traces",
                post(async move |body: Bytes| {
                    if refuse_traces.load(Ordering::Relaxed) {
                        return StatusCode::FORBIDDEN;
                    }
                    let request = ExportTraceServiceRequest::decode(body).expect("protobuf");
                    traces.lock().expect("a receiver").traces(request);
                    StatusCode::OK
                }),
            )
            .route(
                "/v1/metrics",
                post(async move |body: Bytes| {
                    if refuse_metrics.load(Ordering::Relaxed) {
                        return StatusCode::FORBIDDEN;
                    }
                    let request = ExportMetricsServiceRequest::decode(body).expect("protobuf");
                    let names = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
                    let names = names.flat_map(|of| &of.metrics).map(|of| of.name.clone());
                    // When the test has ended, nobody waits for it.
                    drop(sender.send(names.collect()));
                    metrics.lock().expect("a receiver").metrics(request);
                    StatusCode::OK
                }),
            )
            .route("/v4/id", get(async || container().to_string()))
            .route("/v4/id/task", get(async || task().to_string()));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.expect("a server") });
        let exports = tokio::sync::Mutex::new(exports);
        Self { endpoint, exported, exports, refuses, _serving: serving }
    }

    /// Accepts nothing from now on.
    pub(crate) fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// The names of the metrics of the next export.
    pub(crate) async fn next_metrics(&self) -> Vec<String> {
        self.exports.lock().await.recv().await.expect("an export")
    }

    /// Everything that was exported until now.
    pub(crate) fn exported(&self) -> Exported {
        self.exported.lock().expect("a receiver").clone()
    }
}

/// The answer of the metadata endpoint about the container (ECS developer guide, "task metadata
/// version 4 examples").
fn container() -> Value {
    json!({
        "DockerId": "cd189a933e5849daa93386466019ab50-2495160603",
        "Name": "worker",
        "Image": format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/tagwarden:0.1.0"),
        "ImageID": "sha256:25f3695bedfb454a50f12d127839a68ad3caf91e451c1da073db34c542c4d2cb",
        "ContainerARN": format!("arn:aws:ecs:{REGION}:{ACCOUNT}:container/tagwarden/cd189a933e5849daa93386466019ab50/05966557-f16c-49cb-9352-24b3a0dcd0e1"),
        "LogDriver": "awsfirelens"
    })
}

fn task() -> Value {
    json!({
        "Cluster": "tagwarden",
        "TaskARN": format!("arn:aws:ecs:{REGION}:{ACCOUNT}:task/tagwarden/cd189a933e5849daa93386466019ab50"),
        "Family": "tagwarden",
        "Revision": "3",
        "LaunchType": "FARGATE",
        "AvailabilityZone": format!("{REGION}a")
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn object(attributes: Vec<KeyValue>) -> Map<String, Value> {
    attributes.into_iter().map(|of| (of.key, value(of.value))).collect()
}

fn value(of: Option<AnyValue>) -> Value {
    match of.and_then(|value| value.value) {
        Some(Any::StringValue(text)) => text.into(),
        Some(Any::BoolValue(value)) => value.into(),
        Some(Any::IntValue(value)) => value.into(),
        Some(Any::DoubleValue(value)) => value.into(),
        Some(Any::ArrayValue(array)) => {
            array.values.into_iter().map(|one| value(Some(one))).collect()
        }
        other => panic!("{other:?}"),
    }
}
