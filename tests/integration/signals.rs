//! The real binary against the simulated AWS over HTTP, under signals and faults: whatever ends the
//! process or is taken from it, at whichever call, no message is lost or left behind, and what AWS
//! gives back it takes up without a restart.

mod collector;
mod drain;
mod every_call;
mod footprint;
mod large_findings;
mod refused;
mod rolling;
mod scenario;
mod second_signal;
mod stalled_log;
