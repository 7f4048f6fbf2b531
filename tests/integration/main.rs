//! The real program and what is deployed with it: as its users start it, beside the simulated AWS
//! and others' emulators, under signals, and held against `deploy/` and the guides.
//!
//! All of that is one program, because each that links the AWS SDK makes every build of the tests
//! longer. `tests/worker` is another: `hostile` reads the log of a worker in this process, and a
//! worker that runs beside it without a subscriber, as those do, would silence call sites for both.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod binary;
mod commands;
mod contributing;
mod deploy;
mod endpoints;
mod example_local;
mod holders;
mod hostile;
mod moto;
mod operations;
mod page;
mod policies;
mod process;
mod python;
mod router;
mod signals;
mod traces;
mod verify_aws;
#[path = "../worker/support.rs"]
#[expect(dead_code, unreachable_pub, reason = "`tests/worker` uses the rest")]
mod worker;
mod world;
