//! The worker's telemetry: log lines, metrics and traces.
//!
//! Telemetry never holds up work. Log lines are gathered in memory and written by a thread of their
//! own (`logs`), spans and metrics are exported by threads with bounded queues (`export`), and data
//! that the reader does not take in time is dropped. All metrics are in `instruments` and all spans
//! in `traces`.

pub(crate) mod export;
pub mod instruments;
pub mod logs;
pub(crate) mod traces;
