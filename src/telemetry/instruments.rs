//! Every instrument of the worker, shown at `/metrics` and exported over OTLP.
//!
//! Invariant 15: no label takes its value from a message, except from a closed set. Each room
//! declares the sets that it counts by, at the start, by a method `declare_...`: so every
//! combination of a counter's labels is at zero, because an alert on a rate needs a first sample.

mod policy;

use std::fmt;
use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider as _, UpDownCounter};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::{Registry, TextEncoder};

use self::policy::PolicyShown;
use super::export::MetricExport;
use super::logs;
use crate::domain::coverage::{Census, Coverage};
use crate::domain::exception::{Exception, ExceptionId, Standing};
use crate::domain::policy::PolicyVersion;

/// Builds each instrument with its name, unit and description.
struct Builder<'a>(&'a Meter);

impl Builder<'_> {
    fn counter(&self, name: &'static str, description: &'static str) -> Counter<u64> {
        self.0.u64_counter(name).with_description(description).build()
    }

    fn gauge(&self, name: &'static str, description: &'static str) -> Gauge<u64> {
        self.0.u64_gauge(name).with_description(description).build()
    }

    fn time(&self, name: &'static str, description: &'static str) -> Gauge<f64> {
        self.0.f64_gauge(name).with_unit("s").with_description(description).build()
    }

    fn seconds(
        &self,
        name: &'static str,
        description: &'static str,
        boundaries: &[f64],
    ) -> Histogram<f64> {
        self.0
            .f64_histogram(name)
            .with_unit("s")
            .with_description(description)
            .with_boundaries(boundaries.to_vec())
            .build()
    }
}

const CALL_SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const WORK_SECONDS: [f64; 10] = [0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0];
const AGE_SECONDS: [f64; 10] =
    [0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0];

/// The instruments, shared behind an `Arc`. Each event is counted by one call of a method here.
pub struct Instruments {
    registry: Registry,
    provider: SdkMeterProvider,
    messages_received: Counter<u64>,
    messages_settled: Counter<u64>,
    events: Counter<u64>,
    decisions: Counter<u64>,
    image_actions: Counter<u64>,
    notices: Counter<u64>,
    aws_requests: Counter<u64>,
    aws_request_duration: Histogram<f64>,
    paced_calls: Counter<u64>,
    assessment_duration: Histogram<f64>,
    event_age: Histogram<f64>,
    in_flight: UpDownCounter<i64>,
    lease_extensions: Counter<u64>,
    leases_lost: Counter<u64>,
    panics: Counter<u64>,
    poll_last_success: Gauge<f64>,
    ready: Gauge<u64>,
    paused: Gauge<u64>,
    draining: Gauge<u64>,
    overreach: Counter<u64>,
    exceptions: Gauge<u64>,
    swept_images: Counter<u64>,
    images: Gauge<u64>,
    sweep_last_end: Gauge<f64>,
    config_changes: Counter<u64>,
    config_refused: Gauge<u64>,
    policy: PolicyShown,
}

impl fmt::Debug for Instruments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Instruments")
    }
}

