//! The settings of sweeps.

use std::time::Duration;

/// The settings of `sweep.*`.
#[derive(Clone, Copy, Debug)]
pub struct SweepSettings {
    /// The age of basic scanning's last scan of an image from which a sweep asks for another.
    /// `None` means that a sweep never asks.
    pub rescan_after: Option<Duration>,
    /// Calls of one API per second that the sweeps of this task make in one account and Region.
    pub calls_per_second: u32,
}
