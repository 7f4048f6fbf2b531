//! The real binary against the simulated AWS over HTTP, under signals and faults. Whatever ends the
//! process or is taken from it, at any call, no message is lost or left behind. When AWS gives
//! something back, the worker uses it without a restart.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

#[path = "signals/collector.rs"]
mod collector;
#[path = "signals/drain.rs"]
mod drain;
#[path = "signals/every_call.rs"]
mod every_call;
#[path = "signals/footprint.rs"]
mod footprint;
#[path = "process/holders.rs"]
mod holders;
#[path = "signals/large_findings.rs"]
mod large_findings;
mod process;
#[path = "signals/refused.rs"]
mod refused;
#[path = "signals/rolling.rs"]
mod rolling;
#[path = "signals/scenario.rs"]
mod scenario;
#[path = "signals/second_signal.rs"]
mod second_signal;
#[path = "signals/stalled_log.rs"]
mod stalled_log;
#[path = "process/world.rs"]
#[expect(dead_code, reason = "other test crates use the rest")]
mod world;
