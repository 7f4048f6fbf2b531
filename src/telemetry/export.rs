//! Exports traces and metrics over OTLP, as OpenTelemetry's standard environment variables ask for.
//!
//! Without an endpoint nothing is exported. Only http/protobuf without TLS is supported, because a
//! collector beside the worker does the rest. The exporters run on threads of their own with
//! bounded queues and drop what they cannot deliver, so the worker never waits for a collector. At
//! the end of the process it waits for a tenth of `shutdown.grace`, two seconds at most.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::future::{OptionFuture, join};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_aws::detector::EcsResourceDetector;
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, Protocol, SpanExporter,
    WithExportConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{SdkMeterProvider, Temporality};
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use super::traces;

/// The environment asks for an export that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The worker cannot connect to the endpoint.
    #[error(
        "{variable} is {value:?}: give the http:// URL of a collector beside the worker, such as \
         http://localhost:4318"
    )]
    Endpoint {
        /// Name of the variable.
        variable: &'static str,
        /// Value of the variable.
        value: String,
    },
    /// The worker does not support the protocol.
    #[error("{variable} is {value:?}: only http/protobuf is supported; remove the variable")]
    Protocol {
        /// Name of the variable.
        variable: &'static str,
        /// Value of the variable.
        value: String,
    },
    /// The exporter cannot be built.
    #[error("cannot set up the export over OTLP: {0}")]
    Build(#[from] ExporterBuildError),
}

/// One kind of telemetry and its own variables.
struct Signal {
    endpoint: &'static str,
    protocol: &'static str,
    exporter: &'static str,
}

const TRACES: Signal = Signal {
    endpoint: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    protocol: OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    exporter: "OTEL_TRACES_EXPORTER",
};
const METRICS: Signal = Signal {
    endpoint: OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    protocol: OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    exporter: "OTEL_METRICS_EXPORTER",
};

/// Looks up environment variables by name. An empty one counts as not set.
type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Signal {
    /// Returns whether the environment asks for the export of this signal.
    fn is_wanted(&self, variable: Variable<'_>) -> Result<bool, ExportError> {
        let said = |name: &'static str| variable(name).map(|value| (name, value));
        let is = |name: &str, word: &str| {
            variable(name).is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        if is("OTEL_SDK_DISABLED", "true") || is(self.exporter, "none") {
            return Ok(false);
        }
        let endpoint = said(self.endpoint).or_else(|| said(OTEL_EXPORTER_OTLP_ENDPOINT));
        let Some((name, value)) = endpoint else { return Ok(false) };
        if !value.starts_with("http://") {
            return Err(ExportError::Endpoint { variable: name, value });
        }
        let protocol = said(self.protocol).or_else(|| said(OTEL_EXPORTER_OTLP_PROTOCOL));
        match protocol {
            Some((variable, value)) if value != OTEL_EXPORTER_OTLP_PROTOCOL_HTTP_PROTOBUF => {
                Err(ExportError::Protocol { variable, value })
            }
            _ => Ok(true),
        }
    }
}

/// The exporter of metrics, and the resource that sends them.
pub(crate) type MetricExport = (Watched<MetricExporter>, Resource);

/// The exports that are set up: nothing, traces, metrics, or both.
#[derive(Debug, Default)]
pub struct Export {
    traces: Option<SdkTracerProvider>,
    metrics: Option<MetricExport>,
}

impl Export {
    /// Sets up the exports that the environment asks for. On ECS this blocks while it asks the
    /// task's metadata endpoint two questions about the resource, for a second each at most.
    ///
    /// # Errors
    /// Returns an error if the environment asks for an endpoint or a protocol that is not
    /// supported, or the exporter cannot be built.
    pub fn from_environment() -> Result<Self, ExportError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let traces = TRACES.is_wanted(&variable)?;
        let metrics = METRICS.is_wanted(&variable)?;
        if !traces && !metrics {
            return Ok(Self::default());
        }
        let resource = resource(&variable);
        let traces = traces.then(|| tracer_provider(&resource)).transpose()?;
        let metrics = metrics.then(metric_exporter).transpose()?;
        Ok(Self { traces, metrics: metrics.map(|exporter| (exporter, resource)) })
    }

    /// Returns the tracer, which makes spans, if traces are exported.
    #[must_use]
    pub fn tracer(&self) -> Option<SdkTracer> {
        self.traces.as_ref().map(|provider| provider.tracer("tagwarden"))
    }

    /// Takes the export of metrics, if they are exported.
    pub fn take_metrics(&mut self) -> Option<MetricExport> {
        self.metrics.take()
    }

    /// Delivers the rest of the traces and of these metrics, waits up to `limit` for that, and ends
    /// the export.
    pub async fn end(self, metrics: SdkMeterProvider, limit: Duration) {
        let traces = self
            .traces
            .map(|traces| ending("traces", limit, move || traces.shutdown_with_timeout(limit)));
        let metrics = ending("metrics", limit, move || metrics.shutdown_with_timeout(limit));
        join(OptionFuture::from(traces), metrics).await;
    }
}