/// The exporter for Prometheus cannot be built.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up metrics: {0}")]
pub struct MetricsError(#[from] opentelemetry_sdk::error::OTelSdkError);

impl Instruments {
    /// Builds the instruments with a registry of their own.
    ///
    /// # Errors
    /// Returns an error if the exporter refuses its registry.
    pub fn new() -> Result<Self, MetricsError> {
        Self::exporting(None)
    }

    /// Builds the instruments in the same way and also sends their values by this exporter, as
    /// metrics of this resource.
    ///
    /// # Errors
    /// Returns an error if the exporter refuses its registry.
    pub fn exporting(export: Option<MetricExport>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .without_target_info()
            .build()?;
        let mut provider = SdkMeterProvider::builder().with_reader(exporter);
        if let Some((exporter, resource)) = export {
            let reader = PeriodicReader::builder(exporter).build();
            provider = provider.with_reader(reader).with_resource(resource);
        }
        let provider = provider.build();
        let meter = provider.meter("tagwarden");
        let build = Builder(&meter);
        let instruments = Self {
            messages_received: build
                .counter("tagwarden_messages_received", "Messages received from the queue"),
            messages_settled: build.counter(
                "tagwarden_messages_settled",
                "Messages settled, by disposition and reason",
            ),
            events: build.counter("tagwarden_events", "Messages by family of event"),
            decisions: build.counter("tagwarden_decisions", "Verdicts on images"),
            image_actions: build
                .counter("tagwarden_image_actions", "Acts on images and on their tags"),
            notices: build.counter("tagwarden_notices", "Notices, by outcome"),
            aws_requests: build.counter(
                "tagwarden_aws_requests",
                "Calls to AWS, retries inside a call not counted",
            ),
            aws_request_duration: build.seconds(
                "tagwarden_aws_request_duration",
                "Duration of calls to AWS, retries included",
                &CALL_SECONDS,
            ),
            paced_calls: build.counter(
                "tagwarden_paced_calls",
                "Calls that waited because AWS throttles their operation",
            ),
            assessment_duration: build.seconds(
                "tagwarden_assessment_duration",
                "From dispatch of a message to its disposition",
                &WORK_SECONDS,
            ),
            event_age: build.seconds(
                "tagwarden_event_age",
                "Age of an event when its assessment ended",
                &AGE_SECONDS,
            ),
            in_flight: meter
                .i64_up_down_counter("tagwarden_in_flight_messages")
                .with_description("Messages being worked on")
                .build(),
            lease_extensions: build
                .counter("tagwarden_lease_extensions", "Extensions of leases, by result"),
            leases_lost: build
                .counter("tagwarden_leases_lost", "Leases that ended before their work did"),
            panics: build.counter("tagwarden_panics", "Assessments that panicked"),
            poll_last_success: build.time(
                "tagwarden_poll_last_success_timestamp",
                "Unix time of the last successful receive",
            ),
            ready: build.gauge("tagwarden_ready", "1 while /readyz reports ready"),
            paused: build
                .gauge("tagwarden_paused", "1 while polling is paused because AWS refuses"),
            draining: build.gauge("tagwarden_draining", "1 from the stop signal on"),
            overreach: build.counter(
                "tagwarden_overreach",
                "Deletes that removed more than was requested; the first stops all removals",
            ),
            exceptions: build
                .gauge("tagwarden_exceptions", "Exceptions of the policy, by standing"),
            swept_images: build
                .counter("tagwarden_swept_images", "Images that sweeps inspected, by coverage"),
            images: build.gauge(
                "tagwarden_images",
                "Images of the last sweep that this task reported, by coverage",
            ),
            sweep_last_end: build.time(
                "tagwarden_sweep_last_end_timestamp",
                "Unix time of the end of the last sweep that this task reported",
            ),
            config_changes: build.counter(
                "tagwarden_config_changes",
                "Changes of the watched configuration file, by outcome",
            ),
            config_refused: build.gauge(
                "tagwarden_config_refused",
                "1 while the watched configuration file is refused and an older one is in use",
            ),
            policy: PolicyShown::build(&meter),
            registry,
            provider,
        };
        instruments.zero();
        meter
            .u64_observable_counter("tagwarden_log_lines_lost")
            .with_description("Log lines lost because standard output was not read fast enough")
            .with_callback(|lines| lines.observe(logs::lost(), &[]))
            .build();
        meter
            .u64_gauge("tagwarden_build_info")
            .with_description("Always 1; the label is the version")
            .build()
            .record(1, &[KeyValue::new("version", env!("CARGO_PKG_VERSION"))]);
        Ok(instruments)
    }

    fn zero(&self) {
        for counter in [&self.messages_received, &self.leases_lost, &self.panics, &self.overreach] {
            counter.add(0, &[]);
        }
        self.in_flight.add(0, &[]);
        for gauge in [&self.ready, &self.paused, &self.draining, &self.config_refused] {
            gauge.record(0, &[]);
        }
        self.poll_last_success.record(0.0, &[]);
        for standing in Standing::ALL {
            self.exceptions_standing(standing.as_str(), 0);
        }
        for coverage in Coverage::ALL {
            self.swept_images.add(0, &[KeyValue::new("coverage", coverage.as_str())]);
            self.images.record(0, &[KeyValue::new("coverage", coverage.as_str())]);
        }
        self.sweep_last_end.record(0.0, &[]);
        for told in [true, false] {
            self.notices.add(0, &[notice_label(told)]);
            self.config_changes.add(0, &[config_label(told)]);
            self.lease_extensions.add(0, &[extension_label(told)]);
        }
    }

    /// Declares that messages are settled by this disposition for this reason.
    pub fn declare_settled(&self, disposition: &'static str, reason: &'static str) {
        self.messages_settled.add(0, &settled_labels(disposition, reason));
    }

    /// Declares a family of events.
    pub fn declare_event(&self, kind: &'static str) {
        self.events.add(0, &[KeyValue::new("kind", kind)]);
    }

    /// Declares a verdict of the policy.
    pub fn declare_decision(&self, verdict: &'static str) {
        self.decisions.add(0, &[KeyValue::new("verdict", verdict)]);
    }

    /// Declares a call to AWS, with one of its outcomes.
    pub fn declare_call(
        &self,
        service: &'static str,
        operation: &'static str,
        outcome: &'static str,
    ) {
        self.aws_requests.add(0, &call_labels(service, operation, outcome));
    }

    /// Declares an operation that is paced when AWS throttles it.
    pub fn declare_paced(&self, operation: &'static str) {
        self.paced_calls.add(0, &[KeyValue::new("operation", operation)]);
    }

    /// Returns the provider, which must be flushed when the worker ends.
    #[must_use]
    pub fn provider(&self) -> SdkMeterProvider {
        self.provider.clone()
    }

    /// Returns the metrics in Prometheus' text format.
    ///
    /// # Errors
    /// Returns an error if the encoder fails, because two instruments contradict each other.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    /// Counts messages that were received from the queue.
    pub fn received(&self, count: usize) {
        self.messages_received.add(count as u64, &[]);
    }

    /// Records that a receive succeeded, with or without messages.
    pub fn polled(&self, now: SystemTime) {
        self.poll_last_success.record(unix_seconds(now), &[]);
    }

    /// Counts a message that was settled.
    pub fn settled(&self, disposition: &'static str, reason: &'static str) {
        self.messages_settled.add(1, &settled_labels(disposition, reason));
    }

    /// Counts a message by its family of events.
    pub fn event(&self, kind: &'static str) {
        self.events.add(1, &[KeyValue::new("kind", kind)]);
    }

    /// Counts a verdict of the policy.
    pub fn decision(&self, verdict: &'static str) {
        self.decisions.add(1, &[KeyValue::new("verdict", verdict)]);
    }

    /// Counts the images that a sweep inspected.
    pub fn swept(&self, census: &Census) {
        for (coverage, images) in census.iter() {
            self.swept_images.add(images, &[KeyValue::new("coverage", coverage.as_str())]);
        }
    }

    /// Records the result of a sweep and the time of its end.
    pub fn sweep_ended(&self, census: &Census, now: SystemTime) {
        for coverage in Coverage::ALL {
            let label = [KeyValue::new("coverage", coverage.as_str())];
            self.images.record(census.of(coverage), &label);
        }
        self.sweep_last_end.record(unix_seconds(now), &[]);
    }

    /// Counts acts on an image, or attempts that failed.
    pub fn image_action(
        &self,
        action: &'static str,
        outcome: &'static str,
        mode: &'static str,
        count: usize,
    ) {
        self.image_actions.add(count as u64, &action_labels(action, outcome, mode));
    }

    /// Counts that this exception of the policy covered a finding.
    pub fn exception_matched(&self, id: ExceptionId, exception: &Exception) {
        self.policy.matched(id, exception);
    }

    /// Shows this policy as the one in use.
    pub fn uses(&self, policy: &PolicyVersion) {
        self.policy.show(policy);
    }

    /// Counts that a changed configuration file was used, or was refused.
    pub fn config_changed(&self, used: bool) {
        self.config_changes.add(1, &[config_label(used)]);
        self.config_refused(!used);
    }

    /// Records whether the configuration file is refused and an older one is in use.
    pub fn config_refused(&self, refused: bool) {
        self.config_refused.record(u64::from(refused), &[]);
    }

    /// Records the number of exceptions with this standing.
    pub fn exceptions_standing(&self, standing: &'static str, count: usize) {
        self.exceptions.record(count as u64, &[KeyValue::new("standing", standing)]);
    }

    /// Counts a notice that was published or failed to be.
    pub fn notice(&self, published: bool) {
        self.notices.add(1, &[notice_label(published)]);
    }

    /// Counts a call to AWS and records its duration.
    pub fn aws_call(
        &self,
        service: &'static str,
        operation: &'static str,
        outcome: &'static str,
        took: Duration,
    ) {
        self.aws_requests.add(1, &call_labels(service, operation, outcome));
        self.aws_request_duration.record(
            took.as_secs_f64(),
            &[KeyValue::new("service", service), KeyValue::new("operation", operation)],
        );
    }

    /// Counts a call that has to wait for its turn.
    pub fn paced(&self, operation: &'static str) {
        self.paced_calls.add(1, &[KeyValue::new("operation", operation)]);
    }

    /// Records the duration of an assessment and the age of its event.
    pub fn assessed(&self, took: Duration, age: Option<Duration>) {
        self.assessment_duration.record(took.as_secs_f64(), &[]);
        if let Some(age) = age {
            self.event_age.record(age.as_secs_f64(), &[]);
        }
    }

    /// Counts a message as in flight until the returned guard is dropped.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        self.in_flight.add(1, &[]);
        InFlight(self.in_flight.clone())
    }

    /// Counts an extension of a lease that succeeded or failed.
    pub fn lease_extended(&self, extended: bool) {
        self.lease_extensions.add(1, &[extension_label(extended)]);
    }

    /// Counts a lease that ended before its work did.
    pub fn lease_lost(&self) {
        self.leases_lost.add(1, &[]);
    }

    /// Counts an assessment that panicked.
    pub fn panicked(&self) {
        self.panics.add(1, &[]);
    }

    /// Records whether the worker is ready.
    pub fn ready(&self, ready: bool) {
        self.ready.record(u64::from(ready), &[]);
    }

    /// Records whether polling is paused.
    pub fn paused(&self, paused: bool) {
        self.paused.record(u64::from(paused), &[]);
    }

    /// Records that the stop signal has come.
    pub fn draining(&self) {
        self.draining.record(1, &[]);
    }

    /// Counts a delete that removed more than was requested.
    pub fn overreach(&self) {
        self.overreach.add(1, &[]);
    }
}

/// Counts one message as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight(UpDownCounter<i64>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.add(-1, &[]);
    }
}

/// Returns a time as Prometheus has it.
fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn settled_labels(disposition: &'static str, reason: &'static str) -> [KeyValue; 2] {
    [KeyValue::new("disposition", disposition), KeyValue::new("reason", reason)]
}

fn action_labels(action: &'static str, outcome: &'static str, mode: &'static str) -> [KeyValue; 3] {
    [
        KeyValue::new("action", action),
        KeyValue::new("outcome", outcome),
        KeyValue::new("mode", mode),
    ]
}

fn call_labels(
    service: &'static str,
    operation: &'static str,
    outcome: &'static str,
) -> [KeyValue; 3] {
    [
        KeyValue::new("service", service),
        KeyValue::new("operation", operation),
        KeyValue::new("outcome", outcome),
    ]
}

fn config_label(used: bool) -> KeyValue {
    KeyValue::new("outcome", if used { "used" } else { "refused" })
}

fn notice_label(published: bool) -> KeyValue {
    KeyValue::new("outcome", if published { "published" } else { "failed" })
}

fn extension_label(extended: bool) -> KeyValue {
    KeyValue::new("result", if extended { "extended" } else { "failed" })
}
