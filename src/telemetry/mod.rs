//! What the worker says of itself: log lines and metrics.

pub mod instruments;
pub mod logs;