/// Ends one export on a thread of its own. Exporters block, and one that hangs must not hold up the
/// other one or the end of the process.
async fn ending(
    what: &'static str,
    limit: Duration,
    end: impl FnOnce() -> OTelSdkResult + Send + 'static,
) {
    let (done, ended) = oneshot::channel();
    let thread = thread::Builder::new().name(what.to_owned());
    // Nobody receives the result if the end took too long.
    let thread = thread.spawn(move || drop(done.send(end())));
    if thread.is_err() || limit.is_zero() {
        return;
    }
    if !matches!(timeout(limit, ended).await, Ok(Ok(Ok(())))) {
        warn!(what, "the collector did not accept the last data in time");
    }
}

fn tracer_provider(resource: &Resource) -> Result<SdkTracerProvider, ExporterBuildError> {
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
    let exporter = Watched::new("traces", exporter);
    let processor = WithoutIdle(BatchSpanProcessor::builder(exporter).build());
    let provider = SdkTracerProvider::builder().with_span_processor(processor);
    Ok(provider.with_resource(resource.clone()).build())
}

/// Exports all spans but the idle ones ([`traces::is_idle`]).
#[derive(Debug)]
struct WithoutIdle(BatchSpanProcessor);

impl SpanProcessor for WithoutIdle {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.0.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !traces::is_idle(&span) {
            self.0.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.0.set_resource(resource);
    }
}

fn metric_exporter() -> Result<Watched<MetricExporter>, ExporterBuildError> {
    let exporter = MetricExporter::builder().with_http().with_protocol(Protocol::HttpBinary);
    Ok(Watched::new("metrics", exporter.build()?))
}

/// An exporter that logs once when its collector begins to refuse data and once when it accepts
/// data again. The SDK would log an error for every batch.
#[derive(Debug)]
pub struct Watched<E> {
    what: &'static str,
    exporter: E,
    fails: AtomicBool,
}

impl<E> Watched<E> {
    fn new(what: &'static str, exporter: E) -> Self {
        Self { what, exporter, fails: AtomicBool::new(false) }
    }

    fn log_change(&self, result: OTelSdkResult) -> OTelSdkResult {
        if self.fails.swap(result.is_err(), Ordering::Relaxed) != result.is_err() {
            let what = self.what;
            match &result {
                Ok(()) => info!(what, "the collector accepts data again"),
                Err(error) => {
                    warn!(what, %error, "the collector does not accept data; it is dropped")
                }
            }
        }
        result
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Watched<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.log_change(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Watched<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.log_change(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// Describes the sender: the service, the task in which it runs, and whatever the environment adds
/// or overrides.
fn resource(variable: Variable<'_>) -> Resource {
    let resource = Resource::builder_empty()
        .with_service_name("tagwarden")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_detectors(&[
            Box::new(TelemetryResourceDetector),
            Box::new(EcsResourceDetector),
            Box::new(EnvResourceDetector::new()),
        ]);
    match variable("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

#[cfg(test)]
mod tests;
