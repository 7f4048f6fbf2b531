//! What the worker says of itself: log lines, metrics and traces.

pub mod export;
pub mod instruments;
pub mod logs;
pub mod traces;
