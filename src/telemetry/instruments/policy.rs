//! What the metrics show of the policy in use: its fingerprint, and how often each of its
//! exceptions covered a finding.
//!
//! Both are read when somebody asks for the metrics. So after a change of the policy only the new
//! one is shown, however many there were.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use parking_lot::Mutex;

use crate::domain::exception::{Exception, ExceptionId};
use crate::domain::policy::PolicyVersion;

/// The policy that the metrics show.
#[derive(Debug, Default)]
struct Shown {
    fingerprint: Option<String>,
    /// By position, the labels of each exception and the number of judgements.
    matches: Vec<([KeyValue; 2], u64)>,
}

/// Shows the policy in use.
#[derive(Clone, Debug, Default)]
pub(super) struct PolicyShown(Arc<Mutex<Shown>>);

impl PolicyShown {
    /// Builds the instruments.
    pub(super) fn build(meter: &Meter) -> Self {
        let shown = Self::default();
        let of = shown.clone();
        meter
            .u64_observable_counter("tagwarden_exception_matches")
            .with_description("Judgements in which an exception of the policy covered a finding")
            .with_callback(move |counter| {
                for (labels, count) in &of.0.lock().matches {
                    counter.observe(*count, labels);
                }
            })
            .build();
        let of = shown.clone();
        meter
            .u64_observable_gauge("tagwarden_policy_info")
            .with_description("Always 1; the label is the fingerprint of the policy in use")
            .with_callback(move |gauge| {
                if let Some(fingerprint) = &of.0.lock().fingerprint {
                    gauge.observe(1, &[KeyValue::new("fingerprint", fingerprint.clone())]);
                }
            })
            .build();
        shown
    }

    /// Shows this policy. An exception that keeps its name and position keeps its count.
    pub(super) fn show(&self, policy: &PolicyVersion) {
        let exceptions = policy.exceptions.as_slice().iter().enumerate();
        let labels: Vec<_> = exceptions.map(labels).collect();
        let mut shown = self.0.lock();
        let mut before = std::mem::take(&mut shown.matches).into_iter();
        let count = |labels: &[KeyValue; 2]| {
            before.next().filter(|(known, _)| known == labels).map_or(0, |(_, count)| count)
        };
        let counts: Vec<_> = labels.iter().map(count).collect();
        shown.matches = labels.into_iter().zip(counts).collect();
        shown.fingerprint = Some(policy.fingerprint().as_str().to_owned());
    }

    /// Counts that an exception covered a finding. One that the policy in use does not have any
    /// more is not shown, and not counted.
    pub(super) fn matched(&self, id: ExceptionId, exception: &Exception) {
        let labels = labels((id.position(), exception));
        let mut shown = self.0.lock();
        if let Some((_, count)) =
            shown.matches.get_mut(id.position()).filter(|(known, _)| *known == labels)
        {
            *count = count.saturating_add(1);
        }
    }
}

/// Returns the labels of an exception. The position distinguishes exceptions of the same name.
fn labels((at, exception): (usize, &Exception)) -> [KeyValue; 2] {
    let position = i64::try_from(at).unwrap_or(i64::MAX);
    [KeyValue::new("exception", exception.to_string()), KeyValue::new("position", position)]
}
