//! The worker in this process, with the real AWS SDK against the simulated AWS, under paused time;
//! and parts of it alone: its HTTP listener, and what the fuzz targets run.
//!
//! None of it has a subscriber of its own: see `tests/integration/main.rs` for those that do.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that cannot go on has failed"
)]

mod accounts;
mod acts;
mod answers;
mod calls;
mod corpus;
mod crash_points;
mod dispositions;
mod drain;
mod exceptions;
mod fairness;
mod families;
mod flights;
#[path = "../integration/holders.rs"]
mod holders;
mod holds;
mod hostile;
mod http;
mod leases;
mod limits;
mod liveness;
mod many_findings;
mod marks;
mod metrics;
mod multi_arch;
mod overreach;
mod pacing;
mod partitions;
mod policy;
mod records;
mod refusals;
mod regressions;
mod replication;
mod repositories;
mod restores;
mod rolling;
mod safeguards;
mod scan_states;
mod sharing;
mod support;
mod sweep;
#[path = "../integration/hostile/texts.rs"]
#[expect(dead_code, reason = "`tests/integration` uses the rest")]
mod texts;
mod topics;
mod watch;
mod wrong_policy;
