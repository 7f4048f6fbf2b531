//! The results, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::aws::Result;
use crate::core::Cores;
use crate::process::Taken;

/// What was measured on which machine.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    version: &'static str,
    processor: String,
    contender_has_a_core_of_its_own: bool,
    binary_bytes: u64,
    pub(crate) measurements: Vec<Measurement>,
}

/// One measurement; what does not apply to it is absent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Measurement {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<usize>,
    /// Messages a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    /// CPU time a message, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us: Option<f64>,
    /// Part of a core.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) core_percent: Option<f64>,
    /// Resident memory at the end, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resident: Option<u64>,
    /// The most resident memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    /// Bytes of log lines a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    log_bytes: Option<f64>,
    /// Calls a message, by operation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    calls: BTreeMap<String, f64>,
    /// Calls an image or index whose tags had to go, by operation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    calls_per_violating: BTreeMap<String, f64>,
}

impl Measurement {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    pub(crate) fn of_flood(
        name: String,
        result: &Result,
        before: Taken,
        after: Taken,
        printed: u64,
    ) -> Self {
        let messages = result.messages as f64;
        let cpu = after.cpu - before.cpu;
        let calls = |of: usize| -> BTreeMap<_, _> {
            let of = of as f64;
            result.calls.iter().map(|(name, count)| (name.clone(), *count as f64 / of)).collect()
        };
        Self {
            name,
            per_second: Some(messages / result.seconds),
            cpu_us: Some(cpu / messages * 1e6),
            core_percent: Some(cpu / result.seconds * 100.0),
            resident: Some(after.resident),
            peak: Some(after.peak),
            log_bytes: Some(printed as f64 / messages),
            calls: calls(result.messages),
            calls_per_violating: if result.violating > 0 {
                calls(result.violating)
            } else {
                BTreeMap::new()
            },
            ..Self::default()
        }
    }
}

/// The value below which this part of the sorted values lies.
pub(crate) fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list"
    )]
    let at = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied()
}

impl Report {
    pub(crate) fn new(cores: &Cores, binary_bytes: u64) -> Self {
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = text
            .lines()
            .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processor: model.unwrap_or("unknown").to_owned(),
            contender_has_a_core_of_its_own: cores.are_two(),
            binary_bytes,
            measurements: Vec::new(),
        }
    }

    /// Adds a measurement. Of one that is there already the quieter is kept: other tenants of a machine only ever add to
    /// what a message costs.
    pub(crate) fn add(&mut self, measurement: Measurement) {
        let known = self.measurements.iter_mut().find(|known| known.name == measurement.name);
        match known {
            Some(known) if known.cpu_us <= measurement.cpu_us => {}
            Some(known) => *known = measurement,
            None => self.measurements.push(measurement),
        }
    }

    pub(crate) fn json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).expect("JSON"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        table.set_header([
            "",
            "messages/s",
            "CPU µs/message",
            "core %",
            "MB now",
            "MB peak",
            "p50 ms",
            "p99 ms",
            "log bytes/message",
            "calls/message",
        ]);
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for one in &self.measurements {
            let number = |value: Option<f64>, digits: usize| {
                value.map_or(String::new(), |value| format!("{value:.digits$}"))
            };
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            let megabytes = |bytes: Option<u64>| number(bytes.map(|bytes| bytes as f64 / 1e6), 1);
            let calls: f64 = one.calls.values().sum();
            table.add_row([
                one.name.clone(),
                number(one.per_second, 0),
                number(one.cpu_us, 1),
                number(one.core_percent, 2),
                megabytes(one.resident),
                megabytes(one.peak),
                number(one.p50_ms, 2),
                number(one.p99_ms, 2),
                number(one.log_bytes, 0),
                number((calls > 0.0).then_some(calls), 3),
            ]);
        }
        writeln!(f, "{table}")?;
        writeln!(f, "\nCalls a violating image:")?;
        for one in self.measurements.iter().filter(|one| !one.calls_per_violating.is_empty()) {
            let calls: Vec<_> = one
                .calls_per_violating
                .iter()
                .map(|(name, count)| format!("{name} {count:.3}"))
                .collect();
            writeln!(f, "  {}: {}", one.name, calls.join(", "))?;
        }
        write!(f, "\nThe program: {} bytes; {}", self.binary_bytes, self.processor)
    }
}
