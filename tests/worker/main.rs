//! The worker in this process, with the real AWS SDK against the simulated AWS, under paused time.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod acts;
mod dispositions;
mod leases;
mod metrics;
mod overreach;
mod refusals;
mod regressions;
mod support;
