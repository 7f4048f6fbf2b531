//! The spans of the worker, by OpenTelemetry's conventions for messaging and for the AWS SDK.
//!
//! A field with a dot in its name is for traces only. The other fields are also in every log line
//! below the span. The span of a message carries its ids and has the level `ERROR`, so that every
//! line below it has the ids even if only errors are logged.
//!
//! A batch of deletes or of changes of visibility is a trace of its own, linked to each of its
//! messages, because ten messages have no common parent.

use std::collections::HashMap;
use std::sync::Arc;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{SpanContext, Status, TraceContextExt as _};
use opentelemetry::{Context, Value};
use opentelemetry_aws::trace::{MissingSampledBehavior, XrayPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SpanData;
use tracing::field::Empty;
use tracing::{Span, error_span, info_span, record_all};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Name of the service. With it X-Ray makes the spans that begin a piece of work the service of its
/// map, even if they continue a trace.
const SERVICE: &str = "tagwarden";

/// Returns a number for a span. The layer of spans exports signed numbers as numbers, and unsigned
/// ones as text.
#[must_use]
pub(crate) fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A place in a trace, which a span can continue or refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpanPlace(SpanContext);

impl SpanPlace {
    fn valid(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self(context.clone()))
    }

    /// Returns the place of this span, or `None` if spans are not exported.
    #[must_use]
    pub(crate) fn of(span: &Span) -> Option<Self> {
        Self::valid(span.context().span().span_context())
    }

    /// Returns the place from which a message was sent, by W3C's headers or by X-Ray's. Headers
    /// that do not parse are ignored.
    #[must_use]
    pub(crate) fn sent_by(
        traceparent: Option<&str>,
        tracestate: Option<&str>,
        xray: Option<&str>,
    ) -> Option<Self> {
        // If a header leaves the decision about sampling open, sample.
        let xray = xray.map(|header| header.replace("Sampled=?", "Sampled=1"));
        let headers: HashMap<_, _> = [
            ("traceparent", traceparent),
            ("tracestate", tracestate),
            ("x-amzn-trace-id", xray.as_deref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
        if headers.is_empty() {
            return None;
        }
        let xray =
            XrayPropagator::new().with_missing_sampled_behavior(MissingSampledBehavior::Sampled);
        let read = |propagator: &dyn TextMapPropagator| {
            let context = propagator.extract_with_context(&Context::new(), &headers);
            Self::valid(context.span().span_context())
        };
        read(&TraceContextPropagator::new()).or_else(|| read(&xray))
    }
}

/// Creates the span of a receive. It is exported only if the receive brings messages or fails.
pub(crate) fn receive(queue: &str) -> Span {
    info_span!(
        target: "tagwarden::queue",
        "receive",
        otel.name = format!("receive {queue}"),
        otel.kind = "client",
        aws.span.kind = "LOCAL_ROOT",
        aws.local.service = SERVICE,
        messaging.system = "aws_sqs",
        messaging.operation.name = "receive",
        "messaging.operation.type" = "receive",
        messaging.destination.name = queue,
        messaging.batch.message_count = Empty,
        rpc.system = "aws-api",
        rpc.service = "SQS",
        rpc.method = "ReceiveMessage",
        aws.request_id = Empty,
        http.request.resend_count = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// Returns whether a span that has ended is a receive without messages, which is not worth an
/// export because every idle minute has some.
pub(super) fn is_idle(span: &SpanData) -> bool {
    let attribute = |name: &str| {
        let mut all = span.attributes.iter();
        all.find(|attribute| attribute.key.as_str() == name).map(|attribute| &attribute.value)
    };
    let receives = attribute("messaging.operation.type").is_some_and(|of| of.as_str() == "receive");
    let brought = attribute("messaging.batch.message_count").is_some_and(|of| *of != Value::I64(0));
    receives && !brought && !matches!(span.status, Status::Error { .. })
}

/// Creates the span of a batch of deletes or of changes of visibility, in a trace of its own that
/// is linked to the messages.
pub(crate) fn batch(operation: &str, entries: usize) -> Span {
    info_span!(
        target: "tagwarden::queue",
        parent: None,
        "batch",
        otel.name = format!("batch {operation}"),
        otel.kind = "client",
        aws.span.kind = "LOCAL_ROOT",
        aws.local.service = SERVICE,
        messaging.system = "aws_sqs",
        messaging.operation.name = operation,
        messaging.batch.message_count = number(entries),
    )
}

/// Origin of a message, as far as traces know it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Delivery {
    /// Name of the queue.
    pub queue: Arc<str>,
    /// Place from which the message was sent.
    pub sent: Option<SpanPlace>,
    /// Receive that brought the message.
    pub received: Option<SpanPlace>,
}

/// Creates the span of the work on one message. All log lines below it carry its ids, even if only
/// warnings or errors are logged.
pub(crate) fn process(
    delivery: &Delivery,
    message_id: &str,
    receive_count: u32,
    bytes: usize,
) -> Span {
    let span = error_span!(
        target: "tagwarden::worker",
        parent: None,
        "process",
        otel.name = format!("process {}", delivery.queue),
        otel.kind = "consumer",
        aws.span.kind = "LOCAL_ROOT",
        aws.local.service = SERVICE,
        messaging.system = "aws_sqs",
        messaging.operation.name = "process",
        "messaging.operation.type" = "process",
        messaging.destination.name = &*delivery.queue,
        messaging.message.id = message_id,
        messaging.message.body.size = number(bytes),
        tagwarden.receive_count = i64::from(receive_count),
        tagwarden.outcome = Empty,
        tagwarden.disposition = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
        message_id,
        event_id = Empty,
        account = Empty,
        region = Empty,
        repository = Empty,
        digest = Empty,
        trace_id = Empty,
        span_id = Empty,
    );
    if let Some(SpanPlace(sent)) = &delivery.sent {
        // The parent can still be set, because the span is new.
        let _ = span.set_parent(Context::new().with_remote_span_context(sent.clone()));
    }
    if let Some(SpanPlace(received)) = &delivery.received {
        span.add_link(received.clone());
    }
    if let Some(SpanPlace(own)) = SpanPlace::of(&span) {
        record_all!(span, trace_id = %own.trace_id(), span_id = %own.span_id());
    }
    span
}

/// Creates the span that settles a message, below the span of its work.
pub(crate) fn settle(process: &Span) -> Span {
    info_span!(
        target: "tagwarden::queue",
        parent: process,
        "settle",
    )
}

/// Links the current span to the place where its work was done.
pub(crate) fn refer_to(place: Option<&SpanPlace>) {
    if let Some(SpanPlace(context)) = place {
        Span::current().add_link(context.clone());
    }
}

/// Creates the span of one call to AWS, including its repeated attempts.
pub(crate) fn call(service: &str, operation: &str) -> Span {
    let service = service.to_ascii_uppercase();
    info_span!(
        target: "tagwarden::aws",
        "call",
        otel.name = format!("{service}/{operation}"),
        otel.kind = "client",
        rpc.system = "aws-api",
        rpc.service = service,
        rpc.method = operation,
        aws.request_id = Empty,
        http.request.resend_count = Empty,
        "error.type" = Empty,
        otel.status_code = Empty,
        otel.status_description = Empty,
    )
}

/// Records on a span that its work failed.
pub(crate) fn failed(span: &Span, kind: &str, description: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", description);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8";

    fn ids(place: Option<SpanPlace>) -> Option<(String, String, bool)> {
        let SpanPlace(context) = place?;
        let ids = (context.trace_id().to_string(), context.span_id().to_string());
        Some((ids.0, ids.1, context.is_sampled()))
    }

    fn some(trace: &str, span: &str, sampled: bool) -> Option<(String, String, bool)> {
        Some((trace.to_owned(), span.to_owned(), sampled))
    }

    #[test]
    fn w3c_and_xray_headers_are_read() {
        let w3c = some("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", true);
        assert_eq!(ids(SpanPlace::sent_by(Some(TRACEPARENT), None, None)), w3c);
        let xray = |sampled| some("5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8", sampled);
        for (tail, sampled) in
            [(";Sampled=1", true), (";Sampled=0", false), (";Sampled=?", true), ("", true)]
        {
            let header = format!("{XRAY}{tail}");
            assert_eq!(
                ids(SpanPlace::sent_by(None, None, Some(&header))),
                xray(sampled),
                "{tail:?}"
            );
        }
        assert_eq!(ids(SpanPlace::sent_by(Some(TRACEPARENT), None, Some(XRAY))), w3c, "both");
    }

    #[test]
    fn malformed_headers_are_ignored() {
        for header in ["", "Root=", "Root=1-5759e988-bd862e3fe1be46a994272793", "00-0-0-0", "\u{0}"]
        {
            assert_eq!(SpanPlace::sent_by(Some(header), None, Some(header)), None, "{header:?}");
        }
    }
}
